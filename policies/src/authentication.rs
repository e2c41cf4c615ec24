//! Authentication: what a RoutePolicy says about who may pass. Everything here closes the routes when it can't be done.

#![allow(unreachable_pub, reason = "the derived code repeats the types where nobody sees them")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may pass with user and password (RFC 7617); others are answered with 401. Over plain HTTP anybody on the way reads the
/// password.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.enabled) && !self.enabled || has(self.secretName)",
    "name a Secret of users, or say enabled: false"
))]
pub struct BasicAuthSettings {
    /// false asks nobody for a password, whatever a less specific policy says by default; true if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The Secret of the users, in the policy's namespace. While it is missing the routes answer 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// How the Secret holds users. File, if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<PasswordLayout>,
    /// What browsers show when they ask for the password; nothing, if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = "^[ -~]*$"))]
    pub realm: Option<String>,
    /// Whether the backend sees the password too; false if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_credentials: Option<bool>,
}

/// How a Secret holds users and hashes of their passwords.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordLayout {
    /// The key auth holds lines as htpasswd writes them.
    #[default]
    File,
    /// Each key is a user, and its value the hash.
    Map,
}

/// Asks a service whether a request may pass, as the filter ExternalAuth of Gateway API does. Without an answer the request
/// is answered with 503.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "has(self.enabled) && !self.enabled || has(self.backendRef)",
        "name a service in backendRef, or say enabled: false"
    ),
    validation = (
        "!has(self.grpc) || has(self.protocol) && self.protocol == 'GRPC'",
        "grpc belongs to the protocol GRPC"
    ),
    validation = (
        "!has(self.http) || !has(self.protocol) || self.protocol == 'HTTP'",
        "http belongs to the protocol HTTP"
    )
)]
pub struct ExternalAuthSettings {
    /// false asks nobody, whatever a less specific policy says by default; true if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What is spoken with the service: HTTP, where 200 lets a request pass, or GRPC, which is Envoy's ext_authz. HTTP, if it
    /// is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<AuthProtocol>,
    /// The service: a Service or an XBackend. In another namespace it needs a ReferenceGrant from RoutePolicy of genkan.dev.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_ref: Option<AuthBackend>,
    /// More about HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpAuthSettings>,
    /// More about GRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcAuthSettings>,
    /// Sends the request's body along. Without it none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_body: Option<ForwardBodySettings>,
    /// How long the answer may take, at most 1m; then the request is answered with 503. 5s if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub timeout: Option<String>,
}

/// What is spoken with the service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthProtocol {
    /// A request like the client's.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// envoy.service.auth.v3.Authorization.
    #[serde(rename = "GRPC")]
    Grpc,
}

/// Where the service is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuthBackend {
    /// The group; that of Services if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    /// The kind; Service if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: Option<String>,
    /// The namespace; the policy's if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The port. A Service needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

/// More about HTTP.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HttpAuthSettings {
    /// What is put before the client's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub path: Option<String>,
    /// What the service sees of the request's headers, besides Host and Authorization.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub allowed_headers: Vec<String>,
    /// What the backend sees of the answer's headers. Those that are listed are always taken out of the client's request. If
    /// the list is empty the backend sees all that say something about the client, and what an answer leaves out
    /// stays as the client wrote it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub allowed_response_headers: Vec<String>,
}

/// More about GRPC.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GrpcAuthSettings {
    /// What the service sees of the request's headers; all, if it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub allowed_headers: Vec<String>,
}

/// Sends the request's body along.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ForwardBodySettings {
    /// The most bytes that a body may have, at most 65535; a larger one is answered with 413. With 0 none is sent, and it
    /// may be of any size.
    #[schemars(range(min = 0, max = 65535))]
    pub max_size: i64,
}
