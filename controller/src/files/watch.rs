//! Watching: keeps a [`FileStore`] up to date for as long as it is asked to.
//!
//! ```text
//!  inotify --> event --> file of ours?  closed or renamed: look at once;  still open: look when it rests
//!                    \-> folder or link? walk the folder (compares times, reads only what changed)
//!  look: whole and nothing missing --> take it
//!        broken, shrunk or gone    --> somebody may be writing: look again after DOUBT, then decide
//!                                      (at once if it was renamed into place)
//! ```
//!
//! A change of a file that was written and closed, or renamed into place, is taken at once. Folders are watched one
//! by one, each before it is listed, so nothing falls between. Where inotify cannot be had (no descriptors left, a
//! file system without it), the folder is walked every two seconds instead.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::FileStore;
use super::store::{Look, Patience};
use super::walk::{Stamp, is_hidden, syntax};
use crate::translate::Change;

/// How long a file that is open for writing must rest before it is read.
const REST: Duration = Duration::from_millis(50);
/// After this long a file is read although it is written to all the time.
const RESTLESS: Duration = Duration::from_secs(1);
/// How long a file that broke, shrank or vanished is given before that counts.
const DOUBT: Duration = Duration::from_millis(250);
/// How often the folder is walked when it cannot be watched.
const POLL: Duration = Duration::from_secs(2);

/// A [`FileStore`] that follows its folder.
pub struct Watcher {
    store: FileStore,
    folders: Folders,
    events: mpsc::UnboundedReceiver<notify::Result<Event>>,
    /// Files that are being written, with when that began and when to look.
    resting: BTreeMap<PathBuf, (Instant, Instant)>,
    /// Files that looked bad, with when to decide.
    doubts: BTreeMap<PathBuf, Instant>,
    /// When to walk the folder.
    walk_at: Option<Instant>,
}

/// What a change of files came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// What changed in [`FileStore::resources`].
    pub changes: BTreeSet<Change>,
    /// Whether [`FileStore::problems`] may have changed.
    pub problems_changed: bool,
}

/// The folders that are watched.
struct Folders {
    /// `None`: not at all.
    watcher: Option<RecommendedWatcher>,
    /// By absolute path, as events name them.
    watched: BTreeMap<PathBuf, Folder>,
    /// How often to walk instead, or besides if some folder cannot be watched.
    poll: Option<Duration>,
}

struct Folder {
    /// As the store knows it.
    path: PathBuf,
    stamp: Option<(u64, u64)>,
    /// Names in it that mean another walk.
    names: BTreeSet<OsString>,
}

