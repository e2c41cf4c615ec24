//! Names outside of the cluster: keeps the addresses of ExternalName Services fresh.
//!
//! ```text
//!  Resources.services --names--> Resolver --one task a name--> name servers
//!        ^                          |          asks again when the records' time is over
//!        +---- Resources.dns <------+ Answer (only when something changed)
//! ```
//!
//! A name that fails keeps its last good addresses and is asked for again with growing pauses; only an answer of "no
//! such name" that is given [`DISBELIEF`] times on end empties it. Names and addresses of this host are refused.

mod lookup;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use genkan_routing::name::{ObjectRef, Origin};
use genkan_routing::report::Problem;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use self::lookup::{Client, Found, LookupError};
use crate::resources::{Key, Resources};
use crate::translate::Change;
use crate::translate::cluster::{external_name, external_names};

/// How many times on end a name must be said not to exist before its last addresses are dropped.
const DISBELIEF: u32 = 3;
/// How many names are asked for at the same time.
const AT_ONCE: usize = 64;

/// How to resolve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name servers; `None` takes them and the search domains from `/etc/resolv.conf` (`None`).
    pub name_servers: Option<Vec<SocketAddr>>,
    /// Domains that are tried when a name alone is not known, with `name_servers` (none).
    pub search: Vec<String>,
    /// Answers are kept at least this long (1 s).
    pub min_ttl: Duration,
    /// Answers are kept at most this long (5 min).
    pub max_ttl: Duration,
    /// The first pause after a failure; it doubles up to [`Self::max_retry`] (1 s).
    pub min_retry: Duration,
    /// The longest pause after a failure (30 s).
    pub max_retry: Duration,
    /// How long a name server may take to answer (5 s).
    pub timeout: Duration,
    /// Accept `localhost`, loopback and link-local addresses (false): they would let whoever may write a Service reach
    /// what listens on this host only.
    pub allow_local: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name_servers: None,
            search: Vec::new(),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            min_retry: Duration::from_secs(1),
            max_retry: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            allow_local: false,
        }
    }
}

/// Why there is no resolver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// `/etc/resolv.conf` or the options cannot be used.
    #[error("cannot set up DNS: {0}")]
    Configuration(String),
}

/// News of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name as it was asked for.
    pub name: Arc<str>,
    /// Its addresses, sorted; the last good ones while it fails; empty if there never were any.
    pub addresses: Vec<IpAddr>,
    /// Why it fails at present.
    pub failure: Option<String>,
}

/// Follows a set of names.
#[derive(Debug)]
pub struct Resolver {
    names: watch::Sender<BTreeSet<Arc<str>>>,
    answers: mpsc::UnboundedReceiver<Answer>,
    /// What [`Self::follow`] found, by whose it is.
    external: BTreeMap<Key, Arc<str>>,
    failing: BTreeMap<Arc<str>, String>,
}

impl Resolver {
    /// A resolver without names, whose tasks run on the present tokio runtime until it is dropped.
    pub fn new(options: Options) -> Result<Self, DnsError> {
        let client = Client::new(&options)?;
        let (names, wanted) = watch::channel(BTreeSet::new());
        let (sender, answers) = mpsc::unbounded_channel();
        let follower =
            Follower { client, options: Arc::new(options), permits: Arc::new(Semaphore::new(AT_ONCE)), sender };
        tokio::spawn(follower.run(wanted));
        Ok(Self { names, answers, external: BTreeMap::new(), failing: BTreeMap::new() })
    }

    /// Follows these names and no others.
    pub fn set_names(&mut self, names: BTreeSet<Arc<str>>) {
        self.failing.retain(|name, _| names.contains(name));
        self.names.send_if_modified(|present| {
            let differs = *present != names;
            *present = names;
            differs
        });
    }

    /// Follows the names of the ExternalName Services, and forgets the addresses of names that are no more.
    pub fn follow(&mut self, resources: &mut Resources) -> BTreeSet<Change> {
        self.external = external_names(resources);
        self.follow_external(resources)
    }

    /// The same of resources that differ from those of the last call by `changes`: no other object is looked at.
    pub fn follow_changes(&mut self, resources: &mut Resources, changes: &BTreeSet<Change>) -> BTreeSet<Change> {
        let mut any = false;
        for change in changes {
            let Change::Object(key) = change else { continue };
            let name = external_name(resources, key.kind, &key.name);
            if self.external.get(key) != name.as_ref() {
                any = true;
                match name {
                    Some(name) => drop(self.external.insert(key.clone(), name)),
                    None => drop(self.external.remove(key)),
                }
            }
        }
        if any { self.follow_external(resources) } else { BTreeSet::new() }
    }

