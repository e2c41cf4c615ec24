//! Matches: the conditions on a request under which a rule serves it.

use std::fmt;

use http::{HeaderName, Method};
use serde::{Serialize, Serializer};

use crate::name::RuleId;
use crate::policy::pattern::Pattern;

/// Conditions that must all hold, and the rule that they lead to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// The path, compared after percent-decoding, merging of slashes and resolution of dot segments.
    pub path: PathMatch,
    /// The method; `None` is any.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_method")]
    pub method: Option<Method>,
    /// Header fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    /// Query parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<QueryMatch>,
    /// The rule.
    pub rule: RuleId,
}

/// A condition on the path. The usual order of rank is exact, regular expression, then prefix from the longest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    /// This path, case-sensitively.
    Exact(String),
    /// Paths below this one, by whole segments.
    Prefix(PathPrefix),
    /// A regular expression, anchored as its constructor says.
    Regex(Pattern),
}

/// A path prefix that is compared by whole segments.
///
/// `/foo` covers `/foo`, `/foo/` and `/foo/bar`, not `/foobar`. `/foo/` covers `/foo/` and `/foo/bar`, not `/foo`
/// (nginx `location /foo/`). `/` covers everything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(String);

/// Why a text is no [`PathPrefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path must begin with '/'")]
pub struct PathPrefixError;

impl PathPrefix {
    /// Takes the text as it is: a final `/` is kept and has its meaning.
    pub fn parse(text: &str) -> Result<Self, PathPrefixError> {
        if text.starts_with('/') { Ok(Self(text.to_owned())) } else { Err(PathPrefixError) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `path` (normalized) is covered.
    pub fn matches(&self, path: &str) -> bool {
        match path.strip_prefix(self.0.as_str()) {
            Some(rest) => self.0.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

impl fmt::Debug for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for PathPrefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A condition on a header field. With several fields of the name, their values joined with `, ` are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderMatch {
    /// The field's name.
    #[serde(serialize_with = "crate::policy::headers::serialize_name")]
    pub name: HeaderName,
    /// What its value must be.
    pub value: ValueMatch,
}

/// A condition on a query parameter; the first of its name counts. Names and values are compared after decoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryMatch {
    /// The parameter's name, case-sensitively.
    pub name: String,
    /// What its value must be.
    pub value: ValueMatch,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueMatch {
    /// This text, case-sensitively.
    Exact(String),
    /// A regular expression over the whole value.
    Regex(Pattern),
}

impl ValueMatch {
    /// Whether `value` satisfies the condition.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => text == value,
            Self::Regex(pattern) => pattern.regex().is_match(value),
        }
    }
}

fn serialize_method<S: Serializer>(method: &Option<Method>, serializer: S) -> Result<S::Ok, S::Error> {
    match method {
        Some(method) => serializer.serialize_some(method.as_str()),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_compared_by_whole_segments() {
        for (prefix, path, expected) in [
            ("/foo", "/foo", true),
            ("/foo", "/foo/", true),
            ("/foo", "/foo/bar", true),
            ("/foo", "/foobar", false),
            ("/foo/", "/foo", false),
            ("/foo/", "/foo/", true),
            ("/foo/", "/foo/bar", true),
            ("/", "/", true),
            ("/", "/anything", true),
        ] {
            assert_eq!(PathPrefix::parse(prefix).unwrap().matches(path), expected, "{prefix} {path}");
        }
    }
}
