//! Ports: what the listeners of all Gateways make of each other, and of the ports that Ingresses are served on.
//!
//! Gateways with addresses of their own meet nobody: their ports are theirs. On the controller's addresses the older
//! Gateway wins: a Gateway of another tenant that comes later can take away neither a port's protocol nor a hostname.
//! The ports of TCP and UDP services are the administrator's: no Gateway gets a part of them. Listeners on one port
//! become one listener of the model with a section each.

mod holding;
mod reception;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use genkan_routing::model::{Certificate, ClientCertificate, Listener, Protocol};
use genkan_routing::name::{HostPattern, ListenerId, ObjectRef, TableId};
use genkan_routing::report::Problem;

pub(super) use self::holding::Holding;
use self::holding::Newcomer;
pub(crate) use self::reception::Reception;
use super::addressing::Reach;
use super::allowed::AllowedRoutes;
use super::family::{Family, Taken};
use super::findings::Findings;
use super::gateways::{GatewayListener, Verdict};
use super::listener;
use super::listener_policy::{Effects, ListenerPolicies};
use super::naming::Owner;
use super::parent::ParentKey;
use super::port::{self, Host, Port, Service, Wire};
use super::protocol::ListenerProtocol;
use super::rank::RouteAge;
use super::reason::{NO_MATCHING_PARENT, PORT_UNAVAILABLE};
use super::serviced::public_port;
use super::streams::{Slot, SlotKey};
use crate::resources::{Key, Kind, NamespacedName};
use crate::settings::Settings;
use crate::translate::cluster::Shown;

/// The ports of all Gateways.
#[derive(Debug, Default)]
pub(crate) struct Arrangement {
    /// One per port.
    pub(crate) listeners: Vec<Listener>,
    /// The hostnames that Gateways have on ports which Ingresses are served on too.
    pub(crate) beside_ingresses: BTreeMap<ListenerId, BTreeSet<HostPattern>>,
    /// Where routes of streams go.
    pub(crate) slots: BTreeMap<SlotKey, Slot>,
    /// What routes may attach to.
    pub(crate) parents: BTreeMap<ParentKey, Parent>,
    /// The certificates of the listeners that are served.
    pub(crate) certificates: Vec<Arc<Certificate>>,
    /// Conflicts across Gateways.
    pub(crate) problems: Vec<Problem>,
    /// What ListenerPolicies do.
    pub(crate) effects: Effects,
}

/// What routes need to know of a Gateway or ListenerSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    /// The Gateway that it is, or belongs to.
    pub(crate) gateway: NamespacedName,
    /// Whether it takes routes that do not name it (`defaultScope`). A ListenerSet never does.
    pub(crate) is_default: bool,
    /// The reason why nothing of it is served.
    pub(crate) refused: Option<&'static str>,
    /// The certificate that backends see.
    pub(crate) shown: Shown,
    /// Its listeners, in the order of the object.
    pub(crate) listeners: Vec<ParentListener>,
}

/// What routes need to know of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParentListener {
    /// What `sectionName` names.
    pub(crate) name: Arc<str>,
    /// What `port` of a parentRef names: the port as the Gateway writes it.
    pub(crate) port: u16,
    /// What it speaks; `None` when that is not supported.
    pub(crate) protocol: Option<ListenerProtocol>,
    /// Which hosts it is for.
    pub(crate) hostname: HostPattern,
    /// Which routes it takes.
    pub(crate) allowed: AllowedRoutes,
    /// Its conditions.
    pub(crate) verdict: Verdict,
    /// Where its routes' hosts go; `None` when it is not served.
    pub(crate) table: Option<TableId>,
    /// The listener of the model that it is a part of; `None` when it is not served.
    pub(crate) bound: Option<ListenerId>,
    /// The more specific hostnames of others on its port: their names are not its. TLS only; the hosts of requests are
    /// told apart by the sections of the model.
    pub(crate) apart: Arc<BTreeSet<HostPattern>>,
}

/// The table of a listener.
fn table_of(parent: &ParentKey, listener: &str) -> TableId {
    let name = parent.name();
    match parent {
        ParentKey::Gateway(_) => TableId::new(format!("gateway/{name}/{listener}")),
        ParentKey::ListenerSet(_) => TableId::new(format!("listenerset/{name}/{listener}")),
    }
}

