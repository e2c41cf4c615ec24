//! Health: how the API server is doing, for readiness details and metrics. It never makes Genkan unready: what was last
//! seen goes on being served.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::ask::Failure;
use super::stream::Event;
use crate::resources::{Key, Kind};

/// How the streams are doing. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<Kind, State>>>);

/// A kind's. Several streams may follow parts of it.
#[derive(Debug, Default)]
struct State {
    /// The streams that fail: since when, and how they failed last.
    troubles: BTreeMap<usize, Trouble>,
    /// The streams that listed it once, and those that may not read it.
    listed: BTreeSet<usize>,
    forbidden: BTreeSet<usize>,
    /// Objects that do not come when they are fetched, and in short why.
    unfetched: BTreeMap<Key, String>,
    errors: u64,
    lists: u64,
    absent: bool,
    /// Whether its first list is not complete.
    awaited: bool,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    /// How it failed last, in short.
    brief: String,
    /// Every way in which it failed since then: each is logged once.
    logged: BTreeSet<String>,
}

impl Health {
    /// Takes note of what happened to a kind.
    pub(super) fn note(&self, stream: usize, kind: Kind, event: &Event) {
        let mut states = self.0.lock();
        let state = states.entry(kind).or_default();
        match event {
            // It is as if there were none, and likely meant so (a Role instead of a ClusterRole).
            Event::Forbidden(Failure { detail, .. }) if !kind.is_essential() && !state.listed.contains(&stream) => {
                if state.forbidden.insert(stream) {
                    tracing::warn!(
                        kind = kind.as_str(),
                        error = detail,
                        "objects of this kind may not be read; none are used"
                    );
                }
            }
            Event::Failed(failure) | Event::Forbidden(failure) => {
                state.errors += 1;
                state.troubles.entry(stream).or_insert_with(Trouble::begin).note(kind, failure);
                return;
            }
            Event::Unfetched(key, Failure { brief, detail }) => {
                tracing::warn!(%key, error = detail, "somebody refers to it, and it can't be fetched; it is tried again");
                state.unfetched.insert(key.clone(), brief.clone());
                return;
            }
            Event::Listed => {
                state.lists += 1;
                state.absent = false;
                state.listed.insert(stream);
                state.forbidden.remove(&stream);
                return;
            }
            Event::Absent => state.absent = true,
            Event::Watching => {}
            // A list that began may not end, and one that ended is old when it can't be watched what changes.
            Event::Listing | Event::Applied(_) | Event::Deleted(_) | Event::Fetched(..) => return,
        }
        if let Some(Trouble { since, .. }) = state.troubles.remove(&stream) {
            tracing::info!(kind = kind.as_str(), after = ?since.elapsed(), "the API server is followed again");
        }
    }

