//! External authentication: a service that says whether a request may pass (`ExternalAuth` of Gateway API).

use std::time::Duration;

use http::HeaderName;
use serde::{Serialize, Serializer};

use super::duration;
use crate::name::ClusterId;

/// Who is asked about the requests of a rule, and how. Without an answer no request passes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAuth {
    /// The cluster of the service. A reference that leads nowhere closes the rule instead.
    pub target: ClusterId,
    /// What is spoken.
    pub call: AuthCall,
    /// The most bytes that a request's body may have: it is read as a whole and sent along, and a larger one is refused.
    /// 0 sends none, and looks at none.
    #[serde(skip_serializing_if = "is_zero")]
    pub body_limit: u16,
    /// How long the answer may take, every try included.
    #[serde(serialize_with = "duration::serialize")]
    pub timeout: Duration,
}

/// How the service is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthCall {
    /// By a request like the client's; 200 lets it pass.
    Http(HttpAuth),
    /// By Envoy's `envoy.service.auth.v3.Authorization/Check`.
    Grpc(GrpcAuth),
}

/// `HTTPAuthConfig` of Gateway API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpAuth {
    /// Is put before the path; empty or beginning with `/`, and not ending with it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// What the service sees of the client's fields besides `Host` and `Authorization`.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "names")]
    pub request_headers: Vec<HeaderName>,
    /// What the backend sees of the answer's fields; `None` is all that say something about the client.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_names")]
    pub response_headers: Option<Vec<HeaderName>>,
}

/// `GRPCAuthConfig` of Gateway API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcAuth {
    /// What the service sees of the client's fields; `None` is all.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_names")]
    pub request_headers: Option<Vec<HeaderName>>,
}

fn is_zero(number: &u16) -> bool {
    *number == 0
}

fn names<S: Serializer>(names: &[HeaderName], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(HeaderName::as_str))
}

fn optional_names<S: Serializer>(list: &Option<Vec<HeaderName>>, serializer: S) -> Result<S::Ok, S::Error> {
    names(list.as_deref().unwrap_or_default(), serializer)
}
