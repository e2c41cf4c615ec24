//! Services at run time: what is known of their endpoints while tables and clusters come and go.
//!
//! ```text
//!  Services -> Service --address--> EndpointState           requests under way, latency
//!                      --policy---> Watch   --address--> Failures
//!                      --policy---> Breaker --address--> Load
//! ```
//!
//! Routes decide how many clusters a Service has; what counts for it must not depend on that. Everything here lives as
//! long as a balancer holds it.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;

use genkan_routing::model::ServiceRef;
use parking_lot::{Mutex, MutexGuard};

use super::endpoint::EndpointState;
use super::health::{Failures, Load};

/// Entries that may be left behind before they are looked for.
const SLACK: usize = 8;

/// All Services.
#[derive(Debug, Default)]
pub(crate) struct Services(Registry<(Arc<str>, Arc<str>), Service>);

/// What all clusters of a Service have in common.
#[derive(Debug, Default)]
pub(super) struct Service {
    endpoints: Registry<SocketAddr, EndpointState>,
    watches: Registry<Arc<str>, Watch>,
    breakers: Registry<Arc<str>, Breaker>,
}

/// The failures of a Service's endpoints as one policy counts them: another may take other answers for failures.
#[derive(Debug, Default)]
pub(super) struct Watch {
    failures: Registry<SocketAddr, Failures>,
    deciding: Mutex<()>,
}

/// The requests under way at a Service that one policy limits.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    load: Arc<Load>,
    endpoints: Registry<SocketAddr, Load>,
}

/// Values by key, as long as somebody else holds them.
#[derive(Debug)]
pub(super) struct Registry<K, V>(Mutex<Entries<K, V>>);

#[derive(Debug)]
struct Entries<K, V> {
    map: HashMap<K, Weak<V>>,
    /// With how many entries those that nobody holds are looked for.
    tidy_at: usize,
}

impl Services {
    /// What is known of a Service.
    pub(super) fn of(&self, service: &ServiceRef) -> Arc<Service> {
        self.0.get((Arc::clone(&service.namespace), Arc::clone(&service.name)), Service::default)
    }
}

impl Service {
    /// An endpoint, if anything is known of it.
    pub(super) fn known(&self, address: SocketAddr) -> Option<Arc<EndpointState>> {
        self.endpoints.known(&address)
    }

    /// An endpoint; `seconds` is the latency of one of which nothing is known.
    pub(super) fn endpoint(&self, address: SocketAddr, seconds: f64, now: Instant) -> Arc<EndpointState> {
        self.endpoints.get(address, || EndpointState::new(address, seconds, now))
    }

    /// What a policy knows of failures.
    pub(super) fn watch(&self, policy: &Arc<str>) -> Arc<Watch> {
        self.watches.get(Arc::clone(policy), Watch::default)
    }

    /// What a policy limits.
    pub(super) fn breaker(&self, policy: &Arc<str>) -> Arc<Breaker> {
        self.breakers.get(Arc::clone(policy), Breaker::default)
    }
}

impl Watch {
    /// The failures of an endpoint.
    pub(super) fn of(&self, address: SocketAddr, now: Instant) -> Arc<Failures> {
        self.failures.get(address, || Failures::new(now))
    }

    /// While this is held nobody else passes an endpoint over, so that together they don't pass over too many.
    pub(super) fn decide(&self) -> MutexGuard<'_, ()> {
        self.deciding.lock()
    }
}

impl Breaker {
    /// The requests at all endpoints.
    pub(super) fn load(&self) -> &Arc<Load> {
        &self.load
    }

    /// The requests at one endpoint.
    pub(super) fn of(&self, address: SocketAddr) -> Arc<Load> {
        self.endpoints.get(address, Load::default)
    }
}

// Derived, it would ask for defaults of what is in it.
impl<K, V> Default for Registry<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Entries { map: HashMap::new(), tidy_at: SLACK }))
    }
}

impl<K: Eq + Hash, V> Registry<K, V> {
    fn known(&self, key: &K) -> Option<Arc<V>> {
        self.0.lock().map.get(key).and_then(Weak::upgrade)
    }

    /// The value of a key, made if nobody holds one.
    pub(super) fn get(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        let mut entries = self.0.lock();
        if let Some(known) = entries.map.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if entries.map.len() >= entries.tidy_at {
            entries.map.retain(|_, value| value.strong_count() > 0);
            // So that it costs each new entry a constant.
            entries.tidy_at = 2 * entries.map.len() + SLACK;
        }
        let made = Arc::new(make());
        entries.map.insert(key, Arc::downgrade(&made));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_same_as_long_as_somebody_holds_it() {
        let registry: Registry<u32, u32> = Registry::default();
        let first = registry.get(1, || 10);
        assert!(Arc::ptr_eq(&first, &registry.get(1, || 11)));
        assert!(registry.known(&1).is_some() && registry.known(&2).is_none());
        drop(first);
        assert!(registry.known(&1).is_none());
        assert_eq!(*registry.get(1, || 12), 12);
    }

    #[test]
    fn what_nobody_holds_does_not_gather() {
        let registry: Registry<u32, u32> = Registry::default();
        let held: Vec<_> = (0..100).map(|key| registry.get(key, || key)).collect();
        for key in 100..100_000 {
            registry.get(key, || key);
        }
        assert!(registry.0.lock().map.len() <= 2 * held.len() + SLACK);
        assert!((0..100).all(|key| registry.known(&key).is_some()));
    }

    #[test]
    fn services_are_told_apart_by_namespace_and_name_and_not_by_port() {
        let services = Services::default();
        let of = |namespace: &str, name: &str, port: &str| {
            services.of(&ServiceRef { namespace: namespace.into(), name: name.into(), port: port.into() })
        };
        let one = of("n", "a", "80");
        assert!(Arc::ptr_eq(&one, &of("n", "a", "http")));
        assert!(!Arc::ptr_eq(&one, &of("n", "b", "80")) && !Arc::ptr_eq(&one, &of("m", "a", "80")));
    }
}
