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

use genkan_routing::model::{Action, Backend, Cluster, Rule, Target};
use genkan_routing::name::ClusterId;
use genkan_routing::snapshot::Snapshot;
use rustc_hash::{FxHashMap, FxHasher};

use crate::listener::table::ListenerTable;

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
    /// What its backends refer to, in their order; empty for rules that answer themselves.
    pub(crate) backends: Box<[BackendEntry]>,
    /// What its canary refers to.
    pub(crate) canary: Option<BackendEntry>,
}

/// A backend at run time.
#[derive(Debug)]
pub(crate) struct BackendEntry {
    /// The cluster; `None` when the reference is invalid.
    pub(crate) cluster: Option<ClusterNumber>,
}

/// A cluster at run time.
#[derive(Debug)]
pub(crate) struct ClusterEntry {
    /// The cluster.
    pub(crate) cluster: Arc<Cluster>,
    /// Which connections of an address may be shared: a hash of everything that decides how they are secured.
    pub(crate) connection_group: u64,
}

impl ProxyTable {
    /// A table for `snapshot`, keeping of `previous` the state whose settings did not change.
    pub(crate) fn build(snapshot: Arc<Snapshot>, previous: Option<&Self>) -> Self {
        let listeners = ListenerTable::build(&snapshot, previous.map(|table| &table.listeners));
        let model = Arc::clone(snapshot.model());
        let mut clusters = Vec::with_capacity(model.clusters.len());
        let mut cluster_numbers = FxHashMap::default();
        for (id, cluster) in &model.clusters {
            cluster_numbers.insert(id, ClusterNumber(clusters.len()));
            clusters.push(ClusterEntry::new(cluster));
        }
        let mut rules = Vec::with_capacity(model.rules.len());
        let mut rule_numbers = FxHashMap::default();
        for rule in model.rules.values() {
            rule_numbers.insert(address(rule), RuleNumber(rules.len()));
            rules.push(RuleEntry::new(rule, &cluster_numbers));
        }
        Self { snapshot, listeners, rules, rule_numbers, clusters }
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
    fn new(rule: &Arc<Rule>, clusters: &FxHashMap<&ClusterId, ClusterNumber>) -> Self {
        let entry = |backend: &Backend| BackendEntry::new(backend, clusters);
        let (backends, canary) = match &rule.action {
            Action::Forward(forward) => {
                let canary = forward.canary.as_ref().map(|canary| entry(&canary.backend));
                (forward.backends.iter().map(entry).collect(), canary)
            }
            Action::Respond(_) => (Box::default(), None),
        };
        Self { rule: Arc::clone(rule), backends, canary }
    }
}

impl BackendEntry {
    fn new(backend: &Backend, clusters: &FxHashMap<&ClusterId, ClusterNumber>) -> Self {
        let cluster = match &backend.target {
            Target::Cluster(id) => clusters.get(id).copied(),
            Target::Invalid { .. } => None,
        };
        Self { cluster }
    }
}

impl ClusterEntry {
    fn new(cluster: &Arc<Cluster>) -> Self {
        let mut hasher = FxHasher::default();
        cluster.service.namespace.hash(&mut hasher);
        cluster.version.hash(&mut hasher);
        cluster.tls.hash(&mut hasher);
        Self { cluster: Arc::clone(cluster), connection_group: hasher.finish() }
    }
}

fn address(rule: &Arc<Rule>) -> usize {
    Arc::as_ptr(rule).addr()
}
