//! Hosts: the matches of all routes for one host of one table, in order of rank.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::model::Host;
use genkan_routing::name::{HostPattern, TableId};

use super::route::RouteOutcome;
use crate::resources::NamespacedName;
use crate::translate::assembly::{Batch, Contribution};
use crate::translate::memo::Changed;

/// A host of a table.
type HostKey = (TableId, HostPattern);

/// Which routes have something for a host, and what it gave last.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    entries: BTreeMap<HostKey, Entry>,
    touched: BTreeSet<HostKey>,
}

#[derive(Debug, Default)]
struct Entry {
    routes: BTreeSet<NamespacedName>,
    contribution: Option<Arc<Contribution>>,
}

impl Hosts {
    /// Follows the change of a route.
    pub(crate) fn route_changed(&mut self, name: &NamespacedName, changed: &Changed<RouteOutcome>) {
        let none = BTreeSet::new();
        let old = changed.old.as_ref().map_or(&none, |old| &old.hosts);
        let new = changed.new.as_ref().map_or(&none, |new| &new.hosts);
        for host in old.difference(new) {
            if let Some(entry) = self.entries.get_mut(host) {
                entry.routes.remove(name);
            }
        }
        for host in new.difference(old) {
            self.entries.entry(host.clone()).or_default().routes.insert(name.clone());
        }
        let matches = |outcome: &Option<Arc<RouteOutcome>>| outcome.as_ref().map(|outcome| outcome.matches.clone());
        if matches(&changed.old) == matches(&changed.new) {
            self.touched.extend(old.symmetric_difference(new).cloned());
        } else {
            self.touched.extend(old.union(new).cloned());
        }
    }

    /// Puts the hosts together whose routes changed.
    pub(crate) fn refresh<'r>(
        &mut self,
        outcome_of: impl Fn(&NamespacedName) -> Option<&'r Arc<RouteOutcome>>,
        batch: &mut Batch,
    ) {
        for key in std::mem::take(&mut self.touched) {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let host = assemble(entry.routes.iter().filter_map(&outcome_of));
            let new = host.map(|host| {
                let (table, name) = key.clone();
                Arc::new(Contribution { hosts: vec![(table, name, Arc::new(host))], ..Contribution::default() })
            });
            if entry.contribution != new {
                let old = std::mem::replace(&mut entry.contribution, new.clone());
                batch.push(Some(Changed { old, new }));
            }
            if entry.routes.is_empty() {
                self.entries.remove(&key);
            }
        }
    }
}

/// The matches of some routes in order of rank; `None` when there are none.
fn assemble<'r>(routes: impl Iterator<Item = &'r Arc<RouteOutcome>>) -> Option<Host> {
    let mut matches: Vec<_> = routes.flat_map(|route| route.matches.iter()).collect();
    matches.sort_by(|one, other| one.rank.cmp(&other.rank));
    let matches: Vec<_> = matches.into_iter().map(|ranked| ranked.matched.clone()).collect();
    if matches.is_empty() { None } else { Some(Host { matches }) }
}
