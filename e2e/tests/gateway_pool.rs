//! Gateways with addresses of their own, without a cluster: each is served at its address and nowhere else.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use genkan_e2e::genkan::{Options, free_address};
use genkan_e2e::http1::{self, Client};
use genkan_e2e::manifests::service;
use genkan_e2e::{Echo, Genkan};

/// Addresses of loopback for one test, which tests of other processes most likely do not use.
fn pool(test: u8) -> [IpAddr; 2] {
    let process = u8::try_from(std::process::id() % 200).unwrap();
    [1, 2].map(|last| Ipv4Addr::new(127, 20 + process, test, last).into())
}

fn class([first, last]: [IpAddr; 2]) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{ name: pool }}\n\
         spec:\n  controllerName: genkan.dev/gateway-controller\n  \
         parametersRef: {{ group: genkan.dev, kind: GatewayParameters, namespace: default, name: pool }}\n---\n\
         apiVersion: genkan.dev/v1alpha1\nkind: GatewayParameters\nmetadata: {{ name: pool }}\n\
         spec: {{ addresses: {{ mode: Pool, pool: {{ dynamic: [{first}-{last}] }} }} }}\n---\n"
    )
}

/// A Gateway that names its address, and a route of it for every host.
fn gateway(name: &str, address: IpAddr, ports: &[u16]) -> String {
    let listener = |port: &u16| format!("{{ name: p{port}, port: {port}, protocol: HTTP }}");
    let listeners: Vec<_> = ports.iter().map(listener).collect();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{ name: {name} }}\n\
         spec:\n  gatewayClassName: pool\n  addresses: [{{ value: {address} }}]\n  \
         allowedListeners: {{ namespaces: {{ from: Same }} }}\n  listeners: [{}]\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: {name} }}\n\
         spec: {{ parentRefs: [{{ name: {name} }}], rules: [{{ backendRefs: [{{ name: {name}, port: 80 }}] }}] }}\n---\n",
        listeners.join(", ")
    )
}

fn served(at: SocketAddr) -> String {
    let answer = http1::request(at, "GET", "a.test", "/", &[], b"");
    answer.field("x-echo-name").map_or_else(|| answer.status.to_string(), str::to_owned)
}

#[test]
fn each_gateway_answers_at_its_address_and_never_with_the_routes_of_another() {
    let (one, two, set) = (Echo::start("one"), Echo::start("two"), Echo::start("set"));
    let (addresses, port, other) = (pool(1), free_address().port(), free_address().port());
    let text = [
        class(addresses),
        gateway("one", addresses[0], &[port]),
        gateway("two", addresses[1], &[port]),
        service("one", &[one.address()]),
        service("two", &[two.address()]),
        service("set", &[set.address()]),
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {{ name: more }}\n\
             spec: {{ parentRef: {{ name: two }}, listeners: [{{ name: more, port: {other}, protocol: HTTP }}] }}\n---\n\
             apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: set }}\n\
             spec:\n  parentRefs: [{{ kind: ListenerSet, name: more }}]\n  \
             rules: [{{ backendRefs: [{{ name: set, port: 80 }}] }}]\n"
        ),
    ];
    let genkan = Genkan::serve(&text.concat());
    assert_eq!(served((addresses[0], port).into()), "one");
    assert_eq!(served((addresses[1], port).into()), "two");
    assert_eq!(served((addresses[1], other).into()), "set");
    assert!(Client::connect((addresses[0], other).into()).is_err(), "the set is of the other Gateway");
    assert_eq!(served(genkan.http()), "404");
}

#[test]
fn what_changes_at_one_gateway_leaves_the_connections_of_another_alone() {
    let (one, two) = (Echo::start("one"), Echo::start("two"));
    let (addresses, port, other) = (pool(2), free_address().port(), free_address().port());
    let text = |ports: &[u16]| {
        let services = service("one", &[one.address()]) + &service("two", &[two.address()]);
        let second = if ports.is_empty() { String::new() } else { gateway("two", addresses[1], ports) };
        class(addresses) + &services + &gateway("one", addresses[0], &[port]) + &second
    };
    let genkan = Genkan::serve(&text(&[port]));
    let mut kept = Client::connect((addresses[0], port).into()).unwrap();
    assert_eq!(kept.get("a.test", "/").unwrap().status, 200);
    let answers = |at: SocketAddr| Client::connect(at).is_ok_and(|mut client| client.get("a.test", "/").is_ok());
    genkan.write("manifests.yaml", &text(&[other]));
    genkan.wait_until("the listener moves", || {
        answers((addresses[1], other).into()) && !answers((addresses[1], port).into())
    });
    assert_eq!(kept.get("a.test", "/").unwrap().status, 200);
    genkan.write("manifests.yaml", &text(&[]));
    genkan.wait_until("the Gateway goes", || !answers((addresses[1], other).into()));
    assert_eq!(kept.get("a.test", "/").unwrap().status, 200);
}

#[test]
fn at_the_address_of_a_gateway_nothing_else_is_served_also_without_bind_address() {
    let (own, shared) = (Echo::start("own"), Echo::start("shared"));
    let (addresses, port) = (pool(3), free_address().port());
    let ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: { name: shared }\n\
                   spec: { defaultBackend: { service: { name: shared, port: { number: 80 } } } }\n---\n";
    let text = |gateways: &str| {
        let services = service("own", &[own.address()]) + &service("shared", &[shared.address()]);
        class(addresses) + &services + ingress + gateways
    };
    let with = text(&gateway("own", addresses[0], &[port]));
    let options = Options { everywhere: true, ..Options::default() };
    let genkan = Genkan::serve_with(&[("manifests.yaml", &with)], options);
    let at = |address: IpAddr| SocketAddr::from((address, genkan.http().port()));
    assert_eq!(served((addresses[0], port).into()), "own");
    assert_eq!(served(genkan.http()), "shared");
    // An address of the pool that nobody has is one of the machine's.
    assert_eq!(served(at(addresses[1])), "shared");
    let refused = |address| Client::connect(at(address)).is_ok_and(|mut client| client.get("a.test", "/").is_err());
    assert!(refused(addresses[0]));
    // It is free again with the Gateway.
    genkan.write("manifests.yaml", &text(""));
    genkan.wait_until("the Gateway goes", || !refused(addresses[0]));
    assert_eq!(served(at(addresses[0])), "shared");
}
