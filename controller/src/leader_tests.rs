//! The election against an API server that is a closure; time stands still.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::fake_api::{Asked, client, failure, streaming_client};

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
    // Neither names nor what the API server says: everybody may read it.
    let told = "the Lease by which a leader is elected can't be taken: HTTP status 403; the log says more";
    assert_eq!(line, told);
    *given.lock() = true;
    becomes(&mut leading, true).await;
    assert_eq!(election.trouble().line(), None);
}

/// The Lease of another that holds it for ten minutes, or of nobody.
fn lease_of(holder: &str) -> Value {
    let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 600});
    json!({"metadata": {"name": "vote", "resourceVersion": "9"}, "spec": spec})
}

/// An election over ten minutes where another holds the Lease until `given` says when it gave it back, and where each
/// watch ends in silence after `life`. Gives how long we take from then on to lead.
async fn deaf_for(life: Duration, given: Duration) -> Duration {
    let began = Instant::now();
    let client = streaming_client(move |asked| async move {
        let holder = if began.elapsed() < given { "other" } else { "" };
        match (asked.method.as_str(), asked.path.ends_with("/vote")) {
            ("GET", true) => (200, lease_of(holder), Duration::ZERO),
            // No event: what the test is about happens between watches.
            ("GET", false) => (200, Value::Null, life),
            _ => (200, asked.body, Duration::ZERO),
        }
    });
    let election = Election::new("default".to_owned(), "vote".to_owned(), "me".to_owned(), Duration::from_secs(600));
    let (lead, mut leading) = watch::channel(false);
    tokio::spawn(async move { election.run(client, &lead).await });
    let leads = timeout(Duration::from_secs(3600), becomes(&mut leading, true)).await.expect("it leads");
    leads - (began + given)
}

#[tokio::test(start_paused = true)]
async fn after_a_watch_that_lived_the_lease_is_looked_at_at_once() {
    let life = Duration::from_secs(60);
    // Given back just before the first watch ends, and then just before the third.
    for given in [life, life * 3] {
        assert!(deaf_for(life, given - Duration::from_millis(1)).await < Duration::from_secs(1), "{given:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_watches_end_at_once_the_lease_is_looked_at_every_two_seconds() {
    let deaf = deaf_for(Duration::ZERO, Duration::from_secs(9)).await;
    assert!(deaf <= PAUSE, "{deaf:?}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_holders_time_is_not_slept_through() {
    let begins = Instant::now();
    // One that vanished, and that may not be watched.
    let client = client(|asked| async move {
        match (asked.method.as_str(), asked.path.ends_with("/vote")) {
            ("GET", true) => {
                let mut lease = lease_of("other");
                lease["spec"]["leaseDurationSeconds"] = json!(11);
                (200, lease)
            }
            ("GET", false) => failure(403),
            _ => (200, asked.body),
        }
    });
    let (_, mut leading) = run(client);
    assert_eq!(becomes(&mut leading, true).await - begins, Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn giving_back_does_not_wait_for_an_api_server_that_hangs() {
    for hangs in ["GET", "PUT"] {
        let client = client(move |asked| async move {
            if asked.method == hangs {
                std::future::pending::<()>().await;
            }
            (200, lease_of("me"))
        });
        let election = Election::new("default".to_owned(), "vote".to_owned(), "me".to_owned(), TTL * 100);
        let began = Instant::now();
        timeout(TTL, election.release(client)).await.expect("it ends");
        assert_eq!(began.elapsed(), RELEASE_TIME, "{hangs}");
    }
}
