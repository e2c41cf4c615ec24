//! Ordered maps that usually have one entry: it stands in the map itself. The smallest node of a B-tree has room for
//! eleven, which thousands of maps with one entry each would pay for.

use std::collections::BTreeMap;

/// A map; see the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallMap<K, V>(Entries<K, V>);

/// A set of the same kind.
pub type SmallSet<K> = SmallMap<K, ()>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entries<K, V> {
    None,
    One(K, V),
    /// At least two.
    More(BTreeMap<K, V>),
}

impl<K: Ord, V> SmallMap<K, V> {
    /// Sets the value of a key. Returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match std::mem::replace(&mut self.0, Entries::None) {
            Entries::One(present, old) if present == key => {
                self.0 = Entries::One(present, value);
                Some(old)
            }
            Entries::None => {
                self.0 = Entries::One(key, value);
                None
            }
            Entries::One(present, other) => {
                self.0 = Entries::More(BTreeMap::from([(present, other), (key, value)]));
                None
            }
            Entries::More(mut map) => {
                let old = map.insert(key, value);
                self.0 = Entries::More(map);
                old
            }
        }
    }

    /// Forgets a key. Returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        match std::mem::replace(&mut self.0, Entries::None) {
            Entries::None => None,
            Entries::One(present, value) if present == *key => Some(value),
            one @ Entries::One(..) => {
                self.0 = one;
                None
            }
            Entries::More(mut map) => {
                let value = map.remove(key);
                let last = if map.len() < 2 { map.pop_first() } else { None };
                self.0 = match last {
                    Some((key, value)) => Entries::One(key, value),
                    None => Entries::More(map),
                };
                value
            }
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        match &self.0 {
            Entries::One(present, value) if present == key => Some(value),
            Entries::More(map) => map.get(key),
            _ => None,
        }
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match &mut self.0 {
            Entries::One(present, value) if *present == *key => Some(value),
            Entries::More(map) => map.get_mut(key),
            _ => None,
        }
    }

    /// Whether a key is there.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let (one, more) = match &self.0 {
            Entries::None => (None, None),
            Entries::One(key, value) => (Some((key, value)), None),
            Entries::More(map) => (None, Some(map)),
        };
        one.into_iter().chain(more.into_iter().flatten())
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values in order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Entries::None => 0,
            Entries::One(..) => 1,
            Entries::More(map) => map.len(),
        }
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Ord> FromIterator<K> for SmallSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut set = Self::default();
        for key in keys {
            set.insert(key, ());
        }
        set
    }
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self(Entries::None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_map_of_the_standard_library(steps in prop::collection::vec((any::<bool>(), 0..4, 0..100), 0..30)) {
            let (mut small, mut map) = (SmallMap::default(), BTreeMap::new());
            for (insert, key, value) in steps {
                if insert {
                    prop_assert_eq!(small.insert(key, value), map.insert(key, value));
                } else {
                    prop_assert_eq!(small.remove(&key), map.remove(&key));
                }
                prop_assert_eq!(small.get(&key), map.get(&key));
                prop_assert_eq!(small.get_mut(&key), map.get_mut(&key));
                prop_assert_eq!(small.contains_key(&key), map.contains_key(&key));
                prop_assert!(small.iter().eq(&map));
                prop_assert_eq!((small.len(), small.is_empty()), (map.len(), map.is_empty()));
                // However it came about: maps with the same entries are equal.
                let mut again = SmallMap::default();
                for (key, value) in &map {
                    again.insert(*key, *value);
                }
                prop_assert_eq!(&again, &small);
            }
        }
    }
}
