//! Matches: the conditions of an HTTPRoute rule (`HTTPRouteMatch`), parsed.

use gateway_api::apis::experimental::httproutes::{
    HttpRouteRulesMatches, HttpRouteRulesMatchesHeaders, HttpRouteRulesMatchesHeadersType, HttpRouteRulesMatchesMethod,
    HttpRouteRulesMatchesPath, HttpRouteRulesMatchesPathType, HttpRouteRulesMatchesQueryParams,
    HttpRouteRulesMatchesQueryParamsType,
};
use genkan_routing::model::{HeaderMatch, Match, PathMatch, PathPrefix, QueryMatch, ValueMatch};
use genkan_routing::name::RuleId;
use genkan_routing::policy::pattern::{Pattern, PatternError};
use genkan_routing::request::normalize_path;
use http::{HeaderName, Method};

use super::findings::Findings;
use super::reason::UNSUPPORTED_VALUE;

/// Why a path can't be matched (the rules of `HTTPPathMatch`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// Not absolute.
    #[error("a path must begin with '/'")]
    NotAbsolute,
    /// A request's path never has it once it is normalized.
    #[error("a path with {0:?} never matches: paths are compared after they were normalized")]
    NeverMatches(&'static str),
    /// `?` or `#`: not part of a path.
    #[error("{0:?} is not part of a path; a query is matched with queryParams")]
    NotPath(char),
    /// Broken percent-encoding and the like.
    #[error("the path is malformed")]
    Malformed,
    /// The expression was refused.
    #[error("the regular expression is refused: {0}")]
    Pattern(#[from] PatternError),
}

/// A condition on a header, as routes of every kind write it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderSpec<'s> {
    pub(crate) name: &'s str,
    pub(crate) value: &'s str,
    /// Whether `value` is an expression.
    pub(crate) regex: bool,
}

impl<'s> From<&'s HttpRouteRulesMatchesHeaders> for HeaderSpec<'s> {
    fn from(header: &'s HttpRouteRulesMatchesHeaders) -> Self {
        let regex = matches!(header.r#type, Some(HttpRouteRulesMatchesHeadersType::RegularExpression));
        Self { name: &header.name, value: &header.value, regex }
    }
}

/// Parses one match; `None` when part of it is not understood. A match that lost a condition would serve requests
/// that it was not written for, so it is left out as a whole.
pub(crate) fn parse(
    matched: &HttpRouteRulesMatches,
    rule: &RuleId,
    field: &str,
    findings: &mut Findings,
) -> Option<Match> {
    let mend = "without it this match serves nothing; the rule's other matches do";
    let path = parse_path(matched.path.as_ref()).map_err(|error| {
        findings.error(format!("{field}.path"), UNSUPPORTED_VALUE, error.to_string(), mend);
    });
    let headers = matched.headers.iter().flatten().map(HeaderSpec::from);
    let headers = parse_headers(headers).map_err(|(index, error)| {
        findings.error(format!("{field}.headers[{index}]"), UNSUPPORTED_VALUE, error, mend);
    });
    let query = parse_query(matched.query_params.as_deref().unwrap_or_default()).map_err(|(index, error)| {
        findings.error(format!("{field}.queryParams[{index}]"), UNSUPPORTED_VALUE, error, mend);
    });
    Some(Match {
        path: path.ok()?,
        method: matched.method.as_ref().map(parse_method),
        headers: headers.ok()?,
        query: query.ok()?,
        rule: rule.clone(),
    })
}

/// The match of a rule without matches: every request (`HTTPRouteRule.matches`).
pub(crate) fn everything(rule: &RuleId) -> Match {
    Match { path: every_path(), method: None, headers: Vec::new(), query: Vec::new(), rule: rule.clone() }
}

/// Matches every path.
pub(crate) fn every_path() -> PathMatch {
    // "/" is absolute, so the fallback is never taken; an exact "/" would only serve less.
    PathPrefix::parse("/").map_or_else(|_| PathMatch::Exact("/".to_owned()), PathMatch::Prefix)
}

