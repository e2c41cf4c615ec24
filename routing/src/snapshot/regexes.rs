//! The regular expressions of a host: one pass over the path tells the first that matches, however many there are.
//!
//! The expressions are joined into one automaton whose alternatives prefer the earlier one, so its answer is the
//! expression of the lowest rank. Only when the conditions of that one fail are later expressions asked one by one.

use regex_automata::meta;
use regex_automata::nfa::thompson::WhichCaptures;
use rustc_hash::FxHashMap;

use super::paths::Rank;
use crate::policy::pattern::Pattern;

/// With fewer expressions than this, asking one by one costs less than the joined automaton and its memory. Measured:
/// about 190 instructions per expression that doesn't match, against 1,100 for the automaton.
const JOIN_FROM: usize = 8;

/// The most expressions that are joined into one automaton. Measured: with 1,000 a lookup takes about a microsecond; with
/// 5,000 the automaton's cache overflows and a lookup takes milliseconds.
const JOIN_UP_TO: usize = 256;

/// The most memory the joined automaton may take, in bytes; beyond it expressions are asked one by one.
const JOINED_SIZE_LIMIT: usize = 8 << 20;

/// The expressions of a host.
#[derive(Debug)]
pub(super) struct RegexIndex {
    /// In order of their first rank.
    groups: Box<[Group]>,
}

/// Expressions that are searched for together, in order of their first rank.
#[derive(Debug)]
struct Group {
    expressions: Box<[Expression]>,
    joined: Option<meta::Regex>,
}

#[derive(Debug)]
struct Expression {
    /// Shared with every host that has the same: so are the caches of its searches.
    pattern: Pattern,
    /// Ascending, never empty.
    ranks: Vec<Rank>,
}

impl RegexIndex {
    /// Indexes patterns, which come in order of rank. Equal ones are searched for once.
    pub(super) fn build(patterns: &[(Rank, &Pattern)]) -> Self {
        let mut known: FxHashMap<&str, usize> = FxHashMap::default();
        let mut expressions: Vec<Expression> = Vec::new();
        let mut sources = Vec::new();
        for (rank, pattern) in patterns {
            let text = pattern.regex().as_str();
            match known.get(text).and_then(|at| expressions.get_mut(*at)) {
                Some(expression) => expression.ranks.push(*rank),
                None => {
                    known.insert(text, expressions.len());
                    expressions.push(Expression { pattern: Pattern::clone(pattern), ranks: vec![*rank] });
                    sources.push(from_the_start(pattern));
                }
            }
        }
        let mut groups = Vec::new();
        let mut expressions = expressions.into_iter();
        for sources in sources.chunks(JOIN_UP_TO) {
            let joined = if sources.len() < JOIN_FROM { None } else { join(sources) };
            groups.push(Group { expressions: expressions.by_ref().take(sources.len()).collect(), joined });
        }
        Self { groups: groups.into() }
    }

    /// The lowest rank below `best` whose expression matches and for which `holds` says yes; else `best`.
    pub(super) fn find(&self, path: &str, best: Option<Rank>, holds: impl Fn(Rank) -> bool) -> Option<Rank> {
        self.groups.iter().fold(best, |best, group| group.find(path, best, &holds))
    }
}

impl Group {
    fn find(&self, path: &str, best: Option<Rank>, holds: impl Fn(Rank) -> bool) -> Option<Rank> {
        let mut best = best;
        let worth = |expression: &Expression, best: Option<Rank>| {
            expression.ranks.first().is_some_and(|first| best.is_none_or(|best| *first < best))
        };
        if !self.expressions.first().is_some_and(|first| worth(first, best)) {
            return best;
        }
        let found = match &self.joined {
            None => None,
            Some(joined) => match joined.search_half(&regex_automata::Input::new(path)) {
                Some(half) => Some(half.pattern().as_usize()),
                None => return best,
            },
        };
        // Nothing before `found` matches; what comes after it has higher ranks and is asked only if `found` fails.
        for (at, expression) in self.expressions.iter().enumerate().skip(found.unwrap_or(0)) {
            if !worth(expression, best) {
                break;
            }
            if Some(at) == found || expression.pattern.regex().is_match(path) {
                let below = |rank: &&Rank| best.is_none_or(|best| **rank < best);
                best = expression.ranks.iter().take_while(below).find(|rank| holds(**rank)).copied().or(best);
            }
        }
        best
    }
}

/// The expression as one that can only match from the start of the text, so that every alternative starts at the same
/// place and the order alone decides.
fn from_the_start(pattern: &Pattern) -> String {
    let text = pattern.regex().as_str();
    if pattern.is_anchored() { text.to_owned() } else { format!("^(?s:.)*?(?:{text})") }
}

/// `None` when the automaton would be too large, or a source can't stand in a group (`(?x)` with a final comment).
fn join(sources: &[String]) -> Option<meta::Regex> {
    let config = meta::Config::new().which_captures(WhichCaptures::Implicit).nfa_size_limit(Some(JOINED_SIZE_LIMIT));
    meta::Builder::new().configure(config).build_many(sources).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(patterns: &[Pattern]) -> RegexIndex {
        let ranked: Vec<_> = (0..).zip(patterns).collect();
        RegexIndex::build(&ranked)
    }

    #[test]
    fn order_decides_and_not_where_a_match_starts() {
        let sources = ["zzz", "c", "a", "ab", "y1", "y2", "y3", "y4"];
        let patterns: Vec<_> = sources.iter().map(|source| Pattern::search(source).unwrap()).collect();
        let index = index(&patterns);
        assert!(index.groups[0].joined.is_some());
        assert_eq!(index.find("/abc", None, |_| true), Some(1));
        assert_eq!(index.find("/abc", None, |rank| rank != 1), Some(2));
        assert_eq!(index.find("/abc", Some(1), |_| true), Some(1));
        assert_eq!(index.find("/x", Some(9), |_| true), Some(9));
    }

    #[test]
    fn equal_expressions_are_searched_for_once() {
        let patterns: Vec<_> = (0..10).map(|_| Pattern::nginx_location("/a").unwrap()).collect();
        let index = index(&patterns);
        assert_eq!(index.groups[0].expressions.len(), 1);
        assert_eq!(index.find("/A", None, |rank| rank >= 7), Some(7));
    }

    #[test]
    fn an_expression_that_cannot_be_joined_still_matches() {
        let sources = ["(?x)a # comment", "b", "c", "d", "e", "f", "g", "h"];
        let patterns: Vec<_> = sources.iter().map(|source| Pattern::search(source).unwrap()).collect();
        let index = index(&patterns);
        assert!(index.groups[0].joined.is_none());
        assert_eq!(index.find("/a", None, |_| true), Some(0));
        assert_eq!(index.find("/d", None, |_| true), Some(3));
    }

    #[test]
    fn the_lowest_rank_wins_across_automata() {
        let patterns: Vec<_> =
            (0..JOIN_UP_TO + 20).map(|number| Pattern::search(&format!("/{number}/")).unwrap()).collect();
        let index = index(&patterns);
        assert_eq!(index.groups.len(), 2);
        assert_eq!(index.find("/260/5/", None, |_| true), Some(5));
        assert_eq!(index.find("/260/5/", None, |rank| rank > 5), Some(260));
        assert_eq!(index.find("/260/", Some(100), |_| true), Some(100));
    }
}