    /// An object came, or is not fetched any more.
    pub(super) fn end_fetch(&self, key: &Key) {
        if let Some(state) = self.0.lock().get_mut(&key.kind)
            && state.unfetched.remove(key).is_some()
        {
            tracing::info!(%key, "it came or is not needed any more");
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

    /// What is wrong, in lines like `Ingress: not followed for 12 s: no answer; the log says more`. Everybody may read
    /// them: no account, object or address is named.
    pub fn details(&self) -> Vec<String> {
        let states = self.0.lock();
        states.iter().flat_map(|(kind, state)| state.details(*kind)).collect()
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
        let followed = |state: &State| {
            u64::from(state.troubles.is_empty() && state.forbidden.is_empty() && !state.absent && !state.awaited)
        };
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

impl State {
    fn details(&self, kind: Kind) -> impl Iterator<Item = String> {
        let kind = kind.as_str();
        let followed = match self.troubles.values().min_by_key(|trouble| trouble.since) {
            Some(Trouble { since, brief, .. }) => {
                Some(format!("{kind}: not followed for {} s: {brief}; the log says more", since.elapsed().as_secs()))
            }
            None => self.awaited.then(|| format!("{kind}: not listed yet")),
        };
        let fetched = self.unfetched.values().next().map(|brief| {
            let count = self.unfetched.len();
            format!("{kind}: {count} that somebody refers to can't be fetched: {brief}; the log says more")
        });
        followed.into_iter().chain(fetched)
    }
}

impl Trouble {
    fn begin() -> Self {
        Self { since: Instant::now(), brief: String::new(), logged: BTreeSet::new() }
    }

    fn note(&mut self, kind: Kind, Failure { brief, detail }: &Failure) {
        self.brief.clone_from(brief);
        if self.logged.insert(brief.clone()) {
            let error = detail;
            tracing::warn!(kind = kind.as_str(), error, "the API server can't be followed; what is known is served");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure { brief: "no answer".to_owned(), detail: "10.0.0.1:6443: connection refused".to_owned() }
    }

    fn failed() -> Event {
        Event::Failed(failure())
    }

    fn up(health: &Health, kind: Kind) -> bool {
        health.metrics().contains(&format!("genkan_watch_up{{kind=\"{}\"}} 1\n", kind.as_str()))
    }

    #[test]
    fn trouble_is_told_until_changes_are_heard_again() {
        let health = Health::default();
        let note = |event| health.note(0, Kind::Ingress, &event);
        note(Event::Listed);
        note(Event::Watching);
        assert!(health.details().is_empty() && up(&health, Kind::Ingress));
        note(failed());
        note(Event::Listing);
        note(Event::Listed);
        let details = health.details();
        assert_eq!(details, ["Ingress: not followed for 0 s: no answer; the log says more"]);
        assert!(!up(&health, Kind::Ingress));
        note(Event::Watching);
        assert!(health.details().is_empty() && up(&health, Kind::Ingress));
        let metrics = health.metrics();
        assert!(metrics.contains("genkan_watch_errors_total{kind=\"Ingress\"} 1\n"), "{metrics}");
        assert!(metrics.contains("genkan_watch_lists_total{kind=\"Ingress\"} 2\n"), "{metrics}");
    }

    #[test]
    fn objects_that_do_not_come_are_counted_until_they_come() {
        let health = Health::default();
        let [a, b] = ["a", "b"].map(|name| Key::new(Kind::Secret, "n", name));
        for key in [&a, &b] {
            health.note(9, Kind::Secret, &Event::Unfetched(key.clone(), failure()));
        }
        let line = "Secret: 2 that somebody refers to can't be fetched: no answer; the log says more";
        assert_eq!(health.details(), [line]);
        health.end_fetch(&a);
        assert!(health.details()[0].starts_with("Secret: 1 that"));
        health.end_fetch(&b);
        assert!(health.details().is_empty());
    }

    #[test]
    fn one_stream_of_a_kind_does_not_end_the_trouble_of_another() {
        let health = Health::default();
        health.note(0, Kind::ConfigMap, &failed());
        health.note(1, Kind::ConfigMap, &Event::Watching);
        assert_eq!(health.details().len(), 1);
        health.note(0, Kind::ConfigMap, &Event::Watching);
        assert!(health.details().is_empty());
    }

    #[test]
    fn a_kind_that_we_never_could_read_is_no_trouble_unless_nothing_works_without_it() {
        let health = Health::default();
        let forbidden = || Event::Forbidden(failure());
        health.note(0, Kind::Namespace, &failed());
        for _ in 0..2 {
            health.note(0, Kind::Namespace, &forbidden());
        }
        assert!(health.details().is_empty() && !up(&health, Kind::Namespace));
        assert!(health.metrics().contains("genkan_watch_errors_total{kind=\"Namespace\"} 1\n"));
        health.note(0, Kind::Namespace, &Event::Listed);
        assert!(up(&health, Kind::Namespace));
        // It was taken from us: what is known grows old.
        health.note(0, Kind::Namespace, &forbidden());
        assert_eq!(health.details().len(), 1);
        health.note(1, Kind::Ingress, &forbidden());
        assert_eq!(health.details().len(), 2);
    }
}
