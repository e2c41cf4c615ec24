//! Forwarded: what is believed about the client: its address, scheme, host and port.
//!
//! ```text
//!  TCP peer --PROXY header--> peer --trusted? X-Forwarded-For, from the right--> client
//!  connection's TLS ---------------trusted? X-Forwarded-Proto ----------------> scheme
//!  Host, :authority ---------------trusted? X-Forwarded-Host -----------------> authority
//!  listener's public port ---------trusted? X-Forwarded-Port -----------------> port
//! ```

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use genkan_routing::policy::forwarded::Forwarded;
use genkan_routing::policy::redirect::Scheme;
use http::header::HOST;
use http::{HeaderMap, HeaderName};

use super::ip_access::covers;
use crate::connection::ConnectionInfo;

/// What is believed about a request's client; feeds the fields of the same names of
/// [`RequestContext`](crate::exchange::context::RequestContext).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Believed<'a> {
    /// The client's address.
    pub(crate) client: IpAddr,
    /// Who opened the connection: what a PROXY header announced, else the TCP peer.
    pub(crate) peer: IpAddr,
    /// The scheme as the client sees it.
    pub(crate) scheme: Scheme,
    /// The host as the client sees it, with its port if it wrote one; empty when it named none.
    pub(crate) authority: &'a str,
    /// The port as the client sees it.
    pub(crate) port: u16,
}

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Decides what is believed about the client of a request.
pub(crate) fn believe<'a>(
    settings: &Forwarded,
    connection: &ConnectionInfo,
    head: &'a http::request::Parts,
) -> Believed<'a> {
    let peer = connection.client().ip().to_canonical();
    let own_scheme = if connection.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let mut believed = Believed {
        client: peer,
        peer,
        scheme: own_scheme,
        authority: own_authority(head),
        port: connection.public_port,
    };
    let trusted = (settings.use_forwarded_headers || settings.enable_real_ip) && covers(&settings.trusted, peer);
    if trusted {
        believed.client = walk(&head.headers, &settings.forwarded_for_header, settings, peer);
    }
    if trusted && settings.use_forwarded_headers {
        believe_url(&mut believed, &head.headers);
    }
    // A proxy in front that ended TLS on 443 says so only by the port (ingress-nginx).
    if own_scheme == Scheme::Http && connection.proxied.is_some_and(|(_, destination)| destination.port() == 443) {
        believed.scheme = Scheme::Https;
        believed.port = 443;
    }
    believed
}

/// The host that the request itself names, with its port: the target's authority before `Host` (RFC 9112, 3.2.2).
pub(crate) fn own_authority(head: &http::request::Parts) -> &str {
    match head.uri.authority() {
        Some(authority) => authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host),
        None => head.headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default(),
    }
}

/// The request's id: the client's `X-Request-ID`, else 32 hexadecimal digits of two random numbers, or nothing when
/// ids are not to be made.
pub(crate) fn request_id<'h>(
    settings: &Forwarded,
    headers: &'h HeaderMap,
    mut random: impl FnMut() -> u64,
) -> Cow<'h, str> {
    match first(headers, &HeaderName::from_static("x-request-id"), None) {
        Some(id) => Cow::Borrowed(id),
        None if settings.generate_request_id => Cow::Owned(digits([random(), random()])),
        None => Cow::Borrowed(""),
    }
}

/// Two numbers as 32 hexadecimal digits. Made for nearly every request, which the formatter is too general for.
fn digits(numbers: [u64; 2]) -> String {
    let nibbles = numbers.into_iter().flat_map(|number| (0..16).rev().map(move |place| number >> (4 * place)));
    nibbles.map(|nibble| char::from(b"0123456789abcdef"[(nibble & 15) as usize])).collect()
}

/// Scheme, host and port of a trusted proxy.
fn believe_url<'a>(believed: &mut Believed<'a>, headers: &'a HeaderMap) {
    let scheme = first(headers, &X_FORWARDED_PROTO, Some(',')).and_then(|text| match text {
        _ if text.eq_ignore_ascii_case("https") || text.eq_ignore_ascii_case("wss") => Some(Scheme::Https),
        _ if text.eq_ignore_ascii_case("http") || text.eq_ignore_ascii_case("ws") => Some(Scheme::Http),
        _ => None,
    });
    if let Some(scheme) = scheme {
        believed.scheme = scheme;
    }
    if let Some(host) = first(headers, &X_FORWARDED_HOST, Some(',')) {
        believed.authority = host;
    }
    if let Some(port) = first(headers, &X_FORWARDED_PORT, Some(',')).and_then(|text| text.parse().ok()) {
        believed.port = port;
    }
}

