//! Streams against an API server that answers from a script.

use serde_json::json;
use tokio::task::JoinSet;

use super::super::scripted::{Answer, Requests, api_server, failure, groups, kinds, list, object, seen, status};
use super::*;

const GATEWAY: &str = "gateway.networking.k8s.io";

/// A stream that runs.
struct Running {
    messages: mpsc::Receiver<Message>,
    requests: Requests,
    /// Dropped with it.
    _tasks: JoinSet<()>,
}

impl Running {
    async fn start(kind: Kind, times: Times, script: Vec<Answer>) -> Self {
        let (client, requests) = api_server(script).await;
        let (sender, messages) = mpsc::channel(64);
        let stream = Stream { id: 7, entry: crate::kinds::entry(kind), scope: Scope::default(), client, times };
        let mut tasks = JoinSet::new();
        tasks.spawn(stream.run(sender));
        Self { messages, requests, _tasks: tasks }
    }

    /// What it tells up to and with `last`.
    async fn up_to(&mut self, last: &str) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let message = timeout(Duration::from_secs(30), self.messages.recv()).await;
            let message = message.unwrap_or_else(|_| panic!("{last} was not told, but {told:?}"));
            let text = text(&message.unwrap());
            told.push(text.clone());
            if text == last {
                return told;
            }
        }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }
}

/// Short where it is waited for nothing.
fn quick() -> Times {
    let short = Duration::from_millis(1);
    Times { absent: short, forbidden: short, ..Times::default() }
}

/// Runs a stream until the script is over. Gives what it told, as text, and the requests.
async fn told(kind: Kind, script: Vec<Answer>) -> (Vec<String>, Vec<String>) {
    let answers = script.len();
    let mut running = Running::start(kind, quick(), script).await;
    let mut told = Vec::new();
    while running.requests().len() <= answers {
        tokio::select! {
            Some(message) = running.messages.recv() => told.push(text(&message)),
            () = sleep(Duration::from_millis(5)) => {}
        }
    }
    while let Ok(message) = running.messages.try_recv() {
        told.push(text(&message));
    }
    (told, running.requests())
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
        Event::Forbidden(_) => "forbidden".to_owned(),
        Event::Failed(why) if why.contains("as soon as it had begun") => "short".to_owned(),
        Event::Failed(why) if why.contains("does not answer") => "silent".to_owned(),
        Event::Failed(why) => {
            assert!(why.contains("said so"), "{why}");
            "trouble".to_owned()
        }
        Event::Fetched(..) => "fetched".to_owned(),
    }
}

/// The requests' paths.
fn paths(requests: &[String]) -> Vec<&str> {
    requests.iter().map(|request| request.split('?').next().unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_and_lists_anew_only_when_it_must() {
    let bookmark = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "30"}});
    let gone = status(410, "Expired", "too old", json!({}));
    let (told, requests) = told(
        Kind::Service,
        vec![
            list(&["a", "b"], "", "page2"),
            list(&["c"], "10", ""),
            Answer::lines(
                200,
                &[seen("ADDED", object("d", "20")), seen("DELETED", object("a", "21")), seen("BOOKMARK", bookmark)],
            ),
            failure(500),
            Answer::lines(200, &[seen("ERROR", gone)]),
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
async fn a_kind_that_is_not_served_is_asked_for_until_it_comes() {
    let (told, requests) = told(
        Kind::HttpRoute,
        vec![
            failure(404),
            groups(&[("apps", &["v1"])]),
            groups(&[("apps", &["v1"]), (GATEWAY, &["v1"])]),
            kinds("gateway.networking.k8s.io/v1", &["gateways"]),
            groups(&[(GATEWAY, &["v1"])]),
            kinds("gateway.networking.k8s.io/v1", &["gateways", "httproutes"]),
            list(&["a"], "5", ""),
        ],
    )
    .await;
    assert_eq!(told, ["listing", "absent", "absent", "listing", "+a", "listed"]);
    let [list, version] = ["/apis/gateway.networking.k8s.io/v1/httproutes", "/apis/gateway.networking.k8s.io/v1"];
    assert_eq!(paths(&requests), [list, "/apis", "/apis", version, "/apis", version, list, list]);
}

#[tokio::test]
async fn a_kind_is_read_in_the_first_of_our_versions_that_is_served() {
    let (told, requests) = told(
        Kind::ReferenceGrant,
        vec![
            failure(404),
            groups(&[(GATEWAY, &["v1", "v1beta1"])]),
            kinds("gateway.networking.k8s.io/v1", &["gateways"]),
            kinds("gateway.networking.k8s.io/v1beta1", &["referencegrants"]),
            list(&["a"], "5", ""),
        ],
    )
    .await;
    assert_eq!(told, ["listing", "listing", "+a", "listed"]);
    assert_eq!(paths(&requests)[4], "/apis/gateway.networking.k8s.io/v1beta1/referencegrants");
}

#[tokio::test]
async fn a_404_for_a_kind_that_every_api_server_serves_takes_nothing_away() {
    for answer in [failure(404)] {
        let (told, _) = told(
            Kind::Service,
            vec![answer.clone(), list(&["a"], "5", ""), answer.clone(), answer, list(&["a"], "5", "")],
        )
        .await;
        assert!(!told.contains(&"absent".to_owned()), "{told:?}");
        assert_eq!(told[..2], ["listing", "trouble"]);
        assert_eq!(told.last().unwrap(), "listed");
    }
}

#[tokio::test]
async fn a_404_that_the_list_of_groups_does_not_confirm_takes_nothing_away() {
    let served = || vec![groups(&[(GATEWAY, &["v1"])]), kinds("gateway.networking.k8s.io/v1", &["httproutes"])];
    let mut script = vec![list(&["a"], "5", ""), failure(404)];
    script.extend(served());
    // Whoever answers 404 to anything.
    script.extend([failure(404), failure(404), list(&["a"], "6", "")]);
    let (told, _) = told(Kind::HttpRoute, script).await;
    let told: Vec<_> = told.iter().map(String::as_str).filter(|told| *told != "watching").collect();
    assert_eq!(told, ["listing", "+a", "listed", "trouble", "listing", "trouble", "listing", "+a", "listed"]);
}

#[tokio::test]
async fn a_kind_that_may_not_be_read_is_asked_for_until_it_may() {
    for kind in [Kind::Secret, Kind::Namespace] {
        let (told, _) = told(kind, vec![failure(403), list(&["a"], "5", "")]).await;
        assert_eq!(told, ["listing", "forbidden", "listing", "+a", "listed"]);
    }
}

#[tokio::test]
async fn a_list_that_hangs_is_given_up() {
    let times = Times { answer: Duration::from_secs(1), ..quick() };
    let mut running = Running::start(Kind::Service, times, vec![Answer::none(), list(&["a"], "5", "")]).await;
    assert_eq!(running.up_to("listed").await, ["listing", "silent", "listing", "+a", "listed"]);
}
