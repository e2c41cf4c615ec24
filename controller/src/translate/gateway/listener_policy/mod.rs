//! ListenerPolicies: which of them act on what, and what becomes of them.
//!
//! ```text
//!  ListenerPolicy --> settings (one unit each: what it says, judged) --> by target
//!                                                                           |
//!  ports, each with the listeners that are served there:                    v
//!    levels (Gateway, listener, ListenerSet, listener) --> merge --> place: settings of the port, where all listeners
//!                                                                      |    are covered, and of each listener
//!  status (one unit each: its targets, and where it acts) <-- effects -+
//! ```

mod effects;
mod hold;
mod place;
mod settings;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_policies::ClientReception;
use genkan_routing::report::Problem;

pub(crate) use self::effects::Effects;
pub(crate) use self::hold::Hold;
pub(crate) use self::place::{At, Member, Placing};
use self::settings::Settings;
use super::changed_objects;
use super::findings::Findings;
use super::grant::GATEWAY_GROUP;
use super::parent::ParentKey;
use super::policy::faults::Faults;
use super::policy::merge::{Level, Named, Policy};
use super::policy::target::{self, Kinds, Target};
use super::ports::Parent;
use super::rank::RouteAge;
use super::reason::INVALID;
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::{Batch, Contribution};
use crate::translate::memo::{Changed, Memo, Output};
use crate::translate::reader::{Dependency, Dirty, Reader};
use crate::translate::world::World;

/// The kinds that a ListenerPolicy may target.
const TARGETS: Kinds = &[(Kind::Gateway, GATEWAY_GROUP), (Kind::ListenerSet, GATEWAY_GROUP)];

/// All policies.
#[derive(Debug, Default)]
pub(crate) struct ListenerPolicies {
    units: Memo<NamespacedName, PolicyOutcome>,
    /// The oldest first.
    by_target: BTreeMap<Target, Vec<Named<Settings>>>,
    effects: Effects,
    statuses: Memo<NamespacedName, Contribution>,
}

/// A policy, read.
#[derive(Debug, PartialEq)]
struct PolicyOutcome {
    policy: Arc<Policy<Settings>>,
    /// Its targets that may be targets, with their places in the policy.
    targets: Vec<(usize, Target)>,
    /// What is wrong with what it says.
    problems: Vec<Problem>,
    /// Why its newest version can't be read, if this is an earlier one.
    outdated: Option<Arc<str>>,
}

impl Output for PolicyOutcome {
    fn share(&mut self, old: &Self) {
        if self.policy == old.policy {
            self.policy = Arc::clone(&old.policy);
        }
    }
}

impl ListenerPolicies {
    /// Reads the policies that `dirty` meets (all of them when `first`). Returns whether any changed.
    pub(crate) fn update(&mut self, world: &World<'_>, first: bool, dirty: &Dirty) -> bool {
        let mut names = self.units.stale(dirty);
        names.extend(changed(dirty));
        if first {
            names.extend(world.resources.listener_policies.keys().cloned());
        }
        let mut any = false;
        for name in names {
            let changed = self.units.refresh(&name, world.reader(), |reader| {
                reader.is_served(Kind::ListenerPolicy, &name).then(|| read(&name, reader)).flatten()
            });
            if let Some(changed) = changed {
                self.policy_changed(&name, &changed);
                any = true;
            }
        }
        any
    }

    /// Takes what the policies do now, and says anew what became of all of them.
    pub(crate) fn settle(
        &mut self,
        effects: Effects,
        world: &World<'_>,
        parents: &BTreeMap<ParentKey, Parent>,
        batch: &mut Batch,
    ) {
        self.effects = effects;
        let known = self.statuses.units().chain(self.units.units());
        let names: BTreeSet<_> = known.cloned().collect();
        self.tell(names, world, parents, batch);
    }

    /// Says anew what became of the policies that `dirty` meets: of their targets others may be, which are nobody's
    /// parents.
    pub(crate) fn update_statuses(
        &mut self,
        world: &World<'_>,
        parents: &BTreeMap<ParentKey, Parent>,
        dirty: &Dirty,
        batch: &mut Batch,
    ) {
        let mut names = self.statuses.stale(dirty);
        names.extend(changed(dirty));
        self.tell(names, world, parents, batch);
    }

    fn tell(
        &mut self,
        names: BTreeSet<NamespacedName>,
        world: &World<'_>,
        parents: &BTreeMap<ParentKey, Parent>,
        batch: &mut Batch,
    ) {
        let Self { units, effects, statuses, .. } = self;
        for name in names {
            batch.push(statuses.refresh(&name, world.reader(), |reader| {
                let outcome = units.get(&name)?;
                Some(status::read(&name, outcome, effects, parents, reader))
            }));
        }
    }

