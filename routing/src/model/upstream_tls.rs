//! TLS towards endpoints: whose certificates are taken, for which names, and which one is shown to them.

use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::certificate::Certificate;

/// TLS towards endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// The server name in the handshake; `None` sends none (`proxy-ssl-server-name: off`, the default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Arc<str>>,
    /// What is asked of the endpoint's certificate.
    pub verify: Verify,
    /// What is shown to an endpoint that asks for a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
}

/// What is asked of an endpoint's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verify {
    /// Nothing (`proxy-ssl-verify: off`, the default of ingress-nginx).
    Nothing,
    /// A chain to an authority of the system, and the server name; without one, the endpoint's address.
    System,
    /// What a policy asks for.
    Trust(Arc<Trust>),
    /// What nobody can fulfil: what should verify it is broken, for this reason. No connection is made.
    Refused(Arc<str>),
}

/// What a policy asks of an endpoint's certificate (`BackendTLSPolicy`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trust {
    /// What tells it from others in the ids of clusters: the policy's `namespace/name`.
    pub id: Arc<str>,
    /// The authorities that may have signed it; `None` are those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorities: Option<Vec<Authority>>,
    /// It must have one of these names; empty: the server name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<SubjectAltName>,
}

/// A certificate authority.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Authority {
    /// SHA-256 of its certificate's DER, in hex.
    pub fingerprint: Arc<str>,
    /// Its certificate in DER, as it was written: one that is none is passed over when it is used.
    #[serde(skip)]
    pub der: Arc<[u8]>,
}

/// A name in a certificate (RFC 5280, section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SubjectAltName {
    /// A hostname; the certificate may have it as a wildcard.
    Dns(Arc<str>),
    /// A URI, byte for byte (SPIFFE).
    Uri(Arc<str>),
}

/// A certificate that is shown to endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate(pub Arc<Certificate>);

impl Deref for ClientCertificate {
    type Target = Certificate;

    fn deref(&self) -> &Certificate {
        &self.0
    }
}

impl Hash for ClientCertificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // What tells it from others is what it is: connections are kept apart by this hash.
        self.0.chain.hash(state);
    }
}

impl Serialize for ClientCertificate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{} ({})", self.0.id, self.0.fingerprint))
    }
}

impl UpstreamTls {
    /// TLS as ingress-nginx has it by default: no server name, and any certificate will do.
    pub const UNVERIFIED: Self = Self { server_name: None, verify: Verify::Nothing, client: None };
}
