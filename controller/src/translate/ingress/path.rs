//! Paths of Ingress rules: their types, their text, and their meaning as regular expressions.

use std::sync::{Arc, OnceLock};

use genkan_routing::policy::pattern::{Pattern, PatternError};
use k8s_openapi::api::networking::v1::HTTPIngressPath;

/// `spec.rules[].http.paths[].pathType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathType {
    /// The path itself.
    Exact,
    /// The path and everything below it.
    Prefix,
    /// As [`Self::Prefix`], also when nothing is written; told apart where a canary looks for its primary.
    ImplementationSpecific,
}

/// A path with its type.
#[derive(Debug, PartialEq)]
pub(super) struct Path {
    /// As written; `/` when nothing is.
    pub(super) text: Arc<str>,
    /// Its type.
    pub(super) path_type: PathType,
    pattern: LazyPattern,
}

/// Why a path is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    /// It can't match anything.
    #[error("the path {0:?} does not begin with '/'")]
    Relative(String),
    /// It holds a control character.
    #[error("the path {0:?} contains a control character")]
    Control(String),
    /// The type is none of the API's.
    #[error("the pathType {0:?} is not known")]
    Type(String),
    /// `strict-validate-path-type`: the whole Ingress is refused.
    #[error("the path {0:?} of type Exact or Prefix has characters other than letters, digits and /._-")]
    Strict(String),
}

impl Path {
    /// Reads a path. `strict` refuses plain types with characters that look like a regular expression.
    pub(super) fn read(path: &HTTPIngressPath, strict: bool) -> Result<Self, PathError> {
        let path_type = match path.path_type.as_str() {
            "Exact" => PathType::Exact,
            "Prefix" => PathType::Prefix,
            "" | "ImplementationSpecific" => PathType::ImplementationSpecific,
            other => return Err(PathError::Type(other.to_owned())),
        };
        let text = path.path.as_deref().filter(|text| !text.is_empty()).unwrap_or("/");
        if strict && path_type != PathType::ImplementationSpecific && !is_plain(text) {
            return Err(PathError::Strict(text.to_owned()));
        }
        if !text.starts_with('/') {
            return Err(PathError::Relative(text.to_owned()));
        }
        if text.chars().any(char::is_control) {
            return Err(PathError::Control(text.to_owned()));
        }
        Ok(Self { text: text.into(), path_type, pattern: LazyPattern::default() })
    }

    /// As [`Self::read`], for a path that is not to be served: a type that is not known has the widest meaning, and no
    /// character is suspicious.
    pub(super) fn read_leniently(path: &HTTPIngressPath) -> Result<Self, PathError> {
        Self::read(path, false).or_else(|error| match error {
            PathError::Type(_) => {
                let path_type = "ImplementationSpecific".to_owned();
                Self::read(&HTTPIngressPath { path_type, ..path.clone() }, false)
            }
            error => Err(error),
        })
    }

    /// Whether only the path itself is meant.
    pub(super) fn is_exact(&self) -> bool {
        self.path_type == PathType::Exact
    }

    /// The path as a regular expression, compiled once.
    pub(super) fn pattern(&self) -> Result<Pattern, PatternError> {
        Result::clone(self.pattern.0.get_or_init(|| Box::new(Pattern::nginx_location(&self.text))))
    }

    /// All that the path may mean which is no usable expression, and more: whatever begins like it.
    pub(super) fn around(&self) -> Option<Pattern> {
        Pattern::nginx_location(literal_start(&self.text)).ok()
    }
}

