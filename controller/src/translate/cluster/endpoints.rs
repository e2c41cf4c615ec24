//! Endpoints: the addresses of a Service's port, from its EndpointSlices or its own address.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use genkan_routing::model::Endpoint;
use genkan_routing::policy::load_balance::{HashKey, LoadBalance};
use k8s_openapi::api::core::v1::ServicePort;

use super::topology::Choice;
use super::{ClusterIssue, ClusterSpec};
use crate::resources::{EndpointSlice, NamespacedName, Place, Port, PortProtocol, Service, State};
use crate::translate::reader::Reader;

/// The endpoints of a Service's port, sorted, without duplicates.
pub(super) fn of_service(
    name: &NamespacedName,
    service: &Service,
    port: &ServicePort,
    spec: &ClusterSpec,
    reader: &Reader<'_>,
    issues: &mut Vec<ClusterIssue>,
) -> Result<Vec<Endpoint>, ClusterIssue> {
    if spec.service_upstream {
        match own_address(service, port) {
            Some(address) => return Ok(vec![Endpoint { address }]),
            None => issues.push(ClusterIssue::NoAddress(name.clone())),
        }
    }
    if service.client_ip_affinity && spec.load_balance != LoadBalance::ConsistentHash(HashKey::ClientAddress) {
        issues.push(ClusterIssue::AffinityNotUsed(name.clone()));
    }
    let slices: Vec<_> = reader.endpoint_slices(name).map(AsRef::as_ref).collect();
    for slice in slices.iter().filter(|slice| slice.names) {
        let own = slice.metadata.name.clone().unwrap_or_default();
        issues.push(ClusterIssue::NamesAsEndpoints(NamespacedName::new(name.namespace.clone(), own)));
    }
    let endpoints = of_slices(&slices, port.name.as_deref(), spec.usage.protocol(), reader.place());
    if endpoints.is_empty() { Err(ClusterIssue::NoEndpoints(name.clone())) } else { Ok(endpoints) }
}

fn own_address(service: &Service, port: &ServicePort) -> Option<SocketAddr> {
    Some(SocketAddr::new(service.cluster_ip?, u16::try_from(port.port).ok()?))
}

/// The ready endpoints of the slices' port of this name, of them those that are meant for clients at `place`. When none
/// is ready, those that still serve while they terminate, as kube-proxy does.
fn of_slices(
    slices: &[&EndpointSlice],
    port_name: Option<&str>,
    protocol: PortProtocol,
    place: Option<&Place>,
) -> Vec<Endpoint> {
    let wanted = |port: &&Port| port.protocol == protocol && *port.name == *port_name.unwrap_or_default();
    let usable: Vec<_> =
        slices.iter().filter(|slice| !slice.names && slice.ports.iter().any(|port| wanted(&port))).collect();
    let choice = place.and_then(|place| Choice::among(usable.iter().flat_map(|slice| &slice.endpoints), place));
    let (mut ready, mut leaving) = (BTreeSet::new(), BTreeSet::new());
    for slice in usable {
        for port in slice.ports.iter().filter(wanted) {
            for endpoint in &slice.endpoints {
                let set = match endpoint.state {
                    State::Ready if choice.as_ref().is_none_or(|choice| choice.takes(endpoint)) => &mut ready,
                    State::Leaving => &mut leaving,
                    State::Ready | State::Away => continue,
                };
                set.insert(Endpoint { address: SocketAddr::new(endpoint.address, port.number) });
            }
        }
    }
    if ready.is_empty() { leaving } else { ready }.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use crate::resources;

    use super::*;

    fn slice(endpoints: &[(&str, State)]) -> EndpointSlice {
        let endpoint = |(address, state): &(&str, State)| resources::Endpoint {
            address: address.parse().unwrap(),
            state: *state,
            hints: None,
        };
        let ports =
            [("http", 8080, PortProtocol::Tcp), ("http", 8081, PortProtocol::Udp), ("other", 8082, PortProtocol::Tcp)];
        EndpointSlice {
            metadata: resources::Names::default(),
            service: None,
            of_gateway: false,
            echo: None,
            ports: ports.map(|(name, number, protocol)| Port { name: name.into(), number, protocol }).into(),
            endpoints: endpoints.iter().map(endpoint).collect(),
            names: false,
        }
    }

    fn addresses(slices: &[EndpointSlice], port: Option<&str>) -> Vec<String> {
        let slices: Vec<_> = slices.iter().collect();
        let endpoints = of_slices(&slices, port, PortProtocol::Tcp, None);
        endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect()
    }

    #[test]
    fn ready_endpoints_of_all_slices_are_sorted_without_duplicates() {
        let slices =
            [slice(&[("10.0.0.9", State::Ready), ("10.0.0.1", State::Ready)]), slice(&[("10.0.0.9", State::Ready)])];
        assert_eq!(addresses(&slices, Some("http")), ["10.0.0.1:8080", "10.0.0.9:8080"]);
        assert_eq!(addresses(&slices, None), [""; 0]);
    }

    #[test]
    fn a_leaving_endpoint_serves_only_while_none_is_ready() {
        let (leaving, away) = (("10.0.0.2", State::Leaving), ("10.0.0.3", State::Away));
        assert_eq!(addresses(&[slice(&[leaving, away])], Some("http")), ["10.0.0.2:8080"]);
        assert_eq!(addresses(&[slice(&[leaving, away, ("10.0.0.4", State::Ready)])], Some("http")), ["10.0.0.4:8080"]);
    }
}
