//! The table: what one publish swaps.
//!
//! Owns the snapshot with the run-time state that belongs to its rules and clusters, so that a request finds both by
//! number and never by name. State outlives a publish as long as the settings that made it are unchanged.
//!
//! ```text
//!  ArcSwap<ProxyTable> --load once per request--> Arc<ProxyTable>
//!      snapshot --route--> Arc<Rule> --address--> RuleEntry { backends } --number--> ClusterEntry { balancer }
//! ```

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use genkan_routing::model::{Action, Backend, Cluster, Rule, Target};
use genkan_routing::name::{ClusterId, HostPattern};
use genkan_routing::policy::access_log::{AccessLog, DEFAULT_FORMAT};
use genkan_routing::snapshot::Snapshot;
use parking_lot::RwLock;
use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

use crate::access_log::Format;
use crate::filters::{Compiled, Runtime};
use crate::listener::table::ListenerTable;
use crate::metrics::{Metrics, RuleMetrics};
use crate::random;
use crate::upstream::balance::Balancer;

/// What one publish swaps; see the module's documentation.
#[derive(Debug)]
pub(crate) struct ProxyTable {
    /// What is routed.
    pub(crate) snapshot: Arc<Snapshot>,
    /// What is accepted: ports and their TLS.
    pub(crate) listeners: ListenerTable,
    rules: Vec<RuleEntry>,
    /// By the rule's address, which the snapshot keeps alive.
    rule_numbers: FxHashMap<usize, RuleNumber>,
    clusters: Vec<ClusterEntry>,
    cluster_numbers: FxHashMap<ClusterId, ClusterNumber>,
    filters: Arc<Runtime>,
    access_log: Option<Format>,
}

/// A rule's place in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleNumber(usize);

/// A cluster's place in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClusterNumber(usize);

/// A rule at run time.
#[derive(Debug)]
pub(crate) struct RuleEntry {
    /// The rule.
    pub(crate) rule: Arc<Rule>,
    /// Its filters.
    pub(crate) filters: Compiled,
    /// What its backends refer to, in their order; empty for rules that answer themselves.
    pub(crate) backends: Box<[BackendEntry]>,
    /// What its canary refers to.
    pub(crate) canary: Option<BackendEntry>,
    /// Its metrics by host and canary; made when the first request comes.
    metrics: RwLock<SmallVec<[HostMetrics; 1]>>,
}

/// The metrics of a rule on one host.
#[derive(Debug)]
struct HostMetrics {
    host: HostPattern,
    /// Whether they count requests that the canary took.
    canary: bool,
    handle: Arc<RuleMetrics>,
}

/// A backend at run time.
#[derive(Debug)]
pub(crate) struct BackendEntry {
    /// The cluster; `None` when the reference is invalid.
    pub(crate) cluster: Option<ClusterNumber>,
    /// Its own filters, acting after the rule's.
    pub(crate) filters: Compiled,
}

/// A cluster at run time.
#[derive(Debug)]
pub(crate) struct ClusterEntry {
    /// The cluster.
    pub(crate) cluster: Arc<Cluster>,
    /// Chooses among its endpoints; kept while endpoints and policy stay the same.
    pub(crate) balancer: Arc<Balancer>,
    /// A hash of everything that decides how its connections are secured.
    group: u64,
    /// Where the ages of its connections are counted from.
    since: Instant,
}

impl ProxyTable {
    /// A table for `snapshot`, keeping of `previous` the state whose settings did not change.
    pub(crate) fn build(snapshot: Arc<Snapshot>, previous: Option<&Self>) -> Self {
        let listeners = ListenerTable::build(&snapshot, previous.map(|table| &table.listeners));
        let filters = previous.map_or_else(Arc::default, |table| Arc::clone(&table.filters));
        let model = Arc::clone(snapshot.model());
        let now = Instant::now();
        let mut clusters = Vec::with_capacity(model.clusters.len());
        let mut cluster_numbers = FxHashMap::default();
        for (id, cluster) in &model.clusters {
            let known = previous.and_then(|table| table.cluster(*table.cluster_numbers.get(id)?));
            cluster_numbers.insert(id.clone(), ClusterNumber(clusters.len()));
            clusters.push(ClusterEntry::new(cluster, known, now));
        }
        let mut rules = Vec::with_capacity(model.rules.len());
        let mut rule_numbers = FxHashMap::default();
        for rule in model.rules.values() {
            rule_numbers.insert(address(rule), RuleNumber(rules.len()));
            rules.push(RuleEntry::new(rule, &cluster_numbers, &filters));
        }
        let access_log = compile_access_log(&model.settings.access_log);
        Self { snapshot, listeners, rules, rule_numbers, clusters, cluster_numbers, filters, access_log }
    }

    /// How requests are logged; `None` when they are not.
    pub(crate) fn access_log(&self) -> Option<&Format> {
        self.access_log.as_ref()
    }

    /// Forgets limiter state that is no longer needed. Call it after a publish and every minute or so.
    pub(crate) fn evict(&self, now: Instant) {
        self.filters.evict(now);
    }

    /// The place of a rule that this table's snapshot routed to.
    pub(crate) fn rule_number(&self, rule: &Arc<Rule>) -> Option<RuleNumber> {
        self.rule_numbers.get(&address(rule)).copied()
    }

