//! Status of a ListenerPolicy: at which listeners of each Gateway it acts, and what speaks against it.

use std::collections::{BTreeMap, BTreeSet};

use super::effects::{Effect, Effects};
use super::settings::Field;
use crate::resources::NamespacedName;
use crate::translate::assembly::Contribution;
use crate::translate::gateway::findings::Findings;
use crate::translate::gateway::naming::told_in;
use crate::translate::gateway::parent::ParentKey;
use crate::translate::gateway::policy::acts::Loss;
use crate::translate::gateway::policy::fields::PolicyField as _;
use crate::translate::gateway::policy::index::Outcome;
use crate::translate::gateway::policy::known::Known;
use crate::translate::gateway::ports::Parent;
use crate::translate::gateway::reason::{ACCEPTED, PORT_SHARED};
use crate::translate::gateway::status::{Cond, CondKind};
use crate::translate::reader::Reader;

/// Says what became of a policy.
pub(super) fn read(
    name: &NamespacedName,
    outcome: &Outcome<Field>,
    effects: &Effects,
    parents: &BTreeMap<ParentKey, Parent>,
    reader: &Reader<'_>,
) -> Contribution {
    let (mut known, gateways) = Known::look(name, outcome, parents, reader);
    let (none, effects) = (Effect::default(), effects.of(name).collect::<BTreeMap<_, _>>());
    let mut told = Vec::with_capacity(gateways.len());
    for gateway in gateways {
        let effect = effects.get(&gateway).copied().unwrap_or(&none);
        tell_refused(effect, known.findings());
        known.tell_conflicts(effect.lost.iter().map(|(field, loss)| (*field, loss)));
        told.push((gateway, conditions(&known, (name, outcome), effect)));
    }
    known.finish(told)
}

/// Tells what does not act because the port is that of others too.
fn tell_refused(effect: &Effect, findings: &mut Findings) {
    for (field, whose) in &effect.refused {
        for why in whose {
            let message = format!("{} does not act: {why}", field.as_str());
            let mend = "use a port or an address of its own, or let the policy cover all of the port";
            findings.error("spec.targetRefs", PORT_SHARED, message, mend);
        }
    }
}

fn conditions(
    known: &Known<'_, Field>,
    (name, outcome): (&NamespacedName, &Outcome<Field>),
    effect: &Effect,
) -> Vec<Cond> {
    let acts = acting(outcome, effect);
    let conflict =
        || effect.acts.is_empty().then(|| known.conflict(effect.lost.iter().map(|(_, loss)| loss))).flatten();
    let accepted = known
        .refusal()
        .or_else(|| refused(effect, &acts))
        .or_else(conflict)
        .unwrap_or_else(|| Cond::holds(CondKind::Accepted, ACCEPTED, acts));
    let overridden =
        (!effect.lost.is_empty()).then(|| known.overridden(!effect.acts.is_empty(), told(effect, &name.namespace)));
    [accepted, known.resolved()].into_iter().chain(overridden).collect()
}

/// What does not act, in full.
fn refused(effect: &Effect, acts: &str) -> Option<Cond> {
    let refused = effect.refused.iter().map(|(field, whose)| {
        let whose: Vec<_> = whose.iter().map(String::as_str).collect();
        format!("{} does not act: {}", field.as_str(), whose.join(", "))
    });
    let refused: Vec<_> = refused.collect();
    let message = format!("{}; {acts}", refused.join("; "));
    (!refused.is_empty()).then(|| Cond::fails(CondKind::Accepted, PORT_SHARED, message))
}

/// What does not hold, and who says otherwise, as it is told in a namespace. Those of another one are told alike, once.
fn told(effect: &Effect, namespace: &str) -> String {
    let told = effect.lost.iter().map(|(field, loss)| match loss {
        Loss::Conflict(winner) | Loss::Overridden(winner) => {
            (field, format!("{} by {}", field.as_str(), told_in(namespace, Field::KIND.as_str(), winner)))
        }
        Loss::Route => (field, format!("{} by a route", field.as_str())),
    });
    let told: BTreeSet<_> = told.collect();
    told.into_iter().map(|(_, told)| told).collect::<Vec<_>>().join("; ")
}

/// Where what acts, and what concerns nothing.
fn acting(outcome: &Outcome<Field>, effect: &Effect) -> String {
    // What acts at the same listeners is told together.
    let mut by_place: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    for (field, listeners) in &effect.acts {
        let place = listeners.iter().map(String::as_str).collect();
        by_place.entry(place).or_default().push(field.as_str());
    }
    let mut told: Vec<_> =
        by_place.iter().map(|(place, fields)| format!("{} of {}", fields.join(", "), place.join(", "))).collect();
    told.sort();
    let said = |field: &Field| {
        let tried = effect.acts.contains_key(field) || effect.refused.contains_key(field);
        tried || effect.lost.iter().any(|(lost, _)| lost == field)
    };
    let policy = &outcome.policy;
    let fields: BTreeSet<_> = policy.defaults.names().chain(policy.overrides.names()).collect();
    let idle: Vec<_> = fields.iter().filter(|field| !said(field)).map(|field| field.as_str()).collect();
    let mut message = match told.as_slice() {
        [] => "nothing of the policy acts so far".to_owned(),
        told => format!("the policy acts: {}", told.join("; ")),
    };
    if !idle.is_empty() {
        message += &format!("; no listener is served that {} concerns", idle.join(", "));
    }
    message
}
