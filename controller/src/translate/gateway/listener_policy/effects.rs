//! Effects: what policies do at the listeners of each Gateway, and what speaks against it. For their statuses.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::Field;
use crate::resources::NamespacedName;
use crate::translate::gateway::policy::acts::Loss;
use crate::translate::gateway::policy::merge::Said;

/// What all policies do.
#[derive(Debug, Default)]
pub(crate) struct Effects(BTreeMap<NamespacedName, BTreeMap<NamespacedName, Effect>>);

/// What a policy does at a Gateway.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Effect {
    /// Where it acts with which field: the listener's name.
    pub(crate) acts: BTreeMap<Field, BTreeSet<String>>,
    /// What it says in vain somewhere.
    pub(crate) lost: BTreeSet<(Field, Loss)>,
    /// What it says of ports that are not its targets' alone, and whose they are.
    pub(crate) refused: BTreeMap<Field, BTreeSet<String>>,
}

/// One thing that is said, through a Gateway.
pub(super) struct Through<'a> {
    pub(super) said: Said<'a, Field>,
    pub(super) gateway: &'a NamespacedName,
}

impl Effects {
    /// What a policy does, by Gateway.
    pub(crate) fn of(&self, policy: &NamespacedName) -> impl Iterator<Item = (&NamespacedName, &Effect)> {
        self.0.get(policy).into_iter().flatten()
    }

    /// The policies that do something else than in `other`.
    pub(super) fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a NamespacedName> {
        let new = other.0.iter().filter(|(name, effects)| self.0.get(*name) != Some(effects));
        let gone = self.0.iter().filter(|(name, _)| !other.0.contains_key(*name));
        new.chain(gone).map(|(name, _)| name)
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
    pub(super) fn loses(&mut self, one: &Through<'_>, field: Field, winner: &Said<'_, Field>) {
        // A policy may say a thing as default and as override.
        if one.said.policy != winner.policy {
            self.reach(one).lost.insert((field, Loss::of(&one.said, winner)));
        }
    }

    /// It is said of a port that others have besides.
    pub(super) fn refused(&mut self, one: &Through<'_>, field: Field, why: String) {
        self.reach(one).refused.entry(field).or_default().insert(why);
    }
}
