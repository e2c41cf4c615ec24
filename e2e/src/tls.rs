//! Certificates for tests, and a blocking TLS client that shows which one it was given.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    SupportedProtocolVersion, version,
};

use crate::genkan::PATIENCE;

/// A self-signed certificate and its key.
pub struct Pair {
    /// The certificate in PEM.
    pub certificate: String,
    /// The key in PEM.
    pub key: String,
    /// The certificate in DER, as a peer shows it.
    pub der: Vec<u8>,
}

/// TLS 1.2 only.
pub static ONLY_1_2: &[&SupportedProtocolVersion] = &[&version::TLS12];
/// TLS 1.3 only.
pub static ONLY_1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    /// The server name; none sends no such extension.
    pub name: Option<&'a str>,
    /// The versions.
    pub versions: &'static [&'static SupportedProtocolVersion],
    /// Application protocols, the best first.
    pub protocols: &'a [&'a str],
}

/// A connection after its handshake.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Pair {
    /// A new certificate for these names.
    pub fn new(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate can be made");
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem(), der: made.cert.der().to_vec() }
    }
}

impl<'a> Hello<'a> {
    /// For this server name, as browsers do: TLS 1.3 or 1.2, HTTP/1.1.
    pub fn to(name: &'a str) -> Self {
        Self { name: Some(name), versions: ALL_VERSIONS, protocols: &["http/1.1"] }
    }
}

/// A client's configuration; any certificate is taken.
pub fn config(hello: &Hello<'_>) -> io::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(hello.versions)
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything(provider)))
        .with_no_client_auth();
    config.alpn_protocols = hello.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    // Every handshake is a full one, so that every one shows a certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Connects and finishes the handshake.
pub fn connect(address: SocketAddr, hello: &Hello<'_>) -> io::Result<TlsStream> {
    handshake(TcpStream::connect(address)?, hello)
}

/// Finishes the handshake on a connection.
pub fn handshake(mut stream: TcpStream, hello: &Hello<'_>) -> io::Result<TlsStream> {
    let config = config(hello)?;
    let name = match hello.name {
        Some(name) => ServerName::try_from(name.to_owned()).map_err(io::Error::other)?,
        // An address is no server name, so none is sent.
        None => ServerName::IpAddress(IpAddr::from(stream.peer_addr()?.ip())),
    };
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// The certificate that a connection was shown, in DER.
pub fn shown(stream: &TlsStream) -> Vec<u8> {
    let chain = stream.conn.peer_certificates().unwrap_or_default();
    chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default()
}

/// Takes any certificate, but wants its key's signature to be right: tests compare the certificate themselves.
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
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
