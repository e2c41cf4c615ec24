//! CORS: who may call from a browser (`enable-cors`, `cors-*`; `HTTPCORSFilter`; Fetch standard, section 3.2).

use serde::Serialize;

use super::pattern::Pattern;

/// Cross-origin settings of a rule. A request whose origin is not allowed gets no CORS headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// Who is allowed.
    pub origins: CorsOrigins,
    /// `Access-Control-Allow-Methods`.
    pub methods: CorsList,
    /// `Access-Control-Allow-Headers`.
    pub headers: CorsList,
    /// `Access-Control-Expose-Headers`, verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose_headers: Option<String>,
    /// `Access-Control-Allow-Credentials: true`.
    pub credentials: bool,
    /// `Access-Control-Max-Age` in seconds.
    pub max_age: i64,
    /// Which preflights are answered here.
    #[serde(skip_serializing_if = "Preflights::is_default")]
    pub preflights: Preflights,
}

/// The methods or headers that are allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CorsList {
    /// Whatever a preflight asks for: the answer repeats it, as a literal `*` means no wildcard to a browser that sends
    /// credentials.
    Requested,
    /// These, verbatim.
    #[serde(untagged)]
    These(String),
}

/// Which preflights are answered here; the others go to the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Preflights {
    /// Every `OPTIONS` of an allowed origin (ingress-nginx).
    #[default]
    OfAllowedOrigins,
    /// Every preflight that is one (Fetch standard); that of an origin that is not allowed gets 403 (Gateway API).
    All,
}

impl Preflights {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
