//! Why a match did not win, in plain words.

use super::RequestView;
use super::conditions::{header_value, path_fits};
use crate::model::{Match, PathMatch, ValueMatch};
use crate::request::query_value;

/// `prefix /api, method GET, header x-canary = "always", query v = "1"`.
pub(super) fn describe(matched: &Match) -> String {
    let mut text = match &matched.path {
        PathMatch::Exact(path) => format!("exact {path}"),
        PathMatch::Prefix(prefix) => format!("prefix {}", prefix.as_str()),
        PathMatch::Regex(pattern) => format!("regex {}", pattern.regex()),
    };
    if let Some(method) = &matched.method {
        text.push_str(&format!(", method {method}"));
    }
    for header in &matched.headers {
        text.push_str(&format!(", header {} {}", header.name, expected(&header.value)));
    }
    for query in &matched.query {
        text.push_str(&format!(", query {} {}", query.name, expected(&query.value)));
    }
    text
}

/// Why the match does not fit the request; `None` when it does.
pub(super) fn misfit(matched: &Match, request: &RequestView<'_>) -> Option<String> {
    path_misfit(&matched.path, request.path).or_else(|| condition_misfit(matched, request))
}

fn path_misfit(condition: &PathMatch, path: &str) -> Option<String> {
    if path_fits(condition, path) {
        return None;
    }
    Some(match condition {
        PathMatch::Exact(exact) => format!("path {exact} is not {path}"),
        PathMatch::Prefix(prefix) if prefix.as_str().strip_suffix('/') == Some(path) => {
            format!("prefix {} begins behind the slash that {path} lacks", prefix.as_str())
        }
        PathMatch::Prefix(prefix) if path.starts_with(prefix.as_str()) => {
            format!("prefix {} covers whole segments only, so not {path}", prefix.as_str())
        }
        PathMatch::Prefix(prefix) => format!("prefix {} does not cover {path}", prefix.as_str()),
        PathMatch::Regex(pattern) => format!("regex {} does not match {path}", pattern.regex()),
    })
}

fn condition_misfit(matched: &Match, request: &RequestView<'_>) -> Option<String> {
    if let Some(method) = matched.method.as_ref().filter(|method| *method != request.method) {
        return Some(format!("method is {}, not {method}", request.method));
    }
    let headers = matched.headers.iter().find_map(|condition| {
        value_misfit(
            "header",
            condition.name.as_str(),
            &condition.value,
            header_value(request.headers, &condition.name),
        )
    });
    headers.or_else(|| {
        matched.query.iter().find_map(|condition| {
            value_misfit("query", &condition.name, &condition.value, query_value(request.query, &condition.name))
        })
    })
}

fn value_misfit(
    kind: &str,
    name: &str,
    condition: &ValueMatch,
    value: Option<std::borrow::Cow<'_, str>>,
) -> Option<String> {
    match value {
        None => Some(format!("{kind} {name} is missing")),
        Some(value) if condition.matches(&value) => None,
        Some(value) => Some(format!("{kind} {name} is {value:?}, wanted {}", expected(condition))),
    }
}

fn expected(value: &ValueMatch) -> String {
    match value {
        ValueMatch::Exact(text) => format!("= {text:?}"),
        ValueMatch::Regex(pattern) => format!("~ {:?}", pattern.source()),
    }
}

/// Why a match that fits too comes after the winner of the same host, as far as their order tells.
pub(super) fn outranked(winner: &Match, loser: &Match) -> String {
    match (&winner.path, &loser.path) {
        (PathMatch::Prefix(long), PathMatch::Prefix(short)) if long.as_str().len() > short.as_str().len() => {
            format!("path {} is a shorter prefix than {}", short.as_str(), long.as_str())
        }
        (PathMatch::Exact(_), PathMatch::Prefix(_) | PathMatch::Regex(_)) => "an exact path goes before it".to_owned(),
        (PathMatch::Regex(_), PathMatch::Prefix(_)) => "a regular expression goes before prefixes".to_owned(),
        (PathMatch::Regex(long), PathMatch::Regex(short)) if long.source().len() > short.source().len() => {
            format!("regex {} is shorter than {}", short.source(), long.source())
        }
        (one, other) if one == other && conditions(winner) > conditions(loser) => {
            "the winner has the same path and more conditions".to_owned()
        }
        (one, other) if one == other => "an older rule owns this path".to_owned(),
        _ => "the winner comes earlier in the order of this host".to_owned(),
    }
}

fn conditions(matched: &Match) -> usize {
    usize::from(matched.method.is_some()) + matched.headers.len() + matched.query.len()
}
