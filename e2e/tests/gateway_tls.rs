//! HTTPS listeners of Gateways: which certificate is shown and which routes are served for a server name.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;

use genkan_e2e::http1::Client;
use genkan_e2e::manifests::{ingress, secret, service, tls_ingress};
use genkan_e2e::tls::{self, Hello, Pair};
use genkan_e2e::{Echo, Genkan, grpc};

const CLASS: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: genkan }\n\
                     spec: { controllerName: genkan.dev/gateway-controller }\n---\n";

/// A Gateway `web` with an HTTPS listener on port 443 for each name, hostname (none if empty) and Secret.
fn gateway(listeners: &[(&str, &str, &str)]) -> String {
    let mut text = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: web }\n\
                    spec:\n  gatewayClassName: genkan\n  listeners:\n"
        .to_owned();
    for (name, hostname, secret) in listeners {
        let hostname = if hostname.is_empty() { String::new() } else { format!("hostname: \"{hostname}\", ") };
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "    - {{ name: {name}, port: 443, protocol: HTTPS, {hostname}\
             tls: {{ certificateRefs: [{{ name: {secret} }}] }} }}"
        );
    }
    text + "---\n"
}

/// A route of some hostnames to a Service, attached to one listener, or to all without a name.
fn route(name: &str, section: &str, hostnames: &[&str], service: &str) -> String {
    let section = if section.is_empty() { String::new() } else { format!(", sectionName: {section}") };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: {name} }}\n\
         spec:\n  parentRefs: [{{ name: web{section} }}]\n  hostnames: {hostnames:?}\n  \
         rules: [{{ backendRefs: [{{ name: {service}, port: 80 }}] }}]\n---\n"
    )
}

fn secret_of(name: &str, pair: &Pair) -> String {
    secret(name, &pair.certificate, &pair.key)
}

fn shown(genkan: &Genkan, name: &str) -> Option<Vec<u8>> {
    tls::connect(genkan.https(), &Hello::to(name)).ok().map(|stream| tls::shown(&stream))
}

/// What serves `host` on a connection that was made for `name`: what the backend calls itself, or the status.
fn served(genkan: &Genkan, name: &str, host: &str) -> String {
    let mut client = Client::new(tls::connect(genkan.https(), &Hello::to(name)).unwrap());
    let answer = client.get(host, "/").unwrap();
    answer.field("x-echo-name").map_or_else(|| answer.status.to_string(), str::to_owned)
}

#[test]
fn listeners_on_one_port_show_their_own_certificates_and_serve_their_own_routes() {
    let (one, two, wild) = (Echo::start("one"), Echo::start("two"), Echo::start("wild"));
    let pairs = [Pair::new(&["a.test"]), Pair::new(&["b.test"]), Pair::new(&["*.wild.test"])];
    let text = [
        CLASS.to_owned(),
        gateway(&[("a", "a.test", "a"), ("b", "b.test", "b"), ("wild", "*.wild.test", "wild")]),
        secret_of("a", &pairs[0]),
        secret_of("b", &pairs[1]),
        secret_of("wild", &pairs[2]),
        service("one", &[one.address()]),
        service("two", &[two.address()]),
        service("wild", &[wild.address()]),
        route("one", "a", &["a.test"], "one"),
        route("two", "b", &["b.test"], "two"),
        // Attached to listener `a` alone, which is not for these hosts.
        route("stray", "a", &["b.test", "x.wild.test"], "one"),
        route("wild", "wild", &["x.wild.test", "a.b.wild.test"], "wild"),
    ];
    let genkan = Genkan::serve(&text.concat());
    for (name, pair, backend) in [
        ("a.test", &pairs[0], "one"),
        ("b.test", &pairs[1], "two"),
        ("x.wild.test", &pairs[2], "wild"),
        ("a.b.wild.test", &pairs[2], "wild"),
    ] {
        assert!(shown(&genkan, name).as_ref() == Some(&pair.der), "{name} is shown another certificate");
        assert_eq!(served(&genkan, name, name), backend, "{name}");
    }
    // The listener is there, but no route for this host.
    assert_eq!(served(&genkan, "y.wild.test", "y.wild.test"), "404");
    // No listener and no Ingress has a certificate for these.
    for name in ["elsewhere.test", "wild.test"] {
        let certificate = shown(&genkan, name);
        assert!(pairs.iter().all(|pair| certificate.as_ref() != Some(&pair.der)), "{name}");
    }
    let problems = genkan.problems();
    let stray =
        problems.iter().find(|problem| problem["origin"].as_str().unwrap().starts_with("HTTPRoute default/stray"));
    assert!(stray.is_some(), "{problems:#?}");
}

#[test]
fn a_connection_for_one_listener_serves_no_other_ones_hosts() {
    let (one, two) = (Echo::start("one"), Echo::start("two"));
    let pairs = [Pair::new(&["a.test", "c.test"]), Pair::new(&["b.test"]), Pair::new(&["i.test"])];
    let text = [
        CLASS.to_owned(),
        gateway(&[("a", "a.test", "a"), ("b", "b.test", "b")]),
        secret_of("a", &pairs[0]),
        secret_of("b", &pairs[1]),
        service("one", &[one.address()]),
        service("two", &[two.address()]),
        route("one", "a", &["a.test"], "one"),
        route("two", "b", &["b.test"], "two"),
        tls_ingress("ingress", "i.test", "two", "i"),
        secret_of("i", &pairs[2]),
        ingress("plain", "plain.test", "one", &[]),
    ];
    let genkan = Genkan::serve(&text.concat());
    assert_eq!(served(&genkan, "a.test", "a.test"), "one");
    // Another listener has the host: the client is to make a connection for it (RFC 9110, section 15.5.20).
    assert_eq!(served(&genkan, "a.test", "b.test"), "421");
    assert_eq!(served(&genkan, "b.test", "a.test"), "421");
    // The Ingresses' part of the port is for every other host.
    assert_eq!(served(&genkan, "a.test", "i.test"), "421");
    assert_eq!(served(&genkan, "i.test", "a.test"), "421");
    for (name, host, expected) in
        [("i.test", "i.test", "two"), ("i.test", "plain.test", "one"), ("i.test", "elsewhere.test", "404")]
    {
        assert_eq!(served(&genkan, name, host), expected, "{host} on a connection for {name}");
    }
    // On HTTP/2, where clients would like to use one connection for several hosts.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = grpc::connect_tls(genkan.https(), "a.test").await;
        assert_eq!(grpc::get(&mut connection, "a.test", "/").await.unwrap().0, 200);
        assert_eq!(grpc::get(&mut connection, "b.test", "/").await.unwrap().0, 421);
        assert_eq!(grpc::get(&mut connection, "a.test", "/").await.unwrap().0, 200);
    });
}
