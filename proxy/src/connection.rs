//! What is known about a client connection, shared by its stream, its requests and its log lines.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use genkan_routing::name::ListenerId;
use http::HeaderValue;

/// A client connection.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    /// Unique in this process (`$connection`).
    pub(crate) id: u64,
    /// The listener that accepted it.
    pub(crate) listener: ListenerId,
    /// The listener's public port.
    pub(crate) public_port: u16,
    /// The peer of the TCP connection.
    pub(crate) peer: SocketAddr,
    /// Our address of the TCP connection.
    pub(crate) local: SocketAddr,
    /// Source and destination that a PROXY header announced.
    pub(crate) proxied: Option<(SocketAddr, SocketAddr)>,
    /// The TLS session; `None` in plaintext.
    pub(crate) tls: Option<TlsInfo>,
    /// Requests so far (`$connection_requests`).
    pub(crate) requests: AtomicU32,
    /// Where the connection is in its life; HTTP/1 only.
    pub(crate) phase: Phase,
    /// The client's address as backends are told it, made by the first request.
    pub(crate) client_text: OnceLock<HeaderValue>,
}

impl ConnectionInfo {
    /// The client: what the PROXY header announced, else the peer.
    pub(crate) fn client(&self) -> SocketAddr {
        self.proxied.map_or(self.peer, |(source, _)| source)
    }

    /// The client's address as backends are told it.
    pub(crate) fn client_text(&self) -> &HeaderValue {
        self.client_text.get_or_init(|| address_text(self.client().ip()))
    }
}

/// An address as a field's value; IPv4 as such, also where it arrived at an IPv6 socket.
pub(crate) fn address_text(address: IpAddr) -> HeaderValue {
    // An address consists of digits, letters, dots and colons.
    HeaderValue::from_str(&address.to_canonical().to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What a TLS handshake agreed on.
#[derive(Clone, Debug)]
pub(crate) struct TlsInfo {
    /// The server name that the client sent, in lower case.
    pub(crate) server_name: Option<Arc<str>>,
    /// `TLSv1.3` (`$ssl_protocol`).
    pub(crate) version: &'static str,
    /// The cipher suite's name, OpenSSL's (`$ssl_cipher`).
    pub(crate) cipher: &'static str,
}

/// Whether an HTTP/1 connection waits for a head or serves a request. The stream reads it to know which deadline and
/// which checks apply; the engine moves it.
#[derive(Debug, Default)]
pub(crate) struct Phase(AtomicU8);

impl Phase {
    const IN_REQUEST: u8 = 1;
    const TUNNEL: u8 = 2;

    /// A request's head is complete: bytes are body now.
    pub(crate) fn begin_request(&self) {
        self.0.store(Self::IN_REQUEST, Ordering::Release);
    }

    /// The connection leaves HTTP: bytes are passed on as they are, to its end.
    pub(crate) fn begin_tunnel(&self) {
        self.0.store(Self::TUNNEL, Ordering::Release);
    }

    /// The response is complete: the next bytes are a head.
    pub(crate) fn end_request(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Whether a request is being served.
    pub(crate) fn in_request(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Whether the connection has left HTTP.
    pub(crate) fn is_tunnel(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::TUNNEL
    }
}
