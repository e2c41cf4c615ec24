//! Streams: one task per kind and scope that lists, watches, backs off and begins anew, and tells what it saw.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff};
use futures::StreamExt;
use kube::api::{Api, ListParams, WatchParams};
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::ask::{self, ANSWER_TIME, AskError, Failure, MAX_WAIT, Seen, about, describe, waits, within};
use super::raw::RawObject;
use super::scope::Scope;
use crate::kinds::Entry;
use crate::resources::{Key, Kind};

/// Seconds after which a watch begins anew where it was: a connection whose other end vanished without a word is
/// noticed this soon.
const WATCH_SECONDS: u32 = 60;

/// No watch is silent for longer.
pub(super) const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 30);

/// So many watches in turn may fail before everything is listed anew.
const REFUSALS: u32 = 3;

/// The API server may want us to wait this long.
const MAX_WANTED_WAIT: Duration = Duration::from_secs(30);

/// Objects in a page of a list.
const PAGE: u32 = 500;

/// Helm keeps every release of every chart in Secrets, often a megabyte each. None of them is ever referred to.
const SECRETS: &str = "type!=helm.sh/release.v1";

/// What a stream tells.
#[derive(Debug)]
pub(super) struct Message {
    /// The number of the stream or fetch.
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
    /// A watch lives: what changes is heard.
    Watching,
    /// The API server does not serve the kind.
    Absent,
    /// We may not read the kind.
    Forbidden(Failure),
    /// The API server could not be asked, or said something unexpected.
    Failed(Failure),
    /// An object that was asked for by name; `None` when there is none.
    Fetched(Key, Option<Box<RawObject>>),
    /// An object that was asked for by name does not come; it is asked for again and again.
    Unfetched(Key, Failure),
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
    /// A watch that lives so long is one: changes are heard. Another one may be begun at once when it ends.
    pub(super) settle: Duration,
}

/// How far a stream came.
struct Progress {
    /// Which of the kind's versions is asked for.
    version: usize,
    /// Where to go on watching; without it everything is listed first.
    position: Option<String>,
    /// Whether the API server does not serve the kind, as far as we know.
    absent: bool,
    /// How often in turn a watch did not come about for reasons that may lie in the position.
    refusals: u32,
    waits: ExponentialBackoff,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            answer: ANSWER_TIME,
            absent: Duration::from_secs(8),
            forbidden: Duration::from_secs(30),
            settle: Duration::from_secs(2),
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self { version: 0, position: None, absent: false, refusals: 0, waits: waits().build() }
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
        let mut position = Position { at: position, began: None, heard: false };
        let ended = self.watch(&api, &mut position, teller).await;
        if position.began.is_some_and(|began| began.elapsed() >= self.times.settle) {
            (at.refusals, at.waits) = (0, waits().build());
        }
        // A watch that did not bring so much as a bookmark may wait for versions that never come.
        let ahead = if ended.is_ok() && !position.heard { self.is_ahead(&api, &position.at).await } else { Ok(false) };
        at.position = Some(position.at).filter(|_| !matches!(ahead, Ok(true)));
        ended.and(ahead.map(drop))
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
        if matches!(error, StreamError::Absent) {
            at.position = None;
            teller.tell(Event::Absent).await;
            return about(self.times.absent);
        }
        if error.code() == Some(403) {
            at.position = None;
            teller.tell(Event::Forbidden(error.failure())).await;
            if !self.entry.kind.is_essential() {
                return about(self.times.forbidden);
            }
        } else {
            at.refusals += u32::from(error.may_be_of_position());
            let outdated = error.is_of_position();
            // A position may grow old; that nothing is wrong then shows in the next watch.
            if !outdated || at.refusals > 1 {
                teller.tell(Event::Failed(error.failure())).await;
            }
            if outdated || at.refusals >= REFUSALS {
                at.position = None;
            }
            // If that was not it, not every watch that fails is to cost a list of everything.
            at.refusals %= REFUSALS;
        }
        let wait = at.waits.next().unwrap_or(MAX_WAIT);
        error.wanted_wait().map_or(wait, |wanted| wait.max(wanted.min(MAX_WANTED_WAIT)))
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

