//! Body limit: the largest request body that is accepted (nginx `client_max_body_size`).

use serde::Serialize;

/// The largest request body in bytes; over it the answer is 413.
///
/// `Content-Length` is judged before anything else, a body without one while it streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BodyLimit(pub u64);
