//! Policies of Genkan's own, on whatever they may target and on some that they may not.

use serde_json::{Value, json};

use super::gateways::{GATEWAYS, SETS};
use super::routes::ROUTES;
use super::services::{SECRETS, SERVICES};
use super::{NAMESPACES, Words};

pub(super) fn route_policy(words: &mut Words<'_>) -> Value {
    json!({
        "metadata": words.metadata(&["p1", "p2"]),
        "spec": {
            "targetRefs": words.list(2, target), "defaults": words.maybe(settings), "overrides": words.seldom(settings),
        },
    })
}

fn target(words: &mut Words<'_>) -> Value {
    let kind = words.of(&["HTTPRoute", "Gateway", "Service", "GRPCRoute", "ListenerSet", "TCPRoute"]);
    let names = match kind {
        "Gateway" => GATEWAYS,
        "ListenerSet" => SETS,
        "Service" => SERVICES,
        _ => ROUTES,
    };
    let group = if kind == "Service" { "" } else { "gateway.networking.k8s.io" };
    let section = words.seldom(|words| words.text(&["web", "more", "first", "none"]));
    json!({"group": group, "kind": kind, "name": words.of(names), "sectionName": section})
}

fn settings(words: &mut Words<'_>) -> Value {
    let networks = |words: &mut Words<'_>| words.text(&["192.0.2.0/24", "::/0", "odd"]);
    let duration = |words: &mut Words<'_>| words.text(&["1s", "0s", "odd", "99999h"]);
    let limit =
        words.seldom(|words| json!({"requestsPerSecond": words.of(&[1, 0, -1]), "exempt": words.list(1, networks)}));
    let connections = words.seldom(|words| json!({"max": words.of(&[1, 0, -1]), "status": words.of(&[429, 200])}));
    let size = words.seldom(|words| json!({"max": words.of(&["1m", "0", "odd"])}));
    let held = |words: &mut Words<'_>| json!({"maxSize": words.of(&["1m", "0", "65m", "odd"])});
    let buffering = words.seldom(|words| json!({"request": words.maybe(held), "response": words.maybe(held)}));
    let timeouts = words.seldom(|words| json!({"request": words.maybe(duration), "read": words.maybe(duration)}));
    let access = words.seldom(|words| json!({"allow": words.list(2, networks), "deny": words.list(1, networks)}));
    let affinity =
        words.seldom(|words| json!({"kind": words.of(&["Cookie", "Header", "None"]), "name": words.of(&["s", "a b"])}));
    let balancing = words.seldom(|words| {
        let hash =
            words.maybe(|words| json!({"by": words.of(&["Host", "Header"]), "name": words.of(&["x-one", "a b"])}));
        json!({"algorithm": words.of(&["RoundRobin", "LeastConnections", "ConsistentHash"]), "hash": hash})
    });
    let retries =
        words.seldom(|words| json!({"attempts": words.of(&[0, 2, -1]), "codes": words.list(1, |_| 503.into())}));
    let (basic, external) = (words.seldom(basic_auth), words.seldom(external_auth));
    json!({
        "basicAuth": basic, "externalAuth": external,
        "rateLimit": limit, "connectionLimit": connections, "bodySize": size, "buffering": buffering,
        "timeouts": timeouts, "ipAccess": access,
        "affinity": affinity, "loadBalancing": balancing, "retries": retries,
        "compression": words.seldom(|words| json!({"enabled": words.rarely(2), "level": words.of(&[1, 99])})),
    })
}

fn basic_auth(words: &mut Words<'_>) -> Value {
    let secret = words.maybe(|words| words.of(SECRETS).into());
    let layout = words.maybe(|words| words.text(&["File", "Map"]));
    let realm = words.maybe(|words| words.text(&["Staff", "\u{e4}", "\""]));
    json!({"enabled": !words.rarely(8), "secretName": secret, "layout": layout, "realm": realm})
}

fn external_auth(words: &mut Words<'_>) -> Value {
    let namespace = words.seldom(|words| words.of(NAMESPACES).into());
    let port = words.of(&[80, 443, 8080, 0]);
    let backend = words.maybe(|words| json!({"name": words.of(SERVICES), "namespace": namespace, "port": port}));
    let names = |words: &mut Words<'_>| words.text(&["x-user", "odd name", "content-length"]);
    let http = words.seldom(|words| {
        json!({
            "path": words.of(&["/check", "", "/..", "a b"]),
            "allowedHeaders": words.list(1, names), "allowedResponseHeaders": words.list(1, names),
        })
    });
    let grpc = words.seldom(|words| json!({"allowedHeaders": words.list(1, names)}));
    let body = words.seldom(|words| json!({"maxSize": words.of(&[0, 1024, 65535, 65536, -1])}));
    let timeout = words.seldom(|words| words.text(&["1s", "0s", "odd", "99999h"]));
    json!({
        "enabled": !words.rarely(8), "protocol": words.of(&["HTTP", "GRPC"]), "backendRef": backend, "http": http,
        "grpc": grpc, "forwardBody": body, "timeout": timeout,
    })
}
