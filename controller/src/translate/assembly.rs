//! Assembly: the parts of the model while they change. Front ends hand in what each of their units contributes; the
//! assembly keeps every part that stayed equal at its old pointer, counts who needs which cluster and certificate, and
//! gives a new model that shares all else with the one before.

use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_routing::model::{Certificate, Host, Rule, SharedMap, Stream, Table};
use genkan_routing::name::{CertificateId, ClusterId, HostPattern, Origin, RuleId, TableId};
use genkan_routing::report::{Problem, Report};
use rustc_hash::{FxHashMap, FxHashSet};

use super::cluster::ClusterSpec;
use super::gateway::status;
use super::memo::{Changed, Output};
use crate::resources::Key;
use crate::small_map::SmallMap;

/// What one unit of a front end adds to the model and the report. Rule ids and hosts of a table belong to one unit at
/// a time; clusters and certificates may be shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contribution {
    /// Hosts of tables.
    pub hosts: Vec<(TableId, HostPattern, Arc<Host>)>,
    /// Rules that the hosts' matches lead to.
    pub rules: Vec<Arc<Rule>>,
    /// Clusters that the rules refer to.
    pub clusters: Vec<ClusterWant>,
    /// Certificates that listeners refer to.
    pub certificates: Vec<Arc<Certificate>>,
    /// Where TLS connections for the unit's host go unopened. Its front end's listeners have it, not the assembly.
    pub passthrough: Option<Arc<Stream>>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What statuses are to say. An object's status belongs to one unit.
    pub statuses: Vec<(Key, Arc<status::Wanted>)>,
}

/// A reference to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterWant {
    /// The cluster.
    pub id: ClusterId,
    /// What it is made from.
    pub spec: Arc<ClusterSpec>,
    /// The field that refers to it: problems of the cluster are told there.
    pub origin: Origin,
}

impl Contribution {
    /// Gives back the room that its lists do not need, as it is kept for long; `None` when there is nothing in it.
    pub fn into_shared(mut self) -> Option<Arc<Self>> {
        self.shrink();
        (self != Self::default()).then(|| Arc::new(self))
    }

    /// Gives back the room that its lists do not need.
    pub fn shrink(&mut self) {
        self.hosts.shrink_to_fit();
        self.rules.shrink_to_fit();
        self.clusters.shrink_to_fit();
        self.certificates.shrink_to_fit();
        self.problems.shrink_to_fit();
        self.statuses.shrink_to_fit();
    }
}

impl Contribution {
    /// Takes over from `old` the statuses that are equal.
    pub fn share_statuses(&mut self, old: &Self) {
        for (key, wanted) in &mut self.statuses {
            let same = old.statuses.iter().find(|(known, old)| known == key && old == wanted);
            if let Some((_, old)) = same {
                *wanted = Arc::clone(old);
            }
        }
    }
}

impl ClusterWant {
    /// A reference from a field to the cluster of a spec.
    pub fn new(spec: ClusterSpec, origin: Origin) -> Self {
        Self { id: spec.id(), spec: Arc::new(spec), origin }
    }
}

impl Output for Contribution {
    fn share(&mut self, old: &Self) {
        let rules: FxHashMap<_, _> = old.rules.iter().map(|rule| (&rule.id, rule)).collect();
        for rule in &mut self.rules {
            if let Some(old) = rules.get(&rule.id).filter(|old| **old == rule) {
                *rule = Arc::clone(old);
            }
        }
        self.share_statuses(old);
        if self.passthrough == old.passthrough {
            self.passthrough.clone_from(&old.passthrough);
        }
        let hosts: FxHashMap<_, _> = old.hosts.iter().map(|(table, name, host)| ((table, name), host)).collect();
        for (table, name, host) in &mut self.hosts {
            if let Some(old) = hosts.get(&(&*table, &*name)).filter(|old| **old == host) {
                *host = Arc::clone(old);
            }
        }
    }
}

/// Units whose contributions changed in a round. Collected first and applied together, so that a rule may move from one
/// unit to another.
#[derive(Debug, Default)]
pub struct Batch(Vec<Changed<Contribution>>);

