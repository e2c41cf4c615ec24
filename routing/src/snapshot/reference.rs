//! The naive matcher: the specification of [`Snapshot::route`](super::Snapshot::route), by linear search.

use http::HeaderMap;

use super::{Matched, RequestView};
use crate::model::{Match, Model, PathMatch};
use crate::name::{HostPattern, ListenerId};

/// The first match in order: most specific section, most specific host, first match of the host.
pub(super) fn route<'m>(model: &'m Model, listener: &ListenerId, request: &RequestView<'_>) -> Option<Matched<'m>> {
    let listener = model.listeners.get(listener)?;
    let covering = || listener.sections.iter().filter(|section| section.hostname.matches(request.host));
    let best = covering().map(|section| specificity(&section.hostname)).max()?;
    let tables = || {
        covering()
            .filter(|section| specificity(&section.hostname) == best)
            .filter_map(|section| Some((section.settings.as_ref(), model.tables.get(&section.table)?)))
    };
    let mut hosts: Vec<_> = tables()
        .enumerate()
        .flat_map(|(order, (settings, table))| {
            table.hosts.iter().map(move |(pattern, host)| ((order, settings), pattern, host))
        })
        .filter(|(_, pattern, _)| pattern.matches(request.host))
        .collect();
    hosts.sort_by_key(|((order, _), pattern, _)| (std::cmp::Reverse(specificity(pattern)), *order));
    hosts.into_iter().find_map(|((_, settings), pattern, host)| {
        let matched = host.matches.iter().find(|matched| satisfies(matched, request))?;
        Some(Matched { host: pattern, matched, rule: model.rules.get(&matched.rule)?, settings })
    })
}

/// Greater is more specific.
pub(super) fn specificity(pattern: &HostPattern) -> (u8, usize) {
    match pattern {
        HostPattern::Exact(_) => (3, 0),
        HostPattern::OneLabel(_) => (2, 0),
        HostPattern::Suffix(suffix) => (1, suffix.as_str().len()),
        HostPattern::Any => (0, 0),
    }
}

fn satisfies(matched: &Match, request: &RequestView<'_>) -> bool {
    let path = match &matched.path {
        PathMatch::Exact(path) => path == request.path,
        PathMatch::Prefix(prefix) => prefix.matches(request.path),
        PathMatch::Regex(pattern) => pattern.regex().is_match(request.path),
    };
    path && matched.method.as_ref().is_none_or(|method| method == request.method)
        && matched.headers.iter().all(|condition| {
            joined(request.headers, &condition.name).is_some_and(|value| condition.value.matches(&value))
        })
        && matched.query.iter().all(|condition| {
            crate::request::query_value(request.query, &condition.name)
                .is_some_and(|value| condition.value.matches(&value))
        })
}

fn joined(headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    if values.is_empty() { None } else { Some(values.join(", ")) }
}
