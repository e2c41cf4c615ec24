//! Compression: gzip of responses, streaming.
//!
//! Decides by the heads alone, and changes the response's head where the body will be encoded. The [`Encoder`] flushes
//! after every chunk where a client waits for single events: `text/event-stream`, and bodies of unknown length.

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzEncoder;
use genkan_routing::policy::compression::{Compression, MediaTypes};
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::vary;
use crate::accept;
use crate::error::Failure;
use crate::exchange::context::RequestContext;

/// A gzip stream under way.
#[derive(Debug)]
pub(crate) struct Encoder {
    gzip: GzEncoder<Vec<u8>>,
    flush: bool,
}

impl Encoder {
    /// An encoder of `level` 1 to 9. With `flush`, what [`encode`](Self::encode) returns holds everything put in so far.
    pub(crate) fn new(level: u8, flush: bool) -> Self {
        let level = flate2::Compression::new(u32::from(level.clamp(1, 9)));
        Self { gzip: GzEncoder::new(Vec::new(), level), flush }
    }

    /// Encodes a chunk; returns what may be sent now, which may be nothing.
    pub(crate) fn encode(&mut self, chunk: &[u8]) -> Result<Bytes, Failure> {
        if chunk.is_empty() {
            return Ok(Bytes::new());
        }
        self.gzip.write_all(chunk).map_err(broken)?;
        if self.flush {
            self.gzip.flush().map_err(broken)?;
        }
        Ok(std::mem::take(self.gzip.get_mut()).into())
    }

    /// Ends the stream; returns its last bytes.
    pub(crate) fn finish(&mut self) -> Result<Bytes, Failure> {
        self.gzip.try_finish().map_err(broken)?;
        Ok(std::mem::take(self.gzip.get_mut()).into())
    }
}

fn broken(error: std::io::Error) -> Failure {
    Failure::Internal(format!("gzip: {error}"))
}

/// Decides whether a response is compressed, and changes its head if so. A response that would be compressed for
/// another client says so in `Vary`.
pub(super) fn response(
    ctx: &RequestContext<'_>,
    policy: &Compression,
    status: StatusCode,
    headers: &mut HeaderMap,
) -> Option<Encoder> {
    if !has_whole_body(ctx, status) || !may_be_changed(headers) {
        return None;
    }
    let media_type = media_type(headers)?.to_ascii_lowercase();
    if !covered(policy, &media_type) {
        return None;
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    if length.is_some_and(|length| length < policy.min_length) {
        return None;
    }
    vary::add(headers, "accept-encoding");
    if ctx.head.version < Version::HTTP_11 || !accepts_gzip(&ctx.head.headers) {
        return None;
    }
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    weaken_etag(headers);
    Some(Encoder::new(policy.level, length.is_none() || media_type == "text/event-stream"))
}

fn has_whole_body(ctx: &RequestContext<'_>, status: StatusCode) -> bool {
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED);
    !bodiless && ctx.head.method != Method::HEAD && ctx.head.method != Method::CONNECT
}

/// Whether nothing in the head forbids another encoding.
fn may_be_changed(headers: &HeaderMap) -> bool {
    let no_transform = |value: &HeaderValue| {
        let mut directives = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        directives.any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
    };
    !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && !headers.get_all(CACHE_CONTROL).iter().any(no_transform)
}

/// `Content-Type` without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or(text).trim())
}

fn covered(policy: &Compression, media_type: &str) -> bool {
    // gRPC frames its messages and compresses them itself.
    if media_type.starts_with("application/grpc") {
        return false;
    }
    media_type == "text/html"
        || match &policy.types {
            MediaTypes::All => true,
            MediaTypes::List(types) => types.iter().any(|known| known == media_type),
        }
}

