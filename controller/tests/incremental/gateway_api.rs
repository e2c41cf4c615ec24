//! Objects of Gateway API: classes and their parameters, Gateways, ListenerSets and routes, sound and broken.

use genkan_controller::resources::{Kind, Object};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::{host, namespace, object, policies};

pub(crate) fn gateway_kind() -> impl Strategy<Value = Object> {
    prop_oneof![
        1 => (select(vec!["genkan.dev/gateway-controller", "example.org/other"]), any::<bool>()).prop_map(|(controller, own)| {
            let parameters =
                json!({"group": "genkan.dev", "kind": "GatewayParameters", "namespace": "x", "name": "pool"});
            let spec = json!({"controllerName": controller, "parametersRef": own.then_some(parameters)});
            Object::GatewayClass(object(json!({"metadata": {"name": "genkan"}, "spec": spec})))
        }),
        1 => select(vec!["192.0.2.1", "192.0.2.1-192.0.2.9", "nowhere"]).prop_map(|range| {
            let spec = json!({"addresses": {"mode": "Pool", "pool": {"dynamic": [range]}}});
            Object::GatewayParameters(object(json!({"metadata": {"namespace": "x", "name": "pool"}, "spec": spec})))
        }),
        2 => gateway(),
        1 => listener_set(),
        4 => http_route(),
        2 => grpc_route(),
        3 => stream_route(),
        1 => (namespace(), namespace(), select(vec!["Service", "Secret"])).prop_map(|(to, from, kind)| {
            let kinds = if kind == "Service" { vec!["HTTPRoute", "GRPCRoute"] } else { vec!["Gateway", "XBackend"] };
            let group = |kind| if kind == "XBackend" { "gateway.networking.x-k8s.io" } else { "gateway.networking.k8s.io" };
            let from = |kind| json!({"group": group(kind), "kind": kind, "namespace": from});
            Object::ReferenceGrant(object(json!({
                "metadata": {"namespace": to, "name": "grant"},
                "spec": {
                    "from": kinds.into_iter().map(from).collect::<Vec<_>>(),
                    "to": [{"group": "", "kind": kind}],
                },
            })))
        }),
        1 => x_backend(),
        1 => policies::traffic_policy(),
        2 => policies::backend_tls_policy(),
        4 => policies::route_policy(),
        1 => (namespace(), any::<bool>()).prop_map(|(name, labelled)| {
            let labels = if labelled { json!({"team": "web"}) } else { json!({}) };
            Object::Namespace(object(json!({"metadata": {"name": name, "labels": labels}})))
        }),
    ]
}

fn gateway() -> impl Strategy<Value = Object> {
    let from = select(vec![
        json!({"from": "Same"}),
        json!({"from": "All"}),
        json!({"from": "Selector", "selector": {"matchLabels": {"team": "web"}}}),
    ]);
    // A TCP or UDP service may want the port as well.
    let spoken = select(vec![
        ("HTTP", 80, None),
        ("HTTP", 9000, None),
        ("HTTPS", 443, Some("x")),
        ("HTTPS", 443, Some("y")),
        ("TLS", 443, Some("x")),
        ("TLS", 443, None),
        ("TCP", 9000, None),
        ("UDP", 9001, None),
    ]);
    let client = option::of((select(vec!["tls-a", "tls-wild"]), option::of(namespace())));
    let name = (select(vec!["g1", "g2"]), option::weighted(0.3, Just("All")));
    (namespace(), name, host(), from, spoken, (any::<bool>(), client)).prop_map(
        |(namespace, (name, scope), host, from, (protocol, port, certificate), (asks, client))| {
            let references = |namespace| json!([{"name": "tls-wild", "namespace": namespace}]);
            let tls = match (protocol, certificate) {
                (_, Some(namespace)) => json!({"mode": "Terminate", "certificateRefs": references(namespace)}),
                ("TLS", None) => json!({"mode": "Passthrough"}),
                _ => json!(null),
            };
            let authority = json!({"group": "", "kind": "Secret", "name": "authority"});
            let validation = asks.then_some(json!({"caCertificateRefs": [authority]}));
            let client = client.map(|(name, namespace)| json!({"name": name, "namespace": namespace}));
            let both = json!({
                "frontend": {"default": {"validation": validation}}, "backend": {"clientCertificateRef": client},
            });
            Object::Gateway(object(json!({
                "metadata": {"namespace": namespace, "name": name},
                "spec": {"gatewayClassName": "genkan", "defaultScope": scope,
                    "allowedListeners": {"namespaces": from}, "tls": both, "listeners": [{
                    "name": "web", "port": port, "protocol": protocol, "hostname": host,
                    "allowedRoutes": {"namespaces": from}, "tls": tls,
                }]},
            })))
        },
    )
}

