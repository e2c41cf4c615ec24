//! The store: what every file says, and the [`Resources`] that follow from it, kept up to date file by file.
//!
//! Only files that changed are read again. A file that breaks does not take down what it served:
//!
//! - a document whose object is known (its name could be read) keeps that object's last good version;
//! - a document of which not even the name could be read keeps every last good object of the file that the rest of
//!   the file does not define anew, because one of them is what the document was;
//! - of a policy that has no good version all that can be read is taken, so that what it keeps out stays out;
//! - a file that cannot be read keeps everything.
//!
//! Objects leave only with a file that is whole without them, or with their file. Where two files define one object,
//! the first in the order of paths is used, and the next takes over when it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::hash::Hasher;
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use genkan_routing::report::Severity;
use rustc_hash::{FxHashMap, FxHasher};

use super::decode::{Decoded, Item, decode};
use super::problem::FileProblem;
use super::text::{MAX_FILE, Syntax, documents, yaml_texts};
use super::walk::{Stamp, syntax, walk};
use super::{Loaded, Source};
use crate::resources::{Key, Resources};
use crate::small_map::SmallSet;
use crate::translate::Change;

/// The files of a folder (or one file) and the resources that they hold.
#[derive(Debug)]
pub struct FileStore {
    root: PathBuf,
    /// Boxed, because a B-tree has room for twice as many as it holds.
    files: BTreeMap<Arc<Path>, Box<File>>,
    /// Folders that cannot be listed, links that lead nowhere.
    unreachable: BTreeMap<Arc<Path>, FileProblem>,
    /// Every definition of every object, as file and position in [`File::objects`]: the first is the one in use.
    definitions: BTreeMap<Key, SmallSet<Place>>,
    /// Objects with more than one definition.
    contested: BTreeSet<Key>,
    resources: Resources,
}

/// Whether a bad look at a file is taken as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// A file that breaks, shrinks or vanishes is left as it was, to be looked at again: somebody may be writing it.
    LookAgain,
    /// What is there now counts.
    Decide,
}

/// What looking at files gave.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) changes: BTreeSet<Change>,
    /// Files to look at again.
    pub(super) unsettled: BTreeSet<PathBuf>,
    /// Whether [`FileStore::problems`] may have changed.
    pub(super) problems_changed: bool,
}

type Place = (Arc<Path>, usize);

#[derive(Debug, Default)]
struct File {
    stamp: Option<Stamp>,
    /// Of the content that was last taken; `None` when it could not be read.
    hash: Option<NonZeroU64>,
    objects: Vec<Decoded>,
    /// What can be read of objects that can't be read as a whole, until it is known whether there are earlier versions.
    rests: Vec<Decoded>,
    problems: Vec<FileProblem>,
    others: BTreeMap<String, usize>,
    /// Failures whose object is not known: while there are any, nothing leaves.
    nameless: bool,
}

