//! Ports: what the listeners of all Gateways make of each other, and of the ports that Ingresses are served on.
//!
//! The older Gateway wins: a Gateway of another tenant that comes later can take away neither a port's protocol nor a
//! hostname. Listeners on one port become one listener of the model with a section each.

use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_routing::model::{Certificate, Listener, Protocol, Section, SharedMap};
use genkan_routing::name::{CertificateId, HostPattern, ListenerId, TableId};
use genkan_routing::report::Problem;

use super::allowed::AllowedRoutes;
use super::findings::Findings;
use super::gateways::{GatewayListener, GatewayOutcome, Verdict};
use super::hostname::intersect;
use super::parent::ParentKey;
use super::protocol::ListenerProtocol;
use super::reason::{HOSTNAME_CONFLICT, PORT_UNAVAILABLE, PROTOCOL_CONFLICT};
use crate::resources::{Key, Kind, NamespacedName};
use crate::settings::Settings;
use crate::translate::ingress::TABLE as INGRESS_TABLE;

/// The ports of all Gateways.
#[derive(Debug, Default)]
pub(crate) struct Arrangement {
    /// One per port.
    pub(crate) listeners: Vec<Listener>,
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
    /// The reason why nothing of it is served.
    pub(crate) refused: Option<&'static str>,
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
}

/// The table of a Gateway's listener.
fn table_of(gateway: &NamespacedName, listener: &str) -> TableId {
    TableId::new(format!("gateway/{gateway}/{listener}"))
}

/// Gives every listener of every Gateway its place.
pub(crate) fn arrange<'g>(
    gateways: impl Iterator<Item = (&'g NamespacedName, &'g Arc<GatewayOutcome>)>,
    settings: &Settings,
) -> Arrangement {
    let mut gateways: Vec<_> = gateways.filter(|(_, gateway)| gateway.ours).collect();
    gateways.sort_by(|(_, one), (_, other)| one.age.cmp(&other.age));
    let mut ports = Ports::new(settings);
    let mut arrangement = Arrangement::default();
    for (name, gateway) in gateways {
        let key = Key { kind: Kind::Gateway, name: name.clone() };
        let mut findings = Findings::new(key.object_ref());
        let listeners = gateway.listeners.iter().map(|listener| ports.place(name, listener, &mut findings)).collect();
        for (listener, placed) in gateway.listeners.iter().zip::<&Vec<ParentListener>>(&listeners) {
            if placed.table.is_some() {
                arrangement.certificates.extend(listener.certificates.iter().cloned());
            }
        }
        arrangement.parents.insert(ParentKey::Gateway(name.clone()), Parent { refused: gateway.refused, listeners });
        arrangement.problems.extend(findings.into_problems());
    }
    arrangement.listeners = ports.into_listeners();
    arrangement
}

/// Ports by their number on this machine.
struct Ports<'s> {
    settings: &'s Settings,
    ports: BTreeMap<u16, Port>,
}

/// A port and who claimed what of it.
struct Port {
    id: ListenerId,
    protocol: Protocol,
    public_port: u16,
    owner: String,
    /// Its Ingress listener has a default certificate of its own.
    of_ingress: bool,
    hostnames: BTreeMap<HostPattern, String>,
    sections: Vec<Section>,
    certificates: SharedMap<HostPattern, Vec<CertificateId>>,
    default_certificate: Option<CertificateId>,
}

impl Port {
    fn new(id: String, protocol: Protocol, public_port: u16, owner: String, of_ingress: bool) -> Self {
        Self {
            id: ListenerId::new(id),
            protocol,
            public_port,
            owner,
            of_ingress,
            hostnames: BTreeMap::new(),
            sections: Vec::new(),
            certificates: SharedMap::default(),
            default_certificate: None,
        }
    }