impl Batch {
    /// Adds the change of a unit.
    pub fn push(&mut self, changed: Option<Changed<Contribution>>) {
        self.0.extend(changed);
    }
}

/// A cluster that is referred to, and from where.
#[derive(Debug)]
pub struct Wanted {
    /// What it is made from.
    pub spec: Arc<ClusterSpec>,
    /// Who refers to it, and how often.
    pub origins: SmallMap<Origin, usize>,
}

/// The parts of the model that units contribute to.
#[derive(Debug, Default)]
pub struct Assembly {
    /// Hosts by table.
    pub tables: BTreeMap<TableId, Arc<Table>>,
    /// Rules.
    pub rules: SharedMap<RuleId, Arc<Rule>>,
    /// Certificates that somebody needs.
    pub certificates: SharedMap<CertificateId, Arc<Certificate>>,
    /// What statuses are to say.
    pub statuses: SharedMap<Key, Arc<status::Wanted>>,
    certificate_uses: FxHashMap<CertificateId, usize>,
    wanted: FxHashMap<ClusterId, Wanted>,
    touched_clusters: BTreeMap<ClusterId, Touched>,
    report: Report,
    report_touched: bool,
}

/// What happened to a cluster in a round.
#[derive(Debug, Default)]
pub struct Touched {
    /// Whether it has to be built, and does not only have other referrers.
    pub build: bool,
    /// Fields that began to refer to it, or ceased to, at least for a while; and whether they did before the round.
    moved: SmallMap<Origin, bool>,
}

impl Touched {
    fn moves(&mut self, origin: &Origin, before: bool) {
        if !self.moved.contains_key(origin) {
            self.moved.insert(origin.clone(), before);
        }
    }

    /// The fields that refer to the cluster and did not before.
    pub fn came<'t>(&'t self, wanted: &'t Wanted) -> impl Iterator<Item = &'t Origin> {
        let came = self.moved.iter().filter(|(at, before)| !**before && wanted.origins.contains_key(at));
        came.map(|(at, _)| at)
    }

    /// The fields that referred to the cluster before and no longer do.
    pub fn went<'t>(&'t self, wanted: &'t Wanted) -> impl Iterator<Item = &'t Origin> {
        let went = self.moved.iter().filter(|(at, before)| **before && !wanted.origins.contains_key(at));
        went.map(|(at, _)| at)
    }

    /// The fields that referred to the cluster before.
    pub fn before<'t>(&'t self, wanted: &'t Wanted) -> impl Iterator<Item = &'t Origin> {
        let stayed = wanted.origins.keys().filter(|at| self.moved.get(at) != Some(&false));
        stayed.chain(self.went(wanted))
    }
}

impl Assembly {
    /// Applies the changes of a round.
    pub fn apply(&mut self, batch: Batch) {
        for changed in &batch.0 {
            if let Some(old) = &changed.old {
                self.withdraw(old, changed.new.as_deref());
            }
        }
        for changed in &batch.0 {
            if let Some(new) = &changed.new {
                self.contribute(new, changed.old.as_deref());
            }
        }
    }

    /// Takes back what a unit contributed, except what `new` keeps at the same pointer.
    fn withdraw(&mut self, old: &Contribution, new: Option<&Contribution>) {
        let kept: FxHashSet<_> = new.into_iter().flat_map(|new| &new.rules).map(Arc::as_ptr).collect();
        for rule in old.rules.iter().filter(|rule| !kept.contains(&Arc::as_ptr(rule))) {
            self.rules.remove(&rule.id);
        }
        let kept: FxHashSet<_> =
            new.into_iter().flat_map(|new| &new.hosts).map(|(.., host)| Arc::as_ptr(host)).collect();
        for (table, name, _) in old.hosts.iter().filter(|(.., host)| !kept.contains(&Arc::as_ptr(host))) {
            if let Some(present) = self.tables.get_mut(table) {
                Arc::make_mut(present).hosts.remove(name);
                if present.hosts.is_empty() {
                    self.tables.remove(table);
                }
            }
        }
        for certificate in &old.certificates {
            if let Some(uses) = self.certificate_uses.get_mut(&certificate.id) {
                *uses -= 1;
                if *uses == 0 {
                    self.certificate_uses.remove(&certificate.id);
                    self.certificates.remove(&certificate.id);
                }
            }
        }
        if new.is_none_or(|new| new.clusters != old.clusters) {
            old.clusters.iter().for_each(|want| self.unwant(want));
        }
        self.remove_problems(&old.problems);
        let stays = |key| new.is_some_and(|new| new.statuses.iter().any(|(kept, _)| kept == key));
        for (key, _) in old.statuses.iter().filter(|(key, _)| !stays(key)) {
            self.statuses.remove(key);
        }
    }

