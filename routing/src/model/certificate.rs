//! Certificates with their private keys.

use std::fmt;
use std::sync::Arc;

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

/// A private key in DER (PKCS#8, PKCS#1 or SEC1). `Debug` and `Serialize` show nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Arc<[u8]>);

impl PrivateKey {
    /// A key from its DER.
    pub fn from_der(der: impl Into<Arc<[u8]>>) -> Self {
        Self(der.into())
    }

    /// The DER. Only for the TLS library.
    pub fn secret_der(&self) -> &[u8] {
        &self.0
    }
}

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
