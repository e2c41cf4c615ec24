//! Problems of files: what is wrong, in which file, line and column.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use genkan_routing::name::{ObjectRef, Origin};
use genkan_routing::report::{Problem, Severity};

use super::decode::{Decoded, Failure};
use crate::resources::Key;

/// Something that is wrong with a file, before any object's meaning is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileProblem {
    /// The file, under the path that the user gave.
    pub file: Arc<Path>,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The column in characters, from 1; 0 when only the line is known.
    pub column: usize,
    /// [`Severity::Error`] when an object is not served as written.
    pub severity: Severity,
    /// The object, when so much could be told.
    pub key: Option<Key>,
    /// The field of the object, as kubectl prints it; empty for the whole.
    pub field: String,
    /// `UnreadableFile`, `InvalidSyntax`, `NotAnObject`, `InvalidName`, `UnsupportedVersion`, `InvalidObject`,
    /// `UnknownField` or `DuplicateObject`.
    pub reason: &'static str,
    /// What is wrong, without a final full stop.
    pub message: String,
    /// What to do about it; empty when the message says it.
    pub mend: &'static str,
}

impl FileProblem {
    /// The same for a report: its object is of kind `File`, named by the path, and its field is the place.
    pub fn problem(&self) -> Problem {
        let place = match (self.line, self.column) {
            (0, _) => String::new(),
            (line, 0) => format!("line {line}"),
            (line, column) => format!("line {line}, column {column}"),
        };
        let origin = Origin::new(ObjectRef::new("File", "", self.file.display().to_string()), place);
        Problem {
            severity: self.severity,
            origin,
            reason: self.reason,
            message: self.subject(),
            mend: self.mend.to_owned(),
        }
    }

    /// The message with the object and field that it is about.
    fn subject(&self) -> String {
        match (&self.key, self.field.is_empty()) {
            (None, true) => self.message.clone(),
            (None, false) => format!("{}: {}", self.field, self.message),
            (Some(key), true) => format!("{key}: {}", self.message),
            (Some(key), false) => format!("{key}: {}: {}", self.field, self.message),
        }
    }

    pub(super) fn unreadable(file: &Arc<Path>, error: &io::Error) -> Self {
        Self {
            file: file.clone(),
            line: 0,
            column: 0,
            severity: Severity::Error,
            key: None,
            field: String::new(),
            reason: "UnreadableFile",
            message: format!("cannot be read: {error}"),
            mend: "",
        }
    }

    pub(super) fn not_utf8(file: &Arc<Path>, line: usize) -> Self {
        let error = io::Error::new(io::ErrorKind::InvalidData, "the text is not UTF-8");
        Self { line, reason: "InvalidSyntax", ..Self::unreadable(file, &error) }
    }

    pub(super) fn failure(file: &Arc<Path>, failure: Failure) -> Self {
        Self {
            file: file.clone(),
            line: failure.line,
            column: failure.column,
            severity: if failure.error { Severity::Error } else { Severity::Warning },
            key: failure.key,
            field: failure.field,
            reason: failure.reason,
            message: failure.message,
            mend: failure.mend,
        }
    }

    /// Two definitions of one object. A mere repetition is only worth a warning.
    pub(super) fn duplicate(loser: (&Arc<Path>, &Decoded), winner: (&Arc<Path>, &Decoded)) -> Self {
        let same = loser.1.object == winner.1.object;
        Self {
            file: loser.0.clone(),
            line: loser.1.line,
            column: 0,
            severity: if same { Severity::Warning } else { Severity::Error },
            key: Some(loser.1.key.clone()),
            field: String::new(),
            reason: "DuplicateObject",
            message: format!(
                "defined in {} line {} already, which is used; this definition is left out",
                winner.0.display(),
                winner.1.line
            ),
            mend: "remove one of the two",
        }
    }
}

/// `web.yaml:3:5: error: Ingress default/web: spec.rules[0].host: ... (InvalidObject); mend`.
impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        write!(f, ": {}: {} ({})", self.severity, self.subject(), self.reason)?;
        if self.mend.is_empty() { Ok(()) } else { write!(f, "; {}", self.mend) }
    }
}
