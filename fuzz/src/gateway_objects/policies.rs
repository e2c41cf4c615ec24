//! Policies of Genkan's own, with any of their fields, on whatever they may target and on some that they may not.

use serde_json::{Value, json};

use super::gateways::{GATEWAYS, SETS};
use super::routes::ROUTES;
use super::services::SERVICES;
use super::{Words, schema};

pub(super) fn route_policy(words: &mut Words<'_>) -> Value {
    policy(words, "RoutePolicy", &["HTTPRoute", "Gateway", "Service", "GRPCRoute", "ListenerSet", "TCPRoute"])
}

pub(super) fn listener_policy(words: &mut Words<'_>) -> Value {
    policy(words, "ListenerPolicy", &["Gateway", "ListenerSet", "Gateway", "HTTPRoute"])
}

fn policy(words: &mut Words<'_>, kind: &str, targets: &[&'static str]) -> Value {
    let settings = |words: &mut Words<'_>, part| schema::value(words, part, schema::of(kind, &[part]));
    json!({
        "metadata": words.metadata(&["p1", "p2"]),
        "spec": {
            "targetRefs": words.list(2, |words| target(words, targets)),
            "defaults": words.maybe(|words| settings(words, "defaults")),
            "overrides": words.seldom(|words| settings(words, "overrides")),
        },
    })
}

fn target(words: &mut Words<'_>, kinds: &[&'static str]) -> Value {
    let kind = words.of(kinds);
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
