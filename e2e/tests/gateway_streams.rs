//! Routes of streams: TLSRoute, TCPRoute and UDPRoute, from the manifests to the bytes.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

use genkan_e2e::genkan::free_address;
use genkan_e2e::http1;
use genkan_e2e::manifests::{ingress, secret, service};
use genkan_e2e::streams::{ask, connect, tcp_echo, udp_echo};
use genkan_e2e::tls::{self, Hello, Pair, TlsStream};
use genkan_e2e::tls_front::TlsFront;
use genkan_e2e::{Echo, Genkan};

const CLASS: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: genkan }\n\
                     spec: { controllerName: genkan.dev/gateway-controller }\n---\n";

/// A Gateway `gate` with these listeners.
fn gateway(listeners: &[String]) -> String {
    format!(
        "{CLASS}apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{ name: gate }}\n\
         spec: {{ gatewayClassName: genkan, listeners: [{}] }}\n---\n",
        listeners.join(", ")
    )
}

/// A route of a kind from a listener of `gate` to a Service.
fn route(kind: &str, listener: &str, hostnames: &[&str], service: &str) -> String {
    let hostnames = if hostnames.is_empty() { String::new() } else { format!("hostnames: {hostnames:?}, ") };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{ name: {listener} }}\n\
         spec: {{ parentRefs: [{{ name: gate, sectionName: {listener} }}], {hostnames}\
         rules: [{{ backendRefs: [{{ name: {service}, port: 80 }}] }}] }}\n---\n"
    )
}

/// As many bytes as this text has.
fn hear(stream: &mut impl Read, expected: &str) -> String {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn tls(genkan: &Genkan, name: &str) -> Option<TlsStream> {
    tls::connect(genkan.https(), &Hello::to(name)).ok()
}

#[test]
fn a_port_that_somebody_gives_up_is_taken() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let genkan = Genkan::serve(CLASS.trim_end_matches("---\n"));
    let listener = format!("{{ name: tcp, port: {}, protocol: TCP }}", address.port());
    let text = [gateway(&[listener]), service("tcp", &[tcp_echo("ours ")]), route("TCPRoute", "tcp", &[], "tcp")];
    genkan.write("gate.yaml", &text.concat().replacen(CLASS, "", 1));
    let told = || genkan.admin_get("/statuses").1.contains("can't be bound");
    genkan.wait_until("the status tells that the port is taken", told);
    drop(taken);
    // Nothing else changes.
    let ours = || {
        let mut bytes = [0; 5];
        let heard = TcpStream::connect(address).and_then(|mut stream| stream.read_exact(&mut bytes));
        heard.is_ok() && bytes == *b"ours "
    };
    genkan.wait_until("the port is ours", ours);
    genkan.wait_until("the status tells it", || !told());
}

#[test]
fn connections_and_datagrams_go_where_their_routes_lead() {
    let (tcp, udp) = (free_address(), free_address());
    let (ours, theirs) = (Pair::new(&["opened.test"]), Pair::new(&["passed.test"]));
    let echo = tcp_echo("passed ");
    let front = TlsFront::start(echo, &theirs, &["http/1.1"]);
    let udp_service =
        service("dns", &[udp_echo("got ")]).replace("[{ name: http, port: ", "[{ name: http, protocol: UDP, port: ");
    let text = [
        gateway(&[
            format!("{{ name: tcp, port: {}, protocol: TCP }}", tcp.port()),
            format!("{{ name: udp, port: {}, protocol: UDP }}", udp.port()),
            "{ name: opened, port: 443, protocol: TLS, hostname: opened.test, \
             tls: { certificateRefs: [{ name: ours }] } }"
                .to_owned(),
            "{ name: passed, port: 443, protocol: TLS, hostname: \"*.test\", tls: { mode: Passthrough } }".to_owned(),
        ]),
        secret("ours", &ours.certificate, &ours.key),
        service("tcp", &[tcp_echo("first ")]),
        service("opened", &[tcp_echo("opened ")]),
        service("passed", &[front.address()]),
        udp_service,
        route("TCPRoute", "tcp", &[], "tcp"),
        route("UDPRoute", "udp", &[], "dns"),
        route("TLSRoute", "opened", &["opened.test"], "opened"),
        route("TLSRoute", "passed", &["passed.test"], "passed"),
    ];
    let genkan = Genkan::serve(&text.concat());
    assert!(genkan.problems().is_empty(), "{:#?}", genkan.problems());

    let mut stream = connect(tcp);
    assert_eq!(hear(&mut stream, "first "), "first ");
    stream.write_all(b"ping").unwrap();
    assert_eq!(hear(&mut stream, "ping"), "ping");
    assert_eq!(ask(udp, "question"), "got question");

    for (name, pair, welcome) in [("opened.test", &ours, "opened "), ("passed.test", &theirs, "passed ")] {
        let mut stream = tls(&genkan, name).unwrap();
        assert!(tls::shown(&stream) == pair.der, "{name} is shown another certificate");
        assert_eq!(hear(&mut stream, welcome), welcome);
        stream.write_all(b"ping").unwrap();
        assert_eq!(hear(&mut stream, "ping"), "ping");
    }
    // A listener has the name, and no route.
    assert!(tls(&genkan, "other.test").is_none());
    // Nothing of the Gateway has it: it is the Ingresses'.
    assert!(tls(&genkan, "other.example").is_some());
}

