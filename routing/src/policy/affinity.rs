//! Affinity: a client's requests stay with one endpoint (Gateway API session persistence).

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde::{Serialize, Serializer};

/// Keeps a client's requests with one endpoint by a token that the client carries. The token names backend and endpoint
/// by a keyed hash, so no replica needs to remember anything, and who holds one learns no address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Affinity {
    /// How the client carries the token.
    pub carrier: Carrier,
    /// The key of the hash: what sets the sessions of one rule or Service apart from all others. The same in every
    /// replica.
    pub key: Arc<str>,
    /// After this time since its first request a session is over; `None` is never.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::duration::serialize_option")]
    pub lifetime: Option<Duration>,
}

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
