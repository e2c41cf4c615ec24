//! TLS versions and ciphers by server name.

use std::sync::Arc;

use genkan_routing::name::HostPattern;
use genkan_routing::policy::client::ClientSettings;
use genkan_routing::policy::tls::{Cipher, TlsSettings, TlsVersion};
use genkan_routing::snapshot::Snapshot;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion};
use tokio::io::AsyncWriteExt;

use super::support::{certificate, read_all, snapshot};
use super::tls::{EC, TLS12, TLS13, client, connect, https, start};

/// `a.test` and `b.test`, of which the first has these settings.
fn site(settings: Option<TlsSettings>) -> Arc<Snapshot> {
    let ours = certificate("ours", &["a.test", "b.test"]);
    let mut listener = https(&[("a.test", &[&ours]), ("b.test", &[&ours])], None);
    let name = HostPattern::parse_one_label("a.test").unwrap();
    listener.tls = settings.into_iter().map(|settings| (name.clone(), Arc::new(settings))).collect();
    snapshot([listener], [ours], ClientSettings::default())
}

fn only(version: TlsVersion) -> TlsSettings {
    TlsSettings { min_version: version, max_version: version, ciphers: Vec::new() }
}

#[tokio::test]
async fn a_name_is_opened_with_its_own_versions() {
    let (_proxy, address) = start(site(Some(only(TlsVersion::Tls13))));
    assert!(connect(address, "a.test", client(TLS12, &[EC])).await.is_err());
    assert!(connect(address, "a.test", client(TLS13, &[EC])).await.is_ok());
    assert!(connect(address, "b.test", client(TLS12, &[EC])).await.is_ok());
}

#[tokio::test]
async fn the_order_of_ciphers_is_the_listeners() {
    let ciphers = vec![Cipher::EcdsaChacha20, Cipher::EcdsaAes128Gcm, Cipher::Aes128Gcm];
    let (_proxy, address) = start(site(Some(TlsSettings { ciphers, ..TlsSettings::default() })));
    for (versions, version, cipher) in [
        (TLS12, ProtocolVersion::TLSv1_2, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
        (TLS13, ProtocolVersion::TLSv1_3, CipherSuite::TLS13_AES_128_GCM_SHA256),
    ] {
        let stream = connect(address, "a.test", client(versions, &[EC])).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version));
        assert_eq!(stream.get_ref().1.negotiated_cipher_suite().unwrap().suite(), cipher);
    }
}

#[tokio::test]
async fn a_session_is_not_resumed_under_other_settings() {
    let listed = |ciphers: &[Cipher]| Some(TlsSettings { ciphers: ciphers.to_vec(), ..TlsSettings::default() });
    // Both sets have what the session was made with: what was negotiated alone would not tell them apart.
    let (one, other) = (listed(&[Cipher::EcdsaAes128Gcm, Cipher::Aes128Gcm]), listed(&[Cipher::EcdsaAes128Gcm]));
    let (proxy, address) = start(site(one.clone()));
    for versions in [TLS12, TLS13] {
        proxy.publish(site(one.clone()));
        let config = client(versions, &[EC]);
        let publishes = [(&one, HandshakeKind::Full), (&one, HandshakeKind::Resumed), (&other, HandshakeKind::Full)];
        for (settings, expected) in publishes {
            proxy.publish(site(settings.clone()));
            let mut stream = connect(address, "a.test", config.clone()).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
            // Tickets of TLS 1.3 come with the answer.
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            read_all(&mut stream).await;
        }
    }
}
