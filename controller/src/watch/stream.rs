//! Streams: one task per kind and scope that lists, watches, backs off and begins anew, and tells what it saw.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::StreamExt;
use kube::api::{Api, ApiResource, ListParams, WatchEvent, WatchParams};
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::raw::RawObject;
use super::scope::Scope;
use crate::kinds::{self, Entry};
use crate::resources::{Key, Kind, Object};

/// The first wait after an error; each further one is twice as long, up to [`MAX_WAIT`], by chance up to once more.
const MIN_WAIT: Duration = Duration::from_millis(100);
/// The longest wait: an API server that returns is noticed this soon.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// Seconds after which a watch begins anew where it was: a connection whose other end vanished without a word is
/// noticed this soon.
const WATCH_SECONDS: u32 = 60;

/// In this time a page of a list, and the beginning of a watch, must arrive.
const LIST_TIME: Duration = Duration::from_secs(30);

/// Objects in a page of a list.
const PAGE: u32 = 500;

/// Helm keeps every release of every chart in Secrets, often a megabyte each. None of them is ever referred to.
const SECRETS: &str = "type!=helm.sh/release.v1";

/// What a stream tells.
#[derive(Debug)]
pub(super) struct Message {
    /// The stream's number.
    pub(super) stream: usize,
    /// Its kind.
    pub(super) kind: Kind,
    /// What happened.
    pub(super) event: Event,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// A list begins: what is not in it is gone.
    Listing,
    /// An object is there, or changed.
    Applied(Box<RawObject>),
    /// An object is gone.
    Deleted(Box<RawObject>),
    /// The list is complete.
    Listed,
    /// A watch began: what changes from now on is told.
    Watching,
    /// The API server does not serve the kind.
    Absent,
    /// We may not read the kind.
    Forbidden(String),
    /// The API server could not be asked, or said something unexpected.
    Failed(String),
    /// An object that was asked for by name; `None` when there is none.
    Fetched(Key, Option<Box<RawObject>>),
}

/// Follows one kind.
pub(super) struct Stream {
    pub(super) id: usize,
    pub(super) entry: &'static Entry,
    pub(super) scope: Scope,
    pub(super) client: Client,
}

impl Stream {
    /// Follows for as long as anybody listens.
    pub(super) async fn run(self, sender: mpsc::Sender<Message>) {
        let teller = Teller { stream: self.id, kind: self.entry.kind, sender };
        let mut version = 0;
        let mut waits = waits().build();
        // Where to go on watching; `None` lists first.
        let mut position: Option<String> = None;
        while !teller.sender.is_closed() {
            let api = api(&self.client, self.entry, self.entry.versions[version], self.scope.namespace.as_deref());
            let listed = match position.take() {
                Some(position) => Ok(position),
                None => self.list(&api, &teller).await,
            };
            let ended = match listed {
                Ok(at) => self.watch(&api, at, &teller, &mut waits, &mut position).await,
                Err(error) => Err(error),
            };
            let Err(error) = ended else { continue };
            match error.code() {
                Some(404) => {
                    // Another version may be served, now or when the CRD comes.
                    version = (version + 1) % self.entry.versions.len();
                    position = None;
                    teller.tell(Event::Absent).await;
                }
                Some(403) => {
                    position = None;
                    teller.tell(Event::Forbidden(describe(&error))).await;
                }
                // Our position is too far in the past: nothing is wrong.
                Some(410) => position = None,
                _ => teller.tell(Event::Failed(describe(&error))).await,
            }
            sleep(waits.next().unwrap_or(MAX_WAIT)).await;
        }
    }

    /// Tells everything there is. Returns where to go on watching.
    async fn list(&self, api: &Api<RawObject>, teller: &Teller) -> Result<String, StreamError> {
        teller.tell(Event::Listing).await;
        let mut params = ListParams { limit: Some(PAGE), field_selector: self.fields(), ..ListParams::default() };
        loop {
            let page = timeout(LIST_TIME, api.list(&params)).await.map_err(|_| StreamError::Silent)??;
            for object in page.items {
                teller.tell(Event::Applied(Box::new(object))).await;
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                teller.tell(Event::Listed).await;
                return page.metadata.resource_version.filter(|at| !at.is_empty()).ok_or(StreamError::NoPosition);
            }
        }
    }

