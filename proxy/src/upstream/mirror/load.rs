//! How many copies are under way, and how much of their bodies waits: of a worker, and of each tenant on it, so that one
//! whose mirrors are slow leaves places to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// What may be under way.
#[derive(Clone, Copy, Debug)]
struct Limit {
    copies: usize,
    /// Bytes of bodies.
    waiting: usize,
}

/// Of a worker.
const IN_ALL: Limit = Limit { copies: 256, waiting: 16 << 20 };

/// Of one tenant.
const OF_TENANT: Limit = Limit { copies: 64, waiting: 4 << 20 };

/// How often a tenant's full places are told.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// The loads of a worker.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    all: Arc<Load>,
    /// By the namespace of the mirror.
    tenants: Mutex<FxHashMap<Arc<str>, Tenant>>,
}

/// The counts that a copy is in: the worker's and the tenant's.
#[derive(Clone, Debug, Default)]
pub(super) struct Loads {
    all: Arc<Load>,
    tenant: Arc<Load>,
}

/// A copy under way; counts until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Loads);

#[derive(Debug, Default)]
struct Load {
    copies: AtomicUsize,
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Tenant {
    load: Arc<Load>,
    /// When it was told last that there is no place.
    told: Option<Instant>,
}

impl Ledger {
    /// A place for a copy to a mirror of this namespace; `None` when there is none.
    pub(super) fn place(&self, namespace: &Arc<str>, now: Instant) -> Option<Place> {
        let mut tenants = self.tenants.lock();
        if !tenants.contains_key(namespace) {
            tenants.retain(|_, tenant| tenant.is_known_for(now));
        }
        let tenant = tenants.entry(Arc::clone(namespace)).or_default();
        let loads = Loads { all: Arc::clone(&self.all), tenant: Arc::clone(&tenant.load) };
        let place = loads.begin();
        if place.is_none() && tenant.told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_INTERVAL) {
            tenant.told = Some(now);
            tracing::warn!(%namespace, "requests are not mirrored: too many copies wait for the mirrors of a namespace");
        }
        place
    }
}

impl Tenant {
    /// Whether there is anything to remember.
    fn is_known_for(&self, now: Instant) -> bool {
        let told = self.told.is_some_and(|told| now.saturating_duration_since(told) < TELL_INTERVAL);
        told || Arc::strong_count(&self.load) > 1
    }
}

impl Loads {
    fn each(&self) -> [(&Load, Limit); 2] {
        [(&self.all, IN_ALL), (&self.tenant, OF_TENANT)]
    }

    fn begin(self) -> Option<Place> {
        if self.each().iter().any(|(load, limit)| load.copies.load(Ordering::Relaxed) >= limit.copies) {
            return None;
        }
        for (load, _) in self.each() {
            load.copies.fetch_add(1, Ordering::Relaxed);
        }
        Some(Place(self))
    }

    /// Counts bytes that wait; false, and nothing, where these are too many. Only the worker's thread counts.
    pub(super) fn add(&self, length: usize) -> bool {
        if self.each().iter().any(|(load, limit)| load.waiting.load(Ordering::Relaxed) + length > limit.waiting) {
            return false;
        }
        for (load, _) in self.each() {
            load.waiting.fetch_add(length, Ordering::Relaxed);
        }
        true
    }

    /// They wait no longer.
    pub(super) fn remove(&self, length: usize) {
        for (load, _) in self.each() {
            load.waiting.fetch_sub(length, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> [usize; 2] {
        self.each().map(|(load, _)| load.waiting.load(Ordering::Relaxed))
    }
}

impl Place {
    /// Where the copy counts.
    pub(super) fn loads(&self) -> &Loads {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for (load, _) in self.0.each() {
            load.copies.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> Arc<str> {
        format!("tenant-{number}").into()
    }

    #[test]
    fn a_tenant_has_its_share_of_places_and_all_together_have_theirs() {
        let (ledger, now) = (Ledger::default(), Instant::now());
        let take = |number| ledger.place(&tenant(number), now);
        let mut first: Vec<_> = std::iter::from_fn(|| take(0)).collect();
        assert_eq!(first.len(), OF_TENANT.copies);
        let others: Vec<_> = (1..10).flat_map(|number| std::iter::from_fn(move || take(number))).collect();
        assert_eq!(first.len() + others.len(), IN_ALL.copies);
        first.pop();
        assert!(take(11).is_some());
        drop((first, others));
        assert_eq!(ledger.all.copies.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn bytes_that_wait_are_bounded_likewise() {
        let (ledger, now) = (Ledger::default(), Instant::now());
        let places: Vec<_> = (0..10).map(|number| ledger.place(&tenant(number), now).unwrap()).collect();
        assert!(places[0].loads().add(OF_TENANT.waiting));
        assert!(!places[0].loads().add(1));
        let full = places.iter().skip(1).filter(|place| place.loads().add(OF_TENANT.waiting)).count();
        assert_eq!((full + 1) * OF_TENANT.waiting, IN_ALL.waiting);
        places[0].loads().remove(OF_TENANT.waiting);
        assert!(places[9].loads().add(OF_TENANT.waiting));
    }

    #[test]
    fn tenants_without_copies_are_forgotten() {
        let (ledger, now) = (Ledger::default(), Instant::now());
        let kept = ledger.place(&tenant(0), now);
        (1..100).for_each(|number| drop(ledger.place(&tenant(number), now)));
        assert!(ledger.tenants.lock().len() <= 2);
        let full: Vec<_> = std::iter::from_fn(|| ledger.place(&tenant(0), now)).collect();
        drop((kept, full));
        drop(ledger.place(&tenant(1), now));
        assert!(ledger.tenants.lock().contains_key(&tenant(0)), "who was told is remembered for a while");
        drop(ledger.place(&tenant(2), now + TELL_INTERVAL));
        assert!(!ledger.tenants.lock().contains_key(&tenant(0)));
    }
}
