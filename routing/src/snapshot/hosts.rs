//! The index from hosts to whatever belongs to them: a lookup costs the same for ten hosts and for a million.
//!
//! ```text
//!  a.b.example.com   exact      one hash of the whole host
//!    b.example.com   one label  one hash of what follows the first dot
//!    b.example.com   suffix     one hash per dot, longest first, only of lengths that some pattern has
//!      example.com
//!              com
//!                    any
//! ```

use std::ops::RangeInclusive;

use super::names::NameMap;
use crate::name::HostPattern;

/// Values by [`HostPattern`].
#[derive(Clone, Debug)]
pub(super) struct HostIndex<V> {
    exact: NameMap<V>,
    one_label: NameMap<V>,
    suffix: NameMap<V>,
    /// Covers the lengths of all keys of `suffix`, so that most labels of a long host are never hashed.
    suffix_lengths: RangeInclusive<usize>,
    any: Option<V>,
}

/// One pattern that would cover a host. See [`steps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'h> {
    /// This name.
    Exact(&'h str),
    /// `*.` before this suffix, for one label.
    OneLabel(&'h str),
    /// `*.` before this suffix, for one or more labels.
    Suffix(&'h str),
    /// Every host.
    Any,
}

/// All patterns that cover a host, from the most to the least specific. Each step is found only when it is asked for:
/// most lookups end with the first.
pub(super) struct Steps<'h> {
    host: &'h str,
    next: Next,
}

enum Next {
    Exact,
    OneLabel,
    /// The suffix behind the dot at this place.
    Suffix(usize),
    Any,
    Nothing,
}

/// The steps of `host`.
pub(super) fn steps(host: &str) -> Steps<'_> {
    Steps { host, next: Next::Exact }
}

impl<'h> Steps<'h> {
    /// The first dot behind `start` (so never the first byte: a suffix has a label before it).
    fn dot_after(&self, start: usize) -> Option<usize> {
        let rest = self.host.as_bytes().get(start + 1..)?;
        rest.iter().position(|byte| *byte == b'.').map(|at| start + 1 + at)
    }

    fn behind(&self, dot: usize) -> &'h str {
        self.host.get(dot + 1..).unwrap_or_default()
    }
}

impl<'h> Iterator for Steps<'h> {
    type Item = Step<'h>;

    fn next(&mut self) -> Option<Step<'h>> {
        let (step, next) = match self.next {
            Next::Exact => (Step::Exact(self.host), Next::OneLabel),
            Next::OneLabel => match self.dot_after(0) {
                // With a dot in front, what is before the second dot is more than one label.
                Some(dot) if !self.host.starts_with('.') => (Step::OneLabel(self.behind(dot)), Next::Suffix(dot)),
                Some(dot) => (Step::Suffix(self.behind(dot)), self.dot_after(dot).map_or(Next::Any, Next::Suffix)),
                None => (Step::Any, Next::Nothing),
            },
            Next::Suffix(dot) => (Step::Suffix(self.behind(dot)), self.dot_after(dot).map_or(Next::Any, Next::Suffix)),
            Next::Any => (Step::Any, Next::Nothing),
            Next::Nothing => return None,
        };
        self.next = next;
        Some(step)
    }
}

impl<V: Clone> HostIndex<V> {
    /// An index for about this many exact names.
    pub(super) fn with_capacity(hosts: usize) -> Self {
        Self { exact: NameMap::with_capacity(hosts), ..Self::default() }
    }

    /// The value of the pattern that `step` stands for.
    pub(super) fn get(&self, step: Step<'_>) -> Option<&V> {
        match step {
            Step::Exact(host) => self.exact.get(host),
            Step::OneLabel(suffix) => self.one_label.get(suffix),
            Step::Suffix(suffix) if self.suffix_lengths.contains(&suffix.len()) => self.suffix.get(suffix),
            Step::Suffix(_) => None,
            Step::Any => self.any.as_ref(),
        }
    }

    /// The value of the most specific pattern that covers `host`.
    pub(super) fn most_specific(&self, host: &str) -> Option<&V> {
        if self.exact.is_empty() && self.one_label.is_empty() && self.suffix.is_empty() {
            return self.any.as_ref();
        }
        steps(host).find_map(|step| self.get(step))
    }

    /// Sets the value of a pattern.
    pub(super) fn insert(&mut self, pattern: HostPattern, value: V) {
        match pattern {
            HostPattern::Exact(name) => self.exact.insert(name, value),
            HostPattern::OneLabel(suffix) => self.one_label.insert(suffix, value),
            HostPattern::Suffix(suffix) => {
                self.cover_length(suffix.as_str().len());
                self.suffix.insert(suffix, value);
            }
            HostPattern::Any => self.any = Some(value),
        }
    }

    /// Forgets a pattern.
    pub(super) fn remove(&mut self, pattern: &HostPattern) {
        match pattern {
            HostPattern::Exact(name) => self.exact.remove(name),
            HostPattern::OneLabel(suffix) => self.one_label.remove(suffix),
            HostPattern::Suffix(suffix) => self.suffix.remove(suffix),
            HostPattern::Any => self.any = None,
        }
    }

    /// All values, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.exact.values().chain(self.one_label.values()).chain(self.suffix.values()).chain(&self.any)
    }

    fn cover_length(&mut self, length: usize) {
        let (shortest, longest) = (*self.suffix_lengths.start(), *self.suffix_lengths.end());
        self.suffix_lengths =
            if shortest > longest { length..=length } else { shortest.min(length)..=longest.max(length) };
    }
}

impl<V> Default for HostIndex<V> {
    fn default() -> Self {
        Self {
            exact: NameMap::default(),
            one_label: NameMap::default(),
            suffix: NameMap::default(),
            #[expect(clippy::reversed_empty_ranges, reason = "covers no length until a suffix is inserted")]
            suffix_lengths: 1..=0,
            any: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_go_from_the_most_to_the_least_specific() {
        let all: Vec<_> = steps("a.b.c").collect();
        let expected = [Step::Exact("a.b.c"), Step::OneLabel("b.c"), Step::Suffix("b.c"), Step::Suffix("c"), Step::Any];
        assert_eq!(all, expected);
        let uneven: Vec<_> = steps(".a..b").collect();
        assert_eq!(uneven, [Step::Exact(".a..b"), Step::Suffix(".b"), Step::Suffix("b"), Step::Any]);
        assert_eq!(steps("").collect::<Vec<_>>(), [Step::Exact(""), Step::Any]);
    }

    #[test]
    fn the_most_specific_pattern_wins() {
        let mut index = HostIndex::default();
        for pattern in [
            HostPattern::Any,
            HostPattern::parse_suffix("*.example.com").unwrap(),
            HostPattern::parse_suffix("*.com").unwrap(),
            HostPattern::parse_one_label("*.example.com").unwrap(),
            HostPattern::parse_one_label("a.example.com").unwrap(),
        ] {
            index.insert(pattern.clone(), pattern.to_string());
        }
        for (host, expected) in [
            ("a.example.com", "a.example.com"),
            ("b.example.com", "*.example.com"),
            ("c.b.example.com", "**.example.com"),
            ("example.com", "**.com"),
            ("com", "*"),
            ("", "*"),
        ] {
            assert_eq!(index.most_specific(host).map(String::as_str), Some(expected), "{host}");
        }
    }
}
