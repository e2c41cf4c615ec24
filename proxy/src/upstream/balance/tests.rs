//! Which endpoint is chosen, and what clusters of one Service share.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use genkan_routing::model::{Endpoint, HttpVersion, ServiceRef};
use genkan_routing::name::ClusterId;
use genkan_routing::policy::health::{ActiveHealth, Counted, Health, Probe};
use proptest::prelude::*;

use super::*;
use crate::filters::testing::Request;

fn cluster(policy: &LoadBalance, numbers: impl IntoIterator<Item = u8>) -> Cluster {
    let endpoints = numbers.into_iter().map(|n| Endpoint { address: SocketAddr::from(([10, 0, 0, n], 80)) }).collect();
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
    of(&cluster(policy, numbers))
}

/// The balancer of a cluster alone.
fn of(cluster: &Cluster) -> Balancer {
    Balancer::new(cluster, &Services::default(), None, 0, Instant::now())
}

/// A request at the endpoint in that place.
fn begin(balancer: &Balancer, at: usize) -> Picked {
    balancer.pick_member(&balancer.members[at], None).unwrap()
}

fn counted<T>(id: &str, policy: T) -> Option<Counted<T>> {
    Some(Counted { id: id.into(), policy })
}

fn passive(failures: u32) -> Arc<Health> {
    let failures = NonZeroU32::new(failures).unwrap();
    let passive = PassiveHealth { failures, statuses: vec![503], time: Duration::from_secs(9), max_percent: 50 };
    Arc::new(Health { passive: Some(passive), active: None })
}

fn active() -> Arc<Health> {
    let active = ActiveHealth {
        probe: Probe::Tcp,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        unhealthy: NonZeroU32::MIN,
        healthy: NonZeroU32::MIN,
    };
    Arc::new(Health { passive: None, active: Some(active) })
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
    let balancer = Balancer::new(&cluster, &Services::default(), None, 2, Instant::now());
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
    assert!(balancer.members.iter().all(|member| member.state.active() == 50));
}

