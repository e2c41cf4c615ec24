//! Replies of Genkan's own: redirects, refusals, preflights, error pages.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// A complete response that no backend made.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: StatusCode,
    /// The header fields; `Content-Length` is added when it is written.
    pub(crate) headers: HeaderMap,
    /// The body; left out for HEAD.
    pub(crate) body: Bytes,
}