    /// Tells what changes from `at` on. Returns when the API server ends the watch, as it does regularly; where to go
    /// on is kept in `position` as long as it is worth anything.
    async fn watch(
        &self,
        api: &Api<RawObject>,
        at: String,
        teller: &Teller,
        waits: &mut ExponentialBackoff,
        position: &mut Option<String>,
    ) -> Result<(), StreamError> {
        let at = position.insert(at);
        let params =
            WatchParams { timeout: Some(WATCH_SECONDS), field_selector: self.fields(), ..WatchParams::default() };
        let events = timeout(LIST_TIME, api.watch(&params, at)).await.map_err(|_| StreamError::Silent)??;
        let mut events = std::pin::pin!(events);
        teller.tell(Event::Watching).await;
        // A watch that begins and breaks at once must not be begun again and again without a pause.
        let began = Instant::now();
        let silence = Duration::from_secs(u64::from(WATCH_SECONDS)) + LIST_TIME;
        while let Some(event) = timeout(silence, events.next()).await.map_err(|_| StreamError::Silent)? {
            let (object, gone) = match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                WatchEvent::Deleted(object) => (object, true),
                WatchEvent::Bookmark(bookmark) => {
                    *at = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => return Err(StreamError::Api(kube::Error::Api(status))),
            };
            *at = object.meta().resource_version.clone().ok_or(StreamError::NoPosition)?;
            let object = Box::new(object);
            teller.tell(if gone { Event::Deleted(object) } else { Event::Applied(object) }).await;
        }
        if began.elapsed() < MAX_WAIT {
            return Err(StreamError::Short);
        }
        *waits = self::waits().build();
        Ok(())
    }

    /// The field selector.
    fn fields(&self) -> Option<String> {
        match &self.scope.name {
            Some(name) => Some(format!("metadata.name={name}")),
            None => (self.entry.kind == Kind::Secret).then(|| SECRETS.to_owned()),
        }
    }
}

/// What is told, under the stream's name.
struct Teller {
    stream: usize,
    kind: Kind,
    sender: mpsc::Sender<Message>,
}

impl Teller {
    /// Waits while there is no room. Nobody listens only when everything ends.
    async fn tell(&self, event: Event) {
        let _ = self.sender.send(Message { stream: self.stream, kind: self.kind, event }).await;
    }
}

/// Why following stopped.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("the API server does not answer")]
    Silent,
    #[error("the API server ended the watch as soon as it had begun")]
    Short,
    #[error("the API server sent an object or list without resourceVersion")]
    NoPosition,
}

impl StreamError {
    /// The HTTP status, if the API server gave one.
    fn code(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}

/// Gets one object, once; `None` also when it can't be read.
pub async fn get(client: &Client, key: &Key) -> Option<Object> {
    let entry = kinds::entry(key.kind);
    let namespace = key.kind.namespaced().then_some(&*key.name.namespace);
    let raw = api(client, entry, entry.versions[0], namespace).get_opt(&key.name.name).await.ok()??;
    (entry.decode)(raw.value()).ok().map(|(object, _)| object)
}

/// Gets one object, until the API server answers, and tells it as [`Event::Fetched`].
pub(super) async fn fetch(client: Client, key: Key, sender: mpsc::Sender<Message>) {
    let entry = kinds::entry(key.kind);
    let namespace = key.kind.namespaced().then_some(&*key.name.namespace);
    let api = api(&client, entry, entry.versions[0], namespace);
    let mut waits = waits().build();
    let found = loop {
        match api.get_opt(&key.name.name).await {
            Ok(found) => break found,
            Err(error) => tracing::debug!(%key, %error, "can't be fetched yet"),
        }
        sleep(waits.next().unwrap_or(MAX_WAIT)).await;
    };
    let kind = key.kind;
    // Nobody listens only at the end of the process.
    let _ = sender.send(Message { stream: usize::MAX, kind, event: Event::Fetched(key, found.map(Box::new)) }).await;
}

fn waits() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(MIN_WAIT)
        .with_max_delay(MAX_WAIT)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
}

fn api(client: &Client, entry: &Entry, version: &str, namespace: Option<&str>) -> Api<RawObject> {
    let resource = ApiResource {
        group: entry.group.to_owned(),
        version: version.to_owned(),
        api_version: entry.api_version(version),
        kind: entry.kind.as_str().to_owned(),
        plural: entry.plural.to_owned(),
    };
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// An error with its causes, in one line: those of the client say little by themselves.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
