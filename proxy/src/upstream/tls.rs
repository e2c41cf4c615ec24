//! TLS towards endpoints: what a cluster asks of their certificates, as a configuration that its connections share, so
//! that sessions are resumed.
//!
//! A resumed session skips the verifier. That is sound because a configuration belongs to one [`UpstreamTls`]: another
//! authority, name or certificate of our own is another configuration with sessions of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, OnceLock};

use genkan_routing::model::{HttpVersion, SubjectAltName, Trust, UpstreamTls, Verify};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls_provider::{PROVIDER, verify_signatures};

/// A cluster's TLS, set up for each of what can be spoken over it (something else than HTTP, HTTP/1, HTTP/2) when the
/// first such connection needs it; carried over while its settings stay the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secure(Arc<[OnceLock<SetUp>; 3]>);

type SetUp = Result<Arc<ClientConfig>, SetUpError>;

/// Why TLS towards endpoints can't be set up.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum SetUpError {
    /// The translation said so.
    #[error("{0}")]
    Refused(Arc<str>),
    /// None of the authorities can be read.
    #[error("none of the authorities is a certificate")]
    NoAuthority,
    /// rustls said so.
    #[error("{0}")]
    Tls(Error),
}

/// Judges endpoints' certificates.
#[derive(Debug)]
struct Verifier {
    demand: Demand,
    roots: Arc<RootCertStore>,
}

/// What a certificate must have.
#[derive(Clone, Debug)]
enum Demand {
    Nothing,
    /// A chain, and the name that was asked for.
    ServerName,
    /// A chain, and a name of these.
    OneOf(Vec<SubjectAltName>),
}

/// The authorities of the system, read once (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others).
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some authorities of the system can't be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    Arc::new(roots)
});

impl Secure {
    /// Makes TLS of a TCP connection to an endpoint. `version` is what is to be spoken over it; `None` for something
    /// else than HTTP.
    pub(crate) async fn handshake(
        &self,
        tls: &UpstreamTls,
        version: Option<HttpVersion>,
        address: SocketAddr,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = self.of(version).get_or_init(|| set_up(tls, version)).clone().map_err(io::Error::other)?;
        let name = match &tls.server_name {
            Some(name) => ServerName::try_from(name.to_string()).map_err(io::Error::other)?,
            // No server name is sent for an address; verification, where it is on, asks for the address.
            None => ServerName::IpAddress(address.ip().into()),
        };
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        if version == Some(HttpVersion::Http2) && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the endpoint does not speak HTTP/2 over TLS"));
        }
        Ok(stream)
    }

    /// Whoever comes first must not decide what the others offer to speak.
    fn of(&self, version: Option<HttpVersion>) -> &OnceLock<SetUp> {
        let [other, http1, http2] = &*self.0;
        match version {
            None => other,
            Some(HttpVersion::Http1) => http1,
            Some(HttpVersion::Http2) => http2,
        }
    }
}

fn set_up(tls: &UpstreamTls, version: Option<HttpVersion>) -> SetUp {
    let verifier = Arc::new(Verifier::new(&tls.verify)?);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .map_err(SetUpError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let chain = client.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
            let own = CertifiedKey::new(chain, Arc::clone(client.key.signing()));
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
        }
    };
    config.alpn_protocols = match version {
        None => Vec::new(),
        Some(HttpVersion::Http1) => vec![b"http/1.1".to_vec()],
        Some(HttpVersion::Http2) => vec![b"h2".to_vec()],
    };
    Ok(Arc::new(config))
}

impl Verifier {
    fn new(verify: &Verify) -> Result<Self, SetUpError> {
        Ok(match verify {
            Verify::Nothing => Self { demand: Demand::Nothing, roots: Arc::new(RootCertStore::empty()) },
            Verify::System => Self { demand: Demand::ServerName, roots: Arc::clone(&SYSTEM) },
            Verify::Trust(trust) => Self { demand: Demand::of(trust), roots: roots(trust)? },
            Verify::Refused(reason) => return Err(SetUpError::Refused(Arc::clone(reason))),
        })
    }
}

impl Demand {
    fn of(trust: &Trust) -> Self {
        if trust.names.is_empty() { Self::ServerName } else { Self::OneOf(trust.names.clone()) }
    }
}

fn roots(trust: &Trust) -> Result<Arc<RootCertStore>, SetUpError> {
    let Some(authorities) = &trust.authorities else { return Ok(Arc::clone(&SYSTEM)) };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().map(|authority| CertificateDer::from(authority.der.to_vec())));
    if roots.is_empty() { Err(SetUpError::NoAuthority) } else { Ok(Arc::new(roots)) }
}

/// Whether a certificate has a name.
fn has(certificate: &CertificateDer<'_>, parsed: &ParsedCertificate<'_>, name: &SubjectAltName) -> bool {
    let Ok(presented) = webpki::EndEntityCert::try_from(certificate) else { return false };
    match name {
        SubjectAltName::Uri(uri) => presented.valid_uri_names().any(|name| name == &**uri),
        // A policy that names a wildcard means a certificate for that wildcard.
        SubjectAltName::Dns(name) if name.starts_with("*.") => {
            presented.valid_dns_names().any(|presented| presented.eq_ignore_ascii_case(name))
        }
        SubjectAltName::Dns(name) => {
            ServerName::try_from(&**name).is_ok_and(|name| verify_server_name(parsed, &name).is_ok())
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if matches!(self.demand, Demand::Nothing) {
            return Ok(ServerCertVerified::assertion());
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = PROVIDER.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        match &self.demand {
            Demand::Nothing => {}
            Demand::ServerName => verify_server_name(&parsed, server_name)?,
            Demand::OneOf(names) => {
                if !names.iter().any(|name| has(end_entity, &parsed, name)) {
                    return Err(CertificateError::NotValidForName.into());
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    verify_signatures!();

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn acceptor() -> TlsAcceptor {
        let issued = rcgen::generate_simple_self_signed(["endpoint.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(issued.signing_key.serialize_der().into());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER)).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(vec![issued.cert.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    #[tokio::test]
    async fn each_connection_offers_what_it_speaks_whoever_came_first() {
        let (secure, tls, acceptor) = (Secure::default(), UpstreamTls::UNVERIFIED, acceptor());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for (version, spoken) in [
            (None, None),
            (Some(HttpVersion::Http2), Some(&b"h2"[..])),
            (Some(HttpVersion::Http1), Some(&b"http/1.1"[..])),
            (None, None),
        ] {
            let client = async {
                secure.handshake(&tls, version, address, TcpStream::connect(address).await.unwrap()).await.unwrap()
            };
            let server = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
            let (_client, server) = tokio::join!(client, server);
            assert_eq!(server.get_ref().1.alpn_protocol(), spoken, "{version:?}");
        }
    }
}
