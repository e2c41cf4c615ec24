//! The status of a route: what became of it at each of its parents that is ours.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::report::Problem;

use super::attach::{DEFAULTS, ParentOutcome, Refused};
use super::notes::{because, is_within, with_notes};
use super::reason::{
    ACCEPTED, HOSTNAME_CONFLICT, NO_MATCHING_LISTENER_HOSTNAME, NO_MATCHING_PARENT, NOT_ALLOWED_BY_LISTENERS, PENDING,
    RESOLVED_REFS, UNSUPPORTED_VALUE,
};
use super::status::{Cond, CondKind, ParentStatus};
use crate::resources::Key;

/// Why a listener or another route refuses a route. Any other reason is one of the parent itself.
const REFUSALS: [&str; 4] =
    [NO_MATCHING_PARENT, NOT_ALLOWED_BY_LISTENERS, NO_MATCHING_LISTENER_HOSTNAME, HOSTNAME_CONFLICT];

/// What is wrong with the rules of a route, wherever it is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// How many rules there are.
    pub(crate) rules: usize,
    /// Those of which nothing is served as it is written, by their place, and why.
    pub(crate) broken: BTreeMap<usize, &'static str>,
    /// Those of which a part is not served as it is written.
    pub(crate) lessened: BTreeSet<usize>,
    /// Why `ResolvedRefs` is false, if it is.
    pub(crate) unresolved: Option<&'static str>,
    /// Why the route can't be read, if so.
    pub(crate) unreadable: Option<Arc<str>>,
    /// Backends that get nothing, as what they ask for can't be done.
    pub(crate) idle: BTreeSet<Key>,
}

impl Faults {
    /// Nothing of a rule is served as it is written. The first reason counts.
    pub(crate) fn breaks(&mut self, rule: usize, reason: &'static str) {
        self.broken.entry(rule).or_insert(reason);
    }

    /// A part of a rule is not served as it is written.
    pub(crate) fn lessens(&mut self, rule: usize) {
        self.lessened.insert(rule);
    }

    /// Why the route is not accepted where it is attached, if so: a rule that is implemented in part is (API:
    /// `RouteConditionAccepted`).
    fn refusal(&self) -> Option<&'static str> {
        if self.unreadable.is_some() {
            return Some(UNSUPPORTED_VALUE);
        }
        self.broken.values().next().copied().filter(|_| self.broken.len() == self.rules)
    }
}

/// What became of a route at its parents of ours. `problems` are those of the route. Notes at each of the parents whether
/// the route is accepted there.
pub(crate) fn parents(outcomes: &mut [ParentOutcome], faults: &Faults, problems: &[Problem]) -> Vec<ParentStatus> {
    let refused = faults.refusal().is_some();
    for outcome in outcomes.iter_mut() {
        outcome.accepted = outcome.attached.is_ok() && !refused;
    }
    let ours = outcomes.iter().filter(|outcome| outcome.ours);
    let status = |outcome: &ParentOutcome| {
        let mut conditions = vec![accepted(outcome, faults, problems), resolved_refs(faults, problems)];
        if outcome.accepted {
            conditions.extend(partially_invalid(faults));
        }
        ParentStatus { parent_ref: outcome.reference.clone(), conditions }
    };
    // Kept for as long as the route is.
    let mut parents: Vec<_> = ours.map(status).collect();
    parents.shrink_to_fit();
    parents
}

fn accepted(outcome: &ParentOutcome, faults: &Faults, problems: &[Problem]) -> Cond {
    if let Err(Refused { reason, message }) = &outcome.attached {
        let reason = if REFUSALS.contains(reason) { reason } else { PENDING };
        return Cond::fails(CondKind::Accepted, reason, message.clone());
    }
    if let Some(why) = &faults.unreadable {
        return Cond::fails(CondKind::Accepted, UNSUPPORTED_VALUE, why.to_string());
    }
    // What concerns another parent is told there, and the first reference that is not resolved at `ResolvedRefs`.
    let own = outcome.field();
    let elsewhere = |problem: &&Problem| {
        let field = &*problem.origin.field;
        let of_parent =
            field.starts_with("spec.parentRefs[") || field == DEFAULTS && problem.reason == HOSTNAME_CONFLICT;
        of_parent && !is_within(field, &own)
    };
    let unresolved = unresolved(faults, problems);
    let told = |problem: &&Problem| unresolved.is_none_or(|other| !std::ptr::eq(other, *problem));
    let notes = problems.iter().filter(|problem| !elsewhere(problem)).filter(told);
    match faults.refusal() {
        Some(reason) => {
            let message = because("no rule of the route can be served as it is written", notes);
            Cond::fails(CondKind::Accepted, reason, message)
        }
        None => {
            let default = outcome.index.is_none();
            let message = if default { "the route is attached to a default Gateway" } else { "the route is attached" };
            Cond::holds(CondKind::Accepted, ACCEPTED, with_notes(message, notes))
        }
    }
}

/// The problem that `ResolvedRefs` tells.
fn unresolved<'p>(faults: &Faults, problems: &'p [Problem]) -> Option<&'p Problem> {
    problems.iter().find(|problem| Some(problem.reason) == faults.unresolved)
}

fn resolved_refs(faults: &Faults, problems: &[Problem]) -> Cond {
    let Some(reason) = faults.unresolved else {
        return Cond::holds(CondKind::ResolvedRefs, RESOLVED_REFS, "all references are resolved");
    };
    let message = unresolved(faults, problems).map_or(Cow::Borrowed("a reference is not resolved"), |problem| {
        Cow::Owned(format!("{}: {}", problem.origin.field, problem.message))
    });
    Cond::fails(CondKind::ResolvedRefs, reason, message)
}