/// What everything begins with that an expression matches.
fn literal_start(expression: &str) -> &str {
    if has_alternatives(expression) {
        return "/";
    }
    let end = expression.find(|c| r".*+?()[]{}|^$\".contains(c)).unwrap_or(expression.len());
    let (start, rest) = expression.split_at(end);
    let start = match start.char_indices().next_back() {
        // The last letter may be there or not.
        Some((last, _)) if rest.starts_with(['*', '?', '{']) => &start[..last],
        _ => start,
    };
    if start.is_empty() { "/" } else { start }
}

/// Whether there is an alternative to the whole expression, or may be: what is quoted in rare ways is not looked through.
fn has_alternatives(expression: &str) -> bool {
    let (mut groups, mut class, mut escaped) = (0_usize, false, false);
    for c in expression.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            '(' if !class => groups += 1,
            ')' if !class => groups = groups.saturating_sub(1),
            '|' if !class && groups == 0 => return true,
            _ => {}
        }
    }
    let rare = ["[]", "[^]", r"\Q", "(?#"];
    expression.contains('|') && rare.iter().any(|rare| expression.contains(rare))
}

/// A compiled path. It follows from the text, so it takes no part in comparisons.
#[derive(Debug, Default)]
struct LazyPattern(OnceLock<Box<Result<Pattern, PatternError>>>);

impl PartialEq for LazyPattern {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// `(?i)^/[[:alnum:]._\-/]*$`.
fn is_plain(text: &str) -> bool {
    text.starts_with('/') && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, path_type: &str, strict: bool) -> Result<Path, PathError> {
        let (path, path_type) = (Some(text.to_owned()), path_type.to_owned());
        Path::read(&HTTPIngressPath { path, path_type, ..HTTPIngressPath::default() }, strict)
    }

    #[test]
    fn an_empty_path_is_the_root() {
        assert_eq!(&*read("", "Prefix", true).unwrap().text, "/");
    }

    #[test]
    fn strictness_concerns_only_exact_and_prefix() {
        assert!(matches!(read("/a(.*)", "Prefix", true), Err(PathError::Strict(_))));
        assert!(matches!(read("/a b", "Exact", true), Err(PathError::Strict(_))));
        assert!(read("/a(.*)", "Prefix", false).is_ok());
        assert!(read("/a(.*)", "ImplementationSpecific", true).is_ok());
        assert!(read("/a.b_c-d/1", "Exact", true).is_ok());
    }

    #[test]
    fn an_expression_begins_with_its_letters_before_anything_special() {
        for (expression, start) in [
            ("/admin", "/admin"),
            ("/admin/(?!public).*", "/admin/"),
            ("/(admin|ops)/(?!public)", "/"),
            ("/a(b|c)(?!d)", "/a"),
            ("/admin(?!x)|/other", "/"),
            ("/a[|]b(?!c)", "/a"),
            (r"/a\|b(?!c)", "/a"),
            (r"/a[]|]b", "/"),
            ("/ab?(?!c)", "/a"),
            ("/ab+(?!c)", "/ab"),
            ("/?(?!c)", "/"),
            ("/é*(?!c)", "/"),
        ] {
            assert_eq!(literal_start(expression), start, "{expression}");
        }
    }

    #[test]
    fn what_is_not_to_be_served_is_read_all_the_same() {
        let lenient = |text: &str, path_type: &str| {
            let (path, path_type) = (Some(text.to_owned()), path_type.to_owned());
            Path::read_leniently(&HTTPIngressPath { path, path_type, ..HTTPIngressPath::default() })
        };
        assert_eq!(lenient("/a", "prefix").unwrap().path_type, PathType::ImplementationSpecific);
        assert_eq!(&*lenient("/a(.*)", "Prefix").unwrap().text, "/a(.*)");
        assert!(matches!(lenient("a", "prefix"), Err(PathError::Relative(_))));
    }

    #[test]
    fn rubbish_is_refused() {
        assert!(matches!(read("foo", "ImplementationSpecific", true), Err(PathError::Relative(_))));
        assert!(matches!(read("/a\nb", "ImplementationSpecific", true), Err(PathError::Control(_))));
        assert!(matches!(read("/", "prefix", true), Err(PathError::Type(_))));
    }
}