/// Gives every listener of the Gateways that are ours, and of their sets, its place. They come in order of age.
/// `services` are the ports of TCP and UDP services.
pub(crate) fn arrange(
    families: &[Family<'_>],
    services: &BTreeSet<(Protocol, u16)>,
    settings: &Settings,
    reception: Reception<'_>,
) -> Arrangement {
    let mut ports = Ports::new(settings, services, reception.policies);
    let mut arrangement = Arrangement::default();
    for family in families {
        let mut taken = Taken::default();
        let key = ParentKey::Gateway(family.name.clone());
        let mut findings = Findings::new(object(&key));
        family.gateway.listeners.iter().for_each(|listener| taken.note(listener));
        let place = |listener| ports.place((&key, &family.gateway.age), family, listener, &mut findings);
        let listeners: Vec<_> = family.gateway.listeners.iter().map(place).collect();
        let refused = family.gateway.refused.as_ref().map(|refusal| refusal.reason);
        arrangement.add(key, family, refused, &family.gateway.listeners, listeners, findings);
        for (name, set) in &family.sets {
            let key = ParentKey::ListenerSet((*name).clone());
            let mut findings = Findings::new(object(&key));
            let refused = refused.or((!set.allowed).then_some(NO_MATCHING_PARENT));
            // Who loses to a listener that came first is in nobody's way.
            let mut distinct = set.listeners.clone();
            for listener in &mut distinct {
                listener.verdict.conflicted = taken.conflict(listener, &mut findings);
            }
            listener::find_conflicts(&mut distinct, &mut findings);
            distinct.iter().for_each(|listener| taken.note(listener));
            let mut place = |listener| match refused {
                None => ports.place((&key, &set.age), family, listener, &mut findings),
                Some(_) => ParentListener::unplaced(listener),
            };
            let listeners = distinct.iter().map(&mut place).collect();
            arrangement.add(key, family, refused, &set.listeners, listeners, findings);
        }
    }
    arrangement.finish(ports, reception);
    arrangement
}

fn object(parent: &ParentKey) -> ObjectRef {
    let kind = match parent {
        ParentKey::Gateway(_) => Kind::Gateway,
        ParentKey::ListenerSet(_) => Kind::ListenerSet,
    };
    Key { kind, name: parent.name().clone() }.object_ref()
}

impl Arrangement {
    fn add(
        &mut self,
        key: ParentKey,
        family: &Family<'_>,
        refused: Option<&'static str>,
        read: &[GatewayListener],
        listeners: Vec<ParentListener>,
        findings: Findings,
    ) {
        for (listener, placed) in read.iter().zip(&listeners) {
            let Some(bound) = &placed.bound else { continue };
            self.certificates.extend(listener.certificates.iter().cloned());
            if let Some(protocol) = listener.protocol.filter(|protocol| protocol.is_stream()) {
                let slot = Slot {
                    bound: bound.clone(),
                    protocol,
                    hostname: listener.hostname.clone(),
                    certificates: listener.certificates.clone(),
                    origin: findings.origin(listener.field.clone()),
                    settings: None,
                    accept_proxy_protocol: false,
                };
                self.slots.insert(SlotKey { parent: key.clone(), listener: listener.name.clone() }, slot);
            }
        }
        let shown = match &family.gateway.client {
            None => Shown::Nothing,
            Some(Ok(certificate)) => Shown::Certificate(ClientCertificate(Arc::clone(certificate))),
            Some(Err(_)) => Shown::Broken,
        };
        let is_default = family.gateway.is_default && matches!(key, ParentKey::Gateway(_));
        let gateway = family.name.clone();
        self.parents.insert(key, Parent { gateway, is_default, refused, shown, listeners });
        self.problems.extend(findings.into_problems());
    }
}

impl Arrangement {
    /// Takes the ports as they are when all listeners have claimed.
    fn finish(&mut self, ports: Ports<'_>, reception: Reception<'_>) {
        let mut apart = BTreeMap::new();
        let mut receiving = reception.begin(self);
        for port in ports.ports.into_values() {
            let id = port.id.clone();
            let mut finished = port.finish();
            if let Some(listener) = &mut finished.listener {
                receiving.receive(listener, finished.beside_ingresses.is_some(), &mut self.slots);
            }
            self.listeners.extend(finished.listener);
            self.beside_ingresses.extend(finished.beside_ingresses.map(|hostnames| (id.clone(), hostnames)));
            apart.insert(id, finished.apart);
        }
        self.effects = receiving.into_effects();
        for listener in self.parents.values_mut().flat_map(|parent| &mut parent.listeners) {
            let is_tls = matches!(listener.protocol, Some(ListenerProtocol::Tls(_)));
            let of_port = listener.bound.as_ref().filter(|_| is_tls).and_then(|bound| apart.get(bound));
            if let Some(apart) = of_port.and_then(|of_port| of_port.get(&listener.hostname)) {
                listener.apart = Arc::clone(apart);
            }
        }
    }
}

impl Parent {
    /// Whether there is a listener that nothing is wrong with, so that it can be served.
    pub(crate) fn has_sound_listener(&self) -> bool {
        self.refused.is_none() && self.listeners.iter().any(|listener| listener.verdict.serves())
    }
}

impl ParentListener {
    /// One that is not served, so far.
    fn unplaced(listener: &GatewayListener) -> Self {
        Self {
            name: listener.name.clone(),
            port: listener.port,
            protocol: listener.protocol,
            hostname: listener.hostname.clone(),
            allowed: listener.allowed.clone(),
            verdict: listener.verdict,
            table: None,
            bound: None,
            apart: Arc::default(),
        }
    }

    /// Whether the connections for a name that its hostname covers are its own.
    pub(crate) fn has(&self, name: &HostPattern) -> bool {
        !port::is_apart(name, &self.apart)
    }
}

/// Ports by where they are on this machine.
struct Ports<'s> {
    settings: &'s Settings,
    policies: &'s ListenerPolicies,
    ports: BTreeMap<PortAt, Port>,
}

