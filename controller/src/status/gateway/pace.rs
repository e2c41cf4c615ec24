//! The pace of all writes together: an upgrade that changes one word changes it in thousands of statuses, and each write
//! is told to everybody who watches. Pure: what time it is, is said.

use std::time::Duration;

use tokio::time::Instant;

/// Time that one write takes of the whole: so many in a second.
const EACH: Duration = Duration::from_millis(2);
/// As many may be written at once after a quiet time.
const BURST: u32 = 1500;
/// Whoever asks for patience without saying how much gets this.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nobody gets more.
const LONGEST: Duration = Duration::from_secs(60);

/// When something may be written.
#[derive(Debug)]
pub(super) struct Pace {
    /// When all that was written would have been written at an even pace.
    paid: Instant,
    /// Nothing is written before.
    rest: Instant,
}

impl Pace {
    /// After a quiet time.
    pub(super) fn new(now: Instant) -> Self {
        Self { paid: now, rest: now }
    }

    /// When the next write may begin; not later than `now`: at once.
    pub(super) fn next(&self) -> Instant {
        // An instant that is too early for the clock is early enough.
        self.paid.checked_sub(EACH * (BURST - 1)).unwrap_or(self.rest).max(self.rest)
    }

    /// A write begins.
    pub(super) fn spend(&mut self, now: Instant) {
        self.paid = self.paid.max(now) + EACH;
    }

    /// The API server asks for patience.
    pub(super) fn rest(&mut self, wait: Option<Duration>, now: Instant) {
        self.rest = self.rest.max(now + wait.unwrap_or(PATIENCE).min(LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many may be written by `now`.
    fn spend_all(pace: &mut Pace, now: Instant) -> u32 {
        let mut count = 0;
        while pace.next() <= now {
            pace.spend(now);
            count += 1;
        }
        count
    }

    #[test]
    fn after_a_burst_it_is_so_many_in_a_second() {
        // Far enough from where the clock began.
        let now = Instant::now() + Duration::from_secs(3600);
        let mut pace = Pace::new(now);
        assert_eq!(spend_all(&mut pace, now), BURST);
        assert_eq!(pace.next(), now + EACH);
        let second = now + Duration::from_secs(1);
        assert_eq!(spend_all(&mut pace, second), 500);
        assert_eq!(spend_all(&mut pace, second + Duration::from_secs(60)), BURST);
    }

    #[test]
    fn who_is_asked_for_patience_rests() {
        let now = Instant::now() + Duration::from_secs(3600);
        let mut pace = Pace::new(now);
        pace.rest(Some(Duration::from_secs(7)), now);
        pace.rest(None, now);
        assert_eq!(pace.next(), now + Duration::from_secs(7), "the longer one counts");
        pace.rest(Some(Duration::from_secs(3600)), now);
        assert_eq!(pace.next(), now + LONGEST);
    }
}
