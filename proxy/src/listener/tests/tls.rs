//! TLS by server name, over real sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use genkan_routing::model::{Certificate, Listener, Protocol};
use genkan_routing::name::HostPattern;
use genkan_routing::policy::client::ClientSettings;
use genkan_routing::snapshot::Snapshot;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, ClientConfig, HandshakeKind, ProtocolVersion, SignatureScheme, SupportedProtocolVersion,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::support::{certificate, certificate_with, listener, read_all, snapshot, soon};
use crate::Proxy;
use crate::config::ProxyConfig;
use crate::tls_provider::{PROVIDER, verify_signatures};

pub(super) static TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
pub(super) static TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// Takes every certificate, so that tests see which one was served; signatures of `schemes` only.
#[derive(Debug)]
struct AnyCertificate {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    verify_signatures!();

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

pub(super) const EC: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

pub(super) fn client(
    versions: &'static [&'static SupportedProtocolVersion],
    schemes: &[SignatureScheme],
) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate { schemes: schemes.to_vec() }))
        .with_no_client_auth()
}

pub(super) async fn connect(
    address: SocketAddr,
    name: &'static str,
    config: ClientConfig,
) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name).unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
}

/// The certificate that a client with this server name gets.
async fn served(address: SocketAddr, name: &'static str, config: ClientConfig) -> Vec<u8> {
    let stream = connect(address, name, config).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// An HTTPS listener with certificates for names.
pub(super) fn https(named: &[(&str, &[&Arc<Certificate>])], default: Option<&Arc<Certificate>>) -> Listener {
    let mut listener = listener("https", Protocol::Https);
    let ids = |certificates: &[&Arc<Certificate>]| certificates.iter().map(|one| one.id.clone()).collect();
    listener.certificates = named
        .iter()
        .map(|(name, certificates)| (HostPattern::parse_one_label(name).unwrap(), ids(certificates)))
        .collect();
    listener.default_certificate = default.map(|certificate| certificate.id.clone());
    listener
}

pub(super) fn start(snapshot: Arc<Snapshot>) -> (Proxy, SocketAddr) {
    let proxy = Proxy::start(ProxyConfig { workers: 2, ..ProxyConfig::default() }).unwrap();
    let published = proxy.publish(snapshot);
    assert!(published.failed.is_empty(), "{:?}", published.failed);
    let address = published.bound[0].1;
    (proxy, address)
}

#[tokio::test]
async fn the_certificate_is_that_of_the_server_name() {
    let [a, wild, default] =
        [("a", "a.test"), ("wild", "*.w.test"), ("default", "default.test")].map(|(id, name)| certificate(id, &[name]));
    let listener = https(&[("a.test", &[&a]), ("*.w.test", &[&wild])], Some(&default));
    let certificates = [&a, &wild, &default].map(Arc::clone);
    let (_proxy, address) = start(snapshot([listener], certificates, ClientSettings::default()));
    for versions in [TLS12, TLS13] {
        for (name, expected) in [
            ("a.test", &a),
            ("A.TEST", &a),
            ("x.w.test", &wild),
            ("x.y.w.test", &default),
            ("b.test", &default),
            ("127.0.0.1", &default),
        ] {
            let leaf = served(address, name, client(versions, &[EC])).await;
            assert_eq!(leaf[..], expected.chain[0][..], "{name}");
        }
    }
}

#[tokio::test]
async fn without_a_certificate_the_name_is_not_recognized() {
    let a = certificate("a", &["a.test"]);
    let listener = https(&[("a.test", &[&a])], None);
    let (_proxy, address) = start(snapshot([listener], [Arc::clone(&a)], ClientSettings::default()));
    for name in ["b.test", "127.0.0.1"] {
        let error = connect(address, name, client(TLS13, &[EC])).await.unwrap_err();
        let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()).cloned();
        assert_eq!(error, Some(rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)), "{name}");
    }
    assert_eq!(served(address, "a.test", client(TLS13, &[EC])).await[..], a.chain[0][..]);
}

