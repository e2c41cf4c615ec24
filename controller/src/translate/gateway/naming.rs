//! Naming: how objects are named to those who are told of them. Who may write in one namespace learns nothing of what there
//! is in another.

use super::parent::ParentKey;
use super::port::Wire;
use crate::resources::NamespacedName;

/// Who has a port or a hostname.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The Ingresses, all of them.
    Ingresses,
    /// The ConfigMap of TCP or UDP services.
    Services(Wire),
    /// A Gateway or a ListenerSet.
    Parent(ParentKey),
}

impl Owner {
    /// What is told of it in a namespace.
    pub(super) fn told_in(&self, namespace: &str) -> String {
        match self {
            Self::Ingresses => "the Ingresses".to_owned(),
            Self::Services(wire) => format!("the {}-services ConfigMap", wire.as_str()),
            Self::Parent(parent) => told_in(namespace, parent.kind(), parent.name()),
        }
    }
}

/// What is told of an object in a namespace.
pub(super) fn told_in(namespace: &str, kind: &str, name: &NamespacedName) -> String {
    match *name.namespace == *namespace {
        true => format!("{kind} {name}"),
        false => format!("another namespace's {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_in_its_own_namespace_only() {
        let owner = Owner::Parent(ParentKey::ListenerSet(NamespacedName::new("web", "more")));
        assert_eq!(owner.told_in("web"), "ListenerSet web/more");
        assert_eq!(owner.told_in("other"), "another namespace's ListenerSet");
        assert_eq!(Owner::Services(Wire::Udp).told_in("web"), "the udp-services ConfigMap");
    }
}
