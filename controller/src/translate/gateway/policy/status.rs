//! Status of a RoutePolicy: at which routes of each Gateway it acts, and what speaks against it.

use std::collections::{BTreeMap, BTreeSet};

use super::acts::{Loss, Routes, Uses};
use super::fields::PolicyField as _;
use super::index::Outcome;
use super::known::Known;
use super::settings::Field;
use crate::resources::{Key, NamespacedName};
use crate::translate::assembly::Contribution;
use crate::translate::gateway::parent::ParentKey;
use crate::translate::gateway::ports::Parent;
use crate::translate::gateway::reason::ACCEPTED;
use crate::translate::gateway::status::{Cond, CondKind};
use crate::translate::reader::Reader;

/// How many routes are named.
const NAMED: usize = 3;
/// How many of the policies that go before one are named.
const WINNERS: usize = 16;

/// Says what became of a policy.
pub(super) fn read(
    name: &NamespacedName,
    outcome: &Outcome<Field>,
    uses: &Uses,
    parents: &BTreeMap<ParentKey, Parent>,
    reader: &Reader<'_>,
) -> Contribution {
    let (mut known, gateways) = Known::look(name, outcome, parents, reader);
    let nothing = Routes::new();
    let mut gateways: BTreeMap<_, _> = gateways.into_iter().map(|gateway| (gateway, &nothing)).collect();
    gateways.extend(uses.of(name).map(|(gateway, routes)| (gateway.clone(), routes)));
    for routes in gateways.values() {
        known.tell_conflicts(lost(routes));
    }
    let told = gateways.into_iter().map(|(gateway, routes)| (gateway, conditions(&known, routes))).collect();
    known.finish(told)
}

/// What does not hold at any of the routes.
fn lost(routes: &Routes) -> BTreeSet<&(Field, Loss)> {
    routes.values().flat_map(|effect| &effect.lost).collect()
}

fn conditions(known: &Known<'_, Field>, routes: &Routes) -> Vec<Cond> {
    let acting: Vec<_> = routes.iter().filter(|(_, effect)| effect.acts).map(|(route, _)| route).collect();
    let lost = lost(routes);
    let conflict = || acting.is_empty().then(|| known.conflict(lost.iter().map(|(_, loss)| loss))).flatten();
    let accepted = known.refusal().or_else(conflict).unwrap_or_else(|| match acting.is_empty() {
        true => Cond::holds(CondKind::Accepted, ACCEPTED, "the policy acts on no route so far"),
        false => Cond::holds(CondKind::Accepted, ACCEPTED, format!("the policy acts on {}", named(&acting))),
    });
    let overridden = (!lost.is_empty()).then(|| known.overridden(!acting.is_empty(), told(routes)));
    [accepted, known.resolved()].into_iter().chain(overridden).collect()
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
    use crate::resources::Kind;
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
