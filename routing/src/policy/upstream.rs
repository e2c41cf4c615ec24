//! Upstream: connections to endpoints that are kept for further requests.

use std::time::Duration;

use serde::Serialize;

/// Limits of kept upstream connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamSettings {
    /// Idle connections per worker, of all clusters together; 0 keeps none (`upstream-keepalive-connections`, 320).
    pub keepalive_connections: u32,
    /// Idle time before a kept connection is closed (`upstream-keepalive-timeout`, 60 s).
    #[serde(serialize_with = "super::duration::serialize")]
    pub keepalive_timeout: Duration,
    /// Age at which a kept connection is no longer used (`upstream-keepalive-time`, 1 h).
    #[serde(serialize_with = "super::duration::serialize")]
    pub keepalive_time: Duration,
    /// Requests after which a kept connection is no longer used (`upstream-keepalive-requests`, 10000).
    pub keepalive_requests: u32,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            keepalive_connections: 320,
            keepalive_timeout: Duration::from_secs(60),
            keepalive_time: Duration::from_secs(3600),
            keepalive_requests: 10_000,
        }
    }
}
