//! Classes, their parameters, Gateways, ListenerSets, grants and namespaces.

use serde_json::{Value, json};

use super::services::SECRETS;
use super::{Words, schema};

pub(super) const CLASSES: &[&str] = &["genkan", "pool", "other"];
pub(super) const GATEWAYS: &[&str] = &["g1", "g2", "g3"];
pub(super) const SETS: &[&str] = &["l1", "l2"];

pub(super) fn class(words: &mut Words<'_>) -> Value {
    let name = words.of(CLASSES);
    let controller = if words.rarely(6) { "example.org/other" } else { "genkan.dev/gateway-controller" };
    let parameters = json!({"group": "genkan.dev", "kind": "GatewayParameters", "namespace": "x", "name": "pool"});
    let parameters = if name == "pool" || words.rarely(4) { parameters } else { Value::Null };
    json!({"metadata": {"name": name}, "spec": {"controllerName": controller, "parametersRef": parameters}})
}

pub(super) fn parameters(words: &mut Words<'_>) -> Value {
    let namespace = if words.rarely(4) { "y" } else { "x" };
    let mut addresses = schema::value(words, "addresses", schema::of("GatewayParameters", &["addresses"]));
    // Mostly what the mode needs.
    if addresses["mode"] == "Pool" && !words.rarely(4) {
        addresses["pool"] = schema::value(words, "pool", schema::of("GatewayParameters", &["addresses", "pool"]));
    }
    json!({"metadata": {"namespace": namespace, "name": "pool"}, "spec": {"addresses": addresses}})
}

pub(super) fn gateway(words: &mut Words<'_>) -> Value {
    let class = words.of(&["genkan", "genkan", "pool", "other", "none"]);
    let address = |words: &mut Words<'_>| {
        let kind = words.seldom(|words| words.text(&["IPAddress", "Hostname", "example.org/Named"]));
        let value = words.maybe(|words| words.text(&["192.0.2.1", "192.0.2.5", "192.0.2.130", "a.example.com", ""]));
        json!({"type": kind, "value": value})
    };
    let sets = words.maybe(|words| json!({"namespaces": from(words, true)}));
    let infrastructure = words.seldom(|words| {
        let parameters = json!({"group": "genkan.dev", "kind": "GatewayParameters", "name": "pool"});
        json!({"labels": {"team": "web"}, "parametersRef": words.maybe(|_| parameters)})
    });
    let tls = words.seldom(tls);
    let addresses = words.seldom(|words| words.list(2, address));
    let scope = words.seldom(|words| words.text(&["All", "None"]));
    let mut metadata = words.metadata(GATEWAYS);
    metadata["uid"] = words.of(&["", "u", "u2"]).into();
    json!({
        "metadata": metadata,
        "spec": {
            "gatewayClassName": class, "listeners": listeners(words, 3), "addresses": addresses,
            "allowedListeners": sets, "infrastructure": infrastructure, "tls": tls, "defaultScope": scope,
        },
    })
}

pub(super) fn listener_set(words: &mut Words<'_>) -> Value {
    let parent = json!({
        "group": words.seldom(|words| words.text(&["gateway.networking.k8s.io", "example.org"])),
        "kind": words.seldom(|words| words.text(&["Gateway", "Service"])),
        "name": words.of(GATEWAYS), "namespace": words.maybe(|words| words.namespace().into()),
    });
    json!({
        "metadata": words.metadata(SETS),
        "spec": {"parentRef": parent, "listeners": listeners(words, 2)},
    })
}

fn listeners(words: &mut Words<'_>, most: usize) -> Value {
    let first = listener(words);
    let mut all = words.list(most, listener);
    if let Some(all) = all.as_array_mut() {
        all.insert(0, first);
    }
    all
}

