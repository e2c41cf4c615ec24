//! What becomes of the counts of rules that change and leave.

use genkan_routing::policy::canary::Canary;
use http::Method;

use super::*;
use crate::metrics::{ConstantLabels, MetricSettings, Observation};

fn metrics() -> Metrics {
    Metrics::new(&ConstantLabels::default(), Some(MetricSettings::default()))
}

fn labelled(name: &str, ingress: &str, clusters: &[String]) -> Arc<Rule> {
    let labels = RuleLabels { ingress: ingress.into(), ..RuleLabels::default() };
    Arc::new(Rule { labels, ..Rule::clone(&rule(name, clusters)) })
}

fn with_canary(name: &str, ingress: &str, cluster: &str, weight: u32) -> Arc<Rule> {
    let mut rule = Rule::clone(&labelled(name, ingress, &["c".to_owned()]));
    let Action::Forward(forward) = &mut rule.action else { unreachable!("made so above") };
    let target = Target::Cluster(ClusterId::new(cluster));
    let backend = Backend { weight: 1, target, filters: Vec::new() };
    forward.canary = Some(Box::new(Canary { backend, header: None, cookie: None, weight, total: 100 }));
    Arc::new(rule)
}

fn model(rules: &[Arc<Rule>]) -> Model {
    Model { rules: rules.iter().map(|rule| (rule.id.clone(), Arc::clone(rule))).collect(), ..Model::default() }
}

fn request(table: &ProxyTable, rule: &Arc<Rule>, metrics: &Metrics, canary: &str) {
    let host = HostPattern::parse_one_label("test").unwrap();
    let handle = table.rule_of(rule).unwrap().metrics(metrics, (&host, "test"), canary).unwrap();
    let observation = Observation {
        method: &Method::GET,
        status: 200,
        request_time: Duration::ZERO,
        request_length: 1,
        bytes_sent: 1,
        upstream: None,
    };
    handle.observe(&observation);
}

/// How many requests of an Ingress a scrape sees; `None` without a series.
fn counted(metrics: &Metrics, ingress: &str, canary: &str) -> Option<f64> {
    let text = metrics.encode();
    let labels = [format!("ingress=\"{ingress}\""), format!("canary=\"{canary}\"")];
    let mut lines = text.lines().filter(|line| line.starts_with("nginx_ingress_controller_requests{"));
    let line = lines.find(|line| labels.iter().all(|label| line.contains(label)))?;
    Some(line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[test]
fn series_of_a_rule_that_left_are_gone_while_its_table_is_still_held() {
    let metrics = metrics();
    let rules = [labelled("a", "gone", &[]), labelled("b", "stays", &[])];
    let old = build(model(&rules), None);
    rules.iter().for_each(|rule| request(&old, rule, &metrics, ""));
    assert_eq!((counted(&metrics, "gone", ""), counted(&metrics, "stays", "")), (Some(1.0), Some(1.0)));
    let new = build(model(&rules[1..]), Some(&old));
    assert_eq!((counted(&metrics, "gone", ""), counted(&metrics, "stays", "")), (None, Some(1.0)));
    // A request that came with the old table is counted, and leaves nothing either.
    request(&old, &rules[0], &metrics, "");
    assert_eq!(counted(&metrics, "gone", ""), None);
    drop((old, new));
}

#[test]
fn a_rule_that_changes_counts_on() {
    let metrics = metrics();
    let versions = ["a", "b"].map(|cluster| labelled("r", "web", &[cluster.to_owned()]));
    let old = build(model(&versions[..1]), None);
    request(&old, &versions[0], &metrics, "");
    let new = build(model(&versions[1..]), Some(&old));
    drop(old);
    assert_eq!(counted(&metrics, "web", ""), Some(1.0), "a scrape before the first request of the new version");
    request(&new, &versions[1], &metrics, "");
    assert_eq!(counted(&metrics, "web", ""), Some(2.0));
}

#[test]
fn a_rule_of_other_labels_begins_anew() {
    let metrics = metrics();
    let versions = ["old", "new"].map(|ingress| labelled("r", ingress, &[]));
    let old = build(model(&versions[..1]), None);
    request(&old, &versions[0], &metrics, "");
    let new = build(model(&versions[1..]), Some(&old));
    assert_eq!(counted(&metrics, "old", ""), None);
    request(&new, &versions[1], &metrics, "");
    assert_eq!((counted(&metrics, "old", ""), counted(&metrics, "new", "")), (None, Some(1.0)));
}

#[test]
fn counts_of_a_canary_go_on_while_it_is_the_same_one() {
    let metrics = metrics();
    let [first, weighted, other] = [("one", 5), ("one", 50), ("two", 50)]
        .map(|(cluster, weight)| (with_canary("r", "web", cluster, weight), cluster));
    let mut table = build(model(&[Arc::clone(&first.0)]), None);
    request(&table, &first.0, &metrics, first.1);
    request(&table, &first.0, &metrics, "");
    table = build(model(&[Arc::clone(&weighted.0)]), Some(&table));
    assert_eq!(counted(&metrics, "web", "one"), Some(1.0));
    table = build(model(&[Arc::clone(&other.0)]), Some(&table));
    assert_eq!(counted(&metrics, "web", "one"), None);
    request(&table, &other.0, &metrics, other.1);
    assert_eq!(counted(&metrics, "web", "two"), Some(1.0));
    assert_eq!(counted(&metrics, "web", ""), Some(1.0));
}

#[test]
fn rules_count_on_in_a_table_that_is_built_from_nothing() {
    let metrics = metrics();
    let kept = labelled("kept", "web", &[]);
    let mut table = build(model(&[Arc::clone(&kept)]), None);
    request(&table, &kept, &metrics, "");
    let mut worn = false;
    for round in 0..2000 {
        let rules = [Arc::clone(&kept), rule("r", &[format!("c{round}")])];
        worn |= table.is_worn();
        table = build(model(&rules), Some(&table));
        assert_eq!(counted(&metrics, "web", ""), Some(1.0), "round {round}");
    }
    assert!(worn, "the test comes to a table that is built from nothing");
}
