//! Secrets to certificates: what a TLS Secret holds, parsed once for all who name it.

use std::cell::RefCell;
use std::sync::Arc;

use genkan_routing::model::Certificate;
use genkan_routing::name::{CertificateId, ObjectRef, Origin};
use genkan_routing::report::Problem;
use k8s_openapi::api::core::v1::Secret;
use rustc_hash::FxHashMap;

use crate::certificate::{CertificateError, parse_pem};
use crate::resources::NamespacedName;

/// The certificate of a Secret, or why there is none.
pub type CertificateOutcome = Result<Arc<Certificate>, SecretError>;

/// Why a Secret gives no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is no such Secret.
    #[error("Secret {0} does not exist")]
    Missing(NamespacedName),
    /// `tls.crt` or `tls.key` is not there.
    #[error("Secret {secret} has no {key}")]
    NoField {
        /// The Secret.
        secret: NamespacedName,
        /// `tls.crt` or `tls.key`.
        key: &'static str,
    },
    /// Its content is broken.
    #[error("Secret {secret} holds no usable certificate: {error}")]
    Broken {
        /// The Secret.
        secret: NamespacedName,
        /// What is wrong with it.
        error: CertificateError,
    },
}

impl SecretError {
    /// The problem to tell at the Secret itself; `None` when it does not exist.
    pub fn problem(&self) -> Option<Problem> {
        let (secret, field, message, mend) = match self {
            Self::Missing(_) => return None,
            Self::NoField { secret, key } => {
                (secret, String::new(), format!("there is no {key}"), "add tls.crt and tls.key, both in PEM")
            }
            Self::Broken { secret, error } => {
                let key = if error.concerns_key() { "tls.key" } else { "tls.crt" };
                (secret, format!("data[{key}]"), error.to_string(), "")
            }
        };
        Some(Problem::error(secret_origin(secret, field), "InvalidCertificate", message).with_mend(mend))
    }
}

fn secret_origin(secret: &NamespacedName, field: String) -> Origin {
    Origin::new(ObjectRef::new("Secret", secret.namespace.clone(), secret.name.clone()), field)
}

/// Certificates that were parsed, by Secret. An entry counts for as long as the Secret is the same object.
#[derive(Debug, Default)]
pub struct CertificateCache(RefCell<FxHashMap<NamespacedName, (Arc<Secret>, CertificateOutcome)>>);

impl CertificateCache {
    /// The certificate of a Secret. A Secret that changed without changing its certificate keeps the certificate's
    /// pointer.
    pub fn read(&self, name: &NamespacedName, secret: Option<&Arc<Secret>>) -> CertificateOutcome {
        let Some(secret) = secret else { return Err(SecretError::Missing(name.clone())) };
        let mut entries = self.0.borrow_mut();
        let previous = entries.get(name);
        if let Some((of, outcome)) = previous
            && Arc::ptr_eq(of, secret)
        {
            return outcome.clone();
        }
        let outcome = match (parse(name, secret), previous) {
            (Ok(new), Some((_, Ok(old)))) if **old == new => Ok(old.clone()),
            (outcome, _) => outcome.map(Arc::new),
        };
        entries.insert(name.clone(), (secret.clone(), outcome.clone()));
        outcome
    }

    /// Forgets a Secret that is gone.
    pub fn forget(&self, name: &NamespacedName) {
        self.0.borrow_mut().remove(name);
    }
}

fn parse(name: &NamespacedName, secret: &Secret) -> Result<Certificate, SecretError> {
    let field =
        |key: &'static str| field_of(secret, key).ok_or_else(|| SecretError::NoField { secret: name.clone(), key });
    let (chain, key) = (field("tls.crt")?, field("tls.key")?);
    parse_pem(CertificateId::new(name.to_string()), Some(secret_origin(name, String::new())), chain, key)
        .map_err(|error| SecretError::Broken { secret: name.clone(), error })
}

/// A field of a Secret: `stringData` (which the API server would merge) before `data`. An empty one counts as absent.
pub fn field_of<'s>(secret: &'s Secret, key: &str) -> Option<&'s [u8]> {
    let text = secret.string_data.as_ref().and_then(|data| data.get(key)).map(String::as_bytes);
    let bytes = || secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    text.or_else(bytes).filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn secret(names: &[&str]) -> Secret {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let fields = [("tls.crt", made.cert.pem()), ("tls.key", made.signing_key.serialize_pem())];
        Secret { string_data: Some(fields.map(|(key, text)| (key.to_owned(), text)).into()), ..Secret::default() }
    }

    #[test]
    fn a_secret_that_changes_beside_its_certificate_keeps_the_pointer() {
        let cache = CertificateCache::default();
        let name = NamespacedName::new("default", "tls");
        let mut object = secret(&["a.example.com"]);
        let first = cache.read(&name, Some(&Arc::new(object.clone()))).unwrap();
        object.metadata.labels = Some(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        let second = cache.read(&name, Some(&Arc::new(object))).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let third = cache.read(&name, Some(&Arc::new(secret(&["a.example.com"])))).unwrap();
        assert_ne!(first, third);
    }

    #[test]
    fn a_secret_without_key_names_the_field() {
        let name = NamespacedName::new("default", "tls");
        let mut object = secret(&["a.example.com"]);
        object.string_data.as_mut().unwrap().remove("tls.key");
        let error = CertificateCache::default().read(&name, Some(&Arc::new(object))).unwrap_err();
        assert_eq!(error.to_string(), "Secret default/tls has no tls.key");
    }
}
