//! What is refused before there is a request: rubbish, oversized and ambiguous heads, on both ports, and that Genkan
//! serves on.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use genkan_e2e::frames::{Frame, Frames, GOAWAY, SETTINGS};
use genkan_e2e::http1::{self, Client};
use genkan_e2e::manifests::{ingress, secret, service, tls_ingress};
use genkan_e2e::tls::{self, Hello, Pair};
use genkan_e2e::{Echo, Genkan, PATIENCE};

fn serve() -> (Echo, Genkan) {
    let echo = Echo::start("web");
    let pair = Pair::new(&["tls.test"]);
    let text = [
        service("web", &[echo.address()]),
        ingress("web", "web.test", "web", &[]),
        tls_ingress("tls", "tls.test", "web", "tls"),
        secret("tls", &pair.certificate, &pair.key),
    ];
    let genkan = Genkan::serve(&text.concat());
    (echo, genkan)
}

/// Sends these bytes, and the end of them if `ends`; the statuses of the answers until the proxy closes. A reset is as
/// good an end as any.
fn statuses(address: SocketAddr, bytes: &[u8], ends: bool) -> Vec<u16> {
    use ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    let sent = stream.write_all(bytes).and_then(|()| if ends { stream.shutdown(Shutdown::Write) } else { Ok(()) });
    match sent.and_then(|()| stream.read_to_end(&mut answer)) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ConnectionReset | BrokenPipe | NotConnected) => {}
        Err(error) => panic!("{error} after {answer:?}"),
    }
    let answer = String::from_utf8_lossy(&answer);
    let lines = answer.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 "));
    lines.map(|line| line[..3].parse().unwrap()).collect()
}

fn serves_on(genkan: &Genkan) {
    assert_eq!(http1::get(genkan.http(), "web.test", "/").status, 200);
    let mut client = Client::new(tls::connect(genkan.https(), &Hello::to("tls.test")).unwrap());
    assert_eq!(client.get("tls.test", "/").unwrap().status, 200);
    assert!(!genkan.errors().contains("panicked"), "{}", genkan.errors());
}

/// Bytes without sense, the same in every run.
fn rubbish(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn rubbish_on_either_port_costs_only_its_own_connection() {
    let (_echo, genkan) = serve();
    let begins: &[&[u8]] = &[
        b"",
        b"GET ",
        b"GET / HTTP/1.1\r\nHost: web.test\r\n",
        b"POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"\x16\x03\x01",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n\0\r\nQUIT\n",
    ];
    for address in [genkan.http(), genkan.https()] {
        for (number, begin) in begins.iter().enumerate() {
            for length in [0, 1, 100, 40_000] {
                let bytes = [begin, &*rubbish(number as u64 + 1, length)].concat();
                let answers = statuses(address, &bytes, true);
                assert!(answers.iter().all(|status| (400..=505).contains(status)), "{begin:?}: {answers:?}");
            }
        }
    }
    serves_on(&genkan);
}

#[test]
fn rubbish_inside_tls_costs_only_its_own_connection() {
    let (_echo, genkan) = serve();
    for (seed, protocol) in (1..).zip(["http/1.1", "h2", "http/1.1", "h2"]) {
        let hello = Hello { protocols: &[protocol], ..Hello::to("tls.test") };
        let mut stream = tls::connect(genkan.https(), &hello).unwrap();
        // The end may come before all is sent, or without a close_notify.
        let _ = stream.write_all(&rubbish(seed, 5000)).and_then(|()| stream.flush());
        let _ = stream.read_to_end(&mut Vec::new());
    }
    serves_on(&genkan);
}

#[test]
fn plain_http_at_the_tls_port_is_told_so() {
    let (_echo, genkan) = serve();
    let answer = http1::get(genkan.https(), "tls.test", "/");
    assert_eq!((answer.status, answer.closes()), (400, true), "{answer:?}");
    assert!(answer.text().contains("plain HTTP request was sent to HTTPS port"), "{answer:?}");
}

#[test]
fn oversized_heads_are_414_and_431() {
    let (_echo, genkan) = serve();
    let long = |length: usize| "x".repeat(length);
    let many = |count: usize| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    for (head, expected) in [
        (format!("GET /{} HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n", long(8000)), 200),
        (format!("GET /{} HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n", long(8192)), 414),
        (format!("GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\nX-Long: {}\r\n\r\n", long(8000)), 200),
        (format!("GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\nX-Long: {}\r\n\r\n", long(8192)), 431),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n{}\r\n",
                format!("X: {}\r\n", long(8000)).repeat(5)
            ),
            431,
        ),
        (format!("GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n{}\r\n", many(80)), 200),
        (format!("GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n{}\r\n", many(99)), 431),
    ] {
        let begin = &head[..head.len().min(60)];
        assert_eq!(statuses(genkan.http(), head.as_bytes(), false), [expected], "{begin}...");
        assert!(genkan.log_line().contains(&format!(" {expected} ")), "{begin}... is not logged");
    }
    serves_on(&genkan);
}

#[test]
fn ambiguous_requests_are_refused_and_what_follows_them_is_not_read() {
    let (_echo, genkan) = serve();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n";
    for (fields, expected) in [
        ("Host: web.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Host: web.test\r\nContent-Length: 4\r\nContent-Length: 5\r\n", 400),
        ("Host: web.test\r\nContent-Length: +4\r\n", 400),
        ("Host: web.test\r\nContent-Length: 4, 4\r\n", 400),
        ("Host: web.test\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        ("Host: web.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Host: web.test\r\nTransfer-Encoding : chunked\r\n", 400),
        ("Host: web.test\r\nX: a\r\n b\r\n", 400),
        ("Host: web.test\r\nX: a\rb\r\n", 400),
        ("Host: web.test\nX: a\r\n", 400),
        ("Host: web.test\r\nHost: other.test\r\n", 400),
        ("Host: web.test, other.test\r\n", 400),
        ("X: a\r\n", 400),
    ] {
        let bytes = format!("POST / HTTP/1.1\r\n{fields}\r\n{smuggled}");
        assert_eq!(statuses(genkan.http(), bytes.as_bytes(), false), [expected], "{fields:?}");
        assert!(genkan.log_line().contains(&format!(" {expected} ")), "{fields:?} is not logged");
    }
    serves_on(&genkan);
}

#[test]
fn what_http_2_forbids_ends_the_connection_with_its_reason() {
    let (_echo, genkan) = serve();
    const PROTOCOL_ERROR: u32 = 1;
    for frame in [
        // DATA on no stream; SETTINGS of a stream; HEADERS on a stream that only a server begins.
        Frame { kind: 0, flags: 0, stream: 0, payload: vec![0] },
        Frame { kind: SETTINGS, flags: 0, stream: 1, payload: Vec::new() },
        Frame { kind: 1, flags: 5, stream: 2, payload: vec![0x82] },
    ] {
        let stream = TcpStream::connect(genkan.http()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut frames = Frames::open(stream).unwrap();
        frames.send(&frame).unwrap();
        let goaway = frames.next_of(GOAWAY).unwrap_or_else(|error| panic!("{frame:?}: {error}"));
        assert_eq!(goaway.payload[4..8], PROTOCOL_ERROR.to_be_bytes(), "{frame:?}");
    }
    serves_on(&genkan);
}
