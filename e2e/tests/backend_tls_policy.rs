//! BackendTLSPolicies from files: requests, and what TLS carried that ended here, reach only endpoints that show what a
//! policy asks for, with the certificate of the Gateway.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::io::Read;

use genkan_e2e::http1;
use genkan_e2e::manifests::{secret, service};
use genkan_e2e::streams::tcp_echo;
use genkan_e2e::tls::{self, Hello, Pair};
use genkan_e2e::tls_front::{Handshake, TlsFront};
use genkan_e2e::{Echo, Genkan, Options};

const CLASS: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: genkan }\n\
                     spec: { controllerName: genkan.dev/gateway-controller }\n---\n";
const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: web }\n\
                     spec:\n  parentRefs: [{ name: web }]\n  \
                     rules: [{ backendRefs: [{ name: web, port: 80 }] }]\n---\n";

/// A Gateway `web` that shows backends the certificate of a Secret.
fn gateway(shows: Option<&str>) -> String {
    let tls = shows.map_or(String::new(), |name| {
        format!("  tls: {{ backend: {{ clientCertificateRef: {{ name: {name} }} }} }}\n")
    });
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{ name: web }}\n\
         spec:\n  gatewayClassName: genkan\n{tls}  listeners: [{{ name: http, port: 80, protocol: HTTP }}]\n---\n"
    )
}

/// A policy for the Service `web`.
fn policy(hostname: &str, more: &str) -> String {
    let authorities = "[{ group: \"\", kind: ConfigMap, name: ca }]";
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{ name: web }}\n\
         spec:\n  targetRefs: [{{ group: \"\", kind: Service, name: web }}]\n  \
         validation: {{ hostname: {hostname}, caCertificateRefs: {authorities}{more} }}\n"
    )
}

/// The ConfigMap `ca` with an authority.
fn authority(pair: &Pair) -> String {
    let indented = pair.certificate.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: ca }}\ndata:\n  ca.crt: |\n{indented}")
}

/// Genkan in front of a backend.
fn serve(front: &TlsFront, gateway: &str, policy: &str, authority: &str) -> Genkan {
    let web = service("web", &[front.address()]) + CLASS + ROUTE;
    let files = [("web.yaml", &*web), ("gateway.yaml", gateway), ("policy.yaml", policy), ("ca.yaml", authority)];
    Genkan::serve_with(&files, Options::default())
}

fn status(genkan: &Genkan) -> u16 {
    http1::get(genkan.http(), "web.test", "/").status
}

fn is_done(handshake: &Handshake) -> bool {
    matches!(handshake, Handshake::Done { .. })
}

#[test]
fn only_endpoints_with_a_certificate_of_the_authority_get_requests() {
    let (echo, pair, other) = (Echo::start("web"), Pair::new(&["web.test"]), Pair::new(&["web.test"]));
    let front = TlsFront::start(echo.address(), &pair, &["http/1.1"]);
    let genkan = serve(&front, &gateway(None), &policy("web.test", ""), &authority(&other));
    assert_eq!(status(&genkan), 502);
    assert!(!front.handshakes().iter().any(is_done), "{:?}", front.handshakes());
    genkan.write("ca.yaml", &authority(&pair));
    genkan.wait_until("the right authority", || status(&genkan) == 200);
    let done = Handshake::Done { server_name: Some("web.test".to_owned()), protocol: Some("http/1.1".to_owned()) };
    assert!(front.handshakes().contains(&done), "{:?}", front.handshakes());
    // A kept connection to the endpoint does not outlive what it was made under.
    genkan.write("ca.yaml", &authority(&other));
    genkan.wait_until("the wrong authority", || status(&genkan) == 502);
}

