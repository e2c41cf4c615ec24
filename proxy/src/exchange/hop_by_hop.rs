//! Hop-by-hop fields: what belongs to one connection and is not forwarded (RFC 9110, section 7.6.1).

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SERVER, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use smallvec::SmallVec;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What is removed of requests, with `Connection` and the fields that it names.
static OF_REQUESTS: [HeaderName; 10] = [
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HTTP2_SETTINGS,
    EXPECT,
];

/// What is removed of responses.
static OF_RESPONSES: [HeaderName; 4] = [KEEP_ALIVE, PROXY_CONNECTION, TE, UPGRADE];

/// The protocol that a request asks to switch to, if that is forwarded: any but HTTP itself, which would let requests
/// past this proxy.
pub(crate) fn upgrade(head: &http::request::Parts) -> Option<&HeaderValue> {
    if head.version != Version::HTTP_11 {
        return None;
    }
    let value = head.headers.get(UPGRADE)?;
    let tokens = || value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let names_http = tokens().any(|token| {
        let name = token.split(|byte| *byte == b'/').next().unwrap_or_default();
        name.eq_ignore_ascii_case(b"h2c") || name.eq_ignore_ascii_case(b"http") || name.eq_ignore_ascii_case(b"h2")
    });
    (!names_http && tokens().any(|token| !token.is_empty())).then_some(value)
}

/// Takes out of a request's head what the endpoint must not see. `upgrade` is what [`upgrade`] said of the client's
/// head, or `None` when the endpoint speaks HTTP/2. `te` is kept on HTTP/2 as far as gRPC needs it.
pub(crate) fn clean_request(headers: &mut HeaderMap, upgrade: Option<HeaderValue>, http2: bool) {
    remove_nominated(headers);
    let trailers = http2 && headers.get(TE).is_some_and(|te| contains_token(te.as_bytes(), b"trailers"));
    remove_listed(headers, &OF_REQUESTS);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    keep_one_length(headers);
    if !http2 {
        join_cookies(headers);
    }
}

/// Takes out of a request's head the fields whose names have an underscore. Programs that read fields as variables take
/// `X_Real_IP` for `X-Real-IP`, so that a client could say what only this proxy may (nginx `underscores_in_headers`).
pub(crate) fn drop_underscores(headers: &mut HeaderMap) {
    let dropped: SmallVec<[HeaderName; 2]> =
        headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}

/// Takes out of a response's head what the client must not see. The framing field stays: it is the engine's.
pub(crate) fn clean_response(head: &mut http::response::Parts) {
    let headers = &mut head.headers;
    let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
    if switched {
        headers.remove(KEEP_ALIVE);
        headers.remove(PROXY_CONNECTION);
    } else {
        let framing = headers.get(TRANSFER_ENCODING).cloned();
        remove_nominated(headers);
        remove_listed(headers, &OF_RESPONSES);
        if let Some(framing) = framing {
            headers.insert(TRANSFER_ENCODING, framing);
        }
    }
    headers.remove(SERVER);
}

/// Removes the fields of these names. Heads have few fields, and seldom one of these: to compare each is cheaper than to
/// look each of these up, which hashes it.
fn remove_listed(headers: &mut HeaderMap, names: &[HeaderName]) {
    let found: SmallVec<[HeaderName; 2]> = headers.keys().filter(|name| names.contains(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Removes `Connection` and the fields that it names.
fn remove_nominated(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    let nominated: SmallVec<[HeaderName; 2]> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| !is_end_to_end(name))
        .collect();
    headers.remove(CONNECTION);
    for name in nominated {
        headers.remove(name);
    }
}

/// Fields that no `Connection` can take away: routing, framing and identity depend on them.
fn is_end_to_end(name: &HeaderName) -> bool {
    matches!(name.as_str(), "host" | "content-length" | "content-type" | "authorization" | "cookie")
        || name.as_str().starts_with("x-forwarded-")
}

/// Several equal `Content-Length`s, which were accepted, become one.
fn keep_one_length(headers: &mut HeaderMap) {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(first), Some(_)) = (lengths.next(), lengths.next()) {
        let first = first.clone();
        headers.insert(CONTENT_LENGTH, first);
    }
}

/// HTTP/2 clients may send every cookie in a field of its own; on HTTP/1.1 there is one (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut fields = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    if let (Some(first), Some(second)) = (fields.next(), fields.next()) {
        let joined = fields.fold([first, second].join(&b"; "[..]), |joined, field| [&joined, field].join(&b"; "[..]));
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            headers.insert(COOKIE, joined);
        }
    }
}

