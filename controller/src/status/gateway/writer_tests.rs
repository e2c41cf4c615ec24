//! The writer against an API server of its own.

use genkan_routing::model::SharedMap;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::fake_api::{Asked, client, failure};
use crate::resources::Kind;
use crate::translate::gateway::status::{
    ClassStatus, Cond, CondKind, GatewayStatus, ListenerStatus, ParentReference, ParentStatus, Wanted,
};
use crate::watch::SeenStatus;

const OURS: &str = "genkan.dev/gateway-controller";

/// A write that waits for its answer.
struct Pending {
    asked: Asked,
    answer: oneshot::Sender<(u16, Value)>,
}

/// A writer that leads, what it asks of the API server, its leadership, and what it was told of versions.
struct Bench {
    writer: GatewayStatusWriter,
    writes: mpsc::UnboundedReceiver<Pending>,
    lead: watch::Sender<bool>,
}

/// The API server serves the first version of every kind, and lets writes wait.
fn start() -> Bench {
    let (sender, writes) = mpsc::unbounded_channel();
    let client = client(move |asked| {
        let (answer, answered) = oneshot::channel();
        let discovery = asked.method == "GET";
        if !discovery {
            sender.send(Pending { asked, answer }).unwrap();
        }
        async move {
            // Who can't ask for versions writes the newest.
            if discovery { failure(403) } else { answered.await.unwrap_or_else(|_| failure(500)) }
        }
    });
    let (lead, leading) = watch::channel(true);
    let addresses = [watch::channel(None).1, watch::channel(None).1];
    let (_, installed) = watch::channel(Some(Installed::read(Some("v1.6.3"))));
    Bench {
        writer: GatewayStatusWriter::with_version(client, OURS.into(), addresses, leading, installed),
        writes,
        lead,
    }
}

fn route(name: &str) -> Key {
    Key::new(Kind::HttpRoute, "web", name)
}

fn statuses(names: &[&str]) -> Arc<Statuses> {
    let mut objects = SharedMap::default();
    for name in names {
        let parent_ref = ParentReference::gateway("infra".into(), "edge".into());
        let conditions = vec![Cond::holds(CondKind::Accepted, "Accepted", "")];
        let parents = vec![ParentStatus { parent_ref, conditions }];
        objects.insert(route(name), Arc::new(Wanted::Route { parents }));
    }
    Arc::new(Statuses { objects })
}

fn seen(uid: &str, version: &str, status: &Value) -> Option<SeenObject> {
    let status = SeenStatus::read(&json!({"metadata": {"resourceVersion": version}, "status": status}), OURS);
    Some(SeenObject { uid: uid.into(), generation: 1, status: Arc::new(status) })
}

impl Bench {
    /// Tells that these routes were seen and are to be accepted.
    fn tell(&self, names: &[&str], seen: Vec<(Key, Option<SeenObject>)>) {
        self.writer.tell(News { seen, statuses: statuses(names), bound: Arc::default() });
    }

    /// Tells that a class was seen, and is to be accepted with what it supports.
    fn tell_class(&self) {
        let key = Key::new(Kind::GatewayClass, "", "genkan");
        let conditions = vec![Cond::holds(CondKind::Accepted, "Accepted", "")];
        let wanted = Wanted::Class(ClassStatus { conditions, supported_features: &["Gateway"] });
        let mut objects = SharedMap::default();
        objects.insert(key.clone(), Arc::new(wanted));
        let seen = vec![(key, seen("u", "7", &json!({})))];
        self.writer.tell(News { seen, statuses: Arc::new(Statuses { objects }), bound: Arc::default() });
    }

    async fn next(&mut self) -> Pending {
        timeout(Duration::from_secs(10), self.writes.recv()).await.expect("there is a write").unwrap()
    }
}

