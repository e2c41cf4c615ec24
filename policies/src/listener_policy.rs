//! ListenerPolicy: how clients are received: time-outs and limits of their connections, PROXY protocol, TLS, HTTP/2, whom
//! to believe about them, and the access log.

#![allow(unreachable_pub, reason = "the derived code repeats the types where nobody sees them")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attachment::{PolicyStatus, PolicyTarget};

/// How the clients of the targets are received. Of one field several policies may say something: first count overrides,
/// those of a Gateway before those of its listener and those of a ListenerSet; then defaults, those of a listener before
/// those of a ListenerSet and Gateway. Among equals the oldest policy counts, then the first by name. A field counts as
/// a whole. What no policy says is as the ConfigMap says.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "genkan.dev",
    version = "v1alpha1",
    kind = "ListenerPolicy",
    plural = "listenerpolicies",
    singular = "listenerpolicy",
    shortname = "lpol",
    namespaced,
    status = "PolicyStatus",
    category = "genkan",
    category = "gateway-api",
    derive = "PartialEq",
    doc = "How the clients of Gateways and ListenerSets, or of one of their listeners, are received.",
    printcolumn = r#"{"name": "Target", "type": "string", "jsonPath": ".spec.targetRefs[*].name"}"#,
    printcolumn = r#"{"name": "Accepted", "type": "string",
        "jsonPath": ".status.ancestors[0].conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.defaults) || has(self.overrides)", "the policy says nothing: write defaults or overrides"))]
pub struct ListenerPolicySpec {
    /// What it acts on: Gateways and ListenerSets, or one of their listeners by sectionName, in the policy's namespace.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(validation = (
        "self.all(t, t.group == 'gateway.networking.k8s.io' && t.kind in ['Gateway', 'ListenerSet'])",
        "a target is a Gateway or ListenerSet of gateway.networking.k8s.io"
    ))]
    pub target_refs: Vec<PolicyTarget>,
    /// What holds where nothing more specific says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<ClientReception>,
    /// What holds whatever anything more specific says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<ClientReception>,
}

/// What may be said of clients. What is left out is left to other policies, and then to the ConfigMap.
///
/// timeouts, limits, proxyProtocol and http2 act before it is known which listener a client means, so they belong to the
/// port: they act where the policy covers every listener of the port, be they of Gateways, ListenerSets or Ingresses.
/// Elsewhere they are not accepted, and the rest is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClientReception {
    /// How long a client may take. Of the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<ClientTimeouts>,
    /// How much a client may send, and how many there may be. Of the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ClientLimits>,
    /// Whether connections begin with a PROXY header. Of the port; not for ListenerSets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// HTTP/2 towards clients. Of the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2: Option<Http2>,
    /// Versions and ciphers of TLS, for listeners that open it. A request for a listener that came over a connection with
    /// others, as one without a server name may, is answered with 421.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsOptions>,
    /// Whom to believe about the client's address, scheme and host. Not for ListenerSets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<ForwardedOptions>,
    /// The line per request, TCP connection or UDP session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLogOptions>,
    /// Times of what is passed on as it is, for listeners of TLS, TCP and UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<StreamOptions>,
}

/// How long a client may take, in hours, minutes, seconds and milliseconds: 1m30s, 500ms. What is left out is as the
/// ConfigMap says.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClientTimeouts {
    /// From the first byte of a request's head to its last; over it 408. Also for a TLS handshake, a PROXY header and an
    /// HTTP/2 preface. More than 0, at most 10m. As client-header-timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub header: Option<String>,
    /// Between two reads of a request's body; over it 408. More than 0, at most 10m. As client-body-timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub body: Option<String>,
    /// Idle time before a connection is closed; 0s closes it after each request. At most 24h. As keep-alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub keep_alive: Option<String>,
}

/// How much a client may send, and how many there may be. What is left out is as the ConfigMap says.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClientLimits {
    /// Open connections of the port; further ones are closed at once. The limit of the whole process holds besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub connections: Option<i32>,
    /// Requests per connection. As keep-alive-requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub requests_per_connection: Option<i32>,
    /// The largest request line and header line, and how many such lines a head may fill: "4 8k". Over it 414 and 431. As
    /// large-client-header-buffers. At most 1m in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^[0-9]{1,4} +[0-9]{1,10}[kKmM]?$"))]
    pub header_buffers: Option<String>,
    /// Header fields of a request; over it 431. 100 if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub headers: Option<i32>,
}

/// Whether connections begin with a PROXY header.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They do not.
    #[default]
    Off,
    /// All of them do, version 1 or 2; others are closed.
    Required,
}

/// HTTP/2 towards clients. What is left out is as the ConfigMap says.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Http2 {
    /// Whether it is spoken: by ALPN, and without TLS by prior knowledge. As use-http2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Concurrent requests per connection, at most 1024. As http2-max-concurrent-streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_concurrent_streams: Option<i32>,
}

