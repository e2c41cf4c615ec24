//! The cache on disk (`--cache-file`): what the API server said last, for a process that starts while the API server
//! can't be reached. Off by default: the file holds the private keys of every certificate in use, as plain text that
//! only its owner may read (mode 0600). Whoever turns it on puts it on a volume that is as safe as that demands.
//!
//! It is a journal: a line for every object that came (`Kind namespace/name JSON`) or went (`Kind namespace/name`), the
//! last line about an object being the one that counts. It is written by a thread of its own, and rewritten when most
//! of it no longer counts. A line that was cut short by a crash is passed over. While a slow disk keeps the thread
//! waiting, what is known of an object last takes the place of what is not written yet: never more waits than there is.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{mem, thread};

use parking_lot::{Condvar, Mutex};
use serde_json::Value;

use crate::resources::{Key, Kind};

/// So much may be appended beyond twice what counted at the last rewriting.
const SLACK: u64 = 1 << 20;

/// The writing end. Dropping it lets the thread finish and end.
#[derive(Debug)]
pub(super) struct Cache {
    waiting: Arc<Waiting>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What is to be written.
#[derive(Debug, Default)]
struct Waiting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The last line about each object.
    lines: BTreeMap<Key, String>,
    /// Whether nothing will be added.
    closed: bool,
    /// Whether nothing is taken any more: the disk does not take it.
    broken: bool,
}

/// An object of the cache.
pub(super) struct Cached {
    pub(super) kind: Kind,
    pub(super) value: Value,
}

impl Cache {
    /// Opens or makes the file. Returns what it holds.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Cached>)> {
        let mut journal = Journal::open(path)?;
        let objects = journal.read()?;
        let waiting = Arc::<Waiting>::default();
        let written = waiting.clone();
        let thread = thread::Builder::new().name("cache".to_owned()).spawn(move || journal.write_all(&written))?;
        Ok((Self { waiting, thread: Some(thread) }, objects))
    }

    /// An object came.
    pub(super) fn came(&self, key: &Key, value: &Value) {
        self.waiting.add(key, format!("{} {}/{} {value}\n", key.kind.as_str(), key.name.namespace, key.name.name));
    }

    /// An object went.
    pub(super) fn went(&self, key: &Key) {
        self.waiting.add(key, format!("{} {}/{}\n", key.kind.as_str(), key.name.namespace, key.name.name));
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.waiting.state.lock().closed = true;
        self.waiting.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic was told when it happened.
            let _ = thread.join();
        }
    }
}

impl Waiting {
    fn add(&self, key: &Key, line: String) {
        let mut state = self.state.lock();
        if !state.broken {
            state.lines.insert(key.clone(), line);
            self.changed.notify_one();
        }
    }

    /// Waits for lines and takes all of them; `None` when there will be none.
    fn next(&self) -> Option<BTreeMap<Key, String>> {
        let mut state = self.state.lock();
        while state.lines.is_empty() {
            if state.closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
        Some(mem::take(&mut state.lines))
    }
}

struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
    /// Its length when it was last rewritten.
    counted: u64,
}

impl Journal {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
        let metadata = file.metadata()?;
        if metadata.permissions().mode() & 0o077 != 0 {
            tracing::warn!(file = %path.display(), "the cache could be read by others; now only its owner can");
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        Ok(Self { path: path.to_owned(), file, length: metadata.len(), counted: 0 })
    }

    /// Every object that counts; then the journal holds nothing else.
    fn read(&mut self) -> io::Result<Vec<Cached>> {
        let places = self.rewrite()?;
        let mut objects = Vec::with_capacity(places.len());
        self.each_line(|_, line| {
            let Some((kind, _, Some(json))) = parse(line) else { return };
            if let Ok(value) = serde_json::from_str(json) {
                objects.push(Cached { kind, value });
            }
        })?;
        Ok(objects)
    }

    fn write_all(mut self, waiting: &Waiting) {
        while let Some(lines) = waiting.next() {
            if let Err(error) = lines.into_values().try_for_each(|line| self.append(&line)) {
                tracing::error!(file = %self.path.display(), %error, "the cache can't be written; it is not kept any more");
                // What is in it grows old, and old keys must not lie around.
                let _ = fs::remove_file(&self.path);
                let mut state = waiting.state.lock();
                state.broken = true;
                state.lines = BTreeMap::new();
                return;
            }
        }
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        self.file.write_all(line.as_bytes())?;
        self.length += line.len() as u64;
        if self.length > 2 * self.counted + SLACK { self.rewrite().map(drop) } else { Ok(()) }
    }

    /// Leaves only the lines that count, in a new file in place of the old one. Returns where they were. Of one that
    /// does not come about nothing stays: there are keys in it.
    fn rewrite(&mut self) -> io::Result<BTreeMap<(Kind, String), u64>> {
        let mut places = BTreeMap::new();
        self.each_line(|at, line| match parse(line) {
            Some((kind, name, Some(_))) => drop(places.insert((kind, name.to_owned()), at)),
            Some((kind, name, None)) => drop(places.remove(&(kind, name.to_owned()))),
            None => {}
        })?;
        // Added to the whole name, which may end like this by itself.
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        // One that a crash left behind.
        let _ = fs::remove_file(&temporary);
        let replaced = self.write_new(&temporary, &places).and_then(|new| {
            let length = new.metadata()?.len();
            fs::rename(&temporary, &self.path)?;
            Ok((new, length))
        });
        let (new, length) = replaced.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
        (self.file, self.length, self.counted) = (new, length, length);
        Ok(places)
    }

