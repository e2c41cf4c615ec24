//! The watch against an API server that answers by the request.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::scripted::{Answer, Requests, api_server_that, failure, list, object};
use super::*;

const SECRET: &str = "/api/v1/namespaces/n/secrets/a";

/// A watch of an API server where there is the Secret `n/a`, and nothing else.
struct Followed {
    watch: Watch,
    requests: Requests,
    /// What a fetch of the Secret is answered with: 200 gives it.
    get: Arc<AtomicU16>,
}

impl Followed {
    fn start(cache: Option<&Path>) -> Self {
        let get = Arc::new(AtomicU16::new(200));
        let status = get.clone();
        let (client, requests) = api_server_that(move |request| match request.split_once('?') {
            None if request == SECRET => match status.load(Ordering::Relaxed) {
                200 => Answer::lines(200, &[object("a", "5")]),
                status => failure(status),
            },
            Some(("/api/v1/secrets", query)) if !query.contains("watch=") => list(&["a"], "5", ""),
            Some((_, query)) if !query.contains("watch=") => list(&[], "5", ""),
            _ => Answer::lines(200, &[]).and_holds(),
        });
        Self { watch: Watch::begin(client, Scopes::default(), "genkan.dev/test", cache).unwrap(), requests, get }
    }

    /// The Secret was passed over and is being fetched in vain: this is the status of the answers.
    async fn fetching_in_vain(status: u16) -> Self {
        let mut followed = Self::start(None);
        followed.get.store(status, Ordering::Relaxed);
        followed.watch.begin_on_demand();
        followed.until("passed over", false, |watch, _| watch.passed_over(&secret())).await;
        followed.watch.fetch([secret()]);
        followed.until("fetched", true, |_, requests| requests.iter().any(|request| request == SECRET)).await;
        followed
    }

    /// Takes what happens until something is so. Time stands still in these tests: an hour is over as soon as nothing
    /// happens any more.
    async fn until(&mut self, what: &str, wanted: bool, so: impl Fn(&Watch, &[String]) -> bool) {
        let waiting = async {
            while !so(&self.watch, &self.requests.lock()) {
                // What was asked is seen without any change.
                let _ = timeout(Duration::from_millis(10), self.watch.changed(|_| wanted)).await;
            }
        };
        let over = timeout(Duration::from_secs(3600), waiting).await;
        assert!(over.is_ok(), "not {what}: {:?}, {:?}", self.watch.health.details(), self.requests.lock());
    }

    fn take(&mut self, stream: usize, wanted: bool, event: Event) {
        let message = Message { stream, kind: Kind::Secret, event };
        self.watch.take(message, &|_: &Key| wanted, &mut Update::default());
    }

    fn knows_it(&self) -> bool {
        self.watch.resources().contains(&secret())
    }
}

fn secret() -> Key {
    Key::new(Kind::Secret, "n", "a")
}

fn modified() -> Event {
    Event::Applied(Box::new(object("a", "6").into()))
}

#[tokio::test(start_paused = true)]
async fn after_a_start_from_the_cache_it_is_seen_when_everything_was_listed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let service: Value = json!({"metadata": {"namespace": "n", "name": "a"}, "spec": {}});
    fs::write(&cache, format!("Service n/a {service}\n")).unwrap();
    let mut followed = Followed::start(Some(&cache));
    assert!(followed.watch.is_restored());
    followed.watch.begin_on_demand();
    for kind in ["Ingress", "Secret"] {
        assert!(followed.watch.health.details().contains(&format!("{kind}: not listed yet")));
        assert!(followed.watch.health.metrics().contains(&format!("genkan_watch_up{{kind=\"{kind}\"}} 0\n")));
    }
    followed.until("all is well", true, |watch, _| watch.health.details().is_empty()).await;
    for kind in ["Ingress", "Secret"] {
        assert!(followed.watch.health.metrics().contains(&format!("genkan_watch_up{{kind=\"{kind}\"}} 1\n")));
    }
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_it_is_fetched_and_not_referred_to_is_fetched_when_it_is_again() {
    let mut followed = Followed::fetching_in_vain(500).await;
    followed.take(0, false, modified());
    assert!(!followed.knows_it());
    followed.watch.fetch([secret()]);
    followed.get.store(200, Ordering::Relaxed);
    followed.until("known", true, |watch, _| watch.resources().contains(&secret())).await;
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_a_fetch_that_was_overtaken_is_not_taken() {
    let mut followed = Followed::fetching_in_vain(500).await;
    let first = followed.watch.fetching[&secret()].id;
    followed.take(0, true, modified());
    assert!(followed.knows_it());
    followed.take(first, true, Event::Fetched(secret(), None));
    assert!(followed.knows_it());
    // Nor while it is fetched once more.
    followed.take(0, false, modified());
    followed.watch.fetch([secret()]);
    followed.take(first, true, Event::Fetched(secret(), Some(Box::new(object("a", "5").into()))));
    assert!(!followed.knows_it() && followed.watch.fetching.contains_key(&secret()));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_may_be_listed_and_not_fetched_is_told_until_it_may() {
    let line = "Secret: 1 that somebody refers to can't be fetched: HTTP status 403; the log says more";
    let mut followed = Followed::fetching_in_vain(403).await;
    followed.until("told", true, |watch, _| watch.health.details() == [line]).await;
    followed.get.store(200, Ordering::Relaxed);
    followed.until("known", true, |watch, _| watch.resources().contains(&secret())).await;
    assert!(followed.watch.health.details().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_refers_to_any_more_is_fetched_no_longer() {
    let mut followed = Followed::fetching_in_vain(403).await;
    followed.until("told", true, |watch, _| !watch.health.details().is_empty()).await;
    followed.watch.release(|_| true);
    assert!(!followed.watch.health.details().is_empty());
    followed.watch.release(|_| false);
    assert!(followed.watch.health.details().is_empty() && followed.watch.fetching.is_empty());
    // What was on its way says nothing any more.
    let failure = ask::Failure { brief: String::new(), detail: String::new() };
    followed.take(usize::MAX, false, Event::Unfetched(secret(), failure));
    assert!(followed.watch.health.details().is_empty());
}