/// Whether the match is on a prefix, by default too: only then `ReplacePrefixMatch` has a meaning.
pub(crate) fn is_prefix(matched: &HttpRouteRulesMatches) -> bool {
    let kind = matched.path.as_ref().and_then(|path| path.r#type.as_ref());
    matches!(kind, None | Some(HttpRouteRulesMatchesPathType::PathPrefix))
}

fn parse_path(path: Option<&HttpRouteRulesMatchesPath>) -> Result<PathMatch, PathError> {
    let value = path.and_then(|path| path.value.as_deref()).unwrap_or("/");
    match path.and_then(|path| path.r#type.as_ref()) {
        Some(HttpRouteRulesMatchesPathType::RegularExpression) => Ok(PathMatch::Regex(Pattern::full(value)?)),
        Some(HttpRouteRulesMatchesPathType::Exact) => Ok(PathMatch::Exact(canonical_path(value)?)),
        None | Some(HttpRouteRulesMatchesPathType::PathPrefix) => {
            let path = canonical_path(value)?;
            // `/foo/` means `/foo` ("a trailing / is ignored").
            let trimmed = path.trim_end_matches('/');
            let prefix = PathPrefix::parse(if trimmed.is_empty() { "/" } else { trimmed });
            Ok(PathMatch::Prefix(prefix.map_err(|_| PathError::NotAbsolute)?))
        }
    }
}

/// A path as requests' paths are compared: percent-decoded. Refused are the texts that `HTTPPathMatch` refuses.
fn canonical_path(value: &str) -> Result<String, PathError> {
    if !value.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if let Some(bad) = value.chars().find(|c| matches!(c, '?' | '#')) {
        return Err(PathError::NotPath(bad));
    }
    for never in ["//", "/./", "/../", "%2f", "%2F"] {
        if value.contains(never) {
            return Err(PathError::NeverMatches(never));
        }
    }
    for never in ["/.", "/.."] {
        if value.ends_with(never) {
            return Err(PathError::NeverMatches(never));
        }
    }
    normalize_path(value).map(|path| path.into_owned()).map_err(|_| PathError::Malformed)
}

/// The conditions on headers; of several for one name only the first counts. On error: which one, and why.
pub(crate) fn parse_headers<'s>(
    headers: impl Iterator<Item = HeaderSpec<'s>>,
) -> Result<Vec<HeaderMatch>, (usize, String)> {
    let mut conditions: Vec<HeaderMatch> = Vec::new();
    for (index, header) in headers.enumerate() {
        let name = HeaderName::try_from(header.name)
            .map_err(|_| (index, format!("{:?} is no name of a header", header.name)))?;
        if conditions.iter().any(|condition| condition.name == name) {
            continue;
        }
        let value = parse_value(header.value, header.regex).map_err(|error| (index, error))?;
        conditions.push(HeaderMatch { name, value });
    }
    Ok(conditions)
}

