//! What routes lead to: Services, EndpointSlices, XBackends, certificates, policies; and an Ingress that shares ports.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::Words;
use super::routes::persistence;

pub(super) const SERVICES: &[&str] = &["a", "b", "none"];
pub(super) const SECRETS: &[&str] = &["tls-a", "tls-wild", "broken", "authority", "users", "none"];
/// Names outside of the cluster.
pub(super) const EXTERNAL: [&str; 2] = ["external.example.org", "other.example.org"];

/// Pairs of chain and key, made once. What they are is no choice of the input.
static PAIRS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let pair = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate can be made");
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    vec![pair("a.example.com"), pair("*.example.com"), pair("other.example.org")]
});

pub(super) fn service(words: &mut Words<'_>) -> Value {
    let protocol = words.seldom(|words| words.text(&["kubernetes.io/h2c", "https", "kubernetes.io/ws", "odd"]));
    let mut metadata = words.metadata(&["a", "b"]);
    let spec = match words.up_to(8) {
        0..=3 => json!({"ports": [{"name": "http", "port": 80, "appProtocol": protocol}]}),
        4 => json!({"ports": [{"name": "http", "port": 80}, {"name": "udp", "port": 81, "protocol": "UDP"}]}),
        5 => json!({"ports": [{"name": "other", "port": 81, "targetPort": 80}], "clusterIP": "10.1.0.1"}),
        6 => json!({"type": "ExternalName", "externalName": words.of(&EXTERNAL)}),
        form => {
            // As Genkan itself keeps one for a Gateway, or somebody who would like to.
            let gateway = words.of(&["g1", "g2"]);
            metadata["name"] = format!("{gateway}-gateway").into();
            metadata["labels"] = json!({
                "gateway.networking.k8s.io/gateway-name": gateway,
                "app.kubernetes.io/managed-by": words.of(&["genkan", "me"]),
            });
            metadata["annotations"] = json!({
                "genkan.dev/addresses": words.of(&["192.0.2.1", "192.0.2.3", "odd"]),
                "genkan.dev/gateway-controller": "genkan.dev/gateway-controller",
            });
            metadata["ownerReferences"] = json!([{
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": gateway,
                "uid": words.of(&["", "u", "u2"]), "controller": true,
            }]);
            if form == 7 { json!({"clusterIP": "None"}) } else { leading(words) }
        }
    };
    json!({"metadata": metadata, "spec": spec})
}

/// The Service of a Gateway, or of somebody who would like to be led to another's ports.
fn leading(words: &mut Words<'_>) -> Value {
    let port = |words: &mut Words<'_>| {
        let (name, port, protocol) = words.of(&[("tcp-80", 80, "TCP"), ("tcp-443", 443, "TCP"), ("udp-80", 80, "UDP")]);
        let target = words.of(&[20_000, 20_001, 20_002, 20_003, 80, 30_000]);
        json!({"name": name, "port": port, "protocol": protocol, "targetPort": target})
    };
    let kind = words.of(&["LoadBalancer", "NodePort", "ClusterIP"]);
    json!({"type": kind, "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": words.list(3, port)})
}

pub(super) fn slice(words: &mut Words<'_>) -> Value {
    let endpoint = |words: &mut Words<'_>| {
        let ready = words.of(&[Some(true), Some(false), None]);
        json!({"addresses": [format!("10.0.0.{}", words.up_to(3) + 1)], "conditions": {"ready": ready}})
    };
    let mut metadata = words.metadata(&["s1", "s2"]);
    metadata["labels"] = words.maybe(|words| json!({"kubernetes.io/service-name": words.of(&["a", "b"])}));
    let port = words.of(&["http", "other", "udp"]);
    json!({
        "metadata": metadata, "addressType": "IPv4",
        "ports": [{"name": port, "port": 8080, "protocol": words.of(&[None, Some("UDP")])}],
        "endpoints": words.list(2, endpoint),
    })
}

