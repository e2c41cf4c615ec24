//! Retry: when another endpoint is tried (`proxy-next-upstream*`; nginx `proxy_next_upstream`), and after what time.

use std::time::Duration;

use serde::Serialize;

/// When a request is sent to another endpoint. Nothing is retried once a byte of the response reached the client, nor
/// when the request's body can't be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Attempts in all, the first included; 0 is without limit (`proxy-next-upstream-tries`, 3).
    pub tries: u32,
    /// The time in which a further attempt may begin; `None` is without limit (`proxy-next-upstream-timeout`, 0).
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::duration::serialize_option")]
    pub timeout: Option<Duration>,
    /// The least time between a failed attempt and the next one (Gateway API `retry.backoff`); `None` is at once. It
    /// doubles with every further attempt.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::duration::serialize_option")]
    pub backoff: Option<Duration>,
    /// Connecting, sending or reading the head failed (`error`).
    pub on_error: bool,
    /// Connecting, sending or reading the head took too long (`timeout`).
    pub on_timeout: bool,
    /// The endpoint's answer is no HTTP (`invalid_header`).
    pub on_invalid_header: bool,
    /// These statuses of the endpoint (`http_500` ... `http_429`), sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_status: Vec<u16>,
    /// Also POST, LOCK and PATCH that were already sent (`non_idempotent`).
    pub non_idempotent: bool,
}

impl Default for Retry {
    /// `error timeout`, 3 tries, no limit of time.
    fn default() -> Self {
        Self {
            tries: 3,
            timeout: None,
            backoff: None,
            on_error: true,
            on_timeout: true,
            on_invalid_header: false,
            on_status: Vec::new(),
            non_idempotent: false,
        }
    }
}
