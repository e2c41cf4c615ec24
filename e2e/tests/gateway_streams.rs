//! Routes of streams: TLSRoute, TCPRoute and UDPRoute, from the manifests to the bytes.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;

use genkan_e2e::genkan::free_address;
use genkan_e2e::http1;
use genkan_e2e::manifests::{ingress, secret, service};
use genkan_e2e::streams::{self, ask, ask_over, client, connect, tcp_echo, udp_echo, udp_port_teller};
use genkan_e2e::tls::{self, Hello, Pair, TlsStream};
use genkan_e2e::tls_front::TlsFront;
use genkan_e2e::{Echo, Genkan, PATIENCE};

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

/// A Service of datagrams.
fn udp_service(name: &str, backend: SocketAddr) -> String {
    service(name, &[backend]).replace("[{ name: http, port: ", "[{ name: http, protocol: UDP, port: ")
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
        udp_service("dns", udp_echo("got ")),
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

/// Listeners for each kind of stream: of TCP, of UDP, and of TLS that is opened, for `opened.test`.
fn of_each_kind(tcp: SocketAddr, udp: SocketAddr) -> String {
    gateway(&[
        format!("{{ name: tcp, port: {}, protocol: TCP }}", tcp.port()),
        format!("{{ name: udp, port: {}, protocol: UDP }}", udp.port()),
        "{ name: opened, port: 443, protocol: TLS, hostname: opened.test, tls: { certificateRefs: [{ name: ours }] } }"
            .to_owned(),
    ])
}

/// A backend that says `first` and closes its half, and then tells what it hears until the client has closed its own.
fn closes_its_half(first: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, hears) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            stream.write_all(first.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            // The test may be over.
            let _ = heard.send(text);
        }
    });
    (address, hears)
}

/// A backend that says nothing before the client has closed its half, and then what it heard.
fn answers_after_the_end() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            stream.write_all(text.to_uppercase().as_bytes()).unwrap();
        }
    });
    address
}

#[test]
fn each_half_of_a_connection_closes_by_itself() {
    let (tcp, udp) = (free_address(), free_address());
    let ours = Pair::new(&["opened.test"]);
    let (backend, hears) = closes_its_half("bye");
    let text = [
        of_each_kind(tcp, udp),
        secret("ours", &ours.certificate, &ours.key),
        service("tcp", &[backend]),
        service("opened", &[answers_after_the_end()]),
        route("TCPRoute", "tcp", &[], "tcp"),
        route("TLSRoute", "opened", &["opened.test"], "opened"),
    ];
    let genkan = Genkan::serve(&text.concat());
    // The backend's half is closed first: what the client sends arrives all the same.
    let mut stream = connect(tcp);
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "bye");
    stream.write_all(b"after the end").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hears.recv_timeout(PATIENCE).unwrap(), "after the end");

    // The client's half is closed first, with TLS by its own word for it: what comes back then arrives.
    let mut stream = tls(&genkan, "opened.test").unwrap();
    stream.write_all(b"ping").unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "PING");
}

#[test]
fn a_session_of_datagrams_lasts_until_nothing_moved_for_its_idle_time() {
    let (short, long) = (free_address(), free_address());
    let listener = |name: &str, at: SocketAddr| format!("{{ name: {name}, port: {}, protocol: UDP }}", at.port());
    let idle = |section: &str, time: &str| {
        format!(
            "apiVersion: genkan.dev/v1alpha1\nkind: ListenerPolicy\nmetadata: {{ name: {section} }}\n\
             spec: {{ targetRefs: [{{ group: gateway.networking.k8s.io, kind: Gateway, name: gate, sectionName: \
             {section} }}], defaults: {{ streams: {{ idle: {time}, responses: 1000 }} }} }}\n---\n"
        )
    };
    let text = [
        gateway(&[listener("short", short), listener("long", long)]),
        udp_service("ports", udp_port_teller()),
        route("UDPRoute", "short", &[], "ports"),
        route("UDPRoute", "long", &[], "ports"),
        idle("short", "200ms"),
        idle("long", "1h"),
    ];
    let genkan = Genkan::serve(&text.concat());
    assert!(genkan.problems().is_empty(), "{:#?}", genkan.problems());
    let (short, long) = (client(short), client(long));
    let session = ask_over(&long, "?");
    ask_over(&short, "?");
    // A session's line tells its end, and how much it brought; and by 502 that not all answers came that were expected.
    let line = genkan.log_line();
    assert!(line.contains("] UDP 502 5 1 "), "{line}");
    ask_over(&short, "again");
    let line = genkan.log_line();
    assert!(line.contains("] UDP 502 5 5 "), "what comes after it is another session: {line}");
    assert_eq!(ask_over(&long, "?"), session, "the other one goes on");
}

#[test]
fn a_drain_lets_streams_of_gateways_finish() {
    let (tcp, udp) = (free_address(), free_address());
    let ours = Pair::new(&["opened.test"]);
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    datagrams.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = [
        of_each_kind(tcp, udp),
        secret("ours", &ours.certificate, &ours.key),
        service("tcp", &[tcp_echo("first ")]),
        service("opened", &[tcp_echo("opened ")]),
        udp_service("dns", datagrams.local_addr().unwrap()),
        route("TCPRoute", "tcp", &[], "tcp"),
        route("UDPRoute", "udp", &[], "dns"),
        route("TLSRoute", "opened", &["opened.test"], "opened"),
    ];
    let mut genkan = Genkan::serve(&text.concat());
    let (mut plain, mut opened, asks) = (connect(tcp), tls(&genkan, "opened.test").unwrap(), client(udp));
    assert_eq!((hear(&mut plain, "first "), hear(&mut opened, "opened ")), ("first ".into(), "opened ".into()));
    asks.send(b"question").unwrap();
    let mut question = [0; 64];
    let (count, asker) = datagrams.recv_from(&mut question).unwrap();
    assert_eq!(&question[..count], b"question");

    genkan.terminate();
    let https = genkan.https();
    genkan.wait_until("no new connection is taken", || [tcp, https].iter().all(|at| TcpStream::connect(at).is_err()));
    for stream in [&mut plain as &mut dyn Both, &mut opened] {
        stream.write_all(b"still here").unwrap();
        let mut text = [0; 10];
        stream.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"still here");
    }
    datagrams.send_to(b"answer", asker).unwrap();
    assert_eq!(streams::hear(&asks), "answer");
    let (sender, ended) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let status = genkan.wait();
        // The test may have failed by now.
        let _ = sender.send(status);
    });
    assert!(ended.try_recv().is_err(), "the process ended with connections open");
    drop((plain, opened));
    assert!(ended.recv_timeout(PATIENCE).unwrap().success());
    waiting.join().unwrap();
}

/// A connection, with TLS or without.
trait Both: Read + Write {}

impl<T: Read + Write> Both for T {}
