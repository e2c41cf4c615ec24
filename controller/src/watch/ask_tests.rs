//! Questions to an API server that answers from a script.

use serde_json::json;

use super::super::scripted::{Answer, api_server, failure, object, status};
use super::*;
use crate::resources::Kind;

/// Fetches the Secret `n/a`. Gives whether there is one.
async fn fetched(script: Vec<Answer>, time: Duration) -> (bool, Vec<String>) {
    let (client, requests) = api_server(script).await;
    let (sender, mut messages) = mpsc::channel(4);
    fetch(client, Key::new(Kind::Secret, "n", "a"), time, sender).await;
    let Event::Fetched(key, found) = messages.recv().await.unwrap().event else { panic!("something else") };
    assert_eq!(key.name.name.as_ref(), "a");
    let requests = requests.lock().clone();
    (found.is_some(), requests)
}

fn present() -> Answer {
    Answer::lines(200, &[object("a", "5")])
}

#[tokio::test]
async fn one_object_is_fetched_by_its_name() {
    let (found, requests) = fetched(vec![failure(500), failure(503), present()], ANSWER_TIME).await;
    assert!(found);
    assert_eq!(requests, ["/api/v1/namespaces/n/secrets/a"; 3]);
}

#[tokio::test]
async fn an_object_is_gone_only_when_the_api_server_says_so_of_this_one() {
    let gone = |kind| {
        let details = json!({"name": "a", "kind": kind});
        Answer::lines(404, &[status(404, "NotFound", "secrets \"a\" not found", details)])
    };
    let script = vec![Answer::text(404, "404 page not found\n"), failure(404), gone("namespaces"), gone("secrets")];
    let (found, requests) = fetched(script, ANSWER_TIME).await;
    assert_eq!((found, requests.len()), (false, 4));
}

#[tokio::test]
async fn a_fetch_that_hangs_is_begun_again() {
    let half = present().and_holds();
    let (found, requests) = fetched(vec![Answer::none(), half, present()], Duration::from_secs(1)).await;
    assert_eq!((found, requests.len()), (true, 3));
}
