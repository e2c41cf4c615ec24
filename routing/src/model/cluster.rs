//! Clusters: named sets of endpoints with their protocol, TLS and balancing.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use super::upstream_tls::UpstreamTls;
use crate::name::ClusterId;
use crate::policy::affinity::Affinity;
use crate::policy::health::{ActiveHealth, CircuitBreaker, Counted, Health};
use crate::policy::load_balance::LoadBalance;
use crate::policy::retry_budget::RetryBudget;

/// A named set of endpoints. Without endpoints its requests are answered with 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its id.
    pub id: ClusterId,
    /// `$proxy_upstream_name` of the access log: `namespace-service-port`, as ingress-nginx names upstreams.
    pub name: Arc<str>,
    /// The Service that it stands for.
    pub service: ServiceRef,
    /// The HTTP version that its endpoints speak.
    pub version: HttpVersion,
    /// TLS towards its endpoints; `None` is plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// How an endpoint is chosen.
    pub load_balance: LoadBalance,
    /// Keeps clients with one endpoint, where the rule says nothing about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Arc<Affinity>>,
    /// Limits further attempts at it, of whatever rule; `None` leaves them to the rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<RetryBudget>,
    /// Which endpoints are passed over because they fail; `None` passes over none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Counted<Arc<Health>>>,
    /// Limits the requests under way at the Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<Counted<CircuitBreaker>>,
    /// Sorted by address, without duplicates; ready ones only, unless none is ready and some still serve while
    /// terminating (as kube-proxy does).
    pub endpoints: Vec<Endpoint>,
}

impl Cluster {
    /// How its endpoints are asked for their health, if they are.
    pub fn active_health(&self) -> Option<&ActiveHealth> {
        self.health.as_ref()?.policy.active.as_ref()
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// The Service's namespace.
    pub namespace: Arc<str>,
    /// The Service's name.
    pub name: Arc<str>,
    /// The port as the route writes it: number or name.
    pub port: Arc<str>,
}

/// The HTTP version towards endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: with TLS by ALPN, else by prior knowledge (h2c); gRPC needs it.
    Http2,
}

/// Where one instance of a backend listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Endpoint {
    /// Its address.
    pub address: SocketAddr,
}
