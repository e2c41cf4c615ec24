//! Every refusal, and that the pieces in which a head arrives change nothing.

use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { request_line: 64, header_line: 64, head: 256, fields: 4 };

fn scan(bytes: impl AsRef<[u8]>) -> Result<Option<Head>, HeadError> {
    HeadScanner::new(LIMITS).scan(bytes.as_ref())
}

fn body(bytes: &str) -> BodyLength {
    scan(bytes).unwrap().unwrap().body
}

#[test]
fn a_head_ends_at_its_empty_line() {
    let head = "GET /a?b=%20 HTTP/1.1\r\nHost: x\r\n\r\n";
    let expected = Head { start: 0, end: head.len(), body: BodyLength::Known(0) };
    assert_eq!(scan(head), Ok(Some(expected)));
    assert_eq!(scan(format!("{head}more")), Ok(Some(expected)));
    assert_eq!(scan(format!("\r\n\r\n{head}")), Ok(Some(Head { start: 4, end: head.len() + 4, ..expected })));
    for cut in 0..head.len() {
        assert_eq!(scan(&head[..cut]), Ok(None), "{cut}");
    }
}

#[test]
fn lengths_are_read() {
    assert_eq!(body("POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\t12 \r\n\r\n"), BodyLength::Known(12));
    assert_eq!(body("POST / HTTP/1.0\r\ncontent-length: 0\r\n\r\n"), BodyLength::Known(0));
    assert_eq!(body("POST / HTTP/1.1\r\nHost: x\r\nTRANSFER-encoding: Chunked\r\n\r\n"), BodyLength::Chunked);
}

#[test]
fn usual_targets_are_passed_on() {
    for line in [
        "GET / HTTP/1.0",
        "OPTIONS * HTTP/1.1",
        "GET http://x/ HTTP/1.1",
        "GET HTTPS://x HTTP/1.1",
        "GET /a|b\"{}[]^\\?q={}[]|^`\\ HTTP/1.1",
        "M-SEARCH /%zz HTTP/1.1",
    ] {
        assert!(matches!(scan(format!("{line}\r\nHost: x\r\n\r\n")), Ok(Some(_))), "{line}");
    }
}

#[test]
fn an_absolute_target_and_host_agree() {
    let head = |target: &str, fields: &str| scan(format!("GET {target} HTTP/1.1\r\n{fields}\r\n"));
    assert!(matches!(head("http://x:80?a", "Host: x:80\r\n"), Ok(Some(_))));
    for (target, host) in [("http://x/", "y"), ("http://x/", "x:80"), ("http://u@x/", "x"), ("http://x", "")] {
        assert_eq!(head(target, &format!("Host: {host}\r\n")), Err(HeadError::OtherHost), "{target} {host}");
    }
    assert_eq!(scan("GET http://x/ HTTP/1.0\r\n\r\n"), Err(HeadError::MissingHost));
}

#[test]
fn malformed_request_lines_are_refused() {
    for (line, error) in [
        ("GET /", HeadError::BadRequestLine),
        ("GET  / HTTP/1.1", HeadError::BadRequestLine),
        (" GET / HTTP/1.1", HeadError::BadRequestLine),
        ("GET / HTTP/1.1 ", HeadError::BadRequestLine),
        ("GET /a b HTTP/1.1", HeadError::BadRequestLine),
        ("GET\t/ HTTP/1.1", HeadError::BadRequestLine),
        ("G@T / HTTP/1.1", HeadError::BadRequestLine),
        ("GET / http/1.1", HeadError::BadRequestLine),
        ("GET / HTTP/1.10", HeadError::BadRequestLine),
        ("GET / HTTP/01.1", HeadError::BadRequestLine),
        ("GET / HTTP/2.0", HeadError::BadVersion),
        ("GET / HTTP/1.2", HeadError::BadVersion),
        ("GET / HTTP/0.9", HeadError::BadVersion),
        ("PRI * HTTP/2.0", HeadError::BadVersion),
        ("CONNECT x:443 HTTP/1.1", HeadError::BadMethod),
        ("TRACE / HTTP/1.1", HeadError::BadMethod),
        ("GET * HTTP/1.1", HeadError::BadTarget),
        ("GET a HTTP/1.1", HeadError::BadTarget),
        ("GET ftp://x/ HTTP/1.1", HeadError::BadTarget),
        ("GET http:// HTTP/1.1", HeadError::BadTarget),
        ("GET http:/x HTTP/1.1", HeadError::BadTarget),
        ("GET /#f HTTP/1.1", HeadError::BadTarget),
        ("GET /<a> HTTP/1.1", HeadError::BadTarget),
        ("GET /?q=\"a\" HTTP/1.1", HeadError::BadTarget),
        ("GET /\u{e9} HTTP/1.1", HeadError::BadTarget),
        ("GET /\0 HTTP/1.1", HeadError::ControlByte),
        ("\x16\x03\x01", HeadError::ControlByte),
    ] {
        assert_eq!(scan(format!("{line}\r\nHost: x\r\n\r\n")), Err(error), "{line:?}");
    }
}

