//! Collects problems of one object, field by field.

use genkan_routing::name::{ObjectRef, Origin};
use genkan_routing::report::{Problem, Severity};

/// The problems of one object so far, and the field that is being read.
#[derive(Debug)]
pub(crate) struct Notes {
    object: ObjectRef,
    field: String,
    problems: Vec<Problem>,
}

impl Notes {
    /// No problems yet.
    pub(crate) fn new(object: &ObjectRef) -> Self {
        Self { object: object.clone(), field: String::new(), problems: Vec::new() }
    }

    /// From now on problems are about this field.
    pub(crate) fn at(&mut self, field: String) {
        self.field = field;
    }

    /// The object.
    pub(crate) fn object(&self) -> &ObjectRef {
        &self.object
    }

    /// Adds a problem of the field; an empty `mend` says nothing.
    pub(crate) fn add(&mut self, severity: Severity, reason: &'static str, message: impl Into<String>, mend: &str) {
        let origin = Origin::new(self.object.clone(), self.field.clone());
        let problem = Problem { severity, ..Problem::error(origin, reason, message) };
        self.problems.push(problem.with_mend(mend));
    }

    /// Everything so far.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
