//! Watch: keeps [`Resources`](crate::resources::Resources) up to date with an API server.
//!
//! ```text
//!  API server --list, watch--> stream (one task per kind) --events--> Store --> Resources, changes
//!                              backs off, begins anew                 |  only Secrets and ConfigMaps that somebody
//!                                                                     |  refers to are kept; one that is referred to
//!              <--get----------------- fetch <------------------------+  later is fetched
//! ```
//!
//! An API server that is slow, gone or restarted changes nothing: what was last seen stays, and [`Health`] says so. A
//! kind that the API server says that it does not serve (a CRD that is not installed) counts as listed and empty, and is
//! asked for again now and then.

mod ask;
mod cache;
mod client;
mod health;
mod raw;
mod scope;
#[cfg(test)]
pub(crate) mod scripted;
mod seen;
mod store;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use kube::Client;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

pub use self::ask::get;
pub(crate) use self::ask::version_of as served_version;
use self::ask::{ANSWER_TIME, fetch};
pub use self::client::{Access, connect};
pub use self::health::Health;
pub use self::scope::{Scope, Scopes};
pub(crate) use self::seen::STATUS_MANAGER;
pub use self::seen::{Kept, SeenStatus};
use self::store::Store;
pub use self::store::{Address, Facts};
use self::stream::{Event, Message, Stream, Teller, Times};
use crate::kinds;
use crate::resources::{Key, Kind, Resources};
use crate::translate::Change;

/// Messages that are taken together at most, so that a flood is served in steps.
const BATCH: usize = 1024;

/// Messages that wait at most: beyond it the API server's streams wait.
const QUEUE: usize = 256;

/// An API server that is followed.
pub struct Watch {
    client: Client,
    scopes: Scopes,
    store: Store,
    health: Health,
    sender: mpsc::Sender<Message>,
    messages: mpsc::Receiver<Message>,
    /// Dropped with the watch, which ends them.
    tasks: JoinSet<()>,
    /// Kinds kept on demand are followed only when everything that may refer to them is known.
    began_on_demand: bool,
    /// What is being fetched.
    fetching: BTreeMap<Key, Fetching>,
    /// The number of the next stream or fetch.
    next: usize,
    /// Whether there is something to serve from the cache.
    restored: bool,
}

/// A fetch that runs.
struct Fetching {
    /// By which its answer is told from that of an earlier one.
    id: usize,
    task: AbortHandle,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Update {
    /// What changed in [`Watch::resources`].
    pub changes: BTreeSet<Change>,
    /// Objects whose [`Facts`] changed or that went.
    pub facts: BTreeSet<Key>,
    /// Whether [`Watch::problems`] may have changed.
    pub problems_changed: bool,
}

impl Watch {
    /// Begins to follow what `scopes` say. Nothing is known yet, see [`Self::is_listed`]; or what the cache in a file
    /// knows, see [`Self::is_restored`]. An error is one of that file. `controller` is the `controllerName` under which we
    /// write statuses of Gateway API.
    pub fn begin(client: Client, scopes: Scopes, controller: &str, cache: Option<&Path>) -> io::Result<Self> {
        let (sender, messages) = mpsc::channel(QUEUE);
        let mut watch = Self {
            client,
            scopes,
            store: Store::new(controller),
            health: Health::default(),
            sender,
            messages,
            tasks: JoinSet::new(),
            began_on_demand: false,
            fetching: BTreeMap::new(),
            next: 0,
            restored: false,
        };
        if let Some(path) = cache {
            watch.restored = watch.store.restore(path)? > 0;
        }
        for kind in Kind::ALL.iter().copied().filter(|kind| !kind.kept_on_demand()) {
            watch.follow(kind);
        }
        watch.note_awaited();
        Ok(watch)
    }

    /// Whether the cache had something: then it need not be waited for the API server.
    pub fn is_restored(&self) -> bool {
        self.restored
    }

    /// Begins to follow the kinds that are kept on demand. To be called when [`Self::is_listed`] and the resources were
    /// translated once, so that what is referred to is known.
    pub fn begin_on_demand(&mut self) {
        if !std::mem::replace(&mut self.began_on_demand, true) {
            for kind in Kind::ALL.iter().copied().filter(|kind| kind.kept_on_demand()) {
                self.follow(kind);
            }
            self.note_awaited();
        }
    }

