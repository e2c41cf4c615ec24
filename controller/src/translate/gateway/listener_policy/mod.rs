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

use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_policies::ListenerPolicy;

pub(crate) use self::effects::Effects;
pub(crate) use self::hold::Hold;
pub(crate) use self::place::{At, Member, Placing};
use self::settings::{Field, Settings};
use super::due;
use super::findings::Findings;
use super::grant::GATEWAY_GROUP;
use super::parent::ParentKey;
use super::policy::fields::PolicyField as _;
use super::policy::index::{Outcome, Policies, Written};
use super::policy::merge::Level;
use super::policy::target::Kinds;
use super::ports::Parent;
use super::reason::INVALID;
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::{Batch, Contribution};
use crate::translate::memo::Memo;
use crate::translate::reader::{Dependency, Dirty, Reader};
use crate::translate::world::World;

/// The kinds that a ListenerPolicy may target.
const TARGETS: Kinds = &[(Kind::Gateway, GATEWAY_GROUP), (Kind::ListenerSet, GATEWAY_GROUP)];

/// All policies.
#[derive(Debug, Default)]
pub(crate) struct ListenerPolicies {
    policies: Policies<Field>,
    effects: Effects,
    statuses: Memo<NamespacedName, Contribution>,
}

impl ListenerPolicies {
    /// Reads the policies that `dirty` meets (all of them when `first`). Those that changed become dirty. Returns whether
    /// any did.
    pub(crate) fn update(&mut self, world: &World<'_>, first: bool, dirty: &mut Dirty) -> bool {
        self.policies.update(world, first, dirty).is_some()
    }

    /// Takes what the policies do now. What became of those that do something else is to be said anew.
    pub(crate) fn settle(&mut self, effects: Effects, dirty: &mut Dirty) {
        let changed = self.effects.differences(&effects);
        dirty.extend(changed.map(|name| Dependency::Object(Key { kind: Kind::ListenerPolicy, name: name.clone() })));
        self.effects = effects;
    }

    /// Says anew what became of the policies that `dirty` meets.
    pub(crate) fn update_statuses(
        &mut self,
        world: &World<'_>,
        parents: &BTreeMap<ParentKey, Parent>,
        dirty: &Dirty,
        batch: &mut Batch,
    ) {
        let names = due(&self.statuses, Kind::ListenerPolicy, world, false, dirty);
        let Self { policies, effects, statuses } = self;
        for name in names {
            batch.push(statuses.refresh(&name, world.reader(), |reader| {
                let outcome = policies.get(&name)?;
                reader.note(Dependency::Object(Key { kind: Kind::ListenerPolicy, name: name.clone() }));
                Some(status::read(&name, outcome, effects, parents, reader))
            }));
        }
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
    fn of_listener(&self, parent: &ParentKey, gateway: &NamespacedName, listener: &Arc<str>) -> Vec<Level<Field>> {
        self.policies.of_listener(parent, gateway, listener)
    }
}

/// Reads a policy; `None` when it does not exist.
fn read(name: &NamespacedName, reader: &Reader<'_>) -> Option<Outcome<Field>> {
    let ListenerPolicy { metadata, spec, .. } = &**reader.listener_policy(name)?;
    let (defaults, overrides) = (spec.defaults.as_ref(), spec.overrides.as_ref());
    let written = Written { metadata, target_refs: &spec.target_refs, defaults, overrides };
    Some(Outcome::of((name, TARGETS), &written, reader, |part, written, targets, findings| {
        let settings = Settings::read(part, written, findings);
        if targets.iter().any(|(_, target)| target.object.kind == Kind::ListenerSet) {
            refuse_trust(part.name, &settings, findings);
        }
        settings
    }))
}

/// Tells what a policy of a ListenerSet may not say.
fn refuse_trust(part: &str, settings: &Settings, findings: &mut Findings) {
    for field in settings.names().filter(|field| !field.acts_on(Kind::ListenerSet)) {
        let field = field.as_str();
        let message = format!(
            "{field} does not act on ListenerSets: it decides who the Gateway's policies take for the client; target the \
             Gateway"
        );
        findings.error(format!("spec.{part}.{field}"), INVALID, message, "");
    }
}
