//! Serving: the certificate that the server shows now. It may change at any time; connections that are open go on.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;

/// The certificate that is shown. Until there is one, handshakes fail.
#[derive(Default)]
pub struct Serving(ArcSwapOption<CertifiedKey>);

impl Serving {
    /// None so far.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Shows this one from now on.
    pub fn show(&self, certificate: Arc<CertifiedKey>) {
        self.0.store(Some(certificate));
    }

    /// Whether there is one.
    pub fn is_shown(&self) -> bool {
        self.0.load().is_some()
    }

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. The API server is not asked who it is, as by ingress-nginx.
    pub(super) fn config(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// Without the key.
impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("shown", &self.is_shown()).finish_non_exhaustive()
    }
}
