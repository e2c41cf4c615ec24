//! The writer against an API server of its own.

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::action::tests::{made, name, wanted};
use super::pace::{LONGEST_DELAY, SEEN_TIME};
use super::slices::tests::{own, viewed};
use super::*;
use crate::fake_api::{Asked, client, failure};

/// A write that waits for its answer.
struct Pending {
    asked: Asked,
    answer: oneshot::Sender<(u16, Value)>,
}

impl Pending {
    /// Does what is asked.
    fn grant(self) -> Value {
        let body = self.asked.body.clone();
        self.answer.send((201, body.clone())).unwrap();
        body
    }
}

fn start() -> (InfrastructureWriter, mpsc::UnboundedReceiver<Pending>, watch::Sender<bool>) {
    let (sender, pending) = mpsc::unbounded_channel();
    let client = client(move |asked| {
        let (answer, answered) = oneshot::channel();
        sender.send(Pending { asked, answer }).unwrap();
        async { answered.await.unwrap_or_else(|_| failure(500)) }
    });
    let (lead, leading) = watch::channel(true);
    (InfrastructureWriter::start(client, leading, &Leading::default()), pending, lead)
}

fn view(wanted: Infrastructure, seen: Option<Service>) -> View {
    View::from([(name(), (wanted, seen.map(Arc::new)))])
}

