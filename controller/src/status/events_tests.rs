//! Events, and their writer against an API server that is a closure.

use serde_json::Value;

use super::*;
use crate::fake_api::{Asked, client, failure};

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

#[test]
fn names_are_as_long_as_the_api_takes_and_well_formed() {
    assert_eq!(name_of("shop", 1), "shop.0000000000000001");
    assert_eq!(name_of(&"a".repeat(253), 1).len(), LONGEST_NAME);
    let dotted = format!("{}.-{}", "a".repeat(234), "b".repeat(17));
    assert_eq!(name_of(&dotted, 1), format!("{}.0000000000000001", "a".repeat(234)));
}

/// Lets a writer write these, and gives what it asked of an API server whose answers are `answers`.
async fn written(told: &[Told], answers: Vec<(u16, Value)>) -> Vec<Asked> {
    let (sender, mut asked) = mpsc::unbounded_channel();
    let answers = parking_lot::Mutex::new(answers.into_iter());
    let client = client(move |request: Asked| {
        sender.send(request).unwrap();
        let answer = answers.lock().next().expect("an answer for each request");
        async { answer }
    });
    let mut writer = Writer { client, instance: "pod-0".to_owned(), counts: HashMap::new() };
    for told in told {
        writer.write(told).await.unwrap();
    }
    drop(writer);
    let mut all = Vec::new();
    while let Some(request) = asked.recv().await {
        all.push(request);
    }
    all
}

fn ok() -> (u16, Value) {
    (200, json!({}))
}

/// Methods, and the counts that were written.
fn summary(asked: &[Asked]) -> Vec<(&str, Option<i64>)> {
    asked.iter().map(|one| (one.method.as_str(), one.body["series"]["count"].as_i64())).collect()
}

#[tokio::test]
async fn what_is_said_again_is_counted_without_being_read() {
    let asked = written(&[told("a"), told("a"), told("b"), told("a")], vec![ok(), ok(), ok(), ok()]).await;
    assert_eq!(summary(&asked), [("POST", None), ("PATCH", Some(2)), ("POST", None), ("PATCH", Some(3))]);
}

#[tokio::test]
async fn what_another_replica_said_is_counted_from_there() {
    let there = (200, json!({"series": {"count": 7, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}}));
    let asked = written(&[told("a"), told("a")], vec![failure(409), there, ok(), ok()]).await;
    assert_eq!(summary(&asked), [("POST", None), ("PATCH", None), ("PATCH", Some(8)), ("PATCH", Some(9))]);
    assert_eq!(asked[1].body, json!({}));
    // What does not count is there, and that is all.
    let asked = written(&[Told { counts: false, ..told("a") }], vec![failure(409)]).await;
    assert_eq!(summary(&asked), [("POST", None)]);
}

#[tokio::test]
async fn an_event_that_ended_is_written_anew() {
    let asked = written(&[told("a"), told("a"), told("a")], vec![ok(), failure(404), ok(), ok()]).await;
    let expected = [("POST", None), ("PATCH", Some(2)), ("POST", None), ("PATCH", Some(2))];
    assert_eq!(summary(&asked), expected);
}