/// The object that a write leads to.
fn applied(asked: &Asked, version: &str) -> (u16, Value) {
    let mut object = asked.body.clone();
    object["metadata"]["resourceVersion"] = json!(version);
    (200, object)
}

#[tokio::test]
async fn a_status_is_applied_with_what_others_said() {
    let mut bench = start();
    let foreign = json!({"parentRef": {"name": "edge"}, "controllerName": "other.test/x", "conditions": []});
    bench.tell(&["a"], vec![(route("a"), seen("u", "7", &json!({"parents": [foreign]})))]);
    let Pending { asked, .. } = bench.next().await;
    assert_eq!(asked.method, "PATCH");
    assert_eq!(asked.path, "/apis/gateway.networking.k8s.io/v1/namespaces/web/httproutes/a/status");
    assert_eq!(
        (&asked.body["apiVersion"], &asked.body["kind"]),
        (&json!("gateway.networking.k8s.io/v1"), &json!("HTTPRoute"))
    );
    assert_eq!(asked.body["metadata"], json!({"namespace": "web", "name": "a", "uid": "u", "resourceVersion": "7"}));
    let parents = &asked.body["status"]["parents"];
    assert_eq!((&parents[0], &parents[1]["controllerName"]), (&foreign, &json!(OURS)));
    assert_eq!(parents[1]["conditions"][0]["observedGeneration"], 1);
}

#[tokio::test]
async fn what_a_class_says_is_applied_to_the_cluster_as_a_whole() {
    let mut bench = start();
    bench.tell_class();
    let Pending { asked, .. } = bench.next().await;
    assert_eq!(asked.path, "/apis/gateway.networking.k8s.io/v1/gatewayclasses/genkan/status");
    assert_eq!(asked.body["metadata"], json!({"name": "genkan", "uid": "u"}), "no list of others can be lost");
    assert_eq!(asked.body["status"]["supportedFeatures"], json!([{"name": "Gateway"}]));
}

#[tokio::test]
async fn a_conflict_is_written_again_onto_the_version_that_is_seen_then() {
    let mut bench = start();
    bench.tell(&["a"], vec![(route("a"), seen("u", "1", &json!({})))]);
    let first = bench.next().await;
    // Seen before the refusal arrives, as it may be.
    let foreign =
        json!({"parents": [{"parentRef": {"name": "x"}, "controllerName": "other.test/x", "conditions": []}]});
    bench.tell(&["a"], vec![(route("a"), seen("u", "2", &foreign))]);
    first.answer.send(failure(409)).unwrap();
    let second = bench.next().await;
    assert_eq!(second.asked.body["metadata"]["resourceVersion"], "2");
    assert_eq!(second.asked.body["status"]["parents"].as_array().unwrap().len(), 2);
    assert_eq!(bench.writer.trouble().line(), None, "nothing is wrong");
}

#[tokio::test]
async fn what_is_equal_is_not_written() {
    let mut bench = start();
    bench.tell(&["a"], vec![(route("a"), seen("u", "1", &json!({})))]);
    let Pending { asked, answer } = bench.next().await;
    let status = asked.body["status"].clone();
    answer.send(applied(&asked, "2")).unwrap();
    // It comes back by the watch, and another one that differs behind it.
    bench.tell(&["a", "b"], vec![(route("a"), seen("u", "2", &status)), (route("b"), seen("v", "1", &json!({})))]);
    assert_eq!(bench.next().await.asked.body["metadata"]["name"], "b");
}

#[tokio::test]
async fn a_write_that_runs_ends_with_leadership() {
    let mut bench = start();
    bench.tell(&["a"], vec![(route("a"), seen("u", "1", &json!({})))]);
    let mut running = bench.next().await;
    bench.lead.send_replace(false);
    running.answer.closed().await;
    // Whoever leads again begins anew.
    bench.lead.send_replace(true);
    assert_eq!(bench.next().await.asked.body["metadata"]["uid"], "u");
}

