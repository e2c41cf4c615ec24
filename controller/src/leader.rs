//! Leader election: one of several processes holds a Lease (coordination.k8s.io/v1), renews it and writes; when it
//! stops, another takes over.
//!
//! As client-go does it: the holder is judged by how long its Lease stayed unchanged before our own eyes, never by the
//! clocks of two machines. Other than it, we watch the Lease, so a change is seen at once and the Lease of a holder that
//! vanished is taken exactly when its time is over.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams, WatchEvent, WatchParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::trouble::{self, Trouble};

/// Giving the Lease back takes no longer.
pub const RELEASE_TIME: Duration = Duration::from_secs(4);
/// One request takes no longer, however long the Lease is.
const CALL_TIME: Duration = Duration::from_secs(10);
/// Who does not hold it looks at the Lease again after this time, when it can't be watched. As long as client-go's.
const PAUSE: Duration = Duration::from_secs(2);
/// A watch that lived so long may be begun again at once.
const LIVED: Duration = Duration::from_secs(5);

/// What is voted on, and who we are.
#[derive(Debug)]
pub struct Election {
    /// The namespace of the Lease: our own.
    pub namespace: String,
    /// The name of the Lease (`--election-id`).
    pub name: String,
    /// Who we are: the name of our Pod.
    pub identity: String,
    /// How long a holder may be silent (`--election-ttl`, 30 s).
    pub ttl: Duration,
    trouble: Trouble,
}

/// How the Lease looked last.
#[derive(Debug)]
struct Seen {
    lease: Lease,
    /// When it changed last, by our clock.
    at: Instant,
}

/// A failed attempt.
#[derive(Debug, thiserror::Error)]
enum LeaderError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("the API server does not answer")]
    Silent,
}

impl Election {
    /// An election by the Lease of this name.
    pub fn new(namespace: String, name: String, identity: String, ttl: Duration) -> Self {
        Self { namespace, name, identity, ttl, trouble: Trouble::default() }
    }

    /// What keeps us from taking part.
    pub fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// Takes part until dropped; `leading` says whether we are the leader. To be followed by [`Self::release`].
    pub async fn run(&self, client: Client, leading: &watch::Sender<bool>) {
        let leases: Api<Lease> = Api::namespaced(client, &self.namespace);
        let mut seen = None;
        loop {
            let asked = Instant::now();
            match self.acquire(&leases, &mut seen).await {
                Ok(true) => {
                    self.trouble.clear();
                    tracing::info!(lease = %self.name, identity = %self.identity, "leading: status is written here");
                    leading.send_replace(true);
                    self.hold(&leases, &mut seen, asked).await;
                    leading.send_replace(false);
                    tracing::warn!(lease = %self.name, "not leading any more");
                }
                Ok(false) => self.await_turn(&leases, &mut seen).await,
                Err(error) => {
                    self.tell("taken", &error);
                    self.pause(seen.as_ref()).await;
                }
            }
        }
    }

    /// Without the right to the Lease nobody ever writes, and only this says why.
    fn tell(&self, what: &str, error: &LeaderError) {
        let line =
            format!("the Lease by which a leader is elected can't be {what}: {}", trouble::cause(error.status()));
        if self.trouble.set(line, error) {
            let Self { namespace, name: lease, .. } = self;
            tracing::warn!(
                %namespace, %lease, %error,
                "the Lease can't be {what}: no status and no Event is written here"
            );
        }
    }

    /// Gives the Lease back if it is ours, so that another need not wait for its end.
    pub async fn release(&self, client: Client) {
        let leases: Api<Lease> = Api::namespaced(client, &self.namespace);
        let giving = async {
            let Some(mut lease) = leases.get_opt(&self.name).await? else { return Ok(()) };
            if holder(&lease) != self.identity {
                return Ok(());
            }
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            leases.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
        };
        if let Err(error) = limited(RELEASE_TIME, giving).await {
            tracing::debug!(lease = %self.name, %error, "the Lease is not given back; it ends by itself");
        }
    }

    /// Tries to take the Lease. `false`: somebody else holds it.
    async fn acquire(&self, leases: &Api<Lease>, seen: &mut Option<Seen>) -> Result<bool, LeaderError> {
        let Some(lease) = limited(self.call(), leases.get_opt(&self.name)).await? else {
            let lease = self.lease(None);
            let created = limited(self.call(), leases.create(&PostParams::default(), &lease)).await;
            return match created {
                Ok(lease) => {
                    see(seen, lease);
                    Ok(true)
                }
                Err(LeaderError::Api(kube::Error::Api(status))) if status.code == 409 => Ok(false),
                Err(error) => Err(error),
            };
        };
        see(seen, lease.clone());
        if holder(&lease) != self.identity && Instant::now() < expiry(seen.as_ref(), self.ttl) {
            return Ok(false);
        }
        self.write(leases, &lease, seen).await
    }

