//! Secrets: of a v1 Secret what is read, which is its certificate, or without one its authorities, and passwords. All are
//! parsed when the Secret is: so a key exists once, as what can sign, and its text is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_routing::model::Certificate;
use genkan_routing::name::{CertificateId, ObjectRef, Origin};
use genkan_routing::report::Problem;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1;
use serde::Deserialize;

use super::passwords::Passwords;
use super::{Kind, Names, NamespacedName};
use crate::authorities::{self, Authorities, AuthoritiesError};
use crate::certificate::{CertificateError, parse_pem};

/// A Secret.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "v1::Secret")]
pub struct Secret {
    /// Its namespace and name.
    pub metadata: Names,
    /// What `tls.crt` and `tls.key` hold.
    pub certificate: CertificateOutcome,
    /// What `ca.crt` holds, where there is no `tls.crt`.
    pub authorities: AuthoritiesOutcome,
    /// Users and hashes of their passwords; only those in `auth` where there is a `tls.crt`.
    pub passwords: Passwords,
}

/// The authorities of an object, or why there are none.
pub type AuthoritiesOutcome = Result<Authorities, AuthoritiesError>;

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
        Some(Problem::error(origin(secret, field), "InvalidCertificate", message).with_mend(mend))
    }
}

impl Secret {
    /// Takes over the certificate of `old` if it is equal, so that its pointer tells that nothing changed.
    pub(super) fn share(mut self, old: &Self) -> Self {
        if self.certificate == old.certificate {
            self.certificate.clone_from(&old.certificate);
        }
        if self.authorities == old.authorities {
            self.authorities.clone_from(&old.authorities);
        }
        self.passwords.share(&old.passwords);
        self
    }
}

/// `stringData` goes before `data`: the API server would have merged it. A Secret without namespace is in `default`.
impl From<v1::Secret> for Secret {
    fn from(secret: v1::Secret) -> Self {
        let metadata = Names::from(secret.metadata);
        let namespace = metadata.namespace.clone().filter(|namespace| !namespace.is_empty());
        let name = NamespacedName::new(
            namespace.unwrap_or_else(|| "default".into()),
            metadata.name.clone().unwrap_or_default(),
        );
        let (texts, data) = (secret.string_data.unwrap_or_default(), secret.data.unwrap_or_default());
        let written = |key: &str| {
            let text = texts.get(key).map(String::as_bytes);
            let found = text.or_else(|| data.get(key).map(|bytes| bytes.0.as_slice()));
            found.filter(|bytes| !bytes.is_empty())
        };
        let field = |key| written(key).ok_or_else(|| SecretError::NoField { secret: name.clone(), key });
        let certificate = field("tls.crt").and_then(|chain| Ok((chain, field("tls.key")?))).and_then(|(chain, key)| {
            let id = CertificateId::new(name.to_string());
            parse_pem(id, Some(origin(&name, String::new())), chain, key)
                .map(Arc::new)
                .map_err(|error| SecretError::Broken { secret: name.clone(), error })
        });
        let authorities = match written("tls.crt") {
            None => authorities::of_field(Kind::Secret, &name, written(authorities::FIELD), authorities::parse),
            Some(_) => Err(AuthoritiesError::OfCertificate(name)),
        };
        let passwords = Passwords::of(&all_fields(&texts, &data), written("tls.crt").is_some());
        Self { metadata, certificate, authorities, passwords }
    }
}

/// Every field that has content.
fn all_fields<'a>(
    texts: &'a BTreeMap<String, String>,
    data: &'a BTreeMap<String, ByteString>,
) -> BTreeMap<&'a str, &'a [u8]> {
    let bytes = data.iter().map(|(name, bytes)| (name.as_str(), bytes.0.as_slice()));
    let all = bytes.chain(texts.iter().map(|(name, text)| (name.as_str(), text.as_bytes())));
    all.filter(|(_, content)| !content.is_empty()).collect()
}

fn origin(secret: &NamespacedName, field: String) -> Origin {
    Origin::new(ObjectRef::new("Secret", secret.namespace.clone(), secret.name.clone()), field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{Object, Resources};

    fn secret(names: &[&str]) -> v1::Secret {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let fields = [("tls.crt", made.cert.pem()), ("tls.key", made.signing_key.serialize_pem())];
        let mut secret = v1::Secret {
            string_data: Some(fields.map(|(key, text)| (key.to_owned(), text)).into()),
            ..v1::Secret::default()
        };
        secret.metadata.name = Some("tls".to_owned());
        secret
    }

    fn apply(resources: &mut Resources, secret: &v1::Secret) -> (bool, Arc<Certificate>) {
        let changed = resources.apply(Object::Secret(Arc::new(secret.clone().into())));
        let kept = &resources.secrets[&NamespacedName::new("default", "tls")];
        (changed, kept.certificate.clone().unwrap())
    }

    #[test]
    fn an_equal_certificate_keeps_its_pointer() {
        let mut resources = Resources::default();
        let mut object = secret(&["a.example.com"]);
        let (_, first) = apply(&mut resources, &object);
        object.metadata.labels = Some(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        let (changed, second) = apply(&mut resources, &object);
        assert!(!changed && Arc::ptr_eq(&first, &second));
        // The name it is under is read too; an object that differs in it alone is another one.
        object.metadata.namespace = Some("default".to_owned());
        let (changed, third) = apply(&mut resources, &object);
        assert!(changed && Arc::ptr_eq(&first, &third));
        let (changed, fourth) = apply(&mut resources, &secret(&["a.example.com"]));
        assert!(changed && first != fourth);
    }

    #[test]
    fn text_goes_before_data_and_a_missing_field_is_named() {
        let mut object = secret(&["a.example.com"]);
        let rubbish = ("tls.key".to_owned(), k8s_openapi::ByteString(b"rubbish".to_vec()));
        object.data = Some([rubbish].into());
        assert!(Secret::from(object.clone()).certificate.is_ok());
        object.string_data.as_mut().unwrap().remove("tls.key");
        assert!(matches!(Secret::from(object.clone()).certificate, Err(SecretError::Broken { .. })));
        object.data = None;
        let error = Secret::from(object).certificate.unwrap_err();
        assert_eq!(error.to_string(), "Secret default/tls has no tls.key");
    }

    #[test]
    fn authorities_are_read_where_there_is_no_certificate() {
        let mut object = secret(&["a.example.com"]);
        let texts = object.string_data.as_mut().unwrap();
        let pem = texts["tls.crt"].clone();
        texts.insert("ca.crt".to_owned(), pem);
        let name = NamespacedName::new("default", "tls");
        let refused = Err(AuthoritiesError::OfCertificate(name.clone()));
        assert_eq!(Secret::from(object.clone()).authorities, refused);
        object.string_data.as_mut().unwrap().remove("tls.crt");
        assert_eq!(Secret::from(object.clone()).authorities.unwrap().len(), 1);
        object.string_data.as_mut().unwrap().insert("ca.crt".to_owned(), String::new());
        let missing = Err(AuthoritiesError::NoField { kind: Kind::Secret, name });
        assert_eq!(Secret::from(object).authorities, missing);
    }

    #[test]
    fn no_key_is_printed() {
        let object = secret(&["a.example.com"]);
        let text = object.string_data.as_ref().unwrap()["tls.key"].clone();
        let line = text.lines().nth(1).unwrap().to_owned();
        let printed = format!("{:?}", Secret::from(object));
        assert!(printed.contains("a.example.com") && !printed.contains(&line), "{printed}");
    }
}
