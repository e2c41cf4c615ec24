//! The table: what one publish swaps.
//!
//! Owns the snapshot with the run-time state that belongs to its rules and clusters, so that a request finds both by
//! number and never by name. State outlives a publish as long as the settings that made it are unchanged.
//!
//! ```text
//!  ArcSwap<ProxyTable> --load once per request--> Arc<ProxyTable>
//!      snapshot --route--> Arc<Rule> --address--> RuleEntry { backends } --number--> ClusterEntry { balancer }
//! ```

mod logs;

use std::sync::Arc;
use std::time::{Duration, Instant};

use genkan_routing::model::{Action, Backend, Cluster, Filter, Forward, Model, Rule, SharedMap, Target};
use genkan_routing::name::{ClusterId, HostPattern};
use genkan_routing::policy::health::Health;
use genkan_routing::snapshot::Snapshot;
use rustc_hash::FxHashMap;

pub(crate) use self::logs::{LogFormats, Logs};
use crate::filters::{Compiled, Runtime};
use crate::keyed;
use crate::listener::table::ListenerTable;
use crate::metrics::{Metrics, RuleHandles, RuleMetrics};
use crate::random;
use crate::slots::Slots;
use crate::upstream::balance::Balancer;
use crate::upstream::retry_budget::Budget;
use crate::upstream::services::Services;
use crate::upstream::tls::Secure;

/// What one publish swaps; see the module's documentation.
#[derive(Debug)]
pub(crate) struct ProxyTable {
    /// What is routed.
    pub(crate) snapshot: Arc<Snapshot>,
    /// What is accepted: ports and their TLS.
    pub(crate) listeners: ListenerTable,
    rules: Slots<RuleEntry>,
    rule_numbers: Arc<RuleNumbers>,
    clusters: Slots<ClusterEntry>,
    cluster_numbers: ClusterNumbers,
    /// The clusters whose endpoints are asked for their health, and how.
    checked: SharedMap<ClusterId, Arc<Health>>,
    services: Arc<Services>,
    filters: Arc<Runtime>,
    logs: Logs,
}

/// A rule's place in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleNumber(usize);

/// A cluster's place in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClusterNumber(usize);

/// Numbers of rules.
#[derive(Clone, Debug, Default)]
struct RuleNumbers {
    /// By the rule's address, which the snapshot keeps alive.
    by_address: FxHashMap<usize, RuleNumber>,
    free: Vec<RuleNumber>,
}

/// Numbers of clusters. A cluster that leaves keeps its number, because rules that did not change hold it; what gathers
/// so is cleared by [`ProxyTable::is_worn`].
#[derive(Clone, Debug, Default)]
struct ClusterNumbers(SharedMap<ClusterId, ClusterNumber>);

/// A rule at run time.
#[derive(Debug)]
pub(crate) struct RuleEntry {
    /// The rule.
    pub(crate) rule: Arc<Rule>,
    /// Its filters; rules that share a list share this.
    pub(crate) filters: Arc<Compiled>,
    /// What its backends refer to, in their order; empty for rules that answer themselves.
    pub(crate) backends: Box<[BackendEntry]>,
    /// What its canary refers to.
    pub(crate) canary: Option<Box<BackendEntry>>,
    metrics: RuleHandles,
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
    /// Limits further attempts; kept while its policy stays the same.
    pub(crate) budget: Option<Arc<Budget>>,
    /// Its TLS, where that is not the engine's; kept while its settings stay the same.
    pub(crate) secure: Secure,
    /// A hash of everything that decides how its connections are secured.
    group: u64,
    /// Where the ages of its connections are counted from.
    since: Instant,
}

impl ProxyTable {
    /// A table for `snapshot`, keeping of `previous` the state whose settings did not change. What the models of both
    /// share costs nothing.
    pub(crate) fn build(snapshot: Arc<Snapshot>, previous: Option<&Self>) -> Self {
        let listeners = ListenerTable::build(&snapshot, previous.map(|table| &table.listeners));
        let logs = Logs::build(snapshot.model(), previous.map(|table| (&**table.snapshot.model(), &table.logs)));
        let base = previous.filter(|table| !table.is_worn());
        let mut table = Self {
            rules: base.map_or_else(Slots::default, |table| table.rules.clone()),
            rule_numbers: base.map_or_else(Arc::default, |table| Arc::clone(&table.rule_numbers)),
            clusters: base.map_or_else(Slots::default, |table| table.clusters.clone()),
            cluster_numbers: base.map_or_else(Default::default, |table| table.cluster_numbers.clone()),
            checked: base.map_or_else(Default::default, |table| table.checked.clone()),
            services: previous.map_or_else(Arc::default, |table| Arc::clone(&table.services)),
            filters: previous.map_or_else(Arc::default, |table| Arc::clone(&table.filters)),
            snapshot,
            listeners,
            logs,
        };
        let model = Arc::clone(table.snapshot.model());
        let old = base.map_or_else(Arc::default, |table| Arc::clone(table.snapshot.model()));
        let now = Instant::now();
        for (id, old, new) in old.clusters.unshared(&model.clusters) {
            if !is_same(old, new) {
                let known = previous.and_then(|table| table.cluster(table.cluster_numbers.get(id)?));
                let entry = new.map(|cluster| Arc::new(ClusterEntry::new(cluster, &table.services, known, now)));
                let number = table.cluster_numbers.number(id);
                table.clusters.set(number.0, entry);
                let (before, after) = (old.and_then(checks), new.and_then(checks));
                if before.map(|policy| &policy.active) != after.map(|policy| &policy.active) {
                    match after {
                        Some(policy) => drop(table.checked.insert(id.clone(), Arc::clone(policy))),
                        None => drop(table.checked.remove(id)),
                    }
                }
            }
        }
        table.replace_rules(&old, &model, previous);
        if let Some(previous) = previous {
            previous.leave_rules(&model);
        }
        table
    }