    /// A new file with the lines that begin at these places.
    fn write_new(&self, path: &Path, places: &BTreeMap<(Kind, String), u64>) -> io::Result<File> {
        let new = OpenOptions::new().create_new(true).append(true).read(true).mode(0o600).open(path)?;
        let mut writer = BufWriter::new(&new);
        let mut outcome = Ok(());
        self.each_line(|at, line| {
            let counts = parse(line).is_some_and(|(kind, name, _)| places.get(&(kind, name.to_owned())) == Some(&at));
            if counts && outcome.is_ok() {
                outcome = writer.write_all(line.as_bytes());
            }
        })?;
        outcome.and_then(|()| writer.flush())?;
        drop(writer);
        Ok(new)
    }

    /// Shows every whole line, its newline included, and where it begins.
    fn each_line(&self, mut see: impl FnMut(u64, &str)) -> io::Result<()> {
        let mut file = &self.file;
        file.rewind()?;
        let mut reader = BufReader::new(file);
        let (mut at, mut bytes) = (0, Vec::new());
        loop {
            bytes.clear();
            let length = reader.read_until(b'\n', &mut bytes)?;
            if length == 0 {
                return Ok(());
            }
            if let Ok(line) = std::str::from_utf8(&bytes)
                && line.ends_with('\n')
            {
                see(at, line);
            }
            at += length as u64;
        }
    }
}

/// Kind, name and JSON of a line.
fn parse(line: &str) -> Option<(Kind, &str, Option<&str>)> {
    let (kind, rest) = line.trim_end().split_once(' ')?;
    let kind = *Kind::ALL.iter().find(|known| known.as_str() == kind)?;
    match rest.split_once(' ') {
        Some((name, json)) => Some((kind, name, Some(json))),
        None => Some((kind, rest, None)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(objects: &[Cached]) -> Vec<String> {
        objects.iter().map(|object| object.value["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    fn put(cache: &Cache, name: &str, padding: usize) {
        let value = json!({"metadata": {"name": name}, "data": "x".repeat(padding)});
        cache.came(&Key::new(Kind::Ingress, "default", name), &value);
    }

    #[test]
    fn what_came_and_did_not_go_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let (cache, objects) = Cache::open(&path).unwrap();
        assert!(objects.is_empty());
        for name in ["a", "b", "a", "c"] {
            put(&cache, name, 1);
        }
        cache.went(&Key::new(Kind::Ingress, "default", "b"));
        drop(cache);
        // A crash in the middle of a line.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"Ingress default/d {\"meta").unwrap();
        let (cache, objects) = Cache::open(&path).unwrap();
        assert_eq!(names(&objects), ["a", "c"]);
        put(&cache, "e", 1);
        drop(cache);
        assert_eq!(names(&Cache::open(&path).unwrap().1), ["a", "c", "e"]);
    }

    #[test]
    fn of_an_object_that_changes_faster_than_the_disk_writes_only_the_last_version_waits() {
        let waiting = Arc::<Waiting>::default();
        // Nobody writes.
        let cache = Cache { waiting: waiting.clone(), thread: None };
        for _ in 0..100 {
            put(&cache, "a", 100_000);
        }
        cache.went(&Key::new(Kind::Ingress, "default", "a"));
        put(&cache, "b", 1);
        drop(cache);
        let lines: Vec<_> = waiting.next().unwrap().into_values().collect();
        assert!(lines.len() == 2 && lines[0] == "Ingress default/a\n", "{lines:?}");
        assert!(waiting.next().is_none());
    }

    #[test]
    fn what_a_disk_does_not_take_is_not_kept_in_memory_either() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        fs::write(&path, "").unwrap();
        // It can be read only.
        let journal = Journal { file: File::open(&path).unwrap(), path: path.clone(), length: 0, counted: 0 };
        let waiting = Arc::<Waiting>::default();
        let cache = Cache { waiting: waiting.clone(), thread: None };
        put(&cache, "a", 1);
        journal.write_all(&waiting);
        put(&cache, "a", 1);
        assert!(waiting.state.lock().lines.is_empty() && !path.exists());
    }

    #[test]
    fn a_rewriting_that_fails_leaves_no_keys_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let mut journal = Journal::open(&path).unwrap();
        // It can't be replaced by a file.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        journal.length = 3 * SLACK;
        let error = journal.append("Secret default/a {}\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["cache"]);
    }

    #[test]
    fn the_file_may_have_any_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["cache.new", "cache", "new", ".new"] {
            let path = folder.path().join(name);
            let (cache, _) = Cache::open(&path).unwrap();
            put(&cache, "a", 1);
            drop(cache);
            assert_eq!(names(&Cache::open(&path).unwrap().1), ["a"], "{name}");
        }
    }

    #[test]
    fn only_the_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let (cache, _) = Cache::open(&path).unwrap();
        put(&cache, "a", 1);
        drop(cache);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn it_does_not_grow_with_the_number_of_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let (cache, _) = Cache::open(&path).unwrap();
        for _ in 0..100 {
            put(&cache, "a", 100_000);
        }
        drop(cache);
        assert!(fs::metadata(&path).unwrap().len() < 2 * SLACK);
        assert_eq!(names(&Cache::open(&path).unwrap().1), ["a"]);
    }
}