    /// Writes ourselves into a Lease. `false`: somebody was faster.
    async fn write(&self, leases: &Api<Lease>, old: &Lease, seen: &mut Option<Seen>) -> Result<bool, LeaderError> {
        let lease = self.lease(Some(old));
        match limited(self.call(), leases.replace(&self.name, &PostParams::default(), &lease)).await {
            Ok(lease) => {
                see(seen, lease);
                Ok(true)
            }
            Err(LeaderError::Api(kube::Error::Api(status))) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Renews until it is lost: taken by another, or not renewed for half of its time. `renewed`: when the request was
    /// sent that took it, as others may count from then on.
    async fn hold(&self, leases: &Api<Lease>, seen: &mut Option<Seen>, mut renewed: Instant) {
        loop {
            sleep_until(renewed + self.retry()).await;
            // However slow the API server is: we cease long before another may begin.
            let Ok(outcome) = timeout_at(renewed + self.ttl / 2, self.renew(leases, seen)).await else {
                // What stands in the way is told when it is to be taken again.
                tracing::warn!(lease = %self.name, "the Lease could not be renewed in time");
                return;
            };
            match outcome {
                Some(sent) => renewed = sent,
                None => return,
            }
        }
    }

    /// Renews until the API server answers. Gives when the request was sent that did it; `None`: somebody else has it.
    async fn renew(&self, leases: &Api<Lease>, seen: &mut Option<Seen>) -> Option<Instant> {
        loop {
            let last = seen.as_ref().map(|seen| seen.lease.clone())?;
            let mut sent = Instant::now();
            let outcome = match self.write(leases, &last, seen).await {
                // Somebody wrote it: whether we still hold it is to be read.
                Ok(false) => {
                    sent = Instant::now();
                    self.acquire(leases, seen).await
                }
                outcome => outcome,
            };
            match outcome {
                Ok(true) => {
                    self.trouble.clear();
                    return Some(sent);
                }
                Ok(false) => return None,
                Err(error) => {
                    tracing::debug!(lease = %self.name, %error, "the Lease is not renewed yet");
                }
            }
            sleep(self.retry() / 4).await;
        }
    }

    /// Waits until it is worth trying: the holder's time is over or it gave up.
    async fn await_turn(&self, leases: &Api<Lease>, seen: &mut Option<Seen>) {
        let version = seen.as_ref().and_then(|seen| seen.lease.metadata.resource_version.clone()).unwrap_or_default();
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.name)).timeout(60);
        let events = match limited(self.call(), leases.watch(&params, &version)).await {
            Ok(events) => events,
            Err(error) => {
                self.tell("watched", &error);
                return self.pause(seen.as_ref()).await;
            }
        };
        let began = Instant::now();
        let mut events = std::pin::pin!(events);
        loop {
            tokio::select! {
                () = sleep_until(expiry(seen.as_ref(), self.ttl)) => return,
                event = events.next() => match event {
                    Some(Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease))) => {
                        self.trouble.clear();
                        let free = holder(&lease).is_empty();
                        see(seen, lease);
                        if free {
                            return;
                        }
                    }
                    Some(Ok(WatchEvent::Bookmark(_))) => {}
                    Some(Ok(WatchEvent::Deleted(_))) => return,
                    Some(Ok(WatchEvent::Error(status)) | Err(kube::Error::Api(status))) => {
                        // Too old a position is nothing wrong: it is read anew.
                        if status.code != 410 {
                            self.tell("watched", &kube::Error::Api(status).into());
                        }
                        return self.pause(seen.as_ref()).await;
                    }
                    // Each ends after a while. An API server that ends them at once is not asked without a pause.
                    Some(Err(_)) | None if began.elapsed() >= LIVED => return,
                    Some(Err(_)) | None => return self.pause(seen.as_ref()).await,
                },
            }
        }
    }

    /// Waits a moment, and not beyond the end of the holder's time.
    async fn pause(&self, seen: Option<&Seen>) {
        let now = Instant::now();
        let next = now + self.retry().min(PAUSE);
        let end = expiry(seen, self.ttl);
        // Over already, it did not help.
        sleep_until(if end > now { next.min(end) } else { next }).await;
    }

    /// The Lease as we write it.
    fn lease(&self, old: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let before = old.and_then(|old| old.spec.as_ref());
        let held = before.is_some_and(|spec| spec.holder_identity.as_deref() == Some(&self.identity));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let mut lease = old.cloned().unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.ttl.as_secs().max(1)).unwrap_or(i32::MAX)),
            acquire_time: if held { before.and_then(|spec| spec.acquire_time.clone()) } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if held || old.is_none() { transitions } else { transitions.saturating_add(1) }),
            ..before.cloned().unwrap_or_default()
        });
        lease
    }

    /// Between renewals.
    fn retry(&self) -> Duration {
        self.ttl / 4
    }

    /// How long one request may take.
    fn call(&self) -> Duration {
        self.retry().min(CALL_TIME)
    }
}

impl LeaderError {
    fn status(&self) -> u16 {
        match self {
            Self::Api(error) => trouble::status(error),
            Self::Silent => 0,
        }
    }
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// Takes note of a Lease; the time counts from when it changed.
fn see(seen: &mut Option<Seen>, lease: Lease) {
    if seen.as_ref().is_none_or(|seen| seen.lease.spec != lease.spec) {
        *seen = Some(Seen { lease, at: Instant::now() });
    } else if let Some(seen) = seen {
        seen.lease = lease;
    }
}

/// When the holder's time is over.
fn expiry(seen: Option<&Seen>, ttl: Duration) -> Instant {
    let Some(Seen { lease, at }) = seen else { return Instant::now() };
    if holder(lease).is_empty() {
        return *at;
    }
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    *at + seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(ttl, Duration::from_secs)
}

async fn limited<T>(limit: Duration, call: impl Future<Output = kube::Result<T>>) -> Result<T, LeaderError> {
    timeout(limit, call).await.map_err(|_| LeaderError::Silent)?.map_err(LeaderError::from)
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;