    /// Whether any unit read this.
    pub(crate) fn is_read(&self, dependency: &Dependency) -> bool {
        self.units.is_read(dependency) || self.statuses.is_read(dependency)
    }

    /// Whether there is no policy at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_target.is_empty()
    }

    /// What is said of a listener: of its Gateway, of its ListenerSet, and of itself.
    fn of_listener(&self, parent: &ParentKey, gateway: &NamespacedName, listener: &Arc<str>) -> Vec<Level<Settings>> {
        let whole = Target::parent(parent);
        let part = Target { section: Some(listener.clone()), ..whole.clone() };
        let above = matches!(parent, ParentKey::ListenerSet(_)).then(|| Target::whole(Kind::Gateway, gateway.clone()));
        above.into_iter().chain([whole, part]).filter_map(|target| self.level(target)).collect()
    }

    fn level(&self, target: Target) -> Option<Level<Settings>> {
        let policies = self.by_target.get(&target)?.clone();
        Some(Level { target, policies })
    }

    /// Puts a policy to its targets.
    fn policy_changed(&mut self, name: &NamespacedName, changed: &Changed<PolicyOutcome>) {
        let targets = |outcome: &Option<Arc<PolicyOutcome>>| -> BTreeSet<Target> {
            outcome.iter().flat_map(|outcome| &outcome.targets).map(|(_, target)| target.clone()).collect()
        };
        for target in targets(&changed.old) {
            if let Some(policies) = self.by_target.get_mut(&target) {
                policies.retain(|(known, _)| known != name);
                if policies.is_empty() {
                    self.by_target.remove(&target);
                }
            }
        }
        if let Some(outcome) = &changed.new {
            let Policy { age, defaults, overrides } = &*outcome.policy;
            let (defaults, overrides) = (defaults.of_listener_sets(), overrides.of_listener_sets());
            let of_listener_sets = Arc::new(Policy { age: age.clone(), defaults, overrides });
            for target in targets(&changed.new) {
                let whole = target.object.kind != Kind::ListenerSet;
                let policy = Arc::clone(if whole { &outcome.policy } else { &of_listener_sets });
                let policies = self.by_target.entry(target).or_default();
                policies.push((name.clone(), policy));
                policies.sort_by(|(_, one), (_, other)| one.age.cmp(&other.age));
            }
        }
    }
}

/// The policies that changed.
fn changed(dirty: &Dirty) -> impl Iterator<Item = NamespacedName> {
    changed_objects(dirty).filter(|key| key.kind == Kind::ListenerPolicy).map(|key| key.name.clone())
}

/// Tells what a policy of a ListenerSet may not say.
fn refuse_trust(parts: [(&str, &Settings); 2], findings: &mut Findings) {
    for (part, settings) in parts {
        for field in settings.fields().filter(|field| field.says_who_clients_are()) {
            let field = field.as_str();
            let message = format!(
                "{field} does not act on ListenerSets: it decides who the Gateway's policies take for the client; target \
                 the Gateway"
            );
            findings.error(format!("spec.{part}.{field}"), INVALID, message, "");
        }
    }
}

/// Reads a policy; `None` when it does not exist.
fn read(name: &NamespacedName, reader: &Reader<'_>) -> Option<PolicyOutcome> {
    let written = reader.listener_policy(name)?;
    let key = Key { kind: Kind::ListenerPolicy, name: name.clone() };
    let mut findings = Findings::new(key.object_ref());
    let (spec, unreadable) = (&written.spec, reader.unreadable(&key));
    let faults = Faults::of(unreadable);
    let targets = target::read_all(&spec.target_refs, (name, TARGETS), faults, &mut findings);
    let [defaults, overrides] =
        [("defaults", &spec.defaults), ("overrides", &spec.overrides)].map(|(part, written)| {
            let nothing = ClientReception::default();
            Settings::read(faults.part(part), written.as_ref().unwrap_or(&nothing), &mut findings)
        });
    if targets.iter().any(|(_, target)| target.object.kind == Kind::ListenerSet) {
        refuse_trust([("defaults", &defaults), ("overrides", &overrides)], &mut findings);
    }
    if spec.defaults.is_none() && spec.overrides.is_none() && faults.is_empty() {
        findings.error("spec", INVALID, "the policy says nothing", "write defaults or overrides");
    }
    let created = written.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let age = RouteAge::new(created, "ListenerPolicy", &name.namespace, &name.name);
    let policy = Arc::new(Policy { age, defaults, overrides });
    let outdated = unreadable.filter(|unreadable| unreadable.served).map(|unreadable| unreadable.why.clone());
    Some(PolicyOutcome { policy, targets, problems: findings.into_problems(), outdated })
}
