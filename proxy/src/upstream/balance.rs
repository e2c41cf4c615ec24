//! Balancing: which endpoint of a cluster serves a request.
//!
//! Endpoints that were tried for the same request already come last. Time and randomness are arguments.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use genkan_routing::model::Endpoint;
use genkan_routing::policy::load_balance::{HashKey, LoadBalance};

use super::endpoint::{EndpointState, Picked};
use crate::exchange::context::RequestContext;
use crate::{cookie, random};

/// The endpoints of one cluster and the way to choose among them. Made anew when the endpoints change; the state of
/// those that stay is carried over.
#[derive(Debug)]
pub(crate) struct Balancer {
    policy: LoadBalance,
    endpoints: Box<[Arc<EndpointState>]>,
    /// A hash of each endpoint's address, in the same order (consistent hash).
    hashes: Box<[u64]>,
    /// Whose turn it is (round robin).
    turn: AtomicU64,
}

impl Balancer {
    /// A balancer. State is taken from `previous` by address; endpoints that are new there start at the mean latency
    /// of the others, so that they are neither flooded nor starved. `random` is where round robin begins.
    pub(crate) fn new(
        policy: &LoadBalance,
        endpoints: &[Endpoint],
        previous: Option<&Self>,
        random: u64,
        now: Instant,
    ) -> Self {
        let known: HashMap<SocketAddr, &Arc<EndpointState>> =
            previous.iter().flat_map(|old| &old.endpoints).map(|state| (state.address(), state)).collect();
        let kept: Vec<f64> =
            endpoints.iter().filter_map(|endpoint| known.get(&endpoint.address)).map(|state| state.latency()).collect();
        // A count of endpoints is far below 2^52.
        let mean = if kept.is_empty() { 0.0 } else { kept.iter().sum::<f64>() / kept.len() as f64 };
        let state = |endpoint: &Endpoint| match known.get(&endpoint.address) {
            Some(state) => Arc::clone(state),
            None => Arc::new(EndpointState::new(endpoint.address, mean, now)),
        };
        Self {
            policy: policy.clone(),
            endpoints: endpoints.iter().map(state).collect(),
            hashes: endpoints.iter().map(|endpoint| hash_address(endpoint.address)).collect(),
            turn: AtomicU64::new(random),
        }
    }

    /// Whether there is nothing to choose from (503).
    pub(crate) fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Chooses an endpoint for a request by one random number; one of `tried` only when all were tried. `None` when
    /// the cluster is empty.
    pub(crate) fn pick(&self, ctx: &RequestContext<'_>, tried: &[SocketAddr], random: u64) -> Option<Picked> {
        let untried = |state: &EndpointState| !tried.contains(&state.address());
        let all_tried = !tried.is_empty() && !self.endpoints.iter().any(|state| untried(state));
        let usable = |state: &EndpointState| all_tried || tried.is_empty() || untried(state);
        let state = match &self.policy {
            LoadBalance::RoundRobin => self.in_turn(usable),
            LoadBalance::LeastConnections => {
                let (one, other) = self.two(usable, random)?;
                Some(if other.active() < one.active() { other } else { one })
            }
            LoadBalance::PeakEwma => {
                let (one, other) = self.two(usable, random)?;
                Some(if other.cost(ctx.now) < one.cost(ctx.now) { other } else { one })
            }
            LoadBalance::ConsistentHash(key) => self.by_hash(hash_key(ctx, key), usable),
        };
        state.map(Picked::new)
    }

    /// The next endpoint in turn whatever the policy (TCP, UDP); one of `tried` only when all were tried. `None` when
    /// the cluster is empty.
    pub(crate) fn pick_in_turn(&self, tried: &[SocketAddr]) -> Option<Picked> {
        let next = self.in_turn(|state| !tried.contains(&state.address())).or_else(|| self.in_turn(|_| true));
        next.map(Picked::new)
    }

    /// The endpoint of which `is` holds.
    pub(crate) fn find(&self, is: impl Fn(SocketAddr) -> bool) -> Option<Picked> {
        self.endpoints.iter().find(|state| is(state.address())).map(Picked::new)
    }

    fn in_turn(&self, usable: impl Fn(&EndpointState) -> bool) -> Option<&Arc<EndpointState>> {
        let count = u64::try_from(self.endpoints.len()).ok().filter(|count| *count > 0)?;
        let start = usize::try_from(self.turn.fetch_add(1, Ordering::Relaxed) % count).ok()?;
        let (before, after) = self.endpoints.split_at(start);
        after.iter().chain(before).find(|state| usable(state))
    }

