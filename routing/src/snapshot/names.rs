//! A hash map from hostnames whose copies share what did not change.
//!
//! A copy with one change would cost a copy of every entry; so the map is split into shards of a few dozen names, each
//! behind an [`Arc`], and only the shard of the changed name is copied. A lookup hashes the name once: some bits choose
//! the shard, others the place in it.
//!
//! The keys come from manifests and only lookups from clients, so the hash needs no secret: a client can't fill a
//! bucket.

use std::hash::Hasher;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxHasher;

use crate::name::Hostname;

/// How many names a shard is meant for.
const SHARD: usize = 32;

/// Values by hostname.
#[derive(Clone, Debug)]
pub(super) struct NameMap<V> {
    /// A power of two of them, or none as long as nothing was inserted.
    shards: Box<[Arc<Shard<V>>]>,
    length: usize,
}

type Shard<V> = HashTable<(Hostname, V)>;

impl<V: Clone> NameMap<V> {
    /// A map for about this many names.
    pub(super) fn with_capacity(names: usize) -> Self {
        if names == 0 { Self::default() } else { Self { shards: empty_shards(names), length: 0 } }
    }

    /// Whether there is no name at all.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&V> {
        if self.is_empty() {
            return None;
        }
        let hash = hash(name);
        let found = self.shards.get(place(hash, self.shards.len()))?.find(hash, |(key, _)| key.as_str() == name)?;
        Some(&found.1)
    }

    /// All values, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(_, value)| value)
    }

    /// Sets the value of a name.
    pub(super) fn insert(&mut self, name: Hostname, value: V) {
        if self.length >= self.shards.len() * SHARD * 2 {
            self.grow();
        }
        let hash = hash(name.as_str());
        let at = place(hash, self.shards.len());
        let Some(shard) = self.shards.get_mut(at).map(Arc::make_mut) else { return };
        match shard.entry(hash, |(key, _)| *key == name, rehash) {
            Entry::Occupied(mut entry) => entry.get_mut().1 = value,
            Entry::Vacant(entry) => {
                entry.insert((name, value));
                self.length += 1;
            }
        }
    }

    /// Forgets a name.
    pub(super) fn remove(&mut self, name: &Hostname) {
        let hash = hash(name.as_str());
        let at = place(hash, self.shards.len());
        let Some(shard) = self.shards.get_mut(at) else { return };
        if let Ok(entry) = Arc::make_mut(shard).find_entry(hash, |(key, _)| key == name) {
            entry.remove();
            self.length -= 1;
        }
    }

    /// Copies everything into twice as many shards.
    fn grow(&mut self) {
        let mut shards = empty_shards((self.length + 1) * 2);
        for entry in self.shards.iter().flat_map(|shard| shard.iter()) {
            let hash = rehash(entry);
            let at = place(hash, shards.len());
            if let Some(shard) = shards.get_mut(at) {
                Arc::make_mut(shard).insert_unique(hash, entry.clone(), rehash);
            }
        }
        self.shards = shards;
    }
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        Self { shards: Box::default(), length: 0 }
    }
}

fn empty_shards<V>(names: usize) -> Box<[Arc<Shard<V>>]> {
    (0..names.div_ceil(SHARD).next_power_of_two()).map(|_| Arc::new(Shard::new())).collect()
}

fn hash(name: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(name.as_bytes());
    hasher.finish()
}

fn rehash<V>((name, _): &(Hostname, V)) -> u64 {
    hash(name.as_str())
}

/// The table inside a shard uses the lowest and the highest bits, so the shard is chosen by others.
fn place(hash: u64, shards: usize) -> usize {
    (hash >> 32) as usize & shards.wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_with_one_change_shares_all_other_shards() {
        let mut old = NameMap::with_capacity(10);
        for number in 0..10_000 {
            old.insert(Hostname::parse(&format!("h{number}.example.com")).unwrap(), number);
        }
        let mut new = old.clone();
        new.insert(Hostname::parse("h77.example.com").unwrap(), 1);
        let copied = old.shards.iter().zip(&new.shards).filter(|(old, new)| !Arc::ptr_eq(old, new)).count();
        assert_eq!(copied, 1);
        assert_eq!((old.get("h77.example.com"), new.get("h77.example.com")), (Some(&77), Some(&1)));
        assert!(old.shards.iter().all(|shard| shard.len() < 4 * SHARD));
    }

    #[test]
    fn names_come_and_go() {
        let mut map = NameMap::default();
        let names: Vec<_> = (0..500).map(|number| Hostname::parse(&format!("h{number}")).unwrap()).collect();
        for (number, name) in names.iter().enumerate() {
            map.insert(name.clone(), number);
        }
        for name in names.iter().step_by(2) {
            map.remove(name);
        }
        for (number, name) in names.iter().enumerate() {
            assert_eq!(map.get(name.as_str()), (number % 2 == 1).then_some(&number));
        }
        assert_eq!(map.values().count(), 250);
    }
}