/// The conditions on query parameters; of several for one name only the first counts. On error: which one, and why.
fn parse_query(params: &[HttpRouteRulesMatchesQueryParams]) -> Result<Vec<QueryMatch>, (usize, String)> {
    let mut conditions: Vec<QueryMatch> = Vec::new();
    for (index, param) in params.iter().enumerate() {
        if conditions.iter().any(|condition| condition.name == param.name) {
            continue;
        }
        let regex = matches!(param.r#type, Some(HttpRouteRulesMatchesQueryParamsType::RegularExpression));
        let value = parse_value(&param.value, regex).map_err(|error| (index, error))?;
        conditions.push(QueryMatch { name: param.name.clone(), value });
    }
    Ok(conditions)
}

fn parse_value(value: &str, regex: bool) -> Result<ValueMatch, String> {
    if !regex {
        return Ok(ValueMatch::Exact(value.to_owned()));
    }
    Pattern::full(value).map(ValueMatch::Regex).map_err(|error| PathError::from(error).to_string())
}

fn parse_method(method: &HttpRouteRulesMatchesMethod) -> Method {
    match method {
        HttpRouteRulesMatchesMethod::Get => Method::GET,
        HttpRouteRulesMatchesMethod::Head => Method::HEAD,
        HttpRouteRulesMatchesMethod::Post => Method::POST,
        HttpRouteRulesMatchesMethod::Put => Method::PUT,
        HttpRouteRulesMatchesMethod::Delete => Method::DELETE,
        HttpRouteRulesMatchesMethod::Connect => Method::CONNECT,
        HttpRouteRulesMatchesMethod::Options => Method::OPTIONS,
        HttpRouteRulesMatchesMethod::Trace => Method::TRACE,
        HttpRouteRulesMatchesMethod::Patch => Method::PATCH,
    }
}

#[cfg(test)]
mod tests {
    use genkan_routing::name::ObjectRef;

    use super::*;

    fn path(kind: HttpRouteRulesMatchesPathType, value: &str) -> Result<PathMatch, PathError> {
        parse_path(Some(&HttpRouteRulesMatchesPath { r#type: Some(kind), value: Some(value.to_owned()) }))
    }

    fn header(name: &str, value: &str) -> HttpRouteRulesMatchesHeaders {
        HttpRouteRulesMatchesHeaders { name: name.to_owned(), value: value.to_owned(), r#type: None }
    }

    #[test]
    fn a_prefix_ignores_its_final_slash() {
        for (value, expected) in [("/foo/", "/foo"), ("/foo", "/foo"), ("/", "/")] {
            let prefix = PathPrefix::parse(expected).unwrap();
            assert_eq!(path(HttpRouteRulesMatchesPathType::PathPrefix, value), Ok(PathMatch::Prefix(prefix)));
        }
    }

    #[test]
    fn paths_that_no_request_has_are_refused() {
        for value in ["foo", "", "/a//b", "/a/./b", "/a/../b", "/a%2fb", "/a/..", "/a/.", "/a?b", "/a#b"] {
            assert!(path(HttpRouteRulesMatchesPathType::Exact, value).is_err(), "{value}");
        }
    }

    #[test]
    fn without_a_path_every_path_matches() {
        assert_eq!(parse_path(None).unwrap(), everything(&RuleId::new("rule")).path);
    }

    #[test]
    fn of_repeated_headers_the_first_counts() {
        let headers = [header("X-One", "a"), header("x-one", "b"), header("x-two", "c")];
        let conditions = parse_headers(headers.iter().map(HeaderSpec::from)).unwrap();
        let values: Vec<_> = conditions.iter().map(|condition| (condition.name.as_str(), &condition.value)).collect();
        let exact = |text: &str| ValueMatch::Exact(text.to_owned());
        assert_eq!(values, [("x-one", &exact("a")), ("x-two", &exact("c"))]);
    }

    #[test]
    fn a_match_with_a_broken_condition_is_left_out_and_every_fault_told() {
        let mut findings = Findings::new(ObjectRef::new("HTTPRoute", "default", "web"));
        let matched = HttpRouteRulesMatches {
            path: Some(HttpRouteRulesMatchesPath {
                r#type: Some(HttpRouteRulesMatchesPathType::RegularExpression),
                value: Some("(".to_owned()),
            }),
            headers: Some(vec![header("a b", "")]),
            ..HttpRouteRulesMatches::default()
        };
        assert_eq!(parse(&matched, &RuleId::new("rule"), "spec.rules[0].matches[0]", &mut findings), None);
        let fields: Vec<_> = findings.into_problems().into_iter().map(|problem| problem.origin.field).collect();
        assert_eq!(fields, ["spec.rules[0].matches[0].path", "spec.rules[0].matches[0].headers[0]"]);
    }
}
