//! Verification of endpoints over TLS: whose certificates are taken, and for which names.
//!
//! The engine reads the authorities of the system once. The tests that need one of their own therefore run in a process
//! of their own, which finds it by `SSL_CERT_FILE`.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use std::path::PathBuf;
use std::process::Command;

use genkan_routing::model::{HttpVersion, UpstreamTls, Verify};
use kit::model::rule;
use kit::{Backend, Running, Site, tls};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where the other process finds the certificate and the key of its endpoint.
const FOLDER: &str = "GENKAN_TEST_FOLDER";

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn new(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let issued = rcgen::generate_simple_self_signed(names).unwrap();
        Self { certificate: issued.cert.pem(), key: issued.signing_key.serialize_pem() }
    }
}

/// An endpoint over TLS that answers one request per connection at a time, for as long as the proxy keeps it.
async fn endpoint(pair: &Pair) -> Backend {
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    tls::Pair::of(certificate, key)
        .serving(&[], |mut stream| async move {
            let mut head = [0; 4096];
            // The proxy hangs up in the end.
            while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        })
        .await
}

fn verified(server_name: Option<&str>) -> UpstreamTls {
    UpstreamTls { server_name: server_name.map(Into::into), verify: Verify::System, client: None }
}

/// Serves `/NAME` from a cluster of `backend` with each of these settings.
fn serve(clusters: &[(&str, &Backend, Option<UpstreamTls>)]) -> Running {
    let site = clusters.iter().fold(Site::new(), |site, (name, backend, tls)| {
        let site = match tls {
            Some(tls) => site.cluster_with(name, &[backend.address], |cluster| cluster.tls = Some(tls.clone())),
            None => site.tls_cluster(name, &[backend.address], HttpVersion::Http1),
        };
        site.rule(rule(&format!("/{name}")).to(name))
    });
    Running::start(site)
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_502_and_its_name_is_no_help() {
    let backend = endpoint(&Pair::new(&["backend.test", "127.0.0.1"])).await;
    let running = serve(&[
        ("open", &backend, None),
        ("name", &backend, Some(verified(Some("backend.test")))),
        ("address", &backend, Some(verified(None))),
    ]);
    for path in ["/name", "/address"] {
        let answer = running.get(path).await;
        assert_eq!(answer.status, 502, "{path}: {}", answer.text());
        // What was tried is in the line, with the status that it counts as.
        let (line, address) = (running.log_line(), backend.address);
        assert!(line.contains(&format!("{address}")) && line.contains(" 502 "), "{line}");
    }
    // A connection that was made without verification is not for those who want it.
    assert_eq!(running.get("/open").await.status, 200);
    assert_eq!(running.get("/open").await.status, 200);
    assert_eq!((running.get("/name").await.status, running.get("/address").await.status), (502, 502));
}

#[test]
fn trusted_certificates_pass_for_their_own_names() {
    let folder = std::env::temp_dir().join(format!("genkan-upstream-verify-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let pair = Pair::new(&["backend.test", "127.0.0.1"]);
    std::fs::write(folder.join("tls.crt"), &pair.certificate).unwrap();
    std::fs::write(folder.join("tls.key"), &pair.key).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "with_an_authority_of_its_own", "--include-ignored", "--nocapture"])
        .env("SSL_CERT_FILE", folder.join("tls.crt"))
        .env(FOLDER, &folder)
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "run by trusted_certificates_pass_for_their_own_names, in a process of its own"]
async fn with_an_authority_of_its_own() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("set by the other test"));
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let trusted = endpoint(&Pair { certificate: read("tls.crt"), key: read("tls.key") }).await;
    let stranger = endpoint(&Pair::new(&["backend.test", "127.0.0.1"])).await;
    let running = serve(&[
        ("name", &trusted, Some(verified(Some("backend.test")))),
        ("address", &trusted, Some(verified(None))),
        ("other", &trusted, Some(verified(Some("other.test")))),
        ("stranger", &stranger, Some(verified(Some("backend.test")))),
    ]);
    for (path, expected) in [("/name", 200), ("/address", 200), ("/other", 502), ("/stranger", 502), ("/name", 200)] {
        assert_eq!(running.get(path).await.status, expected, "{path}");
    }
    // A kept connection for one name is not for another.
    assert_eq!(running.get("/other").await.status, 502);
}
