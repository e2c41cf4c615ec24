//! ListenerPolicies: each of their fields is written while Genkan runs, and acts on its listener, on no other, and on
//! connections that were there before.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use genkan_e2e::frames::{Frames, MAX_CONCURRENT_STREAMS};
use genkan_e2e::genkan::free_address;
use genkan_e2e::http1::{self, Client};
use genkan_e2e::manifests::{secret, service};
use genkan_e2e::tls::{self, Hello, ONLY_1_2, ONLY_1_3, Pair};
use genkan_e2e::{Echo, Genkan, Options, PATIENCE};
use rustls::{CipherSuite, ProtocolVersion};

const CLASS: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: genkan }\n\
                     spec: { controllerName: genkan.dev/gateway-controller }\n---\n";

/// A route from `gate` to the Service `web`.
fn route(kind: &str, section: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{ name: {section} }}\n\
         spec: {{ parentRefs: [{{ name: gate, sectionName: {section} }}], \
         rules: [{{ backendRefs: [{{ name: web, port: 80 }}] }}] }}\n---\n"
    )
}

fn gateway(listeners: &[String]) -> String {
    format!(
        "{CLASS}apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{ name: gate }}\n\
         spec: {{ gatewayClassName: genkan, listeners: [{}] }}\n---\n",
        listeners.join(", ")
    )
}

/// A Gateway with two listeners of HTTP at ports of their own: the first is what policies are for.
struct Site {
    genkan: Genkan,
    _echo: Echo,
    ours: SocketAddr,
    other: SocketAddr,
}

impl Site {
    fn serve() -> Self {
        let (echo, ours, other) = (Echo::start("web"), free_address(), free_address());
        let listener = |name: &str, at: SocketAddr| format!("{{ name: {name}, port: {}, protocol: HTTP }}", at.port());
        let text = [
            gateway(&[listener("ours", ours), listener("other", other)]),
            service("web", &[echo.address()]),
            route("HTTPRoute", "ours"),
            route("HTTPRoute", "other"),
        ];
        Self { genkan: Genkan::serve(&text.concat()), _echo: echo, ours, other }
    }

    /// Writes a policy that says this of the first listener.
    fn say(&self, defaults: &str) {
        say(&self.genkan, "ours", defaults);
    }

    /// The status of a request with a header line of this length.
    fn line(&self, at: SocketAddr, length: usize) -> u16 {
        http1::request(at, "GET", "web.test", "/", &[("X-Long", &"x".repeat(length))], b"").status
    }
}

