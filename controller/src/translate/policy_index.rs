//! PolicyIndex: which policies target which Service, for the kinds of which a Service has one at most. Whoever asks for those
//! of a Service looks at no others, and a policy that comes or goes concerns nobody but its targets.

use rustc_hash::FxHashMap;

use super::gateway::{backend_tls, traffic_policy};
use crate::resources::{Key, Kind, NamespacedName, Resources};
use crate::small_map::SmallSet;

/// The kinds that are indexed.
const KINDS: [Kind; 2] = [Kind::BackendTlsPolicy, Kind::XBackendTrafficPolicy];

/// Policies by target, and targets by policy.
#[derive(Debug, Default)]
pub struct PolicyIndex {
    policies: FxHashMap<(Kind, NamespacedName), SmallSet<NamespacedName>>,
    services: FxHashMap<Key, Vec<NamespacedName>>,
}

impl PolicyIndex {
    /// The names of the policies of a kind that target a Service, in order.
    pub fn of<'s>(
        &'s self,
        kind: Kind,
        service: &NamespacedName,
    ) -> impl Iterator<Item = &'s NamespacedName> + use<'s> {
        self.policies.get(&(kind, service.clone())).into_iter().flat_map(SmallSet::keys)
    }

    /// Indexes everything anew.
    pub fn rebuild(&mut self, resources: &Resources) {
        *self = Self::default();
        for kind in KINDS {
            for name in resources.names_of(kind) {
                self.update(&Key { kind, name: name.clone() }, resources);
            }
        }
    }

    /// Follows the change of an object. Returns the Services that it targets now or did before; none where it is of another
    /// kind.
    pub fn update(&mut self, policy: &Key, resources: &Resources) -> Vec<NamespacedName> {
        if !KINDS.contains(&policy.kind) {
            return Vec::new();
        }
        let before = self.services.remove(policy).unwrap_or_default();
        for service in &before {
            let place = (policy.kind, service.clone());
            if let Some(policies) = self.policies.get_mut(&place) {
                policies.remove(&policy.name);
                if policies.is_empty() {
                    self.policies.remove(&place);
                }
            }
        }
        let after = targets(policy, resources);
        for service in &after {
            self.policies.entry((policy.kind, service.clone())).or_default().insert(policy.name.clone(), ());
        }
        let both = before.into_iter().chain(after.iter().cloned()).collect();
        if !after.is_empty() {
            self.services.insert(policy.clone(), after);
        }
        both
    }
}

/// The Services that a policy targets.
fn targets(policy: &Key, resources: &Resources) -> Vec<NamespacedName> {
    let name = &policy.name;
    let services: Vec<&str> = match policy.kind {
        Kind::BackendTlsPolicy => resources
            .backend_tls_policies
            .get(name)
            .into_iter()
            .flat_map(|policy| backend_tls::services(policy))
            .collect(),
        Kind::XBackendTrafficPolicy => {
            let policy = resources.x_backend_traffic_policies.get(name);
            policy.into_iter().flat_map(|policy| traffic_policy::services(policy)).collect()
        }
        _ => Vec::new(),
    };
    services.into_iter().map(|service| NamespacedName::new(name.namespace.clone(), service)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::resources::Object;

    fn service(name: &str) -> NamespacedName {
        NamespacedName::new("x", name)
    }

    fn policy(name: &str, services: &[&str]) -> Object {
        let target = |name: &&str| json!({"group": "", "kind": "Service", "name": name});
        let validation = json!({"hostname": "web.test", "wellKnownCACertificates": "System"});
        let spec = json!({"targetRefs": services.iter().map(target).collect::<Vec<_>>(), "validation": validation});
        let policy = json!({"metadata": {"namespace": "x", "name": name}, "spec": spec});
        Object::BackendTlsPolicy(Arc::new(serde_json::from_value(policy).unwrap()))
    }

    #[test]
    fn a_policy_concerns_what_it_targets_and_targeted() {
        let mut resources = Resources::default();
        let mut index = PolicyIndex::default();
        let key = Key::new(Kind::BackendTlsPolicy, "x", "p");
        resources.apply(policy("other", &["b"]));
        index.rebuild(&resources);
        resources.apply(policy("p", &["a", "b"]));
        assert_eq!(index.update(&key, &resources), [service("a"), service("b")]);
        let of = |index: &PolicyIndex, name| -> Vec<_> {
            index.of(key.kind, &service(name)).map(|policy| policy.name.to_string()).collect()
        };
        assert_eq!(
            (of(&index, "a"), of(&index, "b")),
            (vec!["p".to_owned()], vec!["other".to_owned(), "p".to_owned()])
        );
        resources.apply(policy("p", &["c"]));
        assert_eq!(index.update(&key, &resources), [service("a"), service("b"), service("c")]);
        assert_eq!((of(&index, "a"), of(&index, "c")), (vec![], vec!["p".to_owned()]));
        resources.remove(&key);
        assert_eq!(index.update(&key, &resources), [service("c")]);
        assert_eq!((index.policies.len(), index.services.len()), (1, 1));
    }
}
