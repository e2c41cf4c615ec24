//! Memo: outputs of units of work with what each of them read, and the way back from a dependency to its readers. A unit
//! that gave nothing is remembered with what it read, as that may be why.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::reader::{Dependency, Dirty, Reader, Reads};
use crate::small_map::SmallSet;

/// What a unit of work gives.
pub trait Output: PartialEq {
    /// Takes over from `old`, which differs, whatever parts are equal, so that pointers tell what changed.
    fn share(&mut self, old: &Self) {
        let _ = old;
    }
}

/// Remembered outputs by unit.
#[derive(Debug)]
pub struct Memo<K, V> {
    entries: FxHashMap<K, Entry<V>>,
    readers: FxHashMap<Dependency, SmallSet<K>>,
}

#[derive(Debug)]
struct Entry<V> {
    /// `None` of a unit that read something and gave nothing.
    output: Option<Arc<V>>,
    reads: Reads,
}

/// What became of a unit.
#[derive(Debug)]
pub struct Changed<V> {
    /// Its output before; `None` for a new unit.
    pub old: Option<Arc<V>>,
    /// Its output now; `None` for a removed unit.
    pub new: Option<Arc<V>>,
}

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self { entries: FxHashMap::default(), readers: FxHashMap::default() }
    }
}

impl<K: Clone + Ord + Hash, V: Output> Memo<K, V> {
    /// The output of a unit.
    pub fn get(&self, unit: &K) -> Option<&Arc<V>> {
        self.entries.get(unit)?.output.as_ref()
    }

    /// Every unit that has an output, in no order.
    pub fn units(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().filter(|(_, entry)| entry.output.is_some()).map(|(unit, _)| unit)
    }

    /// Whether any unit read this.
    pub fn is_read(&self, dependency: &Dependency) -> bool {
        self.readers.contains_key(dependency)
    }

    /// The units that read something dirty.
    pub fn stale(&self, dirty: &Dirty) -> BTreeSet<K> {
        if dirty.iter().any(Dependency::is_common) {
            return self.entries.keys().cloned().collect();
        }
        dirty.iter().filter_map(|dependency| self.readers.get(dependency)).flat_map(SmallSet::keys).cloned().collect()
    }

    /// Does a unit anew and remembers its reads. With `None` from `work` it has no output: it is forgotten if it read
    /// nothing, as a unit does whose object is gone; else it waits for a change of what it read. Returns what changed;
    /// `None` when the output is equal to the one before, which is then kept.
    pub fn refresh<'w>(
        &mut self,
        unit: &K,
        reader: Reader<'w>,
        work: impl FnOnce(&Reader<'w>) -> Option<V>,
    ) -> Option<Changed<V>> {
        let output = work(&reader);
        let reads = reader.into_reads();
        let old = self.entries.remove(unit);
        if let Some(old) = &old {
            self.forget(unit, old.reads.iter().filter(|read| !reads.contains(read)));
        }
        for read in reads.iter() {
            if old.as_ref().is_none_or(|old| !old.reads.contains(read)) {
                self.readers.entry(read.clone()).or_default().insert(unit.clone(), ());
            }
        }
        let old = old.and_then(|entry| entry.output);
        let (output, changed) = match (old, output) {
            (None, None) => (None, None),
            (Some(old), Some(output)) if *old == output => (Some(old), None),
            (old, output) => {
                let new = output.map(|mut output| {
                    if let Some(old) = &old {
                        output.share(old);
                    }
                    Arc::new(output)
                });
                (new.clone(), Some(Changed { old, new }))
            }
        };
        if output.is_some() || reads.iter().next().is_some() {
            self.entries.insert(unit.clone(), Entry { output, reads });
        }
        changed
    }

    /// Forgets a unit.
    pub fn remove(&mut self, unit: &K) -> Option<Changed<V>> {
        let entry = self.entries.remove(unit)?;
        self.forget(unit, entry.reads.iter());
        Some(Changed { old: Some(entry.output?), new: None })
    }

    fn forget<'r>(&mut self, unit: &K, reads: impl Iterator<Item = &'r Dependency>) {
        for read in reads {
            if let Some(units) = self.readers.get_mut(read) {
                units.remove(unit);
                if units.is_empty() {
                    self.readers.remove(read);
                }
            }
        }
    }
}