    /// Brings the rules from those of `old` to those of `new`. They go on counting where those of `previous` ended.
    fn replace_rules(&mut self, old: &Model, new: &Model, previous: Option<&Self>) {
        let changes = || old.rules.unshared(&new.rules).filter(|(_, old, new)| !is_same(*old, *new));
        if changes().next().is_none() {
            return;
        }
        let RuleNumbers { by_address, free } = Arc::make_mut(&mut self.rule_numbers);
        for number in changes().filter_map(|(_, old, _)| by_address.remove(&address(old?))) {
            self.rules.set(number.0, None);
            free.push(number);
        }
        // By the address of the list, which the rule keeps alive.
        let mut compiled: FxHashMap<*const Filter, Arc<Compiled>> = FxHashMap::default();
        for (id, rule) in changes().filter_map(|(id, _, new)| Some((id, new?))) {
            // Without a free one, the numbers in use are those below their count.
            let number = free.pop().unwrap_or(RuleNumber(by_address.len()));
            by_address.insert(address(rule), number);
            let filters = compiled
                .entry(rule.filters.as_ptr())
                .or_insert_with(|| Arc::new(Compiled::new(&rule.filters, &self.filters)));
            let mut entry = RuleEntry::new(rule, Arc::clone(filters), &mut self.cluster_numbers, &self.filters);
            if let Some(known) = previous.and_then(|table| table.rule_of(table.snapshot.model().rules.get(id)?)) {
                entry.metrics = known.metrics.handed_on(&known.rule, rule);
            }
            self.rules.set(number.0, Some(Arc::new(entry)));
        }
    }

    /// Lets go of what belongs to rules that are not in `new`, for this table may be held long after it was replaced.
    fn leave_rules(&self, new: &Model) {
        let changes = self.snapshot.model().rules.unshared(&new.rules).filter(|(_, old, new)| !is_same(*old, *new));
        for entry in changes.filter_map(|(_, old, _)| self.rule_of(old?)) {
            entry.metrics.leave();
        }
    }

    /// Whether most cluster numbers belong to clusters that are gone: then the next table is built from nothing.
    fn is_worn(&self) -> bool {
        self.cluster_numbers.0.len() > 2 * self.snapshot.model().clusters.len() + 1024
    }

    /// The clusters whose endpoints are asked for their health, and how; shared with other tables as far as that is the same.
    pub(crate) fn checked(&self) -> &SharedMap<ClusterId, Arc<Health>> {
        &self.checked
    }

    /// How things are logged.
    pub(crate) fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Forgets limiter zones that no table uses any more. Call it after a publish: it costs nothing for their clients.
    pub(crate) fn evict_zones(&self) {
        self.filters.evict_zones();
    }

    /// Forgets all limiter state that is no longer needed. Call it every minute or so.
    pub(crate) fn evict(&self, now: Instant) {
        self.filters.evict(now);
    }

    /// The place of a rule that this table's snapshot routed to.
    pub(crate) fn rule_number(&self, rule: &Arc<Rule>) -> Option<RuleNumber> {
        self.rule_numbers.by_address.get(&address(rule)).copied()
    }

    /// A rule; `None` only for a number of another table.
    pub(crate) fn rule(&self, number: RuleNumber) -> Option<&RuleEntry> {
        self.rules.get(number.0).map(AsRef::as_ref)
    }

    fn rule_of(&self, rule: &Arc<Rule>) -> Option<&RuleEntry> {
        self.rule(self.rule_number(rule)?)
    }

    /// A cluster; `None` when the model has none of the name that a rule refers to.
    pub(crate) fn cluster(&self, number: ClusterNumber) -> Option<&ClusterEntry> {
        self.clusters.get(number.0).map(AsRef::as_ref)
    }