    /// Serves a listener here.
    fn serve(&mut self, listener: &GatewayListener, table: TableId) {
        self.sections.push(Section { hostname: listener.hostname.clone(), table });
        // A Gateway beside Ingresses must not take their hosts away: a request belongs to the sections with the most
        // specific hostname only, so the Ingresses follow into each. Their own section covers the rest.
        if self.of_ingress && listener.hostname != HostPattern::Any {
            self.sections.push(Section { hostname: listener.hostname.clone(), table: TableId::new(INGRESS_TABLE) });
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

impl<'s> Ports<'s> {
    /// The ports of Ingresses are taken before any Gateway asks.
    fn new(settings: &'s Settings) -> Self {
        let ingress = |id: &str, protocol, public_port| {
            Port::new(id.to_owned(), protocol, public_port, "the Ingresses".to_owned(), true)
        };
        let ports = BTreeMap::from([
            (settings.http_port, ingress("http", Protocol::Http, 80)),
            (settings.https_port, ingress("https", Protocol::Https, 443)),
        ]);
        Self { settings, ports }
    }

    fn place(
        &mut self,
        gateway: &NamespacedName,
        listener: &GatewayListener,
        findings: &mut Findings,
    ) -> ParentListener {
        let mut placed = ParentListener {
            name: listener.name.clone(),
            port: listener.port,
            protocol: listener.protocol,
            hostname: listener.hostname.clone(),
            allowed: listener.allowed.clone(),
            verdict: listener.verdict,
            table: None,
        };
        let claims = listener.protocol.filter(|_| listener.verdict.claims());
        let Some(protocol) = claims.map(ListenerProtocol::on_port) else { return placed };
        match self.claim(gateway, listener, protocol, findings) {
            Err(reason) => placed.verdict.conflicted = Some(reason),
            Ok(port) if listener.verdict.serves() => {
                let table = table_of(gateway, &listener.name);
                port.serve(listener, table.clone());
                placed.table = Some(table);
            }
            Ok(_) => {}
        }
        placed
    }

    /// Takes a port and a hostname on it, or says who has them.
    fn claim(
        &mut self,
        gateway: &NamespacedName,
        listener: &GatewayListener,
        protocol: Protocol,
        findings: &mut Findings,
    ) -> Result<&mut Port, &'static str> {
        let number = self.settings.gateway_ports.get(&listener.port).copied().unwrap_or(listener.port);
        let owner = format!("Gateway {gateway}");
        let port = self
            .ports
            .entry(number)
            .or_insert_with(|| Port::new(format!("gateway/{number}"), protocol, listener.port, owner.clone(), false));
        if port.protocol != protocol {
            let message = format!(
                "port {} is used by {} with {}; this listener is not served",
                listener.port,
                port.owner,
                protocol_name(port.protocol)
            );
            let mend = "use another port, or the same protocol";
            findings.error(format!("{}.port", listener.field), PROTOCOL_CONFLICT, message, mend);
            return Err(PROTOCOL_CONFLICT);
        }
        if let Some(holder) = port.hostnames.get(&listener.hostname) {
            let message = format!(
                "{holder} came first and has this hostname on port {}; this listener is not served",
                listener.port
            );
            let mend = "use another hostname or port, or attach the routes to that Gateway";
            findings.error(format!("{}.hostname", listener.field), HOSTNAME_CONFLICT, message, mend);
            return Err(HOSTNAME_CONFLICT);
        }
        if port.public_port != listener.port {
            let message = format!(
                "port {} is served here as port {} of {}; redirects and X-Forwarded-Port name that one",
                listener.port, port.public_port, port.owner
            );
            findings.warning(format!("{}.port", listener.field), PORT_UNAVAILABLE, message, "use another port");
        }
        port.hostnames.insert(listener.hostname.clone(), owner);
        Ok(port)
    }

    fn into_listeners(self) -> Vec<Listener> {
        let addresses = &self.settings.bind_addresses;
        let served = self.ports.into_iter().filter(|(_, port)| !port.sections.is_empty());
        served
            .map(|(number, port)| Listener {
                id: port.id,
                addresses: addresses.clone(),
                port: number,
                public_port: port.public_port,
                protocol: port.protocol,
                sections: port.sections,
                certificates: port.certificates,
                default_certificate: port.default_certificate,
                passthrough: SharedMap::default(),
                terminated: SharedMap::default(),
                client_auth: None,
                unknown_name: Default::default(),
                stream: None,
            })
            .collect()
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