impl FileStore {
    /// Reads a file, or a folder and everything below it.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        let mut store = Self::empty(root);
        store.rescan();
        store
    }

    /// A store of one file that is not on disk.
    pub(super) fn of_content(name: impl Into<PathBuf>, content: &[u8]) -> Self {
        let mut store = Self::empty(name);
        let name: Arc<Path> = Arc::from(store.root.as_path());
        let mut touched = BTreeSet::new();
        let mut file = parse(&name, content, None);
        file.keep(None);
        store.replace(&name, Some(file), &mut Look::default(), &mut touched);
        for key in touched {
            store.settle(&key);
        }
        store
    }

    pub(super) fn empty(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            files: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            definitions: BTreeMap::new(),
            contested: BTreeSet::new(),
            resources: Resources::default(),
        }
    }

    /// Everything that the files hold.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The same, for whoever keeps [`Resources::dns`]. Objects are not to be changed through it.
    pub fn resources_mut(&mut self) -> &mut Resources {
        &mut self.resources
    }

    /// Everything that is wrong with the files, in their order.
    pub fn problems(&self) -> Vec<FileProblem> {
        let mut problems: Vec<_> = self.unreachable.values().cloned().collect();
        problems.extend(self.files.values().flat_map(|file| file.problems.iter().cloned()));
        for key in &self.contested {
            let mut places =
                self.definitions.get(key).into_iter().flat_map(SmallSet::keys).filter_map(|place| self.at(place));
            let Some(winner) = places.next() else { continue };
            problems.extend(places.map(|loser| FileProblem::duplicate(loser, winner)));
        }
        problems.sort();
        problems
    }

    /// Where each object in use is defined.
    pub fn sources(&self) -> BTreeMap<Key, Source> {
        let winners = self.definitions.iter().filter_map(|(key, places)| Some((key, self.at(places.keys().next()?)?)));
        winners.map(|(key, (file, at))| (key.clone(), Source { file: file.clone(), line: at.line })).collect()
    }

    /// Where an object in use is defined.
    pub fn source(&self, key: &Key) -> Option<Source> {
        let (file, at) = self.at(self.definitions.get(key)?.keys().next()?)?;
        Some(Source { file: file.clone(), line: at.line })
    }

    /// How many documents of each kind are left alone.
    pub fn other_kinds(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for (kind, count) in self.files.values().flat_map(|file| &file.others) {
            *kinds.entry(kind.clone()).or_default() += count;
        }
        kinds
    }

    /// Reads these files again (also new and deleted ones), as they are now. Returns what changed in the resources.
    pub fn refresh(&mut self, paths: &BTreeSet<PathBuf>) -> BTreeSet<Change> {
        self.look(paths, Patience::Decide).changes
    }

    /// Looks at the whole folder and reads every file whose time, length or identity changed.
    pub fn rescan(&mut self) -> BTreeSet<Change> {
        self.look_everywhere(Patience::Decide, &mut |_| {}).0.changes
    }

    /// As [`Self::rescan`]; `enter` sees each folder before it is listed. Also returns the folders to watch.
    pub(super) fn look_everywhere(
        &mut self,
        patience: Patience,
        enter: &mut dyn FnMut(&Path),
    ) -> (Look, BTreeMap<PathBuf, BTreeSet<OsString>>) {
        let found = walk(&self.root, enter);
        let mut dirty: BTreeSet<PathBuf> = BTreeSet::new();
        for (path, stamp) in &found.files {
            if self.files.get(path.as_path()).is_none_or(|file| file.stamp.as_ref() != Some(stamp)) {
                dirty.insert(path.clone());
            }
        }
        // What could not be listed or followed is not gone: it keeps what it served.
        let lost = |path: &Path| found.failed.keys().any(|failed| path != failed && path.starts_with(failed));
        let gone = self.files.keys().filter(|path| !found.files.contains_key(&***path) && !lost(path));
        dirty.extend(gone.map(|path| path.to_path_buf()));
        let unreachable: BTreeMap<Arc<Path>, FileProblem> = found
            .failed
            .iter()
            .filter(|(path, _)| !self.files.contains_key(path.as_path()))
            .map(|(path, error)| (Arc::<Path>::from(path.as_path()), error))
            .map(|(path, error)| (path.clone(), FileProblem::unreadable(&path, error)))
            .collect();
        let mut look = self.look(&dirty, patience);
        look.problems_changed |= unreachable != self.unreachable;
        self.unreachable = unreachable;
        (look, found.folders)
    }

    /// Looks at files.
    pub(super) fn look(&mut self, paths: &BTreeSet<PathBuf>, patience: Patience) -> Look {
        let mut look = Look::default();
        let mut touched = BTreeSet::new();
        for path in paths {
            self.look_at(path, patience, &mut look, &mut touched);
        }
        for key in touched {
            if self.settle(&key) {
                look.changes.insert(Change::Object(key));
            }
        }
        look
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether a path is a file that was read.
    pub(super) fn knows(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// Whether a path is one that the last walk could not follow or list.
    pub(super) fn is_unreachable(&self, path: &Path) -> bool {
        self.unreachable.contains_key(path)
    }

    fn at(&self, (path, index): &Place) -> Option<(&Arc<Path>, &Decoded)> {
        let (path, file) = self.files.get_key_value(path)?;
        Some((path, file.objects.get(*index)?))
    }

    fn look_at(&mut self, path: &Path, patience: Patience, look: &mut Look, touched: &mut BTreeSet<Key>) {
        let name: Arc<Path> = self.files.get_key_value(path).map_or_else(|| Arc::from(path), |(name, _)| name.clone());
        let old = self.files.get(path).map(AsRef::as_ref);
        let mut new = match read(path) {
            Ok((stamp, hash, _)) if old.is_some_and(|old| old.hash.is_some() && old.hash == hash) => {
                if let Some(file) = self.files.get_mut(path) {
                    file.stamp = Some(stamp);
                }
                return;
            }
            Ok((stamp, hash, bytes)) => File { stamp: Some(stamp), hash, ..parse(&name, &bytes, old) },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match (old, patience) {
                    (None, _) => {}
                    (Some(_), Patience::LookAgain) => drop(look.unsettled.insert(path.to_owned())),
                    (Some(_), Patience::Decide) => self.replace(&name, None, look, touched),
                }
                return;
            }
            Err(error) => {
                File { problems: vec![FileProblem::unreadable(&name, &error)], nameless: true, ..File::default() }
            }
        };
        let defined: BTreeSet<&Key> = new.objects.iter().map(|object| &object.key).collect();
        let leaves = old.is_some_and(|old| old.objects.iter().any(|object| !defined.contains(&object.key)));
        if patience == Patience::LookAgain && (leaves || new.is_broken()) {
            look.unsettled.insert(path.to_owned());
            return;
        }
        new.keep(old);
        self.replace(&name, Some(new), look, touched);
    }

    fn replace(&mut self, path: &Arc<Path>, new: Option<File>, look: &mut Look, touched: &mut BTreeSet<Key>) {
        let old = self.files.remove(path);
        let mut keys = BTreeSet::new();
        for (index, object) in old.iter().flat_map(|file| &file.objects).enumerate() {
            if let Some(places) = self.definitions.get_mut(&object.key) {
                places.remove(&(path.clone(), index));
            }
            keys.insert(object.key.clone());
        }
        for (index, object) in new.iter().flat_map(|file| &file.objects).enumerate() {
            self.definitions.entry(object.key.clone()).or_default().insert((path.clone(), index), ());
            keys.insert(object.key.clone());
        }
        fn problems(file: Option<&File>) -> &[FileProblem] {
            file.map_or(&[], |file| &file.problems)
        }
        look.problems_changed |= problems(old.as_deref()) != problems(new.as_ref());
        if let Some(new) = new {
            self.files.insert(path.clone(), Box::new(new));
        }
        look.problems_changed |= keys.iter().any(|key| {
            self.contested.contains(key) || self.definitions.get(key).is_some_and(|places| places.len() > 1)
        });
        touched.extend(keys);
    }

    /// Brings the resources in line with the definitions of one object. Returns whether they changed.
    fn settle(&mut self, key: &Key) -> bool {
        let places = self.definitions.get(key).map_or(0, SmallSet::len);
        if places > 1 {
            self.contested.insert(key.clone());
        } else {
            self.contested.remove(key);
        }
        let winner = self.definitions.get(key).and_then(|places| places.keys().next()).and_then(|place| self.at(place));
        let winner = winner.map(|(_, decoded)| decoded.clone());
        let told = self.resources.set_unreadable(key, winner.as_ref().and_then(|winner| winner.unreadable.clone()));
        told | match winner {
            Some(Decoded { key, object, .. }) => self.resources.set(key.name, object),
            None => {
                self.definitions.remove(key);
                self.resources.remove(key)
            }
        }
    }

    /// Everything at once, for a single use.
    pub(super) fn into_loaded(self) -> Loaded {
        Loaded {
            sources: self.sources(),
            problems: self.problems(),
            other_kinds: self.other_kinds(),
            resources: self.resources,
        }
    }
}

