//! What requests get from translated Gateways and routes: the golden inputs, asked through the compiled table.

use std::path::Path;

use genkan_controller::files;
use genkan_controller::settings::Settings;
use genkan_controller::translate::translate;
use genkan_routing::name::ListenerId;
use genkan_routing::snapshot::{RequestView, Snapshot};
use http::{HeaderMap, HeaderValue, Method};

/// The table of a golden input.
fn snapshot(case: &str) -> Snapshot {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{case}.in.yaml"));
    let loaded = files::load(path);
    assert!(loaded.problems.is_empty(), "{case}: {:?}", loaded.problems);
    Snapshot::compile(translate(&loaded.resources, &Settings::default()).model)
}

/// The rule that serves a PUT, which no case asks for by method.
fn rule(snapshot: &Snapshot, listener: &str, host: &str, path: &str) -> Option<String> {
    rule_of(snapshot, listener, host, path, None, &[])
}

fn rule_of(
    snapshot: &Snapshot,
    listener: &str,
    host: &str,
    path: &str,
    query: Option<&str>,
    headers: &[(&'static str, &'static str)],
) -> Option<String> {
    let mut fields = HeaderMap::new();
    for (name, value) in headers {
        fields.insert(*name, HeaderValue::from_static(value));
    }
    let request = RequestView { host, path, query, method: &Method::PUT, headers: &fields };
    let matched = snapshot.route(&ListenerId::new(listener), &request)?;
    Some(matched.rule.id.to_string())
}

fn assert_rules(snapshot: &Snapshot, cases: &[(&str, &str, &str, Option<&str>)]) {
    for (listener, host, path, expected) in cases {
        let served = rule(snapshot, listener, host, path);
        assert_eq!(served.as_deref(), *expected, "{listener} {host}{path}");
    }
}

#[test]
fn ingress_hosts_below_a_gateways_hostname_stay_served() {
    let snapshot = snapshot("gateway_listener_shares_the_ports_of_ingresses");
    assert_rules(
        &snapshot,
        &[
            ("https", "www.example.com", "/", Some("httproute/default/web/0")),
            ("https", "old.example.com", "/ingress", Some("ingress/default/site/1/0")),
            ("http", "old.example.com", "/ingress", Some("ingress/default/site/1/0")),
            ("https", "other.example.com", "/", Some("default-backend")),
            ("https", "example.net", "/", Some("default-backend")),
        ],
    );
}

#[test]
fn a_request_belongs_to_the_most_specific_listener_only() {
    let snapshot = snapshot("gateway_hostnames_intersect");
    assert_rules(
        &snapshot,
        &[
            ("gateway/8081", "test.example.com", "/", Some("httproute/default/any/0")),
            ("gateway/8081", "foo.test.example.com", "/", Some("httproute/default/exact/0")),
            ("gateway/8081", "a.sub.example.com", "/", Some("httproute/default/wild/0")),
            ("gateway/8081", "other.example.com", "/", Some("httproute/default/any/0")),
            ("gateway/8081", "example.com", "/", None),
            ("gateway/8081", "test.example.net", "/", None),
        ],
    );
}

#[test]
fn younger_gateways_take_no_hostname_away() {
    let snapshot = snapshot("gateway_listener_conflicts_across_gateways_go_to_the_older");
    for (host, table) in [("www.example.com", "exact"), ("a.example.com", "wild"), ("example.net", "any")] {
        let request = RequestView { host, path: "/", query: None, method: &Method::GET, headers: &HeaderMap::new() };
        let listener = snapshot.model().listeners.values().find(|listener| listener.port == 8081).unwrap();
        let section = listener.sections.iter().find(|section| section.table.as_str().ends_with(table)).unwrap();
        assert!(section.hostname.matches(host), "{host} belongs to {table}");
        assert!(snapshot.route(&listener.id, &request).is_some(), "{host}");
    }
}

