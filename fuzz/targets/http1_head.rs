//! HTTP/1 heads and chunked bodies, as a listener checks them before anything else sees them.
//!
//! The first byte says in how large pieces the rest arrives.
//!
//! - In pieces or at once, the answer is the same.
//! - What is accepted, another parser reads to the same end: one `Host` in HTTP/1.1, one length or one `chunked`.
//! - The chunks that pass, decoded by their definition, end where the scanner says.
#![no_main]

use genkan_proxy::fuzzing::{AcceptedHead, MAX_HEAD, pass_body, scan_head};
use libfuzzer_sys::fuzz_target;

/// More than are accepted.
const MAX_FIELDS: usize = 64;

fuzz_target!(|input: &[u8]| {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let piece = usize::from(piece).max(1);
    let whole = scan_head(bytes, usize::MAX);
    // Over several limits at once, how the bytes arrive decides which of them is told.
    let refused = |_| ();
    assert_eq!(scan_head(bytes, piece).map_err(refused), whole.clone().map_err(refused), "in pieces of {piece}");
    check_chunks(bytes, piece);
    if let Ok(Some(head)) = whole {
        check_head(&bytes[head.start..head.end], head);
        let body = &bytes[head.end..];
        let passed = check_body(head.body, body, piece);
        if let Some(length) = head.body {
            let there = body.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            assert_eq!(passed, Ok((there, there as u64 == length)));
        }
    }
    // One more line may be on its way.
    assert!(whole != Ok(None) || bytes.len() < 2 * MAX_HEAD, "a head without end");
});

fn check_head(bytes: &[u8], head: AcceptedHead) {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = request.parse(bytes).unwrap_or_else(|error| panic!("accepted, and refused elsewhere: {error}"));
    assert_eq!(length, httparse::Status::Complete(bytes.len()), "another end");
    let values = |name: &str| -> Vec<&[u8]> {
        let named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect()
    };
    let hosts = values("host").len();
    assert!(hosts == 1 || (hosts == 0 && request.version == Some(0)), "{hosts} Host fields");
    let expected = match (&*values("content-length"), &*values("transfer-encoding")) {
        ([], []) => Some(0),
        ([length], []) => Some(number(length)),
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => None,
        (lengths, codings) => panic!("accepted with {lengths:?} and {codings:?}"),
    };
    assert_eq!(head.body, expected);
}

fn number(digits: &[u8]) -> u64 {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).expect("an accepted length is a number")
}

fn check_body(length: Option<u64>, bytes: &[u8], piece: usize) -> Result<(usize, bool), String> {
    let whole = pass_body(length, bytes, usize::MAX);
    assert_eq!(pass_body(length, bytes, piece), whole, "in pieces of {piece}");
    whole
}

fn check_chunks(bytes: &[u8], piece: usize) {
    if let Ok((passed, true)) = check_body(None, bytes, piece) {
        assert_eq!(decode(&bytes[..passed]), Some(&[][..]), "the chunks end elsewhere");
    }
}

/// What is left behind a chunked body (RFC 9112, section 7.1); `None` when there is no body.
fn decode(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let httparse::Status::Complete((start, size)) = httparse::parse_chunk_size(bytes).ok()? else { return None };
        bytes = &bytes[start..];
        if size == 0 {
            break;
        }
        bytes = bytes.get(usize::try_from(size).ok()?..)?.strip_prefix(b"\r\n")?;
    }
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        bytes = &bytes[end + 2..];
        if end == 0 {
            return Some(bytes);
        }
    }
}
