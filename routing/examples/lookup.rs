//! Measures one thing at a time: what a lookup costs on a model of some size, what a compile costs after one change, or
//! how much memory a compiled model takes.
//!
//! ```text
//! lookup hosts    10000 1000000   # N exact hosts of two paths, K lookups: nanoseconds per lookup
//! lookup wildcards 1000 1000000   # N wildcards of one label
//! lookup paths     1000 1000000   # one host of N prefixes
//! lookup regexes    100 1000000   # one host of N regular expressions
//! lookup canonical    1 1000000   # normalize_path and canonical_host alone
//! lookup change    5000 100       # N hosts of four paths, K times one of them changes: microseconds per compile
//! lookup memory    5000 1         # N hosts of four paths: bytes per host
//! ```
//!
//! All lookups happen inside `measured_lookups`, which callgrind can be told to count alone (see `bench/lookup`).
#![allow(clippy::print_stdout, reason = "a program that prints its result")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use genkan_routing::model::{
    Action, DirectResponse, Filters, Host, Listener, Match, Model, PathMatch, PathPrefix, Protocol, Rule, RuleLabels,
    Section, Table,
};
use genkan_routing::name::{HostPattern, ListenerId, ObjectRef, Origin, RuleId, TableId};
use genkan_routing::policy::pattern::Pattern;
use genkan_routing::request::{canonical_host, normalize_path};
use genkan_routing::snapshot::{RequestView, Snapshot};
use http::{HeaderMap, Method};

type AnyError = Box<dyn std::error::Error>;

const USAGE: &str = "usage: lookup hosts|wildcards|paths|regexes|canonical|change|memory N K";

fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, size, times] = arguments.as_slice() else { return Err(USAGE.into()) };
    let (size, times): (usize, usize) = (size.parse()?, times.parse()?);
    match kind.as_str() {
        "hosts" => {
            lookups(hosts(size, &["/api", "/"])?, size, times, |at| (format!("{}:443", name(at)), "/api/v1".into()))
        }
        "wildcards" => lookups(wildcards(size)?, size, times, |at| (format!("x.{}", name(at)), "/api/v1".into())),
        "paths" => lookups(paths(size)?, size, times, |at| (name(0), format!("/service-{at:06}/v1/items/42"))),
        "regexes" => lookups(regexes(size)?, size, times, |at| (name(0), format!("/service-{at:06}/v1/items/42"))),
        "canonical" => canonical(times),
        "change" => change(size, times),
        "memory" => memory(size),
        _ => Err(USAGE.into()),
    }
}

fn lookups(
    model: Model,
    size: usize,
    times: usize,
    target: impl Fn(usize) -> (String, String),
) -> Result<(), AnyError> {
    let snapshot = Snapshot::compile(Arc::new(model));
    // A stride that is no divisor of any size visits them all in an order no prefetcher guesses.
    let targets: Vec<_> = (0..size.min(1 << 16)).map(|at| target(at * 7919 % size)).collect();
    let mut requests = Vec::with_capacity(targets.len());
    for (host, path) in &targets {
        requests.push((canonical_host(host)?, normalize_path(path)?));
    }
    let requests: Vec<_> = requests.iter().map(|(host, path)| (host.as_ref(), path.as_ref())).collect();
    let start = Instant::now();
    let found = measured_lookups(&snapshot, &requests, times);
    let elapsed = start.elapsed();
    if found != times {
        return Err(format!("{found} of {times} lookups found something").into());
    }
    println!("{:.1} ns per lookup", elapsed.as_nanos() as f64 / times as f64);
    Ok(())
}

/// Returns how many lookups found something.
#[inline(never)]
fn measured_lookups(snapshot: &Snapshot, requests: &[(&str, &str)], times: usize) -> usize {
    let (listener, headers) = (ListenerId::new("https"), HeaderMap::new());
    let found = requests.iter().cycle().take(times).filter(|(host, path)| {
        let view = RequestView { host, path, query: None, method: &Method::GET, headers: &headers };
        black_box(snapshot.route(&listener, black_box(&view))).is_some()
    });
    found.count()
}

fn canonical(times: usize) -> Result<(), AnyError> {
    let start = Instant::now();
    measured_canonical(times)?;
    println!("{:.1} ns per request", start.elapsed().as_nanos() as f64 / times as f64);
    Ok(())
}

#[inline(never)]
fn measured_canonical(times: usize) -> Result<(), AnyError> {
    for _ in 0..times {
        black_box(canonical_host(black_box("app-000123.example.com:443"))?);
        black_box(normalize_path(black_box("/service-000123/v1/items/42"))?);
    }
    Ok(())
}

fn change(size: usize, times: usize) -> Result<(), AnyError> {
    let mut snapshot = Snapshot::compile(Arc::new(hosts(size, &["/a", "/b", "/c", "/"])?));
    let (mut hosts_changed, mut rules_changed) = (0.0, 0.0);
    for round in 0..times {
        let mut model = Model::clone(snapshot.model());
        let table = model.tables.get_mut(&TableId::new("ingress")).map(Arc::make_mut).ok_or("no table")?;
        let pattern = table.hosts.keys().nth(round * 7919 % size).ok_or("no host")?.clone();
        let host = table.hosts.get_mut(&pattern).ok_or("no host")?;
        *host = Arc::new(Host::clone(host));
        (snapshot, hosts_changed) = timed(model, &snapshot, hosts_changed);

        let mut model = Model::clone(snapshot.model());
        let id = model.rules.keys().nth(round * 7919 % size).ok_or("no rule")?.clone();
        let rule = model.rules.get_mut(&id).ok_or("no rule")?;
        *rule = Arc::new(Rule::clone(rule));
        (snapshot, rules_changed) = timed(model, &snapshot, rules_changed);
        let stats = snapshot.stats();
        if (stats.hosts_compiled, stats.hosts_shared) != (1, size - 1) {
            return Err(format!("one change compiled {stats:?}").into());
        }
    }
    let mean = |total: f64| total / times as f64;
    println!("{:.0} us per changed host, {:.0} us per changed rule", mean(hosts_changed), mean(rules_changed));
    Ok(())
}

