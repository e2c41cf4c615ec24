//! The conditions of a match besides its path: method, header fields, query parameters.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

use super::RequestView;
use crate::model::{Match, PathMatch};
use crate::request::query_value;

/// Whether everything but the path holds.
pub(super) fn hold(matched: &Match, request: &RequestView<'_>) -> bool {
    matched.method.as_ref().is_none_or(|method| method == request.method)
        && matched.headers.iter().all(|condition| {
            header_value(request.headers, &condition.name).is_some_and(|value| condition.value.matches(&value))
        })
        && matched.query.iter().all(|condition| {
            query_value(request.query, &condition.name).is_some_and(|value| condition.value.matches(&value))
        })
}

/// Whether the path is covered.
pub(super) fn path_fits(condition: &PathMatch, path: &str) -> bool {
    match condition {
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) => prefix.matches(path),
        PathMatch::Regex(pattern) => pattern.regex().is_match(path),
    }
}

/// The value of a field; several of the name are joined with `, `. Borrowed when there is one and it is UTF-8.
pub(super) fn header_value<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Cow<'h, str>> {
    let mut values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let first = values.next()?;
    Some(values.fold(first, |joined, value| Cow::Owned(format!("{joined}, {value}"))))
}
