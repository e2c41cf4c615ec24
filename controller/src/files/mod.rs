//! Files: manifests in a folder to [`Resources`], once or for as long as the program runs.
//!
//! ```text
//!  folder --walk--> files --text--> documents --decode--> objects --store--> Resources + FileProblems
//!     ^                                                                ^
//!     +---------------- watch (inotify, or looking every 2 s) ---------+ only what changed
//! ```
//!
//! `.yaml`, `.yml` and `.json` files at any depth are read; hidden files are not. Nothing is decided here about what
//! the objects mean: a file's problem is that it cannot be read, is no valid document, or that an object in it has
//! the wrong form or is there twice.

mod decode;
mod locate;
mod problem;
mod store;
mod text;
mod walk;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::problem::FileProblem;
pub use self::store::FileStore;
pub use self::watch::{Update, Watcher};
use crate::resources::{Key, Resources};

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The objects.
    pub resources: Resources,
    /// Where each of them is written.
    pub sources: BTreeMap<Key, Source>,
    /// What is wrong, in the order of the files.
    pub problems: Vec<FileProblem>,
    /// How many documents there are of kinds that Genkan does not read, as kubectl writes them: `Deployment.apps`.
    pub other_kinds: BTreeMap<String, usize>,
}

/// Where an object is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The file.
    pub file: Arc<Path>,
    /// The line of its first field, from 1.
    pub line: usize,
}

/// Reads a file, or a folder and everything below it. What cannot be read is among [`Loaded::problems`].
pub fn load(path: impl Into<PathBuf>) -> Loaded {
    FileStore::open(path).into_loaded()
}

/// Reads the content of one file, which is named in problems and whose extension tells YAML from JSON, without looking
/// at any disk.
pub fn parse(name: impl Into<PathBuf>, content: &[u8]) -> Loaded {
    FileStore::of_content(name, content).into_loaded()
}

#[cfg(test)]
mod tests;
