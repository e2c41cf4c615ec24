//! A server that ends TLS in front of another one, and remembers what it was asked for: makes a backend over TLS of one
//! in plaintext.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::tls::Pair;

/// A running server. It ends with the test.
pub struct TlsFront {
    address: SocketAddr,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
}

/// How a handshake went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// It was finished.
    Done {
        /// The server name that was asked for.
        server_name: Option<String>,
        /// The protocol that was agreed on.
        protocol: Option<String>,
    },
    /// It was not.
    Failed(String),
}

impl TlsFront {
    /// Shows `pair`, agrees on one of `protocols` (the best first), and passes every byte on to `behind`.
    pub fn start(behind: SocketAddr, pair: &Pair, protocols: &[&str]) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), None, behind, pair, protocols)
    }

    /// As [`Self::start`], for clients only that show `client`.
    pub fn start_for(client: &Pair, behind: SocketAddr, pair: &Pair, protocols: &[&str]) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), Some(client), behind, pair, protocols)
    }

    /// As [`Self::start`], at an address, and for clients only that show `client` if there is one.
    pub fn start_at(
        address: IpAddr,
        client: Option<&Pair>,
        behind: SocketAddr,
        pair: &Pair,
        protocols: &[&str],
    ) -> Self {
        let verifier = client.map_or_else(WebPkiClientVerifier::no_client_auth, verifier_of);
        let chain = vec![CertificateDer::from(pair.der.clone())];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key in PEM");
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("a TLS configuration")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .expect("a certificate and its key");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let handshakes = Arc::new(Mutex::new(Vec::new()));
        let (acceptor, seen) = (TlsAcceptor::from(Arc::new(config)), handshakes.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((address, 0))).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            runtime.block_on(async {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(pass_on(stream, acceptor.clone(), behind, seen.clone()));
                }
            });
        });
        Self { address, handshakes }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The handshakes so far.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.handshakes.lock().unwrap().clone()
    }
}

/// Lets in only clients that show a certificate.
fn verifier_of(client: &Pair) -> Arc<dyn ClientCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(client.der.clone())).expect("a certificate that can be trusted");
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.expect("a verifier of client certificates")
}

async fn pass_on(stream: TcpStream, acceptor: TlsAcceptor, behind: SocketAddr, seen: Arc<Mutex<Vec<Handshake>>>) {
    let mut stream = match acceptor.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => return seen.lock().unwrap().push(Handshake::Failed(error.to_string())),
    };
    let session = stream.get_ref().1;
    let server_name = session.server_name().map(str::to_owned);
    let protocol = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    seen.lock().unwrap().push(Handshake::Done { server_name, protocol });
    let Ok(mut behind) = TcpStream::connect(behind).await else { return };
    // How it ends is told by what the client sees.
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
}
