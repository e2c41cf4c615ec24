//! Rate limit: a leaky bucket per client and zone (nginx `limit_req` with `burst` and `nodelay`).
//!
//! A bucket leaks one request per interval (`unit / requests`) and takes `burst` requests more than it leaks; what does
//! not fit is refused at once, nothing is delayed. It is kept as one number: the time at which it will be empty.
//!
//! Memory is bounded: a zone knows at most [`MAX_CLIENTS`] clients. Buckets that have become empty are as good as none
//! and are forgotten first.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use genkan_routing::policy::rate_limit::{RateLimit, RateUnit};
use http::StatusCode;
use ipnet::IpNet;
use parking_lot::Mutex;

use super::ip_access::covers;
use crate::exchange::context::RequestContext;
use crate::reply::Reply;

/// Clients that one zone remembers (ingress-nginx's zones of 5 MB hold about as many).
const MAX_CLIENTS: usize = 65_536;
/// Locks per zone, so that workers rarely wait for each other.
const SHARDS: usize = 16;

/// A rule's limit: its status and exemptions, and the buckets that it shares with its zone.
#[derive(Debug)]
pub(super) struct RateLimiter {
    status: StatusCode,
    exempt: Vec<IpNet>,
    buckets: Arc<Buckets>,
}

/// The zones by the settings that make a bucket: with other settings a zone begins anew.
#[derive(Debug, Default)]
pub(super) struct Zones {
    zones: Mutex<HashMap<ZoneKey, Arc<Buckets>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ZoneKey {
    zone: Arc<str>,
    requests: u32,
    unit: RateUnit,
    burst: u32,
}

/// The buckets of a zone.
#[derive(Debug)]
struct Buckets {
    /// Times are counted from here.
    origin: Instant,
    /// The time in which one request leaks away.
    interval: Duration,
    /// What a bucket may hold beyond the current request.
    depth: Duration,
    hasher: RandomState,
    /// When each client's bucket will be empty.
    shards: [Mutex<HashMap<IpAddr, Duration>>; SHARDS],
}

impl Zones {
    /// The limiter of a rule; rules with equal settings share buckets, also across tables.
    pub(super) fn limiter(&self, limit: &RateLimit) -> Arc<RateLimiter> {
        let key =
            ZoneKey { zone: Arc::clone(&limit.zone), requests: limit.requests, unit: limit.unit, burst: limit.burst };
        let buckets = Arc::clone(self.zones.lock().entry(key).or_insert_with(|| Arc::new(Buckets::new(limit))));
        let status = StatusCode::from_u16(limit.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Arc::new(RateLimiter { status, exempt: limit.exempt.clone(), buckets })
    }

    /// Forgets zones that no rule uses.
    pub(super) fn evict_zones(&self) {
        self.zones.lock().retain(|_, buckets| Arc::strong_count(buckets) > 1);
    }

    /// Forgets buckets that are empty at `now`.
    pub(super) fn evict(&self, now: Instant) {
        self.zones.lock().values().for_each(|buckets| buckets.evict(now));
    }
}

impl RateLimiter {
    /// Refuses a request that does not fit its client's bucket.
    pub(super) fn request(&self, ctx: &RequestContext<'_>) -> ControlFlow<Reply> {
        let client = ctx.client.to_canonical();
        if covers(&self.exempt, client) || self.buckets.take(client, ctx.now) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(Reply::refuse(ctx, self.status))
        }
    }
}

impl Buckets {
    fn new(limit: &RateLimit) -> Self {
        let unit = match limit.unit {
            RateUnit::Second => Duration::from_secs(1),
            RateUnit::Minute => Duration::from_secs(60),
        };
        let interval = unit / limit.requests.max(1);
        Self {
            origin: Instant::now(),
            interval,
            depth: interval.saturating_mul(limit.burst),
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }

    /// Whether one more request of `client` fits; counts it if so.
    fn take(&self, client: IpAddr, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.origin);
        let shard = usize::try_from(self.hasher.hash_one(client) % SHARDS as u64).unwrap_or(0);
        let Some(shard) = self.shards.get(shard) else { return true };
        let mut clients = shard.lock();
        if let Some(empty_at) = clients.get_mut(&client) {
            if empty_at.saturating_sub(now) > self.depth {
                return false;
            }
            *empty_at = (*empty_at).max(now) + self.interval;
            return true;
        }
        if clients.len() >= MAX_CLIENTS / SHARDS {
            self.make_room(&mut clients, now);
        }
        clients.insert(client, now + self.interval);
        true
    }

    /// Frees at least a quarter of a full shard, so that the work is spread over many insertions. Clients far from
    /// their limit are forgotten before those near it; a shard full of the latter begins anew.
    fn make_room(&self, clients: &mut HashMap<IpAddr, Duration>, now: Duration) {
        let enough = MAX_CLIENTS / SHARDS * 3 / 4;
        for kept in [Duration::ZERO, self.depth / 2] {
            clients.retain(|_, empty_at| empty_at.saturating_sub(now) > kept);
            if clients.len() <= enough {
                return;
            }
        }
        clients.clear();
    }

