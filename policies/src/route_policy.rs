//! RoutePolicy: what is done with requests beyond what the routes of Gateway API say.

#![allow(unreachable_pub, reason = "the derived code repeats the types where nobody sees them")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attachment::{PolicyStatus, PolicyTarget};
use crate::authentication::{BasicAuthSettings, ExternalAuthSettings};
use crate::buffering::BufferingSettings;
use crate::health::{CircuitBreakingSettings, HealthCheckSettings};

/// What is done with the requests of the targets. Of one field several policies may say something: first count overrides,
/// those of a Gateway before those of its listener, a ListenerSet, the ListenerSet's listener, route, rule and Service;
/// then defaults, in the other order, those of a Service first. Among equals the oldest policy counts, then
/// the first by name. A field counts as a whole. A filter of type ExtensionRef that names a RoutePolicy targets its rule.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "genkan.dev",
    version = "v1alpha1",
    kind = "RoutePolicy",
    plural = "routepolicies",
    singular = "routepolicy",
    shortname = "rpol",
    namespaced,
    status = "PolicyStatus",
    category = "genkan",
    category = "gateway-api",
    derive = "PartialEq",
    doc = "What is done with the requests of Gateways, ListenerSets, HTTPRoutes, GRPCRoutes, their rules, and Services.",
    printcolumn = r#"{"name": "Target", "type": "string", "jsonPath": ".spec.targetRefs[*].name"}"#,
    printcolumn = r#"{"name": "Accepted", "type": "string",
        "jsonPath": ".status.ancestors[0].conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.defaults) || has(self.overrides)", "the policy says nothing: write defaults or overrides"))]
pub struct RoutePolicySpec {
    /// What it acts on: Gateways and ListenerSets (or one of their listeners), HTTPRoutes and GRPCRoutes (or one of their
    /// rules), and Services, in the policy's namespace. Empty for a policy that only filters of type ExtensionRef name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(
        validation = (
            "self.all(t, t.kind in ['Gateway', 'ListenerSet', 'HTTPRoute', 'GRPCRoute'] ? \
                t.group == 'gateway.networking.k8s.io' : t.kind == 'Service' && t.group == '')",
            "a target is a Gateway, ListenerSet, HTTPRoute or GRPCRoute of gateway.networking.k8s.io, or a Service of the \
             group \"\""
        ),
        validation = ("self.all(t, t.kind != 'Service' || !has(t.sectionName))", "a Service has no section")
    )]
    pub target_refs: Vec<PolicyTarget>,
    /// What holds where nothing more specific says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<RouteSettings>,
    /// What holds whatever anything more specific says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<RouteSettings>,
}

/// What may be said of requests. What is left out is left to other policies, and then to the route.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RouteSettings {
    /// How many requests a client may send in a time. Counted per client address over everything that a target covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitSettings>,
    /// How many requests of a client may be under way. Counted per client address over everything that a target covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<ConnectionLimitSettings>,
    /// How large the bodies of requests may be. Without it they may be of any size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_size: Option<BodySizeSettings>,
    /// What is held in memory between clients and backends; nothing, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffering: Option<BufferingSettings>,
    /// How long a backend may take. A time that the route itself says counts more than a default, and less than an
    /// override.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TimeoutSettings>,
    /// Compresses responses with gzip, for clients that accept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<CompressionSettings>,
    /// Which clients may come in. Others are answered with 403. If it can't be understood nobody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_access: Option<IpAccessSettings>,
    /// Asks for a user and password, after redirects, preflights of CORS, limits and addresses. If the Secret can't be used
    /// nobody may pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuthSettings>,
    /// Asks a service whether a request may pass, after passwords, and besides those that filters of type ExternalAuth
    /// name. If the service does not exist nobody may pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_auth: Option<ExternalAuthSettings>,
    /// Keeps the requests of a client with one endpoint. What the route itself says in sessionPersistence counts more than
    /// a default, and less than an override.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<AffinitySettings>,
    /// How an endpoint of a Service is chosen; in turn, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancingSettings>,
    /// Which endpoints of a Service are passed over because they fail; none, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheckSettings>,
    /// How many requests a Service's endpoints may have under way; any number, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaking: Option<CircuitBreakingSettings>,
    /// When a request is sent to another endpoint. What the route itself says in retry counts more than a default, and less
    /// than an override.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<RetrySettings>,
}

