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

/// Runs a stream until the script is over. Gives what it told, as text, and the requests. Of the time that stands still
/// in these tests an hour is over as soon as nothing happens any more.
async fn told(kind: Kind, script: Vec<Answer>) -> (Vec<String>, Vec<String>) {
    let answers = script.len();
    let mut running = Running::start(kind, quick(), script).await;
    let mut told = Vec::new();
    let end = Instant::now() + Duration::from_secs(3600);
    while running.requests().len() <= answers {
        assert!(Instant::now() < end, "{:?}, then nothing more, after {told:?}", running.requests());
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
        Event::Failed(why) if why.detail.contains("as soon as it had begun") => "short".to_owned(),
        Event::Failed(why) if why.detail.contains("does not answer") => "silent".to_owned(),
        Event::Failed(why) => {
            assert!(why.detail.contains("said so") && !why.brief.contains("said so"), "{why:?}");
            "trouble".to_owned()
        }
        Event::Fetched(..) => "fetched".to_owned(),
        Event::Unfetched(..) => "unfetched".to_owned(),
    }
}

/// The requests' paths.
fn paths(requests: &[String]) -> Vec<&str> {
    requests.iter().map(|request| request.split('?').next().unwrap_or_default()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_it_was_and_lists_anew_only_when_it_must() {
    let bookmark = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "30"}});
    let gone = status(410, "Expired", "said so: too old", json!({}));
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
    let expected = "listing +a +b +c listed +d -a short trouble trouble listing +b listed";
    assert_eq!(told.join(" "), expected);
    let at = |index: usize, part: &str| assert!(requests[index].contains(part), "{part} is not in {}", requests[index]);
    at(0, "limit=500");
    at(1, "continue=page2");
    at(2, "resourceVersion=10");
    at(3, "resourceVersion=30");
    at(4, "resourceVersion=30");
    assert!(!requests[5].contains("watch="), "{}", requests[5]);
    at(6, "resourceVersion=40");
}

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
async fn a_404_for_a_kind_that_every_api_server_serves_takes_nothing_away() {
    for answer in [failure(404), Answer::text(404, "said so: 404 page not found\n")] {
        let (told, _) = told(
            Kind::Service,
            vec![answer.clone(), list(&["a"], "5", ""), answer.clone(), answer.clone(), answer, list(&["a"], "5", "")],
        )
        .await;
        assert!(!told.contains(&"absent".to_owned()), "{told:?}");
        assert_eq!(told[..2], ["listing", "trouble"]);
        assert_eq!(told.last().unwrap(), "listed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_404_that_the_list_of_groups_does_not_confirm_takes_nothing_away() {
    let served = || vec![groups(&[(GATEWAY, &["v1"])]), kinds("gateway.networking.k8s.io/v1", &["httproutes"])];
    let mut script = vec![list(&["a"], "5", ""), failure(404)];
    script.extend(served());
    // Whoever answers 404 to anything.
    script.extend(vec![failure(404); 4]);
    script.extend([list(&["a"], "6", "")]);
    let (told, _) = told(Kind::HttpRoute, script).await;
    assert_eq!(told.join(" "), "listing +a listed trouble trouble trouble listing +a listed");
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_may_not_be_read_is_asked_for_until_it_may() {
    for kind in [Kind::Secret, Kind::Namespace] {
        let (told, _) = told(kind, vec![failure(403), list(&["a"], "5", "")]).await;
        assert_eq!(told, ["listing", "forbidden", "listing", "+a", "listed"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_hangs_is_given_up() {
    let times = Times { answer: Duration::from_secs(1), ..quick() };
    let mut running = Running::start(Kind::Service, times, vec![Answer::none(), list(&["a"], "5", "")]).await;
    assert_eq!(running.up_to("listed").await, ["listing", "silent", "listing", "+a", "listed"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_hangs_before_it_begins_is_given_up() {
    let times = Times { answer: Duration::from_secs(1), ..quick() };
    let mut running = Running::start(Kind::Service, times, vec![list(&["a"], "5", ""), Answer::none()]).await;
    assert_eq!(running.up_to("silent").await, ["listing", "+a", "listed", "silent"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_one_when_it_lives_for_a_while() {
    let refusal = Answer::lines(200, &[seen("ERROR", status(500, "InternalError", "said so", json!({})))]);
    let script = vec![
        list(&[], "5", ""),
        failure(500),
        refusal,
        Answer::lines(200, &[seen("ADDED", object("a", "6"))]).and_holds(),
    ];
    let mut running = Running::start(Kind::Service, quick(), script).await;
    assert_eq!(running.up_to("watching").await, ["listing", "listed", "trouble", "trouble", "+a", "watching"]);
}

#[tokio::test(start_paused = true)]
async fn a_position_that_is_refused_again_and_again_is_given_up() {
    for code in [400, 500, 504] {
        let mut script = vec![list(&["a"], "5", "")];
        script.extend(vec![failure(code); 3]);
        script.push(list(&["b"], "6", ""));
        // That was not it: once more.
        script.extend(vec![failure(code); 3]);
        let (told, requests) = told(Kind::Service, script).await;
        let expected = "listing +a listed trouble trouble trouble listing +b listed trouble trouble trouble listing";
        assert!(expected.starts_with(&told.join(" ")), "{told:?}");
        let lists: Vec<_> = requests.iter().map(|request| !request.contains("resourceVersion=")).collect();
        assert_eq!(lists, [true, false, false, false, true, false, false, false, true]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_busy_is_not_asked_for_everything_anew() {
    for code in [429, 503] {
        let mut script = vec![list(&["a"], "5", "")];
        script.extend(vec![failure(code); 4]);
        let (told, requests) = told(Kind::Service, script).await;
        assert_eq!(told.join(" "), "listing +a listed trouble trouble trouble trouble");
        assert!(requests[1..].iter().all(|request| request.contains("resourceVersion=5")), "{requests:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_position_that_the_api_server_has_not_reached_is_given_up_at_once() {
    let old = status(504, "Timeout", "Too large resource version: 10, current: 5", json!({}));
    let new = status(504, "Timeout", "", json!({"causes": [{"reason": "ResourceVersionTooLarge"}]}));
    for refusal in [old, new] {
        let script = vec![list(&["a"], "10", ""), Answer::lines(504, &[refusal]), list(&["b"], "5", "")];
        assert_eq!(told(Kind::Service, script).await.0.join(" "), "listing +a listed listing +b listed");
    }
}

/// A watch that lives and brings nothing, and what the API server says then that it has reached.
async fn after_silence(reached: &str) -> Vec<String> {
    let times = Times { settle: Duration::ZERO, ..quick() };
    // Its last line was cut.
    let silent = Answer::text(200, "{\"type\":\"ADDED\",\"obj");
    let script = vec![list(&["a"], "10", ""), silent, list(&["b"], reached, ""), failure(500)];
    let mut running = Running::start(Kind::Service, times, script).await;
    assert_eq!(running.up_to("watching").await.join(" "), "listing +a listed watching");
    running.up_to("trouble").await;
    running.requests()
}

#[tokio::test(start_paused = true)]
async fn a_database_that_was_replaced_by_an_older_copy_is_listed_anew() {
    let requests = after_silence("9").await;
    assert!(requests[2].contains("limit=1"), "{requests:?}");
    assert!(requests[3].contains("limit=500"), "{requests:?}");
    for reached in ["10", "11", "opaque"] {
        let requests = after_silence(reached).await;
        assert!(requests[3].contains("resourceVersion=10"), "{requests:?}");
    }
}

#[test]
fn what_everybody_may_hear_of_a_failure_names_nobody() {
    let told = "secrets is forbidden: User \"system:serviceaccount:web:genkan\" cannot list resource";
    let forbidden = serde_json::from_value(status(403, "Forbidden", told, json!({}))).unwrap();
    let refused: Box<dyn std::error::Error + Send + Sync> = "10.0.0.1:6443: connection refused".into();
    let broken = std::io::Error::other("10.0.0.1:6443 reset the connection");
    let failures = [
        (AskError::Api(kube::Error::Api(forbidden)), "HTTP status 403", told),
        (AskError::Api(kube::Error::Service(refused)), "no answer", "10.0.0.1:6443: connection refused"),
        (AskError::Broken(broken), "the connection to the API server broke", "10.0.0.1:6443 reset"),
    ];
    for (error, brief, detail) in failures {
        let failure = StreamError::from(error).failure();
        assert_eq!(failure.brief, brief);
        assert!(failure.detail.contains(detail), "{failure:?}");
    }
    assert_eq!(StreamError::Short.failure().brief, StreamError::Short.failure().detail);
}

#[test]
fn the_api_server_may_want_us_to_wait() {
    let busy = status(429, "TooManyRequests", "busy", json!({"retryAfterSeconds": 7}));
    let busy: StreamError = AskError::Api(kube::Error::Api(serde_json::from_value(busy).unwrap())).into();
    assert_eq!(busy.wanted_wait(), Some(Duration::from_secs(7)));
    assert_eq!(StreamError::Short.wanted_wait(), None);
}
