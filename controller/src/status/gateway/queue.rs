//! The queue of objects whose status is to be written: what is most urgent first, and all namespaces in turn.
//!
//! ```text
//!  Gateways  lane: namespaces in turn ---+
//!  policies  lane                        +--> the first lane that has anything, but not always
//!  routes    lane                        +
//! ```
//!
//! However much of a namespace waits, an object of another one waits for one of each namespace only.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::resources::{Key, Kind};

/// After so many of a lane one of the less urgent is written.
const IN_A_ROW: u32 = 4;

/// In which order statuses are written: that of a Gateway is waited for by people and machines, and says how many routes
/// there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    Gateways,
    Policies,
    Routes,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: [Lane; 3],
    /// The round in which each object that waits has its turn.
    places: FxHashMap<Key, u64>,
    /// How many came from the first lane since one came from another.
    in_a_row: u32,
}

/// Objects of one urgency.
#[derive(Debug, Default)]
struct Lane {
    waiting: BTreeSet<(u64, Key)>,
    /// The round of the last object that was taken.
    round: u64,
    /// The last round in which each namespace has a turn, as far as that is to come.
    taken: FxHashMap<Arc<str>, u64>,
}

impl Urgency {
    /// How urgent a kind is.
    pub(super) fn of(kind: Kind) -> Self {
        match kind {
            Kind::GatewayClass | Kind::Gateway | Kind::ListenerSet => Self::Gateways,
            Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => Self::Routes,
            _ => Self::Policies,
        }
    }
}

impl Queue {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds an object. One that waits already keeps its place.
    pub(super) fn push(&mut self, key: &Key) {
        if self.places.contains_key(key) {
            return;
        }
        let lane = self.lane(key);
        let taken = lane.taken.entry(key.name.namespace.clone()).or_default();
        *taken = lane.round.max(*taken) + 1;
        let place = *taken;
        lane.waiting.insert((place, key.clone()));
        self.places.insert(key.clone(), place);
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(place) = self.places.remove(key) {
            let lane = self.lane(key);
            lane.waiting.remove(&(place, key.clone()));
            lane.tidy();
        }
    }

    /// The next.
    pub(super) fn pop(&mut self) -> Option<Key> {
        let mut lanes = self.lanes.iter_mut().filter(|lane| !lane.waiting.is_empty());
        let first = lanes.next()?;
        let lane = match lanes.next() {
            Some(other) if self.in_a_row >= IN_A_ROW => {
                self.in_a_row = 0;
                other
            }
            other => {
                self.in_a_row = if other.is_some() { self.in_a_row + 1 } else { 0 };
                first
            }
        };
        let (round, key) = lane.waiting.pop_first()?;
        lane.round = round;
        lane.tidy();
        self.places.remove(&key);
        Some(key)
    }

    fn lane(&mut self, key: &Key) -> &mut Lane {
        let [gateways, policies, routes] = &mut self.lanes;
        match Urgency::of(key.kind) {
            Urgency::Gateways => gateways,
            Urgency::Policies => policies,
            Urgency::Routes => routes,
        }
    }
}

impl Lane {
    /// Forgets namespaces of which nothing is to come.
    fn tidy(&mut self) {
        if self.waiting.is_empty() {
            self.taken.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(namespace: &str, name: usize) -> Key {
        Key::new(Kind::HttpRoute, namespace, format!("{name:03}"))
    }

    fn drain(queue: &mut Queue) -> Vec<Key> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_namespace_waits_for_one_of_each_other() {
        let mut queue = Queue::default();
        (0..100).for_each(|name| queue.push(&route("a", name)));
        let first: Vec<_> = (0..10).filter_map(|_| queue.pop()).collect();
        assert_eq!(first, (0..10).map(|name| route("a", name)).collect::<Vec<_>>());
        queue.push(&route("z", 0));
        queue.push(&route("z", 1));
        // What was written waits again, behind.
        queue.push(&route("a", 0));
        let order = drain(&mut queue);
        let place = |key: &Key| order.iter().position(|other| other == key).unwrap();
        assert!(place(&route("z", 0)) <= 1 && place(&route("z", 1)) <= 3, "{order:?}");
        assert_eq!((order.last(), order.len()), (Some(&route("a", 0)), 93));
        assert!(queue.is_empty() && queue.lanes.iter().all(|lane| lane.taken.is_empty()));
    }

    #[test]
    fn who_waits_keeps_its_place_and_who_goes_gives_it_up() {
        let mut queue = Queue::default();
        (0..3).for_each(|name| queue.push(&route("a", name)));
        queue.push(&route("a", 0));
        queue.remove(&route("a", 1));
        assert_eq!(drain(&mut queue), [route("a", 0), route("a", 2)]);
    }

    #[test]
    fn gateways_come_first_and_do_not_starve_the_rest() {
        let mut queue = Queue::default();
        let gateway = |name: usize| Key::new(Kind::Gateway, "infra", format!("{name:03}"));
        queue.push(&route("a", 0));
        queue.push(&Key::new(Kind::BackendTlsPolicy, "a", "p"));
        (0..20).for_each(|name| queue.push(&gateway(name)));
        let kinds: Vec<_> = drain(&mut queue).iter().map(|key| key.kind).collect();
        assert!(kinds[..4].iter().all(|kind| *kind == Kind::Gateway), "{kinds:?}");
        assert_eq!((kinds[4], kinds[9]), (Kind::BackendTlsPolicy, Kind::HttpRoute));
    }
}