impl File {
    fn add(&mut self, path: &Arc<Path>, item: Item) {
        match item {
            Item::Object(decoded) => self.objects.push(decoded),
            Item::Rest(decoded) => self.rests.push(decoded),
            Item::Other(kind) => *self.others.entry(kind).or_default() += 1,
            Item::Failed(failure) => {
                self.nameless |= failure.error && failure.key.is_none();
                self.problems.push(FileProblem::failure(path, failure));
            }
        }
    }

    fn is_broken(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Keeps of an older state what this one broke, see the module, and of what was never sound what can be read.
    fn keep(&mut self, old: Option<&File>) {
        let rests = std::mem::take(&mut self.rests);
        let sound = |key: &Key| {
            let mut objects = old.iter().flat_map(|old| &old.objects);
            objects.any(|object| object.key == *key && object.unreadable.is_none())
        };
        for rest in rests.into_iter().filter(|rest| !sound(&rest.key)) {
            if !self.objects.iter().any(|object| object.key == rest.key) {
                self.objects.push(rest);
            }
        }
        if let Some(old) = old {
            self.keep_objects(old);
        }
    }

    fn keep_objects(&mut self, old: &File) {
        let defined: BTreeSet<Key> = self.objects.iter().map(|object| object.key.clone()).collect();
        let broken: BTreeSet<Key> = self.problems.iter().filter_map(|problem| problem.key.clone()).collect();
        for object in &old.objects {
            if !defined.contains(&object.key) && (self.nameless || broken.contains(&object.key)) {
                self.objects.push(object.clone());
            }
        }
        for problem in &mut self.problems {
            let kept = |key: &Key| old.objects.iter().any(|o| o.key == *key) && !defined.contains(key);
            let keeps = match &problem.key {
                Some(key) => kept(key),
                None => old.objects.iter().any(|object| kept(&object.key)),
            };
            if keeps && problem.mend.is_empty() {
                problem.mend = "the last good version stays in service until this is mended";
            }
        }
    }
}

fn read(path: &Path) -> io::Result<(Stamp, Option<NonZeroU64>, Vec<u8>)> {
    let file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE as u64 + 1), &mut bytes)?;
    if bytes.len() > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {} MiB", MAX_FILE >> 20)));
    }
    let mut hasher = FxHasher::default();
    hasher.write(&bytes);
    Ok((Stamp::of(&metadata), NonZeroU64::new(hasher.finish()), bytes))
}

