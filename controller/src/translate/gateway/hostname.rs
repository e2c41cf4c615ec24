//! Hostnames of listeners and routes: what both cover.

use std::net::IpAddr;

use genkan_routing::name::{HostPattern, Hostname, HostnameError};

/// Why a text is no hostname of Gateway API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GatewayHostnameError {
    /// No hostname at all.
    #[error(transparent)]
    Hostname(#[from] HostnameError),
    /// An IP literal (`HTTPRouteSpec.hostnames`: "IPs are not allowed").
    #[error("an IP address is not allowed as a hostname")]
    Address,
}

/// Parses a hostname of a listener or route: a name, or `*.name` for one or more labels before it.
pub(crate) fn parse(text: &str) -> Result<HostPattern, GatewayHostnameError> {
    if text.parse::<IpAddr>().is_ok() {
        return Err(GatewayHostnameError::Address);
    }
    match HostPattern::parse_suffix(text)? {
        HostPattern::Any => Err(HostnameError::Empty.into()),
        pattern => Ok(pattern),
    }
}

/// The hosts that both patterns cover: the more specific of the two, or nothing when they have no host in common
/// (`HTTPRouteSpec.hostnames`).
pub(crate) fn intersect(one: &HostPattern, other: &HostPattern) -> Option<HostPattern> {
    if covers(one, other) {
        Some(other.clone())
    } else if covers(other, one) {
        Some(one.clone())
    } else {
        None
    }
}

/// The patterns that have every host of `pattern`, from itself to the least specific one.
pub(crate) fn covering(pattern: &HostPattern) -> Vec<HostPattern> {
    let mut all = vec![pattern.clone()];
    let name = match pattern {
        HostPattern::Exact(name) | HostPattern::Suffix(name) => name,
        HostPattern::OneLabel(name) => {
            all.push(HostPattern::Suffix(name.clone()));
            name
        }
        HostPattern::Any => return all,
    };
    let mut rest = name.as_str();
    while let Some((_, parent)) = rest.split_once('.') {
        // What follows a dot of a hostname is one as well.
        let Ok(suffix) = Hostname::parse(parent) else { break };
        if rest.len() == name.as_str().len() && matches!(pattern, HostPattern::Exact(_)) {
            all.push(HostPattern::OneLabel(suffix.clone()));
        }
        all.push(HostPattern::Suffix(suffix));
        rest = parent;
    }
    all.push(HostPattern::Any);
    all
}

/// Whether every host of `inner` is a host of `outer`.
fn covers(outer: &HostPattern, inner: &HostPattern) -> bool {
    match (outer, inner) {
        (HostPattern::Any, _) => true,
        (_, HostPattern::Exact(name)) => outer.matches(name.as_str()),
        (HostPattern::Suffix(outer), HostPattern::Suffix(inner) | HostPattern::OneLabel(inner)) => {
            outer == inner || is_below(inner, outer)
        }
        (HostPattern::OneLabel(outer), HostPattern::OneLabel(inner)) => outer == inner,
        _ => false,
    }
}

/// Whether `name` has further labels before `suffix`.
fn is_below(name: &Hostname, suffix: &Hostname) -> bool {
    name.as_str().strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse_suffix(text).unwrap()
    }

    #[test]
    fn the_more_specific_hostname_is_the_intersection() {
        for (listener, route, both) in [
            ("test.example.com", "test.example.com", Some("test.example.com")),
            ("test.example.com", "*.example.com", Some("test.example.com")),
            ("*.example.com", "foo.test.example.com", Some("foo.test.example.com")),
            ("*.example.com", "*.example.com", Some("*.example.com")),
            ("*.example.com", "*.com", Some("*.example.com")),
            ("*.example.com", "*.test.example.com", Some("*.test.example.com")),
            ("*.example.com", "example.com", None),
            ("*.example.com", "test.example.net", None),
            ("*.example.com", "*.badexample.com", None),
            ("a.example.com", "b.example.com", None),
        ] {
            assert_eq!(intersect(&pattern(listener), &pattern(route)), both.map(pattern), "{listener} {route}");
        }
    }

    #[test]
    fn a_listener_without_hostname_takes_the_routes() {
        assert_eq!(intersect(&HostPattern::Any, &pattern("*.a.b")), Some(pattern("*.a.b")));
        assert_eq!(intersect(&pattern("*.a.b"), &HostPattern::Any), Some(pattern("*.a.b")));
        assert_eq!(intersect(&HostPattern::Any, &HostPattern::Any), Some(HostPattern::Any));
    }

    #[test]
    fn addresses_and_rubbish_are_no_hostnames() {
        for text in ["", "1.2.3.4", "::1", "a..b", "*", "foo.*.com", "a b"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(parse("*.Example.COM").unwrap(), pattern("*.example.com"));
    }

    #[test]
    fn patterns_are_covered_from_the_most_to_the_least_specific() {
        for (of, all) in [
            ("a.b.c", &["a.b.c", "*.b.c", "**.b.c", "**.c", "*"][..]),
            ("**.b.c", &["**.b.c", "**.c", "*"]),
            ("*.b.c", &["*.b.c", "**.b.c", "**.c", "*"]),
            ("c", &["c", "*"]),
            ("*", &["*"]),
        ] {
            let pattern = match (of.strip_prefix("**."), of) {
                (Some(suffix), _) => pattern(&format!("*.{suffix}")),
                (None, "*") => HostPattern::Any,
                (None, of) => HostPattern::parse_one_label(of).unwrap(),
            };
            let texts: Vec<_> = covering(&pattern).iter().map(ToString::to_string).collect();
            assert_eq!(texts, all, "{of}");
        }
    }

    fn any_pattern() -> impl Strategy<Value = HostPattern> {
        let name = proptest::collection::vec("[ab]", 1..4).prop_map(|labels| labels.join("."));
        prop_oneof![
            name.clone().prop_map(|name| pattern(&name)),
            name.clone().prop_map(|name| pattern(&format!("*.{name}"))),
            name.prop_map(|name| HostPattern::parse_one_label(&format!("*.{name}")).unwrap()),
            Just(HostPattern::Any),
        ]
    }

    proptest! {
        #[test]
        fn a_host_is_in_the_intersection_exactly_if_both_cover_it(
            one in any_pattern(),
            other in any_pattern(),
            host in proptest::collection::vec("[ab]", 1..6),
        ) {
            let host = host.join(".");
            let both = intersect(&one, &other);
            prop_assert_eq!(
                both.is_some_and(|both| both.matches(&host)),
                one.matches(&host) && other.matches(&host)
            );
            prop_assert_eq!(intersect(&one, &other), intersect(&other, &one));
        }

        #[test]
        fn what_covers_a_pattern_is_all_that_intersects_in_it(one in any_pattern(), other in any_pattern()) {
            prop_assert_eq!(covering(&one).contains(&other), intersect(&one, &other).as_ref() == Some(&one));
        }
    }
}
