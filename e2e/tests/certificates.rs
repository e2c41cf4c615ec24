//! Certificates from Secrets: which one is shown, and what changing or breaking one costs.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use genkan_e2e::http1::Client;
use genkan_e2e::manifests::{secret, service, tls_ingress};
use genkan_e2e::tls::{self, Hello, ONLY_1_2, ONLY_1_3, Pair};
use genkan_e2e::{Echo, Genkan, Options, grpc};
use rustls::{ALL_VERSIONS, ProtocolVersion};

/// How often the certificate changes under load.
const ROTATIONS: usize = 40;

fn secret_of(name: &str, pair: &Pair) -> String {
    secret(name, &pair.certificate, &pair.key)
}

fn shown(genkan: &Genkan, name: Option<&str>) -> Vec<u8> {
    let hello = Hello { name, ..Hello::to("") };
    tls::shown(&tls::connect(genkan.https(), &hello).unwrap_or_else(|error| panic!("{name:?}: {error}")))
}

#[test]
fn rotation_under_load_fails_no_handshake() {
    let echo = Echo::start("web");
    let pairs = [Pair::new(&["a.test"]), Pair::new(&["a.test"])];
    let routes = service("web", &[echo.address()]) + &tls_ingress("web", "a.test", "web", "a");
    let genkan = Genkan::serve_with(
        &[("routes.yaml", &routes), ("secret.yaml", &secret_of("a", &pairs[0]))],
        Options::default(),
    );
    let address = genkan.https();
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = [ONLY_1_3, ONLY_1_2]
        .into_iter()
        .map(|versions| {
            let (over, ders) = (over.clone(), [pairs[0].der.clone(), pairs[1].der.clone()]);
            thread::spawn(move || {
                let mut seen = [0_usize; 2];
                while !over.load(Ordering::Relaxed) {
                    let hello = Hello { versions, ..Hello::to("a.test") };
                    let stream = tls::connect(address, &hello).expect("a handshake");
                    let which = ders.iter().position(|der| *der == tls::shown(&stream));
                    seen[which.expect("one of the two certificates")] += 1;
                    let answer = Client::new(stream).get("a.test", "/").expect("an answer");
                    assert_eq!(answer.status, 200, "{answer:?}");
                }
                seen
            })
        })
        .collect();
    let mut kept = Client::new(tls::connect(address, &Hello::to("a.test")).unwrap());
    for rotation in 1..=ROTATIONS {
        let pair = &pairs[rotation % 2];
        genkan.write("secret.yaml", &secret_of("a", pair));
        genkan.wait_until("the new certificate", || shown(&genkan, Some("a.test")) == pair.der);
        // A connection that is open does not notice.
        assert_eq!(kept.get("a.test", "/").expect("a kept connection").status, 200);
        assert!(clients.iter().all(|client| !client.is_finished()), "a client failed at rotation {rotation}");
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        let seen = client.join().expect("no handshake fails");
        assert!(seen.iter().all(|count| *count > 0), "both certificates are seen: {seen:?}");
    }
}

#[test]
fn the_server_name_chooses_exact_before_wildcard_before_default() {
    let echo = Echo::start("web");
    let (exact, wildcard, default) = (Pair::new(&["a.b.test"]), Pair::new(&["*.b.test"]), Pair::new(&["default.test"]));
    let text = [
        service("web", &[echo.address()]),
        tls_ingress("exact", "a.b.test", "web", "exact"),
        tls_ingress("wildcard", "*.b.test", "web", "wildcard"),
        secret_of("exact", &exact),
        secret_of("wildcard", &wildcard),
        secret_of("default", &default),
    ];
    let arguments = vec!["--default-ssl-certificate".to_owned(), "default/default".to_owned()];
    let genkan = Genkan::serve_with(&[("all.yaml", &text.concat())], Options { arguments, ..Options::default() });
    for (name, pair) in [
        (Some("a.b.test"), &exact),
        (Some("A.B.test"), &exact),
        (Some("other.b.test"), &wildcard),
        (Some("two.labels.b.test"), &default),
        (Some("b.test"), &default),
        (Some("elsewhere.test"), &default),
        (None, &default),
    ] {
        assert!(shown(&genkan, name) == pair.der, "{name:?} is shown another certificate");
    }
}

#[test]
fn both_versions_and_http_2_are_negotiated() {
    let echo = Echo::start("web");
    let pair = Pair::new(&["a.test"]);
    let text = service("web", &[echo.address()]) + &tls_ingress("web", "a.test", "web", "a") + &secret_of("a", &pair);
    let genkan = Genkan::serve(&text);
    for (versions, version) in [
        (ONLY_1_2, ProtocolVersion::TLSv1_2),
        (ONLY_1_3, ProtocolVersion::TLSv1_3),
        (ALL_VERSIONS, ProtocolVersion::TLSv1_3),
    ] {
        for (protocols, protocol) in
            [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
        {
            let hello = Hello { versions, protocols, ..Hello::to("a.test") };
            let stream = tls::connect(genkan.https(), &hello).unwrap();
            assert_eq!(stream.conn.protocol_version(), Some(version));
            let negotiated = stream.conn.alpn_protocol().map(String::from_utf8_lossy);
            assert_eq!(negotiated.as_deref(), protocol, "{version:?}");
            if protocol != Some("h2") {
                let answer = Client::new(stream).get("a.test", "/").unwrap();
                assert_eq!(answer.json()["headers"]["x-forwarded-proto"][0], "https");
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = grpc::connect_tls(genkan.https(), "a.test").await;
        let (status, _, body) = grpc::get(&mut connection, "a.test", "/over-h2").await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["headers"]["x-forwarded-proto"][0]), (200, &"https".into()));
    });
}

#[test]
fn a_broken_secret_costs_only_its_hosts_and_is_reported() {
    let echo = Echo::start("web");
    let (good, other) = (Pair::new(&["good.test"]), Pair::new(&["bad.test"]));
    let text = [
        service("web", &[echo.address()]),
        tls_ingress("good", "good.test", "web", "good"),
        tls_ingress("bad", "bad.test", "web", "bad"),
        tls_ingress("gone", "gone.test", "web", "gone"),
        secret_of("good", &good),
        // The key of another certificate.
        secret("bad", &other.certificate, &good.key),
    ];
    let genkan = Genkan::serve(&text.concat());
    assert!(shown(&genkan, Some("good.test")) == good.der);
    for name in ["bad.test", "gone.test"] {
        let given = shown(&genkan, Some(name));
        assert!(
            !given.is_empty() && given != good.der && given != other.der,
            "{name} is shown the default certificate"
        );
    }
    let problems = genkan.problems();
    for secret in ["default/bad", "default/gone"] {
        let found = problems.iter().find(|problem| problem["message"].as_str().unwrap().contains(secret));
        assert!(found.is_some(), "{secret} is not reported: {problems:#?}");
    }
    assert!(!problems.iter().any(|problem| problem.to_string().contains("good")), "{problems:#?}");

    // Mended while running.
    let gone = Pair::new(&["gone.test"]);
    genkan.write("mended.yaml", &secret_of("gone", &gone));
    genkan.wait_until("the Secret is used", || shown(&genkan, Some("gone.test")) == gone.der);
}
