//! Ports: what the listeners of all Gateways make of each other, and of the ports that Ingresses are served on.
//!
//! Gateways with addresses of their own meet nobody: their ports are theirs. On the controller's addresses the older
//! Gateway wins: a Gateway of another tenant that comes later can take away neither a port's protocol nor a hostname.
//! Listeners on one port become one listener of the model with a section each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use genkan_routing::model::{
    Certificate, ClientAuth, ClientCertificate, Listener, Protocol, Section, SharedMap, UnknownName,
};
use genkan_routing::name::{CertificateId, HostPattern, ListenerId, ObjectRef, TableId};
use genkan_routing::report::Problem;

use super::allowed::AllowedRoutes;
use super::family::{Family, Taken};
use super::findings::Findings;
use super::gateways::{GatewayListener, Verdict};
use super::hostname::intersect;
use super::listener;
use super::parent::ParentKey;
use super::protocol::ListenerProtocol;
use super::reason::{NO_MATCHING_PARENT, PORT_UNAVAILABLE};
use super::streams::{Slot, SlotKey};
use crate::resources::{Key, Kind, NamespacedName};
use crate::settings::Settings;
use crate::translate::cluster::Shown;
use crate::translate::ingress::TABLE as INGRESS_TABLE;

/// The ports of all Gateways.
#[derive(Debug, Default)]
pub(crate) struct Arrangement {
    /// One per port.
    pub(crate) listeners: Vec<Listener>,
    /// Where routes of streams go.
    pub(crate) slots: BTreeMap<SlotKey, Slot>,
    /// What routes may attach to.
    pub(crate) parents: BTreeMap<ParentKey, Parent>,
    /// The certificates of the listeners that are served.
    pub(crate) certificates: Vec<Arc<Certificate>>,
    /// Conflicts across Gateways.
    pub(crate) problems: Vec<Problem>,
}

/// What routes need to know of a Gateway or ListenerSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    /// The Gateway that it is, or belongs to.
    pub(crate) gateway: NamespacedName,
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
pub(crate) fn arrange(families: &[Family<'_>], settings: &Settings) -> Arrangement {
    let mut ports = Ports::new(settings);
    let mut arrangement = Arrangement::default();
    for family in families {
        let mut taken = Taken::default();
        let key = ParentKey::Gateway(family.name.clone());
        let mut findings = Findings::new(object(&key));
        family.gateway.listeners.iter().for_each(|listener| taken.note(listener));
        let place = |listener| ports.place(&key, family, listener, &mut findings);
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
                None => ports.place(&key, family, listener, &mut findings),
                Some(_) => ParentListener::unplaced(listener),
            };
            let listeners = distinct.iter().map(&mut place).collect();
            arrangement.add(key, family, refused, &set.listeners, listeners, findings);
        }
    }
    arrangement.listeners = ports.into_listeners();
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
                };
                self.slots.insert(SlotKey { parent: key.clone(), listener: listener.name.clone() }, slot);
            }
        }
        let shown = match &family.gateway.client {
            None => Shown::Nothing,
            Some(Ok(certificate)) => Shown::Certificate(ClientCertificate(Arc::clone(certificate))),
            Some(Err(_)) => Shown::Broken,
        };
        self.parents.insert(key, Parent { gateway: family.name.clone(), refused, shown, listeners });
        self.problems.extend(findings.into_problems());
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
        }
    }
}

/// Ports by where they are on this machine.
struct Ports<'s> {
    settings: &'s Settings,
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

/// What a port is a port of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wire {
    Tcp,
    Udp,
}

impl Wire {
    fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http | Protocol::Https | Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port and who claimed what of it.
struct Port {
    id: ListenerId,
    addresses: Vec<IpAddr>,
    number: u16,
    protocol: Protocol,
    public_port: u16,
    owner: String,
    /// Its Ingress listener has a default certificate of its own.
    of_ingress: bool,
    hostnames: BTreeMap<HostPattern, String>,
    sections: Vec<Section>,
    certificates: SharedMap<HostPattern, Vec<CertificateId>>,
    default_certificate: Option<CertificateId>,
    /// What the first listener that opens TLS here asks its clients for; it is asked of all. `None` while there is none.
    client_auth: Option<Option<Arc<ClientAuth>>>,
    /// A listener of streams is served here.
    has_streams: bool,
}

impl Port {
    fn new(id: String, number: u16, protocol: Protocol, public_port: u16, owner: String) -> Self {
        Self {
            id: ListenerId::new(id),
            addresses: Vec::new(),
            number,
            protocol,
            public_port,
            owner,
            of_ingress: false,
            hostnames: BTreeMap::new(),
            sections: Vec::new(),
            certificates: SharedMap::default(),
            default_certificate: None,
            client_auth: None,
            has_streams: false,
        }
    }

