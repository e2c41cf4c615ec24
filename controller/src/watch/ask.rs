//! Asking: single questions to the API server, each with an end, and the waits between them.

use std::io;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::{AsyncBufReadExt, Stream, StreamExt};
use kube::Client;
use kube::api::{Api, ApiResource, WatchEvent, WatchParams};
use kube::core::{Request, Status};
use tokio::time::{sleep, timeout};

use super::raw::RawObject;
use super::stream::{Event, Teller};
use crate::kinds::{self, Entry};
use crate::resources::{Key, Kind, Object};

/// The first wait after an error; each further one is twice as long, up to [`MAX_WAIT`], by chance up to once more.
const MIN_WAIT: Duration = Duration::from_millis(100);
/// The longest wait: an API server that returns is noticed this soon.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(3);

/// In this time an object, a page of a list, and the beginning of a watch must arrive.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(30);

/// A fetch that failed so often is told, and at once one that is forbidden.
const PATIENCE: u32 = 5;

/// What went wrong.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// For everybody who may ask how we are: it names no account, object or address.
    pub(super) brief: String,
    /// For the log: everything that is known.
    pub(super) detail: String,
}

/// Why the API server gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("the API server does not answer")]
    Silent,
    #[error("the API server names no API groups")]
    NoGroups,
    #[error("the connection to the API server broke")]
    Broken(#[source] io::Error),
    #[error("the API server sent what is no event of a watch")]
    Unreadable(#[source] serde_json::Error),
}

impl AskError {
    /// What the API server said, if it is that which failed.
    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status),
            _ => None,
        }
    }

    /// What it is in short, without what the API server said, which has names of accounts and objects.
    pub(super) fn brief(&self) -> String {
        match self {
            Self::Api(kube::Error::Api(status)) => format!("HTTP status {}", status.code),
            Self::Api(kube::Error::SerdeError(_)) => "the answer can't be read".to_owned(),
            Self::Api(_) | Self::Silent => "no answer".to_owned(),
            // Without their sources.
            Self::NoGroups | Self::Broken(_) | Self::Unreadable(_) => self.to_string(),
        }
    }
}

/// An answer, if it comes within `time`.
pub(super) async fn within<T>(time: Duration, answer: impl Future<Output = kube::Result<T>>) -> Result<T, AskError> {
    Ok(timeout(time, answer).await.map_err(|_| AskError::Silent)??)
}

/// Gets one object, once; `None` also when it can't be read.
pub async fn get(client: &Client, key: &Key) -> Option<Object> {
    let raw = get_raw(client, key, ANSWER_TIME).await.ok()??;
    (kinds::entry(key.kind).decode)(raw.value()).ok().map(|(object, _)| object)
}

/// Gets one object, until the API server answers, and tells it as [`Event::Fetched`]. An answer that takes longer than
/// `time` is asked for again. That it does not come is told once, as [`Event::Unfetched`].
pub(super) async fn fetch(client: Client, key: Key, time: Duration, teller: Teller) {
    let mut waits = waits().build();
    let (mut failures, mut told) = (0, false);
    let found = loop {
        let error = match get_raw(&client, &key, time).await {
            Ok(found) => break found,
            Err(error) => error,
        };
        failures += 1;
        let detail = describe(&error);
        tracing::debug!(%key, error = detail, "can't be fetched yet");
        let forbidden = error.status().is_some_and(|status| status.code == 403);
        if !told && (forbidden || failures >= PATIENCE) {
            told = true;
            teller.tell(Event::Unfetched(key.clone(), Failure { brief: error.brief(), detail })).await;
        }
        sleep(waits.next().unwrap_or(MAX_WAIT)).await;
    };
    teller.tell(Event::Fetched(key, found.map(Box::new))).await;
}

/// One object; `None` when the API server says of this very object that there is none. What stands between us and the
/// API server may answer 404 to anything.
async fn get_raw(client: &Client, key: &Key, time: Duration) -> Result<Option<RawObject>, AskError> {
    let entry = kinds::entry(key.kind);
    let namespace = key.kind.namespaced().then_some(&*key.name.namespace);
    let api = api(client, entry, entry.versions[0], namespace);
    match within(time, api.get(&key.name.name)).await {
        Ok(raw) => Ok(Some(raw)),
        Err(error) => {
            let about = error.status().filter(|status| status.code == 404).and_then(|status| status.details.as_ref());
            let gone = about.is_some_and(|about| about.name == *key.name.name && about.kind == entry.plural);
            if gone { Ok(None) } else { Err(error) }
        }
    }
}

/// What a watch brings.
pub(super) enum Seen {
    /// An object came or changed.
    Applied(Box<RawObject>),
    /// An object went.
    Deleted(Box<RawObject>),
    /// Nothing happened up to this version.
    Bookmark(String),
}

/// Begins a watch after a version. The client's own tells a refusal as an event of a watch that seems to have begun.
pub(super) async fn watch(
    client: &Client,
    api: &Api<RawObject>,
    params: &WatchParams,
    after: &str,
) -> kube::Result<impl Stream<Item = Result<Seen, AskError>> + use<>> {
    let request = Request::new(api.resource_url()).watch(params, after).map_err(kube::Error::BuildRequest)?;
    let body = client.request_stream(request).await?;
    Ok(body.lines().map(|line| Seen::read(&line.map_err(AskError::Broken)?)))
}

impl Seen {
    fn read(line: &str) -> Result<Self, AskError> {
        let event = serde_json::from_str(line).map_err(|error| match error.is_eof() {
            // The last line was cut.
            true => AskError::Broken(error.into()),
            false => AskError::Unreadable(error),
        })?;
        Ok(match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => Self::Applied(Box::new(object)),
            WatchEvent::Deleted(object) => Self::Deleted(Box::new(object)),
            WatchEvent::Bookmark(bookmark) => Self::Bookmark(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Err(AskError::Api(kube::Error::Api(status))),
        })
    }
}

/// In which of the versions that we read the API server serves a kind, by its index; `None` when in none.
pub(super) async fn served_version(client: &Client, entry: &Entry) -> Result<Option<usize>, AskError> {
    let groups = client.list_api_groups().await?.groups;
    if groups.is_empty() {
        return Err(AskError::NoGroups);
    }
    let Some(group) = groups.into_iter().find(|group| group.name == entry.group) else { return Ok(None) };
    for (index, version) in entry.versions.iter().enumerate() {
        if !group.versions.iter().any(|served| served.version == *version) {
            continue;
        }
        match client.list_api_group_resources(&entry.api_version(version)).await {
            Ok(list) if list.resources.iter().any(|resource| resource.name == entry.plural) => return Ok(Some(index)),
            Ok(_) => {}
            // It is being installed or removed: the list of groups comes before or after it.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// The same as a version; `None` also when the API server does not say.
pub(crate) async fn version_of(client: &Client, kind: Kind) -> Option<&'static str> {
    let entry = kinds::entry(kind);
    entry.versions.get(served_version(client, entry).await.ok()??).copied()
}

/// The waits between attempts.
pub(super) fn waits() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(MIN_WAIT)
        .with_max_delay(MAX_WAIT)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
}

/// One wait of at least `time`, by chance up to twice as long: replicas that began together do not stay together.
pub(super) fn about(time: Duration) -> Duration {
    let once = ExponentialBuilder::default().with_min_delay(time).with_max_delay(time).with_jitter();
    once.build().next().unwrap_or(time)
}

/// The part of the API where a kind is.
pub(super) fn api(client: &Client, entry: &Entry, version: &str, namespace: Option<&str>) -> Api<RawObject> {
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
#[path = "ask_tests.rs"]
mod tests;
