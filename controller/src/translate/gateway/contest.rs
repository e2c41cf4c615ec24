//! Contests: HTTPRoutes and GRPCRoutes that want a hostname in common on one listener. The API has exactly one of the
//! two accepted: the older, then the first by `namespace/name` (`GRPCRouteSpec.hostnames`).
//!
//! Routes are judged from the oldest on, each against those of the other kind that were accepted, so that a route that
//! lost takes nothing away from a third.

use std::collections::{BTreeMap, BTreeSet};

use genkan_routing::name::HostPattern;
use rustc_hash::FxHashMap;

use super::hostname::intersect;
use super::rank::RouteAge;
use crate::resources::{Key, Kind};

/// A route that wants hosts of a listener.
#[derive(Debug)]
pub(crate) struct Claim<'h> {
    /// Its age.
    pub(crate) age: &'h RouteAge,
    /// The hosts.
    pub(crate) hosts: Vec<&'h HostPattern>,
}

/// The routes of one listener that lost, each with a route that it lost to.
pub(crate) fn losers<'h>(claims: &BTreeMap<&'h Key, Claim<'h>>) -> BTreeMap<Key, Key> {
    let mut order: Vec<_> = claims.iter().collect();
    order.sort_by(|(_, one), (_, other)| one.age.cmp(other.age));
    let mut accepted: BTreeMap<Kind, Taken<'_>> = BTreeMap::new();
    let mut losers = BTreeMap::new();
    for (key, claim) in order {
        let others = accepted.iter().filter(|(kind, _)| **kind != key.kind);
        let holders: BTreeSet<_> =
            others.flat_map(|(_, taken)| claim.hosts.iter().filter_map(|host| taken.holder(host))).collect();
        match holders.first() {
            Some(holder) => drop(losers.insert(Key::clone(key), Key::clone(holder))),
            None => accepted.entry(key.kind).or_default().take(&claim.hosts, key),
        }
    }
    losers
}

/// Hosts that routes of one kind hold. Most are plain names, which are looked up; the others are few.
#[derive(Debug, Default)]
struct Taken<'h> {
    names: FxHashMap<&'h HostPattern, &'h Key>,
    patterns: Vec<(&'h HostPattern, &'h Key)>,
}

impl<'h> Taken<'h> {
    fn take(&mut self, hosts: &[&'h HostPattern], key: &'h Key) {
        for host in hosts {
            if matches!(host, HostPattern::Exact(_)) {
                self.names.entry(host).or_insert(key);
            } else {
                self.patterns.push((host, key));
            }
        }
    }

    /// Who holds something that the host covers too.
    fn holder(&self, host: &HostPattern) -> Option<&'h Key> {
        let name = if matches!(host, HostPattern::Exact(_)) {
            self.names.get(host).copied()
        } else {
            self.names.iter().filter(|(name, _)| intersect(name, host).is_some()).map(|(_, key)| *key).min()
        };
        let meets = |(pattern, key): &(&HostPattern, &'h Key)| intersect(pattern, host).map(|_| *key);
        name.or_else(|| self.patterns.iter().filter_map(meets).min())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    struct Route {
        key: Key,
        age: RouteAge,
        hosts: Vec<HostPattern>,
    }

    fn route(kind: Kind, name: &str, second: i64, hosts: &[&str]) -> Route {
        let created = Timestamp::from_second(second).ok();
        let age = RouteAge::new(created, kind.as_str(), "default", name);
        let hosts = hosts.iter().map(|host| HostPattern::parse_suffix(host).unwrap()).collect();
        Route { key: Key::new(kind, "default", name), age, hosts }
    }

    fn lost(routes: &[Route]) -> BTreeMap<Key, Key> {
        let claims = routes.iter().map(|route| {
            let claim = Claim { age: &route.age, hosts: route.hosts.iter().collect() };
            (&route.key, claim)
        });
        losers(&claims.collect())
    }

    fn names(routes: &[Route]) -> Vec<String> {
        lost(routes).iter().map(|(loser, winner)| format!("{} to {}", loser.name.name, winner.name.name)).collect()
    }

    #[test]
    fn of_two_kinds_with_a_common_host_the_older_is_accepted() {
        let both = |http, grpc| [route(Kind::HttpRoute, "web", 1, http), route(Kind::GrpcRoute, "calls", 2, grpc)];
        for (http, grpc, met) in [
            (&["a.test"][..], &["a.test"][..], true),
            (&["a.test"], &["b.test"], false),
            (&["a.test"], &["*.test"], true),
            (&["*.test"], &["a.b.test"], true),
            (&["*.a.test"], &["*.b.test"], false),
            (&[""], &["*.test"], true),
            (&["a.test", "b.test"], &["c.test", "b.test"], true),
        ] {
            let expected: &[&str] = if met { &["calls to web"] } else { &[] };
            assert_eq!(names(&both(http, grpc)), expected, "{http:?} {grpc:?}");
        }
        let younger = [route(Kind::HttpRoute, "web", 2, &["a.test"]), route(Kind::GrpcRoute, "calls", 1, &["a.test"])];
        assert_eq!(names(&younger), ["web to calls"]);
        let twins = [route(Kind::HttpRoute, "b", 1, &["a.test"]), route(Kind::GrpcRoute, "a", 1, &["a.test"])];
        assert_eq!(names(&twins), ["b to a"]);
    }

    #[test]
    fn who_lost_takes_nothing_away() {
        let routes = [
            route(Kind::HttpRoute, "first", 1, &["a.test"]),
            route(Kind::GrpcRoute, "second", 2, &["a.test", "b.test"]),
            route(Kind::HttpRoute, "third", 3, &["b.test"]),
        ];
        assert_eq!(names(&routes), ["second to first"]);
    }

    fn any_route() -> impl Strategy<Value = (bool, i64, Vec<&'static str>)> {
        let host = prop::sample::select(vec!["a.test", "b.test", "a.b.test", "*.test", "*.b.test", ""]);
        (any::<bool>(), 0..4i64, prop::collection::vec(host, 1..3))
    }

    proptest! {
        #[test]
        fn of_any_two_that_meet_exactly_one_is_accepted(given in prop::collection::vec(any_route(), 0..7)) {
            let routes: Vec<_> = given
                .iter()
                .enumerate()
                .map(|(at, (http, second, hosts))| {
                    let kind = if *http { Kind::HttpRoute } else { Kind::GrpcRoute };
                    route(kind, &format!("r{at}"), *second, hosts)
                })
                .collect();
            let meet = |one: &Route, other: &Route| {
                one.key.kind != other.key.kind
                    && one.hosts.iter().any(|host| other.hosts.iter().any(|it| intersect(host, it).is_some()))
            };
            let lost = lost(&routes);
            let accepted = |route: &Route| !lost.contains_key(&route.key);
            for one in &routes {
                let older = |other: &&Route| other.age < one.age && accepted(other) && meet(one, other);
                prop_assert_eq!(accepted(one), !routes.iter().any(|other| older(&other)));
                if let Some(winner) = lost.get(&one.key) {
                    prop_assert!(routes.iter().any(|other| other.key == *winner && older(&other)));
                }
            }
        }
    }
}
