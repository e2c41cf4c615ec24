//! Health and load of the endpoints of Services, as RoutePolicy says them.

#![allow(unreachable_pub, reason = "the derived code repeats the types where nobody sees them")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which endpoints are passed over because they fail. When all of them fail none is passed over.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheckSettings {
    /// Passes over endpoints for a while at which requests fail. Nothing is, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive: Option<PassiveHealthSettings>,
    /// Asks endpoints, and passes over those that do not answer well. Nobody is asked, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveHealthSettings>,
}

/// When an endpoint is passed over because of requests that failed: no connection, no answer in time, a broken answer, or
/// one of the statuses.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PassiveHealthSettings {
    /// Failures in a row, of all clients together; 5 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub failures: Option<i32>,
    /// Statuses that are failures, 400 to 599; 502, 503 and 504 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(range(min = 400, max = 599)))]
    pub statuses: Option<Vec<i32>>,
    /// How long the endpoint is passed over; for the n-th time in a row n times as long, up to ten times. 30s if it is
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub time: Option<String>,
    /// The most endpoints that are passed over so at a time, in percent of all, rounded down; 50 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_percent: Option<i32>,
}

/// How endpoints are asked. One that is new counts as healthy until it was asked.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "(self.type == 'HTTP' || !has(self.http)) && (self.type == 'GRPC' || !has(self.grpc))",
    "http belongs to type HTTP, grpc to type GRPC"
))]
pub struct ActiveHealthSettings {
    /// HTTP: with GET. TCP: for a connection. GRPC: by grpc.health.v1.Health/Check, over HTTP/2 whatever requests have.
    #[serde(rename = "type")]
    pub kind: HealthCheckType,
    /// What is asked for by HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpHealthSettings>,
    /// What is asked for by gRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcHealthSettings>,
    /// From an endpoint's answer to its next question, 1s to 1h; 10s if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub interval: Option<String>,
    /// How long an answer may take, at most 1m; 2s if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub timeout: Option<String>,
    /// Failures in a row that make an endpoint unhealthy; 3 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy: Option<i32>,
    /// Successes in a row that make it healthy again; 2 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub healthy: Option<i32>,
}

/// How endpoints are asked.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealthCheckType {
    /// With `GET`.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// For a connection.
    #[serde(rename = "TCP")]
    Tcp,
    /// By the health service of gRPC.
    #[serde(rename = "GRPC")]
    Grpc,
}

/// What is asked for by HTTP, in the version and with the TLS that requests have.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HttpHealthSettings {
    /// The path, with a query; / if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^/"))]
    pub path: Option<String>,
    /// The Host; the endpoint's address if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
    /// Statuses of a healthy endpoint, 200 to 599; 200 to 399 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(range(min = 200, max = 599)))]
    pub statuses: Option<Vec<i32>>,
}

/// What is asked for by gRPC.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GrpcHealthSettings {
    /// The service; the server as a whole if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service: Option<String>,
}

/// The most requests that the endpoints of a Service have under way, in each process of Genkan. More are answered with 503
/// at once.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreakingSettings {
    /// At all endpoints together; 0 and nothing are without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_requests: Option<i32>,
    /// At one endpoint: further ones go to others. 0 and nothing are without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_requests_per_endpoint: Option<i32>,
}
