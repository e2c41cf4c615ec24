//! Hosts: the matches of all routes for one host of one table, in order of rank.
//!
//! Routes are here with the hosts that they want. Where [`contest`](super::contest) gives a listener's host to another
//! kind of route, the loser's matches stay away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::model::Host;
use genkan_routing::name::{HostPattern, TableId};
use rustc_hash::FxHashMap;

use super::contest::{self, Claim};
use super::hostname::covering;
use super::route::RouteOutcome;
use super::rule::RankedMatch;
use crate::resources::{Key, Kind};
use crate::small_map::SmallSet;
use crate::translate::assembly::{Batch, Contribution};
use crate::translate::memo::Changed;

/// A host of a table.
type HostKey = (TableId, HostPattern);

/// Which routes want a host, who gets it, and what it gave last.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    entries: BTreeMap<HostKey, Entry>,
    touched: BTreeSet<HostKey>,
    /// How many hosts routes of each kind want of a table.
    wanted: BTreeMap<TableId, BTreeMap<Kind, usize>>,
    /// Tables whose routes came, went or changed their hosts or age, where a host of theirs is one of another kind too.
    unsettled: BTreeSet<TableId>,
    /// The routes that lost a table's hosts, and to whom; only tables where any did.
    lost: BTreeMap<TableId, BTreeMap<Key, Key>>,
}

#[derive(Debug, Default)]
struct Entry {
    routes: SmallSet<Key>,
    /// Its matches, as they were contributed last.
    host: Option<Arc<Host>>,
}

impl Hosts {
    /// To whom a route lost what it wants of a table.
    pub(crate) fn winner(&self, table: &TableId, route: &Key) -> Option<&Key> {
        self.lost.get(table)?.get(route)
    }

    /// Follows the change of a route.
    pub(crate) fn route_changed(&mut self, key: &Key, changed: &Changed<RouteOutcome>) {
        let none = SmallSet::default();
        let old = changed.old.as_ref().map_or(&none, |old| &old.hosts);
        let new = changed.new.as_ref().map_or(&none, |new| &new.hosts);
        let gone = || old.keys().filter(|host| !new.contains_key(host));
        let come = || new.keys().filter(|host| !old.contains_key(host));
        for host in gone() {
            if let Some(entry) = self.entries.get_mut(host) {
                entry.routes.remove(key);
            }
            self.count(&host.0, key.kind, false);
        }
        for host in come() {
            self.entries.entry(host.clone()).or_default().routes.insert(key.clone(), ());
            self.count(&host.0, key.kind, true);
        }
        let age = |outcome: &Option<Arc<RouteOutcome>>| outcome.as_ref().map(|outcome| outcome.age.clone());
        let unsettled: Box<dyn Iterator<Item = &HostKey>> = if age(&changed.old) == age(&changed.new) {
            Box::new(gone().chain(come()))
        } else {
            Box::new(old.keys().chain(come()))
        };
        let is_news = |table| !self.unsettled.contains(table);
        let unsettled: Vec<_> =
            unsettled.filter(|host| is_news(&host.0) && self.meets_another_kind(host, key.kind)).collect();
        self.unsettled.extend(unsettled.into_iter().map(|(table, _)| table.clone()));
        let matches = |outcome: &Option<Arc<RouteOutcome>>| {
            outcome.as_ref().map(|outcome| (outcome.matches.clone(), outcome.apart.clone()))
        };
        if matches(&changed.old) == matches(&changed.new) {
            self.touched.extend(gone().chain(come()).cloned());
        } else {
            self.touched.extend(old.keys().chain(come()).cloned());
        }
    }

    /// Whether a host of a route is one that routes of another kind want too: who gets what depends on no other hosts. Of
    /// two routes that change one after the other the first meets what the second wanted, the second what the first wants.
    fn meets_another_kind(&self, (table, host): &HostKey, kind: Kind) -> bool {
        if self.wanted.get(table).is_none_or(|kinds| kinds.keys().all(|other| *other == kind)) {
            return false;
        }
        // What a pattern covers is not looked for: patterns are few.
        if !matches!(host, HostPattern::Exact(_)) {
            return true;
        }
        let entries = covering(host).into_iter().filter_map(|pattern| self.entries.get(&(table.clone(), pattern)));
        entries.flat_map(|entry| entry.routes.keys()).any(|route| route.kind != kind)
    }

