//! Buffering: which bodies are held, and how much of them.

use std::time::Instant;

use genkan_routing::model::HttpVersion;
use genkan_routing::policy::buffering::{RequestBuffering, ResponseBuffering};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::{Exchange, attempt, grpc};
use crate::buffers::Memory;
use crate::error::Failure;
use crate::reply::Reply;
use crate::table::BackendEntry;

/// With `no` a backend asks that its response is passed on as it comes (nginx).
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A response of so many bytes is gone at once: sockets hold as much.
const SMALL: u64 = 16 << 10;

impl Exchange {
    /// How the request's body is to be read before an endpoint is chosen; `None` when it is passed on as it comes.
    pub(crate) fn request_buffering(&self, head: &http::request::Parts) -> Option<RequestBuffering> {
        let policy = self.forward()?.buffering?.request?;
        (self.has_body && !self.is_call(head)).then_some(policy)
    }

    /// Goes on as if the request did not ask to leave HTTP, as every server may (RFC 9110, section 7.8): what is held of
    /// its body would be between the client and the other protocol.
    pub(crate) fn ignore_upgrade(&mut self) {
        self.upgrade = false;
    }

    /// Whether it is a call of gRPC, by more than what the client says of it: both sides speak HTTP/2.
    fn is_call(&self, head: &http::request::Parts) -> bool {
        let http2 = |backend: &BackendEntry| {
            let entry = backend.cluster.and_then(|cluster| self.table.cluster(cluster));
            entry.is_some_and(|entry| entry.cluster.version == HttpVersion::Http2)
        };
        head.version == Version::HTTP_2
            && grpc::is_call(&head.headers)
            && self.rule_entry().is_some_and(|entry| entry.backends.iter().chain(entry.canary.as_deref()).any(http2))
    }

    /// Whether a request that was sent as a whole may be sent again, so that its body has to be kept.
    pub(crate) fn sends_again(&self, method: &Method) -> bool {
        self.forward().is_some_and(|forward| attempt::sends_again(&forward.retry, method))
    }

    /// The most bytes that the request's body may have, whoever reads it.
    pub(crate) fn body_limit(&self) -> Option<u64> {
        self.admitted.body_limit
    }

    /// How far the response may be read ahead of the client; `None` when it is taken as the client takes it. `head` is
    /// the endpoint's.
    pub(crate) fn response_buffering(
        &self,
        client: &http::request::Parts,
        head: &http::response::Parts,
    ) -> Option<ResponseBuffering> {
        let policy = self.forward()?.buffering?.response?;
        let bodiless = client.method == Method::HEAD
            || head.status.is_informational()
            || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let streams = self.upgrade || self.is_call(client) || is_stream(&head.headers);
        (!bodiless && !streams && !is_small(&head.headers)).then_some(policy)
    }

    /// Memory for a body, counted for the rule's namespace.
    pub(crate) fn memory(&self) -> Memory {
        self.shared.buffers.begin(&self.tenant())
    }

    /// Notes that the endpoint has given its whole response: it is free for others while the client still takes it.
    pub(crate) fn endpoint_done(&mut self, now: Instant) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.end(now);
        }
        self.picked = None;
    }

    /// Notes why the client did not get all of a response that was read ahead, unless the request failed before.
    pub(crate) fn writing_failed(&mut self, failure: Failure, now: Instant) {
        let failure = self.explain(failure, now);
        self.fail(failure);
    }

    /// The reply to a body for which there is no memory.
    pub(crate) fn no_memory(&self, head: &http::request::Parts) -> Reply {
        let page = Reply::page(StatusCode::SERVICE_UNAVAILABLE, &head.headers, &self.request_id);
        self.finish_reply(head, page)
    }
}

/// Whether the backend says that its response is to be passed on as it comes.
fn is_stream(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let media_type = media_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let asked = headers.get(X_ACCEL_BUFFERING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"no"));
    asked || media_type.eq_ignore_ascii_case(b"text/event-stream")
}

fn is_small(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length <= SMALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn events_and_what_the_backend_says_so_of_are_streams() {
        for (name, value, expected) in [
            ("content-type", "text/event-stream", true),
            ("content-type", "Text/Event-Stream; charset=utf-8", true),
            ("content-type", "text/html", false),
            ("x-accel-buffering", "no", true),
            ("x-accel-buffering", "NO", true),
            ("x-accel-buffering", "yes", false),
        ] {
            assert_eq!(is_stream(&headers(name, value)), expected, "{name}: {value}");
        }
    }

    #[test]
    fn only_an_announced_length_makes_a_response_small() {
        for (value, expected) in [("0", true), ("16384", true), ("16385", false), ("x", false)] {
            assert_eq!(is_small(&headers("content-length", value)), expected, "{value}");
        }
        assert!(!is_small(&HeaderMap::new()));
    }
}
