//! MadeOnce: what many units of work make alike. It is made once and shared as long as somebody has it: the authorities in
//! ConfigMaps, also where several say the same, what policies trust, what clusters are made from, time-outs and retries. It
//! decides nothing: whoever asks gets what it would have made itself.

use std::cell::{Cell, RefCell};
use std::hash::Hash;
use std::sync::{Arc, Weak};

use genkan_routing::model::Trust;
use genkan_routing::name::ClusterId;
use genkan_routing::policy::retry::Retry;
use genkan_routing::policy::timeouts::Timeouts;
use k8s_openapi::api::core::v1::ConfigMap;
use rustc_hash::FxHashMap;

use super::cluster::ClusterSpec;
use crate::authorities::{self, Authorities, Authority, AuthorityError, FIELD};
use crate::certificate::sha256_hex;
use crate::resources::{AuthoritiesOutcome, Kind, NamespacedName};

/// What was made and is alive.
#[derive(Debug, Default)]
pub struct MadeOnce {
    /// The authorities of each ConfigMap, in the version that was read.
    by_object: Table<NamespacedName, (Weak<ConfigMap>, AuthoritiesOutcome)>,
    /// Authorities by the digest of their text.
    by_text: Table<String, Weak<[Authority]>>,
    /// By [`Trust::id`].
    trusts: Table<Arc<str>, Weak<Trust>>,
    /// By [`ClusterSpec::id`]. Thousands of rules lead to one Service.
    clusters: Table<ClusterId, Weak<ClusterSpec>>,
    timeouts: Table<Timeouts, Weak<Timeouts>>,
    retries: Table<Retry, Weak<Retry>>,
    parsed: Cell<usize>,
}

/// A map from which what is dead is swept now and then.
#[derive(Debug)]
struct Table<K, V> {
    entries: RefCell<FxHashMap<K, V>>,
    sweep_at: Cell<usize>,
}

/// Whether anybody still has what an entry is for.
trait Alive {
    fn is_alive(&self) -> bool;
}

impl<T: ?Sized> Alive for Weak<T> {
    fn is_alive(&self) -> bool {
        self.strong_count() > 0
    }
}

impl<T, O> Alive for (Weak<T>, O) {
    fn is_alive(&self) -> bool {
        self.0.is_alive()
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: RefCell::default(), sweep_at: Cell::new(64) }
    }
}

impl<K: Hash + Eq, V: Alive + Clone> Table<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.entries.borrow().get(key).cloned()
    }

    fn insert(&self, key: K, value: V) {
        let mut entries = self.entries.borrow_mut();
        if entries.len() >= self.sweep_at.get() {
            entries.retain(|_, value| value.is_alive());
            self.sweep_at.set(2 * entries.len().max(32));
        }
        entries.insert(key, value);
    }
}

impl<K: Hash + Eq + Clone, T: PartialEq> Table<K, Weak<T>> {
    /// This value under its key, or an equal one that is alive under the same.
    fn share(&self, key: K, value: T) -> (K, Arc<T>) {
        if let Some((key, known)) = self.entries.borrow().get_key_value(&key)
            && let Some(known) = known.upgrade().filter(|known| **known == value)
        {
            return (key.clone(), known);
        }
        let made = Arc::new(value);
        self.insert(key.clone(), Arc::downgrade(&made));
        (key, made)
    }
}

impl MadeOnce {
    /// The authorities in a ConfigMap.
    pub fn authorities(&self, name: &NamespacedName, config_map: &Arc<ConfigMap>) -> AuthoritiesOutcome {
        if let Some((known, outcome)) = self.by_object.get(name)
            && std::ptr::eq(known.as_ptr(), Arc::as_ptr(config_map))
        {
            return outcome;
        }
        let outcome = self.read(name, config_map);
        self.by_object.insert(name.clone(), (Arc::downgrade(config_map), outcome.clone()));
        outcome
    }

