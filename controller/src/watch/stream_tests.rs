//! Streams against an API server that answers from a script.

use std::collections::VecDeque;
use std::sync::Arc;

use kube::{Client, Config};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

/// An answer: the status and the lines of the body.
type Answer = (u16, Vec<Value>);

/// An API server that gives these answers in turn, and the requests that it got so far. When nothing is left to answer,
/// requests wait.
async fn api_server(script: Vec<Answer>) -> (Client, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let asked = requests.clone();
    tokio::spawn(async move {
        let mut script = VecDeque::from(script);
        let mut waiting = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let line = String::from_utf8(head).unwrap().lines().next().unwrap().to_owned();
            asked.lock().push(line.split(' ').nth(1).unwrap().to_owned());
            let Some((status, lines)) = script.pop_front() else {
                waiting.push(stream);
                continue;
            };
            let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n");
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    (Client::try_from(Config::new(url)).unwrap(), requests)
}

fn failure(code: u16) -> Answer {
    let reason = if code == 404 { "NotFound" } else { "Unknown" };
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": "said so"});
    (code, vec![status])
}

fn object(name: &str, version: &str) -> Value {
    json!({"metadata": {"namespace": "n", "name": name, "resourceVersion": version}, "spec": {}})
}

fn list(names: &[&str], version: &str, more: &str) -> Answer {
    let items: Vec<_> = names.iter().map(|name| object(name, "1")).collect();
    let metadata = json!({"resourceVersion": version, "continue": more});
    (200, vec![json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})])
}

fn seen(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

/// Runs a stream until the script is over. Gives what it told, as text.
async fn told(kind: Kind, script: Vec<Answer>) -> (Vec<String>, Vec<String>) {
    let answers = script.len();
    let (client, requests) = api_server(script).await;
    let (sender, mut messages) = mpsc::channel(64);
    let scope = Scope::default();
    let stream = Stream { id: 7, entry: kinds::entry(kind), scope, client };
    let task = tokio::spawn(stream.run(sender));
    let mut told = Vec::new();
    while requests.lock().len() <= answers {
        tokio::select! {
            Some(message) = messages.recv() => told.push(text(&message)),
            () = sleep(Duration::from_millis(5)) => {}
        }
    }
    while let Ok(message) = messages.try_recv() {
        told.push(text(&message));
    }
    task.abort();
    let requests = requests.lock().clone();
    (told, requests)
}

fn text(message: &Message) -> String {
    assert_eq!(message.stream, 7);
    match &message.event {
        Event::Applied(raw) => format!("+{}", raw.key(message.kind).name.name),
        Event::Deleted(raw) => format!("-{}", raw.key(message.kind).name.name),
        Event::Listing => "listing".to_owned(),
        Event::Listed => "listed".to_owned(),
        Event::Watching => "watching".to_owned(),
        Event::Absent => "absent".to_owned(),
        Event::Forbidden(why) | Event::Failed(why) => {
            assert!(why.contains("said so") || why.contains("as soon as it had begun"), "{why}");
            "trouble".to_owned()
        }
        Event::Fetched(..) => "fetched".to_owned(),
    }
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_and_lists_anew_only_when_it_must() {
    let bookmark = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "30"}});
    let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410,
        "reason": "Expired", "message": "too old"});
    let (told, requests) = told(
        Kind::Service,
        vec![
            list(&["a", "b"], "", "page2"),
            list(&["c"], "10", ""),
            (
                200,
                vec![seen("ADDED", object("d", "20")), seen("DELETED", object("a", "21")), seen("BOOKMARK", bookmark)],
            ),
            failure(500),
            (200, vec![seen("ERROR", gone)]),
            list(&["b"], "40", ""),
        ],
    )
    .await;
    // The first watch ended as soon as it had begun, which is worth a word besides.
    let told: Vec<_> = told.iter().map(String::as_str).collect();
    let expected = ["listing", "+a", "+b", "+c", "listed", "watching", "+d", "-a"];
    assert_eq!(told[..8], expected);
    assert_eq!(told[told.len() - 4..], ["watching", "listing", "+b", "listed"]);
    let at = |index: usize, part: &str| assert!(requests[index].contains(part), "{part} is not in {}", requests[index]);
    at(0, "limit=500");
    at(1, "continue=page2");
    at(2, "resourceVersion=10");
    at(3, "resourceVersion=30");
    at(4, "resourceVersion=30");
    assert!(!requests[5].contains("watch="), "{}", requests[5]);
    at(6, "resourceVersion=40");
}

#[tokio::test]
async fn a_kind_that_is_not_served_is_asked_for_in_every_version_until_it_comes() {
    let (told, requests) =
        told(Kind::HttpRoute, vec![failure(404), failure(404), failure(404), list(&["a"], "5", "")]).await;
    assert_eq!(told, ["listing", "absent", "listing", "absent", "listing", "absent", "listing", "+a", "listed"]);
    let versions: Vec<_> = requests.iter().map(|request| request.split('/').nth(3).unwrap()).collect();
    assert_eq!(versions, ["v1", "v1beta1", "v1", "v1beta1", "v1beta1"]);
}

#[tokio::test]
async fn a_kind_that_may_not_be_read_is_asked_for_until_it_may() {
    let (told, _) = told(Kind::Secret, vec![failure(403), list(&["a"], "5", "")]).await;
    assert_eq!(told, ["listing", "trouble", "listing", "+a", "listed"]);
}

#[tokio::test]
async fn one_object_is_fetched_by_its_name() {
    let (client, requests) = api_server(vec![failure(500), (200, vec![object("a", "5")]), failure(404)]).await;
    let (sender, mut messages) = mpsc::channel(4);
    for present in [true, false] {
        fetch(client.clone(), Key::new(Kind::Secret, "n", "a"), sender.clone()).await;
        let Event::Fetched(key, found) = messages.recv().await.unwrap().event else { panic!("something else") };
        assert_eq!((key.name.name.as_ref(), found.is_some()), ("a", present));
    }
    assert_eq!(requests.lock()[0], "/api/v1/namespaces/n/secrets/a");
}
