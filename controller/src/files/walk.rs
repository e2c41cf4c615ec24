//! The manifest files of a folder, and the folders to watch for them.
//!
//! Hidden entries (`.git`, `..data`, an editor's `.web.yaml.swp`) are passed over. In a mounted ConfigMap every file
//! is a symbolic link through the hidden `..data`, so each is read once, under its visible name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::text::Syntax;

/// How many links after one another are followed; Linux follows 40.
const MAX_LINKS: usize = 40;

/// What tells two states of a file apart without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    identity: (u64, u64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let identity = (0, 0);
        Self { modified: metadata.modified().ok(), length: metadata.len(), identity }
    }

    /// What stays the same while a file or folder is the same one.
    pub(super) fn identity(&self) -> (u64, u64) {
        self.identity
    }
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files by the path they are reported under.
    pub(super) files: BTreeMap<PathBuf, Stamp>,
    /// Folders and files that could not be looked at.
    pub(super) failed: BTreeMap<PathBuf, io::Error>,
    /// Folders to watch, each with the names in it that mean another walk when they change: the root, links on the way
    /// to a file, and where they lead. Folders outside of the root are here only for such names.
    pub(super) folders: BTreeMap<PathBuf, BTreeSet<OsString>>,
}

/// Walks a file or folder. `enter` is called with each folder before it is listed, so that a watch can be set without
/// missing what happens between.
pub(super) fn walk(root: &Path, enter: &mut dyn FnMut(&Path)) -> Found {
    let mut walk = Walk { found: Found::default(), inside: Vec::new(), enter };
    walk.note_target(root);
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => walk.folder(root),
        // A file that is named outright is read whatever it is called.
        Ok(metadata) => drop(walk.found.files.insert(root.to_owned(), Stamp::of(&metadata))),
        Err(error) => drop(walk.found.failed.insert(root.to_owned(), error)),
    }
    walk.found
}

/// How a path is written by its name, or `None` if it is no manifest.
pub(super) fn syntax(path: &Path) -> Option<Syntax> {
    match path.extension()?.to_str()? {
        "yaml" | "yml" => Some(Syntax::Yaml),
        "json" => Some(Syntax::Json),
        _ => None,
    }
}

pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

struct Walk<'a> {
    found: Found,
    /// The real paths of the folders that the walk is inside of: a link back to one of them is not followed.
    inside: Vec<PathBuf>,
    enter: &'a mut dyn FnMut(&Path),
}

impl Walk<'_> {
    fn watch(&mut self, folder: &Path, name: Option<&OsStr>) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if !self.found.folders.contains_key(folder) {
            (self.enter)(folder);
        }
        self.found.folders.entry(folder.to_owned()).or_default().extend(name.map(OsStr::to_owned));
    }

    /// Watches `path` in the folder that holds it, and for a link everything it leads through.
    fn note_target(&mut self, path: &Path) {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Some(parent) = path.parent().map(Path::to_owned) else { return };
            self.watch(&parent, path.file_name());
            let Ok(target) = fs::read_link(&path) else { return };
            let next = parent.join(target);
            // A link to a file behind a linked folder (`..data/web.yaml`): the folder's own link counts too.
            if let Some(folder) = next.parent().filter(|folder| fs::read_link(folder).is_ok()) {
                self.watch(&folder.parent().map(Path::to_owned).unwrap_or_default(), folder.file_name());
            }
            path = next;
        }
    }

    fn folder(&mut self, folder: &Path) {
        let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        if self.inside.contains(&real) {
            return;
        }
        self.watch(folder, None);
        self.inside.push(real);
        match fs::read_dir(folder).and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect()) {
            Ok(entries) => self.entries(entries),
            Err(error) => drop(self.found.failed.insert(folder.to_owned(), error)),
        }
        self.inside.pop();
    }

    fn entries(&mut self, mut entries: Vec<PathBuf>) {
        entries.sort();
        for path in entries.into_iter().filter(|path| !is_hidden(path)) {
            let linked = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {
                    if linked {
                        self.note_target(&path);
                    }
                    self.folder(&path);
                }
                Ok(metadata) if metadata.is_file() && syntax(&path).is_some() => {
                    if linked {
                        self.note_target(&path);
                    }
                    self.found.files.insert(path, Stamp::of(&metadata));
                }
                // A dangling link is told only when it is meant to be a manifest; a file may vanish while listed.
                Err(error) if syntax(&path).is_some() && (linked || error.kind() != io::ErrorKind::NotFound) => {
                    self.note_target(&path);
                    self.found.failed.insert(path, error);
                }
                _ => {}
            }
        }
    }
}
