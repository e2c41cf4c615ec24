//! Buffering: how much of requests and responses is held in memory between clients and backends
//! (`proxy-request-buffering`, `proxy-buffering`). Nothing is ever written to disk.

use serde::Serialize;

/// The most bytes that may be held of one request or response.
pub const MOST: u64 = 64 << 20;

/// What is held. Calls of gRPC and upgrades never are: both sides talk at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Buffering {
    /// Bodies of requests; `None` passes them on as they come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestBuffering>,
    /// Bodies of responses; `None` takes them from the backend as slowly as the client takes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<ResponseBuffering>,
}

/// A request's body is read as a whole before a backend is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestBuffering {
    /// The most bytes of a body.
    pub max_size: u64,
    /// What becomes of one that is larger, or for which the process has no memory.
    pub otherwise: Otherwise,
}

/// What becomes of a body that can't be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Otherwise {
    /// It is refused: 413 if it is too large, 503 without memory.
    Refuse,
    /// It is passed on as it comes, behind what was read of it.
    Stream,
}

/// A response's body is read ahead of a client that is slower than the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseBuffering {
    /// The most bytes that wait for the client.
    pub max_size: u64,
}

impl Buffering {
    /// Whether anything is held.
    pub fn acts(&self) -> bool {
        self.request.is_some() || self.response.is_some()
    }
}