    fn count(&mut self, table: &TableId, kind: Kind, more: bool) {
        if more {
            *self.wanted.entry(table.clone()).or_default().entry(kind).or_default() += 1;
        } else if let Some(kinds) = self.wanted.get_mut(table)
            && let Some(count) = kinds.get_mut(&kind)
        {
            *count -= 1;
            if *count == 0 {
                kinds.remove(&kind);
            }
            if kinds.is_empty() {
                self.wanted.remove(table);
            }
        }
    }

    /// Settles who gets the hosts of the tables whose routes changed. Returns the routes for which that is news: they are
    /// to be read again.
    pub(crate) fn settle<'r>(&mut self, outcome_of: impl Fn(&Key) -> Option<&'r Arc<RouteOutcome>>) -> BTreeSet<Key> {
        let mut news = BTreeSet::new();
        for table in std::mem::take(&mut self.unsettled) {
            let losers = self.losers(&table, &outcome_of);
            let before = self.lost.remove(&table).unwrap_or_default();
            let differ = |key: &&Key| before.get(*key) != losers.get(*key);
            for key in before.keys().chain(losers.keys()).filter(differ) {
                let hosts = outcome_of(key).into_iter().flat_map(|outcome| outcome.hosts.keys());
                self.touched.extend(hosts.filter(|(other, _)| *other == table).cloned());
                news.insert(key.clone());
            }
            if !losers.is_empty() {
                self.lost.insert(table, losers);
            }
        }
        news
    }

    /// Almost every table has routes of one kind only, and nobody loses.
    fn losers<'r>(
        &self,
        table: &TableId,
        outcome_of: impl Fn(&Key) -> Option<&'r Arc<RouteOutcome>>,
    ) -> BTreeMap<Key, Key> {
        if self.wanted.get(table).is_none_or(|kinds| kinds.len() < 2) {
            return BTreeMap::new();
        }
        let mut claims: BTreeMap<&Key, Claim<'_>> = BTreeMap::new();
        let all = self.entries.range((table.clone(), least())..).take_while(|((other, _), _)| other == table);
        for ((_, host), entry) in all {
            for key in entry.routes.keys() {
                let Some(outcome) = outcome_of(key) else { continue };
                claims.entry(key).or_insert_with(|| Claim { age: &outcome.age, hosts: Vec::new() }).hosts.push(host);
            }
        }
        contest::losers(&claims)
    }

    /// Puts the hosts together whose routes changed. Those that the same routes are for are one: a route of a few kilobytes
    /// may be for a thousand hosts.
    pub(crate) fn refresh<'r>(
        &mut self,
        outcome_of: impl Fn(&Key) -> Option<&'r Arc<RouteOutcome>>,
        batch: &mut Batch,
    ) {
        let mut made = FxHashMap::default();
        for key in std::mem::take(&mut self.touched) {
            let lost = self.lost.get(&key.0);
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let served = entry.routes.keys().filter(|route| lost.is_none_or(|lost| !lost.contains_key(*route)));
            let parts: Vec<_> = served.filter_map(&outcome_of).map(|outcome| outcome.matches_of(&key.0)).collect();
            let places: Vec<_> = parts.iter().map(|part| part.as_ptr_range()).collect();
            let host = made.entry(places).or_insert_with(|| assemble(&parts).map(Arc::new)).clone();
            if entry.host != host {
                let old = std::mem::replace(&mut entry.host, host.clone());
                // Made for the batch alone: all that it says is here already.
                let contribution = |host| {
                    let (table, name) = key.clone();
                    Arc::new(Contribution { hosts: vec![(table, name, host)], ..Contribution::default() })
                };
                let [old, new] = [old, host].map(|host| host.map(contribution));
                batch.push(Some(Changed { old, new }));
            }
            if entry.routes.is_empty() {
                self.entries.remove(&key);
            }
        }
    }
}

/// The pattern that comes before all others: hostnames begin with a letter, a digit, `_` or `:`.
fn least() -> HostPattern {
    // "0" is a hostname: the fallback is never taken.
    HostPattern::parse_suffix("0").unwrap_or(HostPattern::Any)
}

