//! TLS passthrough: connections for a host go to its backend unopened, beside others that are opened here.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use genkan_e2e::genkan::free_address;
use genkan_e2e::http1::{self, Client};
use genkan_e2e::manifests::{config_map, ingress, secret, service, tls_ingress};
use genkan_e2e::tls::{self, Hello, Pair, TlsStream};
use genkan_e2e::tls_front::{Handshake, TlsFront};
use genkan_e2e::{Echo, Genkan, Options, PATIENCE};

/// A backend that ends TLS itself, with a certificate of its own.
struct Backend {
    _echo: Echo,
    pair: Pair,
    front: TlsFront,
}

impl Backend {
    fn start(name: &str) -> Self {
        let (echo, pair) = (Echo::start(name), Pair::new(&["pass.test"]));
        let front = TlsFront::start(echo.address(), &pair, &["h2", "http/1.1"]);
        Self { _echo: echo, pair, front }
    }

    fn address(&self) -> SocketAddr {
        self.front.address()
    }
}

/// Passes `pass.test` on; what gets there in plain HTTP is sent on over TLS.
fn passing() -> String {
    ingress("pass", "pass.test", "pass", &[("ssl-passthrough", "true"), ("backend-protocol", "HTTPS")])
}

fn serve(files: &[(&str, &str)]) -> Genkan {
    Genkan::serve_with(files, Options::with(&["--enable-ssl-passthrough"]))
}

fn connect(genkan: &Genkan, name: &str) -> TlsStream {
    tls::connect(genkan.https(), &Hello::to(name)).unwrap()
}

/// What the backend that answers on a connection calls itself.
fn served(client: &mut Client<TlsStream>, host: &str) -> String {
    let answer = client.get(host, "/").unwrap();
    answer.field("x-echo-name").map_or_else(|| answer.status.to_string(), str::to_owned)
}

/// Whether a connection for the name is ended without a handshake.
fn is_closed(genkan: &Genkan, name: &str) -> bool {
    tls::connect(genkan.https(), &Hello::to(name)).is_err()
}

#[test]
fn the_client_speaks_with_the_backend_itself_and_other_names_are_opened_here() {
    let (theirs, ours) = (Backend::start("theirs"), Pair::new(&["web.test"]));
    let web = Echo::start("web");
    let format = "$remote_addr $protocol $status $proxy_upstream_name $upstream_addr";
    let text = [
        config_map(&[("log-format-stream", format)]),
        service("pass", &[theirs.address()]),
        passing(),
        service("web", &[web.address()]),
        secret("web", &ours.certificate, &ours.key),
        tls_ingress("web", "web.test", "web", "web"),
    ];
    let genkan = serve(&[("all.yaml", &text.concat())]);

    let stream = connect(&genkan, "pass.test");
    assert_eq!(tls::shown(&stream), theirs.pair.der);
    let mut client = Client::new(stream);
    assert_eq!(served(&mut client, "pass.test"), "theirs");
    // What the backend is asked is none of our business.
    assert_eq!(served(&mut client, "web.test"), "theirs");
    drop(client);
    assert_eq!(genkan.log_line(), format!("127.0.0.1 TCP 200 tcp-default-pass-80 {}", theirs.address()));

    let hello = Hello { protocols: &["h2", "http/1.1"], ..Hello::to("pass.test") };
    let stream = tls::connect(genkan.https(), &hello).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    let asked = |protocol: &str| {
        let (server_name, protocol) = (Some("pass.test".to_owned()), Some(protocol.to_owned()));
        Handshake::Done { server_name, protocol }
    };
    genkan.wait_until("the backend has seen both", || theirs.front.handshakes() == [asked("http/1.1"), asked("h2")]);
    drop(stream);
    genkan.log_line();

    let stream = connect(&genkan, "web.test");
    assert_eq!(tls::shown(&stream), ours.der);
    assert_eq!(served(&mut Client::new(stream), "web.test"), "web");
    assert!(genkan.log_line().contains("\"GET / HTTP/1.1\" 200 "));
    let default = connect(&genkan, "elsewhere.test");
    assert!(![&ours.der, &theirs.pair.der].contains(&&tls::shown(&default)));

    // The host's plain HTTP is as it always was.
    assert_eq!(http1::get(genkan.http(), "pass.test", "/").field("x-echo-name"), Some("theirs"));
    let (_, metrics) = genkan.admin_get("/metrics");
    let own = "protocol=\"tls\",port=\"443\",namespace=\"default\",name=\"pass\",status=\"200\"} 2";
    assert!(metrics.contains(own), "{own} is not in\n{metrics}");
}