#[test]
fn malformed_fields_are_refused() {
    for (fields, error) in [
        ("Host : x", HeadError::BadFieldName),
        ("Host\t: x", HeadError::BadFieldName),
        ("Host: x\r\nA b: c", HeadError::BadFieldName),
        ("Host: x\r\nno colon", HeadError::BadFieldName),
        ("Host: x\r\n: empty", HeadError::BadFieldName),
        ("Host: x\r\nna(me: a", HeadError::BadFieldName),
        ("Host: x\r\nn\u{e9}: a", HeadError::BadFieldName),
        ("Host: x\r\n folded", HeadError::Folded),
        ("\tHost: x", HeadError::Folded),
        ("Host: x\nA: b", HeadError::BareLineEnd),
        ("Host: x\r\r\nA: b", HeadError::BareLineEnd),
        ("Host: x\rA: b", HeadError::BareLineEnd),
        ("Host: x\r\nA: \0", HeadError::ControlByte),
        ("Host: x\r\nA: \x0b", HeadError::ControlByte),
        ("Host: x\r\nA: \x7f", HeadError::ControlByte),
        ("Host: x\r\nhost: x", HeadError::RepeatedHost),
        ("A: b", HeadError::MissingHost),
    ] {
        assert_eq!(scan(format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n")), Err(error), "{fields:?}");
    }
}

#[test]
fn ambiguous_lengths_are_refused() {
    for (fields, error) in [
        ("Content-Length: 1\r\nContent-Length: 1", HeadError::BadContentLength),
        ("Content-Length: 1\r\nContent-Length: 2", HeadError::BadContentLength),
        ("Content-Length: 1, 1", HeadError::BadContentLength),
        ("Content-Length: +1", HeadError::BadContentLength),
        ("Content-Length: -1", HeadError::BadContentLength),
        ("Content-Length: 0x1", HeadError::BadContentLength),
        ("Content-Length: 1 1", HeadError::BadContentLength),
        ("Content-Length:", HeadError::BadContentLength),
        ("Content-Length: 99999999999999999999", HeadError::BadContentLength),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", HeadError::BadTransferEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 1", HeadError::BadTransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", HeadError::BadTransferEncoding),
        ("Transfer-Encoding: gzip, chunked", HeadError::UnknownTransferEncoding),
        ("Transfer-Encoding: chunked, identity", HeadError::UnknownTransferEncoding),
        ("Transfer-Encoding: xchunked", HeadError::UnknownTransferEncoding),
        ("Transfer-Encoding: \"chunked\"", HeadError::UnknownTransferEncoding),
        ("Transfer-Encoding:", HeadError::UnknownTransferEncoding),
    ] {
        assert_eq!(scan(format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n")), Err(error), "{fields:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(scan(old), Err(HeadError::BadTransferEncoding));
}

#[test]
fn limits_hold_before_the_line_is_complete() {
    let line = |length: usize| format!("GET /{}", "a".repeat(length - 5));
    assert_eq!(scan(line(64)), Ok(None));
    assert_eq!(scan(line(65)), Err(HeadError::RequestLineTooLong));
    let field = |length: usize| format!("GET / HTTP/1.1\r\nA:{}", "b".repeat(length - 2));
    assert_eq!(scan(field(64)), Ok(None));
    assert_eq!(scan(field(65)), Err(HeadError::HeaderLineTooLong));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(count - 1));
    assert!(matches!(scan(fields(4)), Ok(Some(_))));
    assert_eq!(scan(fields(5)), Err(HeadError::TooManyFields));
    let large = format!("GET / HTTP/1.1\r\n{}", format!("A: {}\r\n", "b".repeat(60)).repeat(4));
    assert_eq!(scan(large), Err(HeadError::HeadTooLarge));
    assert_eq!(scan("\r\n".repeat(129)), Err(HeadError::HeadTooLarge));
}

#[test]
fn statuses_are_those_of_the_standard() {
    for (error, status) in [
        (HeadError::RequestLineTooLong, 414),
        (HeadError::HeaderLineTooLong, 431),
        (HeadError::TooManyFields, 431),
        (HeadError::BadMethod, 405),
        (HeadError::BadVersion, 505),
        (HeadError::UnknownTransferEncoding, 501),
        (HeadError::BareLineEnd, 400),
    ] {
        assert_eq!(error.status().as_u16(), status);
    }
}

proptest! {
    #[test]
    fn pieces_change_nothing(bytes in "(GET|POST) /[a-z#]{0,3} HTTP/1.[01]\r?\n(Host: x|[A-Z :\t\r\n]{0,9}\r\n){0,3}\r?\n?.{0,9}") {
        let bytes = bytes.as_bytes();
        let whole = scan(bytes);
        let mut scanner = HeadScanner::new(LIMITS);
        let pieces = (1..=bytes.len()).find_map(|end| scanner.scan(&bytes[..end]).transpose()).transpose();
        prop_assert_eq!(pieces, whole);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = scan(bytes);
    }
}
