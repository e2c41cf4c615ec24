//! Stream: how TCP connections and UDP sessions are passed on (`proxy-stream-*`).

use std::time::Duration;

use serde::Serialize;

/// Time-outs, retries and limits of all TCP and UDP listeners, and of TLS passthrough. Defaults are ingress-nginx's, else nginx's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamSettings {
    /// How long nothing may move, either way, before a connection or session ends (`proxy-stream-timeout`, 600 s).
    #[serde(serialize_with = "super::duration::serialize")]
    pub timeout: Duration,
    /// For one attempt to connect to an endpoint (nginx `proxy_connect_timeout`, 60 s).
    #[serde(serialize_with = "super::duration::serialize")]
    pub connect_timeout: Duration,
    /// For a PROXY header to arrive (nginx `proxy_protocol_timeout`, 30 s).
    #[serde(serialize_with = "super::duration::serialize")]
    pub header_timeout: Duration,
    /// Whether another endpoint is tried when a connect fails (`proxy-stream-next-upstream`, true).
    pub next_upstream: bool,
    /// The time in which another endpoint may be tried (`proxy-stream-next-upstream-timeout`, 600 s); `None` is
    /// without limit.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::duration::serialize_option")]
    pub next_upstream_timeout: Option<Duration>,
    /// How many endpoints are tried in all; 0 is without limit (`proxy-stream-next-upstream-tries`, 3).
    pub next_upstream_tries: u32,
    /// Datagrams that are expected in answer to each of a UDP client's; with the last of them its session ends
    /// (`proxy-stream-responses`, 1).
    pub responses: u32,
    /// UDP sessions of the whole process; datagrams of further clients are dropped (16384). They are counted apart
    /// from connections, since senders of datagrams can invent any number of clients.
    pub max_sessions: u32,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(30),
            next_upstream: true,
            next_upstream_timeout: Some(Duration::from_secs(600)),
            next_upstream_tries: 3,
            responses: 1,
            max_sessions: 16_384,
        }
    }
}
