//! Retry budget: which share of a cluster's requests may be further attempts (`retryConstraint` of XBackendTrafficPolicy).

use std::time::Duration;

use serde::Serialize;

/// Limits further attempts at a cluster, so that a broken one is not flooded. What is over the limit is answered with 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// The share of all attempts, in percent, that may be further ones.
    pub percent: u8,
    /// The time over which attempts are counted for the share.
    #[serde(serialize_with = "super::duration::serialize")]
    pub interval: Duration,
    /// So many further attempts are allowed in `floor_interval` whatever their share.
    pub floor: u32,
    /// See `floor`.
    #[serde(serialize_with = "super::duration::serialize")]
    pub floor_interval: Duration,
}

impl Default for RetryBudget {
    /// 20 % of 10 seconds' attempts, or 10 in a second.
    fn default() -> Self {
        Self { percent: 20, interval: Duration::from_secs(10), floor: 10, floor_interval: Duration::from_secs(1) }
    }
}