/// Versions and ciphers of TLS.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.minVersion) || !has(self.maxVersion) || self.minVersion != 'TLSv1.3' || self.maxVersion != 'TLSv1.2'",
    "minVersion is newer than maxVersion"
))]
pub struct TlsOptions {
    /// The oldest version; TLSv1.2 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsProtocol>,
    /// The newest version; TLSv1.3 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_version: Option<TlsProtocol>,
    /// Ciphers by OpenSSL's names, in order of preference. A version of which none is named has all of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 40)))]
    pub ciphers: Vec<String>,
}

/// A version of TLS.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsProtocol {
    /// 1.2.
    #[serde(rename = "TLSv1.2")]
    Tls12,
    /// 1.3.
    #[serde(rename = "TLSv1.3")]
    Tls13,
}

/// Whom to believe about the client.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ForwardedOptions {
    /// The proxies in front, that are believed: IP addresses and networks. Nobody else is; without any nobody is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 2, max = 45)))]
    pub trusted: Vec<String>,
    /// What they are believed: Client, the client's address (as enable-real-ip); All, besides X-Forwarded-Proto, -Host and
    /// -Port (as use-forwarded-headers). All if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub believe: Option<Believe>,
    /// The header in which they tell the client's address; X-Forwarded-For if it is left out. As forwarded-for-header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub header: Option<String>,
    /// Whether the peer is appended to an incoming X-Forwarded-For; it replaces it if this is left out. As
    /// compute-full-forwarded-for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<bool>,
}

/// What trusted proxies are believed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Believe {
    /// The client's address.
    Client,
    /// The client's address, the scheme, the host and the port.
    #[default]
    All,
}

/// The line per request, TCP connection or UDP session.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AccessLogOptions {
    /// false turns it off; true if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The line of a request: text with nginx's $variables; as the ConfigMap says if it is left out. As
    /// log-format-upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub format: Option<String>,
    /// The line of a TCP connection or UDP session; as the ConfigMap says if it is left out. As log-format-stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub stream_format: Option<String>,
    /// How variables are written: Default as nginx does, JSON for strings of JSON, None as they are. As the ConfigMap says
    /// if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escape: Option<LogEscape>,
}

/// How variables are written into a line.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogEscape {
    /// As nginx does.
    #[default]
    Default,
    /// For strings of JSON.
    #[serde(rename = "JSON")]
    Json,
    /// As they are.
    None,
}

/// Times of what is passed on as it is, in hours, minutes, seconds and milliseconds: 1m30s, 500ms. What is left out is as
/// the ConfigMap says.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StreamOptions {
    /// How long nothing may move, either way, before a connection or session ends. More than 0, at most 24h. As
    /// proxy-stream-timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub idle: Option<String>,
    /// Answers that are expected to each datagram of a client; with the last of them its session ends. As
    /// proxy-stream-responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub responses: Option<i32>,
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_is_read() {
        let policy: ListenerPolicy = serde_json::from_value(json!({
            "apiVersion": "genkan.dev/v1alpha1",
            "kind": "ListenerPolicy",
            "metadata": {"name": "edge", "namespace": "shop"},
            "spec": {
                "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web",
                                "sectionName": "https"}],
                "defaults": {"timeouts": {"keepAlive": "10s"}, "proxyProtocol": "Required"},
                "overrides": {"tls": {"minVersion": "TLSv1.3"}, "accessLog": {"escape": "JSON"}},
            },
        }))
        .unwrap();
        assert_eq!(policy.spec.target_refs[0].section_name.as_deref(), Some("https"));
        let (defaults, overrides) = (policy.spec.defaults.unwrap(), policy.spec.overrides.unwrap());
        assert_eq!(defaults.timeouts.unwrap().keep_alive.as_deref(), Some("10s"));
        assert_eq!(defaults.proxy_protocol, Some(ProxyProtocol::Required));
        assert_eq!(overrides.tls.unwrap().min_version, Some(TlsProtocol::Tls13));
        assert_eq!(overrides.access_log.unwrap().escape, Some(LogEscape::Json));
    }

    #[test]
    fn every_field_has_its_line_in_the_reference() {
        let page = include_str!("../../docs/listener-policy.md");
        crate::reference::every_field_has_its_line(page, &ListenerPolicy::crd(), "defaults");
    }

    #[test]
    fn the_api_server_checks_what_can_be_checked_there() {
        let definition = serde_json::to_value(ListenerPolicy::crd()).unwrap();
        let version = &definition["spec"]["versions"][0];
        assert_eq!(version["subresources"]["status"], json!({}));
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert!(spec["x-kubernetes-validations"].is_array());
        let targets = &spec["properties"]["targetRefs"];
        assert_eq!((&targets["minItems"], &targets["maxItems"]), (&json!(1), &json!(16)));
        assert!(targets["x-kubernetes-validations"].is_array(), "{targets}");
        for part in ["defaults", "overrides"] {
            let settings = &spec["properties"][part]["properties"];
            assert_eq!(
                settings["tls"]["x-kubernetes-validations"][0]["message"],
                "minVersion is newer than maxVersion"
            );
            assert_eq!(settings["proxyProtocol"]["enum"], json!(["Off", "Required"]));
            assert_eq!(settings["limits"]["properties"]["connections"]["minimum"], 1.0);
            assert!(settings["timeouts"]["properties"]["header"]["pattern"].is_string());
        }
    }
}
