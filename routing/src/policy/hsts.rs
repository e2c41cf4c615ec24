//! HSTS: `Strict-Transport-Security` on responses over TLS (RFC 6797; ConfigMap `hsts`, `hsts-*`).

use serde::Serialize;

/// The header's parts. Only responses on TLS connections carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hsts {
    /// Seconds (`hsts-max-age`, 31536000).
    pub max_age: u64,
    /// `; includeSubDomains` (`hsts-include-subdomains`, true).
    pub include_subdomains: bool,
    /// `; preload` (`hsts-preload`, false).
    pub preload: bool,
}

impl Default for Hsts {
    fn default() -> Self {
        Self { max_age: 31_536_000, include_subdomains: true, preload: false }
    }
}