fn contains_token(value: &[u8], token: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &'static str)]) -> http::request::Parts {
        let mut builder = http::Request::builder();
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn cleaned(fields: &[(&'static str, &'static str)], http2: bool) -> Vec<(String, String)> {
        let mut head = request(fields);
        let protocol = upgrade(&head).cloned().filter(|_| !http2);
        clean_request(&mut head.headers, protocol, http2);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let mut left: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        left.sort();
        left
    }

    #[test]
    fn fields_of_the_connection_and_those_it_names_are_removed() {
        let left =
            cleaned(&[("connection", "close, X-Private"), ("x-private", "1"), ("te", "trailers"), ("a", "b")], false);
        assert_eq!(left, [("a".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn connection_cannot_take_away_what_others_rely_on() {
        let left = cleaned(&[("connection", "x-forwarded-for, host"), ("host", "h"), ("x-forwarded-for", "1")], false);
        assert_eq!(left.len(), 2);
    }

    #[test]
    fn a_websocket_upgrade_is_forwarded_but_not_one_to_http() {
        let left = cleaned(&[("connection", "Upgrade"), ("upgrade", "websocket")], false);
        let expected = [("connection", "upgrade"), ("upgrade", "websocket")];
        assert_eq!(left, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for protocol in ["h2c", "H2C, websocket", "HTTP/2.0"] {
            assert_eq!(cleaned(&[("connection", "upgrade"), ("upgrade", protocol)], false), []);
        }
    }

    #[test]
    fn trailers_stay_announced_on_http2() {
        assert_eq!(cleaned(&[("te", "trailers")], true), [("te".to_owned(), "trailers".to_owned())]);
        assert_eq!(cleaned(&[("te", "gzip")], true), []);
    }

    #[test]
    fn cookies_become_one_field_on_http1_only() {
        let cookies = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
        assert_eq!(cleaned(&cookies, false), [("cookie".to_owned(), "a=1; b=2; c=3".to_owned())]);
        assert_eq!(cleaned(&cookies, true).len(), 3);
    }

    #[test]
    fn names_with_an_underscore_are_dropped() {
        let mut head = request(&[("x_real_ip", "1"), ("x-real-ip", "2"), ("_", "3")]);
        drop_underscores(&mut head.headers);
        assert_eq!(head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-real-ip"]);
    }

    #[test]
    fn equal_lengths_become_one() {
        assert_eq!(cleaned(&[("content-length", "3"), ("content-length", "3")], false).len(), 1);
    }

    #[test]
    fn a_response_loses_its_connection_fields_and_server_but_keeps_its_framing() {
        let builder = http::Response::builder().header("connection", "keep-alive, x-hop").header("x-hop", "1");
        let builder =
            builder.header("keep-alive", "timeout=5").header("server", "s").header("transfer-encoding", "chunked");
        let mut head = builder.body(()).unwrap().into_parts().0;
        clean_response(&mut head);
        assert_eq!(head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["transfer-encoding"]);
    }

    #[test]
    fn a_switch_of_protocols_keeps_its_fields() {
        let builder =
            http::Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        let mut head = builder.body(()).unwrap().into_parts().0;
        clean_response(&mut head);
        assert_eq!(head.headers.len(), 2);
    }
}