    /// Tells what changes from a position on, which follows it. Returns when the API server ends the watch, as it does
    /// regularly.
    async fn watch(&self, api: &Api<RawObject>, position: &mut Position, teller: &Teller) -> Result<(), StreamError> {
        let params =
            WatchParams { timeout: Some(WATCH_SECONDS), field_selector: self.fields(), ..WatchParams::default() };
        let events = within(self.times.answer, ask::watch(&self.client, api, &params, &position.at)).await?;
        let mut events = std::pin::pin!(events);
        let settles = *position.began.insert(Instant::now()) + self.times.settle;
        let mut settled = false;
        loop {
            if !settled && settles <= Instant::now() {
                settled = true;
                teller.tell(Event::Watching).await;
            }
            let end = if settled { Instant::now() + SILENCE } else { settles };
            match timeout_at(end, events.next()).await {
                Ok(Some(Ok(seen))) => position.pass(seen, teller).await?,
                // Whoever stands in between ends what is idle.
                Ok(None | Some(Err(AskError::Broken(_)))) if settles <= Instant::now() => return Ok(()),
                Ok(None) => return Err(StreamError::Short),
                Ok(Some(Err(error))) => return Err(error.into()),
                Err(_) if settled => return Err(AskError::Silent.into()),
                Err(_) => {}
            }
        }
    }

    /// Whether a position is one that the API server has not reached: its database is an older copy of what it was.
    async fn is_ahead(&self, api: &Api<RawObject>, position: &str) -> Result<bool, StreamError> {
        let params = ListParams { limit: Some(1), field_selector: self.fields(), ..ListParams::default() };
        let now = within(self.times.answer, api.list(&params)).await?.metadata.resource_version;
        let number = |version: &str| version.parse::<u64>().ok();
        let (now, position) = (now.as_deref().and_then(number), number(position));
        Ok(now.zip(position).is_some_and(|(now, position)| now < position))
    }

    /// The field selector.
    fn fields(&self) -> Option<String> {
        match &self.scope.name {
            Some(name) => Some(format!("metadata.name={name}")),
            None => (self.entry.kind == Kind::Secret).then(|| SECRETS.to_owned()),
        }
    }
}

/// Where a watch is.
struct Position {
    /// The version of what it brought last.
    at: String,
    /// Since when it is answered.
    began: Option<Instant>,
    /// Whether it brought anything.
    heard: bool,
}

impl Position {
    /// Tells what was seen, and goes on to there.
    async fn pass(&mut self, seen: Seen, teller: &Teller) -> Result<(), StreamError> {
        self.heard = true;
        self.at = match &seen {
            Seen::Bookmark(version) => Some(version.clone()),
            Seen::Applied(object) | Seen::Deleted(object) => object.meta().resource_version.clone(),
        }
        .ok_or(StreamError::NoPosition)?;
        match seen {
            Seen::Applied(object) => teller.tell(Event::Applied(object)).await,
            Seen::Deleted(object) => teller.tell(Event::Deleted(object)).await,
            Seen::Bookmark(_) => {}
        }
        Ok(())
    }
}

/// What is told, under the number of a stream or fetch.
pub(super) struct Teller {
    pub(super) stream: usize,
    pub(super) kind: Kind,
    pub(super) sender: mpsc::Sender<Message>,
}

impl Teller {
    /// Waits while there is no room. Nobody listens only when everything ends.
    pub(super) async fn tell(&self, event: Event) {
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
    /// It, for those who are told.
    fn failure(&self) -> Failure {
        let brief = match self {
            Self::Ask(error) => error.brief(),
            Self::Absent | Self::Short | Self::NoPosition => self.to_string(),
        };
        Failure { brief, detail: describe(self) }
    }

    /// The HTTP status, if the API server gave one.
    fn code(&self) -> Option<u16> {
        match self {
            Self::Ask(error) => error.status().map(|status| status.code),
            _ => None,
        }
    }

    /// Whether the API server says that it can't go on from our position: it is too far in the past, or it has not been
    /// reached.
    fn is_of_position(&self) -> bool {
        let Self::Ask(error) = self else { return false };
        error.status().is_some_and(|status| {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            let ahead = || causes.into_iter().any(|cause| cause.reason == "ResourceVersionTooLarge");
            let older = status.reason == "Timeout" && status.message.contains("Too large resource version");
            status.code == 410 || older || ahead()
        })
    }

    /// Whether another position might help. Not when nobody can be reached, or everybody is to wait.
    fn may_be_of_position(&self) -> bool {
        match self {
            Self::Ask(AskError::Api(kube::Error::Api(status))) => !matches!(status.code, 429 | 503),
            Self::Ask(AskError::Api(_)) => false,
            _ => true,
        }
    }

    /// How long the API server wants us to wait.
    fn wanted_wait(&self) -> Option<Duration> {
        let Self::Ask(error) = self else { return None };
        let seconds = error.status()?.details.as_ref()?.retry_after_seconds;
        Some(Duration::from_secs(seconds.into()))
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
