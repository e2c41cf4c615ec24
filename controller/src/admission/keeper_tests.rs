//! The keeper against an API server that is a closure.

use k8s_openapi::ByteString;
use parking_lot::Mutex;

use super::*;
use crate::fake_api::{Asked, client, failure};

const SECRET: &str = "/api/v1/namespaces/web/secrets/pair";

fn names() -> NamespacedName {
    NamespacedName::new("web", "pair")
}

/// One round of a keeper that leads, where the API server has this Secret and no configuration. Gives what it came to,
/// and what was written.
async fn round(secret: Option<Secret>) -> (Result<Round, KeeperError>, Vec<Asked>) {
    let (client, asked) = api(secret);
    let (_lead, leading) = watch::channel(true);
    let outcome = Work::new(keeper(), &client, Serving::new(), leading).round().await;
    let mut writes = asked.lock().clone();
    writes.retain(|asked| asked.method != "GET");
    (outcome, writes)
}

/// An API server with this Secret and no configuration, and what it is asked.
fn api(secret: Option<Secret>) -> (Client, Arc<Mutex<Vec<Asked>>>) {
    let all = Arc::new(Mutex::new(Vec::new()));
    let kept = all.clone();
    let client = client(move |asked| {
        kept.lock().push(asked.clone());
        let answer = match (asked.method.as_str(), &secret) {
            ("GET", Some(secret)) if asked.path == SECRET => (200, serde_json::to_value(secret).unwrap()),
            ("GET", _) => failure(404),
            _ => (200, asked.body),
        };
        async { answer }
    });
    (client, all)
}

fn keeper() -> Keeper {
    let service = NamespacedName::new("web", "webhook");
    Keeper { service, configuration: "webhook".to_owned(), secret: names() }
}

/// A minute of a keeper that does not lead: how often it asks, and its trouble.
async fn minute(client: Client, asked: &Mutex<Vec<Asked>>) -> (usize, Option<String>) {
    let (_lead, leading) = watch::channel(false);
    let trouble = Trouble::default();
    let running = keeper().run(client, Serving::new(), leading, trouble.clone());
    assert!(timeout(Duration::from_secs(60), running).await.is_err(), "it goes on");
    (asked.lock().len(), trouble.line())
}

fn secret(mark: bool, data: &[(&str, &str)]) -> Secret {
    let data: BTreeMap<_, _> =
        data.iter().map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec()))).collect();
    let annotations = mark.then(|| BTreeMap::from([(MARK.to_owned(), "made".to_owned())]));
    let metadata = ObjectMeta { name: Some("pair".to_owned()), annotations, ..ObjectMeta::default() };
    Secret { metadata, data: Some(data), ..Secret::default() }
}

fn made(asked: &Asked) -> Secret {
    serde_json::from_value(asked.body.clone()).unwrap()
}

#[tokio::test]
async fn a_secret_that_somebody_else_made_is_left_alone() {
    let theirs = secret(false, &[("tls.crt", "their certificate"), ("tls.key", "their only copy of a key")]);
    let (outcome, writes) = round(Some(theirs)).await;
    assert!(outcome.unwrap_err().to_string().starts_with("Secret web/pair was not made for this"));
    assert_eq!(writes, []);
    // Not even one that reads as if it were ours.
    let (_, writes) = round(None).await;
    let mut copy = made(&writes[0]);
    copy.metadata.annotations = None;
    assert!(matches!(round(Some(copy)).await, (Err(KeeperError::Foreign(_)), writes) if writes.is_empty()));
}

#[tokio::test]
async fn what_it_makes_it_knows_as_its_own() {
    let (outcome, writes) = round(None).await;
    assert_eq!((outcome.unwrap(), writes[0].method.as_str()), (Round::Done, "POST"));
    let ours = made(&writes[0]);
    let (outcome, writes) = round(Some(ours.clone())).await;
    assert_eq!((outcome.unwrap(), writes), (Round::Done, vec![]), "there is nothing to write");
    // Damaged, it is made anew.
    let damaged = Secret { data: secret(true, &[("tls.crt", "x")]).data, ..ours };
    let (outcome, writes) = round(Some(damaged)).await;
    assert_eq!((outcome.unwrap(), writes[0].method.as_str()), (Round::Done, "PUT"));
    assert!(Authority::read(&made(&writes[0]).data.unwrap()).is_ok());
}

#[tokio::test]
async fn a_secret_that_is_empty_is_filled_and_marked() {
    let (outcome, writes) = round(Some(secret(false, &[]))).await;
    assert_eq!((outcome.unwrap(), writes[0].method.as_str()), (Round::Done, "PUT"));
    assert!(is_ours(&made(&writes[0])) && !made(&writes[0]).data.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_somebody_else_made_is_looked_at_without_haste() {
    let (client, asked) = api(Some(secret(false, &[("tls.key", "their only copy of a key")])));
    let (count, line) = minute(client, &asked).await;
    assert!((2..=7).contains(&count), "{count}");
    let told = "the webhook's certificate is not looked after: its Secret was not made for this; the log says more";
    assert_eq!(line.as_deref(), Some(told));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_damaged_is_trouble_to_who_does_not_lead() {
    let (client, asked) = api(Some(secret(true, &[("tls.crt", "x")])));
    // The leader makes it anew any moment.
    let (count, line) = minute(client, &asked).await;
    assert!(count > 7, "{count}");
    let told = "the webhook's certificate is not looked after: its Secret holds something else; the log says more";
    assert_eq!(line.as_deref(), Some(told));
    assert!(asked.lock().iter().all(|asked| asked.method == "GET"), "it is the leader's to write");
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_is_told_without_names() {
    let client = client(|_| async { failure(403) });
    let (_, line) = minute(client, &Mutex::default()).await;
    let told =
        "the webhook's certificate is not looked after: its Secret can't be read: HTTP status 403; the log says more";
    assert_eq!(line.as_deref(), Some(told));
}