/// How many requests a client may send in a time: a leaky bucket for each of the two rates. Without any rate there is no
/// limit.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitSettings {
    /// Requests per second and client; 0 and nothing are without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub requests_per_second: Option<i32>,
    /// Requests per minute and client; 0 and nothing are without limit. With both rates both apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub requests_per_minute: Option<i32>,
    /// How many times a rate is let through at once above it; 5 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub burst_multiplier: Option<i32>,
    /// The status of the answer to what is over the limit, 400 to 599; 429 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<i32>,
    /// Clients without a limit: IP addresses and networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 2, max = 45)))]
    pub exempt: Vec<String>,
}

/// How many requests of a client may be under way.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionLimitSettings {
    /// Requests under way per client; each stream of HTTP/2 counts. 0 is without limit.
    #[schemars(range(min = 0))]
    pub max: i32,
    /// The status of the answer to what is over the limit, 400 to 599; 503 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<i32>,
    /// Clients without a limit: IP addresses and networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 2, max = 45)))]
    pub exempt: Vec<String>,
}

/// How large the bodies of requests may be.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BodySizeSettings {
    /// The most bytes, with an optional unit of 1024: 8m, 512k, 1g. A larger body is answered with 413. 0 is without
    /// limit.
    #[schemars(length(max = 20), regex(pattern = "^[0-9]{1,19}[kKmMgG]?$"))]
    pub max: String,
}

/// How long a backend may take, in hours, minutes, seconds and milliseconds: 1m30s, 500ms.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutSettings {
    /// To connect, TLS included; over it 504. 5s if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub connect: Option<String>,
    /// Between two writes of the request; over it 504. 60s if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub send: Option<String>,
    /// Between two reads of the response, and how long an upgraded connection may be idle; before the response's head
    /// 504. If it is left out 60s, or as long as the longer of request and backendRequest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub read: Option<String>,
    /// From the request's head to the end of the response, as timeouts.request of an HTTPRoute; 0s is without limit, as if
    /// it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub request: Option<String>,
    /// For one attempt, as timeouts.backendRequest of an HTTPRoute; 0s is without limit, as if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub backend_request: Option<String>,
}

/// Which responses are compressed, and how hard.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CompressionSettings {
    /// false leaves responses as they are; true if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How hard gzip tries, from 1 (fast) to 9 (small); 1 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub level: Option<i32>,
    /// Bytes: a response with a smaller Content-Length is left alone; 256 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_length: Option<i64>,
    /// Which media types are compressed besides text/html; "*" is every type. Text, scripts, JSON, XML, SVG and fonts if it
    /// is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 127)))]
    pub types: Option<Vec<String>>,
}

/// Which clients may come in. With both lists empty everybody may.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IpAccessSettings {
    /// When not empty, only these may: IP addresses and networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), inner(length(min = 2, max = 45)))]
    pub allow: Vec<String>,
    /// These may not, whatever allow says: IP addresses and networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), inner(length(min = 2, max = 45)))]
    pub deny: Vec<String>,
}

/// How clients are kept with one endpoint.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.permanent) || !self.permanent || (self.type == 'Cookie' && has(self.lifetime))",
    "only a cookie with a lifetime can be permanent"
))]
pub struct AffinitySettings {
    /// How a client carries what names its endpoint. None keeps nobody.
    #[serde(rename = "type")]
    pub kind: AffinityKind,
    /// The name of the cookie or header: letters, digits and dashes. Made up for a cookie, genkan-session for a header, if
    /// it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[0-9A-Za-z_-]+$"))]
    pub name: Option<String>,
    /// After this time since its first request a client may come to another endpoint; never if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub lifetime: Option<String>,
    /// Whether the cookie outlives the browser, for its lifetime; false if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permanent: Option<bool>,
}

/// How a client carries what names its endpoint.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AffinityKind {
    /// In a cookie, which browsers send back by themselves.
    #[default]
    Cookie,
    /// In a header, which the client repeats.
    Header,
    /// Nobody is kept.
    None,
}