/// There is no such condition where all is well. The API wants its message to begin in one of two ways.
fn partially_invalid(faults: &Faults) -> Option<Cond> {
    let rules: BTreeSet<_> = faults.broken.keys().chain(&faults.lessened).collect();
    if rules.is_empty() {
        return None;
    }
    let rules: Vec<_> = rules.into_iter().map(|rule| format!("rules[{rule}]")).collect();
    let message = format!("Dropped Rule: what can't be served as it is written is not served: {}", rules.join(", "));
    Some(Cond::holds(CondKind::PartiallyInvalid, UNSUPPORTED_VALUE, message))
}

#[cfg(test)]
mod tests {
    use genkan_routing::name::{ObjectRef, Origin};

    use super::super::reason::INCOMPATIBLE_FILTERS;
    use super::super::status::ParentReference;
    use super::*;

    fn outcome(ours: bool, attached: Result<(), &'static str>) -> ParentOutcome {
        let reference = ParentReference::gateway("infra".into(), "edge".into());
        let refused = |reason| Refused { reason, message: "".into() };
        let attached = attached.map(|()| Vec::new()).map_err(refused);
        ParentOutcome { index: Some(0), reference, ours, attached, accepted: true }
    }

    fn told(attached: Result<(), &'static str>, faults: &Faults) -> Vec<String> {
        let parents = parents(&mut [outcome(true, attached)], faults, &[]);
        let conditions = parents.into_iter().flat_map(|parent| parent.conditions);
        conditions.map(|cond| format!("{} {} {}", cond.kind.as_str(), cond.state, cond.reason)).collect()
    }

    #[test]
    fn a_route_with_a_sound_rule_is_accepted_and_partially_invalid() {
        let mut faults = Faults { rules: 2, ..Faults::default() };
        let sound = ["Accepted true Accepted", "ResolvedRefs true ResolvedRefs"];
        assert_eq!(told(Ok(()), &faults), sound);
        faults.breaks(1, INCOMPATIBLE_FILTERS);
        faults.breaks(1, UNSUPPORTED_VALUE);
        assert_eq!(told(Ok(()), &faults), [sound[0], sound[1], "PartiallyInvalid true UnsupportedValue"]);
        faults.breaks(0, INCOMPATIBLE_FILTERS);
        assert_eq!(told(Ok(()), &faults), ["Accepted false IncompatibleFilters", sound[1]]);
    }

    #[test]
    fn a_route_of_which_a_part_is_served_is_accepted() {
        let mut faults = Faults { rules: 1, ..Faults::default() };
        faults.lessens(0);
        let [accepted, resolved] = ["Accepted true Accepted", "ResolvedRefs true ResolvedRefs"];
        assert_eq!(told(Ok(()), &faults), [accepted, resolved, "PartiallyInvalid true UnsupportedValue"]);
        faults.breaks(0, UNSUPPORTED_VALUE);
        assert_eq!(told(Ok(()), &faults), ["Accepted false UnsupportedValue", resolved]);
        let unreadable = Faults { rules: 1, unreadable: Some("a new word".into()), ..Faults::default() };
        assert_eq!(told(Ok(()), &unreadable), ["Accepted false UnsupportedValue", resolved]);
        let mut outcomes = [outcome(true, Ok(()))];
        parents(&mut outcomes, &unreadable, &[]);
        assert!(!outcomes[0].accepted);
    }

    #[test]
    fn what_no_other_condition_tells_is_told_where_the_route_is_accepted() {
        let problem = |field: &str, reason, message: &str| {
            Problem::warning(Origin::new(ObjectRef::new("HTTPRoute", "web", "a"), field), reason, message)
        };
        let problems = [
            problem("spec.rules[0].backendRefs[0]", "BackendNotFound", "none"),
            problem("spec.rules[0].timeouts.request", UNSUPPORTED_VALUE, "no duration"),
            problem("spec.parentRefs[0]", "HostnameConflict", "lost a host"),
            problem("spec.parentRefs[1]", "NoMatchingParent", "elsewhere"),
        ];
        let faults = Faults { rules: 1, unresolved: Some("BackendNotFound"), ..Faults::default() };
        let status = parents(&mut [outcome(true, Ok(()))], &faults, &problems).remove(0);
        let messages: Vec<_> = status.conditions.iter().map(|condition| &*condition.message).collect();
        let notes = "spec.rules[0].timeouts.request: no duration; spec.parentRefs[0]: lost a host";
        let accepted = format!("the route is attached, but not all is as it is written: {notes}");
        assert_eq!(messages, [&*accepted, "spec.rules[0].backendRefs[0]: none"]);
    }

    #[test]
    fn a_refusal_comes_before_the_faults_of_rules() {
        let mut faults = Faults { rules: 2, unresolved: Some("BackendNotFound"), ..Faults::default() };
        faults.breaks(0, UNSUPPORTED_VALUE);
        let unresolved = "ResolvedRefs false BackendNotFound";
        for reason in [NO_MATCHING_PARENT, NOT_ALLOWED_BY_LISTENERS, NO_MATCHING_LISTENER_HOSTNAME] {
            assert_eq!(told(Err(reason), &faults), [format!("Accepted false {reason}"), unresolved.to_owned()]);
        }
        assert_eq!(told(Err("InvalidParameters"), &faults)[0], "Accepted false Pending");
    }

    #[test]
    fn nothing_is_said_about_parents_of_others() {
        assert!(parents(&mut [outcome(false, Err(NO_MATCHING_PARENT))], &Faults::default(), &[]).is_empty());
    }
}