    /// Two different usable endpoints, each pair equally likely; twice the same where there is only one.
    fn two(
        &self,
        usable: impl Fn(&EndpointState) -> bool,
        random: u64,
    ) -> Option<(&Arc<EndpointState>, &Arc<EndpointState>)> {
        let count = u64::try_from(self.endpoints.iter().filter(|state| usable(state)).count()).ok()?;
        let nth = |index: u64| {
            self.endpoints.iter().filter(|state| usable(state)).nth(usize::try_from(index).unwrap_or(usize::MAX))
        };
        let first = random::below(count, random);
        // Of the others: skips the first by counting on from it.
        let step = random::below(count.saturating_sub(1), random::mix(random));
        let second = if count > 1 { (first + 1 + step) % count } else { first };
        Some((nth(first)?, nth(second)?))
    }

    /// Rendezvous hashing: the endpoint whose hash together with the key's is the highest. An endpoint that leaves
    /// moves only its own keys, one that comes takes its share evenly from all, and a key that must avoid an endpoint
    /// always goes to the same next one. Takes time in proportion to the endpoints and no table.
    fn by_hash(&self, key: u64, usable: impl Fn(&EndpointState) -> bool) -> Option<&Arc<EndpointState>> {
        self.endpoints
            .iter()
            .zip(&self.hashes)
            .filter(|(state, _)| usable(state))
            .max_by_key(|(_, hash)| random::mix(key ^ **hash))
            .map(|(state, _)| state)
    }
}

/// The hash of what the policy names. The same in every process, so that replicas agree.
fn hash_key(ctx: &RequestContext<'_>, key: &HashKey) -> u64 {
    match key {
        HashKey::ClientAddress => hash_ip(ctx.client.to_canonical()),
        HashKey::RequestUri => hash(ctx.head.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes()),
        HashKey::Host => hash(ctx.host.as_bytes()),
        HashKey::Header(name) => hash(ctx.head.headers.get(name).map_or(b"".as_slice(), |value| value.as_bytes())),
        HashKey::Cookie(name) => hash(cookie::value(&ctx.head.headers, name).unwrap_or_default()),
    }
}

fn hash_ip(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    }
}

fn hash_address(address: SocketAddr) -> u64 {
    random::mix(hash_ip(address.ip()) ^ u64::from(address.port()))
}

