//! The authority: a CA and the webhook's certificate by it, made and replaced by Genkan itself. Pure but for the keys'
//! randomness: what time it is, is said.
//!
//! ```text
//!  CA 1    |------------------ 1 year ------------------|
//!  CA 2                        ^2/3|------------------------...     both in the caBundle
//!  leaves  |-- 90 days --|         ^an hour later: by CA 2
//!                 ^2/3 |-- 90 days --|
//! ```
//!
//! A new CA signs only when every API server has had an hour to learn of it, and an old one stays in the bundle for a
//! day after its last certificate was replaced, so that no replica shows what the API server does not trust.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

/// Seconds in a day.
const DAY: i64 = 86_400;
/// How long a CA lasts.
const CA_LIFE: i64 = 365 * DAY;
/// How long a certificate lasts.
const LEAF_LIFE: i64 = 90 * DAY;
/// Certificates begin a little in the past: clocks differ.
const SKEW: i64 = 3600;
/// A CA is this old before it signs, unless there is no other.
const SETTLE: i64 = 3600;
/// An old CA is kept this long after a newer one took over.
const LINGER: i64 = DAY;

/// The keys in the Secret. Those of `kubernetes.io/tls` for the certificate, so that others can tell what it is.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// Every CA in use, the newest first.
const CAS: &str = "ca.crt";
/// The key of the newest.
const CA_KEY: &str = "ca.key";

/// CAs, and a certificate by one of them. Not printable: there are keys in it.
pub(super) struct Authority {
    /// The newest first; never empty.
    cas: Vec<Dated>,
    /// The key of the newest, as PEM.
    ca_key: String,
    leaf: Dated,
    leaf_key: String,
}

/// A certificate and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dated {
    der: CertificateDer<'static>,
    not_before: i64,
    not_after: i64,
}