#[tokio::test]
async fn nothing_is_written_after_the_end() {
    let mut bench = start();
    bench.tell(&["a"], vec![(route("a"), seen("u", "1", &json!({})))]);
    let mut running = bench.next().await;
    bench.writer.end().await;
    running.answer.closed().await;
    bench.tell(&["b"], vec![(route("b"), seen("v", "1", &json!({})))]);
    // The writer is gone, and the client with it: no more can come.
    assert!(bench.writes.recv().await.is_none());
}

#[tokio::test]
async fn a_right_that_is_missing_is_trouble_until_it_is_there() {
    let mut bench = start();
    bench.tell(&["a"], vec![(route("a"), seen("u", "1", &json!({})))]);
    bench.next().await.answer.send(failure(403)).unwrap();
    let line = trouble(&bench, true).await.unwrap();
    assert_eq!(line, "statuses of Gateway API are not written: HTTP status 403; the log says more");
    // What is made anew is tried at once.
    bench.tell(&["a"], vec![(route("a"), seen("v", "2", &json!({})))]);
    let Pending { asked, answer } = bench.next().await;
    answer.send(applied(&asked, "3")).unwrap();
    assert_eq!(trouble(&bench, false).await, None);
}

#[tokio::test]
async fn an_object_that_is_gone_is_no_trouble() {
    let mut bench = start();
    bench.tell(&["a", "b"], vec![(route("a"), seen("u", "1", &json!({}))), (route("b"), seen("v", "1", &json!({})))]);
    let (first, second) = (bench.next().await, bench.next().await);
    first.answer.send(failure(404)).unwrap();
    second.answer.send(failure(500)).unwrap();
    let line = trouble(&bench, true).await.unwrap();
    assert!(line.contains("HTTP status 500"), "{line}");
    bench.tell(&[], vec![(route("b"), None)]);
    assert_eq!(trouble(&bench, false).await, None);
}

#[tokio::test]
async fn what_another_controller_left_in_a_gateway_goes_and_what_it_alone_says_stays() {
    let mut bench = start();
    let key = Key::new(Kind::Gateway, "infra", "edge");
    let conditions = || vec![Cond::holds(CondKind::Accepted, "Accepted", "")];
    let listener = ListenerStatus {
        name: "web".into(),
        supported_kinds: Vec::new(),
        attached_routes: 1,
        conditions: conditions(),
        bound: Vec::new(),
    };
    let wanted = Wanted::Gateway(GatewayStatus {
        addresses: Vec::new(),
        shared_addresses: false,
        node_addresses: false,
        conditions: conditions(),
        listeners: vec![listener],
        attached_listener_sets: None,
    });
    let mut objects = SharedMap::default();
    objects.insert(key.clone(), Arc::new(wanted));
    let statuses = Arc::new(Statuses { objects });
    bench.writer.tell(News { seen: vec![(key, seen("u", "7", &json!({})))], statuses, bound: Arc::default() });
    let Pending { asked, answer } = bench.next().await;
    // The lists have entries by name: those of another owner stay.
    let mut there = asked.body.clone();
    there["metadata"]["resourceVersion"] = json!("8");
    let theirs = |kind: &str| json!({"type": kind, "status": "True", "reason": "Old", "message": ""});
    let status = &mut there["status"];
    status["conditions"].as_array_mut().unwrap().extend([theirs("OverlappingTLSConfig"), theirs("other.test/Checked")]);
    let web = &mut status["listeners"][0]["conditions"];
    web.as_array_mut().unwrap().push(theirs("other.test/Seen"));
    status["listeners"].as_array_mut().unwrap().push(json!({"name": "old", "conditions": [theirs("Programmed")]}));
    status["attachedListenerSets"] = json!(0);
    answer.send((200, there.clone())).unwrap();
    let Pending { asked: second, answer } = bench.next().await;
    assert_eq!(second.body["metadata"], json!({"uid": "u", "resourceVersion": "8"}), "nothing newer is lost");
    let status = &second.body["status"];
    let types = |owner: &Value| -> Vec<_> {
        owner["conditions"].as_array().unwrap().iter().map(|condition| condition["type"].clone()).collect()
    };
    assert_eq!(types(status), ["Accepted", "other.test/Checked"]);
    assert_eq!(types(&status["listeners"][0]), ["Accepted", "other.test/Seen"]);
    assert_eq!(status["listeners"].as_array().unwrap().len(), 1);
    assert_eq!(status.get("attachedListenerSets"), Some(&Value::Null));
    there["status"] = status.clone();
    there["metadata"]["resourceVersion"] = json!("9");
    answer.send((200, there)).unwrap();
    // Nothing more is to be said about it.
    bench.tell(&["a"], vec![(route("a"), seen("v", "1", &json!({})))]);
    assert_eq!(bench.next().await.asked.body["metadata"]["name"], "a");
}

