//! Certificates: PEM to a checked [`Certificate`], and the certificate that is made when there is none.
//!
//! Nothing here prints key material: errors name the field and the kind of defect, never the text.

use std::sync::Arc;

use genkan_routing::model::{Certificate, PrivateKey};
use genkan_routing::name::{CertificateId, HostPattern, Origin};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

/// The id of the certificate that [`generate_fallback`] makes.
pub const FALLBACK_ID: &str = "generated";

/// How long a generated certificate lasts, in days (ingress-nginx).
const FALLBACK_DAYS: i64 = 365;

/// Why a chain and a key make no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The chain's PEM is broken.
    #[error("the certificate chain is not well-formed PEM: {0}")]
    ChainPem(&'static str),
    /// The chain holds no certificate.
    #[error("there is no CERTIFICATE block in the certificate chain")]
    EmptyChain,
    /// The leaf can't be read.
    #[error("the first certificate of the chain can't be read: {0}")]
    Leaf(String),
    /// The key's PEM is broken.
    #[error("the private key is not well-formed PEM: {0}")]
    KeyPem(&'static str),
    /// There is no key, or it is encrypted.
    #[error("there is no unencrypted private key (PKCS#8, PKCS#1 or SEC1)")]
    NoKey,
    /// The key is of a kind that the TLS library does not know, or damaged.
    #[error("the private key is of an unsupported kind or damaged (RSA of at least 2048 bits, P-256, P-384, Ed25519)")]
    BadKey,
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the first certificate of the chain")]
    Mismatch,
}

impl CertificateError {
    /// Whether the defect is in the key rather than the chain.
    pub fn concerns_key(&self) -> bool {
        matches!(self, Self::KeyPem(_) | Self::NoKey | Self::BadKey | Self::Mismatch)
    }
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
#[error("no certificate could be generated")]
pub struct GenerateError(#[from] rcgen::Error);

/// A certificate from the PEM of its chain (leaf first) and of its key, checked to belong together. An expired one is
/// accepted, as ingress-nginx does: whether it still serves is the client's to say.
pub fn parse_pem(
    id: CertificateId,
    origin: Option<Origin>,
    chain: &[u8],
    key: &[u8],
) -> Result<Certificate, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertificateError::ChainPem(describe(&error)))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        pem::Error::NoItemsFound => CertificateError::NoKey,
        error => CertificateError::KeyPem(describe(&error)),
    })?;
    from_der(id, origin, chain, key)
}

fn from_der(
    id: CertificateId,
    origin: Option<Origin>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Certificate, CertificateError> {
    let leaf = chain.first().ok_or(CertificateError::EmptyChain)?;
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|_| CertificateError::Leaf("it is no X.509 in DER".to_owned()))?;
    let (names, not_after) = (names_of(&parsed), parsed.validity().not_after.timestamp());
    let fingerprint = sha256_hex(leaf);
    let signing = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| CertificateError::BadKey)?;
    match CertifiedKey::new(chain.clone(), signing.clone()).keys_match() {
        // `Unknown`: the key can't tell its public half; the handshake will show.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => return Err(CertificateError::Mismatch),
        Err(error) => return Err(CertificateError::Leaf(error.to_string())),
    }
    Ok(Certificate {
        id,
        origin,
        names,
        fingerprint,
        not_after,
        chain: chain.iter().map(|der| Arc::from(der.as_ref())).collect(),
        key: PrivateKey::new(signing),
    })
}