    /// Serves a listener of HTTP here.
    fn serve(&mut self, listener: &GatewayListener, table: TableId) {
        self.sections.push(Section::new(listener.hostname.clone(), table));
        // A Gateway beside Ingresses must not take their hosts away: a request belongs to the sections with the most
        // specific hostname only, so the Ingresses follow into each. Their own section covers the rest.
        if self.of_ingress && listener.hostname != HostPattern::Any {
            self.sections.push(Section::new(listener.hostname.clone(), TableId::new(INGRESS_TABLE)));
        }
        for (name, id) in by_name(listener) {
            match self.certificates.get_mut(&name) {
                Some(ids) if ids.contains(&id) => {}
                Some(ids) => ids.push(id),
                None => drop(self.certificates.insert(name, vec![id])),
            }
        }
        if listener.hostname == HostPattern::Any && !self.of_ingress && self.default_certificate.is_none() {
            self.default_certificate = listener.certificates.first().map(|certificate| certificate.id.clone());
        }
    }
}

/// Why a listener can't have a port.
struct Obstacle {
    field: &'static str,
    message: String,
    mend: &'static str,
}

impl Port {
    /// Why a listener can't be served here, if so.
    fn obstacle(&self, listener: &GatewayListener, protocol: Protocol) -> Option<Obstacle> {
        let (number, owner) = (listener.port, &self.owner);
        if self.protocol != protocol {
            let message = format!("port {number} is used by {owner} with {}", protocol_name(self.protocol));
            return Some(Obstacle { field: "port", message, mend: "use another port, or the same protocol" });
        }
        if let Some(holder) = self.hostnames.get(&listener.hostname) {
            let message = format!("{holder} came first and has this hostname on port {number}");
            let mend = "use another hostname or port, or attach the routes to that Gateway";
            return Some(Obstacle { field: "hostname", message, mend });
        }
        // Their default certificate is for every name that nothing else is for.
        let takes_all = listener.hostname == HostPattern::Any
            && listener.protocol.is_some_and(|protocol| matches!(protocol, ListenerProtocol::Tls(_)));
        if self.of_ingress && takes_all {
            let message = format!("{owner} answer every server name on port {number} that nothing else is for");
            return Some(Obstacle { field: "hostname", message, mend: "name the hosts, or use another port" });
        }
        if listener.opens_tls() && self.client_auth.as_ref().is_some_and(|asked| *asked != listener.client_auth) {
            let message = format!("{owner} came first and asks other client certificates on port {number}, or none");
            return Some(Obstacle { field: "port", message, mend: "use another port" });
        }
        None
    }
}

impl<'s> Ports<'s> {
    /// The ports of Ingresses are taken before any Gateway asks.
    fn new(settings: &'s Settings) -> Self {
        let ingress = |id: &str, number, protocol, public_port| {
            let port = Port::new(id.to_owned(), number, protocol, public_port, "the Ingresses".to_owned());
            let addresses = settings.bind_addresses.clone();
            // Ingresses ask no client for a certificate.
            let port = Port { of_ingress: true, addresses, client_auth: Some(None), ..port };
            (PortAt::Shared(Wire::Tcp, number), port)
        };
        let ports = [
            ingress("http", settings.http_port, Protocol::Http, 80),
            ingress("https", settings.https_port, Protocol::Https, 443),
        ];
        Self { settings, ports: ports.into() }
    }

    fn place(
        &mut self,
        parent: &ParentKey,
        family: &Family<'_>,
        listener: &GatewayListener,
        findings: &mut Findings,
    ) -> ParentListener {
        let mut placed = ParentListener::unplaced(listener);
        let claims = listener.protocol.filter(|_| listener.verdict.claims());
        let Some(protocol) = claims.map(ListenerProtocol::on_port) else { return placed };
        let own = family.addressing.own.as_deref();
        let port = match own {
            Some(addresses) => Ok(self.own(family.name, listener, protocol, addresses)),
            None => self.claim(parent, listener, protocol, findings),
        };
        match port {
            Err(reason) => placed.verdict.accepted = Some(reason),
            Ok(port) if listener.verdict.serves() && own.is_none_or(|addresses| !addresses.is_empty()) => {
                if listener.protocol.is_some_and(ListenerProtocol::is_stream) {
                    port.has_streams = true;
                } else {
                    let table = table_of(parent, &listener.name);
                    port.serve(listener, table.clone());
                    placed.table = Some(table);
                }
                placed.bound = Some(port.id.clone());
            }
            Ok(_) => {}
        }
        placed
    }

