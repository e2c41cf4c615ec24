//! What was right lately: digests of hash and password, of each tenant its own, so that nobody's logins push out others'.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

/// Of a hash and a password, by a key that nobody knows.
pub(super) type Digest = [u8; 32];

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of a tenant and one period; there are two.
    pub(super) of_tenant: usize,
    /// Of all tenants and both periods.
    pub(super) in_all: usize,
}

/// What is remembered of all tenants.
#[derive(Debug)]
pub(super) struct Memory {
    limits: Limits,
    tenants: FxHashMap<Arc<str>, Remembered>,
    /// How many digests there are.
    count: usize,
}

/// A password is compared anew after twice this time at the latest.
const PERIOD: Duration = Duration::from_secs(600);

/// Of this period and of the one before.
#[derive(Debug)]
struct Remembered {
    since: Instant,
    now: HashSet<Digest>,
    before: HashSet<Digest>,
}

impl Memory {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, tenants: FxHashMap::default(), count: 0 }
    }

    /// Whether it was right lately.
    pub(super) fn knows(&mut self, tenant: &Arc<str>, digest: &Digest, now: Instant) -> bool {
        let Some(remembered) = self.tenants.get_mut(tenant) else { return false };
        self.count -= remembered.age(now);
        remembered.now.contains(digest) || remembered.before.contains(digest)
    }

    /// It was right.
    pub(super) fn note(&mut self, tenant: &Arc<str>, digest: Digest, now: Instant) {
        if !self.tenants.contains_key(tenant) {
            self.tidy(now);
        }
        while self.count >= self.limits.in_all {
            let largest = self.tenants.values_mut().max_by_key(|remembered| remembered.count());
            let Some(largest) = largest else { break };
            self.count -= largest.turn(now);
        }
        let remembered = self.tenants.entry(Arc::clone(tenant)).or_insert_with(|| Remembered::since(now));
        self.count -= remembered.age(now);
        if remembered.now.len() >= self.limits.of_tenant {
            self.count -= remembered.turn(now);
        }
        self.count += usize::from(remembered.now.insert(digest));
    }

    /// Forgets tenants of whom nothing is remembered.
    fn tidy(&mut self, now: Instant) {
        let count = &mut self.count;
        self.tenants.retain(|_, remembered| {
            *count -= remembered.age(now);
            remembered.count() > 0
        });
    }
}

/// What ends a period gives how much was forgotten by it.
impl Remembered {
    fn since(now: Instant) -> Self {
        Self { since: now, now: HashSet::new(), before: HashSet::new() }
    }

    fn count(&self) -> usize {
        self.now.len() + self.before.len()
    }

    fn age(&mut self, now: Instant) -> usize {
        match now.saturating_duration_since(self.since) {
            age if age >= 2 * PERIOD => self.turn(now) + self.turn(now),
            age if age >= PERIOD => self.turn(now),
            _ => 0,
        }
    }

    fn turn(&mut self, now: Instant) -> usize {
        let forgotten = std::mem::replace(&mut self.before, std::mem::take(&mut self.now));
        self.since = now;
        forgotten.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { of_tenant: 4, in_all: 16 };

    fn digest(number: u64) -> Digest {
        let mut digest = Digest::default();
        digest[..8].copy_from_slice(&number.to_be_bytes());
        digest
    }

    fn count(memory: &Memory) -> usize {
        let count = memory.tenants.values().map(Remembered::count).sum();
        assert_eq!(memory.count, count);
        count
    }

    #[test]
    fn what_was_right_is_known_for_a_while_and_to_its_tenant_alone() {
        let (mut memory, now) = (Memory::new(LIMITS), Instant::now());
        let [a, b] = ["a", "b"].map(Arc::from);
        memory.note(&a, digest(1), now);
        assert!(memory.knows(&a, &digest(1), now) && !memory.knows(&b, &digest(1), now));
        assert!(!memory.knows(&a, &digest(2), now));
        assert!(memory.knows(&a, &digest(1), now + PERIOD));
        assert!(!memory.knows(&a, &digest(1), now + 2 * PERIOD));
        memory.note(&b, digest(1), now + 2 * PERIOD);
        assert_eq!((count(&memory), memory.tenants.len()), (1, 1));
        memory.note(&a, digest(1), now);
        assert!(!memory.knows(&a, &digest(1), now + 2 * PERIOD));
        assert_eq!(count(&memory), 1);
    }

    #[test]
    fn a_tenant_pushes_out_its_own_and_nobody_elses() {
        let (mut memory, now) = (Memory::new(LIMITS), Instant::now());
        let [a, b] = ["a", "b"].map(Arc::from);
        memory.note(&b, digest(0), now);
        for number in 0..100 {
            memory.note(&a, digest(number), now);
            assert!(count(&memory) <= 1 + 2 * LIMITS.of_tenant);
        }
        assert!(memory.knows(&b, &digest(0), now) && memory.knows(&a, &digest(99), now));
    }

    #[test]
    fn who_has_most_makes_room_when_there_is_none() {
        let (mut memory, now) = (Memory::new(LIMITS), Instant::now());
        let small: Arc<str> = "small".into();
        memory.note(&small, digest(0), now);
        for tenant in 0..10 {
            let tenant: Arc<str> = tenant.to_string().into();
            for number in 0..8 {
                memory.note(&tenant, digest(number), now);
                assert!(count(&memory) <= LIMITS.in_all);
            }
            assert!(memory.knows(&tenant, &digest(7), now));
        }
        assert!(memory.knows(&small, &digest(0), now));
    }
}
