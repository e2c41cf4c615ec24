//! The metrics that one rule has: found without a lock on those of all rules, handed on when the rule changes, let go
//! when it leaves.

use std::sync::Arc;

use genkan_routing::model::{Action, Rule, Target};
use genkan_routing::name::HostPattern;
use parking_lot::RwLock;
use smallvec::SmallVec;

use super::{Metrics, RuleMetrics};

/// Handles to the metrics of one rule, by host and canary; made when the first request comes.
#[derive(Debug)]
pub(crate) struct RuleHandles {
    /// `None` once the rule has left the table. Requests that still hold an older table count, but keep nothing: it may
    /// live for as long as a WebSocket.
    known: RwLock<Option<Known>>,
}

type Known = SmallVec<[HostMetrics; 1]>;

/// The metrics of a rule on one host.
#[derive(Clone, Debug)]
struct HostMetrics {
    host: HostPattern,
    /// Whether they count requests that the canary took.
    canary: bool,
    handle: Arc<RuleMetrics>,
}

impl RuleHandles {
    /// The metrics of the rule's requests on `host`, which the request names `requested`; `None` when they do not count.
    /// `canary` is the cluster of the rule's canary for requests that go there, else empty.
    pub(crate) fn get(
        &self,
        metrics: &Metrics,
        rule: &Rule,
        (host, requested): (&HostPattern, &str),
        canary: &str,
    ) -> Option<Arc<RuleMetrics>> {
        if !metrics.counts(host) {
            return None;
        }
        let is = |known: &&HostMetrics| known.canary != canary.is_empty() && known.host == *host;
        if let Some(known) = self.known.read().as_ref().and_then(|known| known.iter().find(is)) {
            return Some(known.handle.of_host(requested));
        }
        let handle = metrics.rule(&rule.labels, host, canary)?;
        let own = handle.of_host(requested);
        if let Some(known) = self.known.write().as_mut()
            && !known.iter().any(|known| is(&known))
        {
            known.push(HostMetrics { host: host.clone(), canary: !canary.is_empty(), handle });
        }
        Some(own)
    }

    /// What the next version of the rule begins with: the metrics that are still its own.
    pub(crate) fn handed_on(&self, old: &Rule, new: &Rule) -> Self {
        let same = old.labels == new.labels;
        let same_canary = canary(old) == canary(new);
        let known = self.known.read();
        let kept = known.iter().flatten().filter(|known| same && (same_canary || !known.canary)).cloned();
        Self { known: RwLock::new(Some(kept.collect())) }
    }

    /// The rule has left: whoever else has its metrics keeps them alive.
    pub(crate) fn leave(&self) {
        *self.known.write() = None;
    }
}

impl Default for RuleHandles {
    fn default() -> Self {
        Self { known: RwLock::new(Some(Known::new())) }
    }
}

fn canary(rule: &Rule) -> Option<&Target> {
    match &rule.action {
        Action::Forward(forward) => forward.canary.as_ref().map(|canary| &canary.backend.target),
        Action::Respond(_) => None,
    }
}