#[test]
fn a_route_that_changes_meets_new_connections_and_leaves_running_ones() {
    let port = free_address();
    let all = [
        gateway(&[format!("{{ name: tcp, port: {}, protocol: TCP }}", port.port())]),
        service("one", &[tcp_echo("one")]),
        service("two", &[tcp_echo("two")]),
    ];
    let files = [("all.yaml", all.concat()), ("route.yaml", route("TCPRoute", "tcp", &[], "one"))];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let genkan = Genkan::serve_with(&files, genkan_e2e::Options::with(&[]));
    let mut running = connect(port);
    assert_eq!(hear(&mut running, "one"), "one");
    genkan.write("route.yaml", &route("TCPRoute", "tcp", &[], "two"));
    let welcome = || {
        let mut text = String::new();
        let mut stream = connect(port);
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_to_string(&mut text).map(|_| text).unwrap_or_default()
    };
    genkan.wait_until("the new route is served", || welcome() == "two");
    running.write_all(b"ping").unwrap();
    assert_eq!(hear(&mut running, "ping"), "ping");

    // Without a route the port stays, and its connections are closed.
    genkan.write("route.yaml", "");
    genkan.wait_until("nothing is served", || welcome().is_empty());
    running.write_all(b"pong").unwrap();
    assert_eq!(hear(&mut running, "pong"), "pong");
}

#[test]
fn a_name_is_for_its_most_specific_listener_only() {
    let (ours, theirs) = (Pair::new(&["web.test"]), Pair::new(&["passed.test"]));
    let (echo, stranger) = (Echo::start("web"), Echo::start("stranger"));
    let front = TlsFront::start(stranger.address(), &theirs, &["http/1.1"]);
    let text = [
        gateway(&[
            "{ name: wild, port: 443, protocol: TLS, hostname: \"*.test\", tls: { mode: Passthrough } }".to_owned()
        ]),
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: web }\n\
         spec: { gatewayClassName: genkan, listeners: [{ name: web, port: 443, protocol: HTTPS, hostname: web.test, \
         tls: { certificateRefs: [{ name: ours }] } }] }\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: web }\n\
         spec: { parentRefs: [{ name: web }], rules: [{ backendRefs: [{ name: web, port: 80 }] }] }\n---\n"
            .to_owned(),
        secret("ours", &ours.certificate, &ours.key),
        service("web", &[echo.address()]),
        service("stranger", &[front.address()]),
        route("TLSRoute", "wild", &["web.test", "ingress.test", "passed.test"], "stranger"),
        ingress("ingress", "ingress.test", "web", &[]),
    ];
    let genkan = Genkan::serve(&text.concat());
    let answer = |name: &str, host: &str| {
        let answer = http1::Client::new(tls(&genkan, name).unwrap()).get(host, "/").unwrap();
        (answer.status, answer.field("x-echo-name").map(str::to_owned))
    };
    let from = |name: &str| (200, Some(name.to_owned()));
    for (name, backend) in [("web.test", "web"), ("ingress.test", "web"), ("passed.test", "stranger")] {
        assert_eq!(answer(name, name), from(backend), "{name}");
    }
    assert!(
        tls::shown(&tls(&genkan, "web.test").unwrap()) == ours.der,
        "a name is shown another listener's certificate"
    );
    // Requests for the other listener's host come over the wrong connection.
    assert_eq!(answer("web.test", "passed.test"), (421, None));
    let told = genkan.problem("HostnameConflict").map(|[origin, message, _]| (origin, message));
    let (origin, message) = told.expect("it is told");
    assert_eq!(origin, "TLSRoute default/wild: spec.hostnames");
    assert!(message.contains("web.test belongs to another listener"), "{message}");
}
