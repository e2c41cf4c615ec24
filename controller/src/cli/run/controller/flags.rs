//! Flags that only mean something in a cluster. Names and defaults are ingress-nginx's.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use crate::cli::compatible::{boolean, duration};
use crate::cli::flags::parse_namespaced_name;
use crate::label_selector::LabelSelector;
use crate::resources::NamespacedName;
use crate::status::{Leading, Publish};
use crate::watch::{Access, Address};

/// Flags that only mean something in a cluster.
#[derive(Args, Debug)]
#[command(next_help_heading = "The cluster")]
pub(super) struct ClusterFlags {
    /// File with the API server's address and credentials; in a Pod its service account is used
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Address of the API server, as in https://10.0.0.1:6443
    #[arg(long, value_name = "URL")]
    apiserver_host: Option<String>,

    /// File with the certificates (PEM) by which the API server's is checked
    #[arg(long, value_name = "FILE")]
    certificate_authority: Option<PathBuf>,

    /// Only serve objects of this namespace [default: of all]
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "watch_namespace_selector")]
    pub(super) watch_namespace: Option<String>,

    /// Only serve objects of namespaces with these labels, as in team=web,stage in (test,live)
    #[arg(long, value_name = "SELECTOR")]
    pub(super) watch_namespace_selector: Option<LabelSelector>,

    /// Service whose addresses Ingresses, and Gateways without addresses of their own, get as their status
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_namespaced_name,
        conflicts_with = "publish_status_address")]
    pub(super) publish_service: Option<NamespacedName>,

    /// Service that selects our Pods: Gateways get Services of their own that lead to the same Pods, unless their
    /// GatewayParameters say otherwise [default: Gateways are on our own addresses]
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_namespaced_name)]
    pub(super) gateway_service: Option<NamespacedName>,

    /// Ports of our Pods for Services of Gateways, one for each of their ports; nothing else may use them
    #[arg(long, value_name = "FIRST-LAST", value_parser = port_range, default_value = "20000-29999")]
    gateway_target_ports: RangeInclusive<u16>,

    /// Addresses that Ingresses, and Gateways without addresses of their own, get as their status, several with commas
    #[arg(long, value_name = "IP|HOSTNAME", value_delimiter = ',')]
    publish_status_address: Vec<String>,

    /// Without either, Ingresses get the internal addresses of our nodes, also of those that have external ones
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "false", action = ArgAction::Set)]
    report_node_internal_ip_address: bool,

    /// Write the status of Ingresses and of the objects of Gateway API
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "true", action = ArgAction::Set)]
    pub(super) update_status: bool,

    /// Take the addresses away when the last of us stops
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "true", action = ArgAction::Set)]
    pub(super) update_status_on_shutdown: bool,

    /// Seconds after which every status is looked at again; at least 5
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    status_update_interval: u64,

    /// Name of the Lease by which one of several replicas is chosen to write
    #[arg(long, value_name = "NAME", default_value = "ingress-controller-leader")]
    pub(super) election_id: String,

    /// How long that one may be silent before another takes over, as in 30s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(super) election_ttl: Duration,

    /// Every replica writes
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "false", action = ArgAction::Set)]
    pub(super) disable_leader_election: bool,

    /// Write no Event when an Ingress was taken
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "false", action = ArgAction::Set)]
    pub(super) disable_sync_events: bool,

    /// Prefer endpoints that are meant for our zone or node by the hints of their EndpointSlices
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "false", action = ArgAction::Set)]
    pub(super) enable_topology_aware_routing: bool,

    /// File that keeps what the API server said last, to serve at once after a restart without it; it holds the private
    /// keys of certificates in plain text, readable by its owner only [default: nothing is kept]
    #[arg(long, value_name = "FILE")]
    pub(super) cache_file: Option<PathBuf>,

    /// Let /snapshot, /problems and /statuses answer everybody who reaches --healthz-port, not only this Pod and kubectl
    /// port-forward: they show the hosts, paths and backends of all namespaces
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean, default_value = "false", action = ArgAction::Set)]
    pub(super) expose_configuration: bool,

    /// Seconds to stay after the last request ended
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(super) post_shutdown_grace_period: u64,

    /// How much is logged, as a number: 2 and more is --log-level=debug; that flag goes before it
    #[arg(long = "v", value_name = "LEVEL", default_value_t = 0)]
    verbosity: u8,
}

impl ClusterFlags {
    /// How to reach the API server.
    pub(super) fn access(&self) -> Access {
        Access {
            kubeconfig: self.kubeconfig.clone(),
            host: self.apiserver_host.clone(),
            certificate_authority: self.certificate_authority.clone(),
        }
    }

    /// Where the addresses of Ingresses come from.
    pub(super) fn publish(&self) -> Publish {
        let texts = self.publish_status_address.iter().filter(|text| !text.trim().is_empty());
        let addresses: BTreeSet<_> = texts.map(|text| Address::from_text(text)).collect();
        match &self.publish_service {
            _ if !addresses.is_empty() => Publish::Addresses(addresses),
            Some(service) => Publish::Service(service.clone()),
            None => Publish::Nodes { internal: self.report_node_internal_ip_address },
        }
    }

    /// What Services of Gateways lead to.
    pub(super) fn leads_to(&self) -> Leading {
        Leading { service: self.gateway_service.clone(), namespace: self.watch_namespace.clone() }
    }

    /// The ports that Services of Gateways lead to, if there are such.
    pub(super) fn target_ports(&self) -> Option<RangeInclusive<u16>> {
        self.gateway_service.as_ref().map(|_| self.gateway_target_ports.clone())
    }

    /// The level of the log unless --log-level says another.
    pub(super) fn log_level(&self) -> &'static str {
        if self.verbosity < 2 { "info" } else { "debug" }
    }

    /// How often every status is looked at.
    pub(super) fn status_update_interval(&self) -> Duration {
        Duration::from_secs(self.status_update_interval.max(5))
    }
}

/// Parses `FIRST-LAST`.
fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let range = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    match range {
        Some((first, last)) if 0 < first && first <= last => Ok(first..=last),
        _ => Err(format!("{text:?} is no range of ports, as in 20000-29999")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_has_two_ends_in_order() {
        assert_eq!(port_range("20000-29999"), Ok(20000..=29999));
        assert_eq!(port_range("80-80"), Ok(80..=80));
        for text in ["", "80", "0-80", "81-80", "80-65536", "a-b", "1-2-3"] {
            assert!(port_range(text).is_err(), "{text}");
        }
    }
}
