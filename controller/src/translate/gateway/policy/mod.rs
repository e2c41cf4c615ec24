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
//! Whoever asks what policies say of a target depends on that target, whatever else it reads of it: a policy that changes
//! makes its targets dirty, and nothing is asked of policies that have other targets.

pub(super) mod acts;
mod apply;
mod authentication;
mod buffering;
pub(super) mod faults;
pub(super) mod fields;
mod health;
pub(super) mod index;
pub(super) mod known;
pub(super) mod merge;
mod settings;
mod status;
pub(super) mod target;

use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_policies::RoutePolicy;

use self::acts::Uses;
pub(crate) use self::acts::{Acts, Noting};
pub(crate) use self::apply::{Hooks, Own, Subject, apply};
pub(crate) use self::authentication::asked;
use self::fields::PolicyField as _;
use self::index::{Outcome, Policies, Written};
pub(crate) use self::merge::Level;
use self::merge::Named;
use self::settings::{Field, Settings};
use self::target::{OF_ROUTES, Target};
use super::due;
use super::findings::Findings;
use super::parent::ParentKey;
use super::ports::Parent;
use super::reason::INVALID;
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::{Batch, Contribution};
use crate::translate::memo::Memo;
use crate::translate::reader::{Dependency, Dirty, Reader};
use crate::translate::world::World;

/// The group of the kind, as filters of type ExtensionRef name it.
pub(crate) use genkan_policies::GROUP;

/// All policies.
#[derive(Debug, Default)]
pub(crate) struct RoutePolicies {
    policies: Policies<Field>,
    uses: Uses,
    statuses: Memo<NamespacedName, Contribution>,
}

/// The policies as a unit of work looks them up. What it asks about becomes something that it read, also where nothing is
/// said of it.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a> {
    /// All policies.
    pub(crate) all: &'a RoutePolicies,
    /// The unit's.
    pub(crate) reader: &'a Reader<'a>,
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
        for target in self.policies.update(world, first, dirty).into_iter().flatten() {
            touch(&target, parents, dirty);
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
        let mut names = due(&self.statuses, Kind::RoutePolicy, world, false, dirty);
        names.extend(self.uses.take_touched());
        let Self { policies, uses, statuses } = self;
        for name in names {
            batch.push(statuses.refresh(&name, world.reader(), |reader| {
                let outcome = policies.get(&name)?;
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
        self.policies.is_read(dependency) || self.statuses.is_read(dependency)
    }

    /// Whether there is no policy at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// What is said of a listener: of its Gateway, of its ListenerSet, and of itself.
    pub(crate) fn of_listener(&self, parent: &ParentKey, gateway: &NamespacedName, listener: &Arc<str>) -> Vec<Level> {
        self.policies.of_listener(parent, gateway, listener)
    }

    fn at(&self, target: &Target) -> &[Named] {
        self.policies.at(target)
    }

    fn level(&self, target: Target) -> Option<Level> {
        self.policies.level(target)
    }

    fn named(&self, name: &NamespacedName) -> Option<Named> {
        Some((name.clone(), Arc::clone(&self.policies.get(name)?.policy)))
    }

    fn uid(&self, name: &NamespacedName) -> Option<Arc<str>> {
        self.policies.get(name)?.uid.clone()
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
fn read(name: &NamespacedName, reader: &Reader<'_>) -> Option<Outcome<Field>> {
    let RoutePolicy { metadata, spec, .. } = &**reader.route_policy(name)?;
    let (defaults, overrides) = (spec.defaults.as_ref(), spec.overrides.as_ref());
    let written = Written { metadata, target_refs: &spec.target_refs, defaults, overrides };
    Some(Outcome::of((name, OF_ROUTES), &written, reader, |part, written, targets, findings| {
        let settings = Settings::read(part, written, (name, reader), findings);
        check_services(part.name, &settings, targets, findings);
        settings
    }))
}

/// Tells what is said of Services and does not concern them.
fn check_services(part: &str, settings: &Settings, targets: &[(usize, Target)], findings: &mut Findings) {
    let is_service = |target: &Target| target.object.kind == Kind::Service;
    let Some((_, service)) = targets.iter().find(|(_, target)| is_service(target)) else { return };
    let others = targets.iter().any(|(_, target)| !is_service(target));
    for field in settings.names().filter(|field| !field.is_of_services()) {
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