/// FNV-1a, its bits spread.
fn hash(bytes: &[u8]) -> u64 {
    let step = |state: u64, byte: &u8| (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    random::mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::filters::testing::Request;

    fn endpoints(numbers: impl IntoIterator<Item = u8>) -> Vec<Endpoint> {
        numbers.into_iter().map(|n| Endpoint { address: SocketAddr::from(([10, 0, 0, n], 80)) }).collect()
    }

    fn balancer(policy: &LoadBalance, numbers: impl IntoIterator<Item = u8>) -> Balancer {
        Balancer::new(policy, &endpoints(numbers), None, 0, Instant::now())
    }

    fn pick(balancer: &Balancer, request: &Request, tried: &[SocketAddr], random: u64) -> Option<Picked> {
        request.with(|ctx| balancer.pick(ctx, tried, random))
    }

    const ALL: [fn() -> LoadBalance; 4] = [
        || LoadBalance::RoundRobin,
        || LoadBalance::LeastConnections,
        || LoadBalance::PeakEwma,
        || LoadBalance::ConsistentHash(HashKey::RequestUri),
    ];

    #[test]
    fn an_empty_cluster_has_nothing_to_pick() {
        for policy in ALL {
            let balancer = balancer(&policy(), []);
            assert!(balancer.is_empty());
            assert!(pick(&balancer, &Request::get("/"), &[], 7).is_none());
        }
    }

    #[test]
    fn round_robin_gives_each_its_turn_from_the_given_start() {
        let endpoints = endpoints(1..=3);
        let balancer = Balancer::new(&LoadBalance::RoundRobin, &endpoints, None, 2, Instant::now());
        let order: Vec<_> = (0..6).map(|_| pick(&balancer, &Request::get("/"), &[], 0).unwrap().address()).collect();
        let expected: Vec<_> = [2, 0, 1, 2, 0, 1].iter().map(|at: &usize| endpoints[*at].address).collect();
        assert_eq!(order, expected);
    }

    #[test]
    fn tried_endpoints_come_last() {
        for policy in ALL {
            let balancer = balancer(&policy(), 1..=4);
            let mut tried = Vec::new();
            for random in 0..4_u64 {
                let picked = pick(&balancer, &Request::get("/x"), &tried, random::mix(random)).unwrap();
                assert!(!tried.contains(&picked.address()), "{:?}", policy());
                tried.push(picked.address());
            }
            assert!(pick(&balancer, &Request::get("/x"), &tried, 9).is_some(), "all were tried: any will do");
        }
    }

    #[test]
    fn of_two_the_one_with_fewer_requests_is_picked() {
        let balancer = balancer(&LoadBalance::LeastConnections, 1..=2);
        let mut held = Vec::new();
        for random in 0..100_u64 {
            held.push(pick(&balancer, &Request::get("/"), &[], random::mix(random)).unwrap());
        }
        assert!(balancer.endpoints.iter().all(|state| state.active() == 50));
    }

    #[test]
    fn any_two_endpoints_may_meet() {
        let balancer = balancer(&LoadBalance::LeastConnections, 1..=3);
        let pairs: BTreeSet<_> = (0..200_u64)
            .map(|random| {
                let (one, other) = balancer.two(|_| true, random::mix(random)).unwrap();
                (one.address(), other.address())
            })
            .collect();
        assert_eq!(pairs.len(), 6);
        assert!(pairs.iter().all(|(one, other)| one != other));
    }

    #[test]
    fn slow_endpoints_are_avoided() {
        let balancer = balancer(&LoadBalance::PeakEwma, 1..=2);
        let request = Request::get("/");
        let now = request.with(|ctx| ctx.now);
        for state in &balancer.endpoints {
            let slow = state.address().ip() == IpAddr::from([10, 0, 0, 1]);
            Picked::new(state).observe(Duration::from_millis(if slow { 500 } else { 5 }), now);
        }
        for random in 0..50_u64 {
            let picked = pick(&balancer, &request, &[], random::mix(random)).unwrap();
            assert_eq!(picked.address().ip(), IpAddr::from([10, 0, 0, 2]));
        }
    }

    #[test]
    fn state_is_carried_over_and_new_endpoints_start_at_the_mean() {
        let now = Instant::now();
        let old = balancer(&LoadBalance::PeakEwma, 1..=3);
        for (state, millis) in old.endpoints.iter().zip([100, 300, 5000]) {
            Picked::new(state).observe(Duration::from_millis(millis), now);
        }
        let held = Picked::new(&old.endpoints[0]);
        let new = Balancer::new(&LoadBalance::PeakEwma, &endpoints([1, 2, 9]), Some(&old), 0, now);
        assert_eq!(new.endpoints[0].active(), 1);
        assert!((new.endpoints[2].latency() - 0.2).abs() < 1e-9);
        drop(held);
        assert_eq!(new.endpoints[0].active(), 0);
    }

    #[test]
    fn the_hash_is_taken_of_the_key() {
        let request = || Request::get("/a?b").authority("h").header("x-a", "1").header("cookie", "c=2");
        let key = |request: &Request, key: &HashKey| request.with(|ctx| hash_key(ctx, key));
        let header = HashKey::Header("x-a".parse().unwrap());
        for (hash_key, same, other) in [
            (HashKey::ClientAddress, request().client("::ffff:192.0.2.1"), request().client("192.0.2.2")),
            (HashKey::RequestUri, request().client("9.9.9.9"), Request::get("/a?c")),
            (HashKey::Host, request().client("9.9.9.9"), request().authority("i")),
            (header, request().client("9.9.9.9"), Request::get("/a?b").header("x-a", "2")),
            (HashKey::Cookie("c".to_owned()), request().client("9.9.9.9"), Request::get("/a?b")),
        ] {
            assert_eq!(key(&request(), &hash_key), key(&same, &hash_key), "{hash_key:?}");
            assert_ne!(key(&request(), &hash_key), key(&other, &hash_key), "{hash_key:?}");
        }
    }

    #[test]
    fn a_consistent_hash_spreads_keys_evenly() {
        let balancer = balancer(&LoadBalance::ConsistentHash(HashKey::RequestUri), 0..10);
        let mut hits: HashMap<SocketAddr, u32> = HashMap::new();
        for key in 0..10_000_u32 {
            *hits.entry(balancer.by_hash(hash(&key.to_be_bytes()), |_| true).unwrap().address()).or_default() += 1;
        }
        assert!(hits.values().all(|count| (850..1150).contains(count)), "{hits:?}");
    }

    proptest! {
        #[test]
        fn a_changed_endpoint_moves_only_its_own_keys(
            numbers in prop::collection::btree_set(any::<u8>(), 2..40),
            leaving in any::<prop::sample::Index>(),
            keys in prop::collection::vec(any::<u64>(), 50),
        ) {
            let policy = LoadBalance::ConsistentHash(HashKey::Host);
            let gone = *leaving.get(&numbers.iter().copied().collect::<Vec<_>>());
            let all = balancer(&policy, numbers.iter().copied());
            let rest = balancer(&policy, numbers.iter().copied().filter(|number| *number != gone));
            for key in keys {
                let before = all.by_hash(key, |_| true).unwrap().address();
                let after = rest.by_hash(key, |_| true).unwrap().address();
                prop_assert!(before == after || before.ip() == IpAddr::from([10, 0, 0, gone]));
            }
        }
    }
}
