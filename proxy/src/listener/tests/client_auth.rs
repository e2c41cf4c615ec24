//! Client certificates, over real sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use genkan_routing::model::{ClientAuth, ClientAuthMode};
use genkan_routing::policy::client::ClientSettings;
use genkan_routing::snapshot::Snapshot;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{certificate, signing_key, snapshot, soon};
use super::tls::{EC, TLS12, TLS13, client, connect, https, start};

/// A certificate authority.
type Ca = CertifiedIssuer<'static, KeyPair>;

/// What a client has to show, and what it was told of whom to show it to.
#[derive(Debug, Default)]
struct Wallet {
    key: Option<Arc<CertifiedKey>>,
    hints: Mutex<Option<usize>>,
}

impl ResolvesClientCert for Wallet {
    fn resolve(&self, hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.hints.lock().unwrap() = Some(hints.len());
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn authority() -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A client's certificate by an authority, without any name.
fn client_key(issuer: &Ca) -> Arc<CertifiedKey> {
    client_key_with(issuer, |_| {})
}

fn client_key_with(issuer: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Arc<CertifiedKey> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let leaf = params.signed_by(&key, issuer).unwrap();
    Arc::new(CertifiedKey::new(vec![leaf.der().clone()], Arc::clone(signing_key(&key).signing())))
}

fn wallet(key: Option<&Arc<CertifiedKey>>) -> Arc<Wallet> {
    Arc::new(Wallet { key: key.cloned(), hints: Mutex::default() })
}

fn auth(mode: ClientAuthMode, roots: &[&Ca]) -> ClientAuth {
    let roots = roots.iter().map(|root| Arc::from(root.der().as_ref())).collect();
    ClientAuth { mode, fingerprints: Vec::new(), roots }
}

/// An HTTPS listener for `a.test`.
fn site(auth: Option<ClientAuth>) -> Arc<Snapshot> {
    static CERTIFICATE: std::sync::LazyLock<Arc<genkan_routing::model::Certificate>> =
        std::sync::LazyLock::new(|| certificate("a", &["a.test"]));
    let mut listener = https(&[("a.test", &[&CERTIFICATE])], None);
    listener.client_auth = auth.map(Arc::new);
    snapshot([listener], [Arc::clone(&CERTIFICATE)], ClientSettings::default())
}

fn holding(mut config: ClientConfig, wallet: &Arc<Wallet>) -> ClientConfig {
    config.client_auth_cert_resolver = Arc::clone(wallet) as Arc<dyn ResolvesClientCert>;
    config
}

/// What kind of handshake led to an answer; `None`: there was none. In TLS 1.3 the refusal comes after the handshake.
async fn answered(address: SocketAddr, config: &ClientConfig) -> Option<HandshakeKind> {
    let mut stream = connect(address, "a.test", config.clone()).await.ok()?;
    let kind = stream.get_ref().1.handshake_kind();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.ok()?;
    let mut answer = Vec::new();
    // Whoever was refused sees an alert.
    soon(stream.read_to_end(&mut answer)).await.ok()?;
    kind.filter(|_| answer.starts_with(b"HTTP/1.1 404 "))
}

#[tokio::test]
async fn a_client_gets_in_with_a_certificate_of_the_roots_only() {
    let (ours, second, theirs) = (authority(), authority(), authority());
    let (_proxy, address) = start(site(Some(auth(ClientAuthMode::Require, &[&ours, &second]))));
    let (right, other, wrong) = (client_key(&ours), client_key(&second), client_key(&theirs));
    for versions in [TLS12, TLS13] {
        for (key, gets_in) in [(Some(&right), true), (Some(&other), true), (Some(&wrong), false), (None, false)] {
            let wallet = wallet(key);
            let kind = answered(address, &holding(client(versions, &[EC]), &wallet)).await;
            assert_eq!(kind.is_some(), gets_in, "{key:?}");
            // The roots all have the same subject here, and are named one by one.
            assert_eq!(*wallet.hints.lock().unwrap(), Some(2));
        }
    }
}

#[tokio::test]
async fn any_certificate_and_none_will_do_where_the_fallback_is_allowed() {
    let (ours, theirs) = (authority(), authority());
    let (_proxy, address) = start(site(Some(auth(ClientAuthMode::AcceptAny, &[&ours]))));
    let (right, wrong) = (client_key(&ours), client_key(&theirs));
    for versions in [TLS12, TLS13] {
        for key in [Some(&right), Some(&wrong), None] {
            let wallet = wallet(key);
            let kind = answered(address, &holding(client(versions, &[EC]), &wallet)).await;
            assert_eq!(kind, Some(HandshakeKind::Full), "{key:?}");
            // It was asked for, in words that no client takes for "not yours".
            assert_eq!(*wallet.hints.lock().unwrap(), Some(0));
        }
    }
}

#[tokio::test]
async fn nobody_shows_a_certificate_without_its_key() {
    let ours = authority();
    let (own, other) = (client_key(&ours), client_key(&ours));
    let stolen = Arc::new(CertifiedKey::new(own.cert.clone(), Arc::clone(&other.key)));
    for mode in [ClientAuthMode::Require, ClientAuthMode::AcceptAny] {
        let (_proxy, address) = start(site(Some(auth(mode, &[&ours]))));
        for versions in [TLS12, TLS13] {
            let config = |key| holding(client(versions, &[EC]), &wallet(Some(key)));
            assert!(answered(address, &config(&own)).await.is_some());
            assert!(answered(address, &config(&stolen)).await.is_none());
        }
    }
}

#[tokio::test]
async fn what_no_verifier_reads_will_do_where_any_certificate_does_and_only_with_its_key() {
    let ours = authority();
    let odd = client_key_with(&ours, |params| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions = vec![unknown];
    });
    let stolen = Arc::new(CertifiedKey::new(odd.cert.clone(), Arc::clone(&client_key(&ours).key)));
    for (mode, gets_in) in [(ClientAuthMode::AcceptAny, true), (ClientAuthMode::Require, false)] {
        let (_proxy, address) = start(site(Some(auth(mode, &[&ours]))));
        for versions in [TLS12, TLS13] {
            let config = |key| holding(client(versions, &[EC]), &wallet(Some(key)));
            assert_eq!(answered(address, &config(&odd)).await.is_some(), gets_in);
            assert!(answered(address, &config(&stolen)).await.is_none());
        }
    }
}

#[tokio::test]
async fn nobody_is_asked_where_nothing_says_so_and_nobody_gets_in_without_a_usable_root() {
    let key = client_key(&authority());
    let (proxy, address) = start(site(None));
    let asked = wallet(Some(&key));
    assert!(answered(address, &holding(client(TLS13, &[EC]), &asked)).await.is_some());
    assert_eq!(*asked.hints.lock().unwrap(), None);

    let broken = ClientAuth { roots: vec![Arc::from(&b"no certificate"[..])], ..auth(ClientAuthMode::Require, &[]) };
    proxy.publish(site(Some(broken)));
    assert!(answered(address, &holding(client(TLS13, &[EC]), &asked)).await.is_none());
}

#[tokio::test]
async fn a_session_is_resumed_as_long_as_the_same_is_asked_and_no_longer() {
    let (old, new) = (authority(), authority());
    let require = |root: &Ca| site(Some(auth(ClientAuthMode::Require, &[root])));
    let (proxy, address) = start(require(&old));
    for versions in [TLS12, TLS13] {
        proxy.publish(require(&old));
        let key = client_key(&old);
        let config = holding(client(versions, &[EC]), &wallet(Some(&key)));
        assert_eq!(answered(address, &config).await, Some(HandshakeKind::Full));
        proxy.publish(require(&old));
        assert_eq!(answered(address, &config).await, Some(HandshakeKind::Resumed));
        // The session of a certificate that is no longer believed is worth nothing.
        proxy.publish(require(&new));
        assert_eq!(answered(address, &config).await, None);
    }
}

#[tokio::test]
async fn a_session_made_without_a_certificate_does_not_outlive_the_fallback() {
    let ours = authority();
    let of = |mode| site(Some(auth(mode, &[&ours])));
    let (proxy, address) = start(site(None));
    for versions in [TLS12, TLS13] {
        for before in [None, Some(ClientAuthMode::AcceptAny)] {
            proxy.publish(before.map_or_else(|| site(None), of));
            let config = holding(client(versions, &[EC]), &wallet(None));
            assert_eq!(answered(address, &config).await, Some(HandshakeKind::Full));
            assert_eq!(answered(address, &config).await, Some(HandshakeKind::Resumed));
            proxy.publish(of(ClientAuthMode::Require));
            assert_eq!(answered(address, &config).await, None);
        }
    }
}

#[tokio::test]
async fn other_roots_ask_who_had_a_session_again() {
    let (one, two) = (authority(), authority());
    let (proxy, address) = start(site(Some(auth(ClientAuthMode::Require, &[&one]))));
    let config = holding(client(TLS13, &[EC]), &wallet(Some(&client_key(&one))));
    assert_eq!(answered(address, &config).await, Some(HandshakeKind::Full));
    assert_eq!(answered(address, &config).await, Some(HandshakeKind::Resumed));
    proxy.publish(site(Some(auth(ClientAuthMode::Require, &[&one, &two]))));
    assert_eq!(answered(address, &config).await, Some(HandshakeKind::Full));
}