    fn evict(&self, now: Instant) {
        let now = now.saturating_duration_since(self.origin);
        for shard in &self.shards {
            let mut clients = shard.lock();
            clients.retain(|_, empty_at| *empty_at > now);
            clients.shrink_to_fit();
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::testing::Request;

    fn limit(requests: u32, unit: RateUnit, burst: u32) -> RateLimit {
        RateLimit { zone: "default/web/rps".into(), requests, unit, burst, status: 503, exempt: Vec::new() }
    }

    /// How many of `count` requests, sent this long after the start, pass.
    fn passing(limiter: &RateLimiter, request: &Request, after: Duration, count: usize) -> usize {
        let request = request.clone().after(after);
        (0..count).filter(|_| request.with(|ctx| limiter.request(ctx)).is_continue()).count()
    }

    #[test]
    fn burst_and_one_pass_at_once_then_one_per_interval() {
        let limiter = Zones::default().limiter(&limit(2, RateUnit::Second, 10));
        let request = Request::get("/");
        assert_eq!(passing(&limiter, &request, Duration::ZERO, 50), 11);
        assert_eq!(passing(&limiter, &request, Duration::from_millis(499), 50), 0);
        assert_eq!(passing(&limiter, &request, Duration::from_millis(500), 50), 1);
        assert_eq!(passing(&limiter, &request, Duration::from_millis(2000), 50), 3);
        assert_eq!(passing(&limiter, &request, Duration::from_secs(3600), 50), 11);
    }

    #[test]
    fn without_a_burst_the_rate_is_exact() {
        let limiter = Zones::default().limiter(&limit(30, RateUnit::Minute, 0));
        let request = Request::get("/");
        assert_eq!(passing(&limiter, &request, Duration::ZERO, 5), 1);
        assert_eq!(passing(&limiter, &request, Duration::from_millis(1999), 5), 0);
        assert_eq!(passing(&limiter, &request, Duration::from_millis(2000), 5), 1);
    }

    #[test]
    fn clients_have_buckets_of_their_own_and_exempt_ones_none() {
        let mut settings = limit(1, RateUnit::Second, 0);
        settings.exempt = vec!["10.0.0.0/8".parse().unwrap()];
        settings.status = 429;
        let limiter = Zones::default().limiter(&settings);
        assert_eq!(passing(&limiter, &Request::get("/").client("192.0.2.1"), Duration::ZERO, 5), 1);
        assert_eq!(passing(&limiter, &Request::get("/").client("192.0.2.2"), Duration::ZERO, 5), 1);
        assert_eq!(passing(&limiter, &Request::get("/").client("::ffff:192.0.2.2"), Duration::ZERO, 5), 0);
        assert_eq!(passing(&limiter, &Request::get("/").client("10.1.2.3"), Duration::ZERO, 5), 5);
        let refused = Request::get("/").client("192.0.2.1").with(|ctx| limiter.request(ctx));
        assert_eq!(refused.break_value().unwrap().status, 429);
    }

    #[test]
    fn a_zone_outlives_its_rules_while_its_settings_are_equal() {
        let zones = Zones::default();
        let request = Request::get("/");
        let first = zones.limiter(&limit(1, RateUnit::Second, 1));
        assert_eq!(passing(&first, &request, Duration::ZERO, 5), 2);
        let again = zones.limiter(&RateLimit { status: 429, ..limit(1, RateUnit::Second, 1) });
        drop(first);
        assert_eq!(passing(&again, &request, Duration::ZERO, 5), 0);
        let other = zones.limiter(&limit(2, RateUnit::Second, 1));
        assert_eq!(passing(&other, &request, Duration::ZERO, 5), 2);
    }

    #[test]
    fn unused_zones_and_empty_buckets_are_forgotten() {
        let zones = Zones::default();
        let limiter = zones.limiter(&limit(1, RateUnit::Second, 1));
        assert_eq!(passing(&limiter, &Request::get("/"), Duration::ZERO, 1), 1);
        // While somebody has all of its locks.
        let held: Vec<_> = limiter.buckets.shards.iter().map(Mutex::lock).collect();
        zones.evict_zones();
        drop(held);
        zones.evict(Instant::now());
        assert_eq!(limiter.buckets.len(), 1);
        zones.evict(Instant::now() + Duration::from_secs(60));
        assert_eq!(limiter.buckets.len(), 0);
        drop(limiter);
        zones.evict_zones();
        assert!(zones.zones.lock().is_empty());
    }

    #[test]
    fn a_zone_is_bounded_and_keeps_those_at_their_limit() {
        let limiter = Zones::default().limiter(&limit(1, RateUnit::Minute, 5));
        let buckets = &limiter.buckets;
        let now = buckets.origin;
        let greedy = IpAddr::from([192, 0, 2, 1]);
        while buckets.take(greedy, now) {}
        for number in 0..3 * MAX_CLIENTS as u128 {
            buckets.take(IpAddr::from((0x2001_0db8_u128 << 96 | number).to_be_bytes()), now);
        }
        assert!(buckets.len() <= MAX_CLIENTS);
        assert!(!buckets.take(greedy, now));
    }
}