#[tokio::test(start_paused = true)]
async fn a_service_is_made_then_follows_what_is_wanted_and_goes_with_it() {
    let (writer, mut writes, _lead) = start();
    let plain = wanted("1", "10.0.0.1", None);
    writer.look(view(plain.clone(), None));
    let write = writes.recv().await.unwrap();
    assert_eq!((&*write.asked.method, &*write.asked.path), ("POST", "/api/v1/namespaces/web/services"));
    assert_eq!(write.asked.body["metadata"]["ownerReferences"][0]["uid"], "1");
    let service = made(write.grant(), "s");
    writer.look(view(plain, Some(service.clone())));
    writer.look(view(wanted("1", "10.0.0.1", Some("a")), Some(service)));
    let write = writes.recv().await.unwrap();
    assert_eq!((&*write.asked.method, &*write.asked.path), ("PATCH", "/api/v1/namespaces/web/services/edge-gateway"));
    assert_eq!(write.asked.body["metadata"]["labels"]["team"], "a");
    let service = made(write.grant(), "s");
    writer.look(view(Infrastructure::Nothing, Some(service)));
    let write = writes.recv().await.unwrap();
    assert_eq!(write.asked.method, "DELETE");
    assert_eq!(write.asked.body["preconditions"], json!({"uid": "s"}));
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_is_looked_at_and_not_made_again() {
    let (writer, mut writes, _lead) = start();
    let plain = wanted("1", "10.0.0.1", None);
    writer.look(view(plain.clone(), None));
    let write = writes.recv().await.unwrap();
    let body = write.asked.body.clone();
    write.answer.send(failure(409)).unwrap();
    // It was made by the leader before us, which the watch tells.
    writer.look(view(plain, Some(made(body, "s"))));
    assert!(timeout(SEEN_TIME * 10, writes.recv()).await.is_err());
    assert_eq!(writer.troubles()[0].line(), None);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_and_told() {
    let (writer, mut writes, _lead) = start();
    writer.look(view(wanted("1", "10.0.0.1", None), None));
    writes.recv().await.unwrap().answer.send(failure(403)).unwrap();
    let again = writes.recv().await.unwrap();
    assert!(writer.troubles()[0].line().unwrap().contains("HTTP status 403"));
    let unwritten = writer.unwritten();
    assert!(unwritten.borrow().is_empty(), "it may be nothing");
    again.answer.send(failure(403)).unwrap();
    let body = writes.recv().await.unwrap().grant();
    assert_eq!(**unwritten.borrow(), BTreeMap::from([(name(), 403)]));
    writer.look(view(wanted("1", "10.0.0.1", None), Some(made(body, "s"))));
    assert!(timeout(LONGEST_DELAY * 2, writes.recv()).await.is_err());
    assert_eq!(writer.troubles()[0].line(), None);
    assert!(unwritten.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn slices_follow_those_of_our_own_service() {
    let (sender, mut writes) = mpsc::unbounded_channel();
    let client = client(move |asked| {
        let (answer, answered) = oneshot::channel();
        sender.send(Pending { asked, answer }).unwrap();
        async { answered.await.unwrap_or_else(|_| failure(500)) }
    });
    let (_lead, leading) = watch::channel(true);
    let (ours, of_ours) = watch::channel(None);
    let (present, of_gateways) = watch::channel(None);
    let writer = InfrastructureWriter::following(client, leading, (of_ours, of_gateways), Vec::new());
    writer.look([(name(), viewed(&[(80, 20000)]))].into());
    ours.send_replace(Some([own("a", &["10.1.0.1"])].into()));
    assert!(timeout(SEEN_TIME, writes.recv()).await.is_err(), "what is there is not known yet");
    present.send_replace(Some(slices::Slices::new()));
    let write = writes.recv().await.unwrap();
    assert_eq!(
        (&*write.asked.method, &*write.asked.path),
        ("POST", "/apis/discovery.k8s.io/v1/namespaces/web/endpointslices")
    );
    let mut slice: EndpointSlice = serde_json::from_value(write.grant()).unwrap();
    slice.metadata.uid = Some("u".to_owned());
    slice.metadata.resource_version = Some("7".to_owned());
    let slice_name = NamespacedName::new("web", slice.metadata.name.clone().unwrap());
    present.send_replace(Some([(slice_name, Arc::new(slice))].into()));
    ours.send_replace(Some([own("a", &["10.1.0.1", "10.1.0.2"])].into()));
    let write = writes.recv().await.unwrap();
    assert_eq!((&*write.asked.method, &write.asked.body["metadata"]["resourceVersion"]), ("PUT", &json!("7")));
    write.grant();
    ours.send_replace(Some(slices::Slices::new()));
    assert!(timeout(SEEN_TIME / 2, writes.recv()).await.is_err(), "without any Pod of ours what leads to us stays");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_loses_its_owner_each_time_is_not_written_without_a_pause() {
    let (writer, mut writes, _lead) = start();
    let wanted = wanted("1", "10.0.0.1", None);
    let begin = Instant::now();
    writer.look(view(wanted.clone(), None));
    let mut service = writes.recv().await.unwrap().grant();
    for turn in 0u32..8 {
        service["metadata"]["ownerReferences"] = json!([]);
        service["metadata"]["labels"]["turn"] = turn.to_string().into();
        writer.look(view(wanted.clone(), Some(made(service.clone(), "s"))));
        // What it changes is undone again.
        assert_eq!(writes.recv().await.unwrap().grant()["metadata"]["ownerReferences"][0]["uid"], "1");
    }
    assert!(begin.elapsed() > SEEN_TIME * 4, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_breaks_off_is_over_as_well() {
    let (sender, mut writes) = mpsc::unbounded_channel();
    let client = client(move |asked| {
        sender.send(asked).unwrap();
        async { panic!("as in a test") }
    });
    let (_lead, leading) = watch::channel(true);
    let writer = InfrastructureWriter::start(client, leading, &Leading::default());
    writer.look(view(wanted("1", "10.0.0.1", None), None));
    for _ in 0..3 {
        let write = timeout(LONGEST_DELAY, writes.recv()).await;
        assert!(write.is_ok_and(|write| write.is_some()), "it is tried again");
    }
    assert_eq!(**writer.unwritten().borrow(), BTreeMap::from([(name(), 0)]));
}

/// Services that are to be made: so many of namespace `a`, and one of `z`.
fn many(of_a: usize) -> View {
    let names = (0..of_a).map(|number| NamespacedName::new("a", format!("s{number}")));
    let all = names.chain([NamespacedName::new("z", "s")]);
    all.map(|name| (name, (wanted("1", "10.0.0.1", None), None))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_namespace_waits_for_no_other_one() {
    let (writer, mut writes, _lead) = start();
    writer.look(many(50));
    let mut paths = Vec::new();
    for _ in 0..AT_ONCE {
        paths.push(writes.recv().await.unwrap().asked.path);
    }
    assert!(paths.iter().any(|path| path.contains("/namespaces/z/")), "{paths:?}");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_has_too_much_to_do_is_left_alone_for_a_while() {
    let (writer, mut writes, _lead) = start();
    writer.look(many(AT_ONCE));
    let mut under_way = Vec::new();
    for _ in 0..AT_ONCE {
        under_way.push(writes.recv().await.unwrap());
    }
    let begin = Instant::now();
    under_way.remove(0).answer.send(failure(429)).unwrap();
    // The one that has not begun yet was not refused, and waits all the same.
    writes.recv().await.unwrap();
    assert!(begin.elapsed() >= SHORT_REST, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn only_the_leader_writes_and_nobody_after_the_end() {
    let (mut writer, mut writes, lead) = start();
    lead.send_replace(false);
    writer.look(view(wanted("1", "10.0.0.1", None), None));
    lead.send_replace(true);
    let mut running = writes.recv().await.unwrap();
    lead.send_replace(false);
    running.answer.closed().await;
    lead.send_replace(true);
    let mut running = writes.recv().await.unwrap();
    writer.end().await;
    running.answer.closed().await;
    // The writer is gone, and the client with it: no more can come.
    assert!(writes.recv().await.is_none());
}
