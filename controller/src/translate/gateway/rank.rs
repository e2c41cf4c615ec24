//! Rank: which of several matches that a request satisfies wins (`HTTPRouteRule.matches`, `GRPCRouteRule.matches`).

use std::cmp::Reverse;
use std::sync::Arc;

use genkan_routing::model::{Match, PathMatch};
use k8s_openapi::jiff::Timestamp;

use super::grpc_match::Specificity;

/// Precedence among the matches of a host. The smallest wins; the fields are compared in this order. Routes of the two
/// kinds never have a host in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Of an HTTPRoute.
    Http { path: PathRank, without_method: bool, headers: Reverse<usize>, query: Reverse<usize>, position: Position },
    /// Of a GRPCRoute.
    Grpc { service: Reverse<usize>, method: Reverse<usize>, headers: Reverse<usize>, position: Position },
}

/// Where a match is written. Of those that are equally specific, the first wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// The route.
    pub(crate) route: RouteAge,
    /// The rule's place in it.
    pub(crate) rule: usize,
    /// The match's place in that.
    pub(crate) index: usize,
}

/// Precedence among routes whose matches are equally specific: the oldest first, then by `namespace/name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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
pub(crate) enum PathRank {
    Exact,
    Regex(Reverse<usize>),
    Prefix(Reverse<usize>),
}

impl RouteAge {
    /// The age of a route.
    pub(crate) fn new(created: Option<Timestamp>, kind: &'static str, namespace: &str, name: &str) -> Self {
        Self { created, name: format!("{namespace}/{name}").into(), kind }
    }

    /// Whether it was there when another came, or both came at once.
    pub(crate) fn was_there_for(&self, other: &Self) -> bool {
        self.created <= other.created
    }
}

impl Rank {
    /// The rank of a match of an HTTPRoute.
    pub(crate) fn http(matched: &Match, position: Position) -> Self {
        Self::Http {
            path: match &matched.path {
                PathMatch::Exact(_) => PathRank::Exact,
                PathMatch::Regex(pattern) => PathRank::Regex(Reverse(pattern.source().chars().count())),
                PathMatch::Prefix(prefix) => PathRank::Prefix(Reverse(prefix.as_str().chars().count())),
            },
            without_method: matched.method.is_none(),
            headers: Reverse(matched.headers.len()),
            query: Reverse(matched.query.len()),
            position,
        }
    }

    /// The rank of a match of a GRPCRoute.
    pub(crate) fn grpc(matched: &Match, said: Specificity, position: Position) -> Self {
        let headers = Reverse(matched.headers.len());
        Self::Grpc { service: Reverse(said.service), method: Reverse(said.method), headers, position }
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
            Rank::http(&self.matched, Position { route: age, rule: self.rule, index: self.index })
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

    /// A match of a GRPCRoute: characters of service and method, headers, and where it is written.
    type Call = (usize, usize, usize, (Option<i64>, usize, usize, usize));

    const NAMES: [(&str, &str); 4] = [("a", "x"), ("a", "y"), ("a-b", "x"), ("b", "x")];

    fn call() -> impl Strategy<Value = Call> {
        let place = (proptest::option::of(0..3i64), 0..NAMES.len(), 0..2usize, 0..2usize);
        (0..3usize, 0..3usize, 0..3usize, place)
    }

    fn rank_of_call(call: &Call) -> Rank {
        let (service, method, headers, (created, name, rule, index)) = *call;
        let condition = HeaderMatch { name: HeaderName::from_static("a"), value: ValueMatch::Exact(String::new()) };
        let path = PathMatch::Exact(String::new());
        let headers = vec![condition; headers];
        let matched = Match { path, method: None, headers, query: Vec::new(), rule: RuleId::new("rule") };
        let created = created.map(|second| Timestamp::from_second(second).unwrap());
        let route = RouteAge::new(created, "GRPCRoute", NAMES[name].0, NAMES[name].1);
        Rank::grpc(&matched, Specificity { service, method }, Position { route, rule, index })
    }

    /// Written from the API's text: among those with the longest service those with the longest method, and so on.
    fn first_of<'c>(calls: &'c [Call]) -> Option<&'c Call> {
        let mut left: Vec<&'c Call> = calls.iter().collect();
        let most = |left: &mut Vec<&'c Call>, of: fn(&Call) -> usize| {
            let most = left.iter().map(|call| of(call)).max();
            left.retain(|call| Some(of(call)) == most);
        };
        most(&mut left, |call| call.0);
        most(&mut left, |call| call.1);
        most(&mut left, |call| call.2);
        let oldest = left.iter().map(|call| call.3.0).min();
        left.retain(|call| Some(call.3.0) == oldest);
        let name = |call: &Call| format!("{}/{}", NAMES[call.3.1].0, NAMES[call.3.1].1);
        let first = left.iter().map(|call| name(call)).min();
        left.retain(|call| Some(name(call)) == first);
        left.into_iter().min_by_key(|call| (call.3.2, call.3.3))
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

        #[test]
        fn the_order_of_calls_is_the_one_of_the_specification(mut calls in proptest::collection::vec(call(), 0..12)) {
            let mut sorted = calls.clone();
            sorted.sort_by_key(rank_of_call);
            for call in sorted {
                let first = *first_of(&calls).unwrap();
                prop_assert_eq!(rank_of_call(&first), rank_of_call(&call));
                calls.remove(calls.iter().position(|left| *left == first).unwrap());
            }
        }
    }
}
