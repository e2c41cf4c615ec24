//! Connection limit: concurrent requests per client (`limit-connections`).

use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

/// At most `max` requests at a time per client address, shared by every rule with the same `zone`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionLimit {
    /// Who shares the count: `namespace/ingress`.
    pub zone: Arc<str>,
    /// Concurrent requests per client; HTTP/2 streams count singly.
    pub max: u32,
    /// The status of a refusal (`limit-conn-status-code`, 503).
    pub status: u16,
    /// Clients without a limit (`limit-allowlist`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<IpNet>,
}
