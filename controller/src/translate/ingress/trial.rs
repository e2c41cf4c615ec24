//! Trials: what would follow from an Ingress that is not there yet, or not like this. Nothing changes by it.
//!
//! The Ingress becomes a fragment; of everybody else's work only the hosts that it names are looked at, so the size of
//! the cluster makes no difference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::name::{HostPattern, TableId};
use genkan_routing::report::Problem;

use super::fragment::{Body, Fragment};
use super::rule::{FilterPool, HostContext};
use super::{IngressFrontEnd, TABLE, host, tls, wildcard_above};
use crate::resources::{Ingress, NamespacedName};
use crate::small_map::SmallMap;
use crate::translate::assembly::ClusterWant;
use crate::translate::cluster;
use crate::translate::reader::Reader;
use crate::translate::world::World;

/// What would follow from an Ingress.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// Whether it is of our class.
    pub ours: bool,
    /// What is wrong with it.
    pub problems: BTreeSet<Problem>,
    /// What would be wrong with other Ingresses, and is not now.
    pub elsewhere: BTreeSet<Problem>,
    /// Paths of it that belong to another Ingress.
    pub overlaps: Vec<Overlap>,
    /// How many Ingresses were looked at, itself included.
    pub ingresses: usize,
}

/// A path of a host that belongs to another Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// `spec.rules[0].http.paths[1]`.
    pub field: String,
    /// The host.
    pub host: HostPattern,
    /// The path as it is written.
    pub path: Arc<str>,
    /// Whose it is.
    pub owner: NamespacedName,
}

impl IngressFrontEnd {
    /// Tries an Ingress, in place of its present version if there is one.
    pub fn try_on(&self, world: &World<'_>, name: &NamespacedName, ingress: &Ingress) -> Trial {
        let reader = world.reader();
        let fragment = Arc::new(Fragment::read(name, ingress, &reader));
        let mut trial = Trial { ours: fragment.ours, ingresses: 1, ..Trial::default() };
        trial.problems.extend(fragment.told.iter().flat_map(|told| told.problems.iter().cloned()));
        let mut wants = Vec::new();
        for host in fragment.hosts() {
            let present = self.members.get(&host);
            trial.ingresses += present.map_or(0, |members| members.values().filter(|it| it.name() != name).count());
            if let Some(body) = &fragment.body {
                let found = overlaps(&host, name, body, present);
                trial.overlaps.extend(found.filter(|overlap| {
                    body.settings.canary.is_some()
                        || !says_canary(ingress, world) && {
                            let owner = world.resources.ingresses.get(&overlap.owner);
                            !owner.is_some_and(|owner| says_canary(owner, world))
                        }
                }));
            }
            let (problems, of_host) = self.try_host(&host, &fragment, &reader);
            for problem in problems {
                if problem.origin.object == fragment.origin("").object {
                    trial.problems.insert(problem);
                } else if problem.origin.object.kind == "Ingress" && !self.is_told(&host, &problem) {
                    trial.elsewhere.insert(problem);
                }
            }
            wants.extend(of_host);
        }
        trial.problems.extend(cluster_problems(wants, &reader));
        trial
    }

    /// Whether something is wrong with a host as it is.
    fn is_told(&self, host: &HostPattern, problem: &Problem) -> bool {
        let of_tls = self.tls.get(host).and_then(|tls| tls.told.as_ref());
        self.hosts.get(host).is_some_and(|host| host.problems.contains(problem))
            || of_tls.is_some_and(|told| told.problems.contains(problem))
    }

    /// The problems of a host with an Ingress among its members, and the clusters that this one wants.
    fn try_host(
        &self,
        host: &HostPattern,
        tried: &Arc<Fragment>,
        reader: &Reader<'_>,
    ) -> (Vec<Problem>, Vec<ClusterWant>) {
        let present = self.members.get(host).into_iter().flat_map(SmallMap::values);
        let mut members: Vec<_> = present.filter(|member| member.name() != tried.name()).collect();
        let place = members.partition_point(|member| member.rank < tried.rank);
        members.insert(place, tried);
        let tls = tls::of_host(host, members.iter().copied(), reader);
        let above = wildcard_above(host).is_some_and(|wildcard| self.tls.get(&wildcard).is_some());
        let (config, table, pool) = (reader.config(), TableId::new(TABLE), FilterPool::default());
        let tls_there = above || tls.is_some();
        let context = HostContext { reader, config: &config, pool: &pool, table: &table, tls: tls_there };
        let default_backend = self.default_backend.get(&()).cloned().unwrap_or_default();
        let out = host::assemble(host, members.into_iter(), context, &default_backend);
        let mut problems = out.problems;
        problems.extend(tls.iter().filter_map(|tls| tls.told.as_ref()).flat_map(|told| told.problems.iter().cloned()));
        let mut wants = out.clusters;
        wants.retain(|want| want.origin.object == tried.origin("").object);
        (problems, wants)
    }
}

/// What is wrong with the clusters that an Ingress wants, at each place where it does.
fn cluster_problems(wants: Vec<ClusterWant>, reader: &Reader<'_>) -> Vec<Problem> {
    let mut built = BTreeMap::new();
    let mut problems = Vec::new();
    for want in wants {
        let built = built.entry(want.id.clone()).or_insert_with(|| cluster::build(want.id, &want.spec, reader));
        problems.extend(built.issues.iter().map(|issue| issue.problem(&want.origin, want.spec.usage)));
    }
    problems
}

/// Whether an Ingress speaks of canaries at all: by `canary: "false"` two share a path without a quarrel, as with
/// ingress-nginx. That the younger is not served there is told all the same.
fn says_canary(ingress: &Ingress, world: &World<'_>) -> bool {
    let key = format!("{}/canary", world.settings.annotations_prefix);
    let annotations = ingress.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(&key)).is_some_and(|value| !value.trim().is_empty())
}

/// The paths of an Ingress that belong to another now. Only host and text count, as for ingress-nginx, not the
/// pathType; a canary does not stand in the way of what is none, nor the other way round.
fn overlaps<'b>(
    host: &'b HostPattern,
    name: &'b NamespacedName,
    body: &'b Body,
    present: Option<&'b SmallMap<super::Rank, Arc<Fragment>>>,
) -> impl Iterator<Item = Overlap> + use<'b> {
    let canary = body.settings.canary.is_some();
    // Whose each path is, as exact path and as prefix. Canaries share theirs with whoever is none.
    let mut owners: BTreeMap<(&str, bool), &NamespacedName> = BTreeMap::new();
    for member in present.into_iter().flat_map(SmallMap::values) {
        let Some(body) = member.body.as_ref().filter(|body| body.settings.canary.is_some() == canary) else { continue };
        for rule in body.rules.iter().filter(|rules| rules.host == *host).flat_map(|rules| &rules.paths) {
            owners.entry((&rule.path.text, !canary && rule.path.is_exact())).or_insert(member.name());
        }
    }
    let rules = body.rules.iter().filter(move |rules| rules.host == *host).flat_map(|rules| &rules.paths);
    rules.filter_map(move |rule| {
        let text = &*rule.path.text;
        let found = [owners.get(&(text, true)), owners.get(&(text, false))];
        let owner = found.into_iter().flatten().find(|owner| **owner != name)?;
        // Whoever has a path in one way may have it in the other.
        if found.into_iter().flatten().any(|owner| *owner == name) {
            return None;
        }
        let owner = NamespacedName::clone(owner);
        Some(Overlap { field: rule.field(), host: host.clone(), path: rule.path.text.clone(), owner })
    })
}
