//! One host, compiled: its matches, the rules they lead to, and an index over the paths where it pays.

use std::sync::Arc;

use super::conditions::{hold, path_fits};
use super::paths::PathIndex;
use super::{Matched, RequestView};
use crate::model::{Host, Rule};
use crate::name::HostPattern;

/// Up to this many matches are tried one by one, and most hosts have no more. Measured: about 30 instructions per match
/// against 500 for a walk through the index, which for so few also takes more memory than the matches themselves.
const LINEAR_UP_TO: usize = 8;

/// A host of a table.
#[derive(Debug)]
pub(super) struct CompiledHost {
    pattern: HostPattern,
    host: Arc<Host>,
    /// One per match; `None` where the model has no such rule.
    rules: Box<[Option<Arc<Rule>>]>,
    paths: Option<Box<PathIndex>>,
}

impl CompiledHost {
    /// Compiles a host; `rule` looks rules up.
    pub(super) fn build<'m>(
        pattern: &HostPattern,
        host: &Arc<Host>,
        rule: impl Fn(&crate::name::RuleId) -> Option<&'m Arc<Rule>>,
    ) -> Self {
        let paths = (host.matches.len() > LINEAR_UP_TO).then(|| Box::new(PathIndex::build(&host.matches)));
        let rules = host.matches.iter().map(|matched| rule(&matched.rule).cloned()).collect();
        Self { pattern: pattern.clone(), host: Arc::clone(host), rules, paths }
    }

    /// The first match that fits, in order of rank. `None` too when its rule doesn't exist. What settings the request
    /// has is for the section to say.
    pub(super) fn find(&self, request: &RequestView<'_>) -> Option<Matched<'_>> {
        let matches = &self.host.matches;
        let rank = match &self.paths {
            None => matches.iter().position(|one| path_fits(&one.path, request.path) && hold(one, request))?,
            Some(paths) => paths.find(matches, request)? as usize,
        };
        let (matched, rule) = (matches.get(rank)?, self.rules.get(rank)?.as_ref()?);
        Some(Matched { host: &self.pattern, matched, rule, settings: None })
    }

    /// The pattern that it belongs to.
    pub(super) fn pattern(&self) -> &HostPattern {
        &self.pattern
    }

    /// The rules of its matches; `None` where the model has no such rule.
    pub(super) fn rules(&self) -> impl Iterator<Item = Option<&Arc<Rule>>> {
        self.rules.iter().map(Option::as_ref)
    }
}
