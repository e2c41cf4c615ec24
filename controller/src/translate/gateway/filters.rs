//! Filters: those of rules and backends, parsed.
//!
//! A filter is never skipped: what is not understood or not supported is an error, and the caller lets the rule (or the
//! backend's share of it) answer 500.

use std::collections::BTreeSet;
use std::sync::Arc;

use genkan_routing::model::Filter;
use genkan_routing::name::Hostname;
use genkan_routing::policy::headers::HeaderOps;
use genkan_routing::policy::mirror::Share;
use genkan_routing::policy::redirect::{Redirect, RedirectTarget, Scheme, UrlChange};
use genkan_routing::policy::rewrite::{PathRewrite, Rewrite};
use http::{HeaderName, HeaderValue};

use super::cors::{self, CorsError};
use super::external_auth;
use super::filter_spec::{ExtensionSpec, FilterSpec, HeaderSpec, MirrorSpec, PathSpec, RedirectSpec, RewriteSpec};
use super::findings::Findings;
use super::policy;
use super::reason::{INCOMPATIBLE_FILTERS, UNSUPPORTED_VALUE};
use crate::resources::Kind;

/// The status of a redirect that names none (API default).
const DEFAULT_REDIRECT_STATUS: u16 = 302;

/// Where a filter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `rules[].filters`; `prefix` is whether all of the rule's matches are on a prefix.
    Rule {
        /// Only then `ReplacePrefixMatch` has a meaning.
        prefix: bool,
    },
    /// `rules[].backendRefs[].filters`.
    Backend {
        /// As for [`Place::Rule`].
        prefix: bool,
    },
}

/// Why a filter can't be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    /// A type that is not served at this place.
    #[error("filters of type {0} are not supported {1}")]
    Unsupported(&'static str, &'static str),
    /// The type's own field is missing.
    #[error("the field {0} is missing")]
    Missing(&'static str),
    /// A header that can't be changed so.
    #[error("{0:?} is not valid as {1} of a header")]
    Header(String, &'static str),
    /// The API calls such a filter invalid.
    #[error("several actions change the header {0}")]
    HeaderTwice(HeaderName),
    /// A hostname that is none.
    #[error("{0:?} is not a hostname")]
    Hostname(String),
    /// A path that is none.
    #[error("the path {0:?} must begin with '/' and have no query or control character")]
    Path(String),
    /// A number outside of its range.
    #[error("{0} {1} is not supported")]
    Number(&'static str, i64),
    /// A prefix is replaced that nothing matched.
    #[error("ReplacePrefixMatch needs PathPrefix in every match of the rule")]
    PrefixWithoutPrefix,
    /// See [`CorsError`].
    #[error(transparent)]
    Cors(#[from] CorsError),
    /// A share of requests that is none.
    #[error("{0}")]
    Share(&'static str),
    /// A reference to something that is no filter here.
    #[error("an extensionRef can't be of kind {0}")]
    Extension(String),
    /// The same type twice.
    #[error("a filter of type {0} is there twice")]
    Twice(&'static str),
    /// Both answer the question where the request goes.
    #[error("URLRewrite and RequestRedirect can't be combined")]
    RewriteAndRedirect,
}

impl FilterError {
    /// The reason of the route's condition.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Twice(_) | Self::RewriteAndRedirect => INCOMPATIBLE_FILTERS,
            _ => UNSUPPORTED_VALUE,
        }
    }
}

impl FilterError {
    fn extension(spec: &ExtensionSpec<'_>) -> Self {
        let kind = [spec.kind, spec.group].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
        Self::Extension(kind.join("."))
    }
}

impl ExtensionSpec<'_> {
    /// Whether it names a RoutePolicy.
    pub(super) fn is_policy(&self) -> bool {
        self.group == policy::GROUP && self.kind == Kind::RoutePolicy.as_str()
    }
}

impl Place {
    fn prefix(self) -> bool {
        match self {
            Self::Rule { prefix } | Self::Backend { prefix } => prefix,
        }
    }
}

/// All filters of a place, in the order in which they are written; or every error with the index of its filter. Mirrors
/// and authentication are judged, but what they refer to is for [`mirror`](super::mirror) and [`external_auth`] to find.
pub(crate) fn parse_all(specs: &[FilterSpec<'_>], place: Place) -> Result<Vec<Filter>, Vec<(usize, FilterError)>> {
    let mut errors = Vec::new();
    let mut filters = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let earlier = specs.iter().take(index);
        match parse(spec, place).and_then(|filter| compatible(spec, earlier).map(|()| filter)) {
            Ok(filter) => filters.extend(filter),
            Err(error) => errors.push((index, error)),
        }
    }
    if errors.is_empty() { Ok(filters) } else { Err(errors) }
}

/// Whether a filter may stand beside those before it.
fn compatible<'s>(
    spec: &FilterSpec<'_>,
    mut earlier: impl Iterator<Item = &'s FilterSpec<'s>> + Clone,
) -> Result<(), FilterError> {
    let may_repeat = matches!(spec, FilterSpec::Mirror(_) | FilterSpec::Extension(_));
    if !may_repeat && earlier.clone().any(|other| std::mem::discriminant(other) == std::mem::discriminant(spec)) {
        return Err(FilterError::Twice(spec.type_name()));
    }
    let conflicts = |other: &FilterSpec<'_>| {
        matches!(
            (spec, other),
            (FilterSpec::Rewrite(_), FilterSpec::Redirect(_)) | (FilterSpec::Redirect(_), FilterSpec::Rewrite(_))
        )
    };
    if earlier.any(conflicts) { Err(FilterError::RewriteAndRedirect) } else { Ok(()) }
}

