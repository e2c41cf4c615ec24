//! Health of endpoints: what is known of one, and how many requests a cluster has under way.
//!
//! Shared by all workers of this process; replicas judge on their own. Time is an argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use genkan_routing::policy::health::{Health, PassiveHealth};

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

/// Whether an endpoint fails. Known in all clusters, asked where a policy wants it.
#[derive(Debug)]
pub(super) struct Fitness {
    /// What times are counted from.
    epoch: Instant,
    /// Failures in a row.
    failures: AtomicU32,
    /// Until when it is passed over, in milliseconds since `epoch`.
    out_until: AtomicU64,
    /// How many times in a row it was passed over.
    times: AtomicU32,
    /// Whether checks find it unhealthy.
    unhealthy: AtomicBool,
}

/// Counts the requests under way in a cluster.
#[derive(Debug, Default)]
pub(super) struct Load(AtomicU32);

/// A request's place among those of its cluster; dropping it ends the count.
#[derive(Debug)]
pub(super) struct Place(Arc<Load>);

impl Fitness {
    /// Of an endpoint of which nothing is known.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            failures: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
            times: AtomicU32::new(0),
            unhealthy: AtomicBool::new(false),
        }
    }

    /// Whether requests may go to it, as far as `health` asks.
    pub(super) fn is_fit(&self, health: &Health, now: Instant) -> bool {
        let answers = health.active.is_none() || !self.unhealthy.load(Ordering::Relaxed);
        let serves = health.passive.is_none() || !self.is_out(now);
        answers && serves
    }

    /// Whether it is passed over because requests failed.
    pub(super) fn is_out(&self, now: Instant) -> bool {
        self.out_until.load(Ordering::Relaxed) > self.millis(now)
    }

    /// Notes what became of a request. Passes the endpoint over from now on if that was one failure too many and
    /// `another` says that one more may be; returns for how long.
    pub(super) fn note(
        &self,
        outcome: Outcome,
        policy: &PassiveHealth,
        now: Instant,
        another: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        let failed = match outcome {
            Outcome::Failed => true,
            Outcome::Status(status) => policy.fails(status),
            Outcome::Connected => false,
        };
        if !failed {
            self.failures.store(0, Ordering::Relaxed);
            if !self.is_out(now) {
                self.times.store(0, Ordering::Relaxed);
            }
            return None;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < policy.failures.get() || self.is_out(now) || !another() {
            return None;
        }
        self.failures.store(0, Ordering::Relaxed);
        let times = self.times.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let time = policy.time.saturating_mul(times.min(LONGEST));
        self.out_until.store(self.millis(now + time), Ordering::Relaxed);
        Some(time)
    }

    /// Notes what checks find; whether that is news.
    pub(super) fn checked(&self, healthy: bool) -> bool {
        self.unhealthy.swap(!healthy, Ordering::Relaxed) == healthy
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Load {
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
        let fitness = Fitness::new(now);
        let note = |outcome, now| fitness.note(outcome, &policy, now, || true);
        assert_eq!(note(Outcome::Failed, now), None);
        assert_eq!(note(Outcome::Status(200), now), None, "a success begins anew");
        assert_eq!(note(Outcome::Status(503), now), None);
        assert_eq!(note(Outcome::Failed, now), Some(policy.time));
        assert!(fitness.is_out(now + policy.time - Duration::from_millis(1)));
        assert!(!fitness.is_out(now + policy.time));
    }

    #[test]
    fn who_fails_again_after_its_time_is_passed_over_for_longer() {
        let (mut now, policy) = (Instant::now(), passive(1));
        let fitness = Fitness::new(now);
        let note = |outcome, now| fitness.note(outcome, &policy, now, || true);
        for times in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10] {
            let time = note(Outcome::Failed, now).unwrap();
            assert_eq!(time, policy.time * times);
            now += time;
        }
        note(Outcome::Connected, now);
        assert_eq!(note(Outcome::Failed, now), Some(policy.time), "a success in between forgives");
    }

    #[test]
    fn statuses_that_are_not_failures_and_a_share_that_is_used_up_change_nothing() {
        let (now, policy) = (Instant::now(), passive(1));
        let fitness = Fitness::new(now);
        assert_eq!(fitness.note(Outcome::Status(500), &policy, now, || true), None);
        assert_eq!(fitness.note(Outcome::Status(502), &policy, now, || false), None);
        assert!(!fitness.is_out(now));
    }

    #[test]
    fn only_what_a_policy_asks_for_makes_unfit() {
        let now = Instant::now();
        let fitness = Fitness::new(now);
        fitness.note(Outcome::Failed, &passive(1), now, || true);
        assert!(fitness.is_fit(&Health::default(), now));
        assert!(!fitness.is_fit(&Health { passive: Some(passive(1)), active: None }, now));
        assert!(fitness.checked(false) && !fitness.checked(false) && fitness.checked(true));
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
