//! Known: what is true of a policy wherever it acts: whether it is sound, and whether its targets are there. With that its
//! status is put together, Gateway by Gateway.

use std::collections::{BTreeMap, BTreeSet};

use genkan_routing::report::{Problem, Severity};

use super::acts::Loss;
use super::fields::PolicyField;
use super::index::Outcome;
use super::target::Target;
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::Contribution;
use crate::translate::gateway::findings::Findings;
use crate::translate::gateway::parent::ParentKey;
use crate::translate::gateway::ports::Parent;
use crate::translate::gateway::reason::{
    BACKEND_NOT_FOUND, CONFLICTED, GATEWAY_CLASS_NOT_FOUND, INVALID, INVALID_KIND, INVALID_SECRET_REF,
    REF_NOT_PERMITTED, RESOLVED_REFS, TARGET_NOT_FOUND, UNSUPPORTED_PROTOCOL, UNSUPPORTED_VALUE,
};
use crate::translate::gateway::status::{AncestorStatus, Cond, CondKind, MAX_ANCESTORS, ParentReference, Wanted};
use crate::translate::reader::{Dependency, Reader};

/// Nothing that the policy says holds.
const OVERRIDDEN: &str = "Overridden";
/// A part of what the policy says holds.
const PARTLY_OVERRIDDEN: &str = "PartlyOverridden";

/// What may be wrong with what a policy refers to besides its targets.
const REFERENCES: [&str; 5] =
    [INVALID_SECRET_REF, INVALID_KIND, REF_NOT_PERMITTED, BACKEND_NOT_FOUND, UNSUPPORTED_PROTOCOL];

/// What is true of a policy wherever it acts.
pub(crate) struct Known<'a, F: PolicyField> {
    key: Key,
    outcome: &'a Outcome<F>,
    /// Why it is not as it should be.
    invalid: Option<String>,
    /// Its targets that are not there, and why.
    missing: Vec<(&'a Target, String)>,
    findings: Findings,
}

impl<'a, F: PolicyField> Known<'a, F> {
    /// Looks for the targets of a policy. Gives also the Gateways of those of which they are known without any route.
    pub(crate) fn look(
        name: &NamespacedName,
        outcome: &'a Outcome<F>,
        parents: &BTreeMap<ParentKey, Parent>,
        reader: &Reader<'_>,
    ) -> (Self, BTreeSet<NamespacedName>) {
        let key = Key { kind: F::KIND, name: name.clone() };
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
        let invalid = outcome.outdated.as_deref().map(str::to_owned).or(broken);
        (Self { key, outcome, invalid, missing, findings }, gateways)
    }

    /// What is wrong with the policy, so far.
    pub(crate) fn findings(&mut self) -> &mut Findings {
        &mut self.findings
    }

    /// Why it is not accepted, if it is not sound.
    pub(crate) fn refusal(&self) -> Option<Cond> {
        self.invalid.as_ref().map(|message| Cond::fails(CondKind::Accepted, INVALID, message.clone()))
    }

