//! Regular expressions that users wrote: compiled once, bounded in size, linear in time.

use std::fmt;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use serde::{Serialize, Serializer};

/// The most memory one compiled expression may take, in bytes. Larger ones are refused when parsed.
const SIZE_LIMIT: usize = 1 << 20;

/// A compiled regular expression. Equal when the source text and the flags are equal. Serializes as its source.
///
/// The engine is linear in the input's length; look-around and back-references, which need backtracking, are refused.
#[derive(Clone)]
pub struct Pattern {
    source: Arc<str>,
    regex: Regex,
    anchored: bool,
}

/// Why an expression was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

impl Pattern {
    /// A search: matches anywhere in the text, case-sensitively, unless the source says otherwise.
    pub fn search(source: &str) -> Result<Self, PatternError> {
        Self::compile(source, source, false)
    }

    /// Matches from the start of the text, without regard to case, as nginx's `location ~* "^source"`.
    pub fn nginx_location(source: &str) -> Result<Self, PatternError> {
        Self::compile(source, &format!("(?i)^(?:{source})"), true)
    }

    /// Matches the whole text, case-sensitively (Gateway API `RegularExpression`, as Envoy does).
    pub fn full(source: &str) -> Result<Self, PatternError> {
        Self::compile(source, &format!("^(?:{source})$"), true)
    }

    fn compile(source: &str, expression: &str, anchored: bool) -> Result<Self, PatternError> {
        if source.chars().any(char::is_control) {
            return Err(PatternError("control characters are not allowed in a regular expression".to_owned()));
        }
        // The source alone must be sound: `a)(b` must not become sound inside a group of ours.
        let build = |text: &str| RegexBuilder::new(text).size_limit(SIZE_LIMIT).build();
        build(source)
            .and_then(|_| build(expression))
            .map(|regex| Self { source: source.into(), regex, anchored })
            .map_err(|error| {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                PatternError(last.strip_prefix("error: ").unwrap_or(last).to_owned())
            })
    }

    /// What the user wrote.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The compiled expression, anchored as its constructor says.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    /// Whether its constructor made it match from the start of the text only.
    pub fn is_anchored(&self) -> bool {
        self.anchored
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.regex.as_str())
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_location_is_anchored_at_the_start_and_ignores_case() {
        let pattern = Pattern::nginx_location("/foo(/|$)").unwrap();
        assert!(pattern.regex().is_match("/FOO/bar"));
        assert!(!pattern.regex().is_match("/x/foo/"));
    }

    #[test]
    fn an_expression_cannot_close_our_group() {
        assert!(Pattern::full("a)(b").is_err());
    }

    #[test]
    fn look_around_is_refused_with_a_reason() {
        let error = Pattern::search("(?=x)").unwrap_err();
        assert!(error.to_string().contains("look-around"), "{error}");
    }
}