/// How an endpoint is chosen.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "(self.algorithm == 'ConsistentHash') == has(self.hash)",
    "hash belongs to algorithm ConsistentHash, which needs it"
))]
pub struct LoadBalancingSettings {
    /// RoundRobin: in turn. LeastConnections: the fewest requests under way, of two at random. PeakEwma: the shortest
    /// latency, of two at random. ConsistentHash: requests with the same value go to the same endpoint.
    pub algorithm: LoadBalancingAlgorithm,
    /// The value of ConsistentHash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<HashSettings>,
}

/// How an endpoint is chosen.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadBalancingAlgorithm {
    /// In turn.
    #[default]
    RoundRobin,
    /// The fewest requests under way.
    LeastConnections,
    /// The shortest latency.
    PeakEwma,
    /// By a value of the request.
    ConsistentHash,
}

/// What a hash is taken of.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("(self.by in ['Header', 'Cookie']) == has(self.name)", "a header or cookie needs a name, nothing else has one"))]
pub struct HashSettings {
    /// ClientAddress, RequestUri (path and query), Host, Header or Cookie.
    pub by: HashBy,
    /// The name of the header or cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[0-9A-Za-z_-]+$"))]
    pub name: Option<String>,
}

/// What a hash is taken of.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashBy {
    /// The client's address.
    #[default]
    ClientAddress,
    /// Path and query.
    RequestUri,
    /// The request's host.
    Host,
    /// A header.
    Header,
    /// A cookie.
    Cookie,
}

/// When a request is sent to another endpoint: never once the client has a byte of the answer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RetrySettings {
    /// How many further attempts are made; 2 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub attempts: Option<i32>,
    /// What is tried again: Error, Timeout, InvalidHeader. If it is left out Error and Timeout; Error alone where a
    /// backendRequest time-out holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3))]
    pub on: Option<Vec<RetryOn>>,
    /// Statuses that are tried again, 400 to 599.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(range(min = 400, max = 599)))]
    pub codes: Vec<i32>,
    /// The least time before a further attempt, which doubles with each; none if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub backoff: Option<String>,
    /// The time in which a further attempt may begin; without limit if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub within: Option<String>,
    /// Whether POST, LOCK and PATCH that were sent are tried again as well; false if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_idempotent: Option<bool>,
}

/// What is tried again.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// Connecting, sending or reading the answer's head failed.
    Error,
    /// It took too long.
    Timeout,
    /// The answer is no HTTP.
    InvalidHeader,
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_is_read() {
        let policy: RoutePolicy = serde_json::from_value(json!({
            "apiVersion": "genkan.dev/v1alpha1",
            "kind": "RoutePolicy",
            "metadata": {"name": "limits", "namespace": "shop"},
            "spec": {
                "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "web",
                                "sectionName": "checkout"}],
                "defaults": {"rateLimit": {"requestsPerSecond": 5}},
                "overrides": {"affinity": {"type": "Header"}},
            },
        }))
        .unwrap();
        assert_eq!(policy.spec.target_refs[0].section_name.as_deref(), Some("checkout"));
        assert_eq!(policy.spec.defaults.unwrap().rate_limit.unwrap().requests_per_second, Some(5));
        assert_eq!(policy.spec.overrides.unwrap().affinity.unwrap().kind, AffinityKind::Header);
    }

    #[test]
    fn every_field_has_its_line_in_the_reference() {
        let page = include_str!("../../docs/route-policy.md");
        crate::reference::every_field_has_its_line(page, &RoutePolicy::crd(), "defaults");
    }

    #[test]
    fn the_api_server_checks_what_can_be_checked_there() {
        let definition = serde_json::to_value(RoutePolicy::crd()).unwrap();
        let version = &definition["spec"]["versions"][0];
        assert_eq!(version["subresources"]["status"], json!({}));
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert!(
            spec["x-kubernetes-validations"][0]["message"].as_str().unwrap().starts_with("the policy says nothing")
        );
        let targets = &spec["properties"]["targetRefs"];
        assert_eq!(targets["maxItems"], 16);
        assert_eq!(targets["x-kubernetes-validations"].as_array().unwrap().len(), 2, "{targets}");
        for part in ["defaults", "overrides"] {
            let settings = &spec["properties"][part]["properties"];
            assert_eq!(settings["affinity"]["properties"]["type"]["enum"], json!(["Cookie", "Header", "None"]));
            assert_eq!(settings["rateLimit"]["properties"]["status"]["maximum"], 599.0);
            assert!(settings["loadBalancing"]["x-kubernetes-validations"].is_array());
        }
    }
}
