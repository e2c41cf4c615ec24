//! Client certificates: who is asked for one, and which are believed.

use std::sync::Arc;

use genkan_routing::model::{ClientAuth, ClientAuthMode};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoClientAuth, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{DistinguishedName, Error, RootCertStore, SignatureScheme};

use crate::tls_provider::{PROVIDER, verify_signatures};

/// Asks for a certificate and takes whatever comes, also nothing. That the client has the certificate's key is checked
/// all the same: what it shows is its own.
#[derive(Debug)]
struct AcceptAny;

/// What verifies the clients of a listener. Without a usable root there is none, and then nobody gets in.
pub(super) fn verifier(auth: Option<&ClientAuth>) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let Some(auth) = auth else { return Ok(Arc::new(NoClientAuth)) };
    match auth.mode {
        ClientAuthMode::AcceptAny => Ok(Arc::new(AcceptAny)),
        ClientAuthMode::Require => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(auth.roots.iter().map(|der| CertificateDer::from(der.as_ref())));
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&PROVIDER))
                .build()
                .map_err(|error: VerifierBuilderError| Error::General(error.to_string()))
        }
    }
}

impl ClientCertVerifier for AcceptAny {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: with hints, clients keep a certificate to themselves that does not fit them.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    verify_signatures!();

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}
