//! What is wrong, as it was told last: of objects, of the source, of names.

use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_routing::report::{Problem, Report};

use super::source::Source;
use crate::cli::input::{LocatedProblem, Place};

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// All of it; shares nearly everything with the report of translation.
    all: Report,
    of_objects: Arc<Report>,
    /// That of the source; `None` before anything was told.
    revision: Option<u64>,
    of_names: Vec<Problem>,
    /// What the source and names add, with places.
    others: BTreeMap<Problem, Place>,
}

impl Told {
    /// Everything that is wrong.
    pub(super) fn all(&self) -> &Report {
        &self.all
    }

    /// Takes what is wrong now. Returns what was told before, unless it is the same.
    pub(super) fn take(&mut self, report: &Arc<Report>, source: &impl Source, names: Vec<Problem>) -> Option<Report> {
        let others_stay = self.revision == Some(source.revision()) && self.of_names == names;
        if others_stay && Arc::ptr_eq(report, &self.of_objects) {
            return None;
        }
        if !others_stay {
            self.revision = Some(source.revision());
            let of_source = source.problems().into_iter().map(|located| (located.problem, located.place));
            self.others = of_source.chain(names.iter().map(|problem| (problem.clone(), Place::default()))).collect();
            self.of_names = names;
        }
        self.of_objects = report.clone();
        let mut all = Report::clone(report);
        self.others.keys().for_each(|problem| all.add(problem));
        Some(std::mem::replace(&mut self.all, all))
    }

    /// A problem with its place.
    pub(super) fn locate(&self, problem: &Problem, source: &impl Source) -> LocatedProblem {
        let place = self.others.get(problem).cloned().unwrap_or_else(|| source.place(&problem.origin.object));
        LocatedProblem { place, problem: problem.clone() }
    }
}
