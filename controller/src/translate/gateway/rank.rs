//! Rank: which of several matches that a request satisfies wins (`HTTPRouteRule.matches`).

use std::cmp::Reverse;
use std::sync::Arc;

use genkan_routing::model::{Match, PathMatch};
use k8s_openapi::jiff::Timestamp;

/// Precedence among the matches of a host. The smallest wins; the fields are compared in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    path: PathRank,
    without_method: bool,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    route: RouteAge,
    rule: usize,
    index: usize,
}

/// Precedence among routes whose matches are equally specific: the oldest first, then by `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RouteAge {
    /// `metadata.creationTimestamp`. Objects from files have none; they count as older than any that has one.
    created: Option<Timestamp>,
    /// `namespace/name` as one text: the API compares it so, and `a-b/x` comes before `a/x`.
    name: Arc<str>,
    /// Two kinds may have objects of one name.
    kind: &'static str,
}

/// Exact paths first. The API leaves the place of regular expressions open: ours is after exact paths, the longer
/// expression first, and before every prefix, because an expression is written for something in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    Regex(Reverse<usize>),
    Prefix(Reverse<usize>),
}

impl RouteAge {
    /// The age of a route.
    pub(crate) fn new(created: Option<Timestamp>, kind: &'static str, namespace: &str, name: &str) -> Self {
        Self { created, name: format!("{namespace}/{name}").into(), kind }
    }
}

impl Rank {
    /// The rank of the match `index` of the rule `rule` of a route.
    pub(crate) fn new(matched: &Match, route: RouteAge, rule: usize, index: usize) -> Self {
        Self {
            path: match &matched.path {
                PathMatch::Exact(_) => PathRank::Exact,
                PathMatch::Regex(pattern) => PathRank::Regex(Reverse(pattern.source().chars().count())),
                PathMatch::Prefix(prefix) => PathRank::Prefix(Reverse(prefix.as_str().chars().count())),
            },
            without_method: matched.method.is_none(),
            headers: Reverse(matched.headers.len()),
            query: Reverse(matched.query.len()),
            route,
            rule,
            index,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use genkan_routing::model::{HeaderMatch, PathPrefix, QueryMatch, ValueMatch};
    use genkan_routing::name::RuleId;
    use genkan_routing::policy::pattern::Pattern;
    use http::{HeaderName, Method};
    use proptest::prelude::*;

    use super::*;

    /// A match with all that its precedence depends on, apart from [`Rank`].
    #[derive(Clone, Debug)]
    struct Subject {
        matched: Match,
        created: Option<i64>,
        namespace: &'static str,
        name: &'static str,
        rule: usize,
        index: usize,
    }

    impl Subject {
        fn rank(&self) -> Rank {
            let created = self.created.map(|second| Timestamp::from_second(second).unwrap());
            let age = RouteAge::new(created, "HTTPRoute", self.namespace, self.name);
            Rank::new(&self.matched, age, self.rule, self.index)
        }
    }

    /// Written from the API's text, criterion by criterion; true means `one` must be tried before `other`.
    fn goes_before(one: &Subject, other: &Subject) -> bool {
        let exact = |subject: &Subject| matches!(subject.matched.path, PathMatch::Exact(_));
        if exact(one) != exact(other) {
            return exact(one);
        }
        let regex = |subject: &Subject| match &subject.matched.path {
            PathMatch::Regex(pattern) => Some(pattern.source().len()),
            _ => None,
        };
        if regex(one) != regex(other) {
            return regex(one) > regex(other);
        }
        let prefix = |subject: &Subject| match &subject.matched.path {
            PathMatch::Prefix(prefix) => prefix.as_str().len(),
            _ => 0,
        };
        if prefix(one) != prefix(other) {
            return prefix(one) > prefix(other);
        }
        let method = |subject: &Subject| subject.matched.method.is_some();
        if method(one) != method(other) {
            return method(one);
        }
        if one.matched.headers.len() != other.matched.headers.len() {
            return one.matched.headers.len() > other.matched.headers.len();
        }
        if one.matched.query.len() != other.matched.query.len() {
            return one.matched.query.len() > other.matched.query.len();
        }
        if one.created != other.created {
            return one.created < other.created;
        }
        let name = |subject: &Subject| format!("{}/{}", subject.namespace, subject.name);
        if name(one) != name(other) {
            return name(one) < name(other);
        }
        if one.rule != other.rule {
            return one.rule < other.rule;
        }
        one.index < other.index
    }

    fn path() -> impl Strategy<Value = PathMatch> {
        prop_oneof![
            "/[a-b]{0,3}".prop_map(PathMatch::Exact),
            "/[a-b]{0,3}".prop_map(|path| PathMatch::Prefix(PathPrefix::parse(&path).unwrap())),
            "/[a-b]{0,3}".prop_map(|path| PathMatch::Regex(Pattern::full(&path).unwrap())),
        ]
    }

    fn subject() -> impl Strategy<Value = Subject> {
        let conditions = (path(), any::<bool>(), 0..3usize, 0..3usize);
        let place = (proptest::option::of(0..3i64), 0..4usize, 0..2usize, 0..2usize);
        (conditions, place).prop_map(|((path, method, headers, query), (created, name, rule, index))| {
            let value = || ValueMatch::Exact(String::new());
            let name_of = |number: usize| HeaderName::try_from(format!("x-{number}")).unwrap();
            let matched = Match {
                path,
                method: method.then_some(Method::GET),
                headers: (0..headers).map(|n| HeaderMatch { name: name_of(n), value: value() }).collect(),
                query: (0..query).map(|n| QueryMatch { name: n.to_string(), value: value() }).collect(),
                rule: RuleId::new("rule"),
            };
            let (namespace, name) = [("a", "x"), ("a", "y"), ("a-b", "x"), ("b", "x")][name];
            Subject { matched, created, namespace, name, rule, index }
        })
    }

    proptest! {
        #[test]
        fn the_order_is_the_one_of_the_specification(one in subject(), other in subject()) {
            let order = one.rank().cmp(&other.rank());
            prop_assert_eq!(order == Ordering::Less, goes_before(&one, &other));
            prop_assert_eq!(order == Ordering::Greater, goes_before(&other, &one));
        }

        #[test]
        fn the_order_is_total(mut subjects in proptest::collection::vec(subject(), 0..12)) {
            subjects.sort_by_key(Subject::rank);
            for (at, one) in subjects.iter().enumerate() {
                for other in subjects.iter().skip(at + 1) {
                    prop_assert!(!goes_before(other, one));
                }
            }
        }
    }
}
