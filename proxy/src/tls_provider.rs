//! The crypto provider of all TLS of ours, and how the signatures of handshakes are verified with it.
//!
//! It is always ring, whatever the process has installed.

use std::sync::{Arc, LazyLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The provider.
pub(crate) static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));

/// The methods of a verifier of certificates that verify signatures: what is shown must be the other side's own, also
/// where any certificate is taken. Those in which no chain could be verified pass too (see [`verify_tls12`]); a verifier
/// that asks for a chain has refused them before.
macro_rules! verify_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            $crate::tls_provider::verify_tls12(message, certificate, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            $crate::tls_provider::verify_tls13(message, certificate, signed)
        }
    };
}

pub(crate) use verify_signatures;

/// Verifies a signature of TLS 1.2. webpki reads no certificates of version 1, nor those with critical extensions that it
/// does not know; of these only the key is taken, which is all that a signature needs.
pub(crate) fn verify_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let supported = &PROVIDER.signature_verification_algorithms;
    if webpki::EndEntityCert::try_from(certificate).is_ok() {
        return verify_tls12_signature(message, certificate, signed, supported);
    }
    let key = key_of(certificate)?;
    let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
    let known = supported.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    let (_, algorithms) = known.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let verified = |algorithm: &&_| key.verify_signature(**algorithm, message, signed.signature()).is_ok();
    let verified = algorithms.iter().any(|algorithm| verified(&algorithm));
    if verified { Ok(HandshakeSignatureValid::assertion()) } else { Err(CertificateError::BadSignature.into()) }
}

/// As [`verify_tls12`], for TLS 1.3.
pub(crate) fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let supported = &PROVIDER.signature_verification_algorithms;
    if webpki::EndEntityCert::try_from(certificate).is_ok() {
        return verify_tls13_signature(message, certificate, signed, supported);
    }
    verify_tls13_signature_with_raw_key(message, &key_of(certificate)?, signed, supported)
}

fn key_of<'c>(certificate: &'c CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'c>, Error> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(SubjectPublicKeyInfoDer::from(parsed.tbs_certificate.subject_pki.raw))
}
