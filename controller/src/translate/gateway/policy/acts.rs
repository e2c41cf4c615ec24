//! Acts: what policies do at routes, and who says otherwise. Kept as routes come and go, for the policies' statuses.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::PolicyField;
use super::merge::{Decided, Level, Said};
use super::settings::Field;
use crate::resources::{Key, NamespacedName};
use crate::small_map::SmallSet;

/// What policies do at one route: by policy and by the Gateway through which requests come.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Acts(pub(super) BTreeMap<(NamespacedName, NamespacedName), Effect>);

/// What a policy does at a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// Whether anything that it says holds at any rule.
    pub(crate) acts: bool,
    /// What it says in vain at some rule.
    pub(crate) lost: BTreeSet<(Field, Loss)>,
}

/// Why something is said in vain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    /// A policy of the same target came first.
    Conflict(NamespacedName),
    /// A policy of another target goes before it.
    Overridden(NamespacedName),
    /// The route says so itself.
    Route,
}

impl Loss {
    /// Why `loser` says in vain what `winner` says.
    pub(crate) fn of<F: PolicyField>(loser: &Said<'_, F>, winner: &Said<'_, F>) -> Self {
        let by = winner.policy.clone();
        if loser.conflicts_with(winner) { Self::Conflict(by) } else { Self::Overridden(by) }
    }
}

/// What a policy does at the routes of a Gateway, as its status tells it: so that a route that comes costs the same
/// however many are there.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// How many routes its requests pass, whether it does anything there or not.
    passing: usize,
    /// Where anything that it says holds.
    pub(crate) acting: SmallSet<Key>,
    /// What it says in vain, why, and where.
    pub(crate) lost: BTreeMap<Field, BTreeMap<Loss, SmallSet<Key>>>,
}

impl Routes {
    fn add(&mut self, route: &Key, effect: &Effect) {
        self.passing += 1;
        if effect.acts {
            self.acting.insert(route.clone(), ());
        }
        for (field, loss) in &effect.lost {
            let losses = self.lost.entry(*field).or_default();
            if let Some(at) = losses.get_mut(loss) {
                at.insert(route.clone(), ());
            } else {
                losses.insert(loss.clone(), [route.clone()].into_iter().collect());
            }
        }
    }

    fn remove(&mut self, route: &Key, effect: &Effect) {
        self.passing = self.passing.saturating_sub(1);
        if effect.acts {
            self.acting.remove(route);
        }
        for (field, loss) in &effect.lost {
            let Some(losses) = self.lost.get_mut(field) else { continue };
            if let Some(at) = losses.get_mut(loss) {
                at.remove(route);
                if at.is_empty() {
                    losses.remove(loss);
                }
            }
            if losses.is_empty() {
                self.lost.remove(field);
            }
        }
    }
}

/// What all policies do.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    policies: BTreeMap<NamespacedName, BTreeMap<NamespacedName, Routes>>,
    touched: BTreeSet<NamespacedName>,
}

/// Where what policies do is noted: through some Gateways.
pub(crate) struct Noting<'a> {
    pub(crate) acts: &'a mut Acts,
    pub(crate) gateways: &'a BTreeSet<NamespacedName>,
}

impl Noting<'_> {
    /// Policies that a request passes, whether they say anything that matters there or not.
    pub(crate) fn pass<'l>(&mut self, levels: impl Iterator<Item = &'l Level>) {
        for (policy, _) in levels.flat_map(|level| &level.policies) {
            self.effects(policy, |_| {});
        }
    }

    /// What was decided of a field.
    pub(crate) fn decided(&mut self, field: Field, decided: &Decided<'_>) {
        let winner = decided.winner;
        self.effects(winner.policy, |effect| effect.acts = true);
        self.lost(field, decided);
    }

    /// What was decided of a field, except that the route says so itself.
    pub(crate) fn decided_by_route(&mut self, field: Field, decided: &Decided<'_>) {
        self.effects(decided.winner.policy, |effect| effect.lost.extend([(field, Loss::Route)]));
        self.lost(field, decided);
    }

    fn lost(&mut self, field: Field, decided: &Decided<'_>) {
        let winner = decided.winner;
        for loser in decided.losers.iter().filter(|loser| loser.policy != winner.policy) {
            let loss = Loss::of(loser, &winner);
            self.effects(loser.policy, |effect| effect.lost.extend([(field, loss.clone())]));
        }
    }

    fn effects(&mut self, policy: &NamespacedName, change: impl Fn(&mut Effect)) {
        for gateway in self.gateways {
            change(self.acts.0.entry((policy.clone(), gateway.clone())).or_default());
        }
    }
}

impl Uses {
    /// Follows the change of a route; `old` is what was told of it last.
    pub(crate) fn route_changed(&mut self, route: &Key, old: Option<&Acts>, new: Option<&Acts>) {
        let differ = |one: Option<&Acts>, other: Option<&Acts>| {
            let of_other = other.map(|acts| &acts.0);
            let entries = one.into_iter().flat_map(|acts| &acts.0);
            let differ = entries.filter(|(at, effect)| of_other.and_then(|acts| acts.get(at)) != Some(effect));
            differ.map(|(at, effect)| (at.clone(), effect.clone())).collect::<Vec<_>>()
        };
        for ((policy, gateway), effect) in differ(old, new) {
            let Some(gateways) = self.policies.get_mut(&policy) else { continue };
            if let Some(routes) = gateways.get_mut(&gateway) {
                routes.remove(route, &effect);
                if routes.passing == 0 {
                    gateways.remove(&gateway);
                }
            }
            if gateways.is_empty() {
                self.policies.remove(&policy);
            }
            self.touched.insert(policy);
        }
        for ((policy, gateway), effect) in differ(new, old) {
            let gateways = self.policies.entry(policy.clone()).or_default();
            gateways.entry(gateway).or_default().add(route, &effect);
            self.touched.insert(policy);
        }
    }

    /// What a policy does, by Gateway.
    pub(crate) fn of(&self, policy: &NamespacedName) -> impl Iterator<Item = (&NamespacedName, &Routes)> {
        self.policies.get(policy).into_iter().flatten()
    }

    /// The policies of which that changed since the last call.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<NamespacedName> {
        std::mem::take(&mut self.touched)
    }
}
