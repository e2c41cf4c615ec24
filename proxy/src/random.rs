//! Random numbers for choices that nobody must guess right: balancing, canaries, request ids. Not for secrets.
//!
//! Decisions take their random number as an argument; this is where the caller gets it.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

thread_local! {
    static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish());
}

/// The next number of this thread's generator (SplitMix64, seeded by the operating system).
pub(crate) fn next() -> u64 {
    STATE.with(|state| {
        let seed = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(seed);
        mix(seed)
    })
}

/// A number below `bound`, evenly spread, made of one random number. 0 when `bound` is 0.
pub(crate) fn below(bound: u64, random: u64) -> u64 {
    let scaled = (u128::from(random) * u128::from(bound)) >> 64;
    u64::try_from(scaled).unwrap_or(0)
}

/// Spreads the bits of `value` (the finalizer of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ() {
        let first = next();
        assert!((0..100).all(|_| next() != first));
    }

    #[test]
    fn below_stays_below_and_reaches_both_ends() {
        assert_eq!(below(7, 0), 0);
        assert_eq!(below(7, u64::MAX), 6);
        assert_eq!(below(0, u64::MAX), 0);
    }
}
