//! The status of a route: what is wrong with it.

use std::collections::BTreeMap;

/// What is wrong with the rules of a route, wherever it is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// How many rules there are.
    pub(crate) rules: usize,
    /// Those of which a part is not served as it is written, by their place, and why.
    pub(crate) broken: BTreeMap<usize, &'static str>,
    /// Why `ResolvedRefs` is false, if it is.
    pub(crate) unresolved: Option<&'static str>,
}

impl Faults {
    /// A rule is not served as it is written. The first reason counts.
    pub(crate) fn breaks(&mut self, rule: usize, reason: &'static str) {
        self.broken.entry(rule).or_insert(reason);
    }
}
