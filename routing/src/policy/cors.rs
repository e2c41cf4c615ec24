//! CORS: who may call from a browser (`enable-cors`, `cors-*`; Fetch standard, section 3.2).

use serde::Serialize;

use super::pattern::Pattern;

/// Cross-origin settings of a rule. A request whose origin is not allowed gets no CORS headers, and its preflight goes
/// to the backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// Who is allowed.
    pub origins: CorsOrigins,
    /// `Access-Control-Allow-Methods`, verbatim.
    pub methods: String,
    /// `Access-Control-Allow-Headers`, verbatim.
    pub headers: String,
    /// `Access-Control-Expose-Headers`, verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose_headers: Option<String>,
    /// `Access-Control-Allow-Credentials: true`.
    pub credentials: bool,
    /// `Access-Control-Max-Age` in seconds.
    pub max_age: i64,
}

/// Which origins are allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CorsOrigins {
    /// `*`: everyone; the header is a literal `*`.
    All,
    /// Any of these; the header repeats the request's origin.
    List(Vec<CorsOrigin>),
}

/// One allowed origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CorsOrigin {
    /// This origin, compared without regard to case; also `null`.
    Exact(String),
    /// An origin with one `*` label, as an expression over the whole origin.
    Wildcard(Pattern),
}
