//! Users: through which Gateways a Service gets requests, or what TLS carried that ended there. Counted as routes come and go, never by looking at all of
//! them.

use std::collections::{BTreeMap, BTreeSet};

use super::route::RouteOutcome;
use crate::resources::NamespacedName;
use crate::translate::reader::{Dependency, Dirty, Reader};

/// A Service and a Gateway through which it gets something.
pub(crate) type Use = (NamespacedName, NamespacedName);

/// By Service: its Gateways, and how many routes of each lead there.
#[derive(Debug, Default)]
pub(crate) struct Users(BTreeMap<NamespacedName, BTreeMap<NamespacedName, usize>>);

impl Users {
    /// The Gateways through which a Service gets requests.
    pub(crate) fn of(&self, service: &NamespacedName, reader: &Reader<'_>) -> impl Iterator<Item = &NamespacedName> {
        reader.note(Dependency::Users(service.clone()));
        self.0.get(service).into_iter().flat_map(BTreeMap::keys)
    }

    /// Follows the change of a route. Services that got or lost a Gateway become dirty.
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

/// Which Services get requests of a route, and through which Gateways.
pub(crate) fn uses(route: Option<&RouteOutcome>) -> BTreeSet<Use> {
    let Some(route) = route else { return BTreeSet::new() };
    let services: BTreeSet<_> =
        route.contribution.clusters.iter().filter_map(|want| want.spec.service_name()).collect();
    let pairs = |service: NamespacedName| route.gateways.iter().map(move |gateway| (service.clone(), gateway.clone()));
    services.into_iter().flat_map(pairs).collect()
}
