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

/// Users and hashes of their passwords. Shows nobody the hashes, and not the names but their number: it may not be for
/// everybody who sees a dump or a log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Users {
    hashes: BTreeMap<String, PasswordHash>,
    costliest: Option<PasswordHash>,
}

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
    /// It is cut off, or has letters that no hash of its kind has.
    #[error("is not whole: write one with `htpasswd -B`")]
    Malformed,
    /// Every try would keep a processor busy for seconds.
    #[error("costs too much to check: bcrypt's cost may be {MAX_BCRYPT_COST} at most, the rounds of SHA {MAX_ROUNDS}")]
    TooCostly,
}

/// The highest cost of a bcrypt hash: about a second.
const MAX_BCRYPT_COST: u32 = 14;

/// The most rounds of a SHA hash: about as much.
const MAX_ROUNDS: u32 = 500_000;

/// Bytes.
const SHA1_LENGTH: usize = 20;

impl Users {
    /// The hash of a user's password.
    pub fn hash(&self, user: &str) -> Option<&PasswordHash> {
        self.hashes.get(user)
    }

    /// The hash that takes longest, to be compared with when nobody has the user's name.
    pub fn costliest(&self) -> Option<&PasswordHash> {
        self.costliest.as_ref()
    }

    /// All hashes.
    pub fn hashes(&self) -> impl Iterator<Item = &PasswordHash> {
        self.hashes.values()
    }

    /// Whether nobody is let in.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

impl FromIterator<(String, PasswordHash)> for Users {
    /// Of several entries for one user the first counts, as for nginx.
    fn from_iter<I: IntoIterator<Item = (String, PasswordHash)>>(users: I) -> Self {
        let mut all = BTreeMap::new();
        for (user, hash) in users {
            all.entry(user).or_insert(hash);
        }
        let costliest = all.values().max_by_key(|hash| hash.cost()).cloned();
        Self { hashes: all, costliest }
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
        let after = |starts: &[&str]| starts.iter().find_map(|start| text.strip_prefix(start));
        let sound = |is_sound, scheme| if is_sound { Ok(scheme) } else { Err(HashError::Malformed) };
        if let Some(rest) = after(&["$2y$", "$2a$", "$2b$"]) {
            let cost = bcrypt_cost(rest).ok_or(HashError::Malformed)?;
            return if cost > MAX_BCRYPT_COST { Err(HashError::TooCostly) } else { Ok(Scheme::Bcrypt) };
        }
        for (start, length) in [("$5$", 43), ("$6$", 86)] {
            if let Some(rest) = text.strip_prefix(start) {
                let rounds = sha_rounds(rest, length).ok_or(HashError::Malformed)?;
                return if rounds > MAX_ROUNDS { Err(HashError::TooCostly) } else { Ok(Scheme::ShaCrypt) };
            }
        }
        if let Some(rest) = after(&["$apr1$", "$1$"]) {
            return sound(is_salted(rest, 22), Scheme::Md5);
        }
        if let Some(rest) = text.strip_prefix("{SHA}") {
            return sound(decoded_length(rest) == Some(SHA1_LENGTH), Scheme::Sha1);
        }
        if let Some(rest) = text.strip_prefix("{SSHA}") {
            return sound(decoded_length(rest).is_some_and(|length| length >= SHA1_LENGTH), Scheme::Sha1);
        }
        if text.starts_with("{PLAIN}") { Ok(Scheme::Plain) } else { Err(HashError::Unknown) }
    }

