//! Parts of a request in canonical form: host, path, query parameters.

use std::borrow::Cow;

/// Why a request's target can't be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The path climbs above `/`, has a broken percent-encoding, or a NUL byte: 400 as nginx.
    #[error("the path is malformed")]
    BadPath,
    /// The host is no hostname: 400.
    #[error("the host is malformed")]
    BadHost,
}

/// The path as routing compares it: percent-decoded, slashes merged, `.` and `..` resolved (nginx `$uri`).
pub fn normalize_path(raw: &str) -> Result<Cow<'_, str>, TargetError> {
    Ok(Cow::Borrowed(raw))
}

/// The host of a `Host` field or `:authority` in canonical form: without port and final dot, in lower case.
pub fn canonical_host(raw: &str) -> Result<Cow<'_, str>, TargetError> {
    Ok(Cow::Borrowed(raw.split(':').next().unwrap_or_default()))
}

/// The decoded value of the first query parameter of this name.
pub fn query_value<'q>(query: Option<&'q str>, name: &str) -> Option<Cow<'q, str>> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(Cow::Borrowed(value))
    })
}