#[tokio::test]
async fn a_class_of_a_release_without_features_is_written_without_them() {
    let mut bench = start();
    bench.tell_class();
    let Pending { asked, answer } = bench.next().await;
    assert!(asked.body["status"].get("supportedFeatures").is_some());
    let message = "failed to create typed patch object: .status.supportedFeatures: field not declared in schema";
    let refusal = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 500,
        "reason": "InternalError", "message": message});
    answer.send((500, refusal)).unwrap();
    let Pending { asked, .. } = bench.next().await;
    assert_eq!(asked.body["status"].get("supportedFeatures"), None);
    assert_eq!(asked.body["status"]["conditions"][0]["type"], "Accepted");
    assert_eq!(bench.writer.trouble().line(), None);
}

#[tokio::test]
async fn a_write_that_breaks_off_is_made_again() {
    let broke = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (sender, mut writes) = mpsc::unbounded_channel();
    let client = client(move |asked| {
        let (broke, sender) = (broke.clone(), sender.clone());
        async move {
            if asked.method == "GET" {
                return failure(403);
            }
            assert!(broke.swap(true, std::sync::atomic::Ordering::Relaxed), "the first one panics");
            let answer = applied(&asked, "2");
            sender.send(asked).unwrap();
            answer
        }
    });
    let (_lead, leading) = watch::channel(true);
    let addresses = [watch::channel(None).1, watch::channel(None).1];
    let (_, installed) = watch::channel(None);
    let writer = GatewayStatusWriter::with_version(client, OURS.into(), addresses, leading, installed);
    writer.tell(News {
        seen: vec![(route("a"), seen("u", "1", &json!({})))],
        statuses: statuses(&["a"]),
        bound: Arc::default(),
    });
    let asked = timeout(Duration::from_secs(10), writes.recv()).await.expect("it is written after all").unwrap();
    assert_eq!(asked.body["metadata"]["name"], "a");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_asks_for_patience_gets_it() {
    let mut bench = start();
    bench.tell(&["a"], vec![(route("a"), seen("u", "1", &json!({})))]);
    let first = bench.next().await;
    let (_, mut refusal) = failure(429);
    refusal["details"] = json!({"retryAfterSeconds": 9});
    let began = Instant::now();
    first.answer.send((429, refusal)).unwrap();
    while bench.writer.trouble().line().is_none() {
        tokio::task::yield_now().await;
    }
    // Of other objects as well.
    bench.tell(&["a", "b"], vec![(route("b"), seen("v", "1", &json!({})))]);
    bench.next().await;
    assert!(began.elapsed() >= Duration::from_secs(9), "{:?}", began.elapsed());
}

/// Waits until there is trouble, or none.
async fn trouble(bench: &Bench, wanted: bool) -> Option<String> {
    let waiting = async {
        while bench.writer.trouble().line().is_some() != wanted {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), waiting).await.expect("trouble comes and goes");
    bench.writer.trouble().line()
}
