//! Whom is believed about the client: `use-forwarded-headers`, `proxy-real-ip-cidr` and their kin, and the PROXY
//! protocol.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use genkan_e2e::http1::{self, Client, Failure};
use genkan_e2e::manifests::{config_map, ingress, secret, service, tls_ingress};
use genkan_e2e::tls::{self, Hello, Pair};
use genkan_e2e::{Echo, Genkan, Options, PATIENCE};
use serde_json::Value;

/// What a client in front of a lying or a trustworthy proxy sends.
const SAID: &[(&str, &str)] = &[
    ("X-Forwarded-For", "198.51.100.7, 203.0.113.9"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "said.test"),
    ("X-Forwarded-Port", "4443"),
    ("X-Real-IP", "198.51.100.8"),
];

fn serve(data: &[(&str, &str)]) -> (Echo, Genkan) {
    let echo = Echo::start("web");
    let pair = Pair::new(&["web.test"]);
    let text = [
        service("web", &[echo.address()]),
        tls_ingress("web", "web.test", "web", "web"),
        secret("web", &pair.certificate, &pair.key),
        ingress("closed", "closed.test", "web", &[("allowlist-source-range", "198.51.100.0/24")]),
    ];
    let files = [("all.yaml", &*text.concat()), ("settings.yaml", &*config_map(data))];
    let genkan = Genkan::serve_with(&files, Options::default());
    (echo, genkan)
}

fn set(genkan: &Genkan, data: &[(&str, &str)]) {
    genkan.write("settings.yaml", &config_map(data));
}

/// The header fields that the backend sees.
fn seen(genkan: &Genkan, fields: &[(&str, &str)]) -> Value {
    http1::request(genkan.http(), "GET", "web.test", "/", fields, b"").json()["headers"].clone()
}

fn field<'v>(seen: &'v Value, name: &str) -> &'v str {
    seen[name][0].as_str().unwrap_or_default()
}

/// Fails unless the backend is told this about the client.
fn assert_told(seen: &Value, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(field(seen, name), *value, "{name}: {seen:#}");
    }
}

