//! Schedule: which endpoint is asked when. Each has its own time, so that one that takes long keeps none waiting.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Instant;

/// Entries of the queue that may be left behind before they are looked for.
const SLACK: usize = 16;

/// The endpoints of a cluster by when they are asked.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// When each is asked next; `None` while it is being asked.
    due: HashMap<SocketAddr, Option<Instant>>,
    /// The same in order, with times that do not count any more.
    queue: BinaryHeap<Reverse<(Instant, SocketAddr)>>,
}

impl Schedule {
    /// Takes over the endpoints that there are; those that are new are asked at a time of `first`.
    pub(super) fn follow(
        &mut self,
        addresses: impl IntoIterator<Item = SocketAddr>,
        mut first: impl FnMut() -> Instant,
    ) {
        let there: HashSet<SocketAddr> = addresses.into_iter().collect();
        self.due.retain(|address, _| there.contains(address));
        for address in there {
            if !self.due.contains_key(&address) {
                self.put(address, first());
            }
        }
        if self.queue.len() > 2 * self.due.len() + SLACK {
            let due = &self.due;
            self.queue.retain(|Reverse((at, address))| due.get(address) == Some(&Some(*at)));
        }
    }

    /// Whether an endpoint is there.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.due.contains_key(&address)
    }

    /// One whose time has come. It is being asked from now on.
    pub(super) fn take(&mut self, now: Instant) -> Option<SocketAddr> {
        self.next().filter(|next| *next <= now)?;
        let Reverse((_, address)) = self.queue.pop()?;
        self.due.insert(address, None);
        Some(address)
    }

    /// It has been asked, and is asked again at that time.
    pub(super) fn again(&mut self, address: SocketAddr, at: Instant) {
        if self.due.get(&address) == Some(&None) {
            self.put(address, at);
        }
    }

    /// When the next one is to be asked.
    pub(super) fn next(&mut self) -> Option<Instant> {
        while let Some(Reverse((at, address))) = self.queue.peek() {
            if self.due.get(address) == Some(&Some(*at)) {
                return Some(*at);
            }
            self.queue.pop();
        }
        None
    }

    fn put(&mut self, address: SocketAddr, at: Instant) {
        self.due.insert(address, Some(at));
        self.queue.push(Reverse((at, address)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 80))
    }

    fn second(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn who_does_not_answer_keeps_nobody_waiting() {
        let (now, mut schedule) = (Instant::now(), Schedule::default());
        schedule.follow([1, 2].map(address), || now);
        let mut asked = [schedule.take(now).unwrap(), schedule.take(now).unwrap()];
        asked.sort();
        assert_eq!(asked, [1, 2].map(address));
        // The first never comes back.
        for round in 1..5 {
            schedule.again(address(2), now + second(round));
            assert_eq!(schedule.take(now + second(round) - Duration::from_millis(1)), None);
            assert_eq!(schedule.next(), Some(now + second(round)));
            assert_eq!(schedule.take(now + second(round)), Some(address(2)));
        }
    }

    #[test]
    fn the_one_that_waits_longest_is_first() {
        let (now, mut schedule) = (Instant::now(), Schedule::default());
        let mut at = [3, 1, 2].map(|count| now + second(count)).into_iter();
        for number in [3, 1, 2] {
            schedule.follow(
                (1..=3)
                    .filter(|other| schedule.has(address(*other)) || *other == number)
                    .map(address)
                    .collect::<Vec<_>>(),
                || at.next().unwrap(),
            );
        }
        let order: Vec<_> = std::iter::from_fn(|| schedule.take(now + second(9))).collect();
        assert_eq!(order, [1, 2, 3].map(address));
    }

    #[test]
    fn who_is_gone_is_not_asked_and_who_comes_back_is_asked_once() {
        let (now, mut schedule) = (Instant::now(), Schedule::default());
        schedule.follow([address(1)], || now);
        schedule.follow([], || now);
        assert_eq!((schedule.take(now), schedule.next()), (None, None));
        schedule.follow([address(1)], || now + second(1));
        assert_eq!(schedule.take(now), None, "its old time does not count");
        assert_eq!(schedule.take(now + second(1)), Some(address(1)));
        assert_eq!(schedule.take(now + second(1)), None);
        // Its answer comes when it is gone.
        schedule.follow([], || now);
        schedule.again(address(1), now);
        assert_eq!(schedule.take(now + second(9)), None);
    }

    #[test]
    fn endpoints_that_come_and_go_leave_nothing_behind() {
        let (now, mut schedule) = (Instant::now(), Schedule::default());
        for _ in 0..1000 {
            schedule.follow([1, 2].map(address), || now + second(1));
            schedule.follow([address(1)], || now);
        }
        assert!(schedule.queue.len() <= 2 * schedule.due.len() + SLACK + 1);
        assert!(schedule.has(address(1)) && !schedule.has(address(2)));
    }
}
