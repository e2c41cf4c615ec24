//! Explanations agree with routing, and say in plain words why a match lost.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use common::{Request, any_model, any_request, exact, model_of, path_match, prefix};
use genkan_routing::model::{HeaderMatch, Match, Model, QueryMatch, Section, ValueMatch};
use genkan_routing::name::{HostPattern, ListenerId, TableId};
use genkan_routing::snapshot::{Explanation, Snapshot};
use http::{HeaderName, HeaderValue, Method};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn explanations_agree_with_routing(model in any_model(), requests in vec(any_request(), 30)) {
        let snapshot = Snapshot::compile(Arc::new(model));
        for request in &requests {
            for listener in ["l0", "l1", "nowhere"].map(ListenerId::new) {
                let routed = snapshot.route(&listener, &request.view());
                let explanation = snapshot.explain(&listener, &request.view());
                let winner = explanation.winner.as_ref();
                prop_assert_eq!(routed.map(|found| found.host), winner.map(|winner| &winner.host));
                prop_assert_eq!(routed.map(|found| &found.rule.id), winner.map(|winner| &winner.rule));
                prop_assert_eq!(routed.is_none(), explanation.failure.is_some());
                if let (Some(found), Some(winner)) = (routed, winner) {
                    let host = &snapshot.model().tables[&winner.table].hosts[&winner.host];
                    prop_assert!(std::ptr::eq(found.matched, &raw const host.matches[winner.rank]), "{}", explanation);
                }
            }
        }
    }
}

fn host(text: &str) -> HostPattern {
    HostPattern::parse_one_label(text).unwrap()
}

fn explain(model: Model, request: &Request) -> Explanation {
    Snapshot::compile(Arc::new(model)).explain(&ListenerId::new("l0"), &request.view())
}

fn reasons(explanation: &Explanation) -> Vec<&str> {
    explanation.lost.iter().map(|loser| loser.reason.as_str()).collect()
}

#[test]
fn every_loser_has_its_reason() {
    let header = HeaderMatch { name: HeaderName::from_static("x-canary"), value: ValueMatch::Exact("always".into()) };
    let query = QueryMatch { name: "v".into(), value: ValueMatch::Exact("2".into()) };
    let model = model_of([
        (
            host("a.example.com"),
            vec![
                path_match(exact("/foo/bar"), "r0"),
                Match { headers: vec![header], ..path_match(prefix("/foo/bar"), "r1") },
                Match { method: Some(Method::POST), ..path_match(prefix("/foo/bar"), "r2") },
                Match { query: vec![query], ..path_match(prefix("/foo/bar"), "r3") },
                path_match(prefix("/foo/bar"), "r4"),
                path_match(prefix("/foo/bar"), "r5"),
                path_match(prefix("/foo/ba"), "r6"),
                path_match(prefix("/foo/bar/x/"), "r7"),
                path_match(prefix("/foo"), "r8"),
            ],
        ),
        (host("*.example.com"), vec![path_match(prefix("/"), "r9")]),
    ]);
    let mut request = Request::get("a.example.com", "/foo/bar/x");
    request.query = Some("v=1".into());
    let explanation = explain(model, &request);
    assert_eq!(explanation.winner.as_ref().unwrap().rule.as_str(), "r4");
    assert_eq!(
        reasons(&explanation),
        [
            "path /foo/bar is not /foo/bar/x",
            "header x-canary is missing",
            "method is GET, not POST",
            "query v is \"1\", wanted = \"2\"",
            "an older rule owns this path",
            "prefix /foo/ba covers whole segments only, so not /foo/bar/x",
            "prefix /foo/bar/x/ begins behind the slash that /foo/bar/x lacks",
            "path /foo is a shorter prefix than /foo/bar",
            "less specific host *.example.com",
        ]
    );
}

#[test]
fn a_match_with_more_conditions_beats_one_of_the_same_path() {
    let header = HeaderMatch { name: HeaderName::from_static("x-canary"), value: ValueMatch::Exact("1".into()) };
    let model = model_of([(
        host("a"),
        vec![Match { headers: vec![header], ..path_match(prefix("/"), "canary") }, path_match(prefix("/"), "main")],
    )]);
    let mut request = Request::get("a", "/");
    request.headers.insert("x-canary", HeaderValue::from_static("1"));
    assert_eq!(reasons(&explain(model, &request)), ["the winner has the same path and more conditions"]);
}

#[test]
fn less_specific_sections_are_named() {
    let mut model = model_of([(host("a.b"), vec![path_match(prefix("/"), "r0")])]);
    let listener = Arc::make_mut(model.listeners.get_mut(&ListenerId::new("l0")).unwrap());
    listener.sections.push(Section::new(host("*.b"), TableId::new("t9")));
    let explanation = explain(model, &Request::get("a.b", "/"));
    assert_eq!(explanation.section, Some(host("*.b")));
    assert_eq!(explanation.passed_over, [HostPattern::Any]);
    assert_eq!(explanation.failure.as_deref(), Some("no rule is for this host"));
}

#[test]
fn many_paths_are_counted_and_not_listed() {
    let matches = (0..100).map(|number| path_match(exact(&format!("/{number}")), "r0"));
    let explanation = explain(model_of([(HostPattern::Any, matches.collect())]), &Request::get("", "/x"));
    assert_eq!((explanation.lost.len(), explanation.unlisted), (20, 80));
    assert_eq!(explanation.failure.as_deref(), Some("no match of this host fits"));
}

#[test]
fn operators_read_lines() {
    let matches = vec![path_match(prefix("/foo"), "r0"), path_match(prefix("/"), "r1")];
    let explanation = explain(model_of([(host("a.b"), matches)]), &Request::get("a.b", "/foo"));
    assert_eq!(
        explanation.to_string(),
        "GET a.b/foo on listener l0\n\
         section: *\n\
         served by: host a.b, match 0 (prefix /foo) -> r0, from Ingress default/r0: spec.rules[0]\n\
         not by: host a.b, match 1 (prefix /) -> r1, from Ingress default/r1: spec.rules[0]\n        \
         because path / is a shorter prefix than /foo"
    );
}