    /// A cluster by name: for connections, and requests that make another one, which costs far more than to look it up.
    pub(crate) fn cluster_of(&self, id: &ClusterId) -> Option<&ClusterEntry> {
        self.cluster(self.cluster_numbers.get(id)?)
    }
}

impl ClusterNumbers {
    fn get(&self, id: &ClusterId) -> Option<ClusterNumber> {
        self.0.get(id).copied()
    }

    /// The number of a cluster, be it new.
    fn number(&mut self, id: &ClusterId) -> ClusterNumber {
        self.get(id).unwrap_or_else(|| {
            let next = ClusterNumber(self.0.len());
            self.0.insert(id.clone(), next);
            next
        })
    }
}

impl RuleEntry {
    fn new(rule: &Arc<Rule>, filters: Arc<Compiled>, clusters: &mut ClusterNumbers, runtime: &Runtime) -> Self {
        let mut entry = |backend: &Backend| BackendEntry::new(backend, clusters, runtime);
        let (backends, canary) = match &rule.action {
            Action::Forward(forward) => {
                let canary = forward.canary.as_ref().map(|canary| Box::new(entry(&canary.backend)));
                (forward.backends.iter().map(&mut entry).collect(), canary)
            }
            Action::Respond(_) => (Box::default(), None),
        };
        Self { rule: Arc::clone(rule), filters, backends, canary, metrics: RuleHandles::default() }
    }

    /// How it forwards, if it does.
    pub(crate) fn forward(&self) -> Option<&Forward> {
        match &self.rule.action {
            Action::Forward(forward) => Some(forward),
            Action::Respond(_) => None,
        }
    }

    /// The metrics of this rule's requests; see [`RuleHandles::get`].
    pub(crate) fn metrics(
        &self,
        metrics: &Metrics,
        host: (&HostPattern, &str),
        canary: &str,
    ) -> Option<Arc<RuleMetrics>> {
        self.metrics.get(metrics, &self.rule, host, canary)
    }
}

impl BackendEntry {
    fn new(backend: &Backend, clusters: &mut ClusterNumbers, filters: &Runtime) -> Self {
        let cluster = match &backend.target {
            Target::Cluster(id) => Some(clusters.number(id)),
            Target::Invalid { .. } => None,
        };
        Self { cluster, filters: Compiled::new(&backend.filters, filters) }
    }
}

impl ClusterEntry {
    fn new(cluster: &Arc<Cluster>, services: &Services, known: Option<&Self>, now: Instant) -> Self {
        let group = keyed::hash((&cluster.service.namespace, cluster.version, &cluster.tls));
        let balancer = match known.filter(|known| Balancer::is_same(&known.cluster, cluster)) {
            Some(known) => Arc::clone(&known.balancer),
            None => {
                let previous = known.map(|known| &*known.balancer);
                Arc::new(Balancer::new(cluster, services, previous, random::next(), now))
            }
        };
        let budget = cluster.retry_budget.map(|policy| {
            let same = known.and_then(|known| known.budget.as_ref()).filter(|budget| budget.policy() == policy);
            same.map_or_else(|| Arc::new(Budget::new(policy, now)), Arc::clone)
        });
        let since = known.map_or(now, |known| known.since);
        let same_tls = |known: &&Self| (known.cluster.version, &known.cluster.tls) == (cluster.version, &cluster.tls);
        let secure = known.filter(same_tls).map(|known| known.secure.clone()).unwrap_or_default();
        Self { cluster: Arc::clone(cluster), balancer, budget, secure, group, since }
    }

    /// A hash of everything that decides how its connections are secured.
    pub(crate) fn group(&self) -> u64 {
        self.group
    }

    /// Which kept connections of an address may be shared at `now`. The group changes with every `max_age` that
    /// passes, so that none is used beyond that age; the pool closes those that are left behind when they were idle.
    pub(crate) fn connection_group(&self, max_age: Duration, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.since).as_millis();
        let period = u64::try_from(age / max_age.as_millis().max(1)).unwrap_or(u64::MAX);
        self.group.wrapping_add(period.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// How the endpoints of a cluster are asked for their health.
fn checks(cluster: &Arc<Cluster>) -> Option<&Arc<Health>> {
    cluster.health.as_ref().map(|health| &health.policy).filter(|policy| policy.active.is_some())
}

/// Whether a part is in both models, unchanged.
fn is_same<T>(old: Option<&Arc<T>>, new: Option<&Arc<T>>) -> bool {
    matches!((old, new), (Some(old), Some(new)) if Arc::ptr_eq(old, new))
}

fn address(rule: &Arc<Rule>) -> usize {
    Arc::as_ptr(rule).addr()
}

#[cfg(test)]
mod tests;