fn say(genkan: &Genkan, section: &str, defaults: &str) {
    let policy = format!(
        "apiVersion: genkan.dev/v1alpha1\nkind: ListenerPolicy\nmetadata: {{ name: {section} }}\nspec:\n  \
         targetRefs: [{{ group: gateway.networking.k8s.io, kind: Gateway, name: gate, sectionName: {section} }}]\n  \
         defaults: {defaults}\n"
    );
    genkan.write(&format!("{section}.yaml"), &policy);
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes back for these bytes until the connection ends, in good order or not.
fn answer_to(address: SocketAddr, bytes: &str) -> String {
    let mut stream = connect(address);
    let mut answer = Vec::new();
    if stream.write_all(bytes.as_bytes()).is_ok() {
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut answer);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn the_example_is_free_of_problems() {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/listener-policy");
    let ports = ["9180", "9181"].map(|port| (port, free_address()));
    let files = ["10-gateway.yaml", "20-policies.yaml"].map(|name| {
        let text = std::fs::read_to_string(example.join(name)).unwrap();
        (name, ports.iter().fold(text, |text, (port, free)| text.replace(port, &free.port().to_string())))
    });
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, &**text)).collect();
    let genkan = Genkan::serve_with(&files, Options::default());
    assert!(genkan.problems().is_empty(), "{:#?}", genkan.problems());
    let [(_, public), (_, balanced)] = ports;
    assert_eq!(http1::get(public, "localhost", "/").status, 302);
    assert!(genkan.log_line().starts_with("{\"time\": "));
    assert_eq!(answer_to(balanced, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "");
}

#[test]
fn limits_act_on_kept_connections_and_at_no_other_port() {
    let site = Site::serve();
    let mut kept = Client::connect(site.ours).unwrap();
    assert_eq!(kept.get("web.test", "/").unwrap().status, 200);
    site.say("{ limits: { headerBuffers: 2 1k, headers: 5 } }");
    site.genkan.wait_until("a long line is refused", || site.line(site.ours, 1500) == 431);
    assert_eq!(site.line(site.other, 1500), 200);
    // It goes on, as of its second request by what is said now.
    assert_eq!(kept.get("web.test", "/").unwrap().status, 200);
    let long = "x".repeat(1500);
    assert_eq!(kept.request("GET", "web.test", "/", &[("X-Long", &long)], b"").unwrap().status, 431);
    let fields = ["A", "B", "C", "D", "E"].map(|name| (name, "1"));
    let many = |at| http1::request(at, "GET", "web.test", "/", &fields, b"").status;
    assert_eq!((many(site.ours), many(site.other)), (431, 200));
    site.say("{ limits: { requestsPerConnection: 1 } }");
    let closes = |at| http1::get(at, "web.test", "/").closes();
    site.genkan.wait_until("connections end after a request", || closes(site.ours));
    assert!(!closes(site.other));
    assert_eq!(site.line(site.ours, 1500), 200);
    assert!(site.genkan.problems().is_empty(), "{:#?}", site.genkan.problems());
}

#[test]
fn a_listener_has_no_more_connections_than_its_limit() {
    let site = Site::serve();
    let mut first = Client::connect(site.ours).unwrap();
    assert_eq!(first.get("web.test", "/").unwrap().status, 200);
    site.say("{ limits: { connections: 1 } }");
    let served = |at| Client::connect(at).unwrap().get("web.test", "/").is_ok_and(|answer| answer.status == 200);
    site.genkan.wait_until("a second connection is refused", || !served(site.ours));
    assert!(served(site.other));
    assert_eq!(first.get("web.test", "/").unwrap().status, 200);
    drop(first);
    site.genkan.wait_until("there is room again", || served(site.ours));
}

#[test]
fn clients_have_the_time_of_their_listener() {
    let site = Site::serve();
    site.say("{ timeouts: { header: 200ms, body: 200ms, keepAlive: 300ms } }");
    site.genkan
        .wait_until("the times are live", || site.genkan.admin_get("/snapshot").1.contains("headerTimeout: 200ms"));
    let head = answer_to(site.ours, "GET / HTTP/1.1\r\nHost: web.test\r\n");
    assert!(head.starts_with("HTTP/1.1 408 "), "{head:?}");
    let body = answer_to(site.ours, "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 10\r\n\r\nab");
    assert!(body.starts_with("HTTP/1.1 408 "), "{body:?}");
    // By default this would take longer than a read of the client may.
    let mut kept = Client::connect(site.ours).unwrap();
    assert_eq!(kept.get("web.test", "/").unwrap().status, 200);
    assert_eq!(kept.rest().unwrap(), b"");
    site.say("{ timeouts: { keepAlive: 0s } }");
    site.genkan.wait_until("nothing is kept", || http1::get(site.ours, "web.test", "/").closes());
    assert!(!http1::get(site.other, "web.test", "/").closes());
}

#[test]
fn a_proxy_header_is_asked_for_at_one_port() {
    let site = Site::serve();
    site.say("{ proxyProtocol: Required }");
    let request = "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n";
    site.genkan.wait_until("a header is asked for", || answer_to(site.ours, request).is_empty());
    let announced = answer_to(site.ours, &format!("PROXY TCP4 192.0.2.9 192.0.2.1 1234 80\r\n{request}"));
    assert!(announced.starts_with("HTTP/1.1 200 ") && announced.contains("192.0.2.9"), "{announced:?}");
    assert!(answer_to(site.other, request).starts_with("HTTP/1.1 200 "));
    site.say("{ proxyProtocol: \"Off\" }");
    site.genkan.wait_until("none is asked for", || answer_to(site.ours, request).starts_with("HTTP/1.1 200 "));
}

#[test]
fn http2_is_as_the_listener_says() {
    let site = Site::serve();
    let announced = |at| Frames::open(connect(at)).unwrap().announced(MAX_CONCURRENT_STREAMS);
    assert_eq!(announced(site.ours).unwrap(), Some(128));
    site.say("{ http2: { maxConcurrentStreams: 7 } }");
    site.genkan.wait_until("another number is announced", || announced(site.ours).is_ok_and(|it| it == Some(7)));
    assert_eq!(announced(site.other).unwrap(), Some(128));
    site.say("{ http2: { enabled: false } }");
    site.genkan.wait_until("it is off", || site.genkan.admin_get("/snapshot").1.contains("http2: false"));
    let answer = answer_to(site.ours, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer:?}");
    assert_eq!(announced(site.other).unwrap(), Some(128));
}

#[test]
fn the_access_log_and_trusted_proxies_are_the_listeners() {
    let site = Site::serve();
    site.say(
        "{ accessLog: { format: \"ours $status $remote_addr\" }, \
         forwarded: { trusted: [127.0.0.0/8], believe: Client } }",
    );
    let fields = [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Host", "said.test")];
    let seen = |at| http1::request(at, "GET", "web.test", "/", &fields, b"").json()["headers"].clone();
    site.genkan.wait_until("the proxy is believed", || seen(site.ours)["x-real-ip"][0] == "192.0.2.7");
    assert_eq!(seen(site.ours)["x-forwarded-host"][0], "web.test");
    assert_eq!(seen(site.other)["x-real-ip"][0], "127.0.0.1");
    // Lines of requests that came before are in the old format.
    let mut lines = std::iter::repeat_with(|| site.genkan.log_line());
    assert!(lines.any(|line| line == "ours 200 192.0.2.7"));
    site.say("{ accessLog: { enabled: false } }");
    site.genkan.wait_until("nobody is believed", || seen(site.ours)["x-real-ip"][0] == "127.0.0.1");
    assert_eq!(http1::get(site.ours, "web.test", "/not-logged").status, 200);
    assert_eq!(http1::get(site.other, "web.test", "/last").status, 200);
    let until_last = std::iter::repeat_with(|| site.genkan.log_line());
    let logged: Vec<_> = until_last.take_while(|line| !line.contains("/last")).collect();
    assert!(!logged.iter().any(|line| line.contains("/not-logged")), "{logged:#?}");
}

#[test]
fn versions_and_ciphers_go_by_the_server_name() {
    let (echo, at) = (Echo::start("web"), free_address());
    let pair = Pair::new(&["ours.test", "other.test"]);
    let listener = |name: &str| {
        format!(
            "{{ name: {name}, port: {}, protocol: HTTPS, hostname: {name}.test, \
             tls: {{ certificateRefs: [{{ name: pair }}] }} }}",
            at.port()
        )
    };
    let text = [
        gateway(&[listener("ours"), listener("other")]),
        secret("pair", &pair.certificate, &pair.key),
        service("web", &[echo.address()]),
        route("HTTPRoute", "ours"),
        route("HTTPRoute", "other"),
    ];
    let genkan = Genkan::serve(&text.concat());
    let hello = |name, versions| tls::connect(at, &Hello { versions, ..Hello::to(name) });
    let mut kept = Client::new(hello("ours.test", ONLY_1_2).unwrap());
    assert_eq!(kept.get("ours.test", "/").unwrap().status, 200);
    say(&genkan, "ours", "{ tls: { minVersion: TLSv1.3 } }");
    genkan.wait_until("the old version is refused", || hello("ours.test", ONLY_1_2).is_err());
    assert!(hello("other.test", ONLY_1_2).is_ok());
    let new = hello("ours.test", ONLY_1_3).unwrap();
    assert_eq!(new.conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(Client::new(new).get("ours.test", "/").unwrap().status, 200);
    // The client is told to make another connection, which is as the listener wants it.
    assert_eq!(kept.get("ours.test", "/").unwrap().status, 421);
    say(&genkan, "other", "{ tls: { maxVersion: TLSv1.2, ciphers: [ECDHE-ECDSA-CHACHA20-POLY1305] } }");
    genkan.wait_until("the new version is refused", || hello("other.test", ONLY_1_3).is_err());
    let other = hello("other.test", tls::ONLY_1_2).unwrap();
    let cipher = other.conn.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(cipher, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    assert!(genkan.problems().is_empty(), "{:#?}", genkan.problems());
    // What belongs to the port is nobody's alone.
    say(&genkan, "ours", "{ http2: { enabled: false } }");
    genkan.wait_until("it is told", || genkan.problem("PortShared").is_some());
    let [_, message, _] = genkan.problem("PortShared").unwrap();
    assert!(message.contains("listener other of Gateway default/gate"), "{message}");
    let both = Hello { protocols: &["h2", "http/1.1"], ..Hello::to("ours.test") };
    assert_eq!(tls::connect(at, &both).unwrap().conn.alpn_protocol(), Some(&b"h2"[..]));
}

#[test]
fn connections_of_tcp_have_the_time_the_log_and_the_header_of_their_listener() {
    let at = free_address();
    let backend = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let text = [
        gateway(&[format!("{{ name: ours, port: {}, protocol: TCP }}", at.port())]),
        service("web", &[backend.local_addr().unwrap()]),
        route("TCPRoute", "ours"),
    ];
    thread::spawn(move || {
        for mut stream in backend.incoming().map_while(Result::ok) {
            // Says hello and nothing more, and does not go.
            thread::spawn(move || stream.write_all(b"hello").and_then(|()| stream.read(&mut [0]).map(drop)));
        }
    });
    let genkan = Genkan::serve(&text.concat());
    let mut hello = [0; 5];
    let mut before = connect(at);
    before.read_exact(&mut hello).unwrap();
    say(
        &genkan,
        "ours",
        "{ streams: { idle: 200ms }, proxyProtocol: Required, accessLog: { streamFormat: \"ours $remote_addr\" } }",
    );
    genkan.wait_until("the idle time is live", || genkan.admin_get("/snapshot").1.contains("timeout: 200ms"));
    let mut new = connect(at);
    new.write_all(b"PROXY TCP4 192.0.2.9 192.0.2.1 1234 80\r\n").unwrap();
    new.read_exact(&mut hello).unwrap();
    // By default this would take longer than a read of the client may.
    assert_eq!(new.read(&mut hello).unwrap(), 0);
    assert_eq!(genkan.log_line(), "ours 192.0.2.9");
    // Who was there before is let alone.
    before.set_nonblocking(true).unwrap();
    assert_eq!(before.read(&mut hello).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
