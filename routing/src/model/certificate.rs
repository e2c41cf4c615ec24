//! Certificates with their private keys.

use std::fmt;
use std::sync::Arc;

use rustls::sign::SigningKey;
use serde::{Serialize, Serializer};

use crate::name::{CertificateId, HostPattern, Origin};

/// A certificate chain and its key, checked to belong together when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Its id: the Secret's `namespace/name`.
    pub id: CertificateId,
    /// The Secret; `None` for the generated default certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The names that it covers (SAN, else CN).
    pub names: Vec<HostPattern>,
    /// SHA-256 of the leaf's DER, in hex.
    pub fingerprint: String,
    /// When the leaf expires, in seconds since 1970 (`notAfter`).
    pub not_after: i64,
    /// The chain in DER, leaf first.
    #[serde(skip)]
    pub chain: Vec<Arc<[u8]>>,
    /// The key. Never printed.
    pub key: PrivateKey,
}

/// A private key that can sign and nothing else: it is read once, and what it was read from is not kept. `Debug` and
/// `Serialize` show nothing of it.
#[derive(Clone)]
pub struct PrivateKey(Arc<dyn SigningKey>);

impl PrivateKey {
    /// A key as the TLS library has it.
    pub fn new(key: Arc<dyn SigningKey>) -> Self {
        Self(key)
    }

    /// The key, for the TLS library.
    pub fn signing(&self) -> &Arc<dyn SigningKey> {
        &self.0
    }
}

/// Keys are equal whose public halves are; one that can't tell its public half is equal to itself only.
impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        let halves = || self.0.public_key().zip(other.0.public_key());
        Arc::ptr_eq(&self.0, &other.0) || halves().is_some_and(|(one, other)| one == other)
    }
}

impl Eq for PrivateKey {}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(***)")
    }
}

impl Serialize for PrivateKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}
