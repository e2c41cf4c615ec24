//! Mirrors: copies of requests whose answers nobody gets (`RequestMirror`).

use std::num::NonZeroU32;

use serde::{Serialize, Serializer};

use crate::name::ClusterId;

/// Where copies of a rule's requests go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// The cluster that gets them. A mirror that leads nowhere is left out of the model: the request itself must not
    /// suffer from it.
    pub target: ClusterId,
    /// How many requests are copied.
    pub share: Share,
}

/// A share of requests: `numerator` of `denominator`, written `1/2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// So many, at most all.
    numerator: u32,
    /// Of so many.
    denominator: NonZeroU32,
}

impl Share {
    /// All requests.
    pub const ALL: Self = Self { numerator: 1, denominator: NonZeroU32::MIN };

    /// A share; `None` for more than all, and for a part of nothing.
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        let denominator = NonZeroU32::new(denominator).filter(|denominator| numerator <= denominator.get())?;
        Some(Self { numerator, denominator })
    }

    /// Whether a request belongs to the share, decided by one random number.
    pub fn takes(self, random: u64) -> bool {
        // random / 2^64 < numerator / denominator, without a division that rounds.
        u128::from(random) * u128::from(self.denominator.get()) < u128::from(self.numerator) << 64
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}/{}", self.numerator, self.denominator))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_is_at_most_everything() {
        assert_eq!(Share::new(0, 0), None);
        assert_eq!(Share::new(101, 100), None);
        assert!(Share::new(100, 100).is_some());
    }

    #[test]
    fn all_takes_every_request_and_nothing_takes_none() {
        for random in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(Share::ALL.takes(random));
            assert!(!Share::new(0, 7).unwrap().takes(random));
        }
    }

    proptest! {
        #[test]
        fn a_share_takes_its_part_of_evenly_spread_numbers(numerator in 0_u32..=1000, more in 0_u32..1000) {
            let denominator = (numerator + more).max(1);
            let share = Share::new(numerator, denominator).unwrap();
            let step = u64::MAX / 4096;
            let taken = (0..4096_u64).filter(|index| share.takes(index * step)).count() as f64;
            let expected = 4096.0 * f64::from(numerator) / f64::from(denominator);
            prop_assert!((taken - expected).abs() <= 1.0, "{taken} of 4096, not {expected}");
        }
    }
}
