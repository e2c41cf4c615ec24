//! Rate limit: requests per second or minute and client (`limit-rps`, `limit-rpm`; nginx `limit_req`).

use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

/// A leaky bucket per client address, shared by every rule with the same `zone`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Who shares the buckets: `namespace/ingress/rps`.
    pub zone: Arc<str>,
    /// Requests per `unit`.
    pub requests: u32,
    /// The unit of time.
    pub unit: RateUnit,
    /// Requests above the rate that are let through at once (`limit` x `limit-burst-multiplier`, 5).
    pub burst: u32,
    /// The status of a refusal (`limit-req-status-code`, 503).
    pub status: u16,
    /// Clients without a limit (`limit-allowlist`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<IpNet>,
}

/// The unit of time of a [`RateLimit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RateUnit {
    /// `limit-rps`.
    Second,
    /// `limit-rpm`.
    Minute,
}
