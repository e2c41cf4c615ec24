//! The ledger of Ingresses: what the API server has, what was written, which of them differ from what is wanted, and
//! when each may be written. Pure: what time it is, is said.
//!
//! What is noted of an Ingress is the truth. What was written counts only until something newer was noted, and only for
//! the object that it was written to: so whatever a write met (a deletion, another object of that name, another writer),
//! the next look finds the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::writer::IngressState;
use crate::resources::NamespacedName;
use crate::watch::Address;

/// Whoever overwrites our addresses is answered this much later, twice as late every time after that.
const PATIENCE: Duration = Duration::from_secs(1);
/// But not later than this.
const LONGEST: Duration = Duration::from_secs(60);
/// After so long without being overwritten all is forgotten.
const FORGET: Duration = Duration::from_secs(180);
/// Overwritten so often, it is told.
const CONTESTED: u32 = 3;

/// Addresses that Ingresses are to have.
pub(super) type Addresses = Arc<BTreeSet<Address>>;

/// All Ingresses of ours.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<NamespacedName, Entry>,
    /// `None`: nothing is to be written.
    wanted: Option<Addresses>,
    /// Those that differ and may be written.
    queue: BTreeSet<NamespacedName>,
    /// Those that differ and were written a moment ago, by when they are looked at again.
    later: BTreeSet<(Instant, NamespacedName)>,
    writing: BTreeSet<NamespacedName>,
    /// How much was noted so far.
    notes: u64,
}

/// A write to be made.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) name: NamespacedName,
    pub(super) uid: Arc<str>,
    pub(super) addresses: Addresses,
    /// Which note it follows from.
    note: u64,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The object has the addresses.
    Written,
    /// There is no such object, or it is another one.
    Gone,
    /// It failed.
    Failed,
}

#[derive(Debug)]
struct Entry {
    state: IngressState,
    note: u64,
    written: Option<Written>,
}

/// What was written last.
#[derive(Clone, Debug)]
struct Written {
    addresses: Addresses,
    at: Instant,
    /// How often the same was written again before.
    again: u32,
}

impl Ledger {
    /// Takes note of an Ingress; `None`: it is gone, or not ours.
    pub(super) fn note(&mut self, name: &NamespacedName, state: Option<IngressState>, now: Instant) {
        self.notes += 1;
        match state {
            Some(state) => {
                let before = self.entries.remove(name).filter(|entry| entry.state.uid == state.uid);
                let written = before.and_then(|entry| entry.written);
                self.entries.insert(name.clone(), Entry { state, note: self.notes, written });
            }
            None => drop(self.entries.remove(name)),
        }
        self.look_at(name, now);
    }

    /// Says what Ingresses are to have; `None`: they are let alone, and writes that run are forgotten.
    pub(super) fn want(&mut self, wanted: Option<Addresses>, now: Instant) {
        self.wanted = wanted;
        if self.wanted.is_none() {
            self.writing.clear();
        }
        self.look_at_all(now);
    }

    /// Looks at every Ingress.
    pub(super) fn look_at_all(&mut self, now: Instant) {
        self.queue.clear();
        self.later.clear();
        let names: Vec<_> = self.entries.keys().cloned().collect();
        names.iter().for_each(|name| self.look_at(name, now));
    }

    /// Looks at those whose time has come.
    pub(super) fn wake(&mut self, now: Instant) {
        while self.due().is_some_and(|due| due <= now)
            && let Some((_, name)) = self.later.pop_first()
        {
            self.look_at(&name, now);
        }
    }

    /// When [`Self::wake`] is to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.later.first().map(|(due, _)| *due)
    }

    /// The next write, if fewer than `at_once` run.
    pub(super) fn next(&mut self, at_once: usize) -> Option<Write> {
        let addresses = self.wanted.clone()?;
        if self.writing.len() >= at_once {
            return None;
        }
        let name = self.queue.iter().find(|name| !self.writing.contains(*name))?.clone();
        self.queue.remove(&name);
        // Only what is in the ledger is ever queued.
        let entry = self.entries.get(&name)?;
        self.writing.insert(name.clone());
        Some(Write { uid: entry.state.uid.clone(), addresses, note: entry.note, name })
    }

    /// Takes note of the end of a write. Gives whether somebody keeps overwriting this Ingress.
    pub(super) fn done(&mut self, write: &Write, outcome: Outcome, now: Instant) -> bool {
        self.writing.remove(&write.name);
        // One that failed is written when it is looked at next; of one that is gone more will be noted, or was.
        let (Outcome::Written, Some(entry)) = (outcome, self.entries.get_mut(&write.name)) else { return false };
        if entry.state.uid != write.uid {
            return false;
        }
        let before = entry.written.as_ref().filter(|before| before.addresses == write.addresses);
        let again = before.filter(|before| now < before.at + FORGET).map_or(0, |before| before.again.saturating_add(1));
        entry.written = Some(Written { addresses: write.addresses.clone(), at: now, again });
        // It will be noted; until then it must not be written again. What was noted meanwhile is newer, or as new.
        if entry.note == write.note {
            entry.state.published = write.addresses.iter().cloned().collect();
        }
        self.look_at(&write.name, now);
        again == CONTESTED
    }

    /// Whether an Ingress of ours has other addresses than it is to have.
    pub(super) fn differs(&self, name: &NamespacedName) -> bool {
        self.entries.get(name).zip(self.wanted.as_ref()).is_some_and(|(entry, wanted)| !has(&entry.state, wanted))
    }

    /// The Ingresses that have exactly these addresses.
    pub(super) fn that_have(&self, addresses: &BTreeSet<Address>) -> Vec<(NamespacedName, IngressState)> {
        let having = self.entries.iter().filter(|(_, entry)| has(&entry.state, addresses));
        having.map(|(name, entry)| (name.clone(), entry.state.clone())).collect()
    }

    /// Queues an Ingress if it differs.
    fn look_at(&mut self, name: &NamespacedName, now: Instant) {
        self.queue.remove(name);
        let (Some(entry), Some(wanted)) = (self.entries.get(name), &self.wanted) else { return };
        if has(&entry.state, wanted) {
            return;
        }
        // Two controllers of one class would write against each other as fast as the API server can.
        match entry.written.as_ref().filter(|written| written.addresses == *wanted).map(Written::next) {
            Some(next) if next > now => drop(self.later.insert((next, name.clone()))),
            _ => drop(self.queue.insert(name.clone())),
        }
    }
}

impl Written {
    /// When the same may be written again.
    fn next(&self) -> Instant {
        self.at + PATIENCE.saturating_mul(1 << self.again.min(10)).min(LONGEST)
    }
}

fn has(state: &IngressState, wanted: &BTreeSet<Address>) -> bool {
    state.published.iter().collect::<BTreeSet<_>>() == wanted.iter().collect()
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
