//! Metrics of mirrored requests: what became of the copies.

use super::results::{Counts, Results};
use super::text::Text;

/// What became of a copy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorResult {
    /// It was sent and answered, whatever the answer.
    Answered,
    /// There was no endpoint, or the connection could not be made or broke.
    Failed,
    /// The answer did not come in time.
    Timeout,
    /// The endpoint took the body more slowly than the client sent it.
    Behind,
    /// The request itself ended before its body did.
    Incomplete,
    /// It was not sent, because too many are under way.
    TooMany,
}

impl Results for MirrorResult {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Answered, "answered"),
        (Self::Failed, "failed"),
        (Self::Timeout, "timeout"),
        (Self::Behind, "behind"),
        (Self::Incomplete, "incomplete"),
        (Self::TooMany, "too_many"),
    ];
}

pub(super) fn encode(counts: &Counts<MirrorResult>, text: &mut Text<'_>) {
    counts.encode(text, "genkan_mirrored_requests_total", "Copies of requests by what became of them.");
}
