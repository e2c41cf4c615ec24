//! A snapshot compiled from its predecessor shares what did not change, and nothing else.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use common::{Request, model_of, path_match, prefix, rule};
use genkan_routing::model::{Host, Model, Table};
use genkan_routing::name::{HostPattern, ListenerId, RuleId, TableId};
use genkan_routing::snapshot::{CompileStats, Snapshot};

const HOSTS: usize = 1000;

fn host(number: usize) -> HostPattern {
    HostPattern::parse_one_label(&format!("h{number}.example.com")).unwrap()
}

fn snapshot() -> Snapshot {
    let hosts = (0..HOSTS).map(|number| (host(number), vec![path_match(prefix("/"), &format!("r{number}"))]));
    Snapshot::compile(Arc::new(model_of(hosts)))
}

fn after(previous: &Snapshot, change: impl FnOnce(&mut Model)) -> Snapshot {
    let mut model = Model::clone(previous.model());
    change(&mut model);
    Snapshot::compile_from(Arc::new(model), previous)
}

fn table(model: &mut Model) -> &mut Table {
    Arc::make_mut(model.tables.get_mut(&TableId::new("t0")).unwrap())
}

fn served(snapshot: &Snapshot, name: &str) -> Option<String> {
    let request = Request::get(name, "/");
    let matched = snapshot.route(&ListenerId::new("l0"), &request.view());
    matched.map(|matched| matched.rule.id.to_string())
}

#[test]
fn a_first_compile_shares_nothing() {
    let expected = CompileStats { hosts_compiled: HOSTS, tables_compiled: 1, ..CompileStats::default() };
    assert_eq!(snapshot().stats(), expected);
}

#[test]
fn without_a_change_the_table_is_shared() {
    let next = after(&snapshot(), |_| ());
    let expected = CompileStats { hosts_shared: HOSTS, tables_shared: 1, ..CompileStats::default() };
    assert_eq!(next.stats(), expected);
}

#[test]
fn a_changed_host_is_compiled_alone() {
    let next = after(&snapshot(), |model| {
        let changed = Host { matches: vec![path_match(prefix("/"), "r1")] };
        table(model).hosts.insert(host(7), Arc::new(changed));
    });
    assert_eq!((next.stats().hosts_compiled, next.stats().hosts_shared), (1, HOSTS - 1));
    assert_eq!(served(&next, "h7.example.com").as_deref(), Some("r1"));
}

#[test]
fn a_changed_rule_compiles_the_hosts_that_lead_to_it() {
    let next = after(&snapshot(), |model| {
        let id = RuleId::new("r7");
        model.rules.insert(id.clone(), rule(&id));
    });
    assert_eq!((next.stats().hosts_compiled, next.stats().hosts_shared), (1, HOSTS - 1));
    let request = Request::get("h7.example.com", "/");
    let listener = ListenerId::new("l0");
    let matched = next.route(&listener, &request.view()).unwrap();
    assert!(Arc::ptr_eq(matched.rule, &next.model().rules[&RuleId::new("r7")]));
}

#[test]
fn a_removed_host_is_gone_and_nothing_is_compiled() {
    let next = after(&snapshot(), |model| drop(table(model).hosts.remove(&host(7))));
    assert_eq!((next.stats().hosts_compiled, next.stats().hosts_shared), (0, HOSTS - 1));
    assert_eq!(served(&next, "h7.example.com"), None);
    assert_eq!(served(&next, "h8.example.com").as_deref(), Some("r8"));
}

#[test]
fn a_rule_that_appears_serves_hosts_that_waited_for_it() {
    let without = after(&snapshot(), |model| drop(model.rules.remove(&RuleId::new("r7"))));
    assert_eq!(served(&without, "h7.example.com"), None);
    let with = after(&without, |model| drop(model.rules.insert(RuleId::new("r7"), rule(&RuleId::new("r7")))));
    assert_eq!(served(&with, "h7.example.com").as_deref(), Some("r7"));
    assert_eq!(with.stats().hosts_compiled, 1);
}

#[test]
fn an_old_snapshot_keeps_answering_as_it_did() {
    let old = snapshot();
    let new = after(&old, |model| table(model).hosts.clear());
    assert_eq!(served(&new, "h7.example.com"), None);
    assert_eq!(served(&old, "h7.example.com").as_deref(), Some("r7"));
}
