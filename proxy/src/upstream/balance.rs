//! Balancing: which endpoint of a cluster serves a request.
//!
//! Endpoints that fail are passed over, and those that were tried for the same request already come last. Time and
//! randomness are arguments.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use genkan_routing::model::Cluster;
use genkan_routing::policy::health::{CircuitBreaker, PassiveHealth};
use genkan_routing::policy::load_balance::{HashKey, LoadBalance};

use super::endpoint::{EndpointState, Picked};
use super::health::{Failures, Finding, Load, Outcome, Place};
use super::services::{Breaker, Service, Services, Watch};
use crate::exchange::context::RequestContext;
use crate::{cookie, random};

/// The endpoints of one cluster and the way to choose among them. Made anew when the endpoints change; what is known of
/// those that stay is the Service's, or carried over.
#[derive(Debug)]
pub(crate) struct Balancer {
    policy: LoadBalance,
    passive: Option<Passive>,
    limits: CircuitBreaker,
    /// What is under way, where there are limits.
    breaker: Option<Arc<Breaker>>,
    members: Box<[Member]>,
    /// Whether members may be passed over.
    watched: bool,
    /// Whose turn it is (round robin).
    turn: AtomicU64,
    /// What the clusters of the Service share lives as long as one of them does.
    _service: Arc<Service>,
}

/// An endpoint in its cluster.
#[derive(Debug)]
pub(super) struct Member {
    state: Arc<EndpointState>,
    /// A hash of its address (consistent hash).
    hash: u64,
    /// How requests to it went, where that counts.
    failures: Option<Arc<Failures>>,
    /// What checks find of it, where there are any.
    finding: Option<Arc<Finding>>,
    /// The requests under way that count for its limit, where there is one.
    load: Option<Arc<Load>>,
}

#[derive(Debug)]
struct Passive {
    policy: PassiveHealth,
    watch: Arc<Watch>,
}

impl Balancer {
    /// A balancer. Endpoints of which the Service knows nothing start at the mean latency of the others, so that they are
    /// neither flooded nor starved; what checks found is taken from `previous`. `random` is where round robin begins.
    pub(crate) fn new(
        cluster: &Cluster,
        services: &Services,
        previous: Option<&Self>,
        random: u64,
        now: Instant,
    ) -> Self {
        let service = services.of(&cluster.service);
        let addresses = || cluster.endpoints.iter().map(|endpoint| endpoint.address);
        let kept: Vec<f64> = addresses().filter_map(|at| service.known(at)).map(|state| state.latency()).collect();
        // A count of endpoints is far below 2^52.
        let mean = if kept.is_empty() { 0.0 } else { kept.iter().sum::<f64>() / kept.len() as f64 };
        let passive = cluster.health.as_ref().and_then(|health| {
            let policy = health.policy.passive.clone()?;
            Some(Passive { policy, watch: service.watch(&health.id) })
        });
        let (breaker, limits) = match &cluster.circuit_breaker {
            Some(breaker) => (Some(service.breaker(&breaker.id)), breaker.policy),
            None => (None, CircuitBreaker::default()),
        };
        let checked = cluster.active_health().is_some();
        let found: HashMap<SocketAddr, &Arc<Finding>> = previous
            .filter(|_| checked)
            .iter()
            .flat_map(|old| &old.members)
            .filter_map(|old| Some((old.state.address(), old.finding.as_ref()?)))
            .collect();
        let member = |address| Member {
            state: service.endpoint(address, mean, now),
            hash: hash_address(address),
            failures: passive.as_ref().map(|passive| passive.watch.of(address, now)),
            finding: checked.then(|| found.get(&address).map_or_else(Arc::default, |found| Arc::clone(found))),
            load: breaker.as_ref().filter(|_| limits.requests_per_endpoint.is_some()).map(|it| it.of(address)),
        };
        let members = addresses().map(member).collect();
        Self {
            policy: cluster.load_balance.clone(),
            watched: checked || passive.is_some(),
            passive,
            limits,
            breaker,
            members,
            turn: AtomicU64::new(random),
            _service: service,
        }
    }

    /// Whether there is nothing to choose from (503).
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether balancers of both would be the same.
    pub(crate) fn is_same(one: &Cluster, other: &Cluster) -> bool {
        (&one.endpoints, &one.load_balance, &one.health, &one.circuit_breaker)
            == (&other.endpoints, &other.load_balance, &other.health, &other.circuit_breaker)
    }

