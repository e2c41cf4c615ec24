//! A port: which listeners have claimed what of it, and what it becomes in the model.
//!
//! ```text
//!  listeners, oldest first --> obstacle? --> claim of a hostname --> served, or kept from less specific listeners
//!                                                  |
//!                                                  v
//!                         names below a claim belong to it alone (`apart`): certificates, and names of routes
//! ```
//!
//! The traffic of a name belongs to the listener with the most specific hostname that covers it, whoever came first and
//! whatever routes and certificates of others say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use genkan_routing::model::{Certificate, ClientAuth, Listener, Protocol, Section, SharedMap, Stream, UnknownName};
use genkan_routing::name::{CertificateId, HostPattern, ListenerId, Origin, TableId};

use super::findings::Findings;
use super::gateways::GatewayListener;
use super::hostname::{covering, intersect};
use super::naming::Owner;
use super::parent::ParentKey;
use super::ports::Holding;
use super::protocol::ListenerProtocol;
use super::reason::{HOSTNAME_CONFLICT, PORT_UNAVAILABLE, PROTOCOL_CONFLICT};
use crate::translate::ingress::TABLE as INGRESS_TABLE;

/// What a port is a port of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wire {
    Tcp,
    Udp,
}

impl Wire {
    pub(super) fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http | Protocol::Https | Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Who had a port before any Gateway asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Host {
    /// Nobody.
    #[default]
    Nobody,
    /// The Ingresses, whose listener has a default certificate of its own; hostnames are free.
    Ingresses,
    /// The ConfigMap of TCP or UDP services: it is the administrator's, and no part of it is free.
    StreamServices,
}

/// A port and who claimed what of it.
pub(super) struct Port {
    pub(super) id: ListenerId,
    addresses: Vec<IpAddr>,
    pub(super) public_port: u16,
    pub(super) owner: Owner,
    number: u16,
    protocol: Protocol,
    host: Host,
    claims: BTreeMap<HostPattern, Claim>,
    /// Certificates by name, with the hostname of the listener that has them.
    named: Vec<(HostPattern, HostPattern, CertificateId)>,
    default_certificate: Option<CertificateId>,
    /// What the first HTTPS listener here asks its clients for; it is asked of all. `None` while there is none.
    client_auth: Option<Option<Arc<ClientAuth>>>,
    /// What policies say of it that came first.
    pub(super) holding: Holding,
}

/// Who has a hostname.
struct Claim {
    owner: Owner,
    /// The table of its requests.
    table: TableId,
    service: Service,
    /// The listener in its object.
    origin: Origin,
}

/// What becomes of the connections for a hostname.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Nothing: something that the listener needs is missing.
    Nothing,
    /// They carry HTTP.
    Http,
    /// They follow routes of streams.
    Stream,
}

/// Why a listener can't have a port.
pub(super) struct Obstacle {
    /// The part of the listener.
    pub(super) field: &'static str,
    /// The reason: of `Conflicted` when another Gateway is in the way, else of `Accepted`.
    pub(super) reason: &'static str,
    /// Why.
    pub(super) message: String,
    /// What helps.
    pub(super) mend: &'static str,
}

/// A port when all have claimed.
#[derive(Debug, Default)]
pub(super) struct Finished {
    /// What to listen on; `None` when nothing is served.
    pub(super) listener: Option<Listener>,
    /// Hostnames with others that are more specific, by the less specific one.
    pub(super) apart: BTreeMap<HostPattern, Arc<BTreeSet<HostPattern>>>,
    /// The hostnames that are served, where Ingresses are served as well.
    pub(super) beside_ingresses: Option<BTreeSet<HostPattern>>,
}

impl Obstacle {
    /// Tells that a listener is not served.
    pub(super) fn tell(&self, listener: &GatewayListener, findings: &mut Findings) {
        let field = format!("{}.{}", listener.field, self.field);
        findings.error(field, self.reason, format!("{}; this listener is not served", self.message), self.mend);
    }
}

impl Port {
    pub(super) fn new(id: String, addresses: &[IpAddr], number: u16, protocol: Protocol, owner: Owner) -> Self {
        Self {
            id: ListenerId::new(id),
            addresses: addresses.to_vec(),
            number,
            protocol,
            public_port: number,
            owner,
            host: Host::Nobody,
            claims: BTreeMap::new(),
            named: Vec::new(),
            default_certificate: None,
            client_auth: None,
            holding: Holding::default(),
        }
    }

