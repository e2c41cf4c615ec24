//! Questions to an API server that answers from a script.

use serde_json::json;
use tokio::sync::mpsc;

use super::super::scripted::{Answer, api_server, failure, object, status};
use super::*;
use crate::resources::Kind;

/// Fetches the Secret `n/a`. Gives whether there is one, and the requests.
async fn fetched(script: Vec<Answer>, time: Duration) -> (bool, Vec<String>) {
    let (found, _, requests) = fetched_after(script, time).await;
    (found, requests)
}

/// The same; besides, what was told before.
async fn fetched_after(script: Vec<Answer>, time: Duration) -> (bool, Vec<String>, Vec<String>) {
    let (client, requests) = api_server(script).await;
    let (sender, mut messages) = mpsc::channel(4);
    let teller = Teller { stream: 7, kind: Kind::Secret, sender };
    fetch(client, Key::new(Kind::Secret, "n", "a"), time, teller).await;
    let mut failures = Vec::new();
    loop {
        let (key, found) = match messages.recv().await.unwrap().event {
            Event::Unfetched(key, failure) => (key, Err(failure)),
            Event::Fetched(key, found) => (key, Ok(found)),
            other => panic!("{other:?}"),
        };
        assert_eq!(key.name.name.as_ref(), "a");
        match found {
            Err(failure) => failures.push(failure.brief),
            Ok(found) => return (found.is_some(), failures, requests.lock().clone()),
        }
    }
}

fn present() -> Answer {
    Answer::lines(200, &[object("a", "5")])
}

#[tokio::test(start_paused = true)]
async fn one_object_is_fetched_by_its_name() {
    let (found, requests) = fetched(vec![failure(500), failure(503), present()], ANSWER_TIME).await;
    assert!(found);
    assert_eq!(requests, ["/api/v1/namespaces/n/secrets/a"; 3]);
}

#[tokio::test(start_paused = true)]
async fn an_object_is_gone_only_when_the_api_server_says_so_of_this_one() {
    let gone = |kind| {
        let details = json!({"name": "a", "kind": kind});
        Answer::lines(404, &[status(404, "NotFound", "secrets \"a\" not found", details)])
    };
    let script = vec![Answer::text(404, "404 page not found\n"), failure(404), gone("namespaces"), gone("secrets")];
    let (found, requests) = fetched(script, ANSWER_TIME).await;
    assert_eq!((found, requests.len()), (false, 4));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_hangs_is_begun_again() {
    let half = present().and_holds();
    let (found, requests) = fetched(vec![Answer::none(), half, present()], Duration::from_secs(1)).await;
    assert_eq!((found, requests.len()), (true, 3));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_is_forbidden_or_fails_for_long_is_told_once() {
    let of = |answers: Vec<Answer>| async {
        let script = answers.into_iter().chain([present()]).collect();
        let (found, failures, _) = fetched_after(script, ANSWER_TIME).await;
        assert!(found);
        failures
    };
    assert_eq!(of(vec![failure(500); 4]).await, [""; 0]);
    assert_eq!(of(vec![failure(500); 9]).await, ["HTTP status 500"]);
    assert_eq!(of(vec![failure(403); 9]).await, ["HTTP status 403"]);
}
