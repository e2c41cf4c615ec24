//! The report: every problem that translation found, each with its origin and the mend.
//!
//! Status writers, Events, admission answers, `genkan check`, `/problems` and metrics all print the same [`Problem`].

use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::model::SharedMap;
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

/// Everything that translation has to say about its input, sorted and without duplicates. Copies share what did not
/// change, and what two of them do not share is found without a look at the rest.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Sorted by severity, origin, reason, with how often each is told.
    problems: SharedMap<Arc<Problem>, usize>,
}

impl Report {
    /// A report of these problems, sorted, duplicates removed.
    pub fn new(problems: impl IntoIterator<Item = Problem>) -> Self {
        let mut report = Self::default();
        problems.into_iter().for_each(|problem| report.add(&problem));
        report
    }

    /// Adds a problem. The same may be told more than once: it is there until each is taken back.
    pub fn add(&mut self, problem: &Problem) {
        match self.problems.get_mut(problem) {
            Some(count) => *count += 1,
            None => {
                self.problems.insert(Arc::new(problem.clone()), 1);
            }
        }
    }

    /// Takes back a problem that was added.
    pub fn remove(&mut self, problem: &Problem) {
        match self.problems.get_mut(problem) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => drop(self.problems.remove(problem)),
            None => {}
        }
    }

    /// The problems: by severity, origin, reason.
    pub fn problems(&self) -> impl Iterator<Item = &Arc<Problem>> {
        self.problems.keys()
    }

    /// How many problems there are.
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// What `new` has that is not here, and what it no longer has; in order. Its cost follows from what the two do not
    /// share.
    pub fn changes<'r>(&'r self, new: &'r Self) -> impl Iterator<Item = (Change, &'r Arc<Problem>)> {
        self.problems.unshared(&new.problems).filter_map(|(problem, old, new)| match (old, new) {
            (None, Some(_)) => Some((Change::Came, problem)),
            (Some(_), None) => Some((Change::Went, problem)),
            _ => None,
        })
    }
}

/// What became of a problem between two reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Came,
    /// It is gone.
    Went,
}

/// How often a problem is told makes no difference.
impl PartialEq for Report {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.changes(other).next().is_none()
    }
}

impl Eq for Report {}

/// As a list: `{"problems": [...]}`.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Listed<'r>(&'r Report);
        impl Serialize for Listed<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.problems().map(|problem| &**problem))
            }
        }
        let mut report = serializer.serialize_struct("Report", 1)?;
        report.serialize_field("problems", &Listed(self))?;
        report.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ObjectRef;

    fn problem(number: usize) -> Problem {
        Problem::error(Origin::new(ObjectRef::new("Ingress", "x", format!("{number:04}")), ""), "NoEndpoints", "none")
    }

    #[test]
    fn a_problem_that_is_told_twice_goes_with_the_second() {
        let mut report = Report::new([problem(1), problem(1), problem(0)]);
        assert!(report.problems().map(|problem| &**problem).eq(&[problem(0), problem(1)]));
        report.remove(&problem(1));
        assert_eq!(report, Report::new([problem(0), problem(1)]));
        report.remove(&problem(1));
        assert_eq!(report, Report::new([problem(0)]));
    }

    #[test]
    fn changes_are_found_without_a_look_at_what_is_shared() {
        let old = Report::new((0..1000).map(problem));
        let mut new = old.clone();
        new.remove(&problem(500));
        new.add(&problem(1000));
        let changes: Vec<_> = old.changes(&new).map(|(change, problem)| (change, (**problem).clone())).collect();
        assert_eq!(changes, [(Change::Went, problem(500)), (Change::Came, problem(1000))]);
        assert!(old.problems.unshared(&new.problems).count() < 200);
    }
}
