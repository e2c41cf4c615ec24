//! Status of a RoutePolicy: at which routes of each Gateway it acts, and what speaks against it.

use std::collections::BTreeMap;

use super::acts::{Loss, Routes, Uses};
use super::fields::PolicyField as _;
use super::index::Outcome;
use super::known::Known;
use super::settings::Field;
use crate::resources::{Key, NamespacedName};
use crate::small_map::SmallSet;
use crate::translate::assembly::Contribution;
use crate::translate::gateway::naming::told_in;
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
    let nothing = Routes::default();
    let mut gateways: BTreeMap<_, _> = gateways.into_iter().map(|gateway| (gateway, &nothing)).collect();
    gateways.extend(uses.of(name).map(|(gateway, routes)| (gateway.clone(), routes)));
    for routes in gateways.values() {
        // Conflicts are in front, and one of each field is told.
        known.tell_conflicts(routes.lost.iter().filter_map(|(field, why)| Some((*field, why.keys().next()?))));
    }
    let told =
        gateways.into_iter().map(|(gateway, routes)| (gateway, conditions(&known, routes, &name.namespace))).collect();
    known.finish(told)
}

fn conditions(known: &Known<'_, Field>, routes: &Routes, namespace: &str) -> Vec<Cond> {
    let Routes { acting, lost, .. } = routes;
    let conflict = || acting.is_empty().then(|| known.conflict(lost.values().flat_map(BTreeMap::keys))).flatten();
    let accepted = known.refusal().or_else(conflict).unwrap_or_else(|| match acting.is_empty() {
        true => Cond::holds(CondKind::Accepted, ACCEPTED, "the policy acts on no route so far"),
        false => Cond::holds(CondKind::Accepted, ACCEPTED, format!("the policy acts on {}", named(acting, namespace))),
    });
    let overridden = (!lost.is_empty()).then(|| known.overridden(!acting.is_empty(), told(routes, namespace)));
    [accepted, known.resolved()].into_iter().chain(overridden).collect()
}

/// `2 routes`, or their names while they are few and all of the namespace where it is told.
fn named(routes: &SmallSet<Key>, namespace: &str) -> String {
    let count = routes.len();
    if count > NAMED || routes.keys().any(|route| *route.name.namespace != *namespace) {
        return format!("{count} {}", if count == 1 { "route" } else { "routes" });
    }
    routes.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What does not hold, and why. Each of thousands of routes may have a policy of its own that goes before a Gateway's:
/// only the first few policies are named, and no more are looked at.
fn told(routes: &Routes, namespace: &str) -> String {
    let all = routes.lost.iter().flat_map(|(field, why)| why.iter().map(move |(loss, at)| (*field, loss, at)));
    let mut parts = Vec::new();
    for (field, loss, at) in all.take(WINNERS) {
        let part = told_one(field, loss, at, namespace);
        // Those of another namespace may be told alike.
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    let count: usize = routes.lost.values().map(BTreeMap::len).sum();
    if count > WINNERS {
        parts.push(format!("and {} more", count - WINNERS));
    }
    parts.join("; ")
}

fn told_one(field: Field, loss: &Loss, at: &SmallSet<Key>, namespace: &str) -> String {
    let by = match loss {
        Loss::Conflict(winner) | Loss::Overridden(winner) => told_in(namespace, Field::KIND.as_str(), winner),
        Loss::Route => "the route itself".to_owned(),
    };
    format!("{} by {by} ({})", field.as_str(), named(at, namespace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Kind;
    use crate::translate::gateway::policy::acts::{Acts, Effect};

    /// A policy that many routes have something of their own instead of.
    fn routes(count: usize) -> Uses {
        let mut uses = Uses::default();
        (0..count).for_each(|index| uses.route_changed(&route(index), None, Some(&acts(index))));
        uses
    }

    fn route(index: usize) -> Key {
        Key::new(Kind::HttpRoute, "shop", format!("r{index:04}"))
    }

    fn acts(index: usize) -> Acts {
        let lost = [(Field::RateLimit, Loss::Overridden(route(index).name))].into();
        Acts([((policy(), policy()), Effect { lost, acts: index.is_multiple_of(2) })].into())
    }

    fn policy() -> NamespacedName {
        NamespacedName::new("shop", "policy")
    }

    fn said(uses: &Uses) -> String {
        uses.of(&policy()).map(|(_, routes)| told(routes, "shop")).collect()
    }

    #[test]
    fn of_many_that_go_before_only_some_are_named() {
        let few = said(&routes(2));
        assert_eq!(
            few,
            "rateLimit by RoutePolicy shop/r0000 (HTTPRoute shop/r0000); \
             rateLimit by RoutePolicy shop/r0001 (HTTPRoute shop/r0001)"
        );
        assert!(!said(&routes(WINNERS)).contains("more"));
        let many = said(&routes(1000));
        assert!(many.ends_with("(HTTPRoute shop/r0015); and 984 more"), "{many}");
    }

    #[test]
    fn what_is_told_follows_routes_that_change_and_go() {
        let mut uses = routes(4);
        assert_eq!(uses.take_touched(), [policy()].into());
        // The same as before is no news.
        uses.route_changed(&route(0), Some(&acts(0)), Some(&acts(0)));
        assert!(uses.take_touched().is_empty());
        // It gets what another one has.
        uses.route_changed(&route(3), Some(&acts(3)), Some(&acts(0)));
        let names =
            |uses: &Uses| uses.of(&policy()).map(|(_, routes)| named(&routes.acting, "shop")).collect::<String>();
        assert_eq!(names(&uses), "HTTPRoute shop/r0000, HTTPRoute shop/r0002, HTTPRoute shop/r0003");
        assert!(
            said(&uses)
                .starts_with("rateLimit by RoutePolicy shop/r0000 (HTTPRoute shop/r0000, HTTPRoute shop/r0003);")
        );
        uses.route_changed(&route(3), Some(&acts(0)), None);
        (0..3).for_each(|index| uses.route_changed(&route(index), Some(&acts(index)), None));
        assert_eq!(uses.of(&policy()).count(), 0);
    }
}
