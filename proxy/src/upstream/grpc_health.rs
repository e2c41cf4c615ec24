//! The health check of gRPC (`grpc.health.v1.Health/Check`): two messages of one field each.

use http::{Response, StatusCode};
use hyper::body::Incoming;

use super::mirror::next_frame;

/// The method's path.
pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";

/// The most bytes of an answer that are read; a true one has seven.
const MOST: usize = 1024;

/// The bytes of `HealthCheckRequest { service = 1 }`, framed as gRPC frames messages.
pub(super) fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(service.len() + 4);
    if !service.is_empty() {
        message.push(0x0a); // field 1, length-delimited
        varint(service.len(), &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut frame = vec![0]; // not compressed
    frame.extend_from_slice(&length.to_be_bytes());
    frame.append(&mut message);
    frame
}

/// Whether an answer says `HealthCheckResponse { status = SERVING }` and `grpc-status: 0`. `None` if it breaks off.
pub(super) async fn is_serving(mut response: Response<Incoming>) -> Option<bool> {
    if response.status() != StatusCode::OK {
        return Some(false);
    }
    let mut message = Vec::new();
    let mut status = response.headers().get("grpc-status").cloned();
    while let Some(frame) = next_frame(response.body_mut()).await {
        match frame.ok()?.into_data() {
            Ok(data) => message.extend_from_slice(data.get(..MOST.saturating_sub(message.len()).min(data.len()))?),
            Err(frame) => status = frame.into_trailers().ok()?.get("grpc-status").cloned().or(status),
        }
    }
    Some(status.is_some_and(|status| status == "0") && says_serving(&message))
}

/// Whether a framed message says `status = SERVING` (field 1, varint 1).
fn says_serving(frame: &[u8]) -> bool {
    match frame {
        [0, length @ ..] if length.len() >= 4 => length.get(4..).is_some_and(|message| message == [0x08, 0x01]),
        _ => false,
    }
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        // The low seven bits, and that more follow.
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = request(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn only_serving_is_serving() {
        assert!(says_serving(&[0, 0, 0, 0, 2, 8, 1]));
        for other in [&[0, 0, 0, 0, 2, 8, 2][..], &[0, 0, 0, 0, 0], &[], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0]] {
            assert!(!says_serving(other), "{other:?}");
        }
    }
}
