//! Listeners, their sections, and the tables of hosts that they serve.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::{Match, SharedMap, Stream};
use crate::name::{CertificateId, HostPattern, ListenerId, TableId};
use crate::policy::access_log::AccessLog;
use crate::policy::client::ClientSettings;
use crate::policy::forwarded::Forwarded;
use crate::policy::stream::StreamSettings;
use crate::policy::tls::TlsSettings;

/// Addresses, a port and a protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its id.
    pub id: ListenerId,
    /// The addresses to bind; empty means every address of the machine, IPv6 and IPv4.
    pub addresses: Vec<IpAddr>,
    /// The port to bind. 0 lets the system choose (tests).
    pub port: u16,
    /// The port that clients used to get here, for `X-Forwarded-Port` and redirects: 80 for `http`, 443 for `https`
    /// listeners of Ingress whatever their own number (as ingress-nginx), a Gateway listener's own port.
    pub public_port: u16,
    /// What is spoken.
    pub protocol: Protocol,
    /// Which hosts lead to which tables. A request belongs to the sections with the most specific hostname that covers
    /// its host, and never falls through to a less specific one (Gateway API listener isolation). HTTP and HTTPS only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<Section>,
    /// Certificates by server name: exact before wildcard; several for one name differ in key type. HTTPS only.
    #[serde(skip_serializing_if = "SharedMap::is_empty")]
    pub certificates: SharedMap<HostPattern, Vec<CertificateId>>,
    /// The certificate for server names that no other covers, and for clients that send none. Without it such
    /// handshakes are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_certificate: Option<CertificateId>,
    /// Server names whose TLS connections are passed on unopened. The most specific name of these and of `certificates`
    /// decides, at the same name these; [`HostPattern::Any`] also stands for clients that send no name. HTTPS only.
    #[serde(skip_serializing_if = "SharedMap::is_empty")]
    pub passthrough: SharedMap<HostPattern, Arc<Stream>>,
    /// Server names whose TLS connections are opened here and passed on as what they carry. Among `passthrough` and
    /// `certificates` the most specific name decides as well; at the same name this comes between them. HTTPS only.
    #[serde(skip_serializing_if = "SharedMap::is_empty")]
    pub terminated: SharedMap<HostPattern, Arc<Terminated>>,
    /// What clients of HTTP have to prove about themselves, whatever their server name; those of `passthrough` and
    /// `terminated` are asked for nothing. `None`: nothing. HTTPS only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<Arc<ClientAuth>>,
    /// What clients are told whose server name nothing here is for. HTTPS only.
    #[serde(skip_serializing_if = "UnknownName::is_alert")]
    pub unknown_name: UnknownName,
    /// Client connections, in place of the settings of the whole proxy: what acts before it is known which section or
    /// stream they are for. Its number of connections is that of each of the listener's ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Arc<ClientSettings>>,
    /// With what TLS the names in `certificates` are opened; those without an entry with the default. Of those in
    /// `terminated` their streams' settings say it. HTTPS only.
    #[serde(skip_serializing_if = "SharedMap::is_empty")]
    pub tls: SharedMap<HostPattern, Arc<TlsSettings>>,
    /// Where connections or sessions go as they are; TCP and UDP, which without it serve nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<Arc<Stream>>,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// HTTP/1.0, 1.1 and HTTP/2 by prior knowledge, in plaintext.
    Http,
    /// The same over TLS, HTTP/2 by ALPN.
    Https,
    /// TCP connections, passed on as they are.
    Tcp,
    /// UDP sessions, passed on as they are.
    Udp,
}

/// Where TLS connections for a server name go that are opened here and carry something else than HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminated {
    /// What they are opened with; several differ in key type. Empty: the listener's default certificate.
    pub certificates: Vec<CertificateId>,
    /// Where what they carry goes.
    pub stream: Arc<Stream>,
}

/// What clients prove with a certificate of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientAuth {
    /// What becomes of those who can't.
    pub mode: ClientAuthMode,
    /// SHA-256 of each root's DER, in hex.
    pub fingerprints: Vec<String>,
    /// The certificates, in DER, that a client's must lead to.
    #[serde(skip)]
    pub roots: Vec<Arc<[u8]>>,
}

/// What becomes of clients without a valid certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClientAuthMode {
    /// Their handshake is refused.
    Require,
    /// They are served as if they had one: they are asked for it, and nothing depends on it.
    AcceptAny,
}

/// What clients are told whose server name nothing is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum UnknownName {
    /// A TLS alert, `unrecognized_name`.
    #[default]
    Alert,
    /// Nothing: the connection is closed.
    Close,
}

/// A part of a listener: the hosts of one Gateway listener, or those of all Ingresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    /// Which hosts belong here.
    pub hostname: HostPattern,
    /// What they lead to. When sections have the same hostname, tables are asked host by host in the order of the
    /// sections.
    pub table: TableId,
    /// Settings of the requests that the table serves, in place of those of the whole proxy. Of those that no table
    /// serves, the first section of the hostname decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Arc<ListenerSettings>>,
}

/// Settings that act once it is known which section or stream a request or connection is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSettings {
    /// Whom to believe about the client.
    pub forwarded: Forwarded,
    /// The line per request, connection or session.
    pub access_log: AccessLog,
    /// What is passed on as it is.
    pub stream: StreamSettings,
    /// The TLS that its names are opened with. A request that came over another connection, be it without a server name
    /// or from before a change, is misdirected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Arc<TlsSettings>>,
}

/// Hosts and their matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Table {
    /// From each host to its matches. A request is tried against the hosts that cover it from the most to the least
    /// specific: exact, one-label wildcard, suffix wildcard (longest first), any. The first match wins.
    pub hosts: SharedMap<HostPattern, Arc<Host>>,
}

/// The matches of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// In order of rank: the first that matches wins. Front ends sort; see [`PathMatch`](super::PathMatch) for the
    /// usual order.
    pub matches: Vec<Match>,
}

impl Section {
    /// A section with the settings of the whole proxy.
    pub fn new(hostname: HostPattern, table: TableId) -> Self {
        Self { hostname, table, settings: None }
    }
}

impl UnknownName {
    fn is_alert(&self) -> bool {
        *self == Self::Alert
    }
}