#[test]
fn a_proxy_header_names_the_client_before_the_hello() {
    let theirs = Backend::start("theirs");
    let text = [config_map(&[("use-proxy-protocol", "true")]), service("pass", &[theirs.address()]), passing()];
    let genkan = serve(&[("all.yaml", &text.concat())]);
    let mut tcp = TcpStream::connect(genkan.https()).unwrap();
    tcp.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 443\r\n").unwrap();
    let stream = tls::handshake(tcp, &Hello::to("pass.test")).unwrap();
    assert_eq!(tls::shown(&stream), theirs.pair.der);
    assert_eq!(served(&mut Client::new(stream), "pass.test"), "theirs");
    let line = genkan.log_line();
    assert!(line.starts_with("[192.0.2.7] [") && line.contains("] TCP 200 "), "{line}");
}

#[test]
fn without_the_flag_the_annotation_is_told_and_nothing_is_passed_on() {
    let theirs = Backend::start("theirs");
    let text = service("pass", &[theirs.address()]) + &passing();
    let genkan = Genkan::serve(&text);
    let stream = connect(&genkan, "pass.test");
    assert_ne!(tls::shown(&stream), theirs.pair.der);
    assert_eq!(served(&mut Client::new(stream), "pass.test"), "theirs");
    let [origin, message, mend] = genkan.problem("AnnotationWithoutEffect").expect("it is told");
    assert!(origin.ends_with("ssl-passthrough]"), "{origin}");
    assert!(message.contains("does not act") && mend.contains("--enable-ssl-passthrough"), "{message}; {mend}");
}

#[test]
fn changes_meet_new_connections_and_leave_running_ones() {
    let (old, new) = (Backend::start("old"), Backend::start("new"));
    let gone = service("pass", &[free_address(), old.address()]);
    let genkan = serve(&[("service.yaml", &gone), ("ingress.yaml", &passing())]);
    let shown = |name: &str| tls::shown(&connect(&genkan, name));
    // One of two endpoints refuses.
    for _ in 0..4 {
        assert_eq!(shown("pass.test"), old.pair.der);
    }
    let mut running = Client::new(connect(&genkan, "pass.test"));

    genkan.write("service.yaml", &service("pass", &[new.address()]));
    genkan.wait_until("the new endpoint is there", || shown("pass.test") == new.pair.der);
    genkan.write("service.yaml", &service("pass", &[]));
    genkan.wait_until("nobody is there", || is_closed(&genkan, "pass.test"));
    assert!(!is_closed(&genkan, "other.test"));
    let told =
        || genkan.problems().iter().any(|it| it["message"].as_str().unwrap().ends_with("connections are closed"));
    genkan.wait_until("it is told", told);
    genkan.write("ingress.yaml", &ingress("pass", "pass.test", "pass", &[]));
    genkan.wait_until("connections are opened here", || {
        tls::connect(genkan.https(), &Hello::to("pass.test"))
            .is_ok_and(|stream| ![&old.pair.der, &new.pair.der].contains(&&tls::shown(&stream)))
    });
    assert_eq!(served(&mut running, "pass.test"), "old");
}

#[test]
fn a_drain_lets_a_connection_finish() {
    let theirs = Backend::start("theirs");
    let text = service("pass", &[theirs.address()]) + &passing();
    let mut genkan = serve(&[("all.yaml", &text)]);
    let mut running = Client::new(connect(&genkan, "pass.test"));
    genkan.terminate();
    genkan.wait_until("the port closes", || TcpStream::connect(genkan.https()).is_err());
    assert_eq!(served(&mut running, "pass.test"), "theirs");
    drop(running);
    assert!(genkan.wait().success());
}

#[test]
fn a_hello_that_does_not_come_ends_the_connection() {
    let text = config_map(&[("client-header-timeout", "1")]) + &service("pass", &[]) + &passing();
    let genkan = serve(&[("all.yaml", &text)]);
    let mut tcp = TcpStream::connect(genkan.https()).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    // The head of a record that promises more.
    tcp.write_all(&[22, 3, 1, 1, 0]).unwrap();
    assert_eq!(tcp.read(&mut [0; 16]).unwrap(), 0);
}