    /// A port at a Gateway's own addresses. Its listeners were held against each other, and there is nobody else.
    fn own(
        &mut self,
        gateway: &NamespacedName,
        listener: &GatewayListener,
        protocol: Protocol,
        addresses: &[IpAddr],
    ) -> &mut Port {
        let wire = Wire::of(protocol);
        let port = self.ports.entry(PortAt::Own(gateway.clone(), wire, listener.port)).or_insert_with(|| {
            let id = format!("gateway/{gateway}/{}/{}", wire.as_str(), listener.port);
            let port = Port::new(id, listener.port, protocol, listener.port, format!("Gateway {gateway}"));
            Port { addresses: addresses.to_vec(), ..port }
        });
        // One Gateway asks for the same on all of a port, but a listener that is not served asks for nothing.
        if listener.opens_tls() && listener.verdict.serves() {
            port.client_auth.get_or_insert_with(|| listener.client_auth.clone());
        }
        port
    }

    /// Takes a port and a hostname on it, or says who has them.
    fn claim(
        &mut self,
        parent: &ParentKey,
        listener: &GatewayListener,
        protocol: Protocol,
        findings: &mut Findings,
    ) -> Result<&mut Port, &'static str> {
        let wire = Wire::of(protocol);
        let mapped = self.settings.gateway_ports.get(&listener.port).copied().filter(|_| wire == Wire::Tcp);
        let number = mapped.unwrap_or(listener.port);
        let owner = parent.to_string();
        let port = self.ports.entry(PortAt::Shared(wire, number)).or_insert_with(|| {
            let port = Port::new(shared_id(protocol, number), number, protocol, listener.port, owner.clone());
            Port { addresses: self.settings.bind_addresses.clone(), ..port }
        });
        if let Some(obstacle) = port.obstacle(listener, protocol) {
            let field = format!("{}.{}", listener.field, obstacle.field);
            let message = format!("{}; this listener is not served", obstacle.message);
            findings.error(field, PORT_UNAVAILABLE, message, obstacle.mend);
            return Err(PORT_UNAVAILABLE);
        }
        if port.public_port != listener.port {
            let message = format!(
                "port {} is served here as port {} of {}; redirects and X-Forwarded-Port name that one",
                listener.port, port.public_port, port.owner
            );
            findings.warning(format!("{}.port", listener.field), PORT_UNAVAILABLE, message, "use another port");
        }
        if listener.opens_tls() {
            port.client_auth.get_or_insert_with(|| listener.client_auth.clone());
        }
        port.hostnames.insert(listener.hostname.clone(), owner);
        Ok(port)
    }

    fn into_listeners(self) -> Vec<Listener> {
        let served = self.ports.into_values().filter(|port| port.has_streams || !port.sections.is_empty());
        served
            .map(|port| Listener {
                id: port.id,
                addresses: port.addresses,
                port: port.number,
                public_port: port.public_port,
                protocol: port.protocol,
                // Without HTTP there is nobody who would read an alert.
                unknown_name: match port.sections.is_empty() && port.protocol == Protocol::Https {
                    true => UnknownName::Close,
                    false => UnknownName::Alert,
                },
                sections: port.sections,
                certificates: port.certificates,
                default_certificate: port.default_certificate,
                passthrough: SharedMap::default(),
                terminated: SharedMap::default(),
                client_auth: port.client_auth.flatten(),
                client: None,
                tls: SharedMap::default(),
                stream: None,
            })
            .collect()
    }
}

/// The id of a port that Gateways share.
fn shared_id(protocol: Protocol, number: u16) -> String {
    match Wire::of(protocol) {
        Wire::Tcp => format!("gateway/{number}"),
        Wire::Udp => format!("gateway/{number}/udp"),
    }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "HTTP",
        Protocol::Https => "HTTPS",
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

/// The server names that a listener's certificates are shown for. The API ties them to the listener's hostname; with
/// several certificates each is besides shown for the names of its own that the hostname covers, so that the longest
/// matching name wins.
fn by_name(listener: &GatewayListener) -> Vec<(HostPattern, CertificateId)> {
    let mut named = Vec::new();
    let covers = |certificate: &&Arc<Certificate>| {
        certificate.names.iter().any(|name| intersect(name, &listener.hostname).as_ref() == Some(&listener.hostname))
    };
    // Those that cover the whole hostname come first; without one, the first reference stands in.
    let whole: Vec<_> = listener.certificates.iter().filter(covers).collect();
    let whole = if whole.is_empty() { listener.certificates.iter().take(1).collect() } else { whole };
    named.extend(whole.into_iter().map(|certificate| (listener.hostname.clone(), certificate.id.clone())));
    if listener.certificates.len() > 1 {
        for certificate in &listener.certificates {
            let names = certificate.names.iter().filter_map(|name| intersect(name, &listener.hostname));
            named.extend(names.filter(|name| *name != listener.hostname).map(|name| (name, certificate.id.clone())));
        }
    }
    named
}
