//! Basic authentication: users and the hashes of their passwords (`auth-type: basic`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Who may pass with user and password (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// What browsers show beside their question.
    pub realm: String,
    /// Who is let in.
    pub users: Arc<Users>,
    /// Whether the backend sees the password too; ingress-nginx takes it away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forward_credentials: bool,
}

/// Users and hashes of their passwords. Shows nobody the hashes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Users(BTreeMap<String, PasswordHash>);

/// A password's hash as `htpasswd` writes it: `$2y$05$...`, `$apr1$...`, `$6$...`, `{SHA}...`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// How a password was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `$2y$`, `$2a$`, `$2b$`.
    Bcrypt,
    /// `$apr1$` of Apache and `$1$` of crypt: the same thousand rounds of MD5.
    Md5,
    /// `$5$` and `$6$`.
    ShaCrypt,
    /// `{SHA}` and `{SSHA}`: SHA-1 without and with salt.
    Sha1,
    /// `{PLAIN}`: none.
    Plain,
}

/// Why a hash lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Not one of [`Scheme`]. The oldest, of thirteen letters, knows eight letters of a password.
    #[error("is of no known kind: write one with `htpasswd -B`, which uses bcrypt")]
    Unknown,
    /// Every try would keep a processor busy for seconds.
    #[error("costs too much to check: bcrypt's cost may be {MAX_BCRYPT_COST} at most, the rounds of SHA {MAX_ROUNDS}")]
    TooCostly,
}

/// The highest cost of a bcrypt hash: about a second.
const MAX_BCRYPT_COST: u32 = 14;

/// The most rounds of a SHA hash: about as much.
const MAX_ROUNDS: u32 = 500_000;

impl Users {
    /// The hash of a user's password.
    pub fn hash(&self, user: &str) -> Option<&PasswordHash> {
        self.0.get(user)
    }

    /// Any hash, to be compared with when nobody has the user's name.
    pub fn any_hash(&self) -> Option<&PasswordHash> {
        self.0.values().next()
    }

    /// All hashes.
    pub fn hashes(&self) -> impl Iterator<Item = &PasswordHash> {
        self.0.values()
    }

    /// Whether nobody is let in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, PasswordHash)> for Users {
    /// Of several entries for one user the first counts, as for nginx.
    fn from_iter<I: IntoIterator<Item = (String, PasswordHash)>>(users: I) -> Self {
        let mut all = BTreeMap::new();
        for (user, hash) in users {
            all.entry(user).or_insert(hash);
        }
        Self(all)
    }
}

impl PasswordHash {
    /// A hash as it is written.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it is written. Not for logs.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// How it was made, if it can be compared with.
    pub fn scheme(&self) -> Result<Scheme, HashError> {
        let text = self.text();
        let number = |text: Option<&str>| text.and_then(|digits| digits.parse::<u32>().ok());
        let bounded = |cost: Option<u32>, most, scheme| match cost {
            Some(cost) if cost > most => Err(HashError::TooCostly),
            Some(_) => Ok(scheme),
            None => Err(HashError::Unknown),
        };
        if let Some(rest) = ["$2y$", "$2a$", "$2b$"].iter().find_map(|start| text.strip_prefix(start)) {
            return bounded(number(rest.split('$').next()), MAX_BCRYPT_COST, Scheme::Bcrypt);
        }
        if let Some(rest) = ["$5$", "$6$"].iter().find_map(|start| text.strip_prefix(start)) {
            let rounds = rest.strip_prefix("rounds=").map(|rest| number(rest.split('$').next()));
            return bounded(rounds.unwrap_or(Some(0)), MAX_ROUNDS, Scheme::ShaCrypt);
        }
        match text {
            _ if text.starts_with("$apr1$") || text.starts_with("$1$") => Ok(Scheme::Md5),
            _ if text.starts_with("{SHA}") || text.starts_with("{SSHA}") => Ok(Scheme::Sha1),
            _ if text.starts_with("{PLAIN}") => Ok(Scheme::Plain),
            _ => Err(HashError::Unknown),
        }
    }
}

/// The names alone: hashes are secrets, for they can be guessed at.
impl Serialize for Users {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.keys())
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_not_shown_and_the_first_entry_counts() {
        let users: Users = [("ada", "first"), ("ada", "second")]
            .map(|(user, hash)| (user.into(), PasswordHash::new(hash)))
            .into_iter()
            .collect();
        assert_eq!(users.hash("ada").unwrap().text(), "first");
        let shown = format!("{users:?} {:?}", users.any_hash());
        assert!(shown.contains("ada") && !shown.contains("first"), "{shown}");
    }
    #[test]
    fn hashes_that_are_unknown_or_cost_too_much_are_told() {
        for (text, expected) in [
            ("$2y$05$abc", Ok(Scheme::Bcrypt)),
            ("$2y$31$abc", Err(HashError::TooCostly)),
            ("$2y$x$abc", Err(HashError::Unknown)),
            ("$6$salt$abc", Ok(Scheme::ShaCrypt)),
            ("$5$rounds=500000$salt$abc", Ok(Scheme::ShaCrypt)),
            ("$5$rounds=999999999$salt$abc", Err(HashError::TooCostly)),
            ("$6$rounds=99999999999$salt$abc", Err(HashError::Unknown)),
            ("$1$salt$abc", Ok(Scheme::Md5)),
            ("{SSHA}abc", Ok(Scheme::Sha1)),
            ("rqXexS6ZhobKA", Err(HashError::Unknown)),
            ("", Err(HashError::Unknown)),
        ] {
            assert_eq!(PasswordHash::new(text).scheme(), expected, "{text}");
        }
    }
}