    /// One of the endpoints, which are sorted by address.
    pub(super) fn member(&self, address: SocketAddr) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&address, |member| member.state.address()).ok()?;
        self.members.get(at)
    }

    /// Chooses an endpoint for a request by one random number; one of `tried` only when all were tried. `None` when
    /// the cluster is empty or has as much to do as it may.
    pub(crate) fn pick(&self, ctx: &RequestContext<'_>, tried: &[SocketAddr], random: u64) -> Option<Picked> {
        self.admit(tried, ctx.now, |usable| match &self.policy {
            LoadBalance::RoundRobin => self.in_turn(usable),
            LoadBalance::LeastConnections => {
                let (one, other) = self.two(usable, random)?;
                Some(if other.state.active() < one.state.active() { other } else { one })
            }
            LoadBalance::PeakEwma => {
                let (one, other) = self.two(usable, random)?;
                Some(if other.state.cost(ctx.now) < one.state.cost(ctx.now) { other } else { one })
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
        let member = self.members.iter().find(|member| is(member.state.address()) && fits(member))?;
        let place = self.enter()?;
        self.pick_member(member, place).ok()
    }

    /// Notes what became of a request at an endpoint.
    pub(crate) fn note(&self, picked: &Picked, outcome: Outcome, now: Instant) {
        let (Some(Passive { policy, watch }), Some(failures)) = (&self.passive, picked.failures()) else { return };
        if !failures.note(outcome, policy, now) {
            return;
        }
        let deciding = watch.decide();
        let is_out = |member: &&Member| member.failures.as_ref().is_some_and(|failures| failures.is_out(now));
        let out = self.members.iter().filter(is_out).count();
        // Another worker may just have passed over the same one.
        if !failures.is_out(now) && (out + 1) * 100 <= self.members.len() * usize::from(policy.max_percent) {
            let time = failures.pass_over(policy, now);
            drop(deciding);
            let address = picked.address();
            tracing::warn!(%address, ?time, "an endpoint is passed over: {} failures in a row", policy.failures);
        }
    }

    /// Chooses by `choose` among the endpoints that may be chosen, and counts the request.
    fn admit<'b>(
        &'b self,
        tried: &[SocketAddr],
        now: Instant,
        choose: impl Fn(&dyn Fn(&Member) -> bool) -> Option<&'b Member>,
    ) -> Option<Picked> {
        let mut place = self.enter()?;
        let limit = self.endpoint_limit();
        if tried.is_empty() && !self.watched && limit.is_none() {
            return self.pick_member(choose(&|_| true)?, place).ok();
        }
        let has_room = |member: &Member| {
            let load = limit.zip(member.load.as_ref());
            load.is_none_or(|(limit, load)| load.count() < limit)
        };
        let fits = self.fits(now);
        let untried = |member: &Member| !tried.contains(&member.state.address());
        let any = |may: &dyn Fn(&Member) -> bool| self.members.iter().any(may);
        loop {
            // What was tried comes after what fails: the former failed just now, and for this request.
            let member = if any(&|member| has_room(member) && untried(member) && fits(member)) {
                choose(&|member| has_room(member) && untried(member) && fits(member))
            } else if any(&|member| has_room(member) && untried(member)) {
                choose(&|member| has_room(member) && untried(member))
            } else {
                choose(&has_room)
            };
            // Another worker may have taken the last place: then the endpoint has no room any more.
            match self.pick_member(member?, place) {
                Ok(picked) => return Some(picked),
                Err(unused) => place = unused,
            }
        }
    }

    /// Takes a member for a request that has its place at the Service, which comes back if there is none at the endpoint.
    fn pick_member(&self, member: &Member, place: Option<Place>) -> Result<Picked, Option<Place>> {
        let own = match (self.endpoint_limit(), &member.load) {
            (Some(limit), Some(load)) => match load.enter(limit) {
                Some(own) => Some(own),
                None => return Err(place),
            },
            _ => None,
        };
        Ok(Picked::new(&member.state, [place, own], member.failures.clone()))
    }

    /// Says whether an endpoint does not fail; that each does not where all do.
    fn fits(&self, now: Instant) -> impl Fn(&Member) -> bool {
        let none = self.watched && !self.members.iter().any(|member| member.is_fit(now));
        move |member: &Member| none || member.is_fit(now)
    }

    /// A place at the Service: `Some(None)` where there is no limit, `None` where there is none left.
    #[expect(clippy::option_option, reason = "whether there is a limit, and whether there is a place")]
    fn enter(&self) -> Option<Option<Place>> {
        match (self.limits.requests, &self.breaker) {
            (Some(limit), Some(breaker)) => breaker.load().enter(limit.get()).map(Some),
            _ => Some(None),
        }
    }

    fn endpoint_limit(&self) -> Option<u32> {
        self.limits.requests_per_endpoint.map(std::num::NonZeroU32::get)
    }

    fn in_turn(&self, usable: impl Fn(&Member) -> bool) -> Option<&Member> {
        let count = u64::try_from(self.members.len()).ok().filter(|count| *count > 0)?;
        let start = usize::try_from(self.turn.fetch_add(1, Ordering::Relaxed) % count).ok()?;
        let (before, after) = self.members.split_at(start);
        after.iter().chain(before).find(|member| usable(member))
    }

    /// Two different usable endpoints, each pair equally likely; twice the same where there is only one.
    fn two(&self, usable: impl Fn(&Member) -> bool, random: u64) -> Option<(&Member, &Member)> {
        let count = u64::try_from(self.members.iter().filter(|member| usable(member)).count()).ok()?;
        let nth = |index: u64| {
            self.members.iter().filter(|member| usable(member)).nth(usize::try_from(index).unwrap_or(usize::MAX))
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
    fn by_hash(&self, key: u64, usable: impl Fn(&Member) -> bool) -> Option<&Member> {
        self.members.iter().filter(|member| usable(member)).max_by_key(|member| random::mix(key ^ member.hash))
    }
}

impl Member {
    /// The endpoint.
    pub(super) fn state(&self) -> &Arc<EndpointState> {
        &self.state
    }

    /// What checks find of it, where there are any.
    pub(super) fn finding(&self) -> Option<&Arc<Finding>> {
        self.finding.as_ref()
    }

    /// Whether it does not fail.
    fn is_fit(&self, now: Instant) -> bool {
        self.finding.as_ref().is_none_or(|finding| finding.is_healthy())
            && self.failures.as_ref().is_none_or(|failures| !failures.is_out(now))
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
mod tests;