    /// A port that clients know by this number.
    pub(super) fn known_as(self, public_port: u16) -> Self {
        Self { public_port, ..self }
    }

    /// A port that somebody had before.
    pub(super) fn of(self, host: Host) -> Self {
        // Ingresses ask no client for a certificate.
        let client_auth = (host == Host::Ingresses).then_some(None);
        Self { host, client_auth, ..self }
    }

    /// Whether Ingresses are served here as well.
    pub(super) fn is_of_ingresses(&self) -> bool {
        self.host == Host::Ingresses
    }

    /// Why a listener of a Gateway or ListenerSet can't be served here, if so.
    pub(super) fn obstacle(
        &self,
        parent: &ParentKey,
        listener: &GatewayListener,
        protocol: Protocol,
    ) -> Option<Obstacle> {
        let told = |owner: &Owner| owner.told_in(&parent.name().namespace);
        let (number, owner) = (listener.port, told(&self.owner));
        let of_gateways = self.host == Host::Nobody;
        if self.host == Host::StreamServices || self.protocol != protocol {
            let message = format!("port {number} is used by {owner} with {}", protocol_name(self.protocol));
            let reason = if of_gateways { PROTOCOL_CONFLICT } else { PORT_UNAVAILABLE };
            let mend = match self.host {
                Host::StreamServices => "use another port",
                Host::Ingresses | Host::Nobody => "use another port, or the same protocol",
            };
            return Some(Obstacle { field: "port", reason, message, mend });
        }
        if let Some(holder) = self.claims.get(&listener.hostname) {
            let message = format!("{} came first and has this hostname on port {number}", told(&holder.owner));
            let mend = "use another hostname or port, or attach the routes to that Gateway";
            return Some(Obstacle { field: "hostname", reason: HOSTNAME_CONFLICT, message, mend });
        }
        // Their default certificate is for every name that nothing else is for.
        let takes_all = listener.hostname == HostPattern::Any
            && listener.protocol.is_some_and(|protocol| matches!(protocol, ListenerProtocol::Tls(_)));
        if self.host == Host::Ingresses && takes_all {
            let message = format!("{owner} answer every server name on port {number} that nothing else is for");
            let mend = "name the hosts, or use another port";
            return Some(Obstacle { field: "hostname", reason: PORT_UNAVAILABLE, message, mend });
        }
        let is_https = listener.protocol == Some(ListenerProtocol::Https);
        if is_https && self.client_auth.as_ref().is_some_and(|asked| *asked != listener.client_auth) {
            let message = format!("{owner} came first and asks other client certificates on port {number}, or none");
            return Some(Obstacle { field: "port", reason: PORT_UNAVAILABLE, message, mend: "use another port" });
        }
        None
    }

    /// What clients of HTTPS are asked for here from now on, unless somebody said so before.
    pub(super) fn ask(&mut self, listener: &GatewayListener) {
        if listener.protocol == Some(ListenerProtocol::Https) {
            self.client_auth.get_or_insert_with(|| listener.client_auth.clone());
        }
    }

    /// Gives a hostname to a listener.
    pub(super) fn claim(
        &mut self,
        listener: &GatewayListener,
        owner: Owner,
        table: TableId,
        service: Service,
        origin: Origin,
    ) {
        if service == Service::Http {
            let names = by_name(listener).into_iter();
            self.named.extend(names.map(|(name, id)| (listener.hostname.clone(), name, id)));
            if listener.hostname == HostPattern::Any
                && self.host != Host::Ingresses
                && self.default_certificate.is_none()
            {
                self.default_certificate = listener.certificates.first().map(|certificate| certificate.id.clone());
            }
        }
        self.claims.insert(listener.hostname.clone(), Claim { owner, table, service, origin });
    }