fn listener(words: &mut Words<'_>) -> Value {
    let (protocol, port, mode) = words.of(&[
        ("HTTP", 80, None),
        ("HTTPS", 443, Some("Terminate")),
        ("HTTP", 9000, None),
        ("TLS", 443, Some("Passthrough")),
        ("TLS", 443, Some("Terminate")),
        ("HTTPS", 443, None),
        ("HTTP", 8443, None),
        ("HTTPS", 8443, Some("Passthrough")),
        ("TCP", 9000, None),
        ("TCP", 9001, None),
        ("UDP", 9001, None),
        ("UDP", 80, None),
        ("TLS", 9000, None),
        ("example.org/odd", 80, None),
    ]);
    let port = if words.rarely(8) { words.port() } else { port.into() };
    let certificate = |words: &mut Words<'_>| {
        let namespace = words.seldom(|words| words.namespace().into());
        let kind = words.seldom(|words| words.text(&["Secret", "ConfigMap"]));
        json!({"kind": kind, "name": words.of(SECRETS), "namespace": namespace})
    };
    let tls = if mode.is_some() || protocol == "HTTPS" || words.rarely(16) {
        json!({"mode": mode, "certificateRefs": words.list(2, certificate)})
    } else {
        Value::Null
    };
    let kind = |words: &mut Words<'_>| {
        let kind = words.of(&["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute", "Odd"]);
        let group = words.seldom(|words| words.text(&["gateway.networking.k8s.io", "", "example.org"]));
        json!({"kind": kind, "group": group})
    };
    let kinds = words.seldom(|words| words.list(2, kind));
    let allowed = words.maybe(|words| json!({"namespaces": from(words, false), "kinds": kinds}));
    json!({
        "name": words.of(&["web", "more", "extra", "last"]), "port": port, "protocol": protocol,
        "hostname": words.maybe(Words::hostname), "tls": tls, "allowedRoutes": allowed,
    })
}

/// From which namespaces something may come.
fn from(words: &mut Words<'_>, or_none: bool) -> Value {
    match words.up_to(if or_none { 3 } else { 2 }) {
        0 => json!({"from": "All"}),
        1 => json!({"from": "Same"}),
        2 => {
            let operator = words.of(&["In", "NotIn", "Exists", "DoesNotExist", "Odd"]);
            let values = words.list(1, |_| "web".into());
            let expression = json!({"key": "team", "operator": operator, "values": values});
            let by_label = json!({"from": "Selector", "selector": {"matchLabels": {"team": "web"}}});
            let by_expression = json!({"from": "Selector", "selector": {"matchExpressions": [expression]}});
            if words.rarely(2) { by_expression } else { by_label }
        }
        _ => json!({"from": "None"}),
    }
}

fn tls(words: &mut Words<'_>) -> Value {
    let validation = |words: &mut Words<'_>| {
        let kind = words.text(&["ConfigMap", "Secret", "Service"]);
        let namespace = words.seldom(|words| words.namespace().into());
        let authority =
            json!({"group": "", "kind": kind, "name": words.of(&["ca", "authority"]), "namespace": namespace});
        let mode = words.seldom(|words| words.text(&["AllowValidOnly", "AllowInsecureFallback"]));
        json!({"validation": {"caCertificateRefs": [authority], "mode": mode}})
    };
    let port = |words: &mut Words<'_>| json!({"port": words.of(&[443, 8443]), "tls": validation(words)});
    let all = if words.rarely(2) { validation(words) } else { json!({}) };
    let namespace = words.seldom(|words| words.namespace().into());
    let shown = json!({"name": words.of(SECRETS), "namespace": namespace});
    json!({
        "frontend": {"default": all, "perPort": words.seldom(|words| words.list(2, port))},
        "backend": words.maybe(|_| json!({"clientCertificateRef": shown})),
    })
}

pub(super) fn grant(words: &mut Words<'_>) -> Value {
    let from = |words: &mut Words<'_>| {
        let kinds =
            ["HTTPRoute", "Gateway", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute", "ListenerSet", "RoutePolicy"];
        let kind = words.of(&kinds);
        let group = if kind == "RoutePolicy" { "genkan.dev" } else { "gateway.networking.k8s.io" };
        json!({"group": group, "kind": kind, "namespace": words.namespace()})
    };
    let to = |words: &mut Words<'_>| {
        let kind = words.of(&["Service", "Secret", "ConfigMap", "XBackend"]);
        let name = words.seldom(|words| words.text(&["a", "tls-wild", "ca"]));
        let group = if kind == "XBackend" { "gateway.networking.x-k8s.io" } else { "" };
        json!({"group": group, "kind": kind, "name": name})
    };
    json!({"metadata": words.metadata(&["g1", "g2"]), "spec": {"from": words.list(3, from), "to": words.list(2, to)}})
}

pub(super) fn namespace(words: &mut Words<'_>) -> Value {
    let labels = words.maybe(|_| json!({"team": "web"}));
    json!({"metadata": {"name": words.namespace(), "labels": labels}})
}
