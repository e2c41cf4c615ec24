//! Replies of ours to gRPC clients: they read the outcome from trailers, not from an HTTP status.

use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::reply::{Reply, reason};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a request is a gRPC call: `application/grpc`, `application/grpc+proto`, ... (gRPC over HTTP/2, "Requests").
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    match media_type.strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    }
}

/// The reply as a response of trailers only: status 200, no body, the gRPC status among the header fields.
pub(super) fn translate(mut reply: Reply) -> Reply {
    let message = HeaderValue::from_static(reason(reply.status));
    reply.headers.remove(LOCATION);
    reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    reply.headers.insert(GRPC_STATUS, HeaderValue::from(code(reply.status)));
    reply.headers.insert(GRPC_MESSAGE, message);
    Reply { status: StatusCode::OK, headers: reply.headers, body: bytes::Bytes::new() }
}

/// The gRPC status of an HTTP status (gRPC, "HTTP to gRPC Status Code Mapping"; 413 and 408 by their meaning).
fn code(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        408 => 4,
        413 => 8,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_their_media_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x", true),
            ("application/grpc-web", false),
            ("text/html", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_call(&headers), expected, "{value}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn a_refusal_becomes_a_status_of_grpc() {
        let reply = translate(Reply::page(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::new(), "id"));
        assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, 0));
        assert_eq!(reply.headers[GRPC_STATUS], "14");
        assert_eq!(reply.headers[CONTENT_TYPE], "application/grpc");
    }
}