    /// Why it is not accepted, if all that it says is said of the same targets by those who came first.
    pub(crate) fn conflict<'l>(&self, lost: impl IntoIterator<Item = &'l Loss>) -> Option<Cond> {
        let winner = only_conflicts(lost)?;
        let message = format!("{} {winner} came first and says the same of the same target", F::KIND.as_str());
        Some(Cond::fails(CondKind::Accepted, CONFLICTED, message))
    }

    /// What is said in vain.
    pub(crate) fn overridden(&self, acts: bool, told: String) -> Cond {
        let reason = if acts { PARTLY_OVERRIDDEN } else { OVERRIDDEN };
        Cond::holds(CondKind::Overridden, reason, told)
    }

    /// Whether all targets are there.
    pub(crate) fn resolved(&self) -> Cond {
        let is_unresolved =
            |problem: &&Problem| problem.severity == Severity::Error && REFERENCES.contains(&problem.reason);
        match (&self.missing[..], self.outcome.problems.iter().find(is_unresolved)) {
            ([], None) => Cond::holds(CondKind::ResolvedRefs, RESOLVED_REFS, "everything that it names is there"),
            ([], Some(problem)) => Cond::fails(CondKind::ResolvedRefs, problem.reason, problem.message.to_string()),
            (missing, _) => {
                let all: Vec<_> = missing.iter().map(|(_, why)| why.as_str()).collect();
                Cond::fails(CondKind::ResolvedRefs, TARGET_NOT_FOUND, all.join("; "))
            }
        }
    }

    /// Tells of each field whether an older policy says it of the same target.
    pub(crate) fn tell_conflicts<'l>(&mut self, lost: impl IntoIterator<Item = (F, &'l Loss)>) {
        let mut told = BTreeSet::new();
        for (field, loss) in lost {
            if let Loss::Conflict(winner) = loss
                && told.insert(field)
            {
                let message = format!(
                    "{} {winner} came first and says something of {} for the same target; it holds",
                    F::KIND.as_str(),
                    field.as_str()
                );
                self.findings.warning("spec.targetRefs", CONFLICTED, message, "join both into one policy");
            }
        }
    }

    /// The status of the policy with what is said of it at each Gateway, and all problems.
    pub(crate) fn finish(mut self, gateways: Vec<(NamespacedName, Vec<Cond>)>) -> Contribution {
        let count = gateways.len();
        let ancestor = |(gateway, conditions): (NamespacedName, Vec<Cond>)| AncestorStatus {
            ancestor_ref: ParentReference::gateway(gateway.namespace, gateway.name),
            conditions,
        };
        let mut ancestors: Vec<_> = gateways.into_iter().take(MAX_ANCESTORS).map(ancestor).collect();
        if count > MAX_ANCESTORS {
            let more =
                format!("{count} Gateways use it, it acts at all of them, and a status has room for {MAX_ANCESTORS}");
            for ancestor in &mut ancestors {
                let accepted = ancestor.conditions.iter_mut().find(|cond| cond.kind == CondKind::Accepted);
                accepted.into_iter().for_each(|cond| cond.message = format!("{}; {more}", cond.message).into());
            }
            self.findings.warning("status.ancestors", UNSUPPORTED_VALUE, more, "");
        }
        if ancestors.is_empty() {
            ancestors = self.without_gateway();
        }
        let statuses = vec![(self.key, Wanted::Policy { ancestors }.into())];
        Contribution { problems: self.findings.into_problems(), statuses, ..Contribution::default() }
    }

    /// What is told at the targets where no Gateway is known: why the policy can't act.
    fn without_gateway(&self) -> Vec<AncestorStatus> {
        let accepted = match self.refusal() {
            Some(refusal) => refusal,
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

/// The Gateway of a target, if that is known without a route; or why there is no such target.
fn find(
    target: &Target,
    parents: &BTreeMap<ParentKey, Parent>,
    reader: &Reader<'_>,
) -> Result<Option<NamespacedName>, String> {
    let Key { kind, name } = &target.object;
    let mut gateway = None;
    // Whether it exists, and whether it has the section.
    let has =
        |sections: Vec<Option<&str>>| target.section.as_deref().is_none_or(|section| sections.contains(&Some(section)));
    let found = if let Some(key) = target.as_parent() {
        reader.note(Dependency::Parent(key.clone()));
        match parents.get(&key) {
            Some(parent) => {
                let ours = parent.refused != Some(GATEWAY_CLASS_NOT_FOUND);
                gateway = ours.then(|| parent.gateway.clone());
                Some(has(parent.listeners.iter().map(|listener| Some(&*listener.name)).collect()))
            }
            // Of others nothing is known but that they are there.
            None if *kind == Kind::Gateway => reader.gateway(name).map(|_| true),
            None => reader.listener_set(name).map(|_| true),
        }
    } else {
        match kind {
            Kind::HttpRoute => reader
                .http_route(name)
                .map(|route| has(route.spec.rules.iter().flatten().map(|rule| rule.name.as_deref()).collect())),
            Kind::GrpcRoute => reader
                .grpc_route(name)
                .map(|route| has(route.spec.rules.iter().flatten().map(|rule| rule.name.as_deref()).collect())),
            _ => reader.service(name).map(|_| true),
        }
    };
    match found {
        Some(true) => Ok(gateway),
        Some(false) => {
            let part = if target.as_parent().is_some() { "listener" } else { "rule" };
            Err(format!("{} has no {part} {}", target.object, target.section.as_deref().unwrap_or_default()))
        }
        None => Err(format!("{} does not exist", target.object)),
    }
}

/// Who came first, if nothing else speaks against a policy.
fn only_conflicts<'l>(lost: impl IntoIterator<Item = &'l Loss>) -> Option<&'l NamespacedName> {
    let mut winners = lost.into_iter().map(|loss| match loss {
        Loss::Conflict(winner) => Some(winner),
        Loss::Overridden(_) | Loss::Route => None,
    });
    let first = winners.next()??;
    winners.all(|winner| winner.is_some()).then_some(first)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::merge::Policy;
    use super::super::settings::{Field, Settings};
    use super::*;
    use crate::translate::gateway::rank::RouteAge;
    use crate::translate::gateway::reason::ACCEPTED;

    /// What is said of a policy that this many Gateways use.
    fn told(gateways: usize) -> (usize, String, usize) {
        let (defaults, overrides) = (Settings::default(), Settings::default());
        let policy = Arc::new(Policy { age: RouteAge::default(), defaults, overrides });
        let (targets, problems) = (Vec::new(), Vec::new());
        let outcome = Outcome::<Field> { policy, uid: None, targets, problems, outdated: None };
        let key = Key::new(Kind::RoutePolicy, "shop", "limits");
        let findings = Findings::new(key.object_ref());
        let known = Known { key, outcome: &outcome, invalid: None, missing: Vec::new(), findings };
        let gateway = |index: usize| {
            let accepted = Cond::holds(CondKind::Accepted, ACCEPTED, "the policy acts on 2 routes");
            (NamespacedName::new("shop", format!("g{index:02}")), vec![accepted])
        };
        let contribution = known.finish((0..gateways).map(gateway).collect());
        let Wanted::Policy { ancestors } = &*contribution.statuses[0].1 else { panic!("{contribution:?}") };
        let message = ancestors.last().unwrap().conditions[0].message.to_string();
        (ancestors.len(), message, contribution.problems.len())
    }

    #[test]
    fn more_gateways_than_a_status_has_room_for_are_told_in_it() {
        assert_eq!(told(16), (16, "the policy acts on 2 routes".to_owned(), 0));
        let (ancestors, message, problems) = told(17);
        assert_eq!((ancestors, problems), (16, 1));
        assert!(message.ends_with("; 17 Gateways use it, it acts at all of them, and a status has room for 16"));
    }
}