/// The certificate for clients whose server name nothing covers, while no other was given: names and life as
/// ingress-nginx's, with an ECDSA P-256 key.
pub fn generate_fallback() -> Result<Certificate, GenerateError> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(vec!["ingress.local".to_owned()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Acme Co");
    params.distinguished_name.push(rcgen::DnType::CommonName, "Kubernetes Ingress Controller Fake Certificate");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let now = jiff::Timestamp::now().as_second();
    params.not_before = date(now)?.to_datetime();
    params.not_after = date(now + FALLBACK_DAYS * 86_400)?.to_datetime();
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    from_der(CertificateId::new(FALLBACK_ID), None, vec![certificate.der().clone()], key)
        .map_err(|_| GenerateError(rcgen::Error::CouldNotParseCertificate))
}

fn date(second: i64) -> Result<ASN1Time, rcgen::Error> {
    ASN1Time::from_timestamp(second).map_err(|_| rcgen::Error::Time)
}

/// The names that a certificate covers: those of the subject alternative names, else the common name.
fn names_of(certificate: &X509Certificate<'_>) -> Vec<HostPattern> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let texts: Vec<String> = match alternative {
        Some(names) => names.value.general_names.iter().filter_map(general_name).collect(),
        None => certificate.subject().iter_common_name().filter_map(|cn| cn.as_str().ok()).map(str::to_owned).collect(),
    };
    texts.iter().filter(|text| !text.is_empty()).filter_map(|text| HostPattern::parse_one_label(text).ok()).collect()
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// SHA-256 of some bytes, in hex.
pub(crate) fn sha256_hex(data: &[u8]) -> String {
    use std::fmt::Write;
    let rustls::SupportedCipherSuite::Tls13(suite) = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256
    else {
        return String::new();
    };
    suite.common.hash_provider.hash(data).as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A PEM error in words that repeat nothing of the text.
pub(crate) fn describe(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a BEGIN line has no matching END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "a block is not base64",
        pem::Error::NoItemsFound => "there is no block of the expected kind",
        _ => "it can't be read",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(names: &[&str]) -> (String, String) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn parse(chain: &str, key: &str) -> Result<Certificate, CertificateError> {
        parse_pem(CertificateId::new("default/tls"), None, chain.as_bytes(), key.as_bytes())
    }

    #[test]
    fn a_chain_and_its_key_are_accepted() {
        let (chain, key) = pair(&["foo.example.com", "*.bar.example.com"]);
        let certificate = parse(&chain, &key).unwrap();
        assert_eq!(certificate.chain.len(), 1);
        assert_eq!(certificate.fingerprint.len(), 64);
        let names: Vec<_> = certificate.names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["foo.example.com", "*.bar.example.com"]);
    }

    #[test]
    fn each_defect_is_told_apart() {
        let (chain, key) = pair(&["a.example.com"]);
        let (_, other_key) = pair(&["a.example.com"]);
        let rubbish = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let bad_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(parse(&chain, &other_key), Err(CertificateError::Mismatch));
        assert_eq!(parse(&chain, &chain), Err(CertificateError::NoKey));
        assert_eq!(parse("", &key), Err(CertificateError::EmptyChain));
        assert_eq!(parse(&chain, bad_key), Err(CertificateError::BadKey));
        assert!(matches!(parse(rubbish, &key), Err(CertificateError::Leaf(_))));
        assert!(matches!(parse("-----BEGIN CERTIFICATE-----\nAAAA\n", &key), Err(CertificateError::ChainPem(_))));
    }

    #[test]
    fn the_fallback_has_ingress_nginx_names() {
        let certificate = generate_fallback().unwrap();
        assert_eq!(certificate.names, [HostPattern::parse_one_label("ingress.local").unwrap()]);
        let (_, parsed) = X509Certificate::from_der(&certificate.chain[0]).unwrap();
        let subject = parsed.subject().to_string();
        assert!(subject.contains("CN=Kubernetes Ingress Controller Fake Certificate"), "{subject}");
        assert!(subject.contains("O=Acme Co"), "{subject}");
        let validity = parsed.validity();
        assert_eq!(validity.not_after.timestamp() - validity.not_before.timestamp(), 365 * 86_400);
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(chain in prop::collection::vec(any::<u8>(), 0..300)) {
            let (_, key) = pair(&["a.example.com"]);
            let der = rustls::pki_types::CertificateDer::from(chain);
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            let _ = from_der(CertificateId::new("a/b"), None, vec![der], key);
        }

        #[test]
        fn a_flipped_byte_never_panics(at in 0usize..400, bit in 0u8..8) {
            let made = rcgen::generate_simple_self_signed(vec!["a.example.com".to_owned()]).unwrap();
            let mut der = made.cert.der().to_vec();
            let at = at % der.len();
            der[at] ^= 1 << bit;
            let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
            let _ = from_der(CertificateId::new("a/b"), None, vec![der.into()], key);
        }
    }
}
