//! Grants: whether a reference into another namespace is allowed (ReferenceGrant).

use std::sync::Arc;

use gateway_api::apis::standard::referencegrants::ReferenceGrant;

/// The group of Gateway API's own kinds.
pub(crate) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// The object that refers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GrantFrom<'a> {
    /// Its API group.
    pub(crate) group: &'a str,
    /// Its kind.
    pub(crate) kind: &'a str,
    /// Its namespace.
    pub(crate) namespace: &'a str,
}

/// The object that is referred to. Its namespace is the one whose grants are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GrantTo<'a> {
    /// Its API group; empty is the core group.
    pub(crate) group: &'a str,
    /// Its kind.
    pub(crate) kind: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
}

/// Whether one of `grants`, all of the target's namespace, allows the reference. Within a grant any `from` goes with
/// any `to`.
pub(crate) fn permits<'g>(
    grants: impl IntoIterator<Item = &'g Arc<ReferenceGrant>>,
    from: GrantFrom<'_>,
    to: GrantTo<'_>,
) -> bool {
    grants.into_iter().any(|grant| {
        let from_listed =
            grant.spec.from.iter().any(|listed| {
                listed.group == from.group && listed.kind == from.kind && listed.namespace == from.namespace
            });
        // An empty name is an unset one.
        let to_listed = grant.spec.to.iter().any(|listed| {
            let name = listed.name.as_deref().unwrap_or_default();
            listed.group == to.group && listed.kind == to.kind && (name.is_empty() || name == to.name)
        });
        from_listed && to_listed
    })
}

#[cfg(test)]
mod tests {
    use gateway_api::apis::standard::referencegrants::{ReferenceGrantFrom, ReferenceGrantSpec, ReferenceGrantTo};

    use super::*;

    fn grant(kind: &str, namespace: &str, to: &str, name: Option<&str>) -> Arc<ReferenceGrant> {
        let from = ReferenceGrantFrom {
            group: GATEWAY_GROUP.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
        };
        let to = ReferenceGrantTo { group: String::new(), kind: to.to_owned(), name: name.map(str::to_owned) };
        Arc::new(ReferenceGrant::new("grant", ReferenceGrantSpec { from: vec![from], to: vec![to] }))
    }

    #[test]
    fn a_grant_needs_kind_namespace_and_name_to_agree() {
        let from = GrantFrom { group: GATEWAY_GROUP, kind: "HTTPRoute", namespace: "web" };
        let to = GrantTo { group: "", kind: "Service", name: "api" };
        for (grant, expected) in [
            (grant("HTTPRoute", "web", "Service", None), true),
            (grant("HTTPRoute", "web", "Service", Some("")), true),
            (grant("HTTPRoute", "web", "Service", Some("api")), true),
            (grant("HTTPRoute", "web", "Service", Some("other")), false),
            (grant("HTTPRoute", "other", "Service", None), false),
            (grant("Gateway", "web", "Service", None), false),
            (grant("HTTPRoute", "web", "Secret", None), false),
        ] {
            assert_eq!(permits([&grant], from, to), expected, "{grant:?}");
        }
        assert!(!permits([], from, to));
    }

    #[test]
    fn from_and_to_must_be_of_one_grant() {
        let from = GrantFrom { group: GATEWAY_GROUP, kind: "HTTPRoute", namespace: "web" };
        let to = GrantTo { group: "", kind: "Service", name: "api" };
        let grants = [grant("HTTPRoute", "web", "Secret", None), grant("Gateway", "web", "Service", None)];
        assert!(!permits(&grants, from, to));
    }
}
