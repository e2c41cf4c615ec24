//! Balancing: which endpoint of a cluster serves a request.
//!
//! Endpoints that fail are passed over, and those that were tried for the same request already come last. Time and
//! randomness are arguments.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use genkan_routing::model::{Cluster, Endpoint};
use genkan_routing::policy::health::{CircuitBreaker, Health};
use genkan_routing::policy::load_balance::{HashKey, LoadBalance};

use super::endpoint::{EndpointState, Picked};
use super::health::{Load, Outcome, Place};
use crate::exchange::context::RequestContext;
use crate::{cookie, random};

/// The endpoints of one cluster and the way to choose among them. Made anew when the endpoints change; the state of
/// those that stay is carried over.
#[derive(Debug)]
pub(crate) struct Balancer {
    policy: LoadBalance,
    health: Option<Arc<Health>>,
    limits: CircuitBreaker,
    /// The requests under way that count for the cluster's limit.
    load: Arc<Load>,
    endpoints: Box<[Arc<EndpointState>]>,
    /// A hash of each endpoint's address, in the same order (consistent hash).
    hashes: Box<[u64]>,
    /// Whose turn it is (round robin).
    turn: AtomicU64,
}

impl Balancer {
    /// A balancer. State is taken from `previous` by address; endpoints that are new there start at the mean latency
    /// of the others, so that they are neither flooded nor starved. `random` is where round robin begins.
    pub(crate) fn new(cluster: &Cluster, previous: Option<&Self>, random: u64, now: Instant) -> Self {
        let endpoints = &cluster.endpoints;
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
            policy: cluster.load_balance.clone(),
            health: cluster.health.clone(),
            limits: cluster.circuit_breaker.unwrap_or_default(),
            load: previous.map_or_else(Arc::default, |old| Arc::clone(&old.load)),
            endpoints: endpoints.iter().map(state).collect(),
            hashes: endpoints.iter().map(|endpoint| hash_address(endpoint.address)).collect(),
            turn: AtomicU64::new(random),
        }
    }

    /// Whether there is nothing to choose from (503).
    pub(crate) fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Whether balancers of both would be the same.
    pub(crate) fn is_same(one: &Cluster, other: &Cluster) -> bool {
        (&one.endpoints, &one.load_balance, &one.health, one.circuit_breaker)
            == (&other.endpoints, &other.load_balance, &other.health, other.circuit_breaker)
    }

    /// The endpoints.
    pub(super) fn endpoints(&self) -> &[Arc<EndpointState>] {
        &self.endpoints
    }

    /// Chooses an endpoint for a request by one random number; one of `tried` only when all were tried. `None` when
    /// the cluster is empty or has as much to do as it may.
    pub(crate) fn pick(&self, ctx: &RequestContext<'_>, tried: &[SocketAddr], random: u64) -> Option<Picked> {
        self.admit(tried, ctx.now, |usable| match &self.policy {
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
        })
    }

    /// The next endpoint in turn whatever the policy (TCP, UDP); one of `tried` only when all were tried. `None` when
    /// the cluster is empty or has as much to do as it may.
    pub(crate) fn pick_in_turn(&self, tried: &[SocketAddr], now: Instant) -> Option<Picked> {
        self.admit(tried, now, |usable| self.in_turn(usable))
    }

    /// The endpoint of which `is` holds, if it may have a further request.
    pub(crate) fn find(&self, now: Instant, is: impl Fn(SocketAddr) -> bool) -> Option<Picked> {
        let fits = self.fits(now);
        let state = self.endpoints.iter().find(|state| is(state.address()) && fits(state))?;
        let place = self.enter()?;
        state.claim(self.endpoint_limit()).then(|| Picked::claimed(state, place))
    }

    /// Notes what became of a request at an endpoint.
    pub(crate) fn note(&self, picked: &Picked, outcome: Outcome, now: Instant) {
        let Some(policy) = self.health.as_ref().and_then(|health| health.passive.as_ref()) else { return };
        let another = || {
            let out = self.endpoints.iter().filter(|state| state.fitness().is_out(now)).count();
            (out + 1) * 100 <= self.endpoints.len() * usize::from(policy.max_percent)
        };
        if let Some(time) = picked.state().fitness().note(outcome, policy, now, another) {
            let address = picked.address();
            tracing::warn!(%address, ?time, "an endpoint is passed over: {} failures in a row", policy.failures);
        }
    }

    /// Chooses by `choose` among the endpoints that may be chosen, and counts the request.
    fn admit<'b>(
        &'b self,
        tried: &[SocketAddr],
        now: Instant,
        choose: impl Fn(&dyn Fn(&EndpointState) -> bool) -> Option<&'b Arc<EndpointState>>,
    ) -> Option<Picked> {
        let place = self.enter()?;
        let limit = self.endpoint_limit();
        let has_room = |state: &EndpointState| limit.is_none_or(|limit| state.active() < limit);
        if tried.is_empty() && self.health.is_none() && limit.is_none() {
            let state = choose(&|_| true)?;
            return state.claim(None).then(|| Picked::claimed(state, place));
        }
        let fits = self.fits(now);
        let untried = |state: &EndpointState| !tried.contains(&state.address());
        let any = |may: &dyn Fn(&EndpointState) -> bool| self.endpoints.iter().any(|state| may(state));
        loop {
            // What was tried comes after what fails: the former failed just now, and for this request.
            let state = if any(&|state| has_room(state) && untried(state) && fits(state)) {
                choose(&|state| has_room(state) && untried(state) && fits(state))
            } else if any(&|state| has_room(state) && untried(state)) {
                choose(&|state| has_room(state) && untried(state))
            } else {
                choose(&has_room)
            };
            let state = state?;
            // Another worker may have taken the last place: then the endpoint has no room any more.
            if state.claim(limit) {
                return Some(Picked::claimed(state, place));
            }
        }
    }

    /// Says whether an endpoint does not fail; that each does not where all do.
    fn fits(&self, now: Instant) -> impl Fn(&EndpointState) -> bool {
        let health = self.health.as_deref();
        let fits = move |state: &EndpointState| health.is_none_or(|health| state.fitness().is_fit(health, now));
        let none = health.is_some() && !self.endpoints.iter().any(|state| fits(state));
        move |state: &EndpointState| none || fits(state)
    }

    /// A place in the cluster: `Some(None)` where there is no limit, `None` where there is none left.
    #[expect(clippy::option_option, reason = "whether there is a limit, and whether there is a place")]
    fn enter(&self) -> Option<Option<Place>> {
        match self.limits.requests {
            Some(limit) => self.load.enter(limit.get()).map(Some),
            None => Some(None),
        }
    }

    fn endpoint_limit(&self) -> Option<u32> {
        self.limits.requests_per_endpoint.map(std::num::NonZeroU32::get)
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
    use std::num::NonZeroU32;
    use std::time::Duration;

    use genkan_routing::model::{HttpVersion, ServiceRef};
    use genkan_routing::name::ClusterId;
    use genkan_routing::policy::health::{ActiveHealth, PassiveHealth, Probe};
    use proptest::prelude::*;

    use super::*;
    use crate::filters::testing::Request;

    fn cluster(policy: &LoadBalance, numbers: impl IntoIterator<Item = u8>) -> Cluster {
        let endpoints =
            numbers.into_iter().map(|n| Endpoint { address: SocketAddr::from(([10, 0, 0, n], 80)) }).collect();
        Cluster {
            id: ClusterId::new("a"),
            name: "a".into(),
            service: ServiceRef { namespace: "default".into(), name: "a".into(), port: "80".into() },
            version: HttpVersion::Http1,
            tls: None,
            load_balance: policy.clone(),
            affinity: None,
            retry_budget: None,
            health: None,
            circuit_breaker: None,
            endpoints,
        }
    }

    fn balancer(policy: &LoadBalance, numbers: impl IntoIterator<Item = u8>) -> Balancer {
        Balancer::new(&cluster(policy, numbers), None, 0, Instant::now())
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
        let cluster = cluster(&LoadBalance::RoundRobin, 1..=3);
        let balancer = Balancer::new(&cluster, None, 2, Instant::now());
        let order: Vec<_> = (0..6).map(|_| pick(&balancer, &Request::get("/"), &[], 0).unwrap().address()).collect();
        let expected: Vec<_> = [2, 0, 1, 2, 0, 1].iter().map(|at: &usize| cluster.endpoints[*at].address).collect();
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
        let new = Balancer::new(&cluster(&LoadBalance::PeakEwma, [1, 2, 9]), Some(&old), 0, now);
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

    #[test]
    fn endpoints_that_fail_are_passed_over_until_their_time_is_over() {
        for policy in ALL {
            let failures = NonZeroU32::new(2).unwrap();
            let passive =
                PassiveHealth { failures, statuses: vec![503], time: Duration::from_secs(9), max_percent: 50 };
            let health = Some(Arc::new(Health { passive: Some(passive), active: None }));
            let balancer = Balancer::new(&Cluster { health, ..cluster(&policy(), 1..=3) }, None, 0, Instant::now());
            let request = Request::get("/x");
            let now = request.with(|ctx| ctx.now);
            let bad = |state: &EndpointState| state.address().ip() == IpAddr::from([10, 0, 0, 1]);
            let fail = |at: usize| {
                let picked = Picked::new(&balancer.endpoints[at]);
                (0..2).for_each(|_| balancer.note(&picked, Outcome::Status(503), now));
            };
            fail(0);
            for random in 0..50_u64 {
                let picked = pick(&balancer, &request, &[], random::mix(random)).unwrap();
                assert!(!bad(picked.state()), "{:?}", policy());
            }
            assert!(balancer.find(now, |address| address == balancer.endpoints[0].address()).is_none());
            fail(1);
            assert!(!balancer.endpoints[1].fitness().is_out(now), "two of three are more than half");
            let later = now + Duration::from_secs(9);
            assert!(balancer.find(later, |address| address == balancer.endpoints[0].address()).is_some());
        }
    }

    #[test]
    fn where_all_fail_none_is_passed_over() {
        let active = ActiveHealth {
            probe: Probe::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy: NonZeroU32::MIN,
            healthy: NonZeroU32::MIN,
        };
        let health = Some(Arc::new(Health { passive: None, active: Some(active) }));
        let all = Cluster { health, ..cluster(&LoadBalance::RoundRobin, 1..=2) };
        let balancer = Balancer::new(&all, None, 0, Instant::now());
        let request = Request::get("/");
        let picked = || -> BTreeSet<_> {
            (0..8).map(|random| pick(&balancer, &request, &[], random).unwrap().address()).collect()
        };
        assert_eq!(picked().len(), 2);
        balancer.endpoints[0].fitness().checked(false);
        assert_eq!(picked(), BTreeSet::from([balancer.endpoints[1].address()]));
        balancer.endpoints[1].fitness().checked(false);
        assert_eq!(picked().len(), 2);
    }

    #[test]
    fn limits_of_requests_hold_for_the_cluster_and_for_each_endpoint() {
        for policy in ALL {
            let limit = |requests, requests_per_endpoint| CircuitBreaker {
                requests: NonZeroU32::new(requests),
                requests_per_endpoint: NonZeroU32::new(requests_per_endpoint),
            };
            let request = Request::get("/");
            for (circuit_breaker, most) in [(limit(3, 0), 3), (limit(0, 2), 4), (limit(3, 2), 3), (limit(9, 2), 4)] {
                let limited = Cluster { circuit_breaker: Some(circuit_breaker), ..cluster(&policy(), 1..=2) };
                let balancer = Balancer::new(&limited, None, 0, Instant::now());
                let mut held: Vec<_> =
                    (0..10).filter_map(|random| pick(&balancer, &request, &[], random::mix(random))).collect();
                assert_eq!(held.len(), most, "{:?} {circuit_breaker:?}", policy());
                let next = Balancer::new(&limited, Some(&balancer), 0, Instant::now());
                assert!(pick(&next, &request, &[], 1).is_none(), "a change of the table forgets nothing");
                held.pop();
                assert!(pick(&next, &request, &[], 1).is_some());
            }
        }
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