#[test]
fn any_two_endpoints_may_meet() {
    let balancer = balancer(&LoadBalance::LeastConnections, 1..=3);
    let pairs: BTreeSet<_> = (0..200_u64)
        .map(|random| {
            let (one, other) = balancer.two(|_| true, random::mix(random)).unwrap();
            (one.state.address(), other.state.address())
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
    for at in 0..2 {
        let picked = begin(&balancer, at);
        let slow = picked.address().ip() == IpAddr::from([10, 0, 0, 1]);
        picked.observe(Duration::from_millis(if slow { 500 } else { 5 }), now);
    }
    for random in 0..50_u64 {
        let picked = pick(&balancer, &request, &[], random::mix(random)).unwrap();
        assert_eq!(picked.address().ip(), IpAddr::from([10, 0, 0, 2]));
    }
}

#[test]
fn what_is_known_outlives_tables_and_new_endpoints_start_at_the_mean() {
    let (now, services) = (Instant::now(), Services::default());
    let old = Balancer::new(&cluster(&LoadBalance::PeakEwma, 1..=3), &services, None, 0, now);
    for (at, millis) in [100, 300, 5000].into_iter().enumerate() {
        begin(&old, at).observe(Duration::from_millis(millis), now);
    }
    let held = begin(&old, 0);
    let new = Balancer::new(&cluster(&LoadBalance::PeakEwma, [1, 2, 9]), &services, Some(&old), 0, now);
    drop(old);
    assert_eq!(new.members[0].state.active(), 1);
    assert!((new.members[2].state.latency() - 0.2).abs() < 1e-9);
    drop(held);
    assert_eq!(new.members[0].state.active(), 0);
}

#[test]
fn what_checks_find_outlives_tables_but_not_their_policy() {
    let (now, services) = (Instant::now(), Services::default());
    let next = |health: Option<Arc<Health>>, previous: Option<&Balancer>| {
        let health = health.and_then(|health| counted("p", health));
        let cluster = Cluster { health, ..cluster(&LoadBalance::RoundRobin, 1..=2) };
        Balancer::new(&cluster, &services, previous, 0, now)
    };
    let is_healthy = |balancer: &Balancer| balancer.members[0].finding().map(|finding| finding.is_healthy());
    let first = next(Some(active()), None);
    assert!(first.members[0].finding().unwrap().set(false));
    let second = next(Some(active()), Some(&first));
    assert_eq!(is_healthy(&second), Some(false));
    let without = next(Some(passive(1)), Some(&second));
    assert_eq!(is_healthy(&without), None);
    assert_eq!(is_healthy(&next(Some(active()), Some(&without))), Some(true));
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
        *hits.entry(balancer.by_hash(hash(&key.to_be_bytes()), |_| true).unwrap().state.address()).or_default() += 1;
    }
    assert!(hits.values().all(|count| (850..1150).contains(count)), "{hits:?}");
}

#[test]
fn endpoints_that_fail_are_passed_over_until_their_time_is_over() {
    for policy in ALL {
        let balancer = of(&Cluster { health: counted("p", passive(2)), ..cluster(&policy(), 1..=3) });
        let request = Request::get("/x");
        let now = request.with(|ctx| ctx.now);
        let address = |at: usize| balancer.members[at].state.address();
        let fail = |at: usize| {
            let picked = begin(&balancer, at);
            (0..2).for_each(|_| balancer.note(&picked, Outcome::Status(503), now));
        };
        fail(0);
        for random in 0..50_u64 {
            let picked = pick(&balancer, &request, &[], random::mix(random)).unwrap();
            assert_ne!(picked.address(), address(0), "{:?}", policy());
        }
        assert!(balancer.find(now, |at| at == address(0)).is_none());
        fail(1);
        assert!(balancer.find(now, |at| at == address(1)).is_some(), "two of three are more than half");
        let later = now + Duration::from_secs(9);
        assert!(balancer.find(later, |at| at == address(0)).is_some());
    }
}

#[test]
fn workers_that_fail_different_endpoints_at_once_leave_as_many_as_they_must() {
    let now = Instant::now();
    for _ in 0..50 {
        let balancer = of(&Cluster { health: counted("p", passive(1)), ..cluster(&LoadBalance::RoundRobin, 1..=8) });
        std::thread::scope(|scope| {
            for at in 0..8 {
                let balancer = &balancer;
                scope.spawn(move || balancer.note(&begin(balancer, at), Outcome::Failed, now));
            }
        });
        let out = balancer.members.iter().filter(|member| !member.is_fit(now)).count();
        assert_eq!(out, 4);
    }
}

#[test]
fn failures_count_for_all_clusters_of_the_service_that_have_the_policy() {
    let (now, services) = (Instant::now(), Services::default());
    let of = |name: &str, id: &str| {
        let service = ServiceRef { name: name.into(), ..cluster(&LoadBalance::RoundRobin, []).service };
        let health = counted(id, passive(2));
        Balancer::new(&Cluster { service, health, ..cluster(&LoadBalance::RoundRobin, 1..=2) }, &services, None, 0, now)
    };
    let (one, same, other_policy, other_service) = (of("a", "p"), of("a", "p"), of("a", "q"), of("b", "p"));
    for balancer in [&one, &same] {
        balancer.note(&begin(balancer, 0), Outcome::Failed, now);
    }
    let is_out = |balancer: &Balancer| !balancer.members[0].is_fit(now);
    assert!(is_out(&one) && is_out(&same));
    assert!(!is_out(&other_policy) && !is_out(&other_service));
}

#[test]
fn where_all_fail_none_is_passed_over() {
    let balancer = of(&Cluster { health: counted("p", active()), ..cluster(&LoadBalance::RoundRobin, 1..=2) });
    let request = Request::get("/");
    let picked =
        || -> BTreeSet<_> { (0..8).map(|random| pick(&balancer, &request, &[], random).unwrap().address()).collect() };
    let find_unhealthy = |at: usize| balancer.members[at].finding().unwrap().set(false);
    assert_eq!(picked().len(), 2);
    find_unhealthy(0);
    assert_eq!(picked(), BTreeSet::from([balancer.members[1].state.address()]));
    find_unhealthy(1);
    assert_eq!(picked().len(), 2);
}

fn breaker(id: &str, requests: u32, requests_per_endpoint: u32) -> Option<Counted<CircuitBreaker>> {
    let (requests, requests_per_endpoint) = (NonZeroU32::new(requests), NonZeroU32::new(requests_per_endpoint));
    counted(id, CircuitBreaker { requests, requests_per_endpoint })
}

#[test]
fn limits_of_requests_hold_for_the_cluster_and_for_each_endpoint() {
    for policy in ALL {
        let request = Request::get("/");
        for (limit, most) in [((3, 0), 3), ((0, 2), 4), ((3, 2), 3), ((9, 2), 4)] {
            let services = Services::default();
            let limited = Cluster { circuit_breaker: breaker("p", limit.0, limit.1), ..cluster(&policy(), 1..=2) };
            let balancer = Balancer::new(&limited, &services, None, 0, Instant::now());
            let mut held: Vec<_> =
                (0..10).filter_map(|random| pick(&balancer, &request, &[], random::mix(random))).collect();
            assert_eq!(held.len(), most, "{:?} {limit:?}", policy());
            let next = Balancer::new(&limited, &services, Some(&balancer), 0, Instant::now());
            drop(balancer);
            assert!(pick(&next, &request, &[], 1).is_none(), "a change of the table forgets nothing");
            held.pop();
            assert!(pick(&next, &request, &[], 1).is_some());
        }
    }
}

#[test]
fn a_limit_is_one_for_all_clusters_of_the_service_that_have_the_policy() {
    let (request, services) = (Request::get("/"), Services::default());
    let of = |policy: LoadBalance, id: &str, limit: (u32, u32)| {
        let cluster = Cluster { circuit_breaker: breaker(id, limit.0, limit.1), ..cluster(&policy, 1..=2) };
        Balancer::new(&cluster, &services, None, 0, Instant::now())
    };
    for (at, limit) in [(3, 0), (0, 2)].into_iter().enumerate() {
        let most = [3, 4][at];
        let [one, other, apart] =
            [("p", LoadBalance::RoundRobin), ("p", LoadBalance::PeakEwma), ("q", LoadBalance::RoundRobin)]
                .map(|(id, policy)| of(policy, id, limit));
        let held: Vec<_> = (0..10)
            .filter_map(|turn| pick(if turn % 2 == 0 { &one } else { &other }, &request, &[], random::mix(turn)))
            .collect();
        assert_eq!(held.len(), most);
        assert!(pick(&apart, &request, &[], 1).is_some(), "another policy counts for itself");
        drop(held);
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
            let before = all.by_hash(key, |_| true).unwrap().state.address();
            let after = rest.by_hash(key, |_| true).unwrap().state.address();
            prop_assert!(before == after || before.ip() == IpAddr::from([10, 0, 0, gone]));
        }
    }
}
