//! Passwords: compared with hashes away from the workers, and remembered for a while.
//!
//! A hash is made to be slow, and a browser sends the password with every request. So what was right is remembered, by a
//! keyed digest of password and hash: a hash that changes is another question. How many comparisons run at a time is
//! bounded, or guessing would take every processor, and so is how many wait; tenants and clients have their share of
//! both ([`turns`]), and tenants of the memory ([`memory`]).

mod memory;
mod turns;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use genkan_routing::policy::basic_auth::{PasswordHash, Users};
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::task;

use self::memory::{Digest, Memory};
pub(crate) use self::turns::Overloaded;
use self::turns::Turns;
use crate::filters::basic_auth::Credentials;
use crate::filters::basic_auth::hash;

/// Whether a password is right. Shows nobody the password.
pub(crate) struct Question {
    pub(crate) users: Arc<Users>,
    pub(crate) given: Credentials,
    /// The namespace of who asks the client.
    pub(crate) tenant: Arc<str>,
    pub(crate) client: IpAddr,
}

/// Compares passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    /// `None` where the system gives no random numbers: then nothing is remembered.
    key: Option<hmac::Key>,
    memory: Mutex<Memory>,
    turns: Arc<Turns>,
}

/// Some ten thousand users, who are a megabyte.
const MEMORY: memory::Limits = memory::Limits { of_tenant: 2048, in_all: 16384 };

impl Default for Passwords {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
            memory: Mutex::new(Memory::new(MEMORY)),
            turns: Arc::new(Turns::new(turns_of(processors))),
        }
    }
}

/// One processor of two goes on serving, however much is guessed. Behind a proxy that is not trusted everybody is one
/// client, so that many may wait.
fn turns_of(processors: usize) -> turns::Limits {
    let running = (processors / 2).max(1);
    turns::Limits {
        running,
        tenant_running: running.div_ceil(2),
        client_running: 2,
        waiting: 512,
        tenant_waiting: 128,
        client_waiting: 64,
        patience: Duration::from_secs(5),
    }
}

impl Passwords {
    /// Whether the password is the user's. For a user who does not exist it takes as long as for the one whose hash takes
    /// longest: only where hashes cost differently can it be told that a name exists, by an answer that comes sooner.
    pub(crate) async fn are_right(&self, question: Question, now: Instant) -> Result<bool, Overloaded> {
        let Question { users, given, tenant, client } = question;
        let own = users.hash(&given.user);
        let Some(hash) = own.or_else(|| users.costliest()) else { return Ok(false) };
        if !hash::is_slow(hash) {
            // Not worth remembering.
            return Ok(hash::matches(hash, &given.password) && own.is_some());
        }
        let digest = self.digest(hash, &given.password);
        let is_known = || digest.as_ref().is_some_and(|digest| self.memory.lock().knows(&tenant, digest, now));
        if is_known() {
            return Ok(own.is_some());
        }
        let turn = self.turns.take(&tenant, client).await?;
        // A page's requests come together, and the first of them has answered for all.
        let right = is_known() || {
            let hash = PasswordHash::clone(hash);
            let compared = task::spawn_blocking(move || {
                let right = hash::matches(&hash, &given.password);
                // Not before, also if nobody waits for the answer any more.
                drop(turn);
                right
            });
            // It ends early only if it panics, which is no yes.
            compared.await.unwrap_or(false)
        };
        // What is right of somebody who does not exist is remembered too, or one could tell by the second try.
        if let Some(digest) = digest.filter(|_| right) {
            self.memory.lock().note(&tenant, digest, now);
        }
        Ok(right && own.is_some())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn users(entries: &[(&str, &str)]) -> Arc<Users> {
        Arc::new(entries.iter().map(|(user, hash)| ((*user).to_owned(), PasswordHash::new(*hash))).collect())
    }

    fn question(users: &Arc<Users>, user: &str, password: &str) -> Question {
        Question {
            users: Arc::clone(users),
            given: Credentials { user: user.to_owned(), password: password.as_bytes().to_vec() },
            tenant: "default".into(),
            client: IpAddr::from([192, 0, 2, 1]),
        }
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
                ("eve", "other", false),
                ("", "", false),
            ] {
                assert_eq!(passwords.are_right(question(&users, user, password), now).await, Ok(right), "{user}");
            }
        }
        assert_eq!(passwords.are_right(question(&Arc::default(), "ada", "secret"), now).await, Ok(false));
    }

    #[tokio::test]
    async fn what_was_right_is_remembered_for_its_hash_alone_and_only_where_it_was_slow() {
        let (passwords, now) = (Passwords::default(), Instant::now());
        let known = |hash: &str, password: &[u8]| {
            let digest = passwords.digest(&PasswordHash::new(hash), password).unwrap();
            passwords.memory.lock().knows(&"default".into(), &digest, now)
        };
        let users = users(&[("ada", HASH), ("bob", "{PLAIN}other")]);
        for (user, password) in [("ada", "secret"), ("bob", "other"), ("ada", "guess")] {
            let _ = passwords.are_right(question(&users, user, password), now).await.unwrap();
        }
        assert!(known(HASH, b"secret") && !known("{PLAIN}other", b"other"));
        assert!(!known("{PLAIN}x", b"secret") && !known(HASH, b"guess"));
    }

    #[tokio::test]
    async fn who_is_known_does_not_wait_and_others_wait_in_vain_when_it_is_full() {
        let limits = turns::Limits { waiting: 0, ..turns_of(1) };
        let now = Instant::now();
        let mut passwords = Passwords::default();
        let users = users(&[("ada", HASH), ("bob", "{PLAIN}other")]);
        assert_eq!(passwords.are_right(question(&users, "ada", "secret"), now).await, Ok(true));
        passwords.turns = Arc::new(Turns::new(limits));
        for (user, password, right) in [
            ("ada", "secret", Ok(true)),
            ("ada", "guess", Err(Overloaded)),
            ("eve", "secret", Ok(false)),
            ("eve", "guess", Err(Overloaded)),
            ("bob", "guess", Ok(false)),
        ] {
            assert_eq!(passwords.are_right(question(&users, user, password), now).await, right, "{user} {password}");
        }
    }
}
