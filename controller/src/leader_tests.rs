//! The election against an API server that is a closure; time stands still.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::fake_api::{Asked, client, failure};

const TTL: Duration = Duration::from_secs(40);

/// Runs an election, and gives it and whether we lead.
fn run(client: Client) -> (Arc<Election>, watch::Receiver<bool>) {
    let (namespace, name) = ("default".to_owned(), "vote".to_owned());
    let election = Arc::new(Election::new(namespace, name, "me".to_owned(), TTL));
    let (lead, leading) = watch::channel(false);
    let running = election.clone();
    tokio::spawn(async move { running.run(client, &lead).await });
    (election, leading)
}

async fn becomes(leading: &mut watch::Receiver<bool>, wanted: bool) -> Instant {
    leading.wait_for(|now| *now == wanted).await.unwrap();
    Instant::now()
}

/// An API server without the Lease, that takes `delay` to make it and then answers by `renewal`.
fn api<A>(delay: Duration, renewal: impl Fn(Asked) -> A + Send + Sync + 'static) -> (Client, Arc<Mutex<Vec<Instant>>>)
where
    A: Future<Output = (u16, Value)> + Send + 'static,
{
    let made = Arc::new(Mutex::new(Vec::new()));
    let times = made.clone();
    let client = client(move |asked| {
        let begins = times.lock().is_empty();
        let renewal = match asked.method.as_str() {
            "GET" if begins => None,
            "POST" => {
                times.lock().push(Instant::now());
                None
            }
            _ => Some(renewal(asked.clone())),
        };
        async move {
            match renewal {
                Some(renewal) => renewal.await,
                None if asked.method == "GET" => failure(404),
                None => {
                    sleep(delay).await;
                    (201, asked.body)
                }
            }
        }
    });
    (client, made)
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_gets_no_answer_ceases_half_a_ttl_after_it_last_asked() {
    // Others may have seen the Lease long before we are told.
    let (client, made) = api(TTL / 8, |_| std::future::pending());
    let (_, mut leading) = run(client);
    becomes(&mut leading, true).await;
    let ceased = becomes(&mut leading, false).await;
    assert_eq!(ceased - made.lock()[0], TTL / 2);
}

#[tokio::test(start_paused = true)]
async fn time_counts_from_the_last_renewal_that_went_well() {
    let renewed = Arc::new(Mutex::new(None));
    let last = renewed.clone();
    // One renewal is answered late, then all are refused.
    let (client, _) = api(Duration::ZERO, move |asked| {
        let first = last.lock().is_none() && asked.method == "PUT";
        if first {
            *last.lock() = Some(Instant::now());
        }
        async move {
            sleep(TTL / 8).await;
            if first { (200, asked.body) } else { failure(500) }
        }
    });
    let (_, mut leading) = run(client);
    becomes(&mut leading, true).await;
    let ceased = becomes(&mut leading, false).await;
    assert_eq!(ceased - renewed.lock().unwrap(), TTL / 2);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_else_took_is_given_up_at_once() {
    let taken = |_| async {
        let spec = json!({"holderIdentity": "other", "leaseDurationSeconds": 40});
        (200, json!({"metadata": {"name": "vote", "resourceVersion": "9"}, "spec": spec}))
    };
    let (client, made) = api(Duration::ZERO, move |asked| async move {
        if asked.method == "PUT" { failure(409) } else { taken(asked).await }
    });
    let (_, mut leading) = run(client);
    becomes(&mut leading, true).await;
    let ceased = becomes(&mut leading, false).await;
    assert_eq!(ceased - made.lock()[0], TTL / 4);
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_is_trouble_until_it_is_there() {
    let given = Arc::new(Mutex::new(false));
    let allowed = given.clone();
    let client = client(move |asked| {
        let allowed = *allowed.lock();
        async move {
            match asked.method.as_str() {
                _ if !allowed => failure(403),
                "GET" => failure(404),
                _ => (201, asked.body),
            }
        }
    });
    let (election, mut leading) = run(client);
    sleep(TTL).await;
    let line = election.trouble().line().unwrap();
    assert!(line.starts_with("the Lease default/vote can't be taken: ") && line.contains("said so"), "{line}");
    *given.lock() = true;
    becomes(&mut leading, true).await;
    assert_eq!(election.trouble().line(), None);
}
