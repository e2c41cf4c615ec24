//! Timeouts: how long a backend may take (`proxy-connect-timeout`, `proxy-send-timeout`, `proxy-read-timeout`).

use std::time::Duration;

use serde::Serialize;

/// Time-outs towards a backend; over one of them the answer is 504.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// TCP and TLS connect (`proxy-connect-timeout`, 5 s).
    #[serde(serialize_with = "super::duration::serialize")]
    pub connect: Duration,
    /// Between two writes of the request (`proxy-send-timeout`, 60 s).
    #[serde(serialize_with = "super::duration::serialize")]
    pub send: Duration,
    /// Between two reads of the response; also the idle time of an upgraded connection (`proxy-read-timeout`, 60 s).
    #[serde(serialize_with = "super::duration::serialize")]
    pub read: Duration,
    /// From the request's head to the end of the response (Gateway API `timeouts.request`); `None` is without limit.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::duration::serialize_option")]
    pub request: Option<Duration>,
    /// From the start of one attempt to the end of its response (Gateway API `timeouts.backendRequest`).
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::duration::serialize_option")]
    pub backend_request: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            send: Duration::from_secs(60),
            read: Duration::from_secs(60),
            request: None,
            backend_request: None,
        }
    }
}