    /// A rule; `None` only for a number of another table.
    pub(crate) fn rule(&self, number: RuleNumber) -> Option<&RuleEntry> {
        self.rules.get(number.0)
    }

    /// A cluster; `None` only for a number of another table.
    pub(crate) fn cluster(&self, number: ClusterNumber) -> Option<&ClusterEntry> {
        self.clusters.get(number.0)
    }
}

impl RuleEntry {
    fn new(rule: &Arc<Rule>, clusters: &FxHashMap<ClusterId, ClusterNumber>, filters: &Runtime) -> Self {
        let entry = |backend: &Backend| BackendEntry::new(backend, clusters, filters);
        let (backends, canary) = match &rule.action {
            Action::Forward(forward) => {
                let canary = forward.canary.as_ref().map(|canary| entry(&canary.backend));
                (forward.backends.iter().map(entry).collect(), canary)
            }
            Action::Respond(_) => (Box::default(), None),
        };
        Self {
            rule: Arc::clone(rule),
            filters: Compiled::new(&rule.filters, filters),
            backends,
            canary,
            metrics: RwLock::default(),
        }
    }

    /// The metrics of this rule's requests on `host`; `canary` is the cluster of its canary for requests that go
    /// there, else empty.
    pub(crate) fn metrics(&self, metrics: &Metrics, host: &HostPattern, canary: &str) -> Arc<RuleMetrics> {
        let is = |known: &&HostMetrics| known.canary != canary.is_empty() && known.host == *host;
        if let Some(known) = self.metrics.read().iter().find(is) {
            return Arc::clone(&known.handle);
        }
        let mut all = self.metrics.write();
        if let Some(known) = all.iter().find(is) {
            return Arc::clone(&known.handle);
        }
        let handle = metrics.rule(&self.rule.labels, host, canary);
        all.push(HostMetrics { host: host.clone(), canary: !canary.is_empty(), handle: Arc::clone(&handle) });
        handle
    }
}

impl BackendEntry {
    fn new(backend: &Backend, clusters: &FxHashMap<ClusterId, ClusterNumber>, filters: &Runtime) -> Self {
        let cluster = match &backend.target {
            Target::Cluster(id) => clusters.get(id).copied(),
            Target::Invalid { .. } => None,
        };
        Self { cluster, filters: Compiled::new(&backend.filters, filters) }
    }
}

impl ClusterEntry {
    fn new(cluster: &Arc<Cluster>, known: Option<&Self>, now: Instant) -> Self {
        let mut hasher = FxHasher::default();
        cluster.service.namespace.hash(&mut hasher);
        cluster.version.hash(&mut hasher);
        cluster.tls.hash(&mut hasher);
        let same = |known: &&Self| {
            known.cluster.endpoints == cluster.endpoints && known.cluster.load_balance == cluster.load_balance
        };
        let balancer = match known.filter(same) {
            Some(known) => Arc::clone(&known.balancer),
            None => Arc::new(Balancer::new(
                &cluster.load_balance,
                &cluster.endpoints,
                known.map(|known| &*known.balancer),
                random::next(),
                now,
            )),
        };
        let since = known.map_or(now, |known| known.since);
        Self { cluster: Arc::clone(cluster), balancer, group: hasher.finish(), since }
    }

    /// Which kept connections of an address may be shared at `now`. The group changes with every `max_age` that
    /// passes, so that none is used beyond that age; the pool closes those that are left behind when they were idle.
    pub(crate) fn connection_group(&self, max_age: Duration, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.since).as_millis();
        let period = u64::try_from(age / max_age.as_millis().max(1)).unwrap_or(u64::MAX);
        self.group.wrapping_add(period.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// The format, unless the log is off.
fn compile_access_log(log: &AccessLog) -> Option<Format> {
    let compile = |text| Format::compile(text, log.escape);
    if !log.enabled {
        return None;
    }
    compile(&log.format)
        .or_else(|error| {
            // The translation checks formats, so this is for models that were made otherwise.
            tracing::error!(%error, "the access log's format is unknown; the default is used");
            compile(DEFAULT_FORMAT)
        })
        .ok()
}

fn address(rule: &Arc<Rule>) -> usize {
    Arc::as_ptr(rule).addr()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use genkan_routing::model::{Endpoint, HttpVersion, Model, ServiceRef};
    use genkan_routing::policy::load_balance::LoadBalance;

    use super::*;

    fn table(endpoints: &[&str], previous: Option<&ProxyTable>) -> ProxyTable {
        let id = ClusterId::new("c");
        let endpoint = |text: &&str| Endpoint { address: text.parse::<SocketAddr>().unwrap() };
        let cluster = Cluster {
            id: id.clone(),
            name: "c".into(),
            service: ServiceRef { namespace: "n".into(), name: "c".into(), port: "80".into() },
            version: HttpVersion::Http1,
            tls: None,
            load_balance: LoadBalance::RoundRobin,
            endpoints: endpoints.iter().map(endpoint).collect(),
        };
        let model = Model { clusters: [(id, Arc::new(cluster))].into(), ..Model::default() };
        ProxyTable::build(Arc::new(Snapshot::compile(Arc::new(model))), previous)
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
}