    /// Adds what a unit contributes, except what stays of `old`.
    fn contribute(&mut self, new: &Contribution, old: Option<&Contribution>) {
        for rule in &new.rules {
            self.rules.insert(rule.id.clone(), rule.clone());
        }
        for (table, name, host) in &new.hosts {
            let present = self.tables.entry(table.clone()).or_default();
            if present.hosts.get(name).is_none_or(|present| !Arc::ptr_eq(present, host)) {
                Arc::make_mut(present).hosts.insert(name.clone(), host.clone());
            }
        }
        for certificate in &new.certificates {
            *self.certificate_uses.entry(certificate.id.clone()).or_default() += 1;
            self.certificates.insert(certificate.id.clone(), certificate.clone());
        }
        if old.is_none_or(|old| old.clusters != new.clusters) {
            new.clusters.iter().for_each(|want| self.want(want));
        }
        self.add_problems(&new.problems);
        for (key, wanted) in &new.statuses {
            if self.statuses.get(key).is_none_or(|present| !Arc::ptr_eq(present, wanted)) {
                self.statuses.insert(key.clone(), wanted.clone());
            }
        }
    }

    fn want(&mut self, want: &ClusterWant) {
        let wanted = self
            .wanted
            .entry(want.id.clone())
            .or_insert_with(|| Wanted { spec: Arc::clone(&want.spec), origins: SmallMap::default() });
        // One id is one spec. Should a unit have kept an older one, what was read last counts.
        if wanted.spec != want.spec {
            wanted.spec = Arc::clone(&want.spec);
            self.touched_clusters.entry(want.id.clone()).or_default().build = true;
        }
        match wanted.origins.get_mut(&want.origin) {
            Some(uses) => *uses += 1,
            None => {
                wanted.origins.insert(want.origin.clone(), 1);
                self.touched_clusters.entry(want.id.clone()).or_default().moves(&want.origin, false);
            }
        }
    }

    fn unwant(&mut self, want: &ClusterWant) {
        let Some(wanted) = self.wanted.get_mut(&want.id) else { return };
        let Some(uses) = wanted.origins.get_mut(&want.origin) else { return };
        *uses -= 1;
        if *uses == 0 {
            wanted.origins.remove(&want.origin);
            self.touched_clusters.entry(want.id.clone()).or_default().moves(&want.origin, true);
        }
    }

    /// A cluster that somebody refers to, or did until this round.
    pub fn wanted(&self, id: &ClusterId) -> Option<&Wanted> {
        self.wanted.get(id)
    }

    /// Forgets a cluster that nobody refers to.
    pub fn forget(&mut self, id: &ClusterId) {
        self.wanted.remove(id);
    }

    /// The clusters whose referrers changed since the last call. Whoever asks forgets those without any.
    pub fn take_touched_clusters(&mut self) -> BTreeMap<ClusterId, Touched> {
        std::mem::take(&mut self.touched_clusters)
    }

    /// Adds to the report. The same problem may be told by several units.
    pub fn add_problems(&mut self, problems: &[Problem]) {
        self.report_touched |= !problems.is_empty();
        problems.iter().for_each(|problem| self.report.add(problem));
    }

    /// Takes back from the report what was added.
    pub fn remove_problems(&mut self, problems: &[Problem]) {
        self.report_touched |= !problems.is_empty();
        problems.iter().for_each(|problem| self.report.remove(problem));
    }

    /// The report; `previous` where nothing changed.
    pub fn report(&mut self, previous: &Arc<Report>) -> Arc<Report> {
        if !std::mem::take(&mut self.report_touched) || self.report == **previous {
            return previous.clone();
        }
        Arc::new(self.report.clone())
    }
}
