//! Users: through which Gateways a Service or an XBackend gets requests, or what TLS carried that ended there. Counted as
//! routes come and go, never by looking at all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::route::RouteOutcome;
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::cluster::ClusterSpec;
use crate::translate::reader::{Dependency, Dirty, Reader};

/// A Service or an XBackend, and a Gateway through which it gets something.
pub(crate) type Use = (Key, NamespacedName);

/// By Service or XBackend: its Gateways, and how many routes of each lead there.
#[derive(Debug, Default)]
pub(crate) struct Users(BTreeMap<Key, BTreeMap<NamespacedName, usize>>);

impl Users {
    /// The Gateways through which a Service or an XBackend gets requests.
    pub(crate) fn of(&self, service: &Key, reader: &Reader<'_>) -> impl Iterator<Item = &NamespacedName> {
        reader.note(Dependency::Users(service.clone()));
        self.0.get(service).into_iter().flat_map(BTreeMap::keys)
    }

    /// Follows the change of a route. What got or lost a Gateway becomes dirty.
    pub(crate) fn route_changed(&mut self, old: &BTreeSet<Use>, new: &BTreeSet<Use>, dirty: &mut Dirty) {
        for (service, gateway) in new.difference(old) {
            let count = self.0.entry(service.clone()).or_default().entry(gateway.clone()).or_default();
            *count += 1;
            if *count == 1 {
                dirty.insert(Dependency::Users(service.clone()));
            }
        }
        for (service, gateway) in old.difference(new) {
            let Some(gateways) = self.0.get_mut(service) else { continue };
            let Some(count) = gateways.get_mut(gateway) else { continue };
            *count -= 1;
            if *count == 0 {
                gateways.remove(gateway);
                if gateways.is_empty() {
                    self.0.remove(service);
                }
                dirty.insert(Dependency::Users(service.clone()));
            }
        }
    }
}

/// What gets requests of a route, and through which Gateways.
pub(crate) fn uses(route: Option<&RouteOutcome>) -> BTreeSet<Use> {
    let Some(route) = route else { return BTreeSet::new() };
    let wanted = route.contribution.clusters.iter().map(|want| backend(&want.spec));
    let backends: BTreeSet<_> = wanted.chain(route.idle.iter().cloned()).collect();
    let pairs = |backend: Key| route.gateways.keys().map(move |gateway| (backend.clone(), gateway.clone()));
    backends.into_iter().flat_map(pairs).collect()
}

/// What a cluster leads to.
pub(crate) fn backend(spec: &ClusterSpec) -> Key {
    let kind = if spec.external.is_some() { Kind::XBackend } else { Kind::Service };
    Key { kind, name: NamespacedName::new(spec.service.namespace.clone(), spec.service.name.clone()) }
}
