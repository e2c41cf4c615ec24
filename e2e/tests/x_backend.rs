//! XBackends from files: requests leave the cluster only for whom the XBackend trusts, with the certificate that it names.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use genkan_e2e::genkan::{can_have_hosts, own_address};
use genkan_e2e::manifests::secret;
use genkan_e2e::tls::Pair;
use genkan_e2e::tls_front::{Handshake, TlsFront};
use genkan_e2e::{Echo, Genkan, Options, http1};

const ROUTED: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: genkan }\n\
                      spec: { controllerName: genkan.dev/gateway-controller }\n---\n\
                      apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: web }\n\
                      spec: { gatewayClassName: genkan, listeners: [{ name: http, port: 80, protocol: HTTP }] }\n---\n\
                      apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: web }\n\
                      spec: { parentRefs: [{ name: web }], rules: [{ backendRefs: [\
                      { group: gateway.networking.x-k8s.io, kind: XBackend, name: out }] }] }\n";
const GRANT: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: { name: g, namespace: certs }\n\
                     spec: { from: [{ group: gateway.networking.x-k8s.io, kind: XBackend, namespace: default }], \
                     to: [{ group: \"\", kind: Secret }] }\n";

/// The XBackend `out`, which is `out.test` at a port.
fn backend(port: u16, tls: &str) -> String {
    format!(
        "apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackend\nmetadata: {{ name: out }}\n\
         spec: {{ type: ExternalHostname, port: {{ port: {port} }}, externalHostname: {{ hostname: out.test }}, \
         tls: {{ {tls} }} }}\n"
    )
}

/// The ConfigMap `ca` with an authority.
fn authority(pair: &Pair) -> String {
    let indented = pair.certificate.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: ca }}\ndata:\n  ca.crt: |\n{indented}")
}

/// Where the world outside is; none where a test can't make one.
fn outside() -> Option<IpAddr> {
    // Names of this machine's loopback are refused on purpose.
    let own = own_address().filter(|_| can_have_hosts());
    if own.is_none() {
        eprintln!("not tested: this machine has no other address than loopback, or /etc/hosts can't be another");
    }
    own
}

/// Genkan, to which `out.test` is at an address.
fn serve(outside: IpAddr, files: &[(&str, &str)]) -> Genkan {
    // The other family is answered here as well, with what counts for nothing.
    let other = if outside.is_ipv4() { "::1" } else { "127.0.0.1" };
    let hosts = Some(format!("127.0.0.1 localhost\n{outside} out.test\n{other} out.test\n"));
    let files = [&[("routed.yaml", ROUTED)], files].concat();
    Genkan::serve_with(&files, Options { hosts, ..Options::default() })
}

fn status(genkan: &Genkan) -> u16 {
    http1::get(genkan.http(), "web.test", "/").status
}

#[test]
fn only_a_server_with_a_certificate_of_the_named_authority_gets_requests() {
    let Some(outside) = outside() else { return };
    let (echo, pair, other) = (Echo::start("web"), Pair::new(&["real.test"]), Pair::new(&["real.test"]));
    let front = TlsFront::start_at(outside, None, echo.address(), &pair, &["http/1.1"]);
    let bundle = "caCertificateRefs: [{ group: \"\", kind: ConfigMap, name: ca }]";
    let tls = |more: &str| {
        let tls = format!("mode: ServerOnly, validation: {{ hostname: asked.test, {bundle}{more} }}");
        backend(front.address().port(), &tls)
    };
    let names = ", subjectAltNames: [{ type: Hostname, hostname: real.test }]";
    let genkan = serve(outside, &[("out.yaml", &tls(names)), ("ca.yaml", &authority(&other))]);
    genkan.wait_until("the name is resolved", || status(&genkan) == 502);
    assert!(!front.handshakes().iter().any(|one| matches!(one, Handshake::Done { .. })), "{:?}", front.handshakes());
    genkan.write("ca.yaml", &authority(&pair));
    genkan.wait_until("the right authority", || status(&genkan) == 200);
    let done = Handshake::Done { server_name: Some("asked.test".to_owned()), protocol: Some("http/1.1".to_owned()) };
    assert!(front.handshakes().contains(&done), "{:?}", front.handshakes());
    // A kept connection does not outlive what it was made under.
    genkan.write("out.yaml", &tls(""));
    genkan.wait_until("a name that the certificate has not", || status(&genkan) == 502);
    genkan.write("out.yaml", &tls(names));
    genkan.wait_until("a name that it has", || status(&genkan) == 200);
    genkan.write("ca.yaml", "");
    genkan.wait_until("no authority", || status(&genkan) == 500);
    genkan.wait_until("it is told", || genkan.problem("NoValidCACertificate").is_some());
}

#[test]
fn a_server_that_asks_sees_the_certificate_that_is_named_and_granted() {
    let Some(outside) = outside() else { return };
    let (echo, pair) = (Echo::start("web"), Pair::new(&["out.test"]));
    let (right, wrong) = (Pair::new(&["client.test"]), Pair::new(&["client.test"]));
    let front = TlsFront::start_at(outside, Some(&right), echo.address(), &pair, &["http/1.1"]);
    let validation =
        "validation: { hostname: out.test, caCertificateRefs: [{ group: \"\", kind: ConfigMap, name: ca }] }";
    let shows =
        format!("mode: ClientAndServer, clientCertificateRef: {{ name: client, namespace: certs }}, {validation}");
    let port = front.address().port();
    let client = |pair: &Pair| {
        secret("client", &pair.certificate, &pair.key).replace("name: client", "name: client, namespace: certs")
    };
    let files = [
        ("out.yaml", &*backend(port, &format!("mode: ServerOnly, {validation}"))),
        ("ca.yaml", &authority(&pair)),
        ("client.yaml", &client(&right)),
    ];
    let genkan = serve(outside, &files);
    genkan.wait_until("the name is resolved", || status(&genkan) == 502);
    genkan.write("out.yaml", &backend(port, &shows));
    genkan.wait_until("no grant", || status(&genkan) == 500);
    genkan.wait_until("it is told", || genkan.problem("RefNotPermitted").is_some());
    genkan.write("grant.yaml", GRANT);
    genkan.wait_until("the right certificate", || status(&genkan) == 200);
    genkan.write("client.yaml", &client(&wrong));
    genkan.wait_until("the wrong certificate", || status(&genkan) == 502);
    genkan.write("client.yaml", "");
    genkan.wait_until("no certificate", || status(&genkan) == 500);
    genkan.wait_until("it is told", || genkan.problem("InvalidClientCertificateRef").is_some());
}