impl Watcher {
    /// Reads a file, or a folder and everything below it, and begins to watch it.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let handler = move |event: notify::Result<Event>| {
            // Every read is an event as well; only a writer's closing matters.
            let noise = |event: &Event| matches!(event.kind, EventKind::Access(kind) if kind != WRITTEN);
            if !event.as_ref().is_ok_and(noise) {
                // The receiver is gone only when the watcher is.
                let _ = sender.send(event);
            }
        };
        let watcher = notify::recommended_watcher(handler);
        if let Err(error) = &watcher {
            tracing::warn!(%error, every = ?POLL, "files cannot be watched; looking at them instead");
        }
        let poll = watcher.is_err().then_some(POLL);
        Self::begin(root.into(), Folders { watcher: watcher.ok(), watched: BTreeMap::new(), poll }, events)
    }

    /// As [`Self::open`], but looks at the folder's times at this interval instead of asking the system for events:
    /// for network file systems that give none.
    pub fn open_polling(root: impl Into<PathBuf>, every: Duration) -> Self {
        let (_, events) = mpsc::unbounded_channel();
        Self::begin(root.into(), Folders { watcher: None, watched: BTreeMap::new(), poll: Some(every) }, events)
    }

    fn begin(root: PathBuf, folders: Folders, events: mpsc::UnboundedReceiver<notify::Result<Event>>) -> Self {
        let mut watcher = Self {
            store: FileStore::empty(root),
            folders,
            events,
            resting: BTreeMap::new(),
            doubts: BTreeMap::new(),
            walk_at: None,
        };
        watcher.walk(Patience::Decide);
        watcher
    }

    /// What the files hold now.
    pub fn store(&self) -> &FileStore {
        &self.store
    }

    /// The same, for whoever keeps its DNS answers.
    pub fn store_mut(&mut self) -> &mut FileStore {
        &mut self.store
    }

    /// Waits until the resources or the problems change. Reads files on the calling task. May be dropped and called
    /// again: nothing is lost.
    pub async fn changed(&mut self) -> Update {
        loop {
            let update = self.act(Instant::now());
            if !update.changes.is_empty() || update.problems_changed {
                return update;
            }
            let next = self.next_time();
            tokio::select! {
                Some(event) = self.events.recv() => self.note_all(event, Instant::now()),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                // Not watched and not polled cannot be: `poll` is set whenever watching failed.
                else => std::future::pending().await,
            }
        }
    }

    fn next_time(&self) -> Option<Instant> {
        let resting = self.resting.values().map(|(_, at)| *at);
        resting.chain(self.doubts.values().copied()).chain(self.walk_at).min()
    }

    /// Does what is due.
    fn act(&mut self, now: Instant) -> Update {
        let mut update = Update::default();
        if self.walk_at.is_some_and(|at| at <= now) {
            let look = self.walk(Patience::LookAgain);
            self.take(look, now, &mut update);
        }
        let rested: BTreeSet<PathBuf> =
            self.resting.extract_if(.., |_, (_, at)| *at <= now).map(|(path, _)| path).collect();
        if !rested.is_empty() {
            let look = self.store.look(&rested, Patience::LookAgain);
            for path in rested.difference(&look.unsettled) {
                self.doubts.remove(path);
            }
            self.take(look, now, &mut update);
        }
        let decided: BTreeSet<PathBuf> = self.doubts.extract_if(.., |_, at| *at <= now).map(|(path, _)| path).collect();
        if !decided.is_empty() {
            let look = self.store.look(&decided, Patience::Decide);
            self.take(look, now, &mut update);
        }
        update
    }

    fn take(&mut self, look: Look, now: Instant, update: &mut Update) {
        for path in look.unsettled {
            self.doubts.entry(path).or_insert(now + DOUBT);
        }
        update.changes.extend(look.changes);
        update.problems_changed |= look.problems_changed;
    }

    fn walk(&mut self, patience: Patience) -> Look {
        let folders = &mut self.folders;
        let (look, found) = self.store.look_everywhere(patience, &mut |folder| folders.enter(folder));
        self.folders.leave_all_but(found);
        self.walk_at = self.folders.poll.map(|every| Instant::now() + every);
        look
    }

    /// Notes an event and all that wait behind it, so that a burst is looked at once.
    fn note_all(&mut self, first: notify::Result<Event>, now: Instant) {
        let mut next = Some(first);
        while let Some(event) = next {
            match event {
                Ok(event) if event.need_rescan() => self.walk_at = Some(now),
                Ok(event) => event.paths.iter().for_each(|path| self.note(event.kind, path, now)),
                Err(error) => {
                    tracing::warn!(%error, "an event about files was lost; looking at all of them");
                    self.walk_at = Some(now);
                }
            }
            next = self.events.try_recv().ok();
        }
    }

    fn note(&mut self, kind: EventKind, path: &Path, now: Instant) {
        // A folder that we watch was made, moved or removed: what we watch may be another one now.
        if self.folders.watched.contains_key(path) {
            self.folders.forget(path);
            self.walk_at = Some(now);
            return;
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
        let Some(folder) = self.folders.watched.get(folder) else { return };
        let known = known_path(self.store.root(), &folder.path, name);
        let at = if is_at_rest(kind, &known) { now } else { now + REST };
        let read = self.store.knows(&known);
        if self.store.is_unreachable(&known) || (folder.names.contains(name) && (is_link(&known) || !read)) {
            self.walk_at = Some(self.walk_at.map_or(at, |earlier| earlier.min(at)));
            return;
        }
        let visible = known.starts_with(self.store.root()) && !is_hidden(&known);
        if known.is_dir() {
            self.walk_at = visible.then_some(now).or(self.walk_at);
        } else if read || (visible && syntax(&known).is_some()) {
            if kind == EventKind::Modify(ModifyKind::Name(RenameMode::To)) {
                // Renamed into place is whole: what it no longer holds was taken out on purpose.
                self.doubts.insert(known.clone(), now);
            }
            let (began, due) = self.resting.entry(known).or_insert((now, at));
            *due = at.min(*began + RESTLESS);
        }
    }
}

