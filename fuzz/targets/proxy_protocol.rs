//! PROXY headers of both versions.
//!
//! - What is decided of a beginning stays decided, whatever follows, and never needs more than a header may have.
//! - A header is as long as it says, and not longer than what was there.
//! - Written anew in version 1, the addresses are the same.
#![no_main]

use std::net::SocketAddr;

use genkan_proxy::fuzzing::proxy_header;
use libfuzzer_sys::fuzz_target;

/// No header is longer, of either version.
const MAX_HEADER: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    let whole = proxy_header(bytes);
    let mut decided = None;
    for (end, _) in bytes.iter().enumerate().take(MAX_HEADER + 1) {
        let part = proxy_header(&bytes[..end]);
        if part != Ok(None) {
            decided = Some(end);
            assert_eq!(part, whole, "decided after {end} bytes");
        } else {
            assert!(decided.is_none(), "undecided again after {end} bytes");
            assert!(end < MAX_HEADER, "undecided after {end} bytes");
        }
    }
    if let Ok(Some((length, addresses))) = whole {
        assert!(length <= bytes.len());
        assert_eq!(proxy_header(&bytes[..length]), whole, "the header has other bytes than it says");
        assert_ne!(proxy_header(&bytes[..length - 1]), whole, "the header needs fewer bytes than it says");
        if let Some(addresses) = addresses {
            check_addresses(addresses);
        }
    }
});

fn check_addresses((source, destination): (SocketAddr, SocketAddr)) {
    if source.is_ipv4() != destination.is_ipv4() {
        return; // One is IPv4 written as IPv6, which version 1 has no way to say.
    }
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    let text = format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port());
    let expected = (text.len(), Some((source, destination)));
    assert_eq!(proxy_header(text.as_bytes()), Ok(Some(expected)), "{text:?}");
}
