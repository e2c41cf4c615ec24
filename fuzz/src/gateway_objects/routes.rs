//! Routes of all kinds, their matches, filters and backends.

use serde_json::{Value, json};

use super::Words;
use super::gateways::{GATEWAYS, SETS};
use super::services::SERVICES;

pub(super) const ROUTES: &[&str] = &["r1", "r2", "r3"];

pub(super) fn http(words: &mut Words<'_>) -> Value {
    let rule = |words: &mut Words<'_>| {
        json!({
            "name": words.seldom(|words| words.text(&["first", "second"])),
            "matches": words.maybe(|words| words.list(3, http_match)),
            "filters": words.seldom(|words| words.list(2, |words| filter(words, true))),
            "backendRefs": words.list(2, |words| backend(words, true)),
            "timeouts": words.seldom(timeouts),
            "retry": words.seldom(retry),
            "sessionPersistence": words.seldom(persistence),
        })
    };
    route(words, rule)
}

pub(super) fn grpc(words: &mut Words<'_>) -> Value {
    let rule = |words: &mut Words<'_>| {
        json!({
            "matches": words.maybe(|words| words.list(3, grpc_match)),
            "filters": words.seldom(|words| words.list(2, |words| filter(words, false))),
            "backendRefs": words.list(2, |words| backend(words, false)),
            "sessionPersistence": words.seldom(persistence),
        })
    };
    route(words, rule)
}

pub(super) fn stream(words: &mut Words<'_>) -> Value {
    let plain = |words: &mut Words<'_>| reference(words, true);
    let rule = |words: &mut Words<'_>| json!({"backendRefs": words.list(3, plain)});
    route(words, rule)
}

fn route(words: &mut Words<'_>, rule: impl FnMut(&mut Words<'_>) -> Value) -> Value {
    json!({
        "metadata": words.metadata(ROUTES),
        "spec": {
            "parentRefs": words.list(3, parent), "hostnames": words.list(2, Words::hostname),
            "rules": words.list(2, rule), "useDefaultGateways": words.seldom(|words| words.text(&["All", "None"])),
        },
    })
}

fn parent(words: &mut Words<'_>) -> Value {
    let (kind, name) = match words.up_to(4) {
        0..=2 => (Value::Null, words.of(GATEWAYS)),
        3 => ("ListenerSet".into(), words.of(SETS)),
        _ => (words.text(&["Gateway", "Service"]), words.of(GATEWAYS)),
    };
    json!({
        "group": words.seldom(|words| words.text(&["gateway.networking.k8s.io", "", "example.org"])),
        "kind": kind, "name": name, "namespace": words.maybe(|words| words.namespace().into()),
        "sectionName": words.seldom(|words| words.text(&["web", "more", "extra", "none"])),
        "port": words.seldom(Words::port),
    })
}

fn reference(words: &mut Words<'_>, weighted: bool) -> Value {
    let odd = words.rarely(8);
    let (group, kind) =
        if odd { words.of(&[("gateway.networking.x-k8s.io", "XBackend"), ("", "Pod")]) } else { ("", "Service") };
    json!({
        "group": group, "kind": kind, "name": words.of(SERVICES),
        "namespace": words.seldom(|words| words.namespace().into()),
        "port": words.of(&[Some(80), Some(80), Some(81), Some(443), None]),
        "weight": if weighted { words.seldom(|words| words.of(&[0, 1, 2, 1_000_000]).into()) } else { Value::Null },
    })
}

fn backend(words: &mut Words<'_>, http: bool) -> Value {
    let mut backend = reference(words, true);
    backend["filters"] = words.seldom(|words| words.list(1, |words| filter(words, http)));
    backend
}

fn condition(words: &mut Words<'_>) -> Value {
    let kind = words.maybe(|words| words.text(&["Exact", "RegularExpression"]));
    let (name, value) = (words.of(&["x-one", "x-two", "q", "bad name"]), words.of(&["1", "a", "(", "[0-9]+"]));
    json!({"type": kind, "name": name, "value": value})
}

fn http_match(words: &mut Words<'_>) -> Value {
    let path = words.maybe(|words| {
        let kind = words.of(&[Some("PathPrefix"), Some("Exact"), Some("RegularExpression"), None]);
        let value = words.of(&["/", "/foo", "/foo/bar", "/foo/", "/f(o+)", "(", "foo", "/(?=x)", "/a//b"]);
        json!({"type": kind, "value": value})
    });
    json!({
        "path": path, "method": words.seldom(|words| words.text(&["GET", "POST", "ODD"])),
        "headers": words.seldom(|words| words.list(2, condition)),
        "queryParams": words.seldom(|words| words.list(2, condition)),
    })
}

fn grpc_match(words: &mut Words<'_>) -> Value {
    let method = words.maybe(|words| {
        json!({
            "type": words.maybe(|words| words.text(&["Exact", "RegularExpression"])),
            "service": words.maybe(|words| words.text(&["s", "s.t", "(", "s/t"])),
            "method": words.maybe(|words| words.text(&["m", "n", "("])),
        })
    });
    json!({"method": method, "headers": words.seldom(|words| words.list(2, condition))})
}