pub(super) fn secret(words: &mut Words<'_>) -> Value {
    let (chain, key) = (&PAIRS[words.up_to(2)], &PAIRS[words.up_to(2)]);
    let metadata = words.metadata(SECRETS);
    let data = match metadata["name"].as_str() {
        Some("authority") => json!({"ca.crt": chain.0}),
        Some("users") => {
            let users = words.of(&["a:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "a:$1$x$odd\nb:c", "", ":"]);
            let name = words.of(&["auth", "a", "a/b"]);
            json!({name: users})
        }
        Some("broken") => json!({"tls.crt": chain.0, "tls.key": "odd"}),
        _ => json!({"tls.crt": chain.0, "tls.key": if words.rarely(2) { &key.1 } else { &chain.1 }}),
    };
    json!({"metadata": metadata, "stringData": data})
}

pub(super) fn config_map(words: &mut Words<'_>) -> Value {
    let authority = if words.rarely(3) { "odd" } else { &PAIRS[words.up_to(2)].0 };
    json!({"metadata": words.metadata(&["ca"]), "data": {"ca.crt": authority}})
}

fn target(words: &mut Words<'_>) -> Value {
    let section = words.seldom(|words| words.text(&["http", "other"]));
    let kind = words.of(&["Service", "Service", "Pod"]);
    json!({"group": "", "kind": kind, "name": words.of(SERVICES), "sectionName": section})
}

fn validation(words: &mut Words<'_>) -> Value {
    let authority = |words: &mut Words<'_>| {
        let kind = words.of(&["ConfigMap", "Secret", "Odd"]);
        json!({"group": "", "kind": kind, "name": words.of(&["ca", "authority"])})
    };
    let name = |words: &mut Words<'_>| {
        let (kind, field) = words.of(&[("Hostname", "hostname"), ("URI", "uri")]);
        json!({"type": kind, field: words.of(&["other.example.com", "spiffe://a/b", ""])})
    };
    let system = words.maybe(|words| words.text(&["System", "Odd"]));
    json!({
        "hostname": words.of(&["web.test", "*.web.test", ""]), "wellKnownCACertificates": system,
        "caCertificateRefs": words.maybe(|words| words.list(2, authority)),
        "subjectAltNames": words.seldom(|words| words.list(2, name)),
    })
}

pub(super) fn backend_tls_policy(words: &mut Words<'_>) -> Value {
    json!({
        "metadata": words.metadata(&["p1", "p2"]),
        "spec": {"targetRefs": words.list(2, target), "validation": validation(words)},
    })
}

pub(super) fn traffic_policy(words: &mut Words<'_>) -> Value {
    let budget = words.maybe(|words| {
        let rate = words.seldom(|words| json!({"count": words.of(&[1, 0]), "interval": words.of(&["1s", "odd"])}));
        let budget = json!({"percent": words.of(&[10, 101]), "interval": words.of(&["10s", "odd"])});
        json!({"budget": budget, "minRetryRate": rate})
    });
    let reference = |words: &mut Words<'_>| {
        let mut target = target(words);
        target["sectionName"] = Value::Null;
        target
    };
    json!({
        "metadata": words.metadata(&["p1", "p2"]),
        "spec": {
            "targetRefs": words.list(2, reference), "retryConstraint": budget,
            "sessionPersistence": words.maybe(persistence),
        },
    })
}

pub(super) fn x_backend(words: &mut Words<'_>) -> Value {
    let tls = words.seldom(|words| {
        let mode = words.of(&["None", "ServerOnly", "ClientAndServer", "Odd"]);
        json!({"mode": mode, "validation": words.maybe(validation)})
    });
    json!({
        "metadata": words.metadata(&["a", "b"]),
        "spec": {
            "type": words.of(&["ExternalHostname", "Odd"]), "port": {"port": words.of(&[80, 443, 0])},
            "externalHostname": words.maybe(|words| json!({"hostname": words.of(&EXTERNAL)})),
            "protocol": words.maybe(|words| words.text(&["HTTP", "H2C", "GRPC", "TCP", "MCP", "odd"])), "tls": tls,
        },
    })
}

pub(super) fn ingress(words: &mut Words<'_>) -> Value {
    let backend = json!({"service": {"name": words.of(SERVICES), "port": {"number": 80}}});
    let host = words.maybe(Words::hostname);
    let tls = words.maybe(|words| json!([{"secretName": words.of(SECRETS), "hosts": [host.clone()]}]));
    let passthrough = words.seldom(|_| json!({"nginx.ingress.kubernetes.io/ssl-passthrough": "true"}));
    let mut metadata = words.metadata(&["i1"]);
    metadata["annotations"] = passthrough;
    let path = json!({"path": words.of(&["/", "/foo"]), "pathType": "Prefix", "backend": backend});
    json!({"metadata": metadata, "spec": {"tls": tls, "rules": [{"host": host, "http": {"paths": [path]}}]}})
}
