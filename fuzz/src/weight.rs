//! How much objects of Gateway API ask for, so that what translation takes can be held against it.

use genkan_controller::resources::{ParentReference, Resources};
use serde_json::Value;

/// Units of work: one for each object, each listener, each entry of lists inside of objects, and each value that a policy
/// of ours says; and for each route what it asks for at each of its parents, which the API defines as the product of
/// listeners, hostnames and matches.
pub fn weight(resources: &Resources) -> usize {
    let objects = resources.keys().count();
    let listeners: usize = resources.gateways.values().map(|gateway| gateway.spec.listeners.len()).sum();
    let in_sets: usize = resources.listener_sets.values().map(|set| set.spec.listeners.len()).sum();
    // What a parent may have at most: nothing is looked up here, so that the bound stays simple.
    let most = resources.gateways.values().map(|gateway| gateway.spec.listeners.len());
    let most = most.chain(resources.listener_sets.values().map(|set| set.spec.listeners.len())).max().unwrap_or(0);
    let said = |spec: serde_json::Result<Value>| spec.map_or(0, |spec| values(&spec));
    let of_routes: usize = resources.route_policies.values().map(|it| said(serde_json::to_value(&it.spec))).sum();
    let of_clients: usize = resources.listener_policies.values().map(|it| said(serde_json::to_value(&it.spec))).sum();
    let mut all = objects + listeners + in_sets + of_routes + of_clients;
    let mut add = |parents: usize, hostnames: usize, matches: usize, entries: usize| {
        all += entries + (parents * most).max(1) * hostnames.max(1) * matches.max(1);
    };
    macro_rules! add_all {
        ($routes:expr) => {
            for route in $routes.values() {
                let rules = || route.spec.rules.iter().flatten();
                let matches = rules().map(|rule| rule.matches.as_ref().map_or(1, |all| all.len().max(1))).sum();
                let backends = rules().map(|rule| 1 + rule.backend_refs.as_ref().map_or(0, Vec::len));
                let filters: usize = rules().map(|rule| rule.filters.as_ref().map_or(0, Vec::len)).sum();
                let (parents, hostnames) = (route.spec.parent_refs.as_ref(), route.spec.hostnames.as_ref());
                let entries = backends.sum::<usize>() + filters;
                add(parents.map_or(0, Vec::len), hostnames.map_or(0, Vec::len), matches, entries);
            }
        };
    }
    add_all!(resources.http_routes);
    add_all!(resources.grpc_routes);
    let streams =
        resources.tls_routes.values().chain(resources.tcp_routes.values()).chain(resources.udp_routes.values());
    for route in streams {
        let parents: &[ParentReference] = &route.spec.parent_refs;
        add(
            parents.len(),
            route.spec.hostnames.len(),
            1,
            route.spec.rules.iter().map(|rule| rule.backend_refs.len()).sum(),
        );
    }
    all
}

/// How many values there are inside of a value, not counting what only holds others.
fn values(value: &Value) -> usize {
    match value {
        Value::Array(all) => all.iter().map(values).sum(),
        Value::Object(fields) => fields.values().map(values).sum(),
        _ => 1,
    }
}
