//! Status of a ListenerPolicy: at which listeners of each Gateway it acts, and what speaks against it.

use std::collections::{BTreeMap, BTreeSet};

use genkan_routing::report::Severity;

use super::PolicyOutcome;
use super::effects::{Effect, Effects, Loss};
use super::settings::Field;
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::Contribution;
use crate::translate::gateway::findings::Findings;
use crate::translate::gateway::parent::ParentKey;
use crate::translate::gateway::policy::target::Target;
use crate::translate::gateway::ports::Parent;
use crate::translate::gateway::reason::{
    ACCEPTED, CONFLICTED, GATEWAY_CLASS_NOT_FOUND, INVALID, PORT_SHARED, RESOLVED_REFS, TARGET_NOT_FOUND,
    UNSUPPORTED_VALUE,
};
use crate::translate::gateway::status::{AncestorStatus, Cond, CondKind, MAX_ANCESTORS, ParentReference, Wanted};
use crate::translate::reader::Reader;

/// Nothing that the policy says holds.
const OVERRIDDEN: &str = "Overridden";
/// A part of what the policy says holds.
const PARTLY_OVERRIDDEN: &str = "PartlyOverridden";

/// Says what became of a policy.
pub(super) fn read(
    name: &NamespacedName,
    outcome: &PolicyOutcome,
    effects: &Effects,
    parents: &BTreeMap<ParentKey, Parent>,
    reader: &Reader<'_>,
) -> Contribution {
    let key = Key { kind: Kind::ListenerPolicy, name: name.clone() };
    let mut findings = Findings::new(key.object_ref());
    findings.extend(outcome.problems.iter().cloned());
    let (mut gateways, mut missing) = (BTreeSet::new(), Vec::new());
    for (index, target) in &outcome.targets {
        match find(target, parents, reader) {
            Ok(gateway) => gateways.extend(gateway),
            Err(why) => {
                let field = format!("spec.targetRefs[{index}]");
                findings.error(field, TARGET_NOT_FOUND, why.clone(), "create it, or name another");
                missing.push((target, why));
            }
        }
    }
    let broken = outcome.problems.iter().find(|problem| problem.severity == Severity::Error);
    let broken = broken.map(|problem| format!("{}: {}", problem.origin.field, problem.message));
    let broken = outcome.outdated.as_deref().map(str::to_owned).or(broken);
    let none = Effect::default();
    let effect = |gateway: &NamespacedName| effects.of(name).find(|(known, _)| *known == gateway).map(|(_, it)| it);
    let known = Known { outcome, broken, missing: &missing };
    for effect in gateways.iter().filter_map(effect) {
        tell(effect, &mut findings);
    }
    if gateways.len() > MAX_ANCESTORS {
        let message = format!("{} Gateways use it and a status has room for {MAX_ANCESTORS}", gateways.len());
        findings.warning("status.ancestors", UNSUPPORTED_VALUE, message, "");
    }
    let ancestors = gateways.iter().map(|gateway| AncestorStatus {
        ancestor_ref: ParentReference::gateway(gateway.namespace.clone(), gateway.name.clone()),
        conditions: known.conditions(effect(gateway).unwrap_or(&none)),
    });
    let mut ancestors: Vec<_> = ancestors.take(MAX_ANCESTORS).collect();
    if ancestors.is_empty() {
        ancestors = known.without_gateway();
    }
    let statuses = vec![(key, Wanted::Policy { ancestors }.into())];
    Contribution { problems: findings.into_problems(), statuses, ..Contribution::default() }
}

/// The Gateway of a target, if it is ours; or why there is no such target.
fn find(
    target: &Target,
    parents: &BTreeMap<ParentKey, Parent>,
    reader: &Reader<'_>,
) -> Result<Option<NamespacedName>, String> {
    let Key { kind, name } = &target.object;
    // Of those of others nothing is known but that they are there.
    let there = match kind {
        Kind::Gateway => reader.gateway(name).is_some(),
        _ => reader.listener_set(name).is_some(),
    };
    if !there {
        return Err(format!("{} does not exist", target.object));
    }
    let Some(parent) = target.as_parent().and_then(|key| parents.get(&key)) else { return Ok(None) };
    if let Some(section) = target.section.as_deref()
        && !parent.listeners.iter().any(|listener| &*listener.name == section)
    {
        return Err(format!("{} has no listener {section}", target.object));
    }
    Ok((parent.refused != Some(GATEWAY_CLASS_NOT_FOUND)).then(|| parent.gateway.clone()))
}

