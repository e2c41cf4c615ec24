//! Isolation, asked of a model with nothing but the objects at hand: what is served through a Gateway is written in
//! routes that name it and that it takes, and backends in other namespaces are granted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_api::apis::experimental::gateways::{
    GatewayListeners, GatewayListenersAllowedRoutesNamespacesFrom as From,
};
use genkan_controller::resources::{NamespacedName, ParentReference, Resources};
use genkan_routing::model::{Action, Cluster, Listener, Model, Protocol, Rule, Stream, Table, Target};
use genkan_routing::name::{ClusterId, HostPattern, ObjectRef};

const GROUP: &str = "gateway.networking.k8s.io";

/// What routes attach to: kind, then namespace and name.
type Parent = (&'static str, NamespacedName);

/// Panics where a Gateway serves what is not for it.
pub fn assert_isolated(resources: &Resources, model: &Model) {
    for (id, table) in &model.tables {
        let parts: Vec<_> = id.as_str().splitn(4, '/').collect();
        let [kind, namespace, name, listener] = parts[..] else { continue };
        let kind = if kind == "listenerset" { "ListenerSet" } else { "Gateway" };
        assert_table(resources, model, &(kind, NamespacedName::new(namespace, name)), listener, table);
    }
    for listener in model.listeners.values() {
        assert_listener(resources, listener);
    }
    for rule in model.rules.values() {
        assert_granted(resources, model, rule);
    }
}

/// A port that the Service of a Gateway leads to is that Gateway's alone: nobody else listens there.
pub fn assert_ports_apart(model: &Model) {
    let mut owners = BTreeMap::new();
    // Those with addresses take only what comes to them; see `assert_listener`.
    for listener in model.listeners.values().filter(|listener| listener.addresses.is_empty()) {
        let datagrams = listener.protocol == Protocol::Udp;
        let before = owners.insert((datagrams, listener.port), &listener.id);
        assert!(before.is_none(), "port {} is that of {} and of {before:?}", listener.port, listener.id);
    }
}

/// The hosts of a Gateway's listener are its own, and its rules those of routes that name it.
fn assert_table(resources: &Resources, model: &Model, parent: &Parent, name: &str, table: &Table) {
    let of_name = listeners(resources, parent).iter().find(|listener| listener.name == name);
    let listener = of_name.unwrap_or_else(|| panic!("{parent:?} has no listener {name:?}"));
    let hostname =
        HostPattern::parse_suffix(listener.hostname.as_deref().unwrap_or_default()).unwrap_or(HostPattern::Any);
    for (host, matches) in &table.hosts {
        assert!(
            is_within(host, &hostname),
            "{host} is served by listener {name:?} of {parent:?}, which is for {hostname}"
        );
        for matched in &matches.matches {
            let Some(rule) = model.rules.get(&matched.rule) else { panic!("there is no rule {}", matched.rule) };
            let route = &rule.origin.object;
            let names = references(resources, route).iter().any(|reference| {
                target(reference, route).as_ref() == Some(parent)
                    && reference.section_name.as_deref().is_none_or(|section| section.is_empty() || section == name)
                    && reference.port.is_none_or(|port| port == listener.port)
            });
            assert!(names, "{route} is served by listener {name:?} of {parent:?}, which it does not name");
            let from = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref()?.from.as_ref());
            let elsewhere = matches!(from, Some(From::All | From::Selector));
            assert!(
                elsewhere || *route.namespace == *parent.1.namespace,
                "{route} is served by listener {name:?} of {parent:?}, which takes none of its namespace"
            );
        }
    }
}

/// On addresses of its own a Gateway is alone, and streams are those of routes that name a Gateway of that port.
fn assert_listener(resources: &Resources, listener: &Listener) {
    let streams = listener.stream.iter().chain(listener.passthrough.values());
    let streams: Vec<&Arc<Stream>> = streams.chain(listener.terminated.values().map(|it| &it.stream)).collect();
    let mut owners: Vec<BTreeSet<NamespacedName>> = Vec::new();
    for section in &listener.sections {
        let parts: Vec<_> = section.table.as_str().splitn(4, '/').collect();
        if let ["gateway" | "listenerset", namespace, name, _] = parts[..] {
            let kind = if parts[0] == "gateway" { "Gateway" } else { "ListenerSet" };
            owners.extend(gateway(resources, &(kind, NamespacedName::new(namespace, name))).map(|name| [name].into()));
        }
    }
    for stream in streams {
        let object = &stream.origin.object;
        let own = ["Gateway", "ListenerSet"].into_iter().find(|kind| *kind == object.kind);
        let all = match own {
            Some(kind) => vec![(kind, NamespacedName::new(object.namespace.clone(), object.name.clone()))],
            None if object.kind.ends_with("Route") => {
                let all = references(resources, object);
                let all = all.iter().filter_map(|reference| target(reference, object));
                let has_port = |parent: &Parent| {
                    listeners(resources, parent).iter().any(|own| u16::try_from(own.port) == Ok(listener.public_port))
                };
                let all: Vec<_> = all.filter(has_port).collect();
                assert!(!all.is_empty(), "{object} is served on port {}, which it does not name", listener.public_port);
                all
            }
            None => continue,
        };
        owners.push(all.iter().filter_map(|parent| gateway(resources, parent)).collect());
    }
    // `gateway/NAMESPACE/NAME/WIRE/PORT` is at addresses of its own.
    if listener.id.as_str().split('/').count() == 5 {
        let common = owners.iter().cloned().reduce(|common, these| common.intersection(&these).cloned().collect());
        assert!(common.is_none_or(|common| !common.is_empty()), "{} serves several Gateways: {owners:?}", listener.id);
    }
}

