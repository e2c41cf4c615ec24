//! Retry budget: counts the attempts at a cluster and says whether a further one is within its budget.
//!
//! Shared by all workers of this process; replicas count on their own, as the API has it. Time is an argument.

use std::time::{Duration, Instant};

use genkan_routing::policy::retry_budget::RetryBudget;
use parking_lot::Mutex;

/// Parts of a window: what is counted is forgotten in steps of one part.
const PARTS: usize = 10;

/// The budget of one cluster.
#[derive(Debug)]
pub(crate) struct Budget {
    policy: RetryBudget,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    attempts: Window,
    retries: Window,
    /// Further attempts as the floor counts them.
    floor: Window,
}

/// A count of the recent past.
#[derive(Debug)]
struct Window {
    part: Duration,
    epoch: Instant,
    /// The number of the latest part, counted from `epoch`.
    latest: u64,
    parts: [u32; PARTS],
}

impl Budget {
    /// A budget of which nothing is used.
    pub(crate) fn new(policy: RetryBudget, now: Instant) -> Self {
        let counts = Counts {
            attempts: Window::new(policy.interval, now),
            retries: Window::new(policy.interval, now),
            floor: Window::new(policy.floor_interval, now),
        };
        Self { policy, counts: Mutex::new(counts) }
    }

    /// What it was made with.
    pub(crate) fn policy(&self) -> RetryBudget {
        self.policy
    }

    /// Counts an attempt, be it a first or a further one.
    pub(crate) fn attempt(&self, now: Instant) {
        self.counts.lock().attempts.add(now);
    }

    /// Takes a further attempt out of the budget; false when none is left.
    pub(crate) fn take(&self, now: Instant) -> bool {
        let mut counts = self.counts.lock();
        // With the attempt that is asked for.
        let attempts = counts.attempts.sum(now) + 1;
        let retries = counts.retries.sum(now) + 1;
        let within = retries * 100 <= attempts * u64::from(self.policy.percent);
        let allowed = within || counts.floor.sum(now) < u64::from(self.policy.floor);
        if allowed {
            counts.retries.add(now);
            counts.floor.add(now);
        }
        allowed
    }
}

impl Window {
    fn new(length: Duration, now: Instant) -> Self {
        let part = (length / PARTS as u32).max(Duration::from_nanos(1));
        Self { part, epoch: now, latest: 0, parts: [0; PARTS] }
    }

    fn add(&mut self, now: Instant) {
        let count = self.at(now);
        *count = count.saturating_add(1);
    }

    fn sum(&mut self, now: Instant) -> u64 {
        self.at(now);
        self.parts.iter().copied().map(u64::from).sum()
    }

    /// The part of now, once those that are too old are forgotten.
    fn at(&mut self, now: Instant) -> &mut u32 {
        let since = now.saturating_duration_since(self.epoch).as_nanos();
        let number = u64::try_from(since / self.part.as_nanos()).unwrap_or(u64::MAX);
        // Workers may look at the clock in one order and come here in another.
        let number = number.max(self.latest);
        for old in 1..=(number - self.latest).min(PARTS as u64) {
            self.parts[place(self.latest.saturating_add(old))] = 0;
        }
        self.latest = number;
        &mut self.parts[place(number)]
    }
}

/// The place of a part in the ring.
fn place(number: u64) -> usize {
    // Below the number of parts, whatever the width of usize.
    (number % PARTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(percent: u8, floor: u32) -> (Budget, Instant) {
        let now = Instant::now();
        (Budget::new(RetryBudget { percent, floor, ..RetryBudget::default() }, now), now)
    }

    fn take_all(budget: &Budget, now: Instant) -> usize {
        (0..10_000)
            .take_while(|_| {
                let taken = budget.take(now);
                if taken {
                    budget.attempt(now);
                }
                taken
            })
            .count()
    }

    #[test]
    fn further_attempts_are_a_share_of_all() {
        let (budget, now) = budget(20, 0);
        for _ in 0..800 {
            budget.attempt(now);
        }
        assert_eq!(take_all(&budget, now), 200, "of then 1000");
    }

    #[test]
    fn the_floor_is_allowed_whatever_the_share() {
        let (budget, now) = budget(0, 3);
        assert_eq!(take_all(&budget, now), 3);
        assert_eq!(take_all(&budget, now + Duration::from_millis(900)), 0);
        assert_eq!(take_all(&budget, now + Duration::from_millis(1000)), 3);
    }

    #[test]
    fn nothing_and_everything_can_be_allowed() {
        assert_eq!(
            {
                let (budget, now) = budget(0, 0);
                take_all(&budget, now)
            },
            0
        );
        assert_eq!(
            {
                let (budget, now) = budget(100, 0);
                take_all(&budget, now)
            },
            10_000
        );
    }

    #[test]
    fn what_is_older_than_the_interval_does_not_count() {
        let (budget, now) = budget(50, 0);
        for _ in 0..10 {
            budget.attempt(now);
        }
        assert_eq!(take_all(&budget, now + Duration::from_millis(9_999)), 10);
        // The first ten are forgotten, their retries are not.
        assert!(!budget.take(now + Duration::from_millis(10_000)));
        let later = now + Duration::from_secs(1_000_000);
        budget.attempt(later);
        assert!(budget.take(later), "half of two");
        assert!(!budget.take(later), "two of three");
    }

    #[test]
    fn a_clock_that_another_worker_read_earlier_is_no_trouble() {
        let (budget, now) = budget(0, 2);
        assert!(budget.take(now + Duration::from_secs(5)));
        assert!(budget.take(now));
        assert!(!budget.take(now + Duration::from_secs(5)));
    }
}
