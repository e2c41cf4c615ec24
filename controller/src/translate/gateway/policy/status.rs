//! Status of a RoutePolicy: at which routes of each Gateway it acts, and what speaks against it.

use std::collections::{BTreeMap, BTreeSet};

use genkan_routing::report::{Problem, Severity};

use super::PolicyOutcome;
use super::acts::{Loss, Routes, Uses};
use super::settings::Field;
use super::target::Target;
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::Contribution;
use crate::translate::gateway::findings::Findings;
use crate::translate::gateway::parent::ParentKey;
use crate::translate::gateway::ports::Parent;
use crate::translate::gateway::reason::{
    ACCEPTED, BACKEND_NOT_FOUND, CONFLICTED, GATEWAY_CLASS_NOT_FOUND, INVALID, INVALID_KIND, INVALID_SECRET_REF,
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
/// How many routes are named.
const NAMED: usize = 3;
/// How many of the policies that go before one are named.
const WINNERS: usize = 16;

/// Says what became of a policy.
pub(super) fn read(
    name: &NamespacedName,
    outcome: &PolicyOutcome,
    uses: &Uses,
    parents: &BTreeMap<ParentKey, Parent>,
    reader: &Reader<'_>,
) -> Contribution {
    let key = Key { kind: Kind::RoutePolicy, name: name.clone() };
    let mut findings = Findings::new(key.object_ref());
    findings.extend(outcome.problems.iter().cloned());
    let (mut gateways, mut missing) = (BTreeMap::<_, Option<&Routes>>::new(), Vec::new());
    for (index, target) in &outcome.targets {
        match find(target, parents, reader) {
            Ok(gateway) => gateways.extend(gateway.map(|gateway| (gateway, None))),
            Err(why) => {
                findings.error(
                    format!("spec.targetRefs[{index}]"),
                    TARGET_NOT_FOUND,
                    why.clone(),
                    "create it, or name another",
                );
                missing.push((target, why));
            }
        }
    }
    gateways.extend(uses.of(name).map(|(gateway, routes)| (gateway.clone(), Some(routes))));
    if gateways.len() > MAX_ANCESTORS {
        let count = gateways.len();
        let message =
            format!("{count} Gateways use it and a status has room for {MAX_ANCESTORS}; it acts at the others as well");
        findings.warning("status.ancestors", UNSUPPORTED_VALUE, message, "");
    }
    let broken = outcome.problems.iter().find(|problem| problem.severity == Severity::Error);
    let broken = broken.map(|problem| format!("{}: {}", problem.origin.field, problem.message));
    let invalid = outcome.outdated.as_deref().map(str::to_owned).or(broken);
    let unresolved =
        outcome.problems.iter().find(|it| it.severity == Severity::Error && REFERENCES.contains(&it.reason));
    let known = Known { invalid, unresolved, missing: &missing, found: missing.len() < outcome.targets.len() };
    for routes in gateways.values().copied().flatten() {
        tell_conflicts(routes, &mut findings);
    }
    let mut ancestors: Vec<_> = gateways
        .into_iter()
        .map(|(gateway, routes)| AncestorStatus {
            ancestor_ref: ParentReference::gateway(gateway.namespace, gateway.name),
            conditions: known.conditions(routes.unwrap_or(&Routes::new())),
        })
        .collect();
    if ancestors.is_empty() {
        ancestors = known.without_gateway(outcome);
    }
    ancestors.truncate(MAX_ANCESTORS);
    let statuses = vec![(key, Wanted::Policy { ancestors }.into())];
    Contribution { problems: findings.into_problems(), statuses, ..Contribution::default() }
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

/// What is true wherever the policy acts.
struct Known<'a> {
    invalid: Option<String>,
    /// What it refers to and is not to be had.
    unresolved: Option<&'a Problem>,
    missing: &'a [(&'a Target, String)],
    /// Whether any target is there.
    found: bool,
}