/// The new snapshot, and the sum of microseconds so far.
fn timed(model: Model, previous: &Snapshot, sum: f64) -> (Snapshot, f64) {
    let model = Arc::new(model);
    let start = Instant::now();
    let snapshot = Snapshot::compile_from(model, previous);
    (snapshot, sum + start.elapsed().as_secs_f64() * 1e6)
}

fn memory(size: usize) -> Result<(), AnyError> {
    let before = resident()?;
    let model = Arc::new(hosts(size, &["/a", "/b", "/c", "/"])?);
    let with_model = resident()?;
    let start = Instant::now();
    let snapshot = Snapshot::compile(model);
    let elapsed = start.elapsed();
    let with_snapshot = resident()?;
    black_box(&snapshot);
    let per_host = |from: usize, to: usize| (to.saturating_sub(from)) / size;
    println!(
        "bytes per host: {} model, {} snapshot; {:.1} ms to compile",
        per_host(before, with_model),
        per_host(with_model, with_snapshot),
        elapsed.as_secs_f64() * 1e3
    );
    Ok(())
}

/// The process's resident memory in bytes, as Linux tells it.
fn resident() -> Result<usize, AnyError> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

fn name(at: usize) -> String {
    format!("app-{at:06}.example.com")
}

fn hosts(size: usize, prefixes: &[&str]) -> Result<Model, AnyError> {
    let mut hosts = Vec::with_capacity(size);
    for at in 0..size {
        let matches = prefixes.iter().enumerate().map(|(path, prefix)| {
            let path_match = PathMatch::Prefix(PathPrefix::parse(prefix)?);
            Ok(a_match(path_match, &format!("ingress/default/app-{at:06}/0/{path}")))
        });
        hosts.push((HostPattern::parse_one_label(&name(at))?, matches.collect::<Result<_, AnyError>>()?));
    }
    Ok(model(hosts))
}

fn wildcards(size: usize) -> Result<Model, AnyError> {
    let mut hosts = Vec::with_capacity(size);
    for at in 0..size {
        let matches = vec![a_match(PathMatch::Prefix(PathPrefix::parse("/")?), "ingress/default/app/0/0")];
        hosts.push((HostPattern::parse_one_label(&format!("*.{}", name(at)))?, matches));
    }
    Ok(model(hosts))
}

fn paths(size: usize) -> Result<Model, AnyError> {
    let matches = (0..size).map(|at| {
        let path = PathMatch::Prefix(PathPrefix::parse(&format!("/service-{at:06}/v1"))?);
        Ok(a_match(path, &format!("ingress/default/app/0/{at}")))
    });
    Ok(model(vec![(HostPattern::parse_one_label(&name(0))?, matches.collect::<Result<_, AnyError>>()?)]))
}

fn regexes(size: usize) -> Result<Model, AnyError> {
    let matches = (0..size).map(|at| {
        let path = PathMatch::Regex(Pattern::nginx_location(&format!("/service-{at:06}(/|$)(.*)"))?);
        Ok(a_match(path, &format!("ingress/default/app/0/{at}")))
    });
    Ok(model(vec![(HostPattern::parse_one_label(&name(0))?, matches.collect::<Result<_, AnyError>>()?)]))
}

fn a_match(path: PathMatch, rule: &str) -> Match {
    Match { path, method: None, headers: Vec::new(), query: Vec::new(), rule: RuleId::new(rule) }
}

fn model(hosts: Vec<(HostPattern, Vec<Match>)>) -> Model {
    let ids = hosts.iter().flat_map(|(_, matches)| matches).map(|one| one.rule.clone());
    let rules = ids.map(|id| (id.clone(), Arc::new(a_rule(id)))).collect();
    let table = TableId::new("ingress");
    let listener = Listener {
        id: ListenerId::new("https"),
        addresses: Vec::new(),
        port: 443,
        public_port: 443,
        protocol: Protocol::Https,
        sections: vec![Section::new(HostPattern::Any, table.clone())],
        certificates: Default::default(),
        default_certificate: None,
        passthrough: Default::default(),
        terminated: Default::default(),
        client_auth: None,
        unknown_name: Default::default(),
        client: None,
        tls: Default::default(),
        stream: None,
    };
    let hosts = hosts.into_iter().map(|(pattern, matches)| (pattern, Arc::new(Host { matches }))).collect();
    Model {
        listeners: [(listener.id.clone(), Arc::new(listener))].into(),
        tables: [(table, Arc::new(Table { hosts }))].into(),
        rules,
        ..Model::default()
    }
}

fn a_rule(id: RuleId) -> Rule {
    Rule {
        origin: Origin::new(ObjectRef::new("Ingress", "default", id.as_str()), "spec.rules[0].http.paths[0]"),
        id,
        labels: RuleLabels::default(),
        filters: Filters::default(),
        action: Action::Respond(DirectResponse { status: 200 }),
        access_log: true,
    }
}
