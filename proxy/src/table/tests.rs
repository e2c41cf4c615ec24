//! What a table keeps of the one before, and that patching it again and again leaves nothing wrong.

mod counting;

use std::net::SocketAddr;
use std::num::NonZeroU32;

use genkan_routing::model::{Deny, Endpoint, Filters, Forward, HttpVersion, Model, RuleLabels, ServiceRef};
use genkan_routing::name::{ObjectRef, Origin, RuleId};
use genkan_routing::policy::health::{ActiveHealth, Counted, Probe};
use genkan_routing::policy::load_balance::LoadBalance;
use genkan_routing::policy::retry::Retry;
use genkan_routing::policy::timeouts::Timeouts;

use super::*;

fn cluster(name: &str, endpoints: &[&str]) -> Arc<Cluster> {
    let endpoint = |text: &&str| Endpoint { address: text.parse::<SocketAddr>().unwrap() };
    Arc::new(Cluster {
        id: ClusterId::new(name),
        name: name.into(),
        service: ServiceRef { namespace: "n".into(), name: name.into(), port: "80".into() },
        version: HttpVersion::Http1,
        tls: None,
        load_balance: LoadBalance::RoundRobin,
        affinity: None,
        retry_budget: None,
        health: None,
        circuit_breaker: None,
        endpoints: endpoints.iter().map(endpoint).collect(),
    })
}

fn rule(name: &str, clusters: &[String]) -> Arc<Rule> {
    let backend =
        |id: &String| Backend { weight: 1, target: Target::Cluster(ClusterId::new(id.as_str())), filters: Vec::new() };
    Arc::new(Rule {
        id: RuleId::new(name),
        origin: Origin::new(ObjectRef::new("Ingress", "n", name), ""),
        labels: RuleLabels::default(),
        filters: Filters::default(),
        action: Action::Forward(Forward {
            backends: clusters.iter().map(backend).collect(),
            canary: None,
            timeouts: Timeouts::default().into(),
            retry: Retry::default().into(),
            affinity: None,
            buffering: None,
        }),
        access_log: true,
    })
}

fn build(model: Model, previous: Option<&ProxyTable>) -> ProxyTable {
    ProxyTable::build(Arc::new(Snapshot::compile(Arc::new(model))), previous)
}

fn table(endpoints: &[&str], previous: Option<&ProxyTable>) -> ProxyTable {
    let cluster = cluster("c", endpoints);
    build(Model { clusters: [(cluster.id.clone(), cluster)].into(), ..Model::default() }, previous)
}

/// Every rule of the model is found, and leads to the clusters that the model has now.
fn check(table: &ProxyTable) {
    let model = table.snapshot.model();
    for rule in model.rules.values() {
        let entry = table.rule(table.rule_number(rule).unwrap()).unwrap();
        assert!(Arc::ptr_eq(&entry.rule, rule));
        let Action::Forward(forward) = &rule.action else { continue };
        assert_eq!(forward.backends.len(), entry.backends.len());
        for (backend, entry) in forward.backends.iter().zip(&entry.backends) {
            let Target::Cluster(id) = &backend.target else { continue };
            let found = table.cluster(entry.cluster.unwrap()).map(|entry| &entry.cluster);
            assert_eq!(found.map(Arc::as_ptr), model.clusters.get(id).map(Arc::as_ptr), "{id}");
        }
    }
    assert_eq!(table.rule_numbers.by_address.len(), model.rules.len());
}

#[test]
fn connections_are_shared_for_one_age() {
    let table = table(&["192.0.2.1:80"], None);
    let cluster = table.cluster(ClusterNumber(0)).unwrap();
    let group =
        |seconds| cluster.connection_group(Duration::from_secs(60), cluster.since + Duration::from_secs(seconds));
    assert_eq!(group(0), group(59));
    assert_ne!(group(59), group(60));
}

#[test]
fn a_balancer_outlives_a_publish_that_does_not_concern_it() {
    let first = table(&["192.0.2.1:80"], None);
    let second = table(&["192.0.2.1:80"], Some(&first));
    let third = table(&["192.0.2.1:80", "192.0.2.2:80"], Some(&second));
    let balancer = |table: &ProxyTable| Arc::clone(&table.cluster(ClusterNumber(0)).unwrap().balancer);
    assert!(Arc::ptr_eq(&balancer(&first), &balancer(&second)));
    assert!(!Arc::ptr_eq(&balancer(&second), &balancer(&third)));
}

