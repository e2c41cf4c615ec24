//! Parsers of bytes that clients choose, with what must hold for all of them. The fuzz targets look deeper; this runs
//! with every test.

use proptest::prelude::*;

use crate::listener::body::{BodyCounter, BodyLength};
use crate::listener::head::{Head, HeadError, HeadLimits, HeadScanner};
use crate::listener::proxy_protocol;

/// A head must be judged alike in one piece and byte by byte, and lie within the bytes.
fn head(bytes: &[u8]) {
    let limits = HeadLimits { request_line: 256, header_line: 256, head: 1024, fields: 16 };
    let whole = HeadScanner::new(limits).scan(bytes);
    let mut scanner = HeadScanner::new(limits);
    let pieces = (1..=bytes.len()).find_map(|end| scanner.scan(bytes.get(..end)?).transpose()).transpose();
    assert_eq!(whole, pieces);
    if let Ok(Some(Head { start, end, .. })) = whole {
        assert!(bytes.get(start..end).is_some_and(|head| head.ends_with(b"\r\n\r\n")));
    }
    // The statuses of all errors are those of refusals.
    assert!(
        whole.err().map(HeadError::status).is_none_or(|status| status.is_client_error() || status.is_server_error())
    );
}

/// A PROXY header must end within the bytes, and more bytes must not change it.
fn proxy_header(bytes: &[u8]) {
    if let Ok(Some(header)) = proxy_protocol::parse(bytes) {
        let exact = bytes.get(..header.len).expect("a header ends within the bytes");
        assert_eq!(proxy_protocol::parse(exact), Ok(Some(header)));
        let short = exact.get(..header.len - 1).expect("a header has bytes");
        assert_eq!(proxy_protocol::parse(short), Ok(None));
    }
}

/// A chunked body must end at the same byte in one piece and byte by byte.
fn chunks(bytes: &[u8]) {
    let mut whole = BodyCounter::new(BodyLength::Chunked);
    let passed = whole.pass(bytes);
    let mut counter = BodyCounter::new(BodyLength::Chunked);
    let pieces: Result<usize, _> = bytes.iter().map(|byte| counter.pass(std::slice::from_ref(byte))).sum();
    assert_eq!(passed, pieces);
}

proptest! {
    #[test]
    fn every_parser_takes_any_bytes(bytes in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "(PROXY TCP4 |GET / HTTP/1.1\r\n|[0-9a-f]{1,2}\r\n|\r\n\r\n\u{0}\r\nQUIT\n){0,3}.{0,40}"
            .prop_map(String::into_bytes),
    ]) {
        head(&bytes);
        proxy_header(&bytes);
        chunks(&bytes);
    }
}
