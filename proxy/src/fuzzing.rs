//! What the targets in `fuzz/` call: parsers of bytes from outside, which are private otherwise. Built only with
//! `--cfg fuzzing`.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, SystemTime};

use genkan_routing::model::RuleLabels;
use genkan_routing::name::ListenerId;
use genkan_routing::policy::access_log::Escape;
use genkan_routing::policy::forwarded::Forwarded;
use http::HeaderMap;
use http::request::Parts;

use crate::access_log::{Format, LogRecord};
use crate::connection::{ConnectionInfo, Phase};
use crate::filters::forwarded::believe;
use crate::listener::body::{BodyCounter, BodyLength};
use crate::listener::client_hello::{HelloError, HelloReader};
use crate::listener::head::{HeadLimits, HeadScanner};
use crate::listener::proxy_protocol;

/// A head that a listener accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedHead {
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The bytes that follow; `None` for chunks.
    pub body: Option<u64>,
}

/// The largest head that [`scan_head`] accepts: small, so that inputs get there.
pub const MAX_HEAD: usize = 1024;

/// Scans a head that arrives in pieces of this size.
///
/// # Errors
///
/// Why it is refused.
pub fn scan_head(bytes: &[u8], piece: usize) -> Result<Option<AcceptedHead>, String> {
    let limits = HeadLimits { request_line: 256, header_line: 256, head: MAX_HEAD, fields: 16 };
    let mut scanner = HeadScanner::new(limits);
    for end in (piece..bytes.len()).step_by(piece).chain([bytes.len()]) {
        let scanned = scanner.scan(bytes.get(..end).unwrap_or_default()).map_err(|error| error.to_string())?;
        if let Some(head) = scanned {
            let body = match head.body {
                BodyLength::Known(length) => Some(length),
                BodyLength::Chunked => None,
            };
            return Ok(Some(AcceptedHead { start: head.start, end: head.end, body }));
        }
    }
    Ok(None)
}

/// How many bytes of a body pass that arrives in pieces of this size, and whether it is complete then. `length` is
/// `None` for chunks.
///
/// # Errors
///
/// Why it is refused.
pub fn pass_body(length: Option<u64>, bytes: &[u8], piece: usize) -> Result<(usize, bool), String> {
    let mut counter = BodyCounter::new(length.map_or(BodyLength::Chunked, BodyLength::Known));
    let mut passed = 0;
    for piece in bytes.chunks(piece) {
        if counter.is_complete() {
            break;
        }
        passed += counter.pass(piece).map_err(|error| error.to_string())?;
    }
    Ok((passed, counter.is_complete()))
}

/// The length of a PROXY header and the addresses that it announces.
pub type ProxyHeader = (usize, Option<(SocketAddr, SocketAddr)>);

/// Reads a PROXY header; `None` when there are too few bytes to tell.
///
/// # Errors
///
/// Why it is refused.
pub fn proxy_header(bytes: &[u8]) -> Result<Option<ProxyHeader>, String> {
    let parsed = proxy_protocol::parse(bytes).map_err(|error| error.to_string())?;
    Ok(parsed.map(|header| (header.len, header.addresses)))
}

/// What a ClientHello says that a certificate is chosen by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The server name (RFC 6066, section 3).
    pub server_name: Option<String>,
    /// The application protocols that the client offers (RFC 7301).
    pub protocols: Vec<Vec<u8>>,
}

/// Reads a ClientHello that arrives in pieces of this size; `None` when there are too few bytes to tell.
///
/// # Errors
///
/// The alert that the client gets; `None` when it does not speak TLS.
pub fn client_hello(bytes: &[u8], piece: usize) -> Result<Option<Hello>, Option<Vec<u8>>> {
    let mut reader = HelloReader::default();
    for end in (piece..bytes.len()).step_by(piece).chain([bytes.len()]) {
        let accepted = reader.read(bytes.get(..end).unwrap_or_default()).map_err(|error| match error {
            HelloError::NotTls => None,
            HelloError::Malformed { alert, .. } => Some(alert),
        })?;
        if let Some(accepted) = accepted {
            let hello = accepted.client_hello();
            let protocols = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
            return Ok(Some(Hello { server_name: hello.server_name().map(str::to_owned), protocols }));
        }
    }
    Ok(None)
}

/// The names and weights of a list such as `Accept-Encoding`.
pub fn weighted_items(field: &[u8]) -> Vec<(&str, u16)> {
    crate::accept::items(field).collect()
}

/// The value of the first cookie of this name.
pub fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    crate::cookie::value(headers, name)
}

/// The client's address that is believed in a request that `peer` sent.
pub fn believed_client(settings: &Forwarded, peer: IpAddr, head: &Parts) -> IpAddr {
    believe(settings, &connection(peer), head).client
}

/// The log line of a request of which only the head is known; `None` for a format that is refused.
pub fn log_line(format: &str, escape: Escape, head: &Parts) -> Option<String> {
    let format = Format::compile(format, escape).ok()?;
    let peer = IpAddr::from([192, 0, 2, 1]);
    let connection = connection(peer);
    let believed = believe(&Forwarded::default(), &connection, head);
    let record = LogRecord {
        connection: &connection,
        head,
        client: believed.client,
        scheme: believed.scheme,
        authority: believed.authority,
        port: believed.port,
        host: believed.authority,
        path: head.uri.path(),
        request_id: "",
        labels: &RuleLabels::default(),
        upstream_name: "",
        alternative_upstream_name: "",
        status: 200,
        response: Some(&head.headers),
        upstream_response: Some(&head.headers),
        request_length: 0,
        body_bytes_sent: 0,
        bytes_sent: 0,
        request_time: Duration::ZERO,
        attempts: &[],
        now: SystemTime::UNIX_EPOCH,
    };
    let mut line = String::new();
    format.render(&record, &mut line);
    Some(line)
}

fn connection(peer: IpAddr) -> ConnectionInfo {
    ConnectionInfo {
        id: 1,
        listener: ListenerId::new("http"),
        public_port: 80,
        peer: SocketAddr::new(peer, 40_000),
        local: SocketAddr::from(([127, 0, 0, 1], 80)),
        proxied: None,
        tls: None,
        requests: AtomicU32::new(0),
        phase: Phase::default(),
        client_text: OnceLock::new(),
    }
}