#[tokio::test]
async fn of_two_key_types_the_client_gets_the_one_that_it_knows() {
    let ed = certificate_with("ed", &["a.test"], &rcgen::PKCS_ED25519);
    let ec = certificate("ec", &["a.test"]);
    let listener = https(&[("a.test", &[&ed, &ec])], None);
    let certificates = [&ed, &ec].map(Arc::clone);
    let (_proxy, address) = start(snapshot([listener], certificates, ClientSettings::default()));
    assert_eq!(served(address, "a.test", client(TLS13, &[EC])).await[..], ec.chain[0][..]);
    assert_eq!(served(address, "a.test", client(TLS13, &[SignatureScheme::ED25519])).await[..], ed.chain[0][..]);
}

#[tokio::test]
async fn http_2_is_offered_when_it_is_on() {
    let a = certificate("a", &["a.test"]);
    for http2 in [true, false] {
        let settings = ClientSettings { http2, ..ClientSettings::default() };
        let listener = https(&[("a.test", &[&a])], None);
        let (_proxy, address) = start(snapshot([listener], [Arc::clone(&a)], settings));
        let mut config = client(TLS13, &[EC]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = connect(address, "a.test", config).await.unwrap();
        let expected: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(expected));
    }
}

#[tokio::test]
async fn requests_are_read_through_tls() {
    let a = certificate("a", &["a.test"]);
    let listener = https(&[("a.test", &[&a])], None);
    let (_proxy, address) = start(snapshot([listener], [Arc::clone(&a)], ClientSettings::default()));
    for versions in [TLS12, TLS13] {
        let mut stream = connect(address, "a.test", client(versions, &[EC])).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        // The listener's own refusal, and a close_notify, without which this read would fail.
        assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    }
}

#[tokio::test]
async fn certificates_are_swapped_without_a_failed_handshake() {
    let generations: Vec<_> = (0..8).map(|_| certificate("a", &["a.test"])).collect();
    let of = |generation: &Arc<Certificate>| {
        snapshot([https(&[("a.test", &[generation])], None)], [Arc::clone(generation)], ClientSettings::default())
    };
    let (proxy, address) = start(of(&generations[0]));
    let clients = tokio::spawn(async move {
        let mut leaves = Vec::new();
        for _ in 0..60 {
            leaves.push(served(address, "a.test", client(TLS13, &[EC])).await);
        }
        leaves
    });
    for round in 0.. {
        let generation = &generations[round % generations.len()];
        proxy.publish(of(generation));
        // The very next handshake has it.
        assert_eq!(served(address, "a.test", client(TLS13, &[EC])).await[..], generation.chain[0][..]);
        if clients.is_finished() {
            break;
        }
    }
    for leaf in clients.await.unwrap() {
        assert!(generations.iter().any(|generation| generation.chain[0][..] == leaf[..]));
    }
}

#[tokio::test]
async fn sessions_are_resumed_also_after_a_publish() {
    let a = certificate("a", &["a.test"]);
    let of = || snapshot([https(&[("a.test", &[&a])], None)], [Arc::clone(&a)], ClientSettings::default());
    let (proxy, address) = start(of());
    for (versions, version) in [(TLS12, ProtocolVersion::TLSv1_2), (TLS13, ProtocolVersion::TLSv1_3)] {
        let config = client(versions, &[EC]);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = connect(address, "a.test", config.clone()).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
            assert_eq!(stream.get_ref().1.protocol_version(), Some(version));
            // Tickets of TLS 1.3 come with the answer.
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            read_all(&mut stream).await;
            proxy.publish(of());
        }
    }
}

#[tokio::test]
async fn a_new_policy_forgets_the_sessions_of_the_old_one() {
    let a = certificate("a", &["a.test"]);
    let of = |http2| {
        let settings = ClientSettings { http2, ..ClientSettings::default() };
        snapshot([https(&[("a.test", &[&a])], None)], [Arc::clone(&a)], settings)
    };
    let (proxy, address) = start(of(true));
    let config = client(TLS12, &[EC]);
    connect(address, "a.test", config.clone()).await.unwrap();
    proxy.publish(of(false));
    let stream = connect(address, "a.test", config).await.unwrap();
    assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
}

#[tokio::test]
async fn plain_http_at_a_tls_port_is_told_so() {
    let a = certificate("a", &["a.test"]);
    let (_proxy, address) =
        start(snapshot([https(&[("a.test", &[&a])], None)], [Arc::clone(&a)], ClientSettings::default()));
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    tcp.shutdown().await.unwrap();
    let answer = read_all(&mut tcp).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("HTTPS port"), "{answer}");
}
