//! Health: which endpoints of a cluster are passed over because they fail (`healthCheck` of RoutePolicy).
//!
//! Endpoints that Kubernetes takes for not ready are in no cluster. This is about those that it takes for ready.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use serde::{Serialize, Serializer};

/// A policy of a cluster that counts. Clusters of one Service with the same id count together, whatever else sets them
/// apart: routes decide how many clusters there are, and must not multiply what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counted<T> {
    /// What sets it apart from other policies.
    pub id: Arc<str>,
    /// The policy.
    #[serde(flatten)]
    pub policy: T,
}

/// How the health of a cluster's endpoints is known. When every endpoint fails none is passed over: what is wrong then
/// is rather the check, or what all of them depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// By what becomes of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive: Option<PassiveHealth>,
    /// By asking them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveHealth>,
}

/// Passes over an endpoint for a while when requests to it fail one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PassiveHealth {
    /// So many failures in a row, of all clients together.
    pub failures: NonZeroU32,
    /// Statuses that are failures, sorted; no connection, no answer in time and a broken one always are.
    pub statuses: Vec<u16>,
    /// How long the endpoint is passed over; for the n-th time in a row n times as long, up to ten times.
    #[serde(serialize_with = "super::duration::serialize")]
    pub time: Duration,
    /// The most endpoints that are passed over for this at a time, in percent of all, rounded down.
    pub max_percent: u8,
}

/// Asks every endpoint again and again. One that is new counts as healthy until it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveHealth {
    /// What is asked.
    pub probe: Probe,
    /// From an endpoint's answer to its next question.
    #[serde(serialize_with = "super::duration::serialize")]
    pub interval: Duration,
    /// How long an answer may take, the connection included.
    #[serde(serialize_with = "super::duration::serialize")]
    pub timeout: Duration,
    /// So many failures in a row make an endpoint unhealthy.
    pub unhealthy: NonZeroU32,
    /// So many successes in a row make it healthy again.
    pub healthy: NonZeroU32,
}

/// What an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    /// For a connection. With TLS only the TCP connection is made.
    Tcp,
    /// With `GET`, in the version and with the TLS of the cluster.
    Http(HttpProbe),
    /// By `grpc.health.v1.Health/Check`, which must say SERVING: over HTTP/2, whatever the cluster speaks.
    Grpc {
        /// The service that is asked about; empty for the server as a whole.
        service: String,
    },
}

/// A `GET`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpProbe {
    /// The path, with a query.
    #[serde(serialize_with = "text")]
    pub path: PathAndQuery,
    /// The `Host`; `None` for the endpoint's address.
    #[serde(serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub host: Option<Authority>,
    /// The statuses of a healthy endpoint.
    pub statuses: Vec<RangeInclusive<u16>>,
}

/// The most that a Service's endpoints have to do at a time, in this process. What is over it is answered with 503 at
/// once, so that a slow backend is not buried in what waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Requests under way at all endpoints together; `None` is without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<NonZeroU32>,
    /// Requests under way at one endpoint: further ones go to others. `None` is without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_endpoint: Option<NonZeroU32>,
}

impl PassiveHealth {
    /// Whether a status is a failure.
    pub fn fails(&self, status: u16) -> bool {
        self.statuses.binary_search(&status).is_ok()
    }
}

fn text<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn optional_text<T: std::fmt::Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}
