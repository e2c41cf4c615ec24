//! Client: limits and time-outs of client connections.

use std::time::Duration;

use serde::Serialize;

const DRAIN_TIMEOUT: Duration = Duration::from_secs(240);

fn is_default_drain(timeout: &Duration) -> bool {
    *timeout == DRAIN_TIMEOUT
}

/// Limits and time-outs of client connections. Defaults are ingress-nginx's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientSettings {
    /// From the first byte of a request's head to its last (`client-header-timeout`, 60 s); over it 408. Also the time
    /// for a TLS handshake, a PROXY header and an HTTP/2 preface.
    #[serde(serialize_with = "super::duration::serialize")]
    pub header_timeout: Duration,
    /// Between two reads of a request body (`client-body-timeout`, 60 s); over it 408.
    #[serde(serialize_with = "super::duration::serialize")]
    pub body_timeout: Duration,
    /// Idle time before a connection is closed (`keep-alive`, 75 s); zero turns keep-alive off.
    #[serde(serialize_with = "super::duration::serialize")]
    pub keep_alive: Duration,
    /// How long running requests may take at the end of the process (`worker-shutdown-timeout`, 240 s); zero: as
    /// long as they want.
    #[serde(serialize_with = "super::duration::serialize", skip_serializing_if = "is_default_drain")]
    pub drain_timeout: Duration,
    /// Requests per connection (`keep-alive-requests`, 1000).
    pub keep_alive_requests: u32,
    /// Bytes of one header line (`large-client-header-buffers`, 8 KiB); over it 400 as nginx, which the client sees as
    /// 431 (RFC 6585) from Genkan.
    pub max_header_line: u32,
    /// Bytes of the request line (`large-client-header-buffers`, 8 KiB); over it 414.
    pub max_request_line: u32,
    /// Bytes of the whole head (`large-client-header-buffers`, 4 x 8 KiB); over it 431.
    pub max_head: u32,
    /// Header fields (100); over it 431.
    pub max_headers: u16,
    /// Whether backends see request fields whose names have an underscore (`enable-underscores-in-headers`, false).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub underscores_in_headers: bool,
    /// HTTP/2 by ALPN and prior knowledge (`use-http2`, true).
    pub http2: bool,
    /// Streams per HTTP/2 connection (`http2-max-concurrent-streams`, 128).
    pub max_concurrent_streams: u32,
    /// Open client connections of the whole process (`max-worker-connections` x workers in nginx; here 65536); further
    /// ones are closed at once.
    pub max_connections: u32,
    /// Whether PROXY protocol v1 or v2 is required on every connection (`use-proxy-protocol`, false).
    pub proxy_protocol: bool,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(75),
            drain_timeout: DRAIN_TIMEOUT,
            keep_alive_requests: 1000,
            max_header_line: 8 << 10,
            max_request_line: 8 << 10,
            max_head: 32 << 10,
            max_headers: 100,
            underscores_in_headers: false,
            http2: true,
            max_concurrent_streams: 128,
            max_connections: 65_536,
            proxy_protocol: false,
        }
    }
}
