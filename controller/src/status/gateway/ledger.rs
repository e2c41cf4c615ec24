//! The ledger of statuses of Gateway API: what the API server has, what is to be there, which objects differ, and when
//! and in which order each may be written. Pure: what time it is, is said.
//!
//! As in the ledger of Ingresses, what is noted of an object is the truth, and what was written counts only until
//! something newer was noted, and only for the object that it was written to.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;
use tokio::time::Instant;

use super::finish::{Finished, Surroundings, finish};
use super::queue::{Queue, Urgency};
use crate::resources::{Key, Kind};
use crate::translate::Statuses;
use crate::translate::gateway::status::{Cond, CondKind, Wanted};
use crate::watch::{Kept, SeenStatus};

/// An object is not written again sooner: while a thousand routes come, their Gateway counts them once in a while.
const PACE: Duration = Duration::from_millis(100);
/// Nor, when it was written again and again, sooner than this.
const SLOW_PACE: Duration = Duration::from_millis(400);
/// What was not written for so long is written at the quick pace again.
const REST: Duration = Duration::from_secs(1);
/// What was overwritten, or failed, is written again after this time, and after twice as much every time after that.
const PATIENCE: Duration = Duration::from_secs(1);
/// But not later than this.
const LONGEST: Duration = Duration::from_secs(60);
/// After so long without being overwritten all is forgotten.
const FORGET: Duration = Duration::from_secs(180);
/// So many objects are looked at in one go.
const LOOKS: usize = 64;
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
    /// Those that differ and may be written.
    queue: Queue,
    /// Those that differ and may be written later.
    later: BTreeSet<(Instant, Key)>,
    writing: FxHashSet<Key>,
    /// Those that are still to be looked at since [`Ledger::look_at_all`]; the last is the next.
    unlooked: Vec<Key>,
    /// How much was noted so far.
    notes: u64,
}

/// A write to be made.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) key: Key,
    pub(super) uid: Arc<str>,
    /// The version that it follows from.
    pub(super) basis: Arc<str>,
    /// Whether others write into the same list: then nobody may have written since.
    pub(super) shared: bool,
    /// The whole status.
    pub(super) status: Value,
    /// What we say in it.
    pub(super) digest: u64,
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
    /// The release that is installed does not know a field of it.
    Undeclared,
    /// It failed.
    Failed,
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
    refused: Option<Refused>,
    /// It is ours no longer, and what is wanted says so. Of the generation when it ceased to be: what was written since
    /// may have made it another controller's.
    leaving: Option<i64>,
}