    fn follow_external(&mut self, resources: &mut Resources) -> BTreeSet<Change> {
        let names: BTreeSet<_> = self.external.values().cloned().collect();
        let stale: Vec<Arc<str>> = resources.dns.keys().filter(|name| !names.contains(*name)).cloned().collect();
        self.set_names(names);
        stale
            .into_iter()
            .map(|name| {
                resources.dns.remove(&name);
                Change::Dns(name)
            })
            .collect()
    }

    /// Waits for the next answer that differs from the one before. May be dropped and called again.
    pub async fn next(&mut self) -> Answer {
        loop {
            let Some(answer) = self.answers.recv().await else {
                // The task ends only with this value.
                return std::future::pending().await;
            };
            // It may have been on its way when the name was dropped.
            if !self.names.borrow().contains(&answer.name) {
                continue;
            }
            match &answer.failure {
                Some(failure) => drop(self.failing.insert(answer.name.clone(), failure.clone())),
                None => drop(self.failing.remove(&answer.name)),
            }
            return answer;
        }
    }

    /// One problem for each name that fails at present.
    pub fn problems(&self) -> Vec<Problem> {
        let problem = |(name, failure): (&Arc<str>, &String)| {
            let origin = Origin::new(ObjectRef::new("Name", "", name.clone()), "");
            Problem::warning(origin, "NameNotResolved", format!("{failure}; the last good addresses, if any, are used"))
        };
        self.failing.iter().map(problem).collect()
    }
}

impl Answer {
    /// Puts the addresses into the resources. Returns the change, if it is one.
    pub fn apply(self, resources: &mut Resources) -> Option<Change> {
        if resources.dns.get(&self.name) == Some(&self.addresses) {
            return None;
        }
        resources.dns.insert(self.name.clone(), self.addresses);
        Some(Change::Dns(self.name))
    }
}

#[derive(Clone)]
struct Follower {
    client: Client,
    options: Arc<Options>,
    permits: Arc<Semaphore>,
    sender: mpsc::UnboundedSender<Answer>,
}

impl Follower {
    /// Keeps one task for each wanted name, until nobody wants any.
    async fn run(self, mut wanted: watch::Receiver<BTreeSet<Arc<str>>>) {
        let mut tasks = JoinSet::new();
        let mut followed: BTreeMap<Arc<str>, AbortHandle> = BTreeMap::new();
        while wanted.changed().await.is_ok() {
            let names = wanted.borrow_and_update().clone();
            followed.retain(|name, task| {
                let keep = names.contains(name);
                if !keep {
                    task.abort();
                }
                keep
            });
            for name in names {
                let follower = self.clone();
                followed.entry(name.clone()).or_insert_with(|| tasks.spawn(follower.follow(name)));
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Asks for one name again and again; ends only from outside.
    async fn follow(self, name: Arc<str>) {
        let mut state = State::default();
        let mut told = None;
        loop {
            let result = {
                // The semaphore is never closed.
                let _permit = self.permits.acquire().await;
                self.client.resolve(&name, &state.addresses).await
            };
            let pause = state.take(result, &self.options);
            let news = (state.addresses.clone(), state.failure.clone());
            if told.as_ref() != Some(&news) {
                let (addresses, failure) = news.clone();
                tracing::debug!(%name, ?addresses, ?failure, "name resolved");
                if self.sender.send(Answer { name: name.clone(), addresses, failure }).is_err() {
                    return;
                }
                told = Some(news);
            }
            sleep(pause).await;
        }
    }
}

/// What is known of one name.
#[derive(Debug, Default)]
struct State {
    addresses: Vec<IpAddr>,
    failure: Option<String>,
    failures: u32,
    /// How often on end the name was said not to exist.
    nothings: u32,
}

impl State {
    /// Takes a result; returns how long to wait before asking again.
    fn take(&mut self, result: Result<Found, LookupError>, options: &Options) -> Duration {
        let error = match result {
            Ok(found) => {
                *self = Self { addresses: found.addresses, ..Self::default() };
                let max = options.max_ttl.max(options.min_ttl);
                return found.ttl.unwrap_or(max).clamp(options.min_ttl, max);
            }
            Err(error) => error,
        };
        self.nothings = if error == LookupError::Nothing { self.nothings.saturating_add(1) } else { 0 };
        let gone = self.nothings >= DISBELIEF || matches!(error, LookupError::Local(_) | LookupError::NotAName);
        if gone {
            self.addresses.clear();
        }
        self.failure = Some(error.to_string());
        let pause = options.min_retry.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        pause.min(options.max_retry)
    }
}

#[cfg(test)]
mod tests;
