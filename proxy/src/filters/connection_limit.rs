//! Connection limit: concurrent requests per client and zone (nginx `limit_conn`).

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use genkan_routing::policy::connection_limit::ConnectionLimit;
use http::StatusCode;
use ipnet::IpNet;
use parking_lot::Mutex;

use super::ip_access::covers;
use crate::exchange::context::RequestContext;
use crate::reply::Reply;

/// Locks per zone, so that workers rarely wait for each other.
const SHARDS: usize = 16;

/// A client's place in a zone; given back on drop.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    zone: Arc<Zone>,
    client: IpAddr,
}

/// A rule's limit, and the counts that it shares with its zone.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    max: u32,
    status: StatusCode,
    exempt: Vec<IpNet>,
    zone: Arc<Zone>,
}

/// The zones by name: requests under way count whatever settings they came in under.
#[derive(Debug, Default)]
pub(super) struct Zones {
    zones: Mutex<HashMap<Arc<str>, Arc<Zone>>>,
}

/// Requests under way by client; a client without any has no entry, so the size is bounded by the open connections.
#[derive(Debug, Default)]
struct Zone {
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
}

impl Zones {
    /// The limiter of a rule.
    pub(super) fn limiter(&self, limit: &ConnectionLimit) -> Arc<ConnectionLimiter> {
        let zone = Arc::clone(self.zones.lock().entry(Arc::clone(&limit.zone)).or_default());
        let status = StatusCode::from_u16(limit.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Arc::new(ConnectionLimiter { max: limit.max, status, exempt: limit.exempt.clone(), zone })
    }

    /// Forgets zones that neither a rule nor a request uses.
    pub(super) fn evict(&self) {
        self.zones.lock().retain(|_, zone| Arc::strong_count(zone) > 1);
    }
}

impl ConnectionLimiter {
    /// Takes a place for the request, or refuses it. Exempt clients need none.
    pub(super) fn request(&self, ctx: &RequestContext<'_>) -> ControlFlow<Reply, Option<ConnectionGuard>> {
        let client = ctx.client.to_canonical();
        if covers(&self.exempt, client) {
            return ControlFlow::Continue(None);
        }
        if self.zone.enter(client, self.max) {
            ControlFlow::Continue(Some(ConnectionGuard { zone: Arc::clone(&self.zone), client }))
        } else {
            ControlFlow::Break(Reply::refuse(ctx, self.status))
        }
    }
}

impl Zone {
    fn shard(&self, client: IpAddr) -> Option<&Mutex<HashMap<IpAddr, u32>>> {
        self.shards.get(usize::try_from(self.hasher.hash_one(client) % SHARDS as u64).ok()?)
    }

    fn enter(&self, client: IpAddr, max: u32) -> bool {
        let Some(shard) = self.shard(client) else { return true };
        let mut clients = shard.lock();
        let count = clients.get(&client).copied().unwrap_or(0);
        let fits = count < max;
        if fits {
            clients.insert(client, count + 1);
        }
        fits
    }

    fn leave(&self, client: IpAddr) {
        let Some(shard) = self.shard(client) else { return };
        if let Entry::Occupied(mut entry) = shard.lock().entry(client) {
            if *entry.get() > 1 {
                *entry.get_mut() -= 1;
            } else {
                entry.remove();
            }
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.zone.leave(self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::testing::Request;

    fn limit(max: u32) -> ConnectionLimit {
        ConnectionLimit { zone: "default/web".into(), max, status: 503, exempt: vec!["10.0.0.0/8".parse().unwrap()] }
    }

    fn enter(limiter: &ConnectionLimiter, client: &str) -> ControlFlow<Reply, Option<ConnectionGuard>> {
        Request::get("/").client(client).with(|ctx| limiter.request(ctx))
    }

    #[test]
    fn a_place_is_given_back_on_drop() {
        let limiter = Zones::default().limiter(&limit(2));
        let first = enter(&limiter, "192.0.2.1");
        let second = enter(&limiter, "192.0.2.1");
        assert!(first.is_continue() && second.is_continue());
        assert_eq!(enter(&limiter, "192.0.2.1").break_value().unwrap().status, 503);
        assert!(enter(&limiter, "192.0.2.2").is_continue());
        drop(first);
        assert!(enter(&limiter, "192.0.2.1").is_continue());
    }

    #[test]
    fn exempt_clients_need_no_place() {
        let limiter = Zones::default().limiter(&limit(0));
        assert!(matches!(enter(&limiter, "10.0.0.1"), ControlFlow::Continue(None)));
        assert!(enter(&limiter, "192.0.2.1").is_break());
    }

    #[test]
    fn requests_count_across_tables_and_settings() {
        let zones = Zones::default();
        let old = zones.limiter(&limit(1));
        let held = enter(&old, "192.0.2.1");
        drop(old);
        zones.evict();
        let new = zones.limiter(&limit(2));
        let second = enter(&new, "192.0.2.1");
        assert!(held.is_continue() && second.is_continue());
        assert!(enter(&new, "192.0.2.1").is_break());
    }

    #[test]
    fn nothing_is_left_when_all_requests_ended() {
        let zones = Zones::default();
        let limiter = zones.limiter(&limit(5));
        drop((enter(&limiter, "192.0.2.1"), enter(&limiter, "192.0.2.1")));
        assert!(limiter.zone.shards.iter().all(|shard| shard.lock().is_empty()));
        drop(limiter);
        zones.evict();
        assert!(zones.zones.lock().is_empty());
    }
}