/// A version onto which nothing can be written: there is a newer one, which is still to be seen.
#[derive(Clone, Debug)]
struct Refused {
    version: Arc<str>,
    at: Instant,
    times: u32,
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
    /// How often something was written shortly after the time before.
    heat: u32,
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
            queue: Queue::default(),
            later: BTreeSet::new(),
            writing: FxHashSet::default(),
            unlooked: Vec::new(),
            notes: 0,
        }
    }

    /// Takes note of an object; `None`: it is gone.
    pub(super) fn note(&mut self, key: &Key, seen: Option<SeenObject>, now: Instant) {
        self.notes += 1;
        let entry = self.entries.entry(key.clone()).or_default();
        fn basis(seen: &SeenObject) -> (i64, usize, Option<&Kept>) {
            (seen.generation, seen.status.foreign.len(), seen.status.kept.as_deref())
        }
        if entry.seen.as_ref().map(basis) != seen.as_ref().map(basis) {
            entry.digest = None;
        }
        if entry.seen.as_ref().map(|seen| &seen.uid) != seen.as_ref().map(|seen| &seen.uid) {
            (entry.last, entry.refused) = (None, None);
        }
        (entry.seen, entry.note) = (seen, self.notes);
        entry.check_leaving(key.kind);
        self.look_at(key, now);
    }

    /// Says what statuses are to say. Of what is in it no more, what we wrote is taken back. What never was in it is let
    /// alone.
    pub(super) fn want(&mut self, statuses: Arc<Statuses>, now: Instant) {
        let before = std::mem::replace(&mut self.statuses, statuses.clone());
        for (key, old, new) in before.objects.unshared(&statuses.objects) {
            if old.zip(new).is_some_and(|(old, new)| Arc::ptr_eq(old, new)) {
                continue;
            }
            let entry = self.entries.entry(key.clone()).or_default();
            entry.digest = None;
            match new {
                Some(new) => (entry.wanted, entry.leaving) = (Some(new.clone()), None),
                None => entry.leave(key.kind),
            }
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
        self.look_at_all();
        if !leading {
            self.writing.clear();
            // Nothing is worked out for it.
            while self.is_looking() {
                self.look_on(now);
            }
        }
    }

    /// Begins to look at every object, the most urgent first: see [`Self::look_on`].
    pub(super) fn look_at_all(&mut self) {
        self.unlooked = self.entries.keys().cloned().collect();
        self.unlooked.sort_unstable_by_key(|key| Reverse(Urgency::of(key.kind)));
    }

    /// Whether objects are still to be looked at.
    pub(super) fn is_looking(&self) -> bool {
        !self.unlooked.is_empty()
    }

    /// Looks at some of them. What the status of one is to say has to be worked out, and whoever shares the thread with
    /// us is not to wait for thousands.
    pub(super) fn look_on(&mut self, now: Instant) {
        for key in self.unlooked.split_off(self.unlooked.len().saturating_sub(LOOKS)) {
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

    /// Whether something could be written now.
    pub(super) fn is_waiting(&self) -> bool {
        self.leading && !self.queue.is_empty()
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
        let key = self.queue.pop()?;
        // Only what differs is ever queued.
        let entry = self.entries.get(&key)?;
        let (seen, wanted) = (entry.seen.as_ref()?, entry.wanted.as_ref()?);
        let Finished { mut status, list } = finish(wanted, &self.around, &self.controller, &seen.status)?;
        seen.status.stamp(&mut status, seen.generation, time);
        let digest = SeenStatus::of(&status, &self.controller).digest;
        if let Some(entries) = list.and_then(|list| status.get_mut(list)).and_then(Value::as_array_mut) {
            // They were JSON before.
            let foreign = seen.status.foreign.iter().filter_map(|entry| serde_json::from_str(entry).ok());
            entries.splice(0..0, foreign);
        }
        let (uid, basis) = (seen.uid.clone(), seen.status.version.clone());
        let write = Write { uid, basis, shared: list.is_some(), status, digest, note: entry.note, key };
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
        let heat = entry.last.filter(|last| now < last.at + REST).map_or(0, |last| last.heat.saturating_add(1));
        let mut last = Last { digest: write.digest, at: now, again: 0, failed: 0, heat };
        match outcome {
            // More will be noted, or was; if not, it is looked at when everything is.
            Outcome::Gone => return false,
            Outcome::Written(status) => {
                last.again = before.map_or(0, |before| before.again.saturating_add(1));
                // It will be noted; until then it must not be written again. What was noted meanwhile is newer, or as new.
                if entry.note == write.note {
                    seen.status = Arc::new(status);
                }
                if entry.leaving.take().is_some() {
                    entry.wanted = None;
                }
            }
            // Nothing failed: onto the newer version, which may have been noted already, it is written at once.
            Outcome::Outdated => {
                if seen.status.version == write.basis {
                    let again = entry.refused.as_ref().filter(|refused| refused.version == write.basis);
                    let times = again.map_or(0, |refused| refused.times.saturating_add(1));
                    entry.refused = Some(Refused { version: write.basis.clone(), at: now, times });
                }
                self.look_at(&write.key, now);
                return false;
            }
            Outcome::Undeclared | Outcome::Failed => {
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
            entry.wanted.is_some() && seen.is_some() && entry.digest.is_some() && seen != entry.digest
        })
    }

    /// Queues an object if it differs.
    fn look_at(&mut self, key: &Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return self.queue.remove(key) };
        if let Some(due) = entry.due.take() {
            self.later.remove(&(due, key.clone()));
        }
        if entry.seen.is_none() && entry.wanted.is_none() {
            self.entries.remove(key);
            return self.queue.remove(key);
        }
        // When the write that runs has ended, it is looked at again.
        if !self.leading || self.writing.contains(key) {
            return self.queue.remove(key);
        }
        match entry.time_of(&self.around, &self.controller) {
            None => self.queue.remove(key),
            // Two controllers of one name would write against each other as fast as the API server can.
            Some(Some(next)) if next > now => {
                self.queue.remove(key);
                entry.due = Some(next);
                self.later.insert((next, key.clone()));
            }
            Some(_) => self.queue.push(key),
        }
    }
}

impl Entry {
    /// When it may be written, `Some(None)` being at once; `None` when there is nothing to write.
    fn time_of(&mut self, around: &Surroundings, controller: &str) -> Option<Option<Instant>> {
        let (seen, wanted) = (self.seen.as_ref()?, self.wanted.as_ref()?);
        // It would be another controller's.
        if matches!(**wanted, Wanted::Withdrawn { .. }) && !seen.status.marked {
            return None;
        }
        if self.digest.is_none() {
            self.digest = digest(wanted, seen, around, controller);
        }
        let digest = self.digest.filter(|digest| *digest != seen.status.digest)?;
        let refused = self.refused.as_ref().filter(|refused| refused.version == seen.status.version);
        let refused = refused.map(|refused| refused.at + growing(refused.times));
        Some(refused.max(self.last.map(|last| last.next(digest))))
    }

    /// It is ours no more: what we wrote is to be taken back, if we did.
    fn leave(&mut self, kind: Kind) {
        let seen = self.seen.as_ref().filter(|seen| seen.status.digest != 0);
        let nothing = seen.and_then(|seen| Some((seen.generation, nothing(kind)?)));
        (self.leaving, self.wanted) = nothing.map(|(at, wanted)| (at, Arc::new(wanted))).unzip();
    }

    /// Looks whether what is taken back is still what it was.
    fn check_leaving(&mut self, kind: Kind) {
        let Some(at) = self.leaving else { return };
        // Entries of lists bear our name. What else there is may be another controller's by now.
        let same = self.seen.as_ref().is_some_and(|seen| {
            seen.status.digest != 0 && (seen.generation == at || Urgency::of(kind) != Urgency::Gateways)
        });
        if !same {
            (self.leaving, self.wanted) = (None, None);
        }
    }
}

/// What the status of an object says that we say nothing of any more. A class has another controller only as another one.
fn nothing(kind: Kind) -> Option<Wanted> {
    Some(match Urgency::of(kind) {
        Urgency::Routes => Wanted::Route { parents: Vec::new() },
        Urgency::Policies if kind == Kind::XBackend => Wanted::XBackend { parents: Vec::new() },
        Urgency::Policies => Wanted::Policy { ancestors: Vec::new() },
        Urgency::Gateways if kind == Kind::GatewayClass => return None,
        Urgency::Gateways => {
            let gone = |kind| Cond::fails(kind, "Pending", "the controller does not look at this namespace any more");
            Wanted::Withdrawn { conditions: [CondKind::Accepted, CondKind::Programmed].map(gone).to_vec() }
        }
    })
}

/// What the status of an object is to say, if that is known.
fn digest(wanted: &Wanted, seen: &SeenObject, around: &Surroundings, controller: &str) -> Option<u64> {
    let mut status = finish(wanted, around, controller, &seen.status)?.status;
    seen.status.stamp(&mut status, seen.generation, 0);
    Some(SeenStatus::of(&status, controller).digest)
}

/// The wait after so many times before.
fn growing(times: u32) -> Duration {
    PATIENCE.saturating_mul(1 << times.min(10)).min(LONGEST)
}

impl Last {
    /// When something may be written again.
    fn next(&self, digest: u64) -> Instant {
        let wait = match self.failed {
            0 if self.digest == digest => growing(self.again),
            0 => PACE.saturating_mul(1 << self.heat.min(10)).min(SLOW_PACE),
            failed => growing(failed - 1),
        };
        self.at + wait
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
