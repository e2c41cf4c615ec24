//! Upstream headers: what the backend is told about the client and its request, as ingress-nginx tells it.
//!
//! Fields of the client's under these names are replaced, so a backend may believe them.

use genkan_routing::policy::forwarded::Forwarded;
use http::header::{Entry, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::connection::address_text;
use crate::exchange::context::RequestContext;

const PROXY: HeaderName = HeaderName::from_static("proxy");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const X_ORIGINAL_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-original-forwarded-for");
const X_ORIGINAL_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-original-forwarded-host");
pub(super) const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");

/// The most fields that are added, `Host` aside.
const FIELDS: usize = 12;

/// Sets the fields on a copy of the client's header. `host` is the `Host` that a rewrite chose; without one the backend
/// sees the host as the client does.
pub(super) fn apply(
    ctx: &RequestContext<'_>,
    settings: &Forwarded,
    host: Option<&HeaderValue>,
    headers: &mut HeaderMap,
) {
    // Once for all of them, instead of growing twice on the way.
    headers.reserve(FIELDS);
    let incoming_for = joined(headers, &settings.forwarded_for_header);
    let incoming_host = joined(headers, &X_FORWARDED_HOST);
    let mut hosts = headers.get_all(HOST).iter();
    let own = match (hosts.next(), hosts.next()) {
        (Some(own), None) if own == ctx.authority => Some(own.clone()),
        _ => None,
    };
    let keeps_host = host.is_none() && own.is_some();
    let authority = own.or_else(|| HeaderValue::from_str(ctx.authority).ok());
    let client = Some(ctx.client_text.cloned().unwrap_or_else(|| address_text(ctx.client)));
    let scheme = HeaderValue::from_static(ctx.scheme.as_str());

    let full = settings.use_forwarded_headers && settings.compute_full_forwarded_for;
    let forwarded_for = if full { chain(headers, ctx) } else { client.clone() };
    if settings.original_uri_header {
        let uri = ctx.head.uri.path_and_query().map_or("/", |target| target.as_str());
        set(headers, X_ORIGINAL_URI, text(uri));
    }
    if !keeps_host {
        set(headers, HOST, host.cloned().or_else(|| authority.clone()));
    }
    set(headers, X_REQUEST_ID, text(ctx.request_id));
    set(headers, X_REAL_IP, client);
    set(headers, X_FORWARDED_FOR, forwarded_for);
    set(headers, X_FORWARDED_HOST, authority);
    set(headers, X_FORWARDED_PORT, Some(port(ctx.port)));
    set(headers, X_FORWARDED_PROTO, Some(scheme.clone()));
    set(headers, X_FORWARDED_SCHEME, Some(scheme.clone()));
    set(headers, X_SCHEME, Some(scheme));
    set(headers, X_ORIGINAL_FORWARDED_FOR, incoming_for);
    set(headers, X_ORIGINAL_FORWARDED_HOST, incoming_host);
    // Programs under CGI take it for HTTP_PROXY.
    headers.remove(PROXY);
}

/// The incoming `X-Forwarded-For` with the peer at its end.
fn chain(headers: &HeaderMap, ctx: &RequestContext<'_>) -> Option<HeaderValue> {
    let peer = ctx.peer.to_canonical();
    match joined(headers, &X_FORWARDED_FOR) {
        Some(incoming) => {
            let mut bytes = incoming.as_bytes().to_vec();
            bytes.extend_from_slice(format!(", {peer}").as_bytes());
            HeaderValue::from_bytes(&bytes).ok()
        }
        None => text(&peer.to_string()),
    }
}

fn port(port: u16) -> HeaderValue {
    match port {
        80 => HeaderValue::from_static("80"),
        443 => HeaderValue::from_static("443"),
        other => HeaderValue::from(other),
    }
}

/// A value; `None` for empty text, which is not sent, and for bytes that no field may have.
fn text(text: &str) -> Option<HeaderValue> {
    if text.is_empty() { None } else { HeaderValue::from_str(text).ok() }
}

/// All fields of a name as one; `None` when there is none or it is empty.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let mut rest = values.peekable();
    if rest.peek().is_none() {
        return (!first.is_empty()).then(|| first.clone());
    }
    let all: Vec<_> = std::iter::once(first).chain(rest).map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&all.join(&b", "[..])).ok()
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match (headers.entry(name), value) {
        (Entry::Occupied(mut entry), Some(value)) => {
            entry.insert(value);
        }
        (Entry::Vacant(entry), Some(value)) => {
            entry.insert(value);
        }
        (Entry::Occupied(entry), None) => {
            entry.remove_entry_mult();
        }
        (Entry::Vacant(_), None) => {}
    }
}

