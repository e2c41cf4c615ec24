//! The report: every problem that translation found, each with its origin and the mend.
//!
//! Status writers, Events, admission answers, `genkan check`, `/problems` and metrics all print the same [`Problem`].

use std::fmt;

use serde::Serialize;

use crate::name::Origin;

/// How bad a [`Problem`] is. Ordered: [`Severity::Error`] is the worst and sorts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something the user asked for is not served as written. `genkan check` exits with 1.
    Error,
    /// Served, but differently from what was written or at a risk.
    Warning,
    /// Worth knowing; nothing is lost.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// One thing that is wrong with one field of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The object and field.
    pub origin: Origin,
    /// A CamelCase word for machines (Event reason, metric label): `UnknownAnnotation`, `ServiceNotFound`.
    pub reason: &'static str,
    /// What is wrong and what follows from it, in one or two sentences without a final full stop.
    pub message: String,
    /// What to do about it; empty when the message already says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mend: String,
}

impl Problem {
    /// A problem of [`Severity::Error`].
    pub fn error(origin: Origin, reason: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, origin, reason, message: message.into(), mend: String::new() }
    }

    /// A problem of [`Severity::Warning`].
    pub fn warning(origin: Origin, reason: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(origin, reason, message) }
    }

    /// A problem of [`Severity::Info`].
    pub fn info(origin: Origin, reason: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Info, ..Self::error(origin, reason, message) }
    }

    /// The same problem with its mend.
    pub fn with_mend(self, mend: impl Into<String>) -> Self {
        Self { mend: mend.into(), ..self }
    }
}

/// `error: Ingress default/web: spec.rules[0].host: ... (ServiceNotFound); mend`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {} ({})", self.severity, self.origin, self.message, self.reason)?;
        if self.mend.is_empty() { Ok(()) } else { write!(f, "; {}", self.mend) }
    }
}

/// Everything that translation has to say about its input, sorted and without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Sorted by severity, origin, reason; no duplicates.
    pub problems: Vec<Problem>,
}

impl Report {
    /// A report of these problems, sorted, duplicates removed.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self { problems }
    }

    /// How many problems have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.problems.iter().filter(|problem| problem.severity == severity).count()
    }
}
