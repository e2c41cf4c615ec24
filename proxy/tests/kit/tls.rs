//! TLS for tests: certificates, clients that show what they were given, and backends that end TLS themselves.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use genkan_routing::model::{Certificate, PrivateKey};
use genkan_routing::name::{CertificateId, HostPattern};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, server};

use super::backend::Backend;

/// A self-signed certificate and its key.
pub struct Pair {
    pub der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Pair {
    pub fn new(name: &str) -> Self {
        Self::with_names(&[name])
    }

    /// For these names; one that begins with `uri:` is a URI.
    pub fn with_names(names: &[&str]) -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.strip_prefix("uri:") {
                Some(uri) => rcgen::SanType::URI(uri.try_into().unwrap()),
                None => rcgen::SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        let signing_key = rcgen::KeyPair::generate().unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        Self { der: params.self_signed(&signing_key).unwrap().der().clone(), key }
    }

    /// One that was made elsewhere.
    pub fn of(der: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Self {
        Self { der, key }
    }

    /// As a model has it.
    pub fn certificate(&self, id: &str) -> Arc<Certificate> {
        Arc::new(Certificate {
            id: CertificateId::new(id),
            origin: None,
            names: vec![HostPattern::Any],
            fingerprint: String::new(),
            not_after: 0,
            chain: vec![Arc::from(self.der.as_ref())],
            key: PrivateKey::new(ring::sign::any_supported_type(&self.key).unwrap()),
        })
    }

    /// A backend that ends TLS with this certificate, speaks `h2` if the client does, and sends back what it gets.
    pub async fn backend(&self) -> Backend {
        self.serving(&[], |stream| async move {
            let (mut from, mut to) = tokio::io::split(stream);
            // A client that hangs up is part of many tests.
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        })
        .await
    }

    /// A backend that ends TLS with this certificate, speaks `h2` if the client does, and does with every connection what
    /// `serve` says. With `clients`, only those get in that show one of these certificates.
    pub async fn serving<F, R>(&self, clients: &[&Pair], serve: F) -> Backend
    where
        F: Fn(server::TlsStream<TcpStream>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let acceptor = self.acceptor(clients);
        Backend::raw(move |stream| {
            let (acceptor, serve) = (acceptor.clone(), serve.clone());
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream).await;
                }
            }
        })
        .await
    }

    pub fn acceptor(&self, clients: &[&Pair]) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let mut roots = RootCertStore::empty();
        clients.iter().for_each(|client| roots.add(client.der.clone()).unwrap());
        let builder = if roots.is_empty() {
            builder.with_no_client_auth()
        } else {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        };
        let mut config = builder.with_single_cert(vec![self.der.clone()], self.key.clone_key()).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Takes every certificate: tests compare it themselves.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn config(protocols: &[&str]) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything(provider)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A connection for a server name (an address sends none), with these application protocols.
pub async fn connect(address: SocketAddr, name: &str, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    handshake(tcp, name, protocols).await
}

/// The handshake on a connection that is there.
pub async fn handshake(tcp: TcpStream, name: &str, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connecting = TlsConnector::from(config(protocols)).connect(name, tcp);
    tokio::time::timeout(super::client::PATIENCE, connecting).await.expect("a handshake in time")
}

/// The certificate that the peer has shown.
pub fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Sends a text and reads as much as comes back for it.
pub async fn echoed(stream: &mut TlsStream<TcpStream>, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut bytes = vec![0; text.len()];
    tokio::time::timeout(super::client::PATIENCE, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A ClientHello for a server name, as bytes.
pub fn client_hello(name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(config(&[]), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}
