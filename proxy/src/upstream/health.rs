//! Health of endpoints: how requests to one went, what checks find, and how many requests are under way.
//!
//! Shared by all workers of this process; replicas judge on their own. Time is an argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use genkan_routing::policy::health::PassiveHealth;

/// How many times the time of the first passing over the longest one may be.
const LONGEST: u32 = 10;

/// What became of a request at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It answered with this status.
    Status(u16),
    /// It did what a stream asks for: it took a connection.
    Connected,
    /// No connection, no answer in time, or a broken one.
    Failed,
}

/// How requests to an endpoint went, as one policy counts.
#[derive(Debug)]
pub(super) struct Failures {
    /// What times are counted from.
    epoch: Instant,
    /// Failures in a row.
    row: AtomicU32,
    /// Until when it is passed over, in milliseconds since `epoch`.
    out_until: AtomicU64,
    /// How many times in a row it was passed over.
    times: AtomicU32,
}

/// What the checks of a cluster find of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Finding(AtomicBool);

/// Counts the requests under way that one limit is for.
#[derive(Debug, Default)]
pub(super) struct Load(AtomicU32);

/// A request's place among those under way; dropping it ends the count.
#[derive(Debug)]
pub(super) struct Place(Arc<Load>);

impl Failures {
    /// Of an endpoint of which nothing is known.
    pub(super) fn new(now: Instant) -> Self {
        Self { epoch: now, row: AtomicU32::new(0), out_until: AtomicU64::new(0), times: AtomicU32::new(0) }
    }

    /// Whether it is passed over.
    pub(super) fn is_out(&self, now: Instant) -> bool {
        self.out_until.load(Ordering::Relaxed) > self.millis(now)
    }

    /// Counts what became of a request; whether that was one failure too many.
    pub(super) fn note(&self, outcome: Outcome, policy: &PassiveHealth, now: Instant) -> bool {
        let failed = match outcome {
            Outcome::Failed => true,
            Outcome::Status(status) => policy.fails(status),
            Outcome::Connected => false,
        };
        if failed {
            let row = self.row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            return row >= policy.failures.get() && !self.is_out(now);
        }
        self.row.store(0, Ordering::Relaxed);
        if !self.is_out(now) {
            self.times.store(0, Ordering::Relaxed);
        }
        false
    }

    /// Passes the endpoint over from now on; for how long. Workers may come here together: not without a lock.
    pub(super) fn pass_over(&self, policy: &PassiveHealth, now: Instant) -> Duration {
        self.row.store(0, Ordering::Relaxed);
        let times = self.times.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let time = policy.time.saturating_mul(times.min(LONGEST));
        self.out_until.store(self.millis(now + time), Ordering::Relaxed);
        time
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Finding {
    /// Whether the endpoint is healthy, as one is of which nothing is known.
    pub(super) fn is_healthy(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }

    /// Notes what checks find; whether that is news.
    pub(super) fn set(&self, healthy: bool) -> bool {
        self.0.swap(!healthy, Ordering::Relaxed) == healthy
    }
}

impl Load {
    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// A place for one more request, unless there are `limit` already.
    pub(super) fn enter(self: &Arc<Self>, limit: u32) -> Option<Place> {
        let more = |count: u32| (count < limit).then_some(count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn passive(failures: u32) -> PassiveHealth {
        let failures = NonZeroU32::new(failures).unwrap();
        PassiveHealth { failures, statuses: vec![502, 503], time: Duration::from_secs(30), max_percent: 50 }
    }

    #[test]
    fn failures_in_a_row_pass_an_endpoint_over_for_a_time() {
        let (now, policy) = (Instant::now(), passive(2));
        let failures = Failures::new(now);
        assert!(!failures.note(Outcome::Failed, &policy, now));
        assert!(!failures.note(Outcome::Status(200), &policy, now), "a success begins anew");
        assert!(!failures.note(Outcome::Status(503), &policy, now));
        assert!(failures.note(Outcome::Failed, &policy, now));
        assert_eq!(failures.pass_over(&policy, now), policy.time);
        assert!(failures.is_out(now + policy.time - Duration::from_millis(1)));
        assert!(!failures.is_out(now + policy.time));
        for _ in 0..9 {
            assert!(!failures.note(Outcome::Failed, &policy, now), "it is passed over already");
        }
    }

    #[test]
    fn who_fails_again_after_its_time_is_passed_over_for_longer() {
        let (mut now, policy) = (Instant::now(), passive(1));
        let failures = Failures::new(now);
        let fail = |now| failures.note(Outcome::Failed, &policy, now).then(|| failures.pass_over(&policy, now));
        for times in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10] {
            let time = fail(now).unwrap();
            assert_eq!(time, policy.time * times);
            now += time;
        }
        failures.note(Outcome::Connected, &policy, now);
        assert_eq!(fail(now), Some(policy.time), "a success in between forgives");
    }

    #[test]
    fn statuses_that_are_not_failures_change_nothing() {
        let (now, policy) = (Instant::now(), passive(1));
        let failures = Failures::new(now);
        assert!(!failures.note(Outcome::Status(500), &policy, now));
        assert!(failures.note(Outcome::Status(502), &policy, now));
        assert!(!failures.is_out(now), "that is for others to decide");
    }

    #[test]
    fn only_news_is_news() {
        let finding = Finding::default();
        assert!(finding.is_healthy());
        assert!(finding.set(false) && !finding.set(false) && !finding.is_healthy());
        assert!(finding.set(true) && finding.is_healthy());
    }

    #[test]
    fn a_load_has_as_many_places_as_its_limit() {
        let load = Arc::new(Load::default());
        let (first, second) = (load.enter(2), load.enter(2));
        assert!(first.is_some() && second.is_some() && load.enter(2).is_none());
        drop(first);
        assert!(load.enter(2).is_some());
    }
}
