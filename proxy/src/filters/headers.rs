//! Headers: removes, sets and adds header fields (Gateway API `HTTPHeaderFilter`).

use genkan_routing::policy::headers::HeaderOps;
use http::HeaderMap;

/// Changes a head: removals first, then replacements, then additions.
pub(super) fn apply(ops: &HeaderOps, headers: &mut HeaderMap) {
    for name in &ops.remove {
        headers.remove(name);
    }
    for (name, value) in &ops.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &ops.add {
        headers.append(name, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn removals_come_first_then_replacements_then_additions() {
        let name = HeaderName::from_static;
        let value = HeaderValue::from_static;
        let mut headers = HeaderMap::new();
        for (field, text) in [("x-a", "1"), ("x-a", "2"), ("x-b", "1"), ("x-c", "1"), ("x-c", "2")] {
            headers.append(name(field), value(text));
        }
        let ops = HeaderOps {
            remove: vec![name("x-a"), name("x-missing")],
            set: vec![(name("x-c"), value("3"))],
            add: vec![(name("x-a"), value("new")), (name("x-b"), value("2"))],
        };
        apply(&ops, &mut headers);
        let all = |field: &str| headers.get_all(field).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("x-a"), ["new"]);
        assert_eq!(all("x-b"), ["1", "2"]);
        assert_eq!(all("x-c"), ["3"]);
    }
}
