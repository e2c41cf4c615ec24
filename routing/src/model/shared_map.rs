//! An ordered map whose copies share what did not change.
//!
//! The model is copied on every change of the cluster, and nearly all of a copy is as before. So the entries lie in
//! sorted chunks behind [`Arc`]s: a copy costs one pointer, a change copies one chunk and the list of chunks, and two
//! copies are compared chunk by chunk, where the same chunk needs no look inside.
//!
//! ```text
//!  map --> [chunk, chunk, chunk, chunk]      a..m  n..q  r..s  t..z
//!              \      |     \       \
//!  copy -> [chunk, chunk', chunk, chunk]     one entry of n..q differs
//! ```

use std::borrow::Borrow;
use std::fmt;
use std::ops::Index;
use std::slice;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// How many entries a chunk has before it is split: about the square root of what a large cluster needs.
const FULL: usize = 64;

/// An ordered map whose copies share what did not change; see the module's documentation. Serializes as a map.
pub struct SharedMap<K, V> {
    /// Sorted, none empty.
    chunks: Arc<Vec<Chunk<K, V>>>,
    length: usize,
}

/// The entries of a map, in order of key.
#[derive(Debug)]
pub struct Iter<'m, K, V> {
    chunks: slice::Iter<'m, Chunk<K, V>>,
    entries: slice::Iter<'m, (K, V)>,
}

/// What two maps do not share; see [`SharedMap::unshared`].
#[derive(Debug)]
pub struct Unshared<'m, K, V> {
    old: Iter<'m, K, V>,
    new: Iter<'m, K, V>,
}

/// Sorted entries.
type Chunk<K, V> = Arc<Vec<(K, V)>>;

impl<K: Ord, V> SharedMap<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key)?)?;
        let at = place_in(chunk, key).ok()?;
        chunk.get(at).map(|(_, value)| value)
    }

    /// Whether a key has a value.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// All entries, in order of key.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { chunks: self.chunks.iter(), entries: [].iter() }
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, in order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Every key with its values here and in `new`, leaving out at least the entries of chunks that both share. Values
    /// may still be equal. In order of key.
    pub fn unshared<'m>(&'m self, new: &'m Self) -> Unshared<'m, K, V> {
        match Arc::ptr_eq(&self.chunks, &new.chunks) {
            true => Unshared { old: Iter::nothing(), new: Iter::nothing() },
            false => Unshared { old: self.iter(), new: new.iter() },
        }
    }

    /// The only chunk that may hold a key: the last that does not begin behind it, else the first.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        let behind = self.chunks.partition_point(|chunk| chunk.first().is_some_and(|(first, _)| first.borrow() <= key));
        (!self.chunks.is_empty()).then(|| behind.saturating_sub(1))
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// The value of a key, to be changed. Copies what is shared.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let number = self.chunk_of(key)?;
        let at = place_in(self.chunks.get(number)?, key).ok()?;
        let chunk = Arc::make_mut(&mut self.chunks).get_mut(number).map(Arc::make_mut)?;
        chunk.get_mut(at).map(|(_, value)| value)
    }

    /// Sets the value of a key. Returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let number = self.chunk_of(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some((number, chunk)) = number.and_then(|number| Some((number, chunks.get_mut(number)?))) else {
            chunks.push(Arc::new(vec![(key, value)]));
            self.length += 1;
            return None;
        };
        let entries = Arc::make_mut(chunk);
        match place_in(entries, &key) {
            Ok(at) => entries.get_mut(at).map(|entry| std::mem::replace(&mut entry.1, value)),
            Err(at) => {
                entries.insert(at, (key, value));
                self.length += 1;
                if entries.len() > FULL {
                    // Behind the last entry of a map that grows in order, full chunks are left behind.
                    let keep = if at == FULL { FULL } else { FULL / 2 };
                    let mut tail = Vec::with_capacity(FULL);
                    tail.extend(entries.drain(keep..));
                    chunks.insert(number + 1, Arc::new(tail));
                }
                None
            }
        }
    }

    /// Forgets a key. Returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let number = self.chunk_of(key)?;
        let at = place_in(self.chunks.get(number)?, key).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let entries = chunks.get_mut(number).map(Arc::make_mut)?;
        let (_, value) = entries.remove(at);
        self.length -= 1;
        if entries.is_empty() {
            chunks.remove(number);
        }
        Some(value)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn place_in<K: Borrow<Q>, V, Q: Ord + ?Sized>(chunk: &[(K, V)], key: &Q) -> Result<usize, usize> {
    chunk.binary_search_by(|(present, _)| present.borrow().cmp(key))
}

impl<'m, K, V> Iter<'m, K, V> {
    fn nothing() -> Self {
        Self { chunks: [].iter(), entries: [].iter() }
    }

    /// The chunk that would be entered next, if none is being gone through.
    fn next_chunk(&self) -> Option<&'m Chunk<K, V>> {
        if self.entries.as_slice().is_empty() { self.chunks.as_slice().first() } else { None }
    }

    fn peek(&self) -> Option<&'m K> {
        let entry = self.entries.as_slice().first().or_else(|| self.chunks.as_slice().first()?.first());
        entry.map(|(key, _)| key)
    }
}

impl<'m, K, V> Iterator for Iter<'m, K, V> {
    type Item = (&'m K, &'m V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.entries.next() {
                return Some((key, value));
            }
            self.entries = self.chunks.next()?.iter();
        }
    }
}

impl<'m, K: Ord, V> Iterator for Unshared<'m, K, V> {
    type Item = (&'m K, Option<&'m V>, Option<&'m V>);

    fn next(&mut self) -> Option<Self::Item> {
        while let (Some(old), Some(new)) = (self.old.next_chunk(), self.new.next_chunk())
            && Arc::ptr_eq(old, new)
        {
            self.old.chunks.next();
            self.new.chunks.next();
        }
        let order = match (self.old.peek(), self.new.peek()) {
            (None, None) => return None,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(old), Some(new)) => old.cmp(new),
        };
        let old = if order.is_le() { self.old.next() } else { None };
        let new = if order.is_ge() { self.new.next() } else { None };
        let key = new.or(old)?.0;
        Some((key, old.map(|(_, value)| value), new.map(|(_, value)| value)))
    }
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), length: self.length }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Arc::default(), length: 0 }
    }
}

/// Shared chunks are not compared.
impl<K: Ord, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && self.unshared(other).all(|(_, old, new)| old == new)
    }
}

impl<K: Ord, V: Eq> Eq for SharedMap<K, V> {}

impl<K: fmt::Debug + Ord, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Serialize + Ord, V: Serialize> Serialize for SharedMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<K: Ord, Q: Ord + ?Sized, V> Index<&Q> for SharedMap<K, V>
where
    K: Borrow<Q>,
{
    type Output = V;

    /// # Panics
    ///
    /// When the key has no value, as for the maps of the standard library.
    #[expect(clippy::expect_used, reason = "says what the standard library's maps say")]
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("no entry found for key")
    }
}

impl<'m, K: Ord, V> IntoIterator for &'m SharedMap<K, V> {
    type Item = (&'m K, &'m V);
    type IntoIter = Iter<'m, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Ord + Clone, V: Clone> Extend<(K, V)> for SharedMap<K, V> {
    fn extend<T: IntoIterator<Item = (K, V)>>(&mut self, entries: T) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

/// The last value of a key counts.
impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(entries: T) -> Self {
        let mut map = Self::default();
        map.extend(entries);
        map
    }
}

/// The last value of a key counts.
impl<K: Ord + Clone, V: Clone, const N: usize> From<[(K, V); N]> for SharedMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}
