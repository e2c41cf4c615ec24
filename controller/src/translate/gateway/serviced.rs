//! Services of Gateways: what a Gateway with a Service of its own asks of it, and where it is reached.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use genkan_policies::{ServiceKind, ServiceTemplate};
use genkan_routing::model::Protocol;

use super::addresses::Request;
use super::addressing::{Addressing, Assigned, Reach};
use super::evidence::Given;
use super::findings::Findings;
use super::gateways::{GatewayListener, GatewayOutcome, Refusal};
use super::infrastructure::{Record, ServiceSpec, service_of};
use super::listener_sets::SetOutcome;
use super::reason::{ADDRESS_NOT_ASSIGNED, ADDRESS_NOT_USABLE, NO_RESOURCES};
use super::status::GatewayAddress;
use super::target_ports::Target;
use crate::resources::{NamespacedName, PublicPort, Wire};

/// A port as clients see it.
pub(crate) fn public_port(protocol: Protocol, number: u16) -> PublicPort {
    let wire = if protocol == Protocol::Udp { Wire::Udp } else { Wire::Tcp };
    PublicPort { wire, number }
}

/// The ports that each Gateway's listeners are at, those of its sets among them. Also of listeners that something is
/// wrong with: what is mended later finds its port as it was.
pub(crate) fn wanted<'a>(
    gateways: &[(&'a NamespacedName, &'a Arc<GatewayOutcome>)],
    sets: impl Iterator<Item = &'a SetOutcome>,
) -> BTreeMap<&'a NamespacedName, BTreeSet<PublicPort>> {
    let served = gateways.iter().filter(|(_, gateway)| gateway.ours);
    let mut all: BTreeMap<_, BTreeSet<_>> =
        served.map(|(name, gateway)| (*name, ports(&gateway.listeners).collect())).collect();
    for set in sets.filter(|set| set.allowed) {
        if let Some(of_gateway) = all.get_mut(&set.gateway) {
            of_gateway.extend(ports(&set.listeners));
        }
    }
    all
}

fn ports(listeners: &[GatewayListener]) -> impl Iterator<Item = PublicPort> {
    let served = listeners.iter().filter(|listener| listener.port != 0);
    served.filter_map(|listener| Some(public_port(listener.protocol?.on_port(), listener.port)))
}

/// The Service that a Gateway is to have; `None` while it has no port.
pub(crate) fn spec(gateway: &GatewayOutcome, template: &ServiceTemplate, ports: &[Target]) -> Option<ServiceSpec> {
    let asked = gateway.requests.iter().find_map(|request| match request {
        Some(Request::Exactly(address)) => Some(*address),
        _ => None,
    });
    let address = asked.filter(|_| template.kind() != ServiceKind::NodePort);
    (!ports.is_empty()).then(|| ServiceSpec::new(template, ports, address))
}

/// The ports that a Gateway asks for, and those that it gets.
pub(crate) struct Asked {
    /// How many it asks for.
    pub(crate) wanted: usize,
    /// What it gets.
    pub(crate) ports: Given<Target>,
    /// Whether its namespace has as many as it may have.
    pub(crate) is_full: bool,
}

/// Where a Gateway with a Service of its own is reached.
pub(crate) fn addressing(
    name: &NamespacedName,
    gateway: &GatewayOutcome,
    template: &ServiceTemplate,
    asked: Asked,
    findings: &mut Findings,
) -> Addressing {
    let Asked { wanted, ports, is_full } = asked;
    let mut trouble = None;
    let mut say = |reason, message: String| {
        trouble.get_or_insert(Refusal { reason, message });
    };
    let service = service_of(name);
    if gateway.wish.record == Record::Foreign {
        let message = format!("Service {service} is not of this Gateway, so it can't lead to it");
        findings.error("", ADDRESS_NOT_ASSIGNED, message.clone(), format!("rename or delete Service {service}"));
        say(ADDRESS_NOT_ASSIGNED, message);
    }
    for (index, message) in unusable(gateway, template.kind()) {
        let mend = "ask for one IP address at most, of type LoadBalancer or ClusterIP";
        findings.error(format!("spec.addresses[{index}]"), ADDRESS_NOT_USABLE, message, mend);
        say(ADDRESS_NOT_USABLE, message.to_owned());
    }
    if ports.all.len() < wanted {
        let message = match is_full {
            true => "the Gateways of the namespace have as many ports as they may have: not every listener is served",
            false => "all ports for Services of Gateways are in use: not every listener is served",
        };
        findings.error("spec.listeners", NO_RESOURCES, message, "widen --gateway-target-ports, or delete Gateways");
        say(NO_RESOURCES, message.to_owned());
    }
    let (addresses, missing) = assigned(&gateway.wish.record);
    if wanted == 0 {
        say(ADDRESS_NOT_ASSIGNED, format!("no listener has a port that Service {service} could have"));
    } else if ports.proven.is_empty() {
        // It takes a moment; the writer of infrastructure tells when it does not succeed.
        say(ADDRESS_NOT_ASSIGNED, format!("Service {service} is being made"));
    } else if let Some(missing) = missing {
        say(ADDRESS_NOT_ASSIGNED, format!("Service {service} {missing}"));
    } else if let Some(asked) = spec(gateway, template, &ports.all).and_then(|spec| spec.address)
        && !addresses.has(asked)
    {
        say(ADDRESS_NOT_USABLE, format!("Service {service} asks for {asked} and got another address"));
    }
    Addressing { reach: Reach::Service { targets: ports.proven.into_iter().collect(), addresses }, trouble }
}

/// What a Gateway asks for that Services of this kind can't give: which of `spec.addresses`, and why.
fn unusable(gateway: &GatewayOutcome, kind: ServiceKind) -> Vec<(usize, &'static str)> {
    let mut exact = 0;
    let check = |(index, request): (usize, &Option<Request>)| match request {
        None => Some((index, "it is no IP address")),
        Some(Request::Any) => None,
        Some(Request::Exactly(_)) => {
            exact += 1;
            match kind {
                ServiceKind::NodePort => Some((index, "a Service of type NodePort has the addresses of the nodes")),
                _ if exact > 1 => Some((index, "a Service can ask for one address only")),
                _ => None,
            }
        }
    };
    gateway.requests.iter().enumerate().filter_map(check).collect()
}

/// The addresses of a Service, or what it waits for.
pub(crate) fn assigned(record: &Record) -> (Assigned, Option<&'static str>) {
    let Some(service) = record.own() else { return (Assigned::default(), None) };
    let (addresses, missing) = match &*service.kind {
        "NodePort" => return (Assigned::Nodes, None),
        "LoadBalancer" => {
            let all: Vec<_> = service.balancer.iter().map(|text| GatewayAddress::read(text)).collect();
            (all, "has no address of a load balancer yet")
        }
        _ => {
            let all: Vec<_> = service.cluster_ips.iter().map(|ip| GatewayAddress::read(&ip.to_string())).collect();
            (all, "has no address in the cluster yet")
        }
    };
    let missing = addresses.is_empty().then_some(missing);
    (Assigned::These(addresses), missing)
}

impl Assigned {
    /// Whether an address is among them.
    fn has(&self, address: IpAddr) -> bool {
        match self {
            Self::These(all) => all.iter().any(|it| it.value.parse() == Ok(address)),
            Self::Nodes => false,
        }
    }
}
