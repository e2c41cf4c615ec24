//! Streams: one task per kind and scope that lists, watches, backs off and begins anew, and tells what it saw.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff};
use futures::StreamExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::ask::{self, ANSWER_TIME, AskError, MAX_WAIT, about, describe, waits, within};
use super::raw::RawObject;
use super::scope::Scope;
use crate::kinds::Entry;
use crate::resources::{Key, Kind};

/// Seconds after which a watch begins anew where it was: a connection whose other end vanished without a word is
/// noticed this soon.
const WATCH_SECONDS: u32 = 60;

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
    pub(super) times: Times,
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// In this time a page of a list, and the beginning of a watch, must arrive.
    pub(super) answer: Duration,
    /// A kind that is not served is asked for this seldom, and by chance up to twice as seldom: a CRD may come.
    pub(super) absent: Duration,
    /// The same for one that we may not read and need not.
    pub(super) forbidden: Duration,
}

/// How far a stream came.
struct Progress {
    /// Which of the kind's versions is asked for.
    version: usize,
    /// Where to go on watching; without it everything is listed first.
    position: Option<String>,
    /// Whether the API server does not serve the kind, as far as we know.
    absent: bool,
    waits: ExponentialBackoff,
}

impl Default for Times {
    fn default() -> Self {
        Self { answer: ANSWER_TIME, absent: Duration::from_secs(8), forbidden: Duration::from_secs(30) }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self { version: 0, position: None, absent: false, waits: waits().build() }
    }
}

impl Stream {
    /// Follows for as long as anybody listens.
    pub(super) async fn run(self, sender: mpsc::Sender<Message>) {
        let teller = Teller { stream: self.id, kind: self.entry.kind, sender };
        let mut at = Progress::default();
        while !teller.sender.is_closed() {
            if let Err(error) = self.follow(&mut at, &teller).await {
                sleep(self.judge(&error, &mut at, &teller).await).await;
            }
        }
    }

    /// Lists if need be, and watches until the API server ends the watch, as it does regularly.
    async fn follow(&self, at: &mut Progress, teller: &Teller) -> Result<(), StreamError> {
        if at.absent {
            self.find(at).await?;
        }
        let asked = at.version;
        match self.list_and_watch(at, teller).await {
            // Not served at all, or in another version. Without the API server's word for it the 404 may be anybody's
            // who stands in between, and what is known stays.
            Err(error) if error.code() == Some(404) && self.entry.is_custom() => {
                self.find(at).await?;
                if at.version == asked { Err(error) } else { Ok(()) }
            }
            ended => ended,
        }
    }

    async fn list_and_watch(&self, at: &mut Progress, teller: &Teller) -> Result<(), StreamError> {
        let version = self.entry.versions[at.version];
        let api = ask::api(&self.client, self.entry, version, self.scope.namespace.as_deref());
        let position = match at.position.take() {
            Some(position) => position,
            None => self.list(&api, teller).await?,
        };
        self.watch(&api, position, teller, at).await
    }

    /// Finds the version in which the kind is served.
    async fn find(&self, at: &mut Progress) -> Result<(), StreamError> {
        let served = timeout(self.times.answer, ask::served_version(&self.client, self.entry));
        let served = served.await.map_err(|_| AskError::Silent)??;
        at.absent = served.is_none();
        let served = served.ok_or(StreamError::Absent)?;
        if at.version != served {
            (at.version, at.position) = (served, None);
        }
        Ok(())
    }

    /// Tells what went wrong, and how long to wait.
    async fn judge(&self, error: &StreamError, at: &mut Progress, teller: &Teller) -> Duration {
        match error.code() {
            _ if matches!(error, StreamError::Absent) => {
                at.position = None;
                teller.tell(Event::Absent).await;
                return about(self.times.absent);
            }
            Some(403) => {
                at.position = None;
                teller.tell(Event::Forbidden(describe(error))).await;
                if !self.entry.kind.is_essential() {
                    return about(self.times.forbidden);
                }
            }
            // Our position is too far in the past: nothing is wrong.
            Some(410) => at.position = None,
            Some(404) => {
                at.position = None;
                teller.tell(Event::Failed(describe(error))).await;
            }
            _ => teller.tell(Event::Failed(describe(error))).await,
        }
        at.waits.next().unwrap_or(MAX_WAIT)
    }

    /// Tells everything there is. Returns where to go on watching.
    async fn list(&self, api: &Api<RawObject>, teller: &Teller) -> Result<String, StreamError> {
        teller.tell(Event::Listing).await;
        let mut params = ListParams { limit: Some(PAGE), field_selector: self.fields(), ..ListParams::default() };
        loop {
            let page = within(self.times.answer, api.list(&params)).await?;
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
    /// on is kept in `progress` as long as it is worth anything.
    async fn watch(
        &self,
        api: &Api<RawObject>,
        at: String,
        teller: &Teller,
        progress: &mut Progress,
    ) -> Result<(), StreamError> {
        let at = progress.position.insert(at);
        let params =
            WatchParams { timeout: Some(WATCH_SECONDS), field_selector: self.fields(), ..WatchParams::default() };
        let events = within(self.times.answer, api.watch(&params, at)).await?;
        let mut events = std::pin::pin!(events);
        teller.tell(Event::Watching).await;
        // A watch that begins and breaks at once must not be begun again and again without a pause.
        let began = Instant::now();
        let silence = Duration::from_secs(u64::from(WATCH_SECONDS)) + self.times.answer;
        while let Some(event) = timeout(silence, events.next()).await.map_err(|_| AskError::Silent)? {
            let (object, gone) = match event.map_err(AskError::from)? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                WatchEvent::Deleted(object) => (object, true),
                WatchEvent::Bookmark(bookmark) => {
                    *at = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => return Err(AskError::Api(kube::Error::Api(status)).into()),
            };
            *at = object.meta().resource_version.clone().ok_or(StreamError::NoPosition)?;
            let object = Box::new(object);
            teller.tell(if gone { Event::Deleted(object) } else { Event::Applied(object) }).await;
        }
        if began.elapsed() < MAX_WAIT {
            return Err(StreamError::Short);
        }
        progress.waits = waits().build();
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
    Ask(#[from] AskError),
    #[error("the API server does not serve the kind")]
    Absent,
    #[error("the API server ended the watch as soon as it had begun")]
    Short,
    #[error("the API server sent an object or list without resourceVersion")]
    NoPosition,
}

impl StreamError {
    /// The HTTP status, if the API server gave one.
    fn code(&self) -> Option<u16> {
        match self {
            Self::Ask(error) => error.status().map(|status| status.code),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