/// The matches of some routes in order of rank; `None` when there are none.
fn assemble(parts: &[&[RankedMatch]]) -> Option<Host> {
    let mut matches: Vec<_> = parts.iter().copied().flatten().collect();
    matches.sort_by(|one, other| one.rank.cmp(&other.rank));
    let matches: Vec<_> = matches.into_iter().map(|ranked| ranked.matched.clone()).collect();
    if matches.is_empty() { None } else { Some(Host { matches }) }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;

    use super::super::rank::RouteAge;
    use super::*;

    type World = BTreeMap<Key, Arc<RouteOutcome>>;

    /// A route that comes or changes, or goes without hosts.
    fn change(hosts: &mut Hosts, world: &mut World, key: Key, second: i64, wanted: &[&str]) {
        let age = RouteAge::new(Timestamp::from_second(second).ok(), key.kind.as_str(), "default", &key.name.name);
        let wanted = wanted.iter().map(|host| (table(), HostPattern::parse_suffix(host).unwrap()));
        let outcome = RouteOutcome { age, hosts: wanted.collect(), ..RouteOutcome::default() };
        let new = Some(Arc::new(outcome)).filter(|outcome| outcome.hosts.keys().next().is_some());
        let old = match new.clone() {
            Some(new) => world.insert(key.clone(), new),
            None => world.remove(&key),
        };
        hosts.route_changed(&key, &Changed { old, new });
    }

    fn table() -> TableId {
        TableId::new("t")
    }

    fn key(http: bool, name: &str) -> Key {
        Key::new(if http { Kind::HttpRoute } else { Kind::GrpcRoute }, "default", name)
    }

    #[test]
    fn a_host_that_no_other_kind_wants_settles_nothing_anew() {
        let (mut hosts, mut world) = (Hosts::default(), World::new());
        for number in 0..9 {
            let host = format!("h{number}.test");
            change(&mut hosts, &mut world, key(true, &format!("r{number}")), 1, &[host.as_str()]);
        }
        change(&mut hosts, &mut world, key(false, "calls"), 2, &["h0.test", "*.calls.test"]);
        let asked = Cell::new(0);
        let settle = |hosts: &mut Hosts, world: &World| {
            asked.set(0);
            let news = hosts.settle(|key| {
                asked.set(asked.get() + 1);
                world.get(key)
            });
            (news.len(), asked.get() > 0)
        };
        assert_eq!(settle(&mut hosts, &world), (1, true));
        change(&mut hosts, &mut world, key(true, "r7"), 1, &["other.test", "calls.test"]);
        assert_eq!(settle(&mut hosts, &world), (0, false));
        change(&mut hosts, &mut world, key(true, "r7"), 1, &["a.calls.test"]);
        assert_eq!(settle(&mut hosts, &world), (0, true));
        change(&mut hosts, &mut world, key(true, "r0"), 1, &[]);
        assert_eq!(settle(&mut hosts, &world), (1, true));
    }

    proptest! {
        #[test]
        fn who_loses_is_who_would_lose_if_all_were_looked_at(
            rounds in prop::collection::vec(
                prop::collection::vec(
                    (any::<bool>(), 0..4usize, 0..3i64, prop::collection::vec(
                        prop::sample::select(vec!["a.test", "b.test", "a.b.test", "*.b.test", "c.test", "d.test", "*.d.test"]),
                        0..3,
                    )),
                    1..4,
                ),
                1..12,
            ),
        ) {
            let (mut hosts, mut world) = (Hosts::default(), World::new());
            for round in rounds {
                for (http, number, second, wanted) in round {
                    change(&mut hosts, &mut world, key(http, &format!("r{number}")), second, &wanted);
                }
                hosts.settle(|key| world.get(key));
                let all = hosts.losers(&table(), |key| world.get(key));
                prop_assert_eq!(hosts.lost.get(&table()).cloned().unwrap_or_default(), all);
            }
        }
    }

    #[test]
    fn no_host_comes_before_the_least() {
        for text in ["", "0", "00.a", "1.2.3.4", "::1", "a.test", "_a.test", "*.0", "*.a.test"] {
            assert!(least() <= HostPattern::parse_suffix(text).unwrap(), "{text}");
        }
    }
}