    pub(super) fn finish(self) -> Finished {
        let apart = self.apart();
        let is_served = |service: Service| self.claims.values().any(|claim| claim.service == service);
        let (http, streams) = (is_served(Service::Http), is_served(Service::Stream));
        let beside_ingresses = (self.host == Host::Ingresses).then(|| {
            let served = self.claims.iter().filter(|(_, claim)| claim.service != Service::Nothing);
            served.map(|(hostname, _)| hostname.clone()).collect()
        });
        if !http && !streams {
            return Finished { listener: None, apart, beside_ingresses };
        }
        // Without HTTP there is nobody who would read an alert.
        let unknown_name = match !http && self.protocol == Protocol::Https {
            true => UnknownName::Close,
            false => UnknownName::Alert,
        };
        let listener = Listener {
            sections: if http || self.host == Host::Ingresses { self.sections() } else { Vec::new() },
            certificates: self.certificates(&apart),
            passthrough: self.closed(),
            id: self.id,
            addresses: self.addresses,
            port: self.number,
            public_port: self.public_port,
            protocol: self.protocol,
            unknown_name,
            default_certificate: self.default_certificate,
            terminated: SharedMap::default(),
            client_auth: self.client_auth.flatten(),
            client: None,
            tls: SharedMap::default(),
            stream: None,
        };
        Finished { listener: Some(listener), apart, beside_ingresses }
    }

    /// For each hostname the more specific ones that others have.
    fn apart(&self) -> BTreeMap<HostPattern, Arc<BTreeSet<HostPattern>>> {
        let mut apart: BTreeMap<HostPattern, BTreeSet<HostPattern>> = BTreeMap::new();
        for hostname in self.claims.keys() {
            let outer = covering(hostname).into_iter().skip(1).filter(|outer| self.claims.contains_key(outer));
            for outer in outer {
                apart.entry(outer).or_default().insert(hostname.clone());
            }
        }
        apart.into_iter().map(|(hostname, apart)| (hostname, Arc::new(apart))).collect()
    }

    /// Whether a less specific listener would get what this hostname is for.
    fn is_covered(&self, hostname: &HostPattern) -> bool {
        covering(hostname).iter().skip(1).any(|outer| self.claims.contains_key(outer))
    }

    fn sections(&self) -> Vec<Section> {
        let mut sections = Vec::with_capacity(self.claims.len());
        for (hostname, claim) in &self.claims {
            let kept = match claim.service {
                Service::Http => true,
                // There is no such table: requests for its hosts that come over other connections are misdirected, and
                // less specific listeners don't get them.
                Service::Stream => self.protocol == Protocol::Https,
                Service::Nothing => self.is_covered(hostname),
            };
            if !kept {
                continue;
            }
            sections.push(Section::new(hostname.clone(), claim.table.clone()));
            // A Gateway beside Ingresses must not take their hosts away: a request belongs to the sections with the most
            // specific hostname only, so the Ingresses follow into each. Their own section covers the rest.
            if self.host == Host::Ingresses && *hostname != HostPattern::Any {
                sections.push(Section::new(hostname.clone(), TableId::new(INGRESS_TABLE)));
            }
        }
        sections
    }

    /// The certificates of each name, without names that another listener's hostname is for.
    fn certificates(
        &self,
        apart: &BTreeMap<HostPattern, Arc<BTreeSet<HostPattern>>>,
    ) -> SharedMap<HostPattern, Vec<CertificateId>> {
        let mut certificates: SharedMap<HostPattern, Vec<CertificateId>> = SharedMap::default();
        for (hostname, name, id) in &self.named {
            if apart.get(hostname).is_some_and(|apart| is_apart(name, apart)) {
                continue;
            }
            match certificates.get_mut(name) {
                Some(ids) if ids.contains(id) => {}
                Some(ids) => ids.push(id.clone()),
                None => drop(certificates.insert(name.clone(), vec![id.clone()])),
            }
        }
        certificates
    }

    /// Names whose connections are closed though less specific listeners would take them: what serves them is missing.
    /// Ingresses are never shut out so.
    fn closed(&self) -> SharedMap<HostPattern, Arc<Stream>> {
        let missing = self.claims.iter().filter(|(hostname, claim)| {
            claim.service == Service::Nothing
                && self.protocol == Protocol::Https
                && self.host == Host::Nobody
                && self.is_covered(hostname)
        });
        missing.map(|(hostname, claim)| (hostname.clone(), Arc::new(nowhere(claim.origin.clone())))).collect()
    }
}

/// Whether a name that a listener's hostname covers belongs to one of the more specific hostnames of others.
pub(super) fn is_apart(name: &HostPattern, apart: &BTreeSet<HostPattern>) -> bool {
    !apart.is_empty() && covering(name).iter().any(|pattern| apart.contains(pattern))
}

/// Where connections go that nothing takes.
pub(super) fn nowhere(origin: Origin) -> Stream {
    Stream { origin, accept_proxy_protocol: false, send_proxy_protocol: false, settings: None, backends: Vec::new() }
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
