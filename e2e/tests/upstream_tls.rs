//! What backends are spoken to in: TLS, HTTP/2 and both, by annotation and by the Service's `appProtocol`.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use genkan_e2e::http1::{self, Answer};
use genkan_e2e::manifests::{ingress, service};
use genkan_e2e::tls::Pair;
use genkan_e2e::tls_front::{Handshake, TlsFront};
use genkan_e2e::{Echo, Genkan, grpc};

/// A Service whose port has this `appProtocol`.
fn service_speaking(name: &str, protocol: &str, endpoint: SocketAddr) -> String {
    let plain = service(name, &[endpoint]);
    let port = "{ name: http, port: 80 }";
    assert!(plain.contains(port), "{plain}");
    plain.replacen(port, &format!("{{ name: http, port: 80, appProtocol: {protocol} }}"), 1)
}

/// The version in which the echo was asked.
fn version(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["protocol"].as_str().unwrap().to_owned()
}

fn done(protocol: Option<&str>) -> Handshake {
    Handshake::Done { server_name: None, protocol: protocol.map(str::to_owned) }
}

/// A backend over TLS with a certificate that nobody signed, and Genkan in front of it.
fn serve(protocols: &[&str], annotations: &[(&str, &str)]) -> (Echo, TlsFront, Genkan) {
    let echo = Echo::start("web");
    let front = TlsFront::start(echo.address(), &Pair::new(&["elsewhere.test"]), protocols);
    let text = service("web", &[front.address()]) + &ingress("web", "web.test", "web", annotations);
    let genkan = Genkan::serve(&text);
    (echo, front, genkan)
}

#[test]
fn https_backends_get_http_1_over_tls_without_a_server_name() {
    let (_echo, front, genkan) = serve(&["h2", "http/1.1"], &[("backend-protocol", "HTTPS")]);
    let answer = http1::request(genkan.http(), "POST", "web.test", "/x?y", &[], b"a body");
    assert_eq!(version(&answer), "HTTP/1.1");
    let body = answer.json();
    assert_eq!((&body["body"], &body["query"], &body["host"]), (&"a body".into(), &"y".into(), &"web.test".into()));
    // What the client spoke, not what the backend does.
    assert_eq!(body["headers"]["x-forwarded-proto"][0], "http");
    let handshakes = front.handshakes();
    assert!(
        matches!(&*handshakes, [Handshake::Done { server_name: None, protocol }] if protocol.as_deref() != Some("h2")),
        "{handshakes:?}"
    );
}

#[test]
fn connections_over_tls_are_kept_for_further_requests() {
    let (_echo, front, genkan) = serve(&["http/1.1"], &[("backend-protocol", "https")]);
    for _ in 0..5 {
        assert_eq!(http1::get(genkan.http(), "web.test", "/").status, 200);
    }
    // One pool for each of the two workers.
    assert!(front.handshakes().len() <= 2, "{:?}", front.handshakes());
}

#[test]
fn grpcs_backends_get_http_2_over_tls_and_calls_pass_both_ways() {
    let (_echo, front, genkan) = serve(&["h2"], &[("backend-protocol", "GRPCS")]);
    assert_eq!(version(&http1::get(genkan.http(), "web.test", "/")), "HTTP/2.0");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = grpc::connect(genkan.http()).await;
        let mut call = grpc::Stream::open(&mut connection, "web.test").await;
        for message in ["one", "two"] {
            assert_eq!(call.exchange(message).await.unwrap(), message);
        }
    });
    assert!(front.handshakes().iter().all(|handshake| *handshake == done(Some("h2"))), "{:?}", front.handshakes());
}

#[test]
fn a_grpcs_backend_without_http_2_is_502() {
    let (_echo, front, genkan) = serve(&["http/1.1"], &[("backend-protocol", "GRPCS")]);
    let answer = http1::get(genkan.http(), "web.test", "/");
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(!front.handshakes().is_empty());
}

#[test]
fn an_https_backend_that_speaks_no_tls_is_502_and_a_tls_backend_spoken_to_in_plaintext_is_too() {
    let echo = Echo::start("web");
    let front = TlsFront::start(echo.address(), &Pair::new(&["elsewhere.test"]), &[]);
    let text = [
        service("plain", &[echo.address()]),
        service("tls", &[front.address()]),
        ingress("plain", "plain.test", "plain", &[("backend-protocol", "HTTPS")]),
        ingress("tls", "tls.test", "tls", &[]),
    ];
    let genkan = Genkan::serve(&text.concat());
    for host in ["plain.test", "tls.test"] {
        let answer = http1::get(genkan.http(), host, "/");
        assert_eq!(answer.status, 502, "{host}: {answer:?}");
    }
    assert!(matches!(&*front.handshakes(), [Handshake::Failed(_), ..]), "{:?}", front.handshakes());
}

#[test]
fn an_app_protocol_says_what_is_spoken_and_the_annotation_goes_before_it() {
    let (plain, behind) = (Echo::start("plain"), Echo::start("tls"));
    let front = TlsFront::start(behind.address(), &Pair::new(&["elsewhere.test"]), &["h2", "http/1.1"]);
    let mut text = String::new();
    let mut expected = Vec::new();
    for (name, protocol, annotations, version) in [
        ("kubernetes", "kubernetes.io/h2c", &[][..], "HTTP/2.0"),
        ("short", "h2c", &[], "HTTP/2.0"),
        ("grpc", "grpc", &[], "HTTP/2.0"),
        ("ws", "kubernetes.io/ws", &[], "HTTP/1.1"),
        ("https", "https", &[], "HTTP/1.1"),
        ("unknown", "mysql", &[], "HTTP/1.1"),
        ("over", "https", &[("backend-protocol", "GRPC")], "HTTP/2.0"),
    ] {
        let endpoint = if name == "https" { front.address() } else { plain.address() };
        text += &service_speaking(name, protocol, endpoint);
        text += &ingress(name, &format!("{name}.test"), name, annotations);
        expected.push((name, version, if name == "https" { "tls" } else { "plain" }));
    }
    let genkan = Genkan::serve(&text);
    for (name, spoken, backend) in expected {
        let answer = http1::get(genkan.http(), &format!("{name}.test"), "/");
        assert_eq!((&*version(&answer), answer.field("x-echo-name")), (spoken, Some(backend)), "{name}");
    }
    let problems = genkan.problems();
    let told: Vec<_> = problems.iter().filter(|problem| problem["reason"] == "UnknownAppProtocol").collect();
    assert_eq!(told.len(), 1, "{problems:#?}");
    assert!(told[0]["message"].as_str().unwrap().contains("\"mysql\" of Service default/unknown"), "{told:?}");
}