/// Endpoints of one of a hundred clusters come and go: nothing that is kept by the names of all is copied.
#[test]
fn new_endpoints_copy_no_list_of_clusters() {
    let active = ActiveHealth {
        probe: Probe::Tcp,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(2),
        unhealthy: NonZeroU32::MIN,
        healthy: NonZeroU32::MIN,
    };
    let policy = Arc::new(Health { passive: None, active: Some(active) });
    let health = Counted { id: "policy".into(), policy };
    let checked = |name: &str, endpoints: &[&str]| {
        let cluster = Cluster { health: Some(health.clone()), ..Cluster::clone(&cluster(name, endpoints)) };
        (cluster.id.clone(), Arc::new(cluster))
    };
    let mut model = Model::default();
    model.clusters.extend((0..100).map(|number| checked(&format!("c{number}"), &[])));
    let old = build(model.clone(), None);
    model.clusters.extend([checked("c7", &["192.0.2.1:80"])]);
    let new = build(model.clone(), Some(&old));
    assert_eq!(old.cluster_numbers.0.unshared(&new.cluster_numbers.0).count(), 0);
    assert_eq!((old.checked().unshared(new.checked()).count(), new.checked().len()), (0, 100));
    // One that comes copies its neighbours alone.
    model.clusters.extend([checked("d", &[])]);
    let newer = build(model, Some(&new));
    assert!((1..100).contains(&new.cluster_numbers.0.unshared(&newer.cluster_numbers.0).count()));
    check(&newer);
}

/// Rules and clusters come, change and go in a fixed but unruly order; rules keep naming clusters that are gone.
#[test]
fn a_patched_table_finds_what_its_model_has() {
    let mut model = Model::default();
    let mut table = build(model.clone(), None);
    for round in 0_usize..600 {
        let mixed = round.wrapping_mul(0x9e37_79b9) >> 7;
        let (one, other) = (format!("r{}", mixed % 90), format!("c{}", mixed / 90 % 70));
        match mixed % 5 {
            0 => drop(model.rules.remove(one.as_str())),
            1 => drop(model.clusters.remove(other.as_str())),
            2 => drop(model.clusters.insert(ClusterId::new(other.as_str()), cluster(&other, &["192.0.2.1:80"]))),
            _ => {
                let rule = rule(&one, &[other, format!("c{}", mixed % 70)]);
                model.rules.insert(rule.id.clone(), rule);
            }
        }
        table = build(model.clone(), Some(&table));
        check(&table);
    }
    assert!(table.snapshot.model().rules.len() > 20, "the test has rules to look at");
    table = build(Model::default(), Some(&table));
    assert!(table.rule_numbers.by_address.is_empty());
}

#[test]
fn rules_that_share_a_list_of_filters_share_what_is_compiled_of_it() {
    let deny = || Filters::sorted(vec![Filter::Deny(Deny { status: 503, reason: String::new() })]);
    let with = |name, filters: &Filters| Arc::new(Rule { filters: filters.clone(), ..Rule::clone(&rule(name, &[])) });
    let (one, other) = (deny(), deny());
    let rules = [with("a", &one), with("b", &one), with("c", &other), rule("d", &[])];
    let table =
        build(Model { rules: rules.clone().map(|rule| (rule.id.clone(), rule)).into(), ..Model::default() }, None);
    let of = |at: usize| &table.rule(table.rule_number(&rules[at]).unwrap()).unwrap().filters;
    assert!(Arc::ptr_eq(of(0), of(1)) && !Arc::ptr_eq(of(0), of(2)));
    assert_eq!([0, 1, 2, 3].map(|at| of(at).is_empty()), [false, false, false, true]);
}

#[test]
fn numbers_of_clusters_that_are_gone_do_not_gather() {
    let mut table = build(Model::default(), None);
    let mut most = 0;
    for round in 0..4000 {
        let name = format!("c{round}");
        let rule = rule("r", std::slice::from_ref(&name));
        let (cluster, rules) = (cluster(&name, &[]), [(rule.id.clone(), rule)].into());
        let model = Model { clusters: [(cluster.id.clone(), cluster)].into(), rules, ..Model::default() };
        table = build(model, Some(&table));
        most = most.max(table.cluster_numbers.0.len());
    }
    check(&table);
    assert!(most < 2000, "{most} numbers for one cluster");
}
