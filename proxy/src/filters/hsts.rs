//! HSTS: `Strict-Transport-Security` (RFC 6797, section 7.2: only over secure transport).

use genkan_routing::policy::hsts::Hsts;
use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderMap, HeaderValue};

use crate::exchange::context::RequestContext;

/// The header's value.
pub(super) fn value(hsts: &Hsts) -> HeaderValue {
    let subdomains = if hsts.include_subdomains { "; includeSubDomains" } else { "" };
    let preload = if hsts.preload { "; preload" } else { "" };
    HeaderValue::from_str(&format!("max-age={}{subdomains}{preload}", hsts.max_age))
        .unwrap_or(HeaderValue::from_static("max-age=31536000"))
}

/// Replaces the backend's header, when the connection itself is TLS: behind a proxy that ends TLS, it is that proxy's
/// to promise.
pub(super) fn response(ctx: &RequestContext<'_>, value: &HeaderValue, headers: &mut HeaderMap) {
    if ctx.tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::testing::Request;

    #[test]
    fn the_value_has_the_parts_that_are_on() {
        assert_eq!(value(&Hsts::default()), "max-age=31536000; includeSubDomains");
        let hsts = Hsts { max_age: 5, include_subdomains: false, preload: true };
        assert_eq!(value(&hsts), "max-age=5; preload");
    }

    #[test]
    fn only_tls_connections_carry_it_and_the_backends_is_replaced() {
        let value = value(&Hsts::default());
        for (request, expected) in
            [(Request::get("/").tls(), "max-age=31536000; includeSubDomains"), (Request::get("/"), "max-age=0")]
        {
            let mut headers = HeaderMap::new();
            headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=0"));
            request.with(|ctx| response(ctx, &value, &mut headers));
            assert_eq!(headers[STRICT_TRANSPORT_SECURITY], expected);
        }
    }
}
