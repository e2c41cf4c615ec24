//! Hashes that tell connections apart which must not be shared. Keyed, so that nobody who writes what is hashed (names,
//! authorities, addresses of endpoints) can make two of them equal.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::LazyLock;

static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The hash of `value`; the same in all threads of this process, and in no other.
pub(crate) fn hash(value: impl Hash) -> u64 {
    KEYS.hash_one(value)
}