fn parse(spec: &FilterSpec<'_>, place: Place) -> Result<Option<Filter>, FilterError> {
    Ok(Some(match (spec, place) {
        (FilterSpec::RequestHeaders(headers), _) => Filter::RequestHeaders(parse_headers(headers)?),
        (FilterSpec::ResponseHeaders(headers), _) => Filter::ResponseHeaders(parse_headers(headers)?),
        (FilterSpec::Rewrite(rewrite), _) => Filter::Rewrite(parse_rewrite(rewrite, place)?),
        (FilterSpec::Redirect(redirect), Place::Rule { .. }) => Filter::Redirect(parse_redirect(redirect, place)?),
        (FilterSpec::Cors(spec), Place::Rule { .. }) => Filter::Cors(Arc::new(cors::parse(spec)?)),
        (FilterSpec::Mirror(mirror), Place::Rule { .. }) => return parse_share(mirror).map(|_| None),
        (FilterSpec::ExternalAuth(auth), Place::Rule { .. }) => return external_auth::parse(auth).map(|_| None),
        // What it says is put to the rule with all that is said of it elsewhere.
        (FilterSpec::Extension(extension), Place::Rule { .. }) if extension.is_policy() => return Ok(None),
        (FilterSpec::Extension(extension), Place::Rule { .. }) => return Err(FilterError::extension(extension)),
        (
            FilterSpec::Redirect(_)
            | FilterSpec::Cors(_)
            | FilterSpec::Mirror(_)
            | FilterSpec::ExternalAuth(_)
            | FilterSpec::Extension(_),
            Place::Backend { .. },
        ) => return Err(FilterError::Unsupported(spec.type_name(), "on a backendRef")),
        (FilterSpec::Incomplete(field), _) => return Err(FilterError::Missing(field)),
    }))
}

/// The share of requests that a mirror gets.
pub(super) fn parse_share(spec: &MirrorSpec<'_>) -> Result<Share, FilterError> {
    let (numerator, denominator, wrong) = match (spec.percent, spec.fraction) {
        (None, None) => return Ok(Share::ALL),
        (Some(_), Some(_)) => return Err(FilterError::Share("percent and fraction can't be combined")),
        (Some(percent), None) => (percent, 100, "percent must be 0 to 100"),
        (None, Some((numerator, denominator))) => {
            (numerator, denominator.unwrap_or(100), "fraction must be a part of 1 or more, at most all of it")
        }
    };
    let share = u32::try_from(numerator).ok().zip(u32::try_from(denominator).ok());
    share.and_then(|(numerator, denominator)| Share::new(numerator, denominator)).ok_or(FilterError::Share(wrong))
}

fn parse_headers(spec: &HeaderSpec<'_>) -> Result<HeaderOps, FilterError> {
    let name = |text: &str| HeaderName::try_from(text).map_err(|_| FilterError::Header(text.to_owned(), "the name"));
    let value = |text: &str| HeaderValue::try_from(text).map_err(|_| FilterError::Header(text.to_owned(), "the value"));
    let fields = |list: &[(&str, &str)]| -> Result<Vec<_>, FilterError> {
        let mut fields: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(list.len());
        for (text, content) in list {
            let name = name(text)?;
            // Of entries of one list with one name only the first counts (`HTTPHeader.name`).
            if !fields.iter().any(|(present, _)| *present == name) {
                fields.push((name, value(content)?));
            }
        }
        Ok(fields)
    };
    let remove: Vec<_> = spec.remove.iter().map(|text| name(text)).collect::<Result<_, _>>()?;
    let ops = HeaderOps { remove, set: fields(&spec.set)?, add: fields(&spec.add)? };
    let mut changed = ops.set.iter().chain(&ops.add).map(|(name, _)| name).chain(&ops.remove);
    let mut seen = BTreeSet::new();
    match changed.find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(FilterError::HeaderTwice(name.clone())),
        None => Ok(ops),
    }
}

