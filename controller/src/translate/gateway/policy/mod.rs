//! RoutePolicies: which of them act on what, and what becomes of them.
//!
//! ```text
//!  RoutePolicy --> settings (one unit each: what it says, judged) --> by target
//!                                                                        |
//!  a rule, for each Gateway through which its requests come:             v
//!    levels (Gateway, listener, ListenerSet, route, rule, Service) --> merge --> apply --> filters, time-outs, clusters
//!                                                                                   |
//!  status (one unit each: its targets, and at which routes it acts) <--------------+ acts
//! ```
//!
//! Whoever looks at a target looks at what policies say of it too: a policy that changes makes its targets dirty, and
//! nothing is asked of policies that have other targets.

mod acts;
mod apply;
mod authentication;
mod buffering;
pub(super) mod faults;
mod health;
pub(super) mod merge;
mod settings;
mod status;
pub(super) mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_policies::RouteSettings;
use genkan_routing::report::Problem;

use self::acts::Uses;
pub(crate) use self::acts::{Acts, Noting};
pub(crate) use self::apply::{Hooks, Own, Subject, apply};
pub(crate) use self::authentication::asked;
use self::faults::Faults;
pub(crate) use self::merge::Level;
use self::merge::{Named, Policy};
use self::settings::Settings;
use self::target::{OF_ROUTES, Target};
use super::changed_objects;
use super::findings::Findings;
use super::parent::ParentKey;
use super::ports::Parent;
use super::rank::RouteAge;
use super::reason::INVALID;
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::{Batch, Contribution};
use crate::translate::memo::{Changed, Memo, Output};
use crate::translate::reader::{Dependency, Dirty, Reader};
use crate::translate::world::World;

/// The group of the kind, as filters of type ExtensionRef name it.
pub(crate) use genkan_policies::GROUP;

/// All policies.
#[derive(Debug, Default)]
pub(crate) struct RoutePolicies {
    units: Memo<NamespacedName, PolicyOutcome>,
    /// The oldest first.
    by_target: BTreeMap<Target, Vec<Named>>,
    uses: Uses,
    statuses: Memo<NamespacedName, Contribution>,
}

/// A policy, read.
#[derive(Debug, PartialEq)]
struct PolicyOutcome {
    policy: Arc<Policy>,
    uid: Option<Arc<str>>,
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

impl RoutePolicies {
    /// Reads the policies that `dirty` meets (all of them when `first`). The targets of those that changed become dirty.
    pub(crate) fn update(
        &mut self,
        world: &World<'_>,
        parents: &BTreeMap<ParentKey, Parent>,
        first: bool,
        dirty: &mut Dirty,
    ) {
        let mut names = self.units.stale(dirty);
        names.extend(changed_objects(dirty).filter(|key| key.kind == Kind::RoutePolicy).map(|key| key.name.clone()));
        if first {
            names.extend(world.resources.route_policies.keys().cloned());
        }
        for name in names {
            let changed = self.units.refresh(&name, world.reader(), |reader| {
                reader.is_served(Kind::RoutePolicy, &name).then(|| read(&name, reader)).flatten()
            });
            if let Some(changed) = changed {
                // Filters refer to it by name.
                dirty.insert(Dependency::Object(Key { kind: Kind::RoutePolicy, name: name.clone() }));
                for target in self.policy_changed(&name, &changed) {
                    touch(&target, parents, dirty);
                }
            }
        }
    }

    /// Says anew what became of the policies that `dirty` meets (all of them when `first`), and of those that act
    /// elsewhere than before.
    pub(crate) fn update_statuses(
        &mut self,
        world: &World<'_>,
        parents: &BTreeMap<ParentKey, Parent>,
        dirty: &Dirty,
        batch: &mut Batch,
    ) {
        let mut names = self.statuses.stale(dirty);
        names.extend(self.uses.take_touched());
        names.extend(changed_objects(dirty).filter(|key| key.kind == Kind::RoutePolicy).map(|key| key.name.clone()));
        let Self { units, uses, statuses, .. } = self;
        for name in names {
            batch.push(statuses.refresh(&name, world.reader(), |reader| {
                let outcome = units.get(&name)?;
                reader.note(Dependency::Object(Key { kind: Kind::RoutePolicy, name: name.clone() }));
                Some(status::read(&name, outcome, uses, parents, reader))
            }));
        }
    }

    /// Follows the change of a route.
    pub(crate) fn route_changed(&mut self, route: &Key, old: Option<&Acts>, new: Option<&Acts>) {
        self.uses.route_changed(route, old, new);
    }

    /// Whether any unit read this.
    pub(crate) fn is_read(&self, dependency: &Dependency) -> bool {
        self.units.is_read(dependency) || self.statuses.is_read(dependency)
    }

    /// Whether there is no policy at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.units.units().next().is_none()
    }