    /// About how long a comparison takes, in microseconds.
    fn cost(&self) -> u64 {
        let text = self.text();
        match self.scheme() {
            Ok(Scheme::Bcrypt) => text.get(4..).and_then(bcrypt_cost).map_or(0, |cost| 60 << cost.min(40)),
            Ok(Scheme::ShaCrypt) => {
                let length = if text.starts_with("$5$") { 43 } else { 86 };
                text.get(3..).and_then(|rest| sha_rounds(rest, length)).map_or(0, u64::from)
            }
            Ok(Scheme::Md5) => 300,
            Ok(Scheme::Sha1 | Scheme::Plain) | Err(_) => 0,
        }
    }
}

/// Of `05$` with salt and hash, 53 letters together.
fn bcrypt_cost(text: &str) -> Option<u32> {
    let (cost, rest) = text.split_once('$')?;
    let cost = cost.parse().ok().filter(|number| cost.len() == 2 && (4..=31).contains(number))?;
    (rest.len() == 53 && rest.bytes().all(is_crypt)).then_some(cost)
}

/// Of `rounds=5000$`, which need not be there, with salt and a hash of this length.
fn sha_rounds(text: &str, length: usize) -> Option<u32> {
    let (rounds, rest) = match text.strip_prefix("rounds=") {
        Some(written) => {
            let (rounds, rest) = written.split_once('$')?;
            (rounds.parse().ok().filter(|rounds| *rounds >= 1000)?, rest)
        }
        None => (5000, text),
    };
    is_salted(rest, length).then_some(rounds)
}

/// Whether this is a salt, `$` and a hash of this length.
fn is_salted(text: &str, length: usize) -> bool {
    let parts = text.split_once('$');
    parts.is_some_and(|(salt, hash)| {
        !salt.is_empty() && salt.bytes().all(is_crypt) && hash.len() == length && hash.bytes().all(is_crypt)
    })
}

/// The letters of crypt's own base 64, and of bcrypt's.
fn is_crypt(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/')
}

/// How many bytes a text in base 64 stands for.
fn decoded_length(text: &str) -> Option<usize> {
    let letters = text.trim_end_matches('=');
    let padding = text.len() - letters.len();
    let is_sound = text.len().is_multiple_of(4)
        && padding <= 2
        && letters.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    is_sound.then(|| text.len() / 4 * 3 - padding)
}

impl Serialize for Users {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.hashes.len() as u64)
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.hashes.len())
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

    const MD5: &str = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/";
    const SHA: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

    fn bcrypt(cost: &str) -> String {
        format!("$2y${cost}$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a")
    }

    fn sha256(rounds: &str) -> String {
        format!("$5${rounds}abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.")
    }

    fn users(entries: &[(&str, &str)]) -> Users {
        entries.iter().map(|(user, hash)| ((*user).to_owned(), PasswordHash::new(*hash))).collect()
    }

    #[test]
    fn names_and_hashes_are_not_shown_and_the_first_entry_counts() {
        let users = users(&[("ada", "first"), ("ada", "second")]);
        assert_eq!(users.hash("ada").unwrap().text(), "first");
        assert_eq!(format!("{users:?} {:?}", users.costliest()), "Users(1) Some(PasswordHash(..))");
    }

    #[test]
    fn who_is_nobody_is_compared_with_the_costliest_hash() {
        let (slow, slower) = (bcrypt("05"), bcrypt("06"));
        let rounds = sha256("rounds=1000$");
        let costliest = |hashes: &[&str]| {
            let entries: Vec<_> = hashes.iter().enumerate().map(|(n, hash)| (n.to_string(), *hash)).collect();
            let entries: Vec<_> = entries.iter().map(|(user, hash)| (user.as_str(), *hash)).collect();
            users(&entries).costliest().unwrap().text().to_owned()
        };
        assert_eq!(costliest(&[SHA, &slower, MD5, &slow, &rounds]), slower);
        assert_eq!(costliest(&[MD5, &rounds, SHA]), rounds);
        assert_eq!(costliest(&["{PLAIN}a", MD5, SHA]), MD5);
        assert_eq!(Users::default().costliest(), None);
    }

    #[test]
    fn hashes_that_are_unknown_or_broken_or_cost_too_much_are_told() {
        use HashError::{Malformed, TooCostly, Unknown};
        let sha512 =
            "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.";
        for (text, expected) in [
            (bcrypt("05").as_str(), Ok(Scheme::Bcrypt)),
            (&bcrypt("31"), Err(TooCostly)),
            (&bcrypt("x"), Err(Malformed)),
            (&bcrypt("5"), Err(Malformed)),
            (&bcrypt("99"), Err(Malformed)),
            ("$2y$05$short", Err(Malformed)),
            (sha512, Ok(Scheme::ShaCrypt)),
            (&sha512[..sha512.len() - 1], Err(Malformed)),
            (&sha256(""), Ok(Scheme::ShaCrypt)),
            (&sha256("rounds=500000$"), Ok(Scheme::ShaCrypt)),
            (&sha256("rounds=999999999$"), Err(TooCostly)),
            (&sha256("rounds=99999999999$"), Err(Malformed)),
            (&sha256("rounds=10$"), Err(Malformed)),
            (&sha256("$"), Err(Malformed)),
            (MD5, Ok(Scheme::Md5)),
            ("$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1", Ok(Scheme::Md5)),
            ("$apr1$x", Err(Malformed)),
            ("$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ!", Err(Malformed)),
            (SHA, Ok(Scheme::Sha1)),
            ("{SHA}??", Err(Malformed)),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfRhYmM=", Err(Malformed)),
            ("{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0", Ok(Scheme::Sha1)),
            ("{SSHA}abc=", Err(Malformed)),
            ("{PLAIN}", Ok(Scheme::Plain)),
            ("rqXexS6ZhobKA", Err(Unknown)),
            ("", Err(Unknown)),
        ] {
            assert_eq!(PasswordHash::new(text).scheme(), expected, "{text}");
        }
    }
}
