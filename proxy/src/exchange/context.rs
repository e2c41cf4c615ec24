//! What filters may know about a request.

use std::net::IpAddr;
use std::time::Instant;

use genkan_routing::model::Match;
use genkan_routing::policy::redirect::Scheme;
use http::HeaderValue;

/// A request as filters see it: plain heads, and what is believed about the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestContext<'a> {
    /// The request's head, as the client sent it.
    pub(crate) head: &'a http::request::Parts,
    /// The scheme as the client sees it: the connection's, or that of a trusted proxy in front.
    pub(crate) scheme: Scheme,
    /// Whether the connection itself is TLS.
    pub(crate) tls: bool,
    /// The host as the client sees it, with its port if it wrote one (`Host`, `:authority`, or trusted
    /// `X-Forwarded-Host`).
    pub(crate) authority: &'a str,
    /// The canonical host that was routed.
    pub(crate) host: &'a str,
    /// The port as the client sees it: the listener's public port, or that of a trusted proxy in front.
    pub(crate) port: u16,
    /// The client's address, after trusted headers and PROXY protocol.
    pub(crate) client: IpAddr,
    /// `client` as a field's value, where that is made already.
    pub(crate) client_text: Option<&'a HeaderValue>,
    /// Who opened the connection: what a PROXY header announced, else the TCP peer. Differs from `client` behind a
    /// trusted proxy.
    pub(crate) peer: IpAddr,
    /// The request's id, as the backend, the log and error pages see it.
    pub(crate) request_id: &'a str,
    /// The normalized path that was routed.
    pub(crate) path: &'a str,
    /// The match that won; `None` once the request was admitted, when nothing depends on it any more.
    pub(crate) matched: Option<&'a Match>,
    /// Now.
    pub(crate) now: Instant,
}
