//! Events (events.k8s.io/v1) about objects: what is wrong with them, and that they were taken (`Sync`).
//!
//! An Event's name follows from what it says, so that the same is one Event, however often and by whomever it is said:
//! a second time counts in its series. Events are for people; nothing depends on them, and none is waited for.

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
        tokio::spawn(write_all(client, instance, queue, leading.clone()));
        Self { sender, leading }
    }

    /// Says something, if we lead and there is room.
    pub fn tell(&self, told: Told) {
        if *self.leading.borrow() && self.sender.try_send(told).is_err() {
            tracing::debug!("too many Events wait; one is dropped");
        }
    }
}

async fn write_all(client: Client, instance: String, mut queue: mpsc::Receiver<Told>, leading: watch::Receiver<bool>) {
    while let Some(told) = queue.recv().await {
        if !*leading.borrow() {
            continue;
        }
        let about = told.about.clone();
        match timeout(WRITE_TIME, write(&client, &instance, told)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%about, %error, "no Event could be written"),
            Err(_) => tracing::debug!(%about, "no Event could be written: the API server does not answer"),
        }
        sleep(PACE).await;
    }
}

async fn write(client: &Client, instance: &str, told: Told) -> kube::Result<()> {
    let event = event(instance, &told);
    let events: Api<Event> = Api::namespaced(client.clone(), namespace(&told.about));
    match events.create(&PostParams::default(), &event).await {
        Err(kube::Error::Api(status)) if status.code == 409 && told.counts => {
            let name = event.metadata.name.unwrap_or_default();
            let known = events.get(&name).await?;
            let count = known.series.map_or(2, |series| series.count.saturating_add(1));
            let series = EventSeries { count, last_observed_time: MicroTime(Timestamp::now()) };
            events.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"series": series}))).await.map(drop)
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        outcome => outcome.map(drop),
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
            name: Some(format!("{}.{:016x}", name.name, hasher.finish())),
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
mod tests {
    use super::*;

    fn told(note: &str) -> Told {
        Told {
            about: Key::new(Kind::Ingress, "web", "shop"),
            uid: "u".to_owned(),
            warning: true,
            reason: "ServiceNotFound",
            field: "spec.rules[0]".to_owned(),
            note: note.to_owned(),
            counts: true,
        }
    }

    #[test]
    fn the_same_said_again_is_the_same_event() {
        let name = |told: &Told| event("pod-0", told).metadata.name.unwrap();
        assert_eq!(name(&told("a")), name(&told("a")));
        assert_ne!(name(&told("a")), name(&told("b")));
        assert_ne!(name(&told("a")), name(&Told { field: String::new(), ..told("a") }));
        assert_ne!(name(&told("a")), name(&Told { uid: "other".to_owned(), ..told("a") }));
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        let note = event("pod-0", &told(&"ä".repeat(2000))).note.unwrap();
        assert_eq!(note.len(), LONGEST_NOTE);
        assert_eq!(event("pod-0", &told("")).action.unwrap(), "spec.rules[0]");
    }
}
