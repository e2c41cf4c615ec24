//! XBackends: what a gateway.networking.x-k8s.io/v1alpha1 XBackend says. Words of enumerations stay text here, so that
//! one that is new to us is told where it is used and spoils nothing else.

use gateway_api::apis::experimental::gateways::GatewayTlsBackendClientCertificateRef;
use gateway_api::apis::standard::backendtlspolicies::BackendTlsPolicyValidation;
use serde::Deserialize;

use super::Metadata;

/// An XBackend.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct XBackend {
    /// Its metadata.
    pub metadata: Metadata,
    /// `spec`.
    pub spec: XBackendSpec,
}

/// `spec` of an [`XBackend`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XBackendSpec {
    /// `type`: `ExternalHostname`.
    pub r#type: String,
    /// `port`.
    pub port: XBackendPort,
    /// `externalHostname`.
    pub external_hostname: Option<XBackendExternalHostname>,
    /// `protocol`: `TCP`, `HTTP`, `HTTP11`, `HTTP2`, `H2C`, `GRPC` or `MCP`.
    pub protocol: Option<String>,
    /// `tls`.
    pub tls: Option<XBackendTls>,
}

/// `spec.port` of an [`XBackend`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct XBackendPort {
    /// `name`.
    pub name: Option<String>,
    /// `port`.
    pub port: i32,
}

/// `spec.externalHostname` of an [`XBackend`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct XBackendExternalHostname {
    /// `hostname`.
    pub hostname: String,
}

/// `spec.tls` of an [`XBackend`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XBackendTls {
    /// `mode`: `None`, `ServerOnly` or `ClientAndServer`.
    pub mode: String,
    /// `clientCertificateRef`.
    pub client_certificate_ref: Option<GatewayTlsBackendClientCertificateRef>,
    /// `validation`, as in a BackendTLSPolicy.
    pub validation: Option<BackendTlsPolicyValidation>,
}
