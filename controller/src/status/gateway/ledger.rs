//! The ledger of statuses of Gateway API: what the API server has, what is to be there, which objects differ, and when
//! and in which order each may be written. Pure: what time it is, is said.
//!
//! As in the ledger of Ingresses, what is noted of an object is the truth, and what was written counts only until
//! something newer was noted, and only for the object that it was written to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;
use tokio::time::Instant;

use super::finish::{Finished, Surroundings, finish};
use crate::resources::{Key, Kind};
use crate::translate::Statuses;
use crate::translate::gateway::status::Wanted;
use crate::watch::SeenStatus;

/// An object is not written again sooner: while a thousand routes come, their Gateway counts them once in a while.
const PACE: Duration = Duration::from_millis(100);
/// What was overwritten, or failed, is written again after this time, and after twice as much every time after that.
const PATIENCE: Duration = Duration::from_secs(1);
/// But not later than this.
const LONGEST: Duration = Duration::from_secs(60);
/// After so long without being overwritten all is forgotten.
const FORGET: Duration = Duration::from_secs(180);
/// Overwritten so often, it is told.
const CONTESTED: u32 = 3;

/// An object as the API server has it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenObject {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.generation` of what was translated.
    pub generation: i64,
    /// Its status.
    pub status: Arc<SeenStatus>,
}

/// All objects that have a status of Gateway API.
#[derive(Debug)]
pub(super) struct Ledger {
    controller: Arc<str>,
    leading: bool,
    entries: FxHashMap<Key, Entry>,
    statuses: Arc<Statuses>,
    around: Surroundings,
    /// Those that differ and may be written, the most urgent first.
    queue: BTreeSet<(Urgency, Key)>,
    /// Those that differ and may be written later.
    later: BTreeSet<(Instant, Key)>,
    writing: FxHashSet<Key>,
    /// How much was noted so far.
    notes: u64,
}

/// A write to be made.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) key: Key,
    pub(super) uid: Arc<str>,
    /// The version that the written lists follow from, if there are any.
    pub(super) version: Option<Arc<str>>,
    /// The whole status.
    pub(super) status: Value,
    /// What we say in it.
    digest: u64,
    /// Which note it follows from.
    note: u64,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// The object's status is now this.
    Written(SeenStatus),
    /// There is no such object.
    Gone,
    /// Somebody wrote the object since, or it is another one.
    Outdated,
    /// It failed.
    Failed,
}

/// In which order statuses are written: that of a Gateway is waited for by people and machines, and says how many routes
/// there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Gateways,
    Policies,
    Routes,
}

#[derive(Debug, Default)]
struct Entry {
    seen: Option<SeenObject>,
    note: u64,
    wanted: Option<Arc<Wanted>>,
    /// What the status is to say; `None` while that was not worked out.
    digest: Option<u64>,
    /// When it is in [`Ledger::later`].
    due: Option<Instant>,
    last: Option<Last>,
}

/// The last attempt to write.
#[derive(Clone, Copy, Debug)]
struct Last {
    digest: u64,
    at: Instant,
    /// How often the same was written again before.
    again: u32,
    /// How often it failed in a row.
    failed: u32,
}

impl Urgency {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::GatewayClass | Kind::Gateway | Kind::ListenerSet => Self::Gateways,
            Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => Self::Routes,
            _ => Self::Policies,
        }
    }
}

impl Ledger {
    /// A ledger that knows nothing; `controller` is our `controllerName`.
    pub(super) fn new(controller: Arc<str>) -> Self {
        Self {
            controller,
            leading: false,
            entries: FxHashMap::default(),
            statuses: Arc::default(),
            around: Surroundings::default(),
            queue: BTreeSet::new(),
            later: BTreeSet::new(),
            writing: FxHashSet::default(),
            notes: 0,
        }
    }

    /// Takes note of an object; `None`: it is gone.
    pub(super) fn note(&mut self, key: &Key, seen: Option<SeenObject>, now: Instant) {
        self.notes += 1;
        let entry = self.entries.entry(key.clone()).or_default();
        let basis = |seen: &SeenObject| (seen.generation, seen.status.foreign.len());
        if entry.seen.as_ref().map(basis) != seen.as_ref().map(basis) {
            entry.digest = None;
        }
        if entry.seen.as_ref().map(|seen| &seen.uid) != seen.as_ref().map(|seen| &seen.uid) {
            entry.last = None;
        }
        (entry.seen, entry.note) = (seen, self.notes);
        self.look_at(key, now);
    }

    /// Says what statuses are to say. What is in it no more is let alone.
    pub(super) fn want(&mut self, statuses: Arc<Statuses>, now: Instant) {
        let before = std::mem::replace(&mut self.statuses, statuses.clone());
        for (key, old, new) in before.objects.unshared(&statuses.objects) {
            if old.zip(new).is_some_and(|(old, new)| Arc::ptr_eq(old, new)) {
                continue;
            }
            let entry = self.entries.entry(key.clone()).or_default();
            (entry.wanted, entry.digest) = (new.cloned(), None);
            self.look_at(key, now);
        }
    }

