//! Events (events.k8s.io/v1) about objects: what is wrong with them, and that they were taken (`Sync`).
//!
//! An Event's name follows from what it says, so that the same is one Event, however often and by whomever it is said:
//! a second time counts in its series. Events are for people; nothing depends on them, and none is waited for. They are
//! created and patched and never read, so that the rights to do that are enough.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use rustc_hash::FxHasher;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::kinds;
use crate::resources::{Key, Kind};

/// The `reportingController`.
const CONTROLLER: &str = "genkan.dev/ingress-controller";
/// Events that wait to be written; more are dropped.
const QUEUE: usize = 2000;
/// Between two writes, to be kind to the API server.
const PACE: Duration = Duration::from_millis(10);
/// One write may take so long.
const WRITE_TIME: Duration = Duration::from_secs(5);
/// The longest note that the API takes, in bytes.
const LONGEST_NOTE: usize = 1024;
/// The longest name that the API takes.
const LONGEST_NAME: usize = 253;
/// Events whose counts are remembered; beyond it all are forgotten, and asked for again.
const REMEMBERED: usize = 10_000;

/// What is said about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The object.
    pub about: Key,
    /// Its `metadata.uid`.
    pub uid: String,
    /// Whether it is bad news: `Warning`, else `Normal`.
    pub warning: bool,
    /// A CamelCase word.
    pub reason: &'static str,
    /// The field that it is about; empty for the whole object.
    pub field: String,
    /// The sentence.
    pub note: String,
    /// Whether the same, said before, counts once more.
    pub counts: bool,
}

/// The writer's other end.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<Told>,
    leading: watch::Receiver<bool>,
}

impl Events {
    /// Starts a writer that writes only while `leading`. `instance`: the name of our Pod.
    pub fn start(client: Client, instance: String, leading: watch::Receiver<bool>) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        let writer = Writer { client, instance, counts: HashMap::new() };
        tokio::spawn(writer.run(queue, leading.clone()));
        Self { sender, leading }
    }

    /// Says something, if we lead and there is room.
    pub fn tell(&self, told: Told) {
        if *self.leading.borrow() && self.sender.try_send(told).is_err() {
            tracing::debug!("too many Events wait; one is dropped");
        }
    }
}

/// Writes Events, and remembers how often each was said.
struct Writer {
    client: Client,
    instance: String,
    /// By the name of the Event, and its namespace.
    counts: HashMap<(String, String), i32>,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Told>, leading: watch::Receiver<bool>) {
        while let Some(told) = queue.recv().await {
            if !*leading.borrow() {
                continue;
            }
            match timeout(WRITE_TIME, self.write(&told)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(about = %told.about, %error, "no Event could be written"),
                Err(_) => {
                    tracing::debug!(about = %told.about, "no Event could be written: the API server does not answer")
                }
            }
            sleep(PACE).await;
        }
    }

    async fn write(&mut self, told: &Told) -> kube::Result<()> {
        let event = event(&self.instance, told);
        let name = event.metadata.name.clone().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace(&told.about));
        let known = (namespace(&told.about).to_owned(), name.clone());
        if told.counts
            && let Some(count) = self.counts.get(&known).copied()
            && self.count(&events, known.clone(), count).await?
        {
            return Ok(());
        }
        match events.create(&PostParams::default(), &event).await {
            Ok(_) => self.remember(known, 1),
            // Another replica said it, or we before a restart. An empty patch changes nothing and gives the Event.
            Err(kube::Error::Api(status)) if status.code == 409 && told.counts => {
                let there = events.patch(&name, &PatchParams::default(), &Patch::Merge(json!({}))).await?;
                let count = there.series.map_or(1, |series| series.count);
                self.count(&events, known, count).await?;
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Counts an Event that was said `count` times once more. `false`: it is there no more, as happens after an hour.
    async fn count(&mut self, events: &Api<Event>, known: (String, String), count: i32) -> kube::Result<bool> {
        let series = EventSeries { count: count.saturating_add(1), last_observed_time: MicroTime(Timestamp::now()) };
        let patch = Patch::Merge(json!({"series": series}));
        match events.patch(&known.1, &PatchParams::default(), &patch).await {
            Ok(_) => {
                self.remember(known, series.count);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.counts.remove(&known);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn remember(&mut self, known: (String, String), count: i32) {
        if self.counts.len() >= REMEMBERED && !self.counts.contains_key(&known) {
            self.counts.clear();
        }
        self.counts.insert(known, count);
    }
}

/// Events about cluster-scoped objects are in `default`.
fn namespace(about: &Key) -> &str {
    if about.name.namespace.is_empty() { "default" } else { &about.name.namespace }
}

fn event(instance: &str, told: &Told) -> Event {
    let Key { kind, name } = &told.about;
    let mut hasher = FxHasher::default();
    (&told.uid, told.reason, &told.field, &told.note).hash(&mut hasher);
    let action = if told.field.is_empty() { "Translate" } else { &told.field };
    Event {
        metadata: ObjectMeta {
            namespace: Some(namespace(&told.about).to_owned()),
            name: Some(name_of(&name.name, hasher.finish())),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(Timestamp::now())),
        type_: Some(if told.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(told.reason.to_owned()),
        action: Some(cut(action, 128).to_owned()),
        note: Some(cut(&told.note, LONGEST_NOTE).to_owned()),
        regarding: Some(reference(*kind, &told.about, &told.uid)),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(cut(instance, 128).to_owned()),
        ..Event::default()
    }
}

/// The name of an Event: the object's, cut if need be, and what is said.
fn name_of(object: &str, said: u64) -> String {
    // A part between dots ends with a letter or a digit.
    let object = cut(object, LONGEST_NAME - 17).trim_end_matches(['.', '-']);
    format!("{object}.{said:016x}")
}

fn reference(kind: Kind, about: &Key, uid: &str) -> ObjectReference {
    let entry = kinds::entry(kind);
    ObjectReference {
        api_version: Some(entry.api_version(entry.versions[0])),
        kind: Some(kind.as_str().to_owned()),
        namespace: Some(about.name.namespace.to_string()).filter(|namespace| !namespace.is_empty()),
        name: Some(about.name.name.to_string()),
        uid: Some(uid.to_owned()).filter(|uid| !uid.is_empty()),
        ..ObjectReference::default()
    }
}

/// At most `longest` bytes of a text, at the end of a character.
fn cut(text: &str, longest: usize) -> &str {
    &text[..text.floor_char_boundary(longest)]
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
