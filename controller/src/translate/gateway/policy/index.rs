//! Index: the policies of a kind, one unit of work each, and what is said of each target.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_policies::PolicyTarget;
use genkan_routing::report::Problem;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::faults::{Faults, Part};
use super::fields::{Fields, PolicyField};
use super::merge::{Level, Named, Policy};
use super::target::{self, Kinds, Target};
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::gateway::due;
use crate::translate::gateway::findings::Findings;
use crate::translate::gateway::parent::ParentKey;
use crate::translate::gateway::rank::RouteAge;
use crate::translate::gateway::reason::INVALID;
use crate::translate::memo::{Changed, Memo, Output};
use crate::translate::reader::{Dependency, Dirty, Reader};
use crate::translate::world::World;

/// A policy, read.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome<F: PolicyField> {
    pub(crate) policy: Arc<Policy<F>>,
    pub(crate) uid: Option<Arc<str>>,
    /// Its targets that may be targets, with their places in the policy.
    pub(crate) targets: Vec<(usize, Target)>,
    /// What is wrong with what it says.
    pub(crate) problems: Vec<Problem>,
    /// Why its newest version can't be read, if this is an earlier one.
    pub(crate) outdated: Option<Arc<str>>,
}

/// All policies of a kind.
#[derive(Debug)]
pub(crate) struct Policies<F: PolicyField> {
    units: Memo<NamespacedName, Outcome<F>>,
    /// The oldest first.
    by_target: BTreeMap<Target, Vec<Named<F>>>,
}

/// A policy as users write it: `W` is what `defaults` and `overrides` may say.
pub(crate) struct Written<'a, W> {
    pub(crate) metadata: &'a ObjectMeta,
    pub(crate) target_refs: &'a [PolicyTarget],
    pub(crate) defaults: Option<&'a W>,
    pub(crate) overrides: Option<&'a W>,
}

impl<F: PolicyField> Default for Policies<F> {
    fn default() -> Self {
        Self { units: Memo::default(), by_target: BTreeMap::new() }
    }
}

impl<F: PolicyField> Output for Outcome<F> {
    fn share(&mut self, old: &Self) {
        if self.policy == old.policy {
            self.policy = Arc::clone(&old.policy);
        }
    }
}

impl<F: PolicyField> Policies<F> {
    /// Reads the policies that `dirty` meets (all of them when `first`). Those that changed become dirty. Gives their
    /// targets of before and now; `None` when none changed.
    pub(crate) fn update(&mut self, world: &World<'_>, first: bool, dirty: &mut Dirty) -> Option<BTreeSet<Target>> {
        let mut targets = None;
        for name in due(&self.units, F::KIND, world, first, dirty) {
            let changed = self.units.refresh(&name, world.reader(), |reader| {
                reader.is_served(F::KIND, &name).then(|| F::read(&name, reader)).flatten()
            });
            if let Some(changed) = changed {
                targets.get_or_insert_with(BTreeSet::new).extend(self.changed(&name, &changed));
                dirty.insert(Dependency::Object(Key { kind: F::KIND, name }));
            }
        }
        targets
    }

    /// Whether any unit read this.
    pub(crate) fn is_read(&self, dependency: &Dependency) -> bool {
        self.units.is_read(dependency)
    }

    /// Whether there is no policy at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.units.units().next().is_none()
    }

    /// A policy.
    pub(crate) fn get(&self, name: &NamespacedName) -> Option<&Arc<Outcome<F>>> {
        self.units.get(name)
    }

    /// What is said of a target; nothing when no policy has it.
    pub(crate) fn at(&self, target: &Target) -> &[Named<F>] {
        self.by_target.get(target).map_or(&[], Vec::as_slice)
    }

    /// As [`Self::at`], if any policy has it.
    pub(crate) fn level(&self, target: Target) -> Option<Level<F>> {
        let policies = self.by_target.get(&target)?.clone();
        Some(Level { target, policies })
    }

    /// What is said of a listener: of its Gateway, of its ListenerSet, and of itself.
    pub(crate) fn of_listener(
        &self,
        parent: &ParentKey,
        gateway: &NamespacedName,
        listener: &Arc<str>,
    ) -> Vec<Level<F>> {
        if self.by_target.is_empty() {
            return Vec::new();
        }
        let whole = Target::parent(parent);
        let part = Target { section: Some(listener.clone()), ..whole.clone() };
        let above = matches!(parent, ParentKey::ListenerSet(_)).then(|| Target::whole(Kind::Gateway, gateway.clone()));
        above.into_iter().chain([whole, part]).filter_map(|target| self.level(target)).collect()
    }

    /// Puts a policy to its targets, and gives those of before and now.
    fn changed(&mut self, name: &NamespacedName, changed: &Changed<Outcome<F>>) -> BTreeSet<Target> {
        let targets = |outcome: &Option<Arc<Outcome<F>>>| -> BTreeSet<Target> {
            outcome.iter().flat_map(|outcome| &outcome.targets).map(|(_, target)| target.clone()).collect()
        };
        let (old, new) = (targets(&changed.old), targets(&changed.new));
        for target in &old {
            if let Some(policies) = self.by_target.get_mut(target) {
                policies.retain(|(known, _)| known != name);
                if policies.is_empty() {
                    self.by_target.remove(target);
                }
            }
        }
        let mut by_kind: BTreeMap<Kind, Arc<Policy<F>>> = BTreeMap::new();
        for (target, outcome) in new.iter().zip(changed.new.iter().cycle()) {
            let kind = target.object.kind;
            let policy = by_kind.entry(kind).or_insert_with(|| outcome.policy.of_target(kind));
            let policies = self.by_target.entry(target.clone()).or_default();
            policies.push((name.clone(), Arc::clone(policy)));
            policies.sort_by(|(_, one), (_, other)| one.age.cmp(&other.age));
        }
        old.into_iter().chain(new).collect()
    }
}

impl<F: PolicyField> Outcome<F> {
    /// Understands a policy: `read` its two parts. `kinds` are those that it may target.
    pub(crate) fn of<W: Default>(
        (name, kinds): (&NamespacedName, Kinds),
        written: &Written<'_, W>,
        reader: &Reader<'_>,
        mut read: impl FnMut(Part<'_>, &W, &[(usize, Target)], &mut Findings) -> Fields<F>,
    ) -> Self {
        let key = Key { kind: F::KIND, name: name.clone() };
        let mut findings = Findings::new(key.object_ref());
        let unreadable = reader.unreadable(&key);
        let faults = Faults::of(unreadable);
        let targets = target::read_all(written.target_refs, (name, kinds), faults, &mut findings);
        let nothing = W::default();
        let [defaults, overrides] = [("defaults", written.defaults), ("overrides", written.overrides)]
            .map(|(part, written)| read(faults.part(part), written.unwrap_or(&nothing), &targets, &mut findings));
        if written.defaults.is_none() && written.overrides.is_none() && faults.is_empty() {
            findings.error("spec", INVALID, "the policy says nothing", "write defaults or overrides");
        }
        let created = written.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let age = RouteAge::new(created, F::KIND.as_str(), &name.namespace, &name.name);
        Self {
            policy: Arc::new(Policy { age, defaults, overrides }),
            uid: written.metadata.uid.as_deref().map(Arc::from),
            targets,
            problems: findings.into_problems(),
            outdated: unreadable.filter(|unreadable| unreadable.served).map(|unreadable| unreadable.why.clone()),
        }
    }
}