/// Where a port is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PortAt {
    /// At the controller's addresses.
    Shared(Wire, u16),
    /// At the addresses of a Gateway.
    Own(NamespacedName, Wire, u16),
}

impl<'s> Ports<'s> {
    /// The ports of Ingresses and of TCP and UDP services are taken before any Gateway asks.
    fn new(settings: &'s Settings, services: &BTreeSet<(Protocol, u16)>, policies: &'s ListenerPolicies) -> Self {
        let addresses = &settings.bind_addresses;
        let at = |port: Port, protocol, number| (PortAt::Shared(Wire::of(protocol), number), port);
        let service = |(protocol, number): &(Protocol, u16)| {
            let wire = Wire::of(*protocol);
            let (id, owner) = (format!("{}/{number}", wire.as_str()), Owner::Services(wire));
            let port = Port::new(id, addresses, *number, *protocol, owner).of(Host::StreamServices);
            at(port, *protocol, *number)
        };
        let mut ports: BTreeMap<_, _> = services.iter().map(service).collect();
        let ingress = |id: &str, number, protocol, public_port| {
            let port = Port::new(id.to_owned(), addresses, number, protocol, Owner::Ingresses);
            at(port.known_as(public_port).of(Host::Ingresses), protocol, number)
        };
        ports.extend([
            ingress("http", settings.http_port, Protocol::Http, 80),
            ingress("https", settings.https_port, Protocol::Https, 443),
        ]);
        Self { settings, policies, ports }
    }

