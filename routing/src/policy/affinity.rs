//! Affinity: a client's requests stay with one endpoint (Gateway API session persistence).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde::{Serialize, Serializer};

/// Keeps a client's requests with one endpoint by a token that the client carries. The token names backend and endpoint
/// by a keyed hash, so no replica needs to remember anything, and who holds one but not the key learns no address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Affinity {
    /// How the client carries the token.
    pub carrier: Carrier,
    /// The key of the hash. The same in every replica.
    pub key: SessionKey,
    /// After this time since its first request a session is over; `None` is never.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::duration::serialize_option")]
    pub lifetime: Option<Duration>,
}

/// What sets the sessions of one rule or policy apart from all others. Whoever has it can find the endpoint of a token by
/// trying, and make tokens of his own; so it is never printed. It is as secret as what it is made of: the object's uid,
/// which those see who may read the object, and without a uid (files) nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionKey(Arc<str>);

/// How a client carries the token of its session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Carrier {
    /// In a cookie that browsers send back by themselves.
    Cookie(AffinityCookie),
    /// In a field that the client repeats in its requests.
    #[serde(serialize_with = "serialize_name")]
    Header(HeaderName),
}

/// The cookie of a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AffinityCookie {
    /// Its name, a token (RFC 6265, section 4.1.1).
    pub name: Arc<str>,
    /// Whether it outlives the browser, for the session's lifetime.
    pub permanent: bool,
    /// Whether its `Path` is that of the match, so that rules of several paths don't share it. Otherwise there is none.
    pub path_of_match: bool,
}

fn serialize_name<S: Serializer>(name: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

impl SessionKey {
    /// What the hash is keyed with.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<&str> for SessionKey {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for SessionKey {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for SessionKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_printed() {
        let key = SessionKey::from("the uid of a route");
        assert_eq!(format!("{key:?}"), "***");
        let affinity = Affinity { carrier: Carrier::Header(http::header::COOKIE), key, lifetime: None };
        assert!(!format!("{affinity:?}").contains("uid"));
    }
}