/// Whether gzip is acceptable and not worse than no encoding (RFC 9110, section 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    for (name, weight) in headers.get_all(ACCEPT_ENCODING).iter().flat_map(|field| accept::items(field.as_bytes())) {
        match name {
            "gzip" | "x-gzip" => gzip = gzip.max(Some(weight)),
            "*" => any = any.max(Some(weight)),
            "identity" => identity = identity.max(Some(weight)),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// The encoded body is equivalent to what the tag names, no longer the same bytes (RFC 9110, section 8.8.1).
fn weaken_etag(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG) else { return };
    if !tag.as_bytes().starts_with(b"\"") {
        return;
    }
    match HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        Ok(weak) => headers.insert(ETAG, weak),
        Err(_) => headers.remove(ETAG),
    };
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http::header::VARY;
    use proptest::prelude::*;

    use super::*;
    use crate::filters::testing::Request;

    fn gzip_request() -> Request {
        Request::get("/").header("accept-encoding", "gzip, br")
    }

    fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn compressed(request: &Request, status: u16, fields: &[(&'static str, &str)]) -> (bool, HeaderMap) {
        let mut headers = head(fields);
        let status = StatusCode::from_u16(status).unwrap();
        let encoder = request.with(|ctx| response(ctx, &Compression::default(), status, &mut headers));
        assert_eq!(encoder.is_some(), headers.get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip"));
        (encoder.is_some(), headers)
    }

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
        plain
    }

    #[test]
    fn the_head_tells_of_the_encoding() {
        let fields = [
            ("content-type", "Text/Plain; charset=utf-8"),
            ("content-length", "1000"),
            ("etag", "\"x\""),
            ("accept-ranges", "bytes"),
        ];
        let (done, headers) = compressed(&gzip_request(), 200, &fields);
        assert!(done);
        assert_eq!(headers[ETAG], "W/\"x\"");
        assert_eq!(headers[VARY], "accept-encoding");
        assert!(!headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(ACCEPT_RANGES));
    }

    #[test]
    fn the_clients_weights_are_respected() {
        for (accept, expected) in [
            ("gzip", true),
            ("GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("*", true),
            ("*;q=0", false),
            ("gzip;q=0, *", false),
            ("br", false),
            ("identity, gzip;q=0.5", false),
            ("identity;q=0.5, gzip", true),
            ("", false),
        ] {
            let request = Request::get("/").header("accept-encoding", accept);
            let (done, headers) = compressed(&request, 200, &[("content-type", "text/html")]);
            assert_eq!(done, expected, "{accept}");
            assert_eq!(headers[VARY], "accept-encoding", "it depends on the client all the same");
        }
        assert!(!compressed(&Request::get("/"), 200, &[("content-type", "text/html")]).0);
    }

    #[test]
    fn only_listed_types_of_some_length_are_compressed() {
        for (fields, expected) in [
            (vec![("content-type", "text/html")], true),
            (vec![("content-type", "application/json"), ("content-length", "256")], true),
            (vec![("content-type", "application/json"), ("content-length", "255")], false),
            (vec![("content-type", "image/png")], false),
            (vec![("content-type", "application/grpc")], false),
            (vec![], false),
            (vec![("content-type", "text/html"), ("content-encoding", "br")], false),
            (vec![("content-type", "text/html"), ("content-range", "bytes 0-1/2")], false),
            (vec![("content-type", "text/html"), ("cache-control", "public, No-Transform")], false),
        ] {
            let mut headers = head(&fields);
            let done = gzip_request()
                .with(|ctx| response(ctx, &Compression::default(), StatusCode::OK, &mut headers))
                .is_some();
            assert_eq!(done, expected, "{fields:?}");
            assert_eq!(headers.contains_key(VARY), expected, "{fields:?}");
        }
    }

    #[test]
    fn every_type_but_grpc_is_covered_by_a_star() {
        let policy = Compression { types: MediaTypes::All, ..Compression::default() };
        assert!(covered(&policy, "image/png"));
        assert!(!covered(&policy, "application/grpc+proto"));
    }

    #[test]
    fn responses_without_a_whole_body_are_left_alone() {
        let html = [("content-type", "text/html")];
        for status in [101, 204, 206, 304] {
            assert!(!compressed(&gzip_request(), status, &html).0, "{status}");
        }
        assert!(compressed(&gzip_request(), 500, &html).0);
        let head = Request::new(Method::HEAD, "/").header("accept-encoding", "gzip");
        assert!(!compressed(&head, 200, &html).0);
        assert!(!compressed(&gzip_request().version(Version::HTTP_10), 200, &html).0);
        assert!(compressed(&gzip_request().version(Version::HTTP_2), 200, &html).0);
    }

    #[test]
    fn an_event_can_be_read_as_soon_as_it_was_encoded() {
        let mut encoder = Encoder::new(1, true);
        let mut decoder = flate2::write::GzDecoder::new(Vec::new());
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            decoder.write_all(&encoder.encode(event.as_bytes()).unwrap()).unwrap();
            decoder.flush().unwrap();
            assert_eq!(std::mem::take(decoder.get_mut()), event.as_bytes());
        }
    }

    #[test]
    fn unknown_lengths_and_event_streams_flush() {
        let flushes = |fields: &[(&'static str, &str)]| {
            let policy = Compression { types: MediaTypes::All, ..Compression::default() };
            let mut headers = head(fields);
            gzip_request().with(|ctx| response(ctx, &policy, StatusCode::OK, &mut headers)).unwrap().flush
        };
        assert!(flushes(&[("content-type", "text/event-stream"), ("content-length", "5000")]));
        assert!(flushes(&[("content-type", "text/plain")]));
        assert!(!flushes(&[("content-type", "text/plain"), ("content-length", "5000")]));
    }

    proptest! {
        #[test]
        fn what_was_encoded_can_be_decoded(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            level in 1u8..=9,
            flush in any::<bool>(),
        ) {
            let mut encoder = Encoder::new(level, flush);
            let mut encoded = Vec::new();
            for chunk in &chunks {
                encoded.extend_from_slice(&encoder.encode(chunk).unwrap());
            }
            encoded.extend_from_slice(&encoder.finish().unwrap());
            prop_assert_eq!(gunzip(&encoded), chunks.concat());
        }
    }
}
