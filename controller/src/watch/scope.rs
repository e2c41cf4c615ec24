//! Scopes: which objects of a kind are followed. Everything, a namespace (`--watch-namespace`), and besides what the
//! flags name elsewhere.

use std::sync::Arc;

use crate::resources::{Kind, NamespacedName};

/// A part of a kind's objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this namespace.
    pub namespace: Option<Arc<str>>,
    /// Only this name.
    pub name: Option<Arc<str>>,
}

impl Scope {
    /// Whether an object belongs to it.
    pub fn covers(&self, name: &NamespacedName) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == name.namespace)
            && self.name.as_ref().is_none_or(|only| *only == name.name)
    }
}

/// What is followed of each kind.
#[derive(Clone, Debug, Default)]
pub struct Scopes {
    /// `--watch-namespace`; `None` is all of them.
    pub namespace: Option<Arc<str>>,
    /// Objects that are followed wherever they are: those that flags name; an empty name stands for the namespace.
    pub named: Vec<(Kind, NamespacedName)>,
}

impl Scopes {
    /// The scopes of a kind. They do not overlap.
    pub(super) fn of(&self, kind: Kind) -> Vec<Scope> {
        let whole = match &self.namespace {
            // Of the others nothing is served.
            Some(namespace) if kind == Kind::Namespace => Scope { namespace: None, name: Some(namespace.clone()) },
            namespace => Scope { namespace: namespace.clone().filter(|_| kind.namespaced()), name: None },
        };
        let mut scopes = vec![whole.clone()];
        for (named, name) in &self.named {
            let only = Some(name.name.clone()).filter(|name| !name.is_empty());
            let scope = Scope { namespace: Some(name.namespace.clone()), name: only };
            if *named == kind && !whole.covers(name) && !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        scopes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_name_objects_outside_of_the_watched_namespace() {
        let config = NamespacedName::new("system", "config");
        let inside = NamespacedName::new("web", "config");
        let named =
            vec![(Kind::ConfigMap, config.clone()), (Kind::ConfigMap, config.clone()), (Kind::ConfigMap, inside)];
        let mut scopes = Scopes { namespace: Some("web".into()), named };
        let of_kind = scopes.of(Kind::ConfigMap);
        assert_eq!(of_kind.len(), 2);
        assert_eq!(of_kind[1], Scope { namespace: Some("system".into()), name: Some("config".into()) });
        assert_eq!(scopes.of(Kind::IngressClass), [Scope::default()]);
        assert_eq!(scopes.of(Kind::Namespace), [Scope { namespace: None, name: Some("web".into()) }]);
        assert!(scopes.of(Kind::Namespace)[0].covers(&NamespacedName::new("", "web")));
        scopes.namespace = None;
        assert_eq!(scopes.of(Kind::Namespace), [Scope::default()]);
        assert_eq!(scopes.of(Kind::ConfigMap), [Scope::default()]);
    }
}