    fn read(&self, name: &NamespacedName, config_map: &ConfigMap) -> AuthoritiesOutcome {
        let text = config_map.data.as_ref().and_then(|data| data.get(FIELD)).map(String::as_bytes);
        let binary = || Some(config_map.binary_data.as_ref()?.get(FIELD)?.0.as_slice());
        authorities::of_field(Kind::ConfigMap, name, text.or_else(binary), |pem| self.parse(pem))
    }

    fn parse(&self, pem: &[u8]) -> Result<Authorities, AuthorityError> {
        let digest = sha256_hex(pem);
        if let Some(known) = self.by_text.get(&digest).and_then(|known| known.upgrade()) {
            return Ok(known);
        }
        self.parsed.set(self.parsed.get() + 1);
        let made = authorities::parse(pem)?;
        self.by_text.insert(digest, Arc::downgrade(&made));
        Ok(made)
    }

    /// The same trust where it was made before.
    pub fn trust(&self, trust: Trust) -> Arc<Trust> {
        self.trusts.share(Arc::clone(&trust.id), trust).1
    }

    /// What a cluster is made from, and its id, the same where they were made before.
    pub fn cluster(&self, spec: ClusterSpec) -> (ClusterId, Arc<ClusterSpec>) {
        self.clusters.share(spec.id(), spec)
    }

    /// The same time-outs where they were made before.
    pub fn timeouts(&self, timeouts: Timeouts) -> Arc<Timeouts> {
        self.timeouts.share(timeouts.clone(), timeouts).1
    }

    /// The same settings of retries where they were made before.
    pub fn retry(&self, retry: Retry) -> Arc<Retry> {
        self.retries.share(retry.clone(), retry).1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn bundle(pem: &str) -> Arc<ConfigMap> {
        let data = BTreeMap::from([(FIELD.to_owned(), pem.to_owned())]);
        Arc::new(ConfigMap { data: Some(data), ..ConfigMap::default() })
    }

    fn pem() -> String {
        rcgen::generate_simple_self_signed(vec!["ca.test".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn a_bundle_is_parsed_once_however_many_ask_and_wherever_it_is() {
        let (made, text) = (MadeOnce::default(), pem());
        let (one, other) = (bundle(&text), bundle(&text));
        let name = |namespace| NamespacedName::new(namespace, "ca");
        let all: Vec<_> = (0..50)
            .flat_map(|_| [made.authorities(&name("x"), &one), made.authorities(&name("y"), &other)])
            .map(Result::unwrap)
            .collect();
        assert_eq!(made.parsed.get(), 1);
        assert!(all.iter().all(|authorities| Arc::ptr_eq(authorities, &all[0])));
    }

    #[test]
    fn another_version_of_an_object_is_read_again() {
        let made = MadeOnce::default();
        let name = NamespacedName::new("x", "ca");
        let before = made.authorities(&name, &bundle(&pem())).unwrap();
        let after = made.authorities(&name, &bundle(&pem())).unwrap();
        assert_ne!(before, after);
        assert!(made.authorities(&name, &bundle("")).is_err());
        assert!(made.authorities(&name, &bundle("no PEM")).is_err());
    }

    #[test]
    fn what_is_equal_is_shared() {
        let made = MadeOnce::default();
        let spec = |port: &str| ClusterSpec::new("x", "web", port);
        let [(id, one), (again, other), (_, apart)] = ["80", "80", "81"].map(|port| made.cluster(spec(port)));
        assert!(Arc::ptr_eq(&one, &other) && std::ptr::eq(id.as_str(), again.as_str()));
        assert_ne!(one, apart);
        let tries = |tries| made.retry(Retry { tries, ..Retry::default() });
        let (one, other, apart) = (tries(1), tries(1), tries(2));
        assert!(Arc::ptr_eq(&one, &other) && one != apart);
    }

    #[test]
    fn what_nobody_has_any_more_is_swept() {
        let made = MadeOnce::default();
        let trust = |id: usize| Trust { id: id.to_string().into(), authorities: None, names: Vec::new() };
        let kept = made.trust(trust(0));
        for id in 1..1_000 {
            made.trust(trust(id));
        }
        assert!(Arc::ptr_eq(&kept, &made.trust(trust(0))));
        assert!(made.trusts.entries.borrow().len() <= 64);
    }
}
