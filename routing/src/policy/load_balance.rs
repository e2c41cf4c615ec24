//! Load balancing: which endpoint of a cluster serves a request (`load-balance`, `upstream-hash-by`).

use http::HeaderName;
use serde::{Serialize, Serializer};

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LoadBalance {
    /// In turn, from a random start.
    #[default]
    RoundRobin,
    /// The fewest requests under way, of two random endpoints.
    LeastConnections,
    /// Lowest peak-sensitive moving average of latency (decay 10 s), of two random endpoints.
    PeakEwma,
    /// Consistent hash of a key: a changed endpoint moves only its share of keys.
    ConsistentHash(HashKey),
}

/// What a consistent hash is taken of. Missing values hash as empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HashKey {
    /// The client's address.
    ClientAddress,
    /// The request's path and query.
    RequestUri,
    /// The request's host.
    Host,
    /// The value of a request header.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
}

impl Serialize for HashKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::ClientAddress => serializer.serialize_str("clientAddress"),
            Self::RequestUri => serializer.serialize_str("requestUri"),
            Self::Host => serializer.serialize_str("host"),
            Self::Header(name) => serializer.collect_str(&format_args!("header:{name}")),
            Self::Cookie(name) => serializer.collect_str(&format_args!("cookie:{name}")),
        }
    }
}