/// The path that the store has for a name in a folder: it leaves out the `.` that stands for the working folder.
fn known_path(root: &Path, folder: &Path, name: &OsStr) -> PathBuf {
    let plain = folder == Path::new(".") && !root.starts_with(".");
    if plain { PathBuf::from(name) } else { folder.join(name) }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

const WRITTEN: AccessKind = AccessKind::Close(AccessMode::Write);

/// Whether a file is whole after an event, as far as the event tells.
fn is_at_rest(kind: EventKind, path: &Path) -> bool {
    match kind {
        EventKind::Access(kind) => kind == WRITTEN,
        EventKind::Modify(ModifyKind::Name(mode)) => mode != RenameMode::Any,
        EventKind::Modify(ModifyKind::Metadata(_)) | EventKind::Remove(_) => true,
        // A link is whole when it is made.
        EventKind::Create(_) => is_link(path),
        _ => false,
    }
}

impl Folders {
    fn enter(&mut self, folder: &Path) {
        if self.watcher.is_none() {
            return;
        }
        let Ok(absolute) = std::path::absolute(folder) else { return };
        let stamp = fs::metadata(folder).ok().map(|metadata| Stamp::of(&metadata).identity());
        if self.watched.get(&absolute).is_some_and(|watched| watched.stamp == stamp) {
            return;
        }
        let same = |watched: &Folder| stamp.is_some() && watched.stamp == stamp;
        if let Some(other) = self.watched.iter().find(|(_, folder)| same(folder)).map(|(path, _)| path.clone()) {
            if fs::metadata(&other).ok().map(|metadata| Stamp::of(&metadata).identity()) == stamp {
                // One folder under two names: events come under one of them only.
                self.poll = Some(POLL);
                return;
            }
            self.forget(&other);
        }
        self.forget(&absolute);
        let Some(watcher) = &mut self.watcher else { return };
        match watcher.watch(&absolute, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(absolute, Folder { path: folder.to_owned(), stamp, names: BTreeSet::new() });
            }
            // A folder that is gone needs no watch: its parent has one.
            Err(_) if stamp.is_none() => {}
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, every = ?POLL, "cannot watch; looking instead");
                self.poll = Some(POLL);
            }
        }
    }

    /// Sets the names of the folders of a walk and stops watching all others.
    fn leave_all_but(&mut self, mut found: BTreeMap<PathBuf, BTreeSet<OsString>>) {
        let Some(watcher) = &mut self.watcher else { return };
        self.watched.retain(|absolute, folder| match found.remove(&folder.path) {
            Some(names) => {
                folder.names = names;
                true
            }
            None => {
                // It may have gone by itself with its folder.
                let _ = watcher.unwatch(absolute);
                false
            }
        });
    }

    /// Stops watching a folder and all below it.
    fn forget(&mut self, absolute: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        self.watched.retain(|path, _| {
            let below = path.starts_with(absolute);
            if below {
                // It may have gone by itself with its folder.
                let _ = watcher.unwatch(path);
            }
            !below
        });
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
