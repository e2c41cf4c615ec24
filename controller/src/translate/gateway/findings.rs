//! Findings: the problems of one object, collected while it is read.

use genkan_routing::name::{ObjectRef, Origin};
use genkan_routing::report::Problem;

/// The problems of one object.
#[derive(Debug)]
pub(crate) struct Findings {
    object: ObjectRef,
    problems: Vec<Problem>,
}

impl Findings {
    /// No problems yet.
    pub(crate) fn new(object: ObjectRef) -> Self {
        Self { object, problems: Vec::new() }
    }

    /// Something that was asked for is not served as written.
    pub(crate) fn error(
        &mut self,
        field: impl Into<String>,
        reason: &'static str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.problems.push(Problem::error(self.origin(field), reason, message).with_mend(mend));
    }

    /// Served, but not as written or at a risk.
    pub(crate) fn warning(
        &mut self,
        field: impl Into<String>,
        reason: &'static str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.problems.push(Problem::warning(self.origin(field), reason, message).with_mend(mend));
    }

    /// Adds problems that were found elsewhere.
    pub(crate) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.problems.extend(problems);
    }

    /// A field of the object; empty is the object as a whole.
    pub(crate) fn origin(&self, field: impl Into<String>) -> Origin {
        Origin::new(self.object.clone(), field)
    }

    /// The problems in the order in which they were found.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
