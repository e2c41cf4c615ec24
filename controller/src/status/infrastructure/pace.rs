//! Pace: when something is done about an object again. Nothing that was done, or that failed, is done once more at once,
//! and an object that never becomes as it is to be, whatever is done about it, is let alone for longer and longer.

use std::time::Duration;

use tokio::time::Instant;

/// What was done is not done again so soon: the API server tells of it.
pub(super) const SEEN_TIME: Duration = Duration::from_secs(5);
/// What failed is tried again after this, then after twice that, and so on.
const FIRST_DELAY: Duration = Duration::from_secs(1);
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Who needed nothing for so long may begin anew.
const CALM: Duration = Duration::from_secs(60);
/// An object that was as it is to be for so long may be changed once more without a pause.
const REFILL: Duration = Duration::from_secs(1);

/// What was done about one object.
#[derive(Debug)]
pub(super) struct Pace<A> {
    /// The last thing; `None`: the object was as it is to be since.
    last: Option<A>,
    at: Instant,
    /// How many things may be done about it without a pause.
    at_once: u32,
    /// How many were done, but for what it recovered from since.
    done: u32,
    /// Since when it is as it is to be.
    settled: Option<Instant>,
    /// How often it failed in a row, and how it did last.
    failed: Option<(u32, u16)>,
}

impl<A: PartialEq> Pace<A> {
    /// Of an object about which nothing was done so far.
    pub(super) fn new(at_once: u32, at: Instant) -> Self {
        Self { last: None, at, at_once, done: 0, settled: None, failed: None }
    }

    /// Notes what was done; `failed`: by which HTTP status it was refused.
    pub(super) fn done(&mut self, action: A, failed: Option<u16>, now: Instant) {
        let calm = self.settled.map_or(Duration::ZERO, |since| now.duration_since(since));
        let recovered = match now.duration_since(self.at) > CALM {
            true => u32::MAX,
            false => u32::try_from(calm.as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX),
        };
        self.done = self.done.saturating_sub(recovered);
        self.settled = None;
        self.failed = failed.map(|code| (self.failed.map_or(1, |(times, _)| times.saturating_add(1)), code));
        self.last = Some(action);
        self.done = self.done.saturating_add(1);
        self.at = now;
    }

    /// The object is as it is to be.
    pub(super) fn settled(&mut self, now: Instant) {
        self.last = None;
        self.failed = None;
        self.settled.get_or_insert(now);
    }

    /// Whether nothing follows from it any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.settled.is_some() && now.duration_since(self.at) > CALM
    }

    /// When this may be done.
    pub(super) fn due(&self, action: &A) -> Instant {
        let pause = doubled(self.done.saturating_sub(self.at_once));
        let same = self.last.as_ref() == Some(action);
        let wait = match self.failed {
            Some((times, _)) if same => doubled(times),
            _ if same => pause.max(SEEN_TIME),
            _ => pause,
        };
        self.at + wait
    }

    /// How often it failed in a row, and how it did last.
    pub(super) fn failed(&self) -> Option<(u32, u16)> {
        self.failed
    }
}

/// Nothing, then one second, then twice as long each time.
fn doubled(times: u32) -> Duration {
    let Some(doublings) = times.checked_sub(1) else { return Duration::ZERO };
    FIRST_DELAY.saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_comes_out_right_is_done_less_and_less_often() {
        let mut now = Instant::now();
        let mut pace = Pace::new(4, now);
        let mut waits = Vec::new();
        for action in ["create", "delete"].into_iter().cycle().take(12) {
            let due = pace.due(&action).max(now);
            waits.push((due - now).as_secs());
            now = due;
            pace.done(action, None, now);
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60]);
        now += CALM * 2;
        pace.done("create", None, now);
        assert_eq!(pace.due(&"apply"), now);
    }

    #[test]
    fn what_comes_out_right_each_time_is_not_paused() {
        let mut now = Instant::now();
        let mut pace = Pace::new(4, now);
        for _ in 0..20 {
            assert!(pace.due(&"merge") <= now);
            pace.done("merge", None, now);
            now += REFILL;
            pace.settled(now);
            now += REFILL * 2;
        }
        assert!(!pace.is_over(now) && pace.is_over(now + CALM));
    }

    #[test]
    fn what_failed_is_tried_again_later_and_later_until_it_is_settled() {
        let now = Instant::now();
        let mut pace = Pace::new(4, now);
        let wait = |pace: &Pace<&str>| (pace.due(&"create") - now).as_secs();
        pace.done("create", Some(403), now);
        assert_eq!(wait(&pace), 1);
        pace.done("create", Some(403), now);
        assert_eq!((wait(&pace), pace.failed()), (2, Some((2, 403))));
        pace.settled(now);
        assert_eq!((wait(&pace), pace.failed()), (0, None));
        pace.done("create", None, now);
        assert_eq!(wait(&pace), SEEN_TIME.as_secs());
    }
}