/// Tells of entries that do not count, as an earlier one of the same list has the name. `field`: whose filters they are.
pub(crate) fn tell_repeated(specs: &[FilterSpec<'_>], field: &str, findings: &mut Findings) {
    for (index, spec) in specs.iter().enumerate() {
        let (FilterSpec::RequestHeaders(headers) | FilterSpec::ResponseHeaders(headers)) = spec else { continue };
        for list in [&headers.set, &headers.add] {
            let mut seen = BTreeSet::new();
            for (name, _) in list.iter().filter(|(name, _)| !seen.insert(name.to_ascii_lowercase())) {
                let message = format!("the header {name} is there twice; only the first entry counts");
                let mend = "write several values in one entry, with commas";
                findings.warning(format!("{field}.filters[{index}]"), UNSUPPORTED_VALUE, message, mend);
            }
        }
    }
}

fn parse_rewrite(spec: &RewriteSpec<'_>, place: Place) -> Result<Rewrite, FilterError> {
    Ok(Rewrite {
        hostname: spec.hostname.map(parse_hostname).transpose()?,
        path: spec.path.map(|path| parse_path(path, place)).transpose()?,
    })
}

fn parse_redirect(spec: &RedirectSpec<'_>, place: Place) -> Result<Redirect, FilterError> {
    let status = match spec.status {
        None => DEFAULT_REDIRECT_STATUS,
        Some(status @ (301 | 302 | 303 | 307 | 308)) => u16::try_from(status).unwrap_or(DEFAULT_REDIRECT_STATUS),
        Some(status) => return Err(FilterError::Number("statusCode", status)),
    };
    let port = match spec.port {
        None => None,
        Some(port) => match u16::try_from(port) {
            Ok(port) if port > 0 => Some(port),
            _ => return Err(FilterError::Number("port", port.into())),
        },
    };
    let change = UrlChange {
        scheme: spec.https.map(|https| if https { Scheme::Https } else { Scheme::Http }),
        hostname: spec.hostname.map(parse_hostname).transpose()?,
        port,
        path: spec.path.map(|path| parse_path(path, place)).transpose()?,
    };
    Ok(Redirect { status, to: RedirectTarget::Url(change) })
}

fn parse_hostname(text: &str) -> Result<Hostname, FilterError> {
    Hostname::parse(text).map_err(|_| FilterError::Hostname(text.to_owned()))
}

fn parse_path(path: PathSpec<'_>, place: Place) -> Result<PathRewrite, FilterError> {
    let check = |text: &str| {
        let clean = !text.chars().any(|c| c.is_control() || matches!(c, '?' | '#' | ' '));
        if clean { Ok(text.to_owned()) } else { Err(FilterError::Path(text.to_owned())) }
    };
    match path {
        PathSpec::Full(None) => Err(FilterError::Missing("replaceFullPath")),
        PathSpec::Prefix(None) => Err(FilterError::Missing("replacePrefixMatch")),
        PathSpec::Full(Some(text)) if !text.starts_with('/') => Err(FilterError::Path(text.to_owned())),
        PathSpec::Full(Some(text)) => Ok(PathRewrite::Full(check(text)?)),
        PathSpec::Prefix(Some(_)) if !place.prefix() => Err(FilterError::PrefixWithoutPrefix),
        // An empty text takes the prefix away (`ReplacePrefixMatch`, table of examples).
        PathSpec::Prefix(Some(text)) if !(text.is_empty() || text.starts_with('/')) => {
            Err(FilterError::Path(text.to_owned()))
        }
        PathSpec::Prefix(Some(text)) => Ok(PathRewrite::Prefix(check(text)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::backend::Reference;
    use super::*;

    const RULE: Place = Place::Rule { prefix: true };

    fn redirect(spec: RedirectSpec<'_>) -> Result<Vec<Filter>, Vec<(usize, FilterError)>> {
        parse_all(&[FilterSpec::Redirect(spec)], RULE)
    }

    #[test]
    fn a_redirect_without_a_status_is_302() {
        let filters = redirect(RedirectSpec::default()).unwrap();
        assert!(matches!(filters.as_slice(), [Filter::Redirect(Redirect { status: 302, .. })]));
    }

    #[test]
    fn unknown_statuses_and_ports_are_refused() {
        for status in [200, 300, 304, 309, 65_837, -1] {
            let spec = RedirectSpec { status: Some(status), ..RedirectSpec::default() };
            assert_eq!(redirect(spec), Err(vec![(0, FilterError::Number("statusCode", status))]));
        }
        for port in [0, -1, 65_536] {
            assert!(redirect(RedirectSpec { port: Some(port), ..RedirectSpec::default() }).is_err(), "{port}");
        }
    }

    #[test]
    fn a_prefix_is_replaced_only_where_one_matched() {
        let path = Some(PathSpec::Prefix(Some("/x")));
        let rewrite = FilterSpec::Rewrite(RewriteSpec { hostname: None, path });
        assert!(parse_all(std::slice::from_ref(&rewrite), RULE).is_ok());
        let place = Place::Rule { prefix: false };
        assert_eq!(parse_all(&[rewrite], place), Err(vec![(0, FilterError::PrefixWithoutPrefix)]));
    }

    #[test]
    fn rewrite_and_redirect_together_are_incompatible() {
        let specs = [FilterSpec::Rewrite(RewriteSpec::default()), FilterSpec::Redirect(RedirectSpec::default())];
        let errors = parse_all(&specs, RULE).unwrap_err();
        assert_eq!(errors, [(1, FilterError::RewriteAndRedirect)]);
        assert_eq!(errors[0].1.reason(), INCOMPATIBLE_FILTERS);
    }

    #[test]
    fn a_type_may_be_there_once() {
        let headers = || FilterSpec::RequestHeaders(HeaderSpec::default());
        let errors = parse_all(&[headers(), headers()], RULE).unwrap_err();
        assert_eq!(errors, [(1, FilterError::Twice("RequestHeaderModifier"))]);
    }

    fn mirror(percent: Option<i32>, fraction: Option<(i32, Option<i32>)>) -> FilterSpec<'static> {
        let backend = Reference { group: None, kind: None, namespace: None, name: "web", port: Some(80) };
        FilterSpec::Mirror(MirrorSpec { backend, percent, fraction })
    }

    #[test]
    fn mirrors_may_be_several_but_not_on_a_backend() {
        let specs = [mirror(None, None), mirror(Some(0), None), mirror(None, Some((1, None)))];
        assert_eq!(parse_all(&specs, RULE), Ok(Vec::new()));
        assert!(parse_all(&specs[..1], Place::Backend { prefix: true }).is_err());
    }

    #[test]
    fn a_share_that_is_none_is_refused() {
        for (percent, fraction) in [
            (Some(101), None),
            (Some(-1), None),
            (Some(50), Some((1, Some(2)))),
            (None, Some((3, Some(2)))),
            (None, Some((0, Some(0)))),
            (None, Some((-1, None))),
        ] {
            assert!(parse_all(&[mirror(percent, fraction)], RULE).is_err(), "{percent:?} {fraction:?}");
        }
    }

    #[test]
    fn of_repeated_header_names_the_first_counts() {
        let spec = HeaderSpec { set: vec![("X-A", "1"), ("x-a", "2"), ("x-b", "3")], ..HeaderSpec::default() };
        let ops = parse_headers(&spec).unwrap();
        let set: Vec<_> = ops.set.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(set, [("x-a", "1"), ("x-b", "3")]);
    }

    #[test]
    fn one_header_has_one_action() {
        let remove = &["x-a".to_owned()];
        for spec in [
            HeaderSpec { set: vec![("X-A", "1")], remove, ..HeaderSpec::default() },
            HeaderSpec { set: vec![("X-A", "1")], add: vec![("x-a", "2")], ..HeaderSpec::default() },
            HeaderSpec { add: vec![("X-A", "1")], remove, ..HeaderSpec::default() },
        ] {
            assert!(matches!(parse_headers(&spec), Err(FilterError::HeaderTwice(_))));
        }
    }

    #[test]
    fn header_values_cannot_carry_line_breaks() {
        let spec = HeaderSpec { add: vec![("x-a", "1\r\nx-b: 2")], ..HeaderSpec::default() };
        assert!(matches!(parse_headers(&spec), Err(FilterError::Header(_, "the value"))));
    }

    #[test]
    fn a_backend_cannot_redirect() {
        let specs = [FilterSpec::Redirect(RedirectSpec::default())];
        assert!(parse_all(&specs, Place::Backend { prefix: true }).is_err());
    }
}
