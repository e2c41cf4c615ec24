//! Redirects: to another URL, and from HTTP to HTTPS.

use serde::Serialize;

use super::rewrite::PathRewrite;
use crate::name::Hostname;

/// Answers with a `Location` instead of forwarding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Redirect {
    /// 300 to 308.
    pub status: u16,
    /// Where to.
    pub to: RedirectTarget,
}

/// Where a [`Redirect`] leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RedirectTarget {
    /// The `Location` as written (`permanent-redirect`, `temporal-redirect`). A relative one is made absolute with the
    /// connection's scheme and the request's host, as nginx does.
    Verbatim(String),
    /// This path at the same scheme and host, without the query (`app-root`).
    Path(String),
    /// The request's URL with parts replaced; what is `None` stays as the client sees it (Gateway API
    /// `HTTPRequestRedirectFilter`).
    Url(UrlChange),
}

/// Replacements for parts of a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlChange {
    /// `http` or `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Hostname>,
    /// The port. When `None`: the scheme's well-known port if `scheme` is set, else the listener's; 80 and 443 are
    /// left out where they are the scheme's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The path; the query is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `http`, port 80.
    Http,
    /// `https`, port 443.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// 80 or 443.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Redirects a request that came by `http` (after believing trusted `X-Forwarded-Proto`) to the same URL with `https`
/// (`ssl-redirect`, `force-ssl-redirect`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpsRedirect {
    /// 301, 302, 307 or 308 (`http-redirect-code`, 308).
    pub status: u16,
    /// Keep a final `/` of the request's URI; otherwise one is cut (`preserve-trailing-slash`, false).
    pub preserve_trailing_slash: bool,
    /// The port in the `Location`; `None` writes no port (`use-port-in-redirects`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}
