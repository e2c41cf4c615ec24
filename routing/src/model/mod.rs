//! The model: what the manifests mean, in Genkan's words. Plain, ordered, comparable, readable as YAML.
//!
//! ```text
//!  Model
//!   +- listeners: port, protocol, sections -----> tables: hosts -> matches in order of rank -> RuleId
//!   |                 +- certificates by host                                                   |
//!   |                 +- stream: backends of TCP and UDP --------+                              |
//!   |                 +- passthrough, terminated: by server name +                              |
//!   +- rules: filters, policies, backends <---------------------------------------------------+
//!   |                               +-------> ClusterId <--------+
//!   +- clusters: endpoints, protocol, balancing
//!   +- certificates
//! ```
//!
//! Parts are behind [`Arc`]s and the large maps are [`SharedMap`]s, so that an incremental translation shares what did
//! not change, a snapshot can tell so by pointer, and the cost of a change does not grow with the cluster. All text is
//! parsed before it gets here; compiling a model into a snapshot cannot fail.

mod certificate;
mod cluster;
mod listener;
mod matching;
mod rule;
mod shared_map;
mod stream;
mod upstream_tls;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

pub use certificate::{Certificate, PrivateKey};
pub use cluster::{Cluster, Endpoint, HttpVersion, ServiceRef};
pub use listener::{
    ClientAuth, ClientAuthMode, Host, Listener, ListenerSettings, Protocol, Section, Table, Terminated, UnknownName,
};
pub use matching::{HeaderMatch, Match, PathMatch, PathPrefix, PathPrefixError, QueryMatch, ValueMatch};
pub use rule::{Action, Backend, Deny, DirectResponse, Filter, Filters, Forward, Rule, RuleLabels, Stage, Target};
pub use shared_map::{Iter, SharedMap, Unshared};
pub use stream::{Stream, StreamBackend};
pub use upstream_tls::{Authority, ClientCertificate, SubjectAltName, Trust, UpstreamTls, Verify};

use crate::name::{CertificateId, ClusterId, ListenerId, RuleId, TableId};
use crate::policy::access_log::AccessLog;
use crate::policy::client::ClientSettings;
use crate::policy::forwarded::Forwarded;
use crate::policy::stream::StreamSettings;
use crate::policy::upstream::UpstreamSettings;

/// Everything that the proxy serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// What is listened on.
    pub listeners: BTreeMap<ListenerId, Arc<Listener>>,
    /// Addresses at which only the listeners that name them serve anything. What arrives there at a listener of every
    /// address gets nothing.
    #[serde(skip_serializing_if = "is_empty")]
    pub own_addresses: Arc<BTreeSet<IpAddr>>,
    /// Hosts and their matches; several listeners may serve one table.
    pub tables: BTreeMap<TableId, Arc<Table>>,
    /// What the matches lead to.
    pub rules: SharedMap<RuleId, Arc<Rule>>,
    /// What the rules' backends refer to.
    pub clusters: SharedMap<ClusterId, Arc<Cluster>>,
    /// What the listeners' certificates refer to. Private keys are never printed.
    pub certificates: SharedMap<CertificateId, Arc<Certificate>>,
    /// Settings of the whole proxy.
    pub settings: Arc<ProxySettings>,
}

/// Settings of the whole proxy, from the ConfigMap and the flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxySettings {
    /// Client connections.
    pub client: ClientSettings,
    /// Kept upstream connections.
    pub upstream: UpstreamSettings,
    /// Whom to believe about the client.
    pub forwarded: Forwarded,
    /// The line per request, connection or session.
    pub access_log: AccessLog,
    /// TCP connections, unopened TLS connections and UDP sessions that are passed on as they are.
    pub stream: StreamSettings,
}

fn is_empty(addresses: &BTreeSet<IpAddr>) -> bool {
    addresses.is_empty()
}
