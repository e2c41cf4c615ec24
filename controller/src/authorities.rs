//! Certificate authorities: the PEM of a `ca.crt` to certificates that others' certificates can be verified with, and
//! where such a text is kept. It refuses to say whom they are trusted for.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::certificate::{describe, sha256_hex};
use crate::resources::{Kind, NamespacedName};

/// The field of ConfigMaps and Secrets that holds authorities.
pub const FIELD: &str = "ca.crt";

/// A certificate authority.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// SHA-256 of its certificate's DER, in hex.
    pub fingerprint: Arc<str>,
    /// Its certificate in DER.
    pub der: Arc<[u8]>,
}

/// The authorities of a text; never empty.
pub type Authorities = Arc<[Authority]>;

/// Why a text gives no authorities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The PEM is broken.
    #[error("it is not well-formed PEM: {0}")]
    Pem(&'static str),
    /// It holds no certificate.
    #[error("there is no CERTIFICATE block in it")]
    Empty,
    /// Nothing can be verified with one of its certificates, counted from 1.
    #[error("its certificate {0} can't be used as an authority")]
    Unusable(usize),
}

/// Why an object gives no authorities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthoritiesError {
    /// There is no such object.
    #[error("{} {name} does not exist", kind.as_str())]
    Missing {
        /// Its kind.
        kind: Kind,
        /// Its namespace and name.
        name: NamespacedName,
    },
    /// It has no [`FIELD`], or an empty one.
    #[error("{} {name} has no {FIELD}", kind.as_str())]
    NoField {
        /// Its kind.
        kind: Kind,
        /// Its namespace and name.
        name: NamespacedName,
    },
    /// It is a Secret for a certificate. The authorities of those are not kept: there are many, and hardly any is ever
    /// asked for.
    #[error("Secret {0} holds a certificate of its own; its {FIELD} is not used")]
    OfCertificate(NamespacedName),
    /// Its content is broken.
    #[error("{FIELD} of {} {name} can't be used: {error}", kind.as_str())]
    Broken {
        /// Its kind.
        kind: Kind,
        /// Its namespace and name.
        name: NamespacedName,
        /// What is wrong with it.
        error: AuthorityError,
    },
}

/// The authorities of a PEM text. All of them must be usable: whoever wrote it means each.
pub fn parse(pem: &[u8]) -> Result<Authorities, AuthorityError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| AuthorityError::Pem(describe(&error)))?;
    if certificates.is_empty() {
        return Err(AuthorityError::Empty);
    }
    let usable = |(at, der): (usize, CertificateDer<'static>)| {
        RootCertStore::empty().add(der.clone()).map_err(|_| AuthorityError::Unusable(at + 1))?;
        Ok(Authority { fingerprint: sha256_hex(&der).into(), der: der.as_ref().into() })
    };
    certificates.into_iter().enumerate().map(usable).collect()
}

/// The authorities in the [`FIELD`] of an object, which `parse` makes of its text.
pub(crate) fn of_field(
    kind: Kind,
    name: &NamespacedName,
    field: Option<&[u8]>,
    parse: impl FnOnce(&[u8]) -> Result<Authorities, AuthorityError>,
) -> Result<Authorities, AuthoritiesError> {
    let missing = || AuthoritiesError::NoField { kind, name: name.clone() };
    let field = field.filter(|text| !text.is_empty()).ok_or_else(missing)?;
    parse(field).map_err(|error| AuthoritiesError::Broken { kind, name: name.clone(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> String {
        rcgen::generate_simple_self_signed(vec!["ca.test".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn every_certificate_of_a_text_is_an_authority() {
        let authorities = parse((made() + &made()).as_bytes()).unwrap();
        assert_eq!(authorities.len(), 2);
        assert_ne!(authorities[0].fingerprint, authorities[1].fingerprint);
        assert_eq!(authorities[0].fingerprint.len(), 64);
    }

    #[test]
    fn one_that_is_broken_spoils_the_text() {
        let rubbish = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(parse((made() + rubbish).as_bytes()), Err(AuthorityError::Unusable(2)));
        assert_eq!(parse(b"no PEM"), Err(AuthorityError::Empty));
        assert!(matches!(parse(b"-----BEGIN CERTIFICATE-----\nAAAA\n"), Err(AuthorityError::Pem(_))));
    }
}