    fn place(
        &mut self,
        (parent, age): (&ParentKey, &RouteAge),
        family: &Family<'_>,
        listener: &GatewayListener,
        findings: &mut Findings,
    ) -> ParentListener {
        let mut placed = ParentListener::unplaced(listener);
        let claims = listener.protocol.filter(|_| listener.verdict.claims());
        let Some(protocol) = claims.map(ListenerProtocol::on_port) else { return placed };
        let (settings, policies) = (self.settings, self.policies);
        let is_shared = matches!(family.addressing.reach, Reach::Controller);
        let port = match &family.addressing.reach {
            Reach::Controller => self.shared(parent, listener, protocol, findings),
            // It gets an address, or a port, later.
            Reach::Own(addresses) if addresses.is_empty() => return placed,
            Reach::Own(addresses) => Ok(self.own(family.name, listener, protocol, (addresses, listener.port))),
            Reach::Service { targets, .. } => match targets.get(&public_port(protocol, listener.port)) {
                Some(target) => Ok(self.own(family.name, listener, protocol, (&settings.bind_addresses, *target))),
                None => return placed,
            },
        };
        let port = match port {
            Err(reason) => {
                match reason {
                    PORT_UNAVAILABLE => placed.verdict.accepted = Some(reason),
                    _ => placed.verdict.conflicted = Some(reason),
                }
                return placed;
            }
            Ok(port) => port,
        };
        let is_served = listener.verdict.serves();
        if is_served && !policies.is_empty() && !port.is_of_ingresses() {
            let holds = policies.holds((parent, family.name, &listener.name), protocol);
            if let Err(obstacle) = port.holding.join(Newcomer { parent, age, holds }, listener.port) {
                obstacle.tell(listener, findings);
                placed.verdict.accepted = Some(obstacle.reason);
                return placed;
            }
        }
        // One Gateway asks for the same on all of a port of its own, but a listener that is not served asks for nothing.
        if is_served || is_shared {
            port.ask(listener);
        }
        let service = service_of(listener);
        let table = table_of(parent, &listener.name);
        placed.table = (service == Service::Http).then(|| table.clone());
        placed.bound = is_served.then(|| port.id.clone());
        port.claim(listener, Owner::Parent(parent.clone()), table, service, findings.origin(listener.field.clone()));
        placed
    }

    /// A port that is a Gateway's own: at its addresses, or one that its Service leads to. Its listeners were held
    /// against each other, and there is nobody else.
    fn own(
        &mut self,
        gateway: &NamespacedName,
        listener: &GatewayListener,
        protocol: Protocol,
        (addresses, number): (&[IpAddr], u16),
    ) -> &mut Port {
        let wire = Wire::of(protocol);
        self.ports.entry(PortAt::Own(gateway.clone(), wire, listener.port)).or_insert_with(|| {
            let id = format!("gateway/{gateway}/{}/{}", wire.as_str(), listener.port);
            let owner = Owner::Parent(ParentKey::Gateway(gateway.clone()));
            Port::new(id, addresses, number, protocol, owner).known_as(listener.port)
        })
    }

    /// The port of a listener at the controller's addresses, or the reason why it can't have it.
    fn shared(
        &mut self,
        parent: &ParentKey,
        listener: &GatewayListener,
        protocol: Protocol,
        findings: &mut Findings,
    ) -> Result<&mut Port, &'static str> {
        let wire = Wire::of(protocol);
        let mapped = self.settings.gateway_ports.get(&listener.port).copied().filter(|_| wire == Wire::Tcp);
        let number = mapped.unwrap_or(listener.port);
        let owner = Owner::Parent(parent.clone());
        if self.settings.is_target_port(number) {
            let message = format!("port {number} is one of those that Services of Gateways lead to");
            let mend = "use another port, or another range for --gateway-target-ports";
            findings.error(format!("{}.port", listener.field), PORT_UNAVAILABLE, message, mend);
            return Err(PORT_UNAVAILABLE);
        }
        let port = self.ports.entry(PortAt::Shared(wire, number)).or_insert_with(|| {
            let port = Port::new(shared_id(protocol, number), &self.settings.bind_addresses, number, protocol, owner);
            port.known_as(listener.port)
        });
        if let Some(obstacle) = port.obstacle(parent, listener, protocol) {
            obstacle.tell(listener, findings);
            return Err(obstacle.reason);
        }
        if port.public_port != listener.port {
            let message = format!(
                "port {} is served here as port {} of {}; redirects and X-Forwarded-Port name that one",
                listener.port,
                port.public_port,
                port.owner.told_in(&parent.name().namespace)
            );
            findings.warning(format!("{}.port", listener.field), PORT_UNAVAILABLE, message, "use another port");
        }
        Ok(port)
    }
}

/// What becomes of the connections for a listener's hostname.
fn service_of(listener: &GatewayListener) -> Service {
    match listener.protocol {
        _ if !listener.verdict.serves() => Service::Nothing,
        Some(protocol) if protocol.is_stream() => Service::Stream,
        _ => Service::Http,
    }
}

/// The id of a port that Gateways share.
fn shared_id(protocol: Protocol, number: u16) -> String {
    match Wire::of(protocol) {
        Wire::Tcp => format!("gateway/{number}"),
        Wire::Udp => format!("gateway/{number}/udp"),
    }
}