/// Outside, in plaintext or with all that TLS may refer to.
fn x_backend() -> impl Strategy<Value = Object> {
    let authority = select(vec![
        json!({"hostname": "out.test", "wellKnownCACertificates": "System"}),
        json!({"hostname": "out.test", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}),
        json!({"hostname": "out.test", "caCertificateRefs": [{"group": "", "kind": "Secret", "name": "authority"}]}),
    ]);
    let client = option::of((select(vec!["tls-a", "broken"]), option::of(namespace())));
    (namespace(), option::of((authority, client))).prop_map(|(namespace, tls)| {
        let tls = tls.map(|(validation, client)| match client {
            None => json!({"mode": "ServerOnly", "validation": validation}),
            Some((name, namespace)) => json!({
                "mode": "ClientAndServer", "validation": validation,
                "clientCertificateRef": {"name": name, "namespace": namespace},
            }),
        });
        let hostname = json!({"hostname": "external.example.org"});
        Object::XBackend(object(json!({
            "metadata": {"namespace": namespace, "name": "out"},
            "spec": {"type": "ExternalHostname", "port": {"port": 80}, "externalHostname": hostname, "tls": tls},
        })))
    })
}

/// What asks for default Gateways.
fn defaults() -> impl Strategy<Value = Option<&'static str>> {
    option::weighted(0.3, Just("All"))
}

fn stream_route() -> impl Strategy<Value = Object> {
    let backend = (select(vec!["a", "b", "d"]), option::of(namespace()), 0u8..3).prop_map(
        |(name, namespace, weight)| json!({"name": name, "namespace": namespace, "port": 80, "weight": weight}),
    );
    let parent = (select(vec!["g1", "g2"]), option::of(namespace()));
    let kind = select(vec![Kind::TlsRoute, Kind::TcpRoute, Kind::UdpRoute]);
    let name = (select(vec!["r1", "r2"]), defaults());
    (kind, namespace(), name, parent, host(), vec(backend, 0..3)).prop_map(
        |(kind, namespace, (name, defaults), (gateway, parent), host, backends)| {
            let hostnames = host.into_iter().collect::<Vec<_>>();
            let route = json!({
                "metadata": {"namespace": namespace, "name": name},
                "spec": {
                    "useDefaultGateways": defaults,
                    "parentRefs": [{"name": gateway, "namespace": parent}], "hostnames": hostnames,
                    "rules": [{"backendRefs": backends}],
                },
            });
            match kind {
                Kind::TlsRoute => Object::TlsRoute(object(route)),
                Kind::TcpRoute => Object::TcpRoute(object(route)),
                _ => Object::UdpRoute(object(route)),
            }
        },
    )
}

fn listener_set() -> impl Strategy<Value = Object> {
    let listener = (host(), select(vec![80, 9000]), select(vec!["HTTP", "HTTPS"]));
    (namespace(), select(vec!["l1", "l2"]), select(vec!["g1", "g2"]), option::of(namespace()), vec(listener, 1..3))
        .prop_map(|(namespace, name, gateway, parent, listeners)| {
            let listener = |(index, (host, port, protocol)): (usize, (Option<&str>, i32, &str))| {
                let tls = (protocol == "HTTPS").then(|| json!({"certificateRefs": [{"name": "tls-wild"}]}));
                let name = format!("extra-{index}");
                json!({"name": name, "port": port, "protocol": protocol, "hostname": host, "tls": tls})
            };
            let listeners: Vec<_> = listeners.into_iter().enumerate().map(listener).collect();
            Object::ListenerSet(object(json!({
                "metadata": {"namespace": namespace, "name": name},
                "spec": {"parentRef": {"name": gateway, "namespace": parent}, "listeners": listeners},
            })))
        })
}

