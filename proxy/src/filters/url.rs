//! URLs that Genkan writes into `Location`: authorities split and joined, IPv6 literals right.

use std::borrow::Cow;
use std::fmt::Write;

use genkan_routing::policy::redirect::Scheme;
use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

use super::rewrite::push_encoded;
use crate::exchange::context::RequestContext;

/// The host (an IPv6 literal with its brackets) and the port of a `Host` field.
pub(super) fn split_authority(authority: &str) -> (&str, Option<u16>) {
    // The port's colon comes after the bracket that ends an IPv6 literal.
    let end = authority.rfind(']').map_or(0, |at| at + 1);
    let rest = authority.get(end..).unwrap_or_default();
    match rest.rfind(':') {
        Some(colon) => {
            let (host, port) = authority.split_at(end + colon);
            (host, port.get(1..).and_then(|digits| digits.parse().ok()))
        }
        None => (authority, None),
    }
}

/// `scheme://host[:port]`, then `rest`. A bare IPv6 literal gets brackets; the scheme's own port is left out.
pub(super) fn absolute(scheme: Scheme, host: &str, port: Option<u16>, rest: &str) -> String {
    let mut url = String::with_capacity(16 + host.len() + rest.len());
    url.push_str(scheme.as_str());
    url.push_str("://");
    if host.contains(':') && !host.starts_with('[') {
        // Writing to a String cannot fail.
        let _ = write!(url, "[{host}]");
    } else {
        url.push_str(host);
    }
    if let Some(port) = port.filter(|port| *port != scheme.default_port()) {
        let _ = write!(url, ":{port}");
    }
    url.push_str(rest);
    url
}

/// The path and query as the client sent them; `/` for `OPTIONS *` and an absolute form without a path.
pub(super) fn raw_target<'a>(ctx: &RequestContext<'a>) -> &'a str {
    let target = ctx.head.uri.path_and_query().map_or("/", |target| target.as_str());
    if target.starts_with('/') { target } else { "/" }
}

/// The path that was routed, and the query. A path that can be written in several ways is written in the way in which
/// it was compared, so that nobody reads `/public/../admin` as a part of `/public`.
pub(super) fn routed_target<'a>(ctx: &RequestContext<'a>) -> Cow<'a, str> {
    /// What is not itself in a path (RFC 3986, section 3.3).
    const OTHERS: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~')
        .remove(b'!')
        .remove(b'$')
        .remove(b'&')
        .remove(b'\'')
        .remove(b'(')
        .remove(b')')
        .remove(b'*')
        .remove(b'+')
        .remove(b',')
        .remove(b';')
        .remove(b'=')
        .remove(b':')
        .remove(b'@');
    if ctx.head.uri.path() == ctx.path {
        return raw_target(ctx).into();
    }
    let mut target = String::with_capacity(ctx.path.len() + 16);
    push_encoded(ctx.path, OTHERS, &mut target);
    if let Some(query) = ctx.head.uri.query() {
        target.push('?');
        target.push_str(query);
    }
    target.into()
}

/// A `Location`. `None` for text that no header field may carry.
pub(super) fn location(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_split_at_the_ports_colon() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            ("example.com:8080", "example.com", Some(8080)),
            ("[2001:db8::1]", "[2001:db8::1]", None),
            ("[2001:db8::1]:8443", "[2001:db8::1]", Some(8443)),
            ("example.com:", "example.com", None),
            ("", "", None),
        ] {
            assert_eq!(split_authority(text), (host, port), "{text}");
        }
    }

    #[test]
    fn the_schemes_own_port_is_left_out_and_ipv6_gets_brackets() {
        assert_eq!(absolute(Scheme::Https, "a.b", Some(443), "/x"), "https://a.b/x");
        assert_eq!(absolute(Scheme::Https, "a.b", Some(80), "/x"), "https://a.b:80/x");
        assert_eq!(absolute(Scheme::Http, "2001:db8::1", Some(81), ""), "http://[2001:db8::1]:81");
        assert_eq!(absolute(Scheme::Http, "[2001:db8::1]", None, "/"), "http://[2001:db8::1]/");
    }
}