const OWN: &[(&str, &str)] = &[
    ("x-real-ip", "127.0.0.1"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-host", "web.test"),
    ("x-forwarded-port", "80"),
    ("x-scheme", "http"),
];

#[test]
fn what_clients_say_of_themselves_is_overwritten_by_default() {
    let (_echo, genkan) = serve(&[]);
    let seen = seen(&genkan, SAID);
    assert_told(&seen, OWN);
    assert_told(&seen, &[("x-original-forwarded-for", "198.51.100.7, 203.0.113.9")]);
    let closed = http1::request(genkan.http(), "GET", "closed.test", "/", SAID, b"");
    assert_eq!(closed.status, 403, "an address that anybody may write opens nothing");
}

#[test]
fn only_peers_of_proxy_real_ip_cidr_are_believed() {
    let (_echo, genkan) = serve(&[("use-forwarded-headers", "true"), ("proxy-real-ip-cidr", "10.0.0.0/8")]);
    assert_told(&seen(&genkan, SAID), OWN);
    assert_eq!(http1::request(genkan.http(), "GET", "closed.test", "/", SAID, b"").status, 403);

    set(&genkan, &[("use-forwarded-headers", "true"), ("proxy-real-ip-cidr", "10.0.0.0/8, 127.0.0.0/8")]);
    genkan.wait_until("the peer is trusted", || field(&seen(&genkan, SAID), "x-forwarded-port") == "4443");
    // The nearest address that no trusted proxy has.
    assert_told(
        &seen(&genkan, SAID),
        &[
            ("x-real-ip", "203.0.113.9"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "said.test"),
            ("x-scheme", "https"),
        ],
    );
    assert_eq!(http1::request(genkan.http(), "GET", "closed.test", "/", SAID, b"").status, 403);
    set(&genkan, &[("use-forwarded-headers", "true"), ("proxy-real-ip-cidr", "127.0.0.0/8, 203.0.113.0/24")]);
    genkan.wait_until("the next proxy is trusted too", || {
        http1::request(genkan.http(), "GET", "closed.test", "/", SAID, b"").status == 200
    });

    // What is no network is trusted by nobody, and never everybody.
    set(&genkan, &[("use-forwarded-headers", "true"), ("proxy-real-ip-cidr", "everybody")]);
    genkan.wait_until("nobody is trusted", || field(&seen(&genkan, SAID), "x-real-ip") == "127.0.0.1");
    genkan.wait_until("the report", || genkan.problem("InvalidConfigMapKey").is_some());
}

#[test]
fn the_list_of_proxies_is_passed_on_only_if_that_is_wanted() {
    let (_echo, genkan) = serve(&[("use-forwarded-headers", "true"), ("compute-full-forwarded-for", "true")]);
    let list = |genkan: &Genkan| field(&seen(genkan, SAID), "x-forwarded-for").to_owned();
    assert_eq!(list(&genkan), "198.51.100.7, 203.0.113.9, 127.0.0.1");
    set(&genkan, &[("use-forwarded-headers", "true")]);
    genkan.wait_until("the client alone", || list(&genkan) == "198.51.100.7");
}

#[test]
fn enable_real_ip_believes_the_address_alone_from_the_header_of_choice() {
    let (_echo, genkan) = serve(&[("enable-real-ip", "true"), ("forwarded-for-header", "X-Client")]);
    let fields = [SAID, &[("X-Client", "198.51.100.9")]].concat();
    let told = [("x-real-ip", "198.51.100.9"), ("x-forwarded-proto", "http"), ("x-forwarded-host", "web.test")];
    assert_told(&seen(&genkan, &fields), &told);
    assert_eq!(http1::request(genkan.http(), "GET", "closed.test", "/", &fields, b"").status, 200);
}

#[test]
fn request_ids_and_original_uris_follow_their_keys() {
    let (_echo, genkan) = serve(&[]);
    assert_eq!(field(&seen(&genkan, &[]), "x-request-id").len(), 32);
    assert_eq!(field(&seen(&genkan, &[("X-Request-ID", "mine")]), "x-request-id"), "mine");
    assert_eq!(seen(&genkan, &[])["x-original-uri"], Value::Null);
    set(&genkan, &[("generate-request-id", "false"), ("proxy-add-original-uri-header", "true")]);
    genkan.wait_until("no id is made", || seen(&genkan, &[])["x-request-id"] == Value::Null);
    assert_told(&seen(&genkan, &[("X-Request-ID", "mine")]), &[("x-request-id", "mine"), ("x-original-uri", "/")]);
}

/// A PROXY header, version 2, over IPv4 (command PROXY, stream).
fn version_2(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    for address in [source, destination] {
        let SocketAddr::V4(address) = address else { panic!("{address} is not of IPv4") };
        header.extend(address.ip().octets());
    }
    header.extend([source.port(), destination.port()].map(u16::to_be_bytes).concat());
    header
}

/// What the backend is told on a connection that begins with these bytes; `None` when there is no answer.
fn seen_after(genkan: &Genkan, bytes: &[u8]) -> Option<Value> {
    let mut stream = TcpStream::connect(genkan.http()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    match Client::new(stream).get("web.test", "/") {
        Ok(answer) => Some(answer.json()["headers"].clone()),
        Err(Failure::Unanswered) => None,
        Err(Failure::Lost(why)) => panic!("{why}"),
    }
}

#[test]
fn the_proxy_protocol_says_who_the_client_is_in_both_versions() {
    let (_echo, genkan) = serve(&[("use-proxy-protocol", "true")]);
    let v1 = b"PROXY TCP4 198.51.100.7 203.0.113.1 40000 80\r\n".to_vec();
    let v2 = version_2("198.51.100.7:40000".parse().unwrap(), "203.0.113.1:80".parse().unwrap());
    let v6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 80\r\n".to_vec();
    for (bytes, client) in [(v1, "198.51.100.7"), (v2, "198.51.100.7"), (v6, "2001:db8::7")] {
        let seen = seen_after(&genkan, &bytes).expect("an answer");
        assert_told(&seen, &[("x-real-ip", client), ("x-forwarded-for", client), ("x-forwarded-proto", "http")]);
        assert!(genkan.log_line().starts_with(&format!("{client} - - ")));
    }
    // Of the proxy itself, such as its health checks: no address is told, so it is the peer's.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for bytes in [&b"PROXY UNKNOWN\r\n"[..], local] {
        assert_told(&seen_after(&genkan, bytes).expect("an answer"), &[("x-real-ip", "127.0.0.1")]);
    }
    // A load balancer that ended TLS on 443 says so by the port.
    let ended = b"PROXY TCP4 198.51.100.7 203.0.113.1 40000 443\r\n";
    let told = [("x-forwarded-proto", "https"), ("x-forwarded-port", "443")];
    assert_told(&seen_after(&genkan, ended).expect("an answer"), &told);
}

#[test]
fn the_proxy_protocol_comes_before_tls() {
    let (_echo, genkan) = serve(&[("use-proxy-protocol", "true")]);
    let mut stream = TcpStream::connect(genkan.https()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"PROXY TCP4 198.51.100.7 203.0.113.1 40000 443\r\n").unwrap();
    let config = Arc::new(tls::config(&Hello::to("web.test")).unwrap());
    let connection = rustls::ClientConnection::new(config, "web.test".try_into().unwrap()).unwrap();
    let answer = Client::new(rustls::StreamOwned::new(connection, stream)).get("web.test", "/").unwrap();
    assert_told(&answer.json()["headers"], &[("x-real-ip", "198.51.100.7"), ("x-forwarded-proto", "https")]);
}

#[test]
fn without_the_header_that_is_required_there_is_no_answer_and_with_one_that_is_not_400() {
    let (_echo, genkan) = serve(&[("use-proxy-protocol", "true")]);
    for bytes in [&b""[..], b"PROXY TCP4 me you 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"] {
        assert_eq!(seen_after(&genkan, bytes), None, "{bytes:?}");
    }
    assert!(tls::connect(genkan.https(), &Hello::to("web.test")).is_err());
    set(&genkan, &[]);
    genkan.wait_until("no header is needed", || seen_after(&genkan, b"").is_some());
    let mut client = Client::connect(genkan.http()).unwrap();
    client.stream().write_all(b"PROXY TCP4 198.51.100.7 203.0.113.1 40000 80\r\n").unwrap();
    assert_eq!(client.answer("GET").unwrap().status, 400);
}
