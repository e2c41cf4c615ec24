//! What a log line may say about a request.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use genkan_routing::model::RuleLabels;
use genkan_routing::policy::redirect::Scheme;
use http::HeaderMap;

use crate::connection::ConnectionInfo;

/// A finished request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogRecord<'a> {
    /// The client's connection.
    pub(crate) connection: &'a ConnectionInfo,
    /// The request's head, as the client sent it.
    pub(crate) head: &'a http::request::Parts,
    /// The client's address, after trusted headers (`$remote_addr`).
    pub(crate) client: IpAddr,
    /// The scheme as the client sees it (`$pass_access_scheme`).
    pub(crate) scheme: Scheme,
    /// The host as the client sees it, with its port (`$best_http_host`).
    pub(crate) authority: &'a str,
    /// The port as the client sees it (`$pass_port`).
    pub(crate) port: u16,
    /// The canonical host that was routed (`$host`).
    pub(crate) host: &'a str,
    /// The normalized path that was routed (`$uri`).
    pub(crate) path: &'a str,
    /// `$req_id`.
    pub(crate) request_id: &'a str,
    /// The rule that served it; empty texts when none did.
    pub(crate) labels: &'a RuleLabels,
    /// `$proxy_upstream_name`: the primary cluster's name, else empty.
    pub(crate) upstream_name: &'a str,
    /// `$proxy_alternative_upstream_name`: the canary cluster's name when it went there, else empty.
    pub(crate) alternative_upstream_name: &'a str,
    /// The status that the client got.
    pub(crate) status: u16,
    /// The response's header as the client got it.
    pub(crate) response: Option<&'a HeaderMap>,
    /// The header of the last endpoint's response.
    pub(crate) upstream_response: Option<&'a HeaderMap>,
    /// Bytes of the request: line, header and body.
    pub(crate) request_length: u64,
    /// Bytes of the response's body that were sent.
    pub(crate) body_bytes_sent: u64,
    /// Bytes of the response that were sent, with its header.
    pub(crate) bytes_sent: u64,
    /// From the first byte of the request to the last of the response.
    pub(crate) request_time: Duration,
    /// The endpoints that were tried, in order.
    pub(crate) attempts: &'a [Attempt],
    /// Now.
    pub(crate) now: SystemTime,
}

/// An extension of a head that could not be parsed: its request line as it came (`$request`).
#[derive(Clone, Debug)]
pub(crate) struct RawRequestLine(pub(crate) Box<[u8]>);

/// One try of one endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// The endpoint.
    pub(crate) address: SocketAddr,
    /// The endpoint's status, or what its failure amounts to (502, 504).
    pub(crate) status: Option<u16>,
    /// Bytes of the response's body.
    pub(crate) response_length: u64,
    /// To the established connection; zero on a kept one. `None` when it never stood.
    pub(crate) connect_time: Option<Duration>,
    /// To the end of the response's head. `None` without one.
    pub(crate) header_time: Option<Duration>,
    /// To the end of the response or to its failure.
    pub(crate) response_time: Option<Duration>,
}