#[cfg(test)]
mod tests {
    use genkan_routing::policy::redirect::Scheme;

    use super::*;
    use crate::filters::testing::Request;

    fn applied(request: &Request, settings: &Forwarded, host: Option<&str>) -> HeaderMap {
        let host = host.map(|host| HeaderValue::from_str(host).unwrap());
        request.with(|ctx| {
            let mut headers = ctx.head.headers.clone();
            apply(ctx, settings, host.as_ref(), &mut headers);
            headers
        })
    }

    /// `name: value` lines, sorted.
    fn lines(headers: &HeaderMap) -> Vec<String> {
        let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn the_backend_gets_the_whole_set_and_no_claim_of_the_client() {
        let forged = ["x-forwarded-port", "x-forwarded-proto", "x-forwarded-scheme", "x-scheme", "x-real-ip", "proxy"];
        let request = Request::get("/a?b").header("host", "example.com:8080").authority("example.com:8080");
        let request = request.header("x-forwarded-for", "6.6.6.6").header("x-forwarded-for", "7.7.7.7");
        let request = request.header("x-forwarded-host", "evil").header("x-custom", "stays");
        let request = forged.iter().fold(request, |request, name| request.header(name, "forged").header(name, "twice"));
        assert_eq!(
            lines(&applied(&request, &Forwarded::default(), None)),
            [
                "host: example.com:8080",
                "x-custom: stays",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: example.com:8080",
                "x-forwarded-port: 80",
                "x-forwarded-proto: http",
                "x-forwarded-scheme: http",
                "x-original-forwarded-for: 6.6.6.6, 7.7.7.7",
                "x-original-forwarded-host: evil",
                "x-real-ip: 192.0.2.1",
                "x-request-id: 0123456789abcdef0123456789abcdef",
                "x-scheme: http",
            ]
        );
    }

    #[test]
    fn believed_values_are_passed_on() {
        let request = Request::get("/").seen(Scheme::Https, 8443).client("1.2.3.4").authority("shop.example");
        let headers = applied(&request, &Forwarded::default(), Some("inner"));
        assert_eq!(headers["host"], "inner");
        assert_eq!(headers["x-forwarded-host"], "shop.example");
        assert_eq!(headers["x-forwarded-port"], "8443");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-scheme"], "https");
        assert_eq!(headers["x-real-ip"], "1.2.3.4");
        assert_eq!(headers["x-forwarded-for"], "1.2.3.4");
    }

    #[test]
    fn a_full_chain_ends_with_the_peer() {
        let settings =
            Forwarded { use_forwarded_headers: true, compute_full_forwarded_for: true, ..Forwarded::default() };
        let request = Request::get("/").client("1.2.3.4").peer("10.0.0.1");
        assert_eq!(applied(&request, &settings, None)["x-forwarded-for"], "10.0.0.1");
        let request = request.header("x-forwarded-for", "1.2.3.4").header("x-forwarded-for", "5.6.7.8");
        assert_eq!(applied(&request, &settings, None)["x-forwarded-for"], "1.2.3.4, 5.6.7.8, 10.0.0.1");
        let untrusting = Forwarded { use_forwarded_headers: false, ..settings };
        assert_eq!(applied(&request, &untrusting, None)["x-forwarded-for"], "1.2.3.4");
    }

    #[test]
    fn empty_values_are_not_sent() {
        let request = Request::get("/").header("x-forwarded-for", "").header("x-original-forwarded-for", "forged");
        let headers = applied(&request, &Forwarded::default(), None);
        assert!(!headers.contains_key("x-original-forwarded-for"));
        assert!(!headers.contains_key("x-original-forwarded-host"));
        assert!(!headers.contains_key("x-original-uri"));
    }

    #[test]
    fn the_original_uri_is_the_clients_own() {
        let settings = Forwarded { original_uri_header: true, ..Forwarded::default() };
        let request = Request::get("/a%20b?c=d").header("x-original-uri", "/forged");
        assert_eq!(applied(&request, &settings, None)["x-original-uri"], "/a%20b?c=d");
    }
}
