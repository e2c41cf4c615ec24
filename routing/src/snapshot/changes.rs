//! What differs between two models, told by pointers: the cost of a compile follows the change, not the cluster.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::host::CompiledHost;
use crate::model::{Model, Rule};

/// Which rules are not what they were.
#[derive(Debug, Default)]
pub(super) struct RuleChanges {
    /// Addresses of rules of the old model that the new one lacks or has another of under their id.
    gone: FxHashSet<usize>,
    /// Whether the new model has ids that the old one had not; matches that led nowhere may lead to them.
    added: bool,
    /// The marks of all that.
    marks: RuleMarks,
}

/// A bit for each of some rules, and one for missing rules: two sets of rules without a common bit have no common rule.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RuleMarks(u64);

impl RuleMarks {
    const MISSING: Self = Self(1);

    /// The marks of the rules of a host.
    pub(super) fn of<'r>(rules: impl Iterator<Item = Option<&'r Arc<Rule>>>) -> Self {
        rules.map(|rule| rule.map_or(Self::MISSING, |rule| Self::of_address(address(rule)))).fold(Self(0), Self::and)
    }

    fn of_address(address: usize) -> Self {
        // Allocations are aligned, so the low bits tell nothing; the product mixes the others into the top six.
        Self(1 << ((address as u64 >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58).max(1))
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl RuleChanges {
    /// Compares two models' rules.
    pub(super) fn between(old: &Model, new: &Model) -> Self {
        let mut changes = Self::default();
        for (_, old, new) in old.rules.unshared(&new.rules) {
            match (old, new) {
                (Some(old), Some(new)) if Arc::ptr_eq(old, new) => {}
                (Some(old), _) => {
                    changes.gone.insert(address(old));
                    changes.marks = changes.marks.and(RuleMarks::of_address(address(old)));
                }
                (None, _) => {
                    changes.added = true;
                    changes.marks = changes.marks.and(RuleMarks::MISSING);
                }
            }
        }
        changes
    }

    /// Whether nothing changed.
    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty() && !self.added
    }

    /// Whether a host with these marks has to be asked with [`Self::touch`].
    pub(super) fn may_touch(&self, host: RuleMarks) -> bool {
        self.marks.0 & host.0 != 0
    }

    /// Whether a host that was compiled from the old model holds a rule that is not what it was.
    pub(super) fn touch(&self, host: &CompiledHost) -> bool {
        host.rules().any(|rule| match rule {
            Some(rule) => self.gone.contains(&address(rule)),
            None => self.added,
        })
    }
}

/// Only compared while both models are alive, so an address stands for one rule.
fn address(rule: &Arc<Rule>) -> usize {
    Arc::as_ptr(rule).addr()
}