#[test]
fn another_name_is_refused_and_an_alternative_name_is_taken() {
    let (echo, pair) = (Echo::start("web"), Pair::new(&["real.test"]));
    let front = TlsFront::start(echo.address(), &pair, &["http/1.1"]);
    let genkan = serve(&front, &gateway(None), &policy("web.test", ""), &authority(&pair));
    assert_eq!(status(&genkan), 502);
    let names = ", subjectAltNames: [{ type: Hostname, hostname: real.test }]";
    genkan.write("policy.yaml", &policy("web.test", names));
    genkan.wait_until("the alternative name", || status(&genkan) == 200);
}

#[test]
fn a_policy_without_an_authority_sends_nothing() {
    let (echo, pair) = (Echo::start("web"), Pair::new(&["web.test"]));
    let front = TlsFront::start(echo.address(), &pair, &["http/1.1"]);
    let genkan = serve(&front, &gateway(None), &policy("web.test", ""), "");
    assert_eq!(status(&genkan), 502);
    assert_eq!(front.handshakes(), []);
    assert!(genkan.problem("NoValidCACertificate").is_some(), "{:?}", genkan.problems());
}

#[test]
fn a_gateway_shows_its_certificate_to_backends() {
    let (echo, pair) = (Echo::start("web"), Pair::new(&["web.test"]));
    let (right, wrong) = (Pair::new(&["gateway.test"]), Pair::new(&["gateway.test"]));
    let front = TlsFront::start_for(&right, echo.address(), &pair, &["http/1.1"]);
    let with = |shows, client: &Pair| gateway(shows) + &secret("client", &client.certificate, &client.key);
    let genkan = serve(&front, &with(None, &right), &policy("web.test", ""), &authority(&pair));
    assert_eq!(status(&genkan), 502);
    genkan.write("gateway.yaml", &with(Some("client"), &right));
    genkan.wait_until("the right certificate", || status(&genkan) == 200);
    genkan.write("gateway.yaml", &with(Some("client"), &wrong));
    genkan.wait_until("the wrong certificate", || status(&genkan) == 502);
    genkan.write("gateway.yaml", &with(Some("none"), &right));
    genkan.wait_until("no certificate", || genkan.problem("InvalidClientCertificateRef").is_some());
    assert_eq!(status(&genkan), 502);
}

#[test]
fn what_tls_carried_goes_on_in_tls_to_endpoints_that_the_policy_trusts() {
    const ROUTED: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: web }\n\
                          spec: { gatewayClassName: genkan, listeners: [{ name: tls, port: 443, protocol: TLS, \
                          hostname: opened.test, tls: { certificateRefs: [{ name: ours }] } }] }\n---\n\
                          apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: { name: web }\n\
                          spec: { parentRefs: [{ name: web }], hostnames: [opened.test], \
                          rules: [{ backendRefs: [{ name: web, port: 80 }] }] }\n---\n";
    let (ours, pair, other) = (Pair::new(&["opened.test"]), Pair::new(&["web.test"]), Pair::new(&["web.test"]));
    let front = TlsFront::start(tcp_echo("welcome"), &pair, &["http/1.1"]);
    let web = [CLASS, ROUTED, &service("web", &[front.address()]), &secret("ours", &ours.certificate, &ours.key)];
    let (policy, authority) = (policy("web.test", ""), authority);
    let files = [("web.yaml", &*web.concat()), ("policy.yaml", &policy), ("ca.yaml", &authority(&other))];
    let genkan = Genkan::serve_with(&files, Options::default());
    let heard = || {
        let mut stream = tls::connect(genkan.https(), &Hello::to("opened.test")).unwrap();
        let mut bytes = [0; "welcome".len()];
        stream.read_exact(&mut bytes).ok().map(|()| bytes)
    };
    assert_eq!(heard(), None);
    assert!(!front.handshakes().iter().any(is_done), "{:?}", front.handshakes());
    genkan.write("ca.yaml", &authority(&pair));
    genkan.wait_until("the right authority", || heard().as_ref() == Some(b"welcome"));
    let done = Handshake::Done { server_name: Some("web.test".to_owned()), protocol: None };
    assert!(front.handshakes().contains(&done), "{:?}", front.handshakes());
}
