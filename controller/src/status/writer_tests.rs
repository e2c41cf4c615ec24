//! The writer against an API server of its own.

use super::*;
use crate::fake_api::{Asked, client, failure};

fn addresses(texts: &[&str]) -> BTreeSet<Address> {
    texts.iter().map(|text| Address::from_text(text)).collect()
}

#[test]
fn nothing_but_the_addresses_is_claimed() {
    let name = NamespacedName::new("web", "shop");
    let written = body(&name, "u", &addresses(&["1.2.3.4", "lb.test"]));
    assert_eq!(written["status"], json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"hostname": "lb.test"}]}}));
    assert_eq!(written["metadata"], json!({"namespace": "web", "name": "shop", "uid": "u"}));
}

/// A write that waits for its answer.
struct Pending {
    asked: Asked,
    answer: oneshot::Sender<(u16, Value)>,
}

/// A writer that leads and is to write `1.2.3.4`, what it asks of the API server, and its leadership.
fn start() -> (StatusWriter, mpsc::UnboundedReceiver<Pending>, watch::Sender<bool>) {
    let (sender, pending) = mpsc::unbounded_channel();
    let client = client(move |asked| {
        let (answer, answered) = oneshot::channel();
        sender.send(Pending { asked, answer }).unwrap();
        async { answered.await.unwrap_or_else(|_| failure(500)) }
    });
    let (lead, leading) = watch::channel(true);
    let (addresses_sender, addresses) = watch::channel(Some(addresses(&["1.2.3.4"])));
    let writer = StatusWriter::start(client, Duration::from_secs(60), addresses, leading);
    // Held by nobody else: it does not change.
    drop(addresses_sender);
    (writer, pending, lead)
}

fn state(uid: &str) -> Option<IngressState> {
    Some(IngressState { uid: uid.into(), published: [].into() })
}

fn named(name: &str) -> NamespacedName {
    NamespacedName::new("default", name)
}

fn object() -> (u16, Value) {
    (200, json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}}))
}

#[tokio::test]
async fn a_write_that_runs_ends_with_leadership() {
    let (writer, mut writes, lead) = start();
    writer.seen(named("web"), state("u"));
    let mut running = writes.recv().await.unwrap();
    assert_eq!(running.asked.body["metadata"]["uid"], "u");
    lead.send_replace(false);
    running.answer.closed().await;
    // Whoever leads again begins anew.
    lead.send_replace(true);
    writes.recv().await.unwrap();
}

#[tokio::test]
async fn nothing_is_written_after_the_end() {
    let (writer, mut writes, _lead) = start();
    writer.seen(named("web"), state("u"));
    let mut running = writes.recv().await.unwrap();
    writer.end(false).await;
    running.answer.closed().await;
    writer.seen(named("other"), state("v"));
    // The writer is gone, and the client with it: no more can come.
    assert!(writes.recv().await.is_none());
}

#[tokio::test]
async fn an_address_that_is_being_written_at_the_end_is_taken_away_as_well() {
    let (writer, mut writes, _lead) = start();
    writer.seen(named("web"), state("u"));
    let running = writes.recv().await.unwrap();
    let (_, removal) = tokio::join!(writer.end(true), async {
        running.answer.send(object()).unwrap();
        let removal = writes.recv().await.unwrap();
        removal.answer.send(object()).unwrap();
        removal.asked
    });
    assert_eq!(removal.path, "/apis/networking.k8s.io/v1/namespaces/default/ingresses/web/status");
    let path = "/status/loadBalancer/ingress";
    assert_eq!(
        removal.body,
        json!([
            {"op": "test", "path": "/metadata/uid", "value": "u"},
            {"op": "test", "path": path, "value": [{"ip": "1.2.3.4"}]},
            {"op": "remove", "path": path},
        ])
    );
}

#[tokio::test]
async fn without_leadership_nothing_is_taken_away() {
    let (writer, mut writes, lead) = start();
    writer
        .seen(named("web"), Some(IngressState { uid: "u".into(), published: [Address::from_text("1.2.3.4")].into() }));
    lead.send_replace(false);
    writer.end(true).await;
    assert!(writes.recv().await.is_none());
}

#[tokio::test]
async fn a_right_that_is_missing_is_trouble_until_it_is_there() {
    let (writer, mut writes, _lead) = start();
    for name in ["one", "two"] {
        writer.seen(named(name), state(name));
    }
    for _ in 0..2 {
        writes.recv().await.unwrap().answer.send(failure(403)).unwrap();
    }
    // Seen again, each is tried again; the first one alone does not make it well.
    for (name, well) in [("one", false), ("two", true)] {
        writer.seen(named(name), state(name));
        let write = writes.recv().await.unwrap();
        assert!(writer.trouble().line().unwrap().contains("HTTP status 403"));
        write.answer.send(object()).unwrap();
        let mut polls = 0;
        while writer.trouble().line().is_some() && (well || polls < 100) {
            polls += 1;
            tokio::task::yield_now().await;
        }
        assert_eq!(writer.trouble().line().is_none(), well, "{name}");
    }
}

/// Waits until there is trouble, or none.
async fn troubled(writer: &StatusWriter, wanted: bool) {
    let waiting = async {
        while writer.trouble().line().is_some() != wanted {
            tokio::task::yield_now().await;
        }
    };
    let line = timeout(Duration::from_secs(10), waiting).await.map_err(|_| writer.trouble().line());
    assert_eq!(line, Ok(()), "trouble: {wanted}");
}

fn published(uid: &str) -> Option<IngressState> {
    Some(IngressState { uid: uid.into(), published: [Address::from_text("1.2.3.4")].into() })
}

#[tokio::test]
async fn a_write_that_failed_and_was_done_all_the_same_is_no_trouble() {
    let (writer, mut writes, _lead) = start();
    writer.seen(named("web"), state("u"));
    writes.recv().await.unwrap().answer.send(failure(504)).unwrap();
    troubled(&writer, true).await;
    writer.seen(named("web"), published("u"));
    troubled(&writer, false).await;
}

#[tokio::test]
async fn a_write_that_fails_after_its_effect_was_seen_is_no_trouble() {
    let (writer, mut writes, _lead) = start();
    writer.seen(named("web"), state("u"));
    let late = writes.recv().await.unwrap();
    writer.seen(named("web"), published("u"));
    // The other one's write begins after the writer took note of both.
    writer.seen(named("other"), state("v"));
    let other = writes.recv().await.unwrap();
    late.answer.send(failure(504)).unwrap();
    other.answer.send(failure(403)).unwrap();
    troubled(&writer, true).await;
    assert!(writer.trouble().line().unwrap().contains("HTTP status 403"));
    writer.seen(named("other"), None);
    troubled(&writer, false).await;
}

#[tokio::test]
async fn the_last_one_that_fails_takes_the_trouble_with_it() {
    let (writer, mut writes, _lead) = start();
    writer.seen(named("one"), state("u"));
    writes.recv().await.unwrap().answer.send(failure(403)).unwrap();
    troubled(&writer, true).await;
    writer.seen(named("two"), state("v"));
    writes.recv().await.unwrap().answer.send(failure(500)).unwrap();
    // What is told is true of those that are left.
    writer.seen(named("one"), None);
    let waiting = async {
        while !writer.trouble().line().is_some_and(|line| line.contains("HTTP status 500")) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), waiting).await.expect("the other one's failure is told");
    writer.seen(named("two"), None);
    troubled(&writer, false).await;
}