fn filter(words: &mut Words<'_>, http: bool) -> Value {
    let of_both = ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"];
    let of_http = ["RequestRedirect", "URLRewrite", "CORS", "ExternalAuth"];
    let kind = if http && words.rarely(2) { words.of(&of_http) } else { words.of(&of_both) };
    let mut filter = json!({"type": kind});
    // Sometimes what belongs to another type.
    let (field, value) = match if words.rarely(8) { "CORS" } else { kind } {
        "RequestHeaderModifier" => ("requestHeaderModifier", headers(words)),
        "ResponseHeaderModifier" => ("responseHeaderModifier", headers(words)),
        "RequestMirror" => ("requestMirror", mirror(words)),
        "ExtensionRef" => {
            let (group, kind) = words.of(&[("genkan.dev", "RoutePolicy"), ("example.org", "Odd")]);
            ("extensionRef", json!({"group": group, "kind": kind, "name": words.of(&["p1", "p2", "none"])}))
        }
        "RequestRedirect" => ("requestRedirect", redirect(words)),
        "URLRewrite" => ("urlRewrite", json!({"hostname": words.maybe(Words::hostname), "path": words.maybe(path)})),
        "ExternalAuth" => ("externalAuth", external_auth(words)),
        _ => ("cors", cors(words)),
    };
    filter[field] = value;
    filter
}

fn headers(words: &mut Words<'_>) -> Value {
    let header = |words: &mut Words<'_>| {
        let (name, value) = (words.of(&["x-one", "host", "bad name"]), words.of(&["1", "a\nb"]));
        json!({"name": name, "value": value})
    };
    let removed = words.seldom(|words| words.list(2, |words| words.text(&["x-one", "connection", ""])));
    json!({"set": words.list(2, header), "add": words.list(1, header), "remove": removed})
}

fn mirror(words: &mut Words<'_>) -> Value {
    let fraction =
        words.seldom(|words| json!({"numerator": words.of(&[0, 1, -1]), "denominator": words.of(&[100, 0, 1])}));
    let percent = words.seldom(|words| words.of(&[0, 50, 100, 101]).into());
    json!({"backendRef": reference(words, false), "fraction": fraction, "percent": percent})
}

fn path(words: &mut Words<'_>) -> Value {
    let value = words.of(&["/", "/new", "new", "", "/a%zz"]);
    let full = words.rarely(2);
    let (kind, field) =
        if full { ("ReplaceFullPath", "replaceFullPath") } else { ("ReplacePrefixMatch", "replacePrefixMatch") };
    json!({"type": kind, field: value})
}

fn redirect(words: &mut Words<'_>) -> Value {
    json!({
        "scheme": words.maybe(|words| words.text(&["http", "https"])), "hostname": words.seldom(Words::hostname),
        "path": words.seldom(path), "port": words.seldom(Words::port),
        "statusCode": words.seldom(|words| words.of(&[301, 302, 303, 307, 308, 200]).into()),
    })
}

fn cors(words: &mut Words<'_>) -> Value {
    let origins = |words: &mut Words<'_>| words.text(&["https://a.example.com", "*", "https://*.example.com", "odd"]);
    let names = |words: &mut Words<'_>| words.text(&["GET", "x-one", "*", "bad name"]);
    json!({
        "allowOrigins": words.maybe(|words| words.list(2, origins)),
        "allowMethods": words.seldom(|words| words.list(2, names)),
        "allowHeaders": words.seldom(|words| words.list(2, names)),
        "maxAge": words.seldom(|words| words.of(&[0, 5, -1]).into()),
        "allowCredentials": words.seldom(|words| words.rarely(2).into()),
    })
}

fn external_auth(words: &mut Words<'_>) -> Value {
    let http = words.rarely(2);
    let settings = json!({"path": words.maybe(|words| words.text(&["/auth", "auth"])), "allowedHeaders": ["x-one"]});
    let (protocol, field) = if http { ("HTTP", "http") } else { ("GRPC", "grpc") };
    let body = words.seldom(|words| json!({"maxSize": words.of(&[0, 10, -1])}));
    json!({
        "protocol": protocol, "backendRef": reference(words, false), "forwardBody": body,
        field: if http { settings } else { json!({"allowedHeaders": ["x-one"]}) },
    })
}

const DURATIONS: &[&str] = &["1s", "0s", "10ms", "1h30m", "odd", "-1s", "99999h"];

fn timeouts(words: &mut Words<'_>) -> Value {
    let (request, backend) = (words.maybe(|words| words.text(DURATIONS)), words.maybe(|words| words.text(DURATIONS)));
    json!({"request": request, "backendRequest": backend})
}

fn retry(words: &mut Words<'_>) -> Value {
    json!({
        "attempts": words.maybe(|words| words.of(&[0, 1, 5, -1]).into()),
        "backoff": words.maybe(|words| words.text(DURATIONS)),
        "codes": words.maybe(|words| words.list(2, |words| words.of(&[500, 503, 200, 99, 1000]).into())),
    })
}

pub(super) fn persistence(words: &mut Words<'_>) -> Value {
    json!({
        "sessionName": words.maybe(|words| words.text(&["s", "bad name"])),
        "type": words.maybe(|words| words.text(&["Cookie", "Header"])),
        "absoluteTimeout": words.seldom(|words| words.text(DURATIONS)),
        "idleTimeout": words.seldom(|words| words.text(DURATIONS)),
        "cookieConfig": words.seldom(|words| json!({"lifetimeType": words.of(&["Permanent", "Session"])})),
    })
}