#[test]
fn matches_are_tried_in_the_order_of_the_api() {
    let snapshot = snapshot("gateway_precedence_is_the_one_of_the_api");
    let ask = |path: &str, query: Option<&str>, headers: &[(&'static str, &'static str)]| {
        rule_of(&snapshot, "gateway/8081", "a.example.com", path, query, headers).unwrap()
    };
    // The oldest route wins a tie, an exact path and a longer prefix win over age.
    assert_eq!(ask("/x", None, &[]), "httproute/default/c/0");
    assert_eq!(ask("/", None, &[]), "httproute/default/b/0");
    assert_eq!(ask("/long/er/x", None, &[]), "httproute/default/b/0");
    assert_eq!(ask("/a", None, &[]), "httproute/default/b/0");
}

#[test]
fn calls_reach_the_rule_that_says_most_about_them() {
    let snapshot = snapshot("gateway_grpc_calls_are_matched");
    let ask = |path: &str, headers: &[(&'static str, &'static str)]| {
        rule_of(&snapshot, "gateway/8081", "a.example.com", path, None, headers).unwrap()
    };
    for (path, headers, rule) in [
        ("/pkg.Users/Get", &[][..], 0),
        ("/pkg.Users/Other", &[], 0),
        ("/pkg.UsersAndMore/Other", &[], 2),
        ("/any.Service/Ping", &[], 0),
        ("/any.Service/Pinged", &[], 2),
        ("/pkg.Other/ListAll", &[], 0),
        ("/pkg.Other/Drop", &[], 2),
        ("/any.Service/Any", &[("x-team", "red"), ("x-id", "17")], 0),
        ("/any.Service/Any", &[("x-team", "blue"), ("x-id", "17")], 2),
        ("/any.Service/Any", &[("x-team", "red"), ("x-id", "seventeen")], 2),
    ] {
        assert_eq!(ask(path, headers), format!("grpcroute/default/calls/{rule}"), "{path} {headers:?}");
    }
    assert_eq!(rule(&snapshot, "gateway/8081", "b.example.com", "/a.B/C"), None);
}

#[test]
fn of_routes_of_two_kinds_for_a_host_the_older_serves() {
    let snapshot = snapshot("gateway_grpc_and_http_routes_share_no_hostname");
    assert_rules(
        &snapshot,
        &[
            ("gateway/8081", "a.example.com", "/", Some("httproute/default/older/0")),
            ("gateway/8081", "b.example.com", "/", Some("httproute/default/third/0")),
            ("gateway/8081", "c.example.com", "/", None),
            ("gateway/8082", "c.example.com", "/", Some("grpcroute/default/second/0")),
            ("gateway/8083", "a.example.com", "/", Some("grpcroute/default/second/0")),
        ],
    );
}

#[test]
fn every_condition_of_a_match_must_hold() {
    let snapshot = snapshot("gateway_matches_have_all_conditions");
    let ask = |path: &str, query: Option<&str>, headers: &[(&'static str, &'static str)]| {
        rule_of(&snapshot, "gateway/8081", "any.example", path, query, headers).is_some()
    };
    for (path, expected) in [
        ("/exact", true),
        ("/exact/", false),
        ("/prefix", true),
        ("/prefix/x", true),
        ("/prefixed", false),
        ("/r12", true),
        ("/r12x", false),
    ] {
        assert_eq!(ask(path, None, &[]), expected, "{path}");
    }
    assert!(ask("/", None, &[("x-one", "a"), ("x-two", "b")]));
    assert!(!ask("/", None, &[("x-one", "a"), ("x-two", "c")]));
    assert!(!ask("/", None, &[("x-one", "ignored"), ("x-two", "b")]));
    assert!(ask("/", Some("q=a%20b&r=b"), &[]));
    assert!(!ask("/", Some("q=ignored&r=b"), &[]));
}

#[test]
fn a_wildcard_covers_several_labels() {
    let snapshot = snapshot("gateway_route_serves_its_hostnames");
    assert_rules(
        &snapshot,
        &[
            ("gateway/8081", "a.b.example.org", "/x", Some("httproute/default/web/0")),
            ("gateway/8081", "example.org", "/x", None),
        ],
    );
}