/// Why a Secret holds no authority.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AuthorityError {
    /// A key is missing or no text.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// What is there can't be read.
    #[error("{0} can't be read")]
    Unreadable(&'static str),
    /// Key and certificate are of different pairs.
    #[error("{0} does not belong to its certificate")]
    Mismatch(&'static str),
}

impl Authority {
    /// A new CA and a certificate for these names by it. `before`: CAs that are trusted so far, and stay so.
    fn new(names: &[String], before: &[Dated], now: i64) -> Result<Self, rcgen::Error> {
        let (ca, ca_key) = new_ca(now)?;
        let (leaf, leaf_key) = new_leaf(names, &ca_key, now)?;
        let mut cas = vec![ca];
        cas.extend(before.iter().filter(|ca| ca.not_after > now).take(MOST_CAS - 1).cloned());
        Ok(Self { cas, ca_key: ca_key.serialize_pem(), leaf, leaf_key: leaf_key.serialize_pem() })
    }

    /// Reads the data of a Secret.
    pub(super) fn read(data: &BTreeMap<String, ByteString>) -> Result<Self, AuthorityError> {
        let bytes = |key| data.get(key).map(|value| &value.0).ok_or(AuthorityError::Missing(key));
        let text = |key| String::from_utf8(bytes(key)?.clone()).map_err(|_| AuthorityError::Unreadable(key));
        let certificates = |key| -> Result<Vec<Dated>, AuthorityError> {
            let ders = CertificateDer::pem_slice_iter(bytes(key)?).collect::<Result<Vec<_>, _>>();
            let dated = ders.ok().and_then(|ders| ders.into_iter().map(Dated::read).collect::<Option<Vec<_>>>());
            dated.filter(|all| !all.is_empty()).ok_or(AuthorityError::Unreadable(key))
        };
        let cas = certificates(CAS)?;
        let leaf = certificates(CERTIFICATE)?.remove(0);
        let authority = Self { cas, ca_key: text(CA_KEY)?, leaf, leaf_key: text(KEY)? };
        certified(&authority.leaf, &authority.leaf_key).ok_or(AuthorityError::Mismatch(KEY))?;
        certified(&authority.cas[0], &authority.ca_key).ok_or(AuthorityError::Mismatch(CA_KEY))?;
        Ok(authority)
    }

    /// The data of the Secret.
    pub(super) fn data(&self) -> BTreeMap<String, ByteString> {
        let entries = [
            (CERTIFICATE, pem([&self.leaf])),
            (KEY, self.leaf_key.clone()),
            (CAS, self.bundle()),
            (CA_KEY, self.ca_key.clone()),
        ];
        entries.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect()
    }

    /// The `caBundle`: every CA in use.
    pub(super) fn bundle(&self) -> String {
        pem(&self.cas)
    }

    /// Whether the server would show the same.
    pub(super) fn same_certificate(&self, other: &Self) -> bool {
        self.leaf == other.leaf
    }

    /// The CAs in use.
    pub(super) fn cas(&self) -> &[Dated] {
        &self.cas
    }

    /// The certificate and its key, for the server. They were checked when they were read or made.
    pub(super) fn certified(&self) -> Option<Arc<CertifiedKey>> {
        certified(&self.leaf, &self.leaf_key).map(Arc::new)
    }

    /// Whether somebody who trusts `bundle` (PEM) takes the certificate for each of the names.
    pub(super) fn is_trusted_by(&self, bundle: &[u8], names: &[String], now: i64) -> bool {
        let cas: Option<Vec<_>> = CertificateDer::pem_slice_iter(bundle).collect::<Result<Vec<_>, _>>().ok();
        cas.is_some_and(|cas| verifies(&self.leaf.der, cas, names, now))
    }

    /// What the Secret should hold instead of `present`; `None` when it is as it should be. `before`: CAs that are
    /// trusted so far, if all else was lost.
    pub(super) fn renew(
        present: Option<&Self>,
        before: &[Dated],
        names: &[String],
        now: i64,
    ) -> Result<Option<Self>, rcgen::Error> {
        let Some(present) = present else { return Self::new(names, before, now).map(Some) };
        let mut next = Self {
            cas: present.cas.clone(),
            ca_key: present.ca_key.clone(),
            leaf: present.leaf.clone(),
            leaf_key: present.leaf_key.clone(),
        };
        if next.cas[0].is_due(now) {
            let (ca, key) = new_ca(now)?;
            next.cas.insert(0, ca);
            next.ca_key = key.serialize_pem();
        }
        let by = |cas: &[Dated]| verifies(&present.leaf.der, cas.iter().map(|ca| ca.der.clone()).collect(), names, now);
        let by_newest = by(&next.cas[..1]);
        let settled = now >= next.cas[0].not_before + SKEW + SETTLE;
        if !by(&next.cas) || present.leaf.is_due(now) || !by_newest && settled {
            let key = KeyPair::from_pem(&next.ca_key)?;
            let (leaf, key) = new_leaf(names, &key, now)?;
            next.leaf = leaf;
            next.leaf_key = key.serialize_pem();
        } else if by_newest && now >= present.leaf.not_before + SKEW + LINGER {
            next.cas.truncate(1);
        }
        let newest = next.cas[0].clone();
        next.cas.retain(|ca| *ca == newest || ca.not_after > now);
        next.cas.truncate(MOST_CAS);
        Ok((next.cas != present.cas || next.leaf != present.leaf).then_some(next))
    }
}

/// CAs at most in a bundle: somebody who deletes the Secret again and again makes one each time.
const MOST_CAS: usize = 4;

impl Dated {
    fn read(der: CertificateDer<'static>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        let validity = parsed.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Some(Self { der, not_before, not_after })
    }

    /// Whether two thirds of its time are over, or none of it has begun.
    fn is_due(&self, now: i64) -> bool {
        now >= self.not_before + (self.not_after - self.not_before) / 3 * 2 || now < self.not_before
    }
}

/// The present time, in seconds since 1970.
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn new_ca(now: i64) -> Result<(Dated, KeyPair), rcgen::Error> {
    let key = KeyPair::generate()?;
    let certificate = ca_params(now)?.self_signed(&key)?;
    let der = certificate.der().clone();
    Ok((Dated::read(der).ok_or(rcgen::Error::CouldNotParseCertificate)?, key))
}

fn ca_params(now: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "genkan admission CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date(now - SKEW)?.to_datetime();
    params.not_after = date(now + CA_LIFE)?.to_datetime();
    Ok(params)
}

fn new_leaf(names: &[String], ca_key: &KeyPair, now: i64) -> Result<(Dated, KeyPair), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "genkan admission webhook");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = date(now - SKEW)?.to_datetime();
    params.not_after = date(now + LEAF_LIFE)?.to_datetime();
    // Of the issuer only its name and key take part, which are the same whenever it was made.
    let certificate = params.signed_by(&key, &Issuer::new(ca_params(now)?, ca_key))?;
    let der = certificate.der().clone();
    Ok((Dated::read(der).ok_or(rcgen::Error::CouldNotParseCertificate)?, key))
}

fn date(second: i64) -> Result<ASN1Time, rcgen::Error> {
    ASN1Time::from_timestamp(second).map_err(|_| rcgen::Error::Time)
}

/// A certificate with its key; `None` when they do not belong together.
fn certified(certificate: &Dated, key: &str) -> Option<CertifiedKey> {
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).ok()?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(vec![certificate.der.clone()], key, &provider).ok()
}

/// Whether a certificate is valid for all of the names to somebody who trusts these CAs.
fn verifies(leaf: &CertificateDer<'_>, cas: Vec<CertificateDer<'static>>, names: &[String], now: i64) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(cas);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build() else {
        return false;
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()));
    names.iter().all(|name| {
        let name = ServerName::try_from(name.as_str());
        name.is_ok_and(|name| verifier.verify_server_cert(leaf, &[], &name, &[], now).is_ok())
    })
}

/// Certificates as PEM.
fn pem<'c>(certificates: impl IntoIterator<Item = &'c Dated>) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let mut text = String::new();
    for certificate in certificates {
        let encoded = STANDARD.encode(&certificate.der);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
