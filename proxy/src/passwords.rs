//! Passwords: compared with hashes away from the workers, and remembered for a while.
//!
//! A hash is made to be slow, and a browser sends the password with every request. So what was right is remembered, by a
//! keyed digest of password and hash: a hash that changes is another question. How many comparisons run at a time is
//! bounded, or guessing would take every processor, and so is how many wait.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use genkan_routing::policy::basic_auth::{PasswordHash, Users};
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;
use tokio::task;

use crate::filters::basic_auth::Credentials;
use crate::filters::basic_auth::hash;

/// How many right passwords are remembered of one period.
const MOST_REMEMBERED: usize = 4096;

/// A password is compared anew after twice this time at the latest.
const PERIOD: Duration = Duration::from_secs(600);

/// How many comparisons may wait or run.
const MOST_WAITING: usize = 512;

/// Compares passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    /// `None` where the system gives no random numbers: then nothing is remembered.
    key: Option<hmac::Key>,
    remembered: Mutex<Remembered>,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// Digests of what was right, of this period and of the one before.
#[derive(Debug)]
struct Remembered {
    since: Instant,
    now: HashSet<Digest>,
    before: HashSet<Digest>,
}

type Digest = [u8; 32];

/// Too many passwords wait to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be compared")]
pub(crate) struct Overloaded;

impl Default for Passwords {
    fn default() -> Self {
        // One processor of two goes on serving, however much is guessed.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let remembered = Remembered { since: Instant::now(), now: HashSet::new(), before: HashSet::new() };
        Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
            remembered: Mutex::new(remembered),
            running: Arc::new(Semaphore::new((processors / 2).max(1))),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
        }
    }
}

impl Passwords {
    /// Whether the password is the user's. It takes as long for a user who does not exist.
    pub(crate) async fn are_right(&self, users: &Users, given: Credentials, now: Instant) -> Result<bool, Overloaded> {
        let own = users.hash(&given.user);
        let Some(hash) = own.or_else(|| users.any_hash()) else { return Ok(false) };
        let digest = self.digest(hash, &given.password);
        if let Some(digest) = &digest
            && self.remembered.lock().knows(digest, now)
        {
            return Ok(own.is_some());
        }
        let right = if hash::is_slow(hash) {
            self.compare_elsewhere(hash.clone(), given.password).await?
        } else {
            hash::matches(hash, &given.password)
        };
        // What is right of somebody who does not exist is remembered too, or one could tell by the second try.
        if let Some(digest) = digest.filter(|_| right) {
            self.remembered.lock().note(digest, now);
        }
        Ok(right && own.is_some())
    }

    async fn compare_elsewhere(&self, hash: PasswordHash, password: Vec<u8>) -> Result<bool, Overloaded> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Overloaded)?;
        // It is never closed.
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Overloaded)?;
        let compared = task::spawn_blocking(move || {
            let right = hash::matches(&hash, &password);
            // Not before, also if nobody waits for the answer any more.
            drop(running);
            right
        });
        // It ends early only if it panics, which is no yes.
        Ok(compared.await.unwrap_or(false))
    }

    fn digest(&self, hash: &PasswordHash, password: &[u8]) -> Option<Digest> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        let hash = hash.text().as_bytes();
        // So that no two pairs look the same.
        context.update(&(hash.len() as u64).to_be_bytes());
        context.update(hash);
        context.update(password);
        context.sign().as_ref().try_into().ok()
    }
}

impl Remembered {
    fn knows(&mut self, digest: &Digest, now: Instant) -> bool {
        self.age(now);
        self.now.contains(digest) || self.before.contains(digest)
    }

    fn note(&mut self, digest: Digest, now: Instant) {
        self.age(now);
        if self.now.len() >= MOST_REMEMBERED {
            self.turn(now);
        }
        self.now.insert(digest);
    }

    fn age(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= PERIOD {
            self.turn(now);
            if age >= 2 * PERIOD {
                self.before.clear();
            }
        }
    }

    fn turn(&mut self, now: Instant) {
        self.before = std::mem::take(&mut self.now);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(entries: &[(&str, &str)]) -> Users {
        entries.iter().map(|(user, hash)| ((*user).to_owned(), PasswordHash::new(*hash))).collect()
    }

    fn given(user: &str, password: &str) -> Credentials {
        Credentials { user: user.to_owned(), password: password.as_bytes().to_vec() }
    }

    /// Of "secret".
    const HASH: &str = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/";

    #[tokio::test]
    async fn only_the_users_own_password_is_right() {
        let (passwords, now) = (Passwords::default(), Instant::now());
        let users = users(&[("ada", HASH), ("bob", "{PLAIN}other")]);
        for _ in 0..2 {
            for (user, password, right) in [
                ("ada", "secret", true),
                ("ada", "other", false),
                ("bob", "other", true),
                ("bob", "secret", false),
                ("eve", "secret", false),
                ("", "", false),
            ] {
                assert_eq!(passwords.are_right(&users, given(user, password), now).await, Ok(right), "{user}");
            }
        }
        assert_eq!(passwords.are_right(&Users::default(), given("ada", "secret"), now).await, Ok(false));
    }

    #[tokio::test]
    async fn what_was_right_is_remembered_for_a_while_and_for_its_hash_alone() {
        let (passwords, now) = (Passwords::default(), Instant::now());
        let known = |hash: &str, at| {
            let digest = passwords.digest(&PasswordHash::new(hash), b"secret").unwrap();
            passwords.remembered.lock().knows(&digest, at)
        };
        assert!(passwords.are_right(&users(&[("ada", HASH)]), given("ada", "secret"), now).await.unwrap());
        assert!(known(HASH, now) && !known("{PLAIN}x", now));
        assert!(known(HASH, now + PERIOD));
        assert!(!known(HASH, now + 2 * PERIOD));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let mut remembered = Remembered { since: now, now: HashSet::new(), before: HashSet::new() };
        for number in 0..3 * MOST_REMEMBERED as u64 {
            let mut digest = Digest::default();
            digest[..8].copy_from_slice(&number.to_be_bytes());
            remembered.note(digest, now);
        }
        assert!(remembered.now.len() + remembered.before.len() <= 2 * MOST_REMEMBERED);
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let passwords = Passwords::default();
        let _all = passwords.waiting.acquire_many(MOST_WAITING as u32).await.unwrap();
        let users = users(&[("ada", HASH)]);
        let now = Instant::now();
        assert_eq!(passwords.are_right(&users, given("ada", "secret"), now).await, Err(Overloaded));
    }
}