/// A backend in another namespace is used only where a grant says so.
fn assert_granted(resources: &Resources, model: &Model, rule: &Rule) {
    let (route, Action::Forward(forward)) = (&rule.origin.object, &rule.action) else { return };
    if !route.kind.ends_with("Route") {
        return;
    }
    let id = |target: &Target| if let Target::Cluster(id) = target { Some(id.clone()) } else { None };
    let clusters = forward.backends.iter().filter_map(|backend| id(&backend.target));
    for cluster in clusters.filter_map(|id: ClusterId| model.clusters.get(&id).cloned()) {
        assert!(
            cluster.service.namespace == route.namespace || is_granted(resources, route, &cluster),
            "{route} uses {} without a grant",
            cluster.id
        );
    }
}

fn is_granted(resources: &Resources, route: &ObjectRef, cluster: &Cluster) -> bool {
    let of_namespace = resources.reference_grants.iter().filter(|(key, _)| key.namespace == cluster.service.namespace);
    of_namespace.map(|(_, grant)| &grant.spec).any(|grant| {
        let from = |from: &&_| {
            let from: &gateway_api::apis::standard::referencegrants::ReferenceGrantFrom = from;
            from.group == GROUP && from.kind == route.kind && from.namespace == *route.namespace
        };
        let named = |name: &Option<String>| {
            name.as_deref().is_none_or(|name| name.is_empty() || name == &*cluster.service.name)
        };
        grant.from.iter().any(|it| from(&it))
            && grant.to.iter().any(|to| matches!(&*to.kind, "Service" | "XBackend") && named(&to.name))
    })
}

/// The Gateway that a parent is or belongs to.
fn gateway(resources: &Resources, (kind, name): &Parent) -> Option<NamespacedName> {
    match *kind {
        "Gateway" => Some(name.clone()),
        _ => {
            let parent = &resources.listener_sets.get(name)?.spec.parent_ref;
            let namespace = parent.namespace.as_deref().filter(|namespace| !namespace.is_empty());
            Some(NamespacedName::new(namespace.unwrap_or(&name.namespace), &*parent.name))
        }
    }
}

fn listeners<'r>(resources: &'r Resources, (kind, name): &Parent) -> &'r [GatewayListeners] {
    match *kind {
        "Gateway" => resources.gateways.get(name).map(|it| &*it.spec.listeners),
        _ => resources.listener_sets.get(name).map(|it| &*it.spec.listeners),
    }
    .unwrap_or_default()
}

/// What a reference of a route names, if that is something to attach to.
fn target(reference: &ParentReference, route: &ObjectRef) -> Option<Parent> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    // An empty group is the core group, where no parent is.
    if reference.group.as_deref().is_some_and(|group| group != GROUP) {
        return None;
    }
    let kind = match reference.kind.as_deref() {
        None | Some("" | "Gateway") => "Gateway",
        Some("ListenerSet") => "ListenerSet",
        Some(_) => return None,
    };
    let namespace = given(&reference.namespace).unwrap_or_else(|| route.namespace.to_string());
    Some((kind, NamespacedName::new(namespace, &*reference.name)))
}

/// The `parentRefs` of a route.
fn references(resources: &Resources, route: &ObjectRef) -> Vec<ParentReference> {
    macro_rules! read {
        ($route:expr) => {{
            let all = $route.and_then(|route| route.spec.parent_refs.as_ref()).into_iter().flatten();
            all.map(|reference| ParentReference {
                group: reference.group.clone(),
                kind: reference.kind.clone(),
                namespace: reference.namespace.clone(),
                name: reference.name.clone(),
                section_name: reference.section_name.clone(),
                port: reference.port,
            })
            .collect()
        }};
    }
    let key = NamespacedName::new(route.namespace.clone(), route.name.clone());
    let stream = match route.kind {
        "HTTPRoute" => return read!(resources.http_routes.get(&key)),
        "GRPCRoute" => return read!(resources.grpc_routes.get(&key)),
        "TLSRoute" => resources.tls_routes.get(&key),
        "TCPRoute" => resources.tcp_routes.get(&key),
        _ => resources.udp_routes.get(&key),
    };
    stream.map(|route| route.spec.parent_refs.clone()).unwrap_or_default()
}

/// Whether whoever `inner` covers is covered by `outer`.
fn is_within(inner: &HostPattern, outer: &HostPattern) -> bool {
    match (inner, outer) {
        (_, HostPattern::Any) => true,
        (HostPattern::Suffix(inner), HostPattern::Suffix(outer)) => {
            inner == outer || HostPattern::Suffix(outer.clone()).matches(inner.as_str())
        }
        (HostPattern::Exact(inner), outer) => outer.matches(inner.as_str()),
        _ => false,
    }
}
