//! Header fields that decide about a request: lists with weights, cookies, forwarded addresses.
//!
//! The input is lines: the address of the peer, a name, then header fields.
//!
//! - Weights are thousandths, names come from the field.
//! - A cookie's value stands behind its name in a `Cookie` field.
//! - The client is the peer unless the peer is trusted, and then an address that the fields name; no address is believed
//!   that an untrusted one reported.
#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use genkan_proxy::fuzzing::{believed_client, cookie, weighted_items};
use genkan_routing::policy::forwarded::Forwarded;
use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;

static TRUSTING: LazyLock<Forwarded> = LazyLock::new(|| Forwarded {
    use_forwarded_headers: true,
    trusted: ["10.0.0.0/8", "2001:db8::/32"].map(|range| range.parse().expect("a range")).into(),
    ..Forwarded::default()
});

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default();
    let (peer, name) = (text().parse().unwrap_or(IpAddr::from([10, 0, 0, 1])), text());
    let head = head(lines);
    for value in head.headers.values() {
        check_weights(value.as_bytes());
    }
    check_cookie(&head, name);
    check_client(&head, peer.to_canonical());
});

fn head<'i>(fields: impl Iterator<Item = &'i [u8]>) -> Parts {
    let mut request = Request::new(());
    for field in fields.take(100) {
        let mut parts = field.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    request.into_parts().0
}

fn check_weights(field: &[u8]) {
    let text = String::from_utf8_lossy(field).to_ascii_lowercase();
    for (name, weight) in weighted_items(field) {
        assert!(weight <= 1000, "{text:?}: {weight}");
        assert!(!name.is_empty() && text.contains(&name.to_ascii_lowercase()), "{text:?}: {name:?}");
    }
}

fn check_cookie(head: &Parts, name: &str) {
    let Some(value) = cookie(&head.headers, name) else { return };
    let pair = [name.as_bytes(), b"=", value].concat();
    let mut fields = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    assert!(fields.any(|field| field.windows(pair.len()).any(|window| window == pair)), "{name:?}: {value:?}");
    assert!(!value.contains(&b';'), "{value:?} is more than one cookie's");
}

fn check_client(head: &Parts, peer: IpAddr) {
    assert_eq!(believed_client(&Forwarded::default(), peer, head), peer, "believed without being asked to");
    let trusted = |address: IpAddr| TRUSTING.trusted.iter().any(|range| range.contains(&address));
    let client = believed_client(&TRUSTING, peer, head);
    if !trusted(peer) {
        assert_eq!(client, peer, "an untrusted peer is believed");
        return;
    }
    // The definition: from the nearest to the farthest, through trusted ones only, up to what is no address.
    let fields = head.headers.get_all(&TRUSTING.forwarded_for_header).iter().map(HeaderValue::as_bytes);
    let notes: Vec<&[u8]> = fields.flat_map(|field| field.split(|byte| *byte == b',')).collect();
    let addresses = notes.iter().rev().map_while(|note| address(note));
    let mut expected = peer;
    for address in addresses {
        expected = address;
        if !trusted(address) {
            break;
        }
    }
    assert_eq!(client, expected, "{notes:?}");
}

/// An address, with a port or brackets around it if need be.
fn address(note: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(note).ok()?.trim();
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip()).ok();
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(with_port).or_else(in_brackets).map(|address: IpAddr| address.to_canonical())
}