/// What a file says. Documents that stand in `old` already are taken from there: where a file holds many objects, a
/// change of one need not cost the parsing of all.
fn parse(path: &Arc<Path>, bytes: &[u8], old: Option<&File>) -> File {
    let mut file = File::default();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            return File { problems: vec![FileProblem::not_utf8(path, line)], nameless: true, ..file };
        }
    };
    // A file that was named outright may have any name: YAML covers JSON as well.
    if syntax(path) == Some(Syntax::Json) {
        documents(text, Syntax::Json).iter().flat_map(decode).for_each(|item| file.add(path, item));
    } else {
        let objects = old.iter().flat_map(|old| &old.objects);
        let known: FxHashMap<_, _> = objects.filter_map(|object| Some((object.digest?, object))).collect();
        for text in yaml_texts(text) {
            let digest = text.digest();
            if let Some(known) = digest.and_then(|digest| known.get(&digest)) {
                file.objects.push(Decoded { line: text.line(), ..Decoded::clone(known) });
                continue;
            }
            let mut items = text.parse().iter().flat_map(decode).collect::<Vec<_>>();
            if let [Item::Object(only)] = &mut items[..] {
                // An item of a list may stand on another line of its document.
                only.digest = digest.filter(|_| only.line == text.line());
            }
            items.into_iter().for_each(|item| file.add(path, item));
        }
    }
    file.objects.shrink_to_fit();
    file
}