impl Known<'_> {
    fn conditions(&self, routes: &Routes) -> Vec<Cond> {
        let acting: Vec<_> = routes.iter().filter(|(_, effect)| effect.acts).map(|(route, _)| route).collect();
        let lost: BTreeSet<_> = routes.values().flat_map(|effect| &effect.lost).collect();
        let conflict = acting.is_empty().then(|| only_conflicts(&lost)).flatten();
        let accepted = match (&self.invalid, conflict) {
            (Some(message), _) => Cond::fails(CondKind::Accepted, INVALID, message.clone()),
            (None, Some(winner)) => {
                let message = format!("RoutePolicy {winner} came first and says the same of the same target");
                Cond::fails(CondKind::Accepted, CONFLICTED, message)
            }
            (None, None) if acting.is_empty() => {
                Cond::holds(CondKind::Accepted, ACCEPTED, "the policy acts on no route so far")
            }
            (None, None) => Cond::holds(CondKind::Accepted, ACCEPTED, format!("the policy acts on {}", named(&acting))),
        };
        let mut conditions = vec![accepted, self.resolved()];
        if !lost.is_empty() {
            let reason = if acting.is_empty() { OVERRIDDEN } else { PARTLY_OVERRIDDEN };
            conditions.push(Cond::holds(CondKind::Overridden, reason, told(routes)));
        }
        conditions
    }

    fn resolved(&self) -> Cond {
        match (self.missing, self.unresolved) {
            ([], None) => Cond::holds(CondKind::ResolvedRefs, RESOLVED_REFS, "everything that it names is there"),
            ([], Some(problem)) => Cond::fails(CondKind::ResolvedRefs, problem.reason, problem.message.to_string()),
            (missing, _) => {
                let all: Vec<_> = missing.iter().map(|(_, why)| why.as_str()).collect();
                Cond::fails(CondKind::ResolvedRefs, TARGET_NOT_FOUND, all.join("; "))
            }
        }
    }

    /// What is told at the targets where no Gateway is known: why the policy can't act.
    fn without_gateway(&self, outcome: &PolicyOutcome) -> Vec<AncestorStatus> {
        let accepted = match &self.invalid {
            Some(message) => Cond::fails(CondKind::Accepted, INVALID, message.clone()),
            None if self.found || self.missing.is_empty() => return Vec::new(),
            None => Cond::fails(CondKind::Accepted, TARGET_NOT_FOUND, "no target is there"),
        };
        let ancestor = |(_, target): &(usize, Target)| AncestorStatus {
            ancestor_ref: target.reference(),
            conditions: vec![accepted.clone(), self.resolved()],
        };
        outcome.targets.iter().map(ancestor).collect()
    }
}

/// Who came first, if nothing else speaks against a policy.
fn only_conflicts<'l>(lost: &BTreeSet<&'l (Field, Loss)>) -> Option<&'l NamespacedName> {
    let mut winners = lost.iter().map(|(_, loss)| match loss {
        Loss::Conflict(winner) => Some(winner),
        Loss::Overridden(_) | Loss::Route => None,
    });
    let first = winners.next()??;
    winners.all(|winner| winner.is_some()).then_some(first)
}

fn tell_conflicts(routes: &Routes, findings: &mut Findings) {
    let lost: BTreeSet<_> = routes.values().flat_map(|effect| &effect.lost).collect();
    let mut told = BTreeSet::new();
    for (field, loss) in lost {
        if let Loss::Conflict(winner) = loss
            && told.insert(field)
        {
            let message = format!(
                "RoutePolicy {winner} came first and says something of {} for the same target; it holds",
                field.as_str()
            );
            findings.warning("spec.targetRefs", CONFLICTED, message, "join both into one policy");
        }
    }
}

/// `2 routes`, or their names while they are few.
fn named(routes: &[&Key]) -> String {
    if routes.len() > NAMED {
        return format!("{} routes", routes.len());
    }
    routes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What does not hold, and why. Each of thousands of routes may have a policy of its own that goes before a Gateway's, so
/// every route is looked at once, and only the first few policies are named.
fn told(routes: &Routes) -> String {
    let mut by_loss: BTreeMap<&(Field, Loss), Vec<&Key>> = BTreeMap::new();
    for (route, effect) in routes {
        for entry in &effect.lost {
            by_loss.entry(entry).or_default().push(route);
        }
    }
    let mut parts: Vec<_> =
        by_loss.iter().take(WINNERS).map(|((field, loss), at)| told_one(*field, loss, at)).collect();
    if by_loss.len() > WINNERS {
        parts.push(format!("and {} more", by_loss.len() - WINNERS));
    }
    parts.join("; ")
}

fn told_one(field: Field, loss: &Loss, at: &[&Key]) -> String {
    let by = match loss {
        Loss::Conflict(winner) | Loss::Overridden(winner) => format!("RoutePolicy {winner}"),
        Loss::Route => "the route itself".to_owned(),
    };
    format!("{} by {by} ({})", field.as_str(), named(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::gateway::policy::acts::Effect;

    fn routes(count: usize) -> Routes {
        let one = |index: usize| {
            let name = NamespacedName::new("shop", format!("r{index:04}").as_str());
            let lost = [(Field::RateLimit, Loss::Overridden(name.clone()))].into();
            (Key { kind: Kind::HttpRoute, name }, Effect { lost, ..Effect::default() })
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn of_many_that_go_before_only_some_are_named() {
        let few = told(&routes(2));
        assert_eq!(
            few,
            "rateLimit by RoutePolicy shop/r0000 (HTTPRoute shop/r0000); \
             rateLimit by RoutePolicy shop/r0001 (HTTPRoute shop/r0001)"
        );
        assert!(!told(&routes(WINNERS)).contains("more"));
        let many = told(&routes(1000));
        assert!(many.ends_with("(HTTPRoute shop/r0015); and 984 more"), "{many}");
    }
}