    fn follow(&mut self, kind: Kind) {
        for scope in self.scopes.of(kind) {
            let id = self.number();
            self.store.expect(id, kind, scope.clone());
            let stream =
                Stream { id, entry: kinds::entry(kind), scope, client: self.client.clone(), times: Times::default() };
            self.tasks.spawn(stream.run(self.sender.clone()));
        }
    }

    fn number(&mut self) -> usize {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Of which kinds the first list is awaited changes with what is followed and with what is told.
    fn note_awaited(&self) {
        self.health.set_awaited(self.store.unlisted());
    }

    /// Everything that is known.
    pub fn resources(&self) -> &Resources {
        self.store.resources()
    }

    /// The same, for whoever keeps [`Resources::dns`]. Objects are not to be changed through it.
    pub fn resources_mut(&mut self) -> &mut Resources {
        self.store.resources_mut()
    }

    /// Whether every kind that is followed so far was listed once.
    pub fn is_listed(&self) -> bool {
        self.store.is_listed()
    }

    /// What is known of an object besides what is translated.
    pub fn facts(&self, key: &Key) -> Option<&Facts> {
        self.store.facts(key)
    }

    /// The objects of which [`Facts`] are known, also those that the cache brought.
    pub fn known(&self) -> impl Iterator<Item = &Key> {
        self.store.known()
    }

    /// Objects that could not be read.
    pub fn problems(&self) -> impl Iterator<Item = &genkan_routing::report::Problem> {
        self.store.problems()
    }

    /// How the API server is doing, shared.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Waits for something to happen; `wanted` tells which Secrets and ConfigMaps somebody refers to. Cancelling loses
    /// nothing.
    pub async fn changed(&mut self, wanted: impl Fn(&Key) -> bool) -> Update {
        let mut batch = Vec::new();
        // The watch itself holds a sender: the channel does not end.
        self.messages.recv_many(&mut batch, BATCH).await;
        let mut update = Update::default();
        for message in batch {
            self.take(message, &wanted, &mut update);
        }
        self.note_awaited();
        update
    }

    fn take(&mut self, message: Message, wanted: &impl Fn(&Key) -> bool, update: &mut Update) {
        let Message { stream, kind, event } = message;
        match &event {
            // This is newer than what is being fetched. If it is passed over, whoever refers to it fetches it anew.
            Event::Applied(raw) | Event::Deleted(raw) => self.end_fetch(&raw.key(kind)),
            // Of a fetch that was ended when this was on its way.
            Event::Fetched(key, _) | Event::Unfetched(key, _)
                if self.fetching.get(key).is_none_or(|fetching| fetching.id != stream) =>
            {
                return;
            }
            Event::Fetched(key, _) => self.end_fetch(key),
            _ => {}
        }
        self.health.note(stream, kind, &event);
        self.store.take(stream, kind, event, wanted, update);
    }

    /// Whether an object exists, probably, of a kind that is kept on demand, and nobody referred to it so far.
    pub fn passed_over(&self, key: &Key) -> bool {
        self.store.passed_over(key)
    }

    /// Fetches what somebody refers to by now and was passed over when it was seen.
    pub fn fetch(&mut self, missing: impl IntoIterator<Item = Key>) {
        for key in missing {
            if self.store.passed_over(&key) && !self.fetching.contains_key(&key) {
                let id = self.number();
                let teller = Teller { stream: id, kind: key.kind, sender: self.sender.clone() };
                let task = self.tasks.spawn(fetch(self.client.clone(), key.clone(), ANSWER_TIME, teller));
                self.fetching.insert(key, Fetching { id, task });
            }
        }
        while self.tasks.try_join_next().is_some() {}
    }

    fn end_fetch(&mut self, key: &Key) {
        if let Some(fetching) = self.fetching.remove(key) {
            fetching.task.abort();
            self.health.end_fetch(key);
        }
    }

    /// Lets go of Secrets and ConfigMaps that nobody refers to any more, and fetches them no longer.
    pub fn release(&mut self, wanted: impl Fn(&Key) -> bool) {
        let unwanted: Vec<_> = self.fetching.keys().filter(|key| !wanted(key)).cloned().collect();
        unwanted.iter().for_each(|key| self.end_fetch(key));
        self.store.release(wanted);
    }
}

#[cfg(test)]
mod tests;
