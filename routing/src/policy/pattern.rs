//! Regular expressions that users wrote: compiled once, bounded in size, linear in time.
//!
//! A compiled expression takes 7 to 10 KB, and clusters have thousands of Ingresses with the same few (`/(.*)`), so
//! equal ones share one. The register of them holds none alive.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use regex::{Regex, RegexBuilder};
use regex_automata::util::syntax;
use serde::{Serialize, Serializer};

/// The most memory one compiled expression may take, in bytes. Larger ones are refused when parsed.
const SIZE_LIMIT: usize = 1 << 20;

/// The most memory that a search may keep for the next one, per expression and thread. Paths come from clients, who
/// could fill 2 MiB of it for every expression by default; beyond the limit it is cleared, or a slower engine searches.
const CACHE_LIMIT: usize = 64 << 10;

/// A compiled regular expression. Equal when the source text and the flags are equal. Serializes as its source.
///
/// The engine is linear in the input's length; look-around and back-references, which need backtracking, are refused.
#[derive(Clone)]
pub struct Pattern(Arc<Compiled>);

/// Why an expression was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

struct Compiled {
    source: Box<str>,
    kind: Kind,
    regex: Regex,
}

/// What is put around the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Search,
    NginxLocation,
    Full,
}

/// The compiled expressions that are in use, by kind and source.
#[derive(Default)]
struct Register {
    known: HashMap<(Kind, Box<str>), Weak<Compiled>>,
    /// At this many entries, those that nobody uses any more are forgotten.
    sweep_at: usize,
}

static REGISTER: LazyLock<Mutex<Register>> = LazyLock::new(Mutex::default);

impl Pattern {
    /// A search: matches anywhere in the text, case-sensitively, unless the source says otherwise.
    pub fn search(source: &str) -> Result<Self, PatternError> {
        Self::of(Kind::Search, source)
    }

    /// Matches from the start of the text, without regard to case, as nginx's `location ~* "^source"`.
    pub fn nginx_location(source: &str) -> Result<Self, PatternError> {
        Self::of(Kind::NginxLocation, source)
    }

    /// Matches the whole text, case-sensitively (Gateway API `RegularExpression`, as Envoy does).
    pub fn full(source: &str) -> Result<Self, PatternError> {
        Self::of(Kind::Full, source)
    }

    fn of(kind: Kind, source: &str) -> Result<Self, PatternError> {
        let register = || REGISTER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = register().get(kind, source) {
            return Ok(Self(known));
        }
        // Not under the lock: it takes a while, and nobody minds if two do it at once.
        let compiled = Arc::new(compile(kind, source)?);
        register().insert(&compiled);
        Ok(Self(compiled))
    }

    /// What the user wrote.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The compiled expression, anchored as its constructor says.
    pub fn regex(&self) -> &Regex {
        &self.0.regex
    }

    /// Whether its constructor made it match from the start of the text only.
    pub fn is_anchored(&self) -> bool {
        self.0.kind != Kind::Search
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.regex().as_str() == other.regex().as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.regex().as_str())
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.source())
    }
}

impl Kind {
    /// The expression that is compiled.
    fn around(self, source: &str) -> String {
        match self {
            Self::Search => source.to_owned(),
            Self::NginxLocation => format!("(?i)^(?:{source})"),
            Self::Full => format!("^(?:{source})$"),
        }
    }
}

impl Register {
    fn get(&self, kind: Kind, source: &str) -> Option<Arc<Compiled>> {
        self.known.get(&(kind, source.into())).and_then(Weak::upgrade)
    }

    fn insert(&mut self, compiled: &Arc<Compiled>) {
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, known| known.strong_count() > 0);
            self.sweep_at = 64.max(2 * self.known.len());
        }
        self.known.insert((compiled.kind, compiled.source.clone()), Arc::downgrade(compiled));
    }
}

fn compile(kind: Kind, source: &str) -> Result<Compiled, PatternError> {
    if source.chars().any(char::is_control) {
        return Err(PatternError("control characters are not allowed in a regular expression".to_owned()));
    }
    let refused = |error: &dyn fmt::Display| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        PatternError(last.strip_prefix("error: ").unwrap_or(last).to_owned())
    };
    // The source alone must be sound: `a)(b` must not become sound inside a group of ours.
    syntax::parse(source).map_err(|error| refused(&error))?;
    let mut builder = RegexBuilder::new(&kind.around(source));
    let regex = builder.size_limit(SIZE_LIMIT).dfa_size_limit(CACHE_LIMIT).build().map_err(|error| refused(&error))?;
    Ok(Compiled { source: source.into(), kind, regex })
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

    #[test]
    fn equal_expressions_share_one() {
        let (one, other) = (Pattern::full("/shared/(.*)").unwrap(), Pattern::full("/shared/(.*)").unwrap());
        assert!(Arc::ptr_eq(&one.0, &other.0));
        let located = Pattern::nginx_location("/shared/(.*)").unwrap();
        assert_ne!((one, true), (located.clone(), located.is_anchored()));
    }

    #[test]
    fn expressions_that_nobody_uses_are_forgotten() {
        let mut register = Register::default();
        for number in 0..300 {
            register.insert(&Arc::new(compile(Kind::Full, &number.to_string()).unwrap()));
        }
        assert!(register.known.len() <= 64);
    }

    #[test]
    fn an_expression_that_is_too_large_is_refused_with_a_reason() {
        let error = Pattern::search(r"\w{1000}").unwrap_err();
        assert!(error.to_string().contains("size limit"), "{error}");
    }
}
