//! The status of a route: what became of it at each of its parents that is ours.

use std::borrow::Cow;
use std::collections::BTreeMap;

use genkan_routing::report::Problem;

use super::attach::{ParentOutcome, Refused};
use super::reason::{
    ACCEPTED, HOSTNAME_CONFLICT, NO_MATCHING_LISTENER_HOSTNAME, NO_MATCHING_PARENT, NOT_ALLOWED_BY_LISTENERS, PENDING,
    RESOLVED_REFS, UNSUPPORTED_VALUE,
};
use super::status::{Cond, CondKind, ParentStatus};

/// Why a listener or another route refuses a route. Any other reason is one of the parent itself.
const REFUSALS: [&str; 4] =
    [NO_MATCHING_PARENT, NOT_ALLOWED_BY_LISTENERS, NO_MATCHING_LISTENER_HOSTNAME, HOSTNAME_CONFLICT];

/// What is wrong with the rules of a route, wherever it is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// How many rules there are.
    pub(crate) rules: usize,
    /// Those of which a part is not served as it is written, by their place, and why.
    pub(crate) broken: BTreeMap<usize, &'static str>,
    /// Why `ResolvedRefs` is false, if it is.
    pub(crate) unresolved: Option<&'static str>,
}

impl Faults {
    /// A rule is not served as it is written. The first reason counts.
    pub(crate) fn breaks(&mut self, rule: usize, reason: &'static str) {
        self.broken.entry(rule).or_insert(reason);
    }
}

/// What became of a route at its parents of ours. `problems` are those of the route.
pub(crate) fn parents(outcomes: &[ParentOutcome], faults: &Faults, problems: &[Problem]) -> Vec<ParentStatus> {
    let ours = outcomes.iter().filter(|outcome| outcome.ours);
    let status = |outcome: &ParentOutcome| {
        let mut conditions = vec![accepted(outcome, faults), resolved_refs(faults, problems)];
        if outcome.attached.is_ok() {
            conditions.extend(partially_invalid(faults));
        }
        ParentStatus { parent_ref: outcome.reference.clone(), conditions }
    };
    ours.map(status).collect()
}

fn accepted(outcome: &ParentOutcome, faults: &Faults) -> Cond {
    match &outcome.attached {
        Err(Refused { reason, message }) => {
            let reason = if REFUSALS.contains(reason) { reason } else { PENDING };
            Cond::fails(CondKind::Accepted, reason, message.clone())
        }
        Ok(_) => match all_broken(faults) {
            Some(reason) => {
                Cond::fails(CondKind::Accepted, reason, "no rule of the route can be served as it is written")
            }
            None => Cond::holds(CondKind::Accepted, ACCEPTED, "the route is attached"),
        },
    }
}

/// Why no rule is as it should be, when none is.
fn all_broken(faults: &Faults) -> Option<&'static str> {
    faults.broken.values().next().copied().filter(|_| faults.broken.len() == faults.rules)
}

fn resolved_refs(faults: &Faults, problems: &[Problem]) -> Cond {
    let Some(reason) = faults.unresolved else {
        return Cond::holds(CondKind::ResolvedRefs, RESOLVED_REFS, "all references are resolved");
    };
    let told = problems.iter().find(|problem| problem.reason == reason);
    let message = told.map_or(Cow::Borrowed("a reference is not resolved"), |problem| {
        Cow::Owned(format!("{}: {}", problem.origin.field, problem.message))
    });
    Cond::fails(CondKind::ResolvedRefs, reason, message)
}

/// There is no such condition where all is well. The API wants its message to begin in one of two ways.
fn partially_invalid(faults: &Faults) -> Option<Cond> {
    if faults.broken.is_empty() || all_broken(faults).is_some() {
        return None;
    }
    let rules: Vec<_> = faults.broken.keys().map(|rule| format!("rules[{rule}]")).collect();
    let message = format!("Dropped Rule: what can't be served as it is written is not served: {}", rules.join(", "));
    Some(Cond::holds(CondKind::PartiallyInvalid, UNSUPPORTED_VALUE, message))
}

#[cfg(test)]
mod tests {
    use super::super::reason::INCOMPATIBLE_FILTERS;
    use super::super::status::ParentReference;
    use super::*;

    fn outcome(ours: bool, attached: Result<(), &'static str>) -> ParentOutcome {
        let reference = ParentReference::gateway("infra".into(), "edge".into());
        let refused = |reason| Refused { reason, message: "".into() };
        ParentOutcome { index: 0, reference, ours, attached: attached.map(|()| Vec::new()).map_err(refused) }
    }

    fn told(attached: Result<(), &'static str>, faults: &Faults) -> Vec<String> {
        let parents = parents(&[outcome(true, attached)], faults, &[]);
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
        assert!(parents(&[outcome(false, Err(NO_MATCHING_PARENT))], &Faults::default(), &[]).is_empty());
    }
}