    /// What is said of a listener: of its Gateway, of its ListenerSet, and of itself.
    pub(crate) fn of_listener(&self, parent: &ParentKey, gateway: &NamespacedName, listener: &Arc<str>) -> Vec<Level> {
        if self.is_empty() {
            return Vec::new();
        }
        let whole = Target::parent(parent);
        let part = Target { section: Some(listener.clone()), ..whole.clone() };
        let above = matches!(parent, ParentKey::ListenerSet(_)).then(|| Target::whole(Kind::Gateway, gateway.clone()));
        above.into_iter().chain([whole, part]).filter_map(|target| self.level(target)).collect()
    }

    fn at(&self, target: &Target) -> &[Named] {
        self.by_target.get(target).map_or(&[], Vec::as_slice)
    }

    fn level(&self, target: Target) -> Option<Level> {
        let policies = self.at(&target).to_vec();
        (!policies.is_empty()).then_some(Level { target, policies })
    }

    fn named(&self, name: &NamespacedName) -> Option<Named> {
        Some((name.clone(), Arc::clone(&self.units.get(name)?.policy)))
    }

    fn uid(&self, name: &NamespacedName) -> Option<Arc<str>> {
        self.units.get(name)?.uid.clone()
    }

    /// Puts a policy to its targets, and gives those of before and now.
    fn policy_changed(&mut self, name: &NamespacedName, changed: &Changed<PolicyOutcome>) -> BTreeSet<Target> {
        let targets = |outcome: &Option<Arc<PolicyOutcome>>| -> BTreeSet<Target> {
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
        for (target, outcome) in new.iter().zip(changed.new.iter().cycle()) {
            let policies = self.by_target.entry(target.clone()).or_default();
            policies.push((name.clone(), Arc::clone(&outcome.policy)));
            policies.sort_by(|(_, one), (_, other)| one.age.cmp(&other.age));
        }
        old.into_iter().chain(new).collect()
    }
}

/// Makes those dirty who look at a target.
fn touch(target: &Target, parents: &BTreeMap<ParentKey, Parent>, dirty: &mut Dirty) {
    match target.as_parent() {
        None => drop(dirty.insert(Dependency::Object(target.object.clone()))),
        Some(key) => {
            let below = parents.iter().filter(|(_, parent)| parent.gateway == target.object.name);
            dirty.extend(below.map(|(key, _)| Dependency::Parent(key.clone())));
            dirty.insert(Dependency::Parent(key));
        }
    }
}

/// Reads a policy; `None` when it does not exist.
fn read(name: &NamespacedName, reader: &Reader<'_>) -> Option<PolicyOutcome> {
    let written = reader.route_policy(name)?;
    let key = Key { kind: Kind::RoutePolicy, name: name.clone() };
    let mut findings = Findings::new(key.object_ref());
    let (spec, unreadable) = (&written.spec, reader.unreadable(&key));
    let faults = Faults::of(unreadable);
    let targets = target::read_all(&spec.target_refs, (name, OF_ROUTES), faults, &mut findings);
    let [defaults, overrides] =
        [("defaults", &spec.defaults), ("overrides", &spec.overrides)].map(|(part, written)| {
            let (nothing, part) = (RouteSettings::default(), faults.part(part));
            let written = written.as_ref().unwrap_or(&nothing);
            let settings = Settings::read(part, written, (name, reader), &mut findings);
            check_services(part.name, &settings, &targets, &mut findings);
            settings
        });
    if spec.defaults.is_none() && spec.overrides.is_none() && faults.is_empty() {
        findings.error("spec", INVALID, "the policy says nothing", "write defaults or overrides");
    }
    let created = written.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let age = RouteAge::new(created, "RoutePolicy", &name.namespace, &name.name);
    Some(PolicyOutcome {
        policy: Arc::new(Policy { age, defaults, overrides }),
        uid: written.metadata.uid.as_deref().map(Arc::from),
        targets,
        problems: findings.into_problems(),
        outdated: unreadable.filter(|unreadable| unreadable.served).map(|unreadable| unreadable.why.clone()),
    })
}

/// Tells what is said of Services and does not concern them.
fn check_services(part: &str, settings: &Settings, targets: &[(usize, Target)], findings: &mut Findings) {
    let is_service = |target: &Target| target.object.kind == Kind::Service;
    let Some((_, service)) = targets.iter().find(|(_, target)| is_service(target)) else { return };
    let others = targets.iter().any(|(_, target)| !is_service(target));
    for field in settings.fields().filter(|field| !field.is_of_services()) {
        let name = field.as_str();
        let message = format!("{name} does not act on {service}: it is about requests, not about endpoints");
        let (place, mend) = (format!("spec.{part}.{name}"), "target the route");
        // Where it acts on other targets the policy is as it should be.
        if others {
            findings.warning(place, INVALID, message, mend);
        } else {
            findings.error(place, INVALID, message, mend);
        }
    }
}
