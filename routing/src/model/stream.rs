//! Streams: TCP connections, unopened TLS connections and UDP sessions that are passed on as they are.

use std::sync::Arc;

use serde::Serialize;

use super::{ListenerSettings, Target};
use crate::name::Origin;

/// Where the connections or sessions of a TCP or UDP listener go, or the TLS connections for a server name, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// The object and field that it came from.
    pub origin: Origin,
    /// Whether every client must begin with a PROXY protocol header, version 1 or 2. TCP listeners only: for TLS, the
    /// listener has asked for it before the server name was known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub accept_proxy_protocol: bool,
    /// Whether endpoints are told of the client by a PROXY protocol header, version 1. TCP and TLS only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub send_proxy_protocol: bool,
    /// Settings in place of those of the whole proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Arc<ListenerSettings>>,
    /// Weighted; one is chosen for each connection or session. One without endpoints closes its share.
    pub backends: Vec<StreamBackend>,
}

/// A weighted reference of a [`Stream`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamBackend {
    /// Its share is its weight divided by the sum of all.
    pub weight: u32,
    /// What it refers to.
    pub target: Target,
}

impl Stream {
    /// Whether no connection can get anywhere, whichever backend is chosen.
    pub fn leads_nowhere(&self) -> bool {
        let leads = |backend: &StreamBackend| backend.weight > 0 && matches!(backend.target, Target::Cluster(_));
        !self.backends.iter().any(leads)
    }
}
