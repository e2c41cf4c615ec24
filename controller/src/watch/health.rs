//! Health: how the API server is doing, for readiness details and metrics. It never makes Genkan unready: what was last
//! seen goes on being served.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::stream::Event;
use crate::resources::Kind;

/// How the streams are doing. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<Kind, State>>>);

#[derive(Debug, Default)]
struct State {
    /// Since when it fails, and how it failed last.
    trouble: Option<(Instant, String)>,
    errors: u64,
    lists: u64,
    absent: bool,
    /// Whether its first list is not complete.
    awaited: bool,
}

impl Health {
    /// Takes note of what happened to a kind.
    pub(super) fn note(&self, kind: Kind, event: &Event) {
        let mut states = self.0.lock();
        let state = states.entry(kind).or_default();
        match event {
            Event::Failed(error) | Event::Forbidden(error) => {
                state.errors += 1;
                if state.trouble.is_none() {
                    tracing::warn!(kind = kind.as_str(), %error, "the API server can't be followed; what is known is served");
                }
                let since = state.trouble.as_ref().map_or_else(Instant::now, |(since, _)| *since);
                state.trouble = Some((since, error.clone()));
                return;
            }
            Event::Listed => {
                state.lists += 1;
                state.absent = false;
            }
            Event::Absent => state.absent = true,
            // The beginning of a list says nothing about its end.
            Event::Fetched(..) | Event::Listing => return,
            Event::Watching | Event::Applied(_) | Event::Deleted(_) => {}
        }
        if let Some((since, _)) = state.trouble.take() {
            tracing::info!(kind = kind.as_str(), after = ?since.elapsed(), "the API server is followed again");
        }
    }

    /// Which kinds' first lists are not complete.
    pub(super) fn set_awaited(&self, kinds: impl Iterator<Item = Kind>) {
        let awaited: BTreeSet<_> = kinds.collect();
        let mut states = self.0.lock();
        for kind in &awaited {
            states.entry(*kind).or_default();
        }
        states.iter_mut().for_each(|(kind, state)| state.awaited = awaited.contains(kind));
    }

    /// What is wrong, a line for each kind: `Ingress: not followed for 12 s: connection refused`.
    pub fn details(&self) -> Vec<String> {
        let states = self.0.lock();
        let line = |(kind, state): (&Kind, &State)| match &state.trouble {
            Some((since, error)) => {
                Some(format!("{}: not followed for {} s: {error}", kind.as_str(), since.elapsed().as_secs()))
            }
            None => state.awaited.then(|| format!("{}: not listed yet", kind.as_str())),
        };
        states.iter().filter_map(line).collect()
    }

    /// `genkan_watch_*` in Prometheus's text format.
    pub fn metrics(&self) -> String {
        let states = self.0.lock();
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&State) -> u64| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (kind, state) in states.iter() {
                let _ = writeln!(text, "{name}{{kind=\"{}\"}} {}", kind.as_str(), value(state));
            }
        };
        let followed = |state: &State| u64::from(state.trouble.is_none() && !state.absent);
        family("genkan_watch_up", "gauge", "Whether objects of a kind are followed at the API server", &followed);
        family("genkan_watch_errors_total", "counter", "Failed lists and watches of a kind", &|state| state.errors);
        family(
            "genkan_watch_lists_total",
            "counter",
            "Complete lists of a kind; a new one is made when a watch was lost",
            &|state| state.lists,
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_until_something_is_heard_again() {
        let health = Health::default();
        health.note(Kind::Ingress, &Event::Listed);
        assert!(health.details().is_empty());
        health.note(Kind::Ingress, &Event::Failed("connection refused".to_owned()));
        health.note(Kind::Ingress, &Event::Listing);
        let details = health.details();
        assert!(
            details.len() == 1 && details[0].starts_with("Ingress: not followed for 0 s: connection"),
            "{details:?}"
        );
        assert!(health.metrics().contains("genkan_watch_up{kind=\"Ingress\"} 0\n"));
        health.note(Kind::Ingress, &Event::Listed);
        assert!(health.details().is_empty());
        let metrics = health.metrics();
        assert!(metrics.contains("genkan_watch_up{kind=\"Ingress\"} 1\n"), "{metrics}");
        assert!(metrics.contains("genkan_watch_errors_total{kind=\"Ingress\"} 1\n"), "{metrics}");
        assert!(metrics.contains("genkan_watch_lists_total{kind=\"Ingress\"} 2\n"), "{metrics}");
    }
}