    /// Says what is true besides. Only what Gateways, ListenerSets and classes are told follows from it.
    pub(super) fn surround(&mut self, around: Surroundings, now: Instant) {
        if self.around == around {
            return;
        }
        self.around = around;
        let urgent = self.entries.keys().filter(|key| Urgency::of(key.kind) == Urgency::Gateways);
        for key in urgent.cloned().collect::<Vec<_>>() {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.digest = None;
            }
            self.look_at(&key, now);
        }
    }

    /// What is true besides.
    pub(super) fn surroundings(&self) -> &Surroundings {
        &self.around
    }

    /// Says whether we write at all. Writes that run are forgotten when we do no longer.
    pub(super) fn lead(&mut self, leading: bool, now: Instant) {
        self.leading = leading;
        if !leading {
            self.writing.clear();
        }
        self.look_at_all(now);
    }

    /// Looks at every object.
    pub(super) fn look_at_all(&mut self, now: Instant) {
        for key in self.entries.keys().cloned().collect::<Vec<_>>() {
            self.look_at(&key, now);
        }
    }

    /// Looks at those whose time has come.
    pub(super) fn wake(&mut self, now: Instant) {
        while self.due().is_some_and(|due| due <= now)
            && let Some((_, key)) = self.later.pop_first()
        {
            self.look_at(&key, now);
        }
    }

    /// When [`Self::wake`] is to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.later.first().map(|(due, _)| *due)
    }

    /// The next write, if fewer than `at_once` run; `time` is what a clock shows, in seconds since 1970.
    pub(super) fn next(&mut self, at_once: usize, time: i64) -> Option<Write> {
        if !self.leading || self.writing.len() >= at_once {
            return None;
        }
        let (_, key) = self.queue.pop_first()?;
        // Only what differs is ever queued.
        let entry = self.entries.get(&key)?;
        let (seen, wanted) = (entry.seen.as_ref()?, entry.wanted.as_ref()?);
        let foreign = &seen.status.foreign;
        let Finished { mut status, list } = finish(wanted, &self.around, &self.controller, foreign.len());
        seen.status.stamp(&mut status, seen.generation, time);
        let digest = SeenStatus::of(&status, &self.controller).digest;
        if let Some(entries) = list.and_then(|list| status.get_mut(list)).and_then(Value::as_array_mut) {
            entries.splice(0..0, foreign.iter().cloned());
        }
        let version = list.map(|_| seen.status.version.clone());
        let write = Write { uid: seen.uid.clone(), version, status, digest, note: entry.note, key };
        self.writing.insert(write.key.clone());
        Some(write)
    }

    /// Takes note of the end of a write. Gives whether somebody keeps overwriting this object.
    pub(super) fn done(&mut self, write: &Write, outcome: Outcome, now: Instant) -> bool {
        self.writing.remove(&write.key);
        let Some(entry) = self.entries.get_mut(&write.key) else { return false };
        let Some(seen) = entry.seen.as_mut().filter(|seen| seen.uid == write.uid) else {
            self.look_at(&write.key, now);
            return false;
        };
        let before = entry.last.filter(|last| last.digest == write.digest && now < last.at + FORGET);
        let mut last = Last { digest: write.digest, at: now, again: 0, failed: 0 };
        match outcome {
            // More will be noted, or was; if not, it is looked at when everything is.
            Outcome::Gone => return false,
            Outcome::Written(status) => {
                last.again = before.map_or(0, |before| before.again.saturating_add(1));
                // It will be noted; until then it must not be written again. What was noted meanwhile is newer, or as new.
                if entry.note == write.note {
                    seen.status = Arc::new(status);
                }
            }
            // The newer version was noted already: onto that it is written at once.
            Outcome::Outdated if write.version.as_ref().is_some_and(|version| seen.status.version != *version) => {
                self.look_at(&write.key, now);
                return false;
            }
            Outcome::Outdated | Outcome::Failed => {
                let failed = entry.last.map_or(0, |last| last.failed);
                (last.again, last.failed) = (before.map_or(0, |last| last.again), failed.saturating_add(1));
            }
        }
        entry.last = Some(last);
        self.look_at(&write.key, now);
        last.again == CONTESTED && last.failed == 0
    }

    /// Whether an object has another status than it is to have.
    pub(super) fn differs(&self, key: &Key) -> bool {
        self.entries.get(key).is_some_and(|entry| {
            let seen = entry.seen.as_ref().map(|seen| seen.status.digest);
            entry.wanted.is_some() && seen.is_some() && seen != entry.digest
        })
    }

    /// Queues an object if it differs.
    fn look_at(&mut self, key: &Key, now: Instant) {
        let urgency = Urgency::of(key.kind);
        let Some(entry) = self.entries.get_mut(key) else { return };
        let place = (urgency, key.clone());
        self.queue.remove(&place);
        if let Some(due) = entry.due.take() {
            self.later.remove(&(due, key.clone()));
        }
        let (Some(seen), Some(wanted)) = (&entry.seen, &entry.wanted) else {
            if entry.seen.is_none() && entry.wanted.is_none() {
                self.entries.remove(key);
            }
            return;
        };
        if !self.leading {
            return;
        }
        let digest = *entry.digest.get_or_insert_with(|| digest(wanted, seen, &self.around, &self.controller));
        // When the write that runs has ended, it is looked at again.
        if seen.status.digest == digest || self.writing.contains(key) {
            return;
        }
        match entry.last.map(|last| last.next(digest)) {
            // Two controllers of one name would write against each other as fast as the API server can.
            Some(next) if next > now => {
                entry.due = Some(next);
                self.later.insert((next, key.clone()));
            }
            _ => drop(self.queue.insert(place)),
        }
    }
}

/// What the status of an object is to say.
fn digest(wanted: &Wanted, seen: &SeenObject, around: &Surroundings, controller: &str) -> u64 {
    let mut status = finish(wanted, around, controller, seen.status.foreign.len()).status;
    seen.status.stamp(&mut status, seen.generation, 0);
    SeenStatus::of(&status, controller).digest
}

impl Last {
    /// When something may be written again.
    fn next(&self, digest: u64) -> Instant {
        let times = |count: u32| PATIENCE.saturating_mul(1 << count.min(10)).min(LONGEST);
        let wait = match self.failed {
            0 if self.digest == digest => times(self.again),
            0 => PACE,
            failed => times(failed - 1),
        };
        self.at + wait
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
