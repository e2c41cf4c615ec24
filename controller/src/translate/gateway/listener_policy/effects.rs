//! Effects: what policies do at the listeners of each Gateway, and what speaks against it. For their statuses.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::{Field, Settings};
use crate::resources::NamespacedName;
use crate::translate::gateway::policy::merge::Said;

/// What all policies do.
#[derive(Debug, Default)]
pub(crate) struct Effects(BTreeMap<NamespacedName, BTreeMap<NamespacedName, Effect>>);

/// What a policy does at a Gateway.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    /// Where it acts with which field: the listener's name.
    pub(crate) acts: BTreeMap<Field, BTreeSet<String>>,
    /// What it says in vain somewhere.
    pub(crate) lost: BTreeSet<(Field, Loss)>,
    /// What it says of ports that are not its targets' alone, and whose they are.
    pub(crate) refused: BTreeMap<Field, BTreeSet<String>>,
}

/// Why something is said in vain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    /// A policy of the same target came first.
    Conflict(NamespacedName),
    /// A policy of another target goes before it.
    Overridden(NamespacedName),
}

/// One thing that is said, through a Gateway.
pub(super) struct Through<'a> {
    pub(super) said: Said<'a, Settings>,
    pub(super) gateway: &'a NamespacedName,
}

impl Effects {
    /// What a policy does, by Gateway.
    pub(crate) fn of(&self, policy: &NamespacedName) -> impl Iterator<Item = (&NamespacedName, &Effect)> {
        self.0.get(policy).into_iter().flatten()
    }

    /// A policy concerns a listener of the Gateway, whatever it says.
    pub(super) fn reach(&mut self, one: &Through<'_>) -> &mut Effect {
        let gateways = self.0.entry(one.said.policy.clone()).or_default();
        gateways.entry(one.gateway.clone()).or_default()
    }

    /// It acts on a listener.
    pub(super) fn acts(&mut self, one: &Through<'_>, field: Field, listener: &str) {
        self.reach(one).acts.entry(field).or_default().insert(listener.to_owned());
    }

    /// Another goes before it.
    pub(super) fn loses(&mut self, one: &Through<'_>, field: Field, winner: &Said<'_, Settings>) {
        // A policy may say a thing as default and as override.
        if one.said.policy != winner.policy {
            let by = winner.policy.clone();
            let loss = if one.said.conflicts_with(winner) { Loss::Conflict(by) } else { Loss::Overridden(by) };
            self.reach(one).lost.insert((field, loss));
        }
    }

    /// It is said of a port that others have besides.
    pub(super) fn refused(&mut self, one: &Through<'_>, field: Field, why: String) {
        self.reach(one).refused.entry(field).or_default().insert(why);
    }
}