/// Tells what does not act.
fn tell(effect: &Effect, findings: &mut Findings) {
    for (field, whose) in &effect.refused {
        for why in whose {
            let message = format!("{} does not act: {why}", field.as_str());
            let mend = "use a port or an address of its own, or let the policy cover all of the port";
            findings.error("spec.targetRefs", PORT_SHARED, message, mend);
        }
    }
    for (field, loss) in &effect.lost {
        if let Loss::Conflict(winner) = loss {
            let name = field.as_str();
            let message =
                format!("ListenerPolicy {winner} came first and says something of {name} for the same target");
            findings.warning("spec.targetRefs", CONFLICTED, message, "join both into one policy");
        }
    }
}

/// What is true wherever the policy acts.
struct Known<'a> {
    outcome: &'a PolicyOutcome,
    /// The first error in what it says.
    broken: Option<String>,
    missing: &'a [(&'a Target, String)],
}

impl Known<'_> {
    fn conditions(&self, effect: &Effect) -> Vec<Cond> {
        let mut conditions = vec![self.accepted(effect), self.resolved()];
        if !effect.lost.is_empty() {
            let reason = if effect.acts.is_empty() { OVERRIDDEN } else { PARTLY_OVERRIDDEN };
            let told = effect.lost.iter().map(|(field, loss)| {
                let (Loss::Conflict(winner) | Loss::Overridden(winner)) = loss;
                format!("{} by ListenerPolicy {winner}", field.as_str())
            });
            conditions.push(Cond::holds(CondKind::Overridden, reason, told.collect::<Vec<_>>().join("; ")));
        }
        conditions
    }

    fn accepted(&self, effect: &Effect) -> Cond {
        if let Some(message) = &self.broken {
            return Cond::fails(CondKind::Accepted, INVALID, message.clone());
        }
        let acts = self.acting(effect);
        if !effect.refused.is_empty() {
            let refused = effect.refused.iter().map(|(field, whose)| {
                let whose: Vec<_> = whose.iter().map(String::as_str).collect();
                format!("{} does not act: {}", field.as_str(), whose.join(", "))
            });
            let message = format!("{}; {acts}", refused.collect::<Vec<_>>().join("; "));
            return Cond::fails(CondKind::Accepted, PORT_SHARED, message);
        }
        let mut winners = effect.lost.iter().map(|(_, loss)| match loss {
            Loss::Conflict(winner) => Some(winner),
            Loss::Overridden(_) => None,
        });
        match winners.next().flatten() {
            Some(winner) if effect.acts.is_empty() && winners.all(|other| other.is_some()) => {
                let message = format!("ListenerPolicy {winner} came first and says the same of the same target");
                Cond::fails(CondKind::Accepted, CONFLICTED, message)
            }
            _ => Cond::holds(CondKind::Accepted, ACCEPTED, acts),
        }
    }

    /// Where what acts, and what concerns nothing.
    fn acting(&self, effect: &Effect) -> String {
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
        let policy = &self.outcome.policy;
        let fields: BTreeSet<_> = policy.defaults.fields().chain(policy.overrides.fields()).collect();
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

    fn resolved(&self) -> Cond {
        match self.missing {
            [] => Cond::holds(CondKind::ResolvedRefs, RESOLVED_REFS, "all targets are there"),
            missing => {
                let all: Vec<_> = missing.iter().map(|(_, why)| why.as_str()).collect();
                Cond::fails(CondKind::ResolvedRefs, TARGET_NOT_FOUND, all.join("; "))
            }
        }
    }

    /// What is told at the targets where no Gateway is known: why the policy can't act.
    fn without_gateway(&self) -> Vec<AncestorStatus> {
        let accepted = match &self.broken {
            Some(message) => Cond::fails(CondKind::Accepted, INVALID, message.clone()),
            None if self.missing.len() < self.outcome.targets.len() || self.missing.is_empty() => return Vec::new(),
            None => Cond::fails(CondKind::Accepted, TARGET_NOT_FOUND, "no target is there"),
        };
        let ancestor = |(_, target): &(usize, Target)| AncestorStatus {
            ancestor_ref: target.reference(),
            conditions: vec![accepted.clone(), self.resolved()],
        };
        self.outcome.targets.iter().map(ancestor).collect()
    }
}