/// Of a rule: none, or a policy, also beside what is no filter.
pub(crate) fn filters() -> impl Strategy<Value = Value> {
    let reference = json!({
        "type": "ExtensionRef", "extensionRef": {"group": "genkan.dev", "kind": "RoutePolicy", "name": "p1"},
    });
    let broken = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["no name"]}});
    select(vec![json!([]), json!([]), json!([reference]), json!([broken, reference])])
}

fn http_route() -> impl Strategy<Value = Object> {
    let path = (select(vec!["Exact", "PathPrefix"]), select(vec!["/", "/foo", "/foo/bar"]))
        .prop_map(|(kind, value)| json!({"path": {"type": kind, "value": value}}));
    let backend = (select(vec!["a", "b", "d"]), option::of(namespace()), 0u8..3).prop_map(
        |(name, namespace, weight)| json!({"name": name, "namespace": namespace, "port": 80, "weight": weight}),
    );
    let outside = option::of(namespace()).prop_map(
        |namespace| json!({"group": "gateway.networking.x-k8s.io", "kind": "XBackend", "name": "out", "namespace": namespace}),
    );
    let backend = prop_oneof![5 => backend, 1 => outside];
    let rule = (vec(path, 0..3), vec(backend, 0..3), option::of(Just("named")), filters()).prop_map(
        |(matches, backends, name, filters)| {
            json!({"name": name, "matches": matches, "backendRefs": backends, "filters": filters})
        },
    );
    let parent = (select(vec![("Gateway", "g1"), ("Gateway", "g2"), ("ListenerSet", "l1")]), option::of(namespace()));
    let name = (select(vec!["r1", "r2"]), option::of(Just("2024-06-01T00:00:00Z")), defaults());
    (namespace(), name, parent, option::of(host()), vec(rule, 1..3)).prop_map(
        |(namespace, (name, created, defaults), ((kind, gateway), parent), host, rules)| {
            let hostnames = host.flatten().into_iter().collect::<Vec<_>>();
            Object::HttpRoute(object(json!({
                "metadata": {"namespace": namespace, "name": name, "creationTimestamp": created},
                "spec": {
                    "useDefaultGateways": defaults,
                    "parentRefs": [{"kind": kind, "name": gateway, "namespace": parent}, {"name": "g1"}],
                    "hostnames": hostnames, "rules": rules,
                },
            })))
        },
    )
}

/// Some are older, some younger than the HTTPRoutes with which they have a hostname in common.
fn grpc_route() -> impl Strategy<Value = Object> {
    let method = (option::of(select(vec!["s", "t"])), option::of(select(vec!["m", "("])))
        .prop_map(|(service, method)| json!({"method": {"service": service, "method": method}}));
    let backend = (select(vec!["a", "b", "d"]), option::of(namespace()))
        .prop_map(|(name, namespace)| json!({"name": name, "namespace": namespace, "port": 80}));
    let rule = (vec(method, 0..3), vec(backend, 0..2))
        .prop_map(|(matches, backends)| json!({"matches": matches, "backendRefs": backends}));
    let parent = (select(vec!["g1", "g2"]), option::of(namespace()));
    let created = option::of(select(vec!["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"]));
    let name = (select(vec!["r1", "r2"]), created);
    (namespace(), name, parent, option::of(host()), vec(rule, 1..3)).prop_map(
        |(namespace, (name, created), (gateway, parent), host, rules)| {
            let hostnames = host.flatten().into_iter().collect::<Vec<_>>();
            Object::GrpcRoute(object(json!({
                "metadata": {"namespace": namespace, "name": name, "creationTimestamp": created},
                "spec": {
                    "parentRefs": [{"name": gateway, "namespace": parent}], "hostnames": hostnames, "rules": rules,
                },
            })))
        },
    )
}