/// The first field of the name, or its first item; never empty.
fn first<'h>(headers: &'h HeaderMap, name: &HeaderName, separator: Option<char>) -> Option<&'h str> {
    let text = headers.get(name)?.to_str().ok()?;
    let item = separator.and_then(|separator| text.split(separator).next()).unwrap_or(text).trim();
    (!item.is_empty()).then_some(item)
}

/// Walks the addresses that proxies noted, from the nearest: the first that is not trusted is the client. When all are
/// trusted it is the farthest; a text that is no address ends the walk (nginx `real_ip_recursive`).
fn walk(headers: &HeaderMap, name: &HeaderName, settings: &Forwarded, peer: IpAddr) -> IpAddr {
    let mut client = peer;
    // Fields are in order of arrival, so the nearest proxy's note is last.
    let mut fields = headers.get_all(name).iter();
    while let Some(field) = fields.next_back() {
        for note in field.as_bytes().rsplit(|byte| *byte == b',') {
            let Some(address) = std::str::from_utf8(note).ok().and_then(|text| parse_address(text.trim())) else {
                return client;
            };
            client = address;
            if !covers(&settings.trusted, client) {
                return client;
            }
        }
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(bare)
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicU32;

    use genkan_routing::name::ListenerId;
    use proptest::prelude::*;

    use super::*;
    use crate::connection::{Phase, TlsInfo};

    fn connection(peer: &str, proxied: Option<(&str, &str)>, tls: bool) -> ConnectionInfo {
        ConnectionInfo {
            id: 1,
            listener: ListenerId::new("http"),
            public_port: if tls { 443 } else { 80 },
            peer: peer.parse().unwrap(),
            local: "127.0.0.1:8080".parse().unwrap(),
            proxied: proxied.map(|(source, destination)| (source.parse().unwrap(), destination.parse().unwrap())),
            tls: tls.then_some(TlsInfo { server_name: None, version: "TLSv1.3", cipher: "TLS13_AES_256_GCM_SHA384" }),
            requests: AtomicU32::new(0),
            phase: Phase::default(),
            client_text: OnceLock::new(),
        }
    }

    fn head(fields: &[(&str, &str)]) -> http::request::Parts {
        let request = fields.iter().fold(http::Request::builder().uri("/"), |builder, (n, v)| builder.header(*n, *v));
        request.body(()).unwrap().into_parts().0
    }

    fn trusting(cidrs: &[&str]) -> Forwarded {
        Forwarded {
            use_forwarded_headers: true,
            trusted: cidrs.iter().map(|text| text.parse().unwrap()).collect(),
            ..Forwarded::default()
        }
    }

    fn client(settings: &Forwarded, peer: &str, chain: &str) -> String {
        let head = head(&[("x-forwarded-for", chain)]);
        believe(settings, &connection(peer, None, false), &head).client.to_string()
    }

    #[test]
    fn nothing_is_believed_by_default() {
        let head = head(&[
            ("host", "a.b:8080"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "444"),
        ]);
        let believed = believe(&Forwarded::default(), &connection("192.0.2.1:5", None, false), &head);
        let peer = "192.0.2.1".parse().unwrap();
        let expected = Believed { client: peer, peer, scheme: Scheme::Http, authority: "a.b:8080", port: 80 };
        assert_eq!(believed, expected);
    }

    #[test]
    fn a_trusted_peer_is_believed_about_everything() {
        let head = head(&[
            ("host", "a.b"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "HTTPS, http"),
            ("x-forwarded-host", "c.d:444, e.f"),
            ("x-forwarded-port", "444"),
        ]);
        let believed = believe(&trusting(&["0.0.0.0/0"]), &connection("192.0.2.1:5", None, false), &head);
        let expected = Believed {
            client: "1.2.3.4".parse().unwrap(),
            peer: "192.0.2.1".parse().unwrap(),
            scheme: Scheme::Https,
            authority: "c.d:444",
            port: 444,
        };
        assert_eq!(believed, expected);
    }

    #[test]
    fn an_untrusted_peer_is_not_believed() {
        let head = head(&[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "x")]);
        let believed = believe(&trusting(&["10.0.0.0/8"]), &connection("192.0.2.1:5", None, false), &head);
        assert_eq!((believed.client.to_string().as_str(), believed.scheme), ("192.0.2.1", Scheme::Http));
        assert_eq!(believed.authority, "");
    }

    #[test]
    fn real_ip_alone_believes_only_the_address() {
        let settings = Forwarded { enable_real_ip: true, ..Forwarded::default() };
        let head = head(&[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")]);
        let believed = believe(&settings, &connection("192.0.2.1:5", None, false), &head);
        assert_eq!((believed.client.to_string().as_str(), believed.scheme), ("1.2.3.4", Scheme::Http));
    }

    #[test]
    fn the_client_is_the_nearest_address_that_is_not_trusted() {
        let settings = trusting(&["10.0.0.0/8", "2001:db8::/32"]);
        for (chain, expected) in [
            ("1.1.1.1, 2.2.2.2, 10.0.0.2", "2.2.2.2"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("1.1.1.1, rubbish, 10.0.0.2", "10.0.0.2"),
            ("rubbish", "10.0.0.1"),
            ("", "10.0.0.1"),
            ("1.1.1.1:80, [2001:db8::1]:443", "1.1.1.1"),
            ("2003::1, [2001:db8::1]", "2003::1"),
            ("::ffff:1.1.1.1", "1.1.1.1"),
        ] {
            assert_eq!(client(&settings, "10.0.0.1:5", chain), expected, "{chain}");
        }
    }

    #[test]
    fn several_fields_are_one_list() {
        let head = head(&[("x-forwarded-for", "1.1.1.1, 2.2.2.2"), ("x-forwarded-for", "10.0.0.2")]);
        let believed = believe(&trusting(&["10.0.0.0/8"]), &connection("10.0.0.1:5", None, false), &head);
        assert_eq!(believed.client.to_string(), "2.2.2.2");
    }

    #[test]
    fn the_source_of_a_proxy_header_is_judged_instead_of_the_tcp_peer() {
        let head = head(&[("x-forwarded-for", "1.2.3.4")]);
        let through = |source| connection("10.0.0.1:5", Some((source, "203.0.113.1:80")), false);
        let settings = trusting(&["10.0.0.0/8"]);
        assert_eq!(believe(&settings, &through("192.0.2.9:7"), &head).client.to_string(), "192.0.2.9");
        assert_eq!(believe(&settings, &through("10.9.9.9:7"), &head).client.to_string(), "1.2.3.4");
    }

    #[test]
    fn a_proxied_destination_port_of_443_means_https() {
        let connection = connection("10.0.0.1:5", Some(("192.0.2.9:7", "203.0.113.1:443")), false);
        let head = head(&[]);
        let believed = believe(&Forwarded::default(), &connection, &head);
        assert_eq!((believed.scheme, believed.port), (Scheme::Https, 443));
    }

    #[test]
    fn the_targets_authority_comes_before_the_host_field() {
        let request = http::Request::builder().uri("http://user@a.b:81/").header("host", "c.d").body(()).unwrap();
        assert_eq!(own_authority(&request.into_parts().0), "a.b:81");
    }

    #[test]
    fn request_ids_are_the_clients_or_32_digits() {
        let settings = Forwarded::default();
        assert_eq!(request_id(&settings, &head(&[("x-request-id", "abc")]).headers, || 1), "abc");
        let made = request_id(&settings, &head(&[("x-request-id", "")]).headers, || 10).into_owned();
        assert_eq!(made, "000000000000000a000000000000000a");
        let none = Forwarded { generate_request_id: false, ..settings };
        assert_eq!(request_id(&none, &head(&[]).headers, || 1), "");
    }

    proptest! {
        #[test]
        fn the_walk_ends_at_the_first_untrusted_address(chain in prop::collection::vec((any::<bool>(), 0u8..=255), 0..8)) {
            let address = |(trusted, n): &(bool, u8)| format!("{}.0.0.{n}", if *trusted { 10 } else { 11 });
            let text = chain.iter().map(address).collect::<Vec<_>>().join(",");
            let nearest = chain.iter().rev().find(|(trusted, _)| !trusted).or(chain.first()).map(address);
            let expected = nearest.unwrap_or_else(|| "10.0.0.1".to_owned());
            prop_assert_eq!(client(&trusting(&["10.0.0.0/8"]), "10.0.0.1:5", &text), expected);
        }

        #[test]
        fn no_text_makes_the_walk_fail(text in "[ -~]{0,60}") {
            let found = client(&trusting(&["0.0.0.0/0", "::/0"]), "10.0.0.1:5", &text);
            prop_assert!(found.parse::<IpAddr>().is_ok());
        }
    }
}
