//! Input of the commands that look at manifests once: read, translate, say where each problem is.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use genkan_routing::name::ObjectRef;
use genkan_routing::report::{Problem, Report, Severity};
use serde::{Serialize, Serializer};

use crate::certificate::generate_fallback;
use crate::control::Control;
use crate::files::{self, FileProblem, Loaded, Source};
use crate::resources::{Key, Kind};
use crate::settings::Settings;

/// Manifests, read and translated once.
pub(super) struct Input {
    pub(super) loaded: Loaded,
    pub(super) control: Control,
}

impl Input {
    /// Reads and translates a file or folder. Fails only when the path itself does not exist.
    pub(super) fn read(path: &Path, mut settings: Settings) -> anyhow::Result<Self> {
        anyhow::ensure!(path.exists(), "{} does not exist: give a manifest or a folder of manifests", path.display());
        settings.fallback_certificate = Some(Arc::new(generate_fallback()?));
        let loaded = files::load(path);
        let control = Control::new(settings, &loaded.resources);
        Ok(Self { loaded, control })
    }

    /// Every problem of the files and of the objects in them, worst first.
    pub(super) fn problems(&self) -> Vec<LocatedProblem> {
        located(&self.loaded.problems, self.control.report(), |key| self.loaded.sources.get(key).cloned())
    }
}

/// A problem and the place where its object is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct LocatedProblem {
    pub(super) place: Place,
    #[serde(flatten)]
    pub(super) problem: Problem,
}

/// `file:line[:column]`, in order of line; empty when the object is in no file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    file: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    /// From 1; 0 when only the line is known.
    column: usize,
}

impl Place {
    fn is_known(&self) -> bool {
        !self.file.is_empty()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match (self.line, self.column) {
            (0, _) => Ok(()),
            (line, 0) => write!(f, ":{line}"),
            (line, column) => write!(f, ":{line}:{column}"),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `examples/a.yaml:12: error: Ingress default/web: spec.rules[0]: ... (Reason)` and the mend on a line of its own.
impl fmt::Display for LocatedProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { severity, origin, reason, message, mend } = &self.problem;
        if self.place.is_known() {
            write!(f, "{}: ", self.place)?;
        }
        write!(f, "{severity}: ")?;
        // A file's problem carries its place already, and names its object in the message.
        if origin.object.kind != "File" {
            write!(f, "{origin}: ")?;
        }
        write!(f, "{message} ({reason})")?;
        if mend.is_empty() { Ok(()) } else { write!(f, "\n    mend: {mend}") }
    }
}

/// Every problem with its place, worst first, then by place; `source` says where an object is written.
pub(super) fn located(
    files: &[FileProblem],
    report: &Report,
    source: impl Fn(&Key) -> Option<Source>,
) -> Vec<LocatedProblem> {
    let of_objects = report.problems().map(|problem| LocatedProblem {
        place: object_place(&problem.origin.object, &source),
        problem: Problem::clone(problem),
    });
    let mut all: Vec<_> = of_files(files).chain(of_objects).collect();
    all.sort_by(|a, b| (a.problem.severity, &a.place, &a.problem).cmp(&(b.problem.severity, &b.place, &b.problem)));
    all.dedup();
    all
}

/// Every problem of files with its place.
pub(super) fn of_files(files: &[FileProblem]) -> impl Iterator<Item = LocatedProblem> {
    files.iter().map(|problem| LocatedProblem { place: file_place(problem), problem: problem.problem() })
}

fn file_place(problem: &FileProblem) -> Place {
    Place { file: problem.file.display().to_string(), line: problem.line, column: problem.column }
}

/// Where an object is written.
pub(super) fn object_place(object: &ObjectRef, source: impl Fn(&Key) -> Option<Source>) -> Place {
    let kind = Kind::ALL.iter().find(|kind| kind.as_str() == object.kind);
    let source = kind.and_then(|kind| source(&Key::new(*kind, object.namespace.clone(), object.name.clone())));
    let place = |source: Source| Place { file: source.file.display().to_string(), line: source.line, column: 0 };
    source.map(place).unwrap_or_default()
}

/// `2 errors, 1 warning`.
pub(super) fn count<'p>(problems: impl IntoIterator<Item = &'p LocatedProblem> + Clone) -> String {
    let of = |severity| problems.clone().into_iter().filter(|located| located.problem.severity == severity).count();
    format!("{}, {}", plural(of(Severity::Error), "error"), plural(of(Severity::Warning), "warning"))
}

/// `1 host`, `2 hosts`.
pub(super) fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_order_of_lines() {
        let place = |line, column| Place { file: "a.yaml".to_owned(), line, column };
        let mut places = [place(1004, 0), place(198, 0), place(0, 0), place(198, 7)];
        places.sort();
        let texts: Vec<_> = places.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["a.yaml", "a.yaml:198", "a.yaml:198:7", "a.yaml:1004"]);
    }
}
