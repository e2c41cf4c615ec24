//! Redirect: answers with a `Location` instead of forwarding.

use std::ops::ControlFlow;

use genkan_routing::policy::redirect::{Redirect, RedirectTarget, Scheme, UrlChange};
use http::{HeaderValue, StatusCode};

use super::{rewrite, url};
use crate::exchange::context::RequestContext;
use crate::reply::Reply;

/// A [`Redirect`], its `Location` built where it does not depend on the request.
#[derive(Debug)]
pub(super) struct CompiledRedirect {
    status: StatusCode,
    to: To,
}

#[derive(Debug)]
enum To {
    Fixed(HeaderValue),
    /// `/path`: made absolute with the connection's scheme and the request's host (nginx `absolute_redirect`).
    Absolute(String),
    /// `//host/path`: gets the connection's scheme.
    SchemeRelative(String),
    Path(String),
    Url(UrlChange),
    /// The text is no header value: the rule fails closed.
    Broken,
}

impl CompiledRedirect {
    pub(super) fn new(redirect: &Redirect) -> Self {
        let to = match &redirect.to {
            RedirectTarget::Verbatim(text) if text.starts_with("//") => To::SchemeRelative(text.clone()),
            RedirectTarget::Verbatim(text) if text.starts_with('/') => To::Absolute(text.clone()),
            RedirectTarget::Verbatim(text) => url::location(text).map_or(To::Broken, To::Fixed),
            RedirectTarget::Path(path) => To::Path(path.clone()),
            RedirectTarget::Url(change) => To::Url(change.clone()),
        };
        Self { status: StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND), to }
    }

    /// Answers every request.
    pub(super) fn request(&self, ctx: &RequestContext<'_>) -> ControlFlow<Reply> {
        let connection = if ctx.tls { Scheme::Https } else { Scheme::Http };
        let location = match &self.to {
            To::Fixed(location) => Some(location.clone()),
            To::Absolute(path) => url::location(&url::absolute(connection, ctx.host, None, path)),
            To::SchemeRelative(rest) => url::location(&format!("{}:{rest}", connection.as_str())),
            To::Path(path) => {
                let (host, port) = url::split_authority(ctx.authority);
                url::location(&url::absolute(ctx.scheme, host, port, path))
            }
            To::Url(change) => url::location(&changed(ctx, change)),
            To::Broken => None,
        };
        ControlFlow::Break(match location {
            Some(location) => Reply::redirect(ctx, self.status, location),
            None => Reply::refuse(ctx, StatusCode::INTERNAL_SERVER_ERROR),
        })
    }
}

/// The request's URL with its parts replaced (Gateway API `HTTPRequestRedirectFilter`).
fn changed(ctx: &RequestContext<'_>, change: &UrlChange) -> String {
    let scheme = change.scheme.unwrap_or(ctx.scheme);
    let (own_host, _) = url::split_authority(ctx.authority);
    let host = change.hostname.as_ref().map_or(own_host, |name| name.as_str());
    // An explicit scheme brings its own port, which is then left out; otherwise the port stays the listener's.
    let port = change.port.or(if change.scheme.is_some() { None } else { Some(ctx.port) });
    match &change.path {
        Some(path) => url::absolute(scheme, host, port, &rewrite::target(ctx, path)),
        None => url::absolute(scheme, host, port, url::raw_target(ctx)),
    }
}

#[cfg(test)]
mod tests {
    use genkan_routing::name::Hostname;
    use genkan_routing::policy::rewrite::PathRewrite;

    use super::*;
    use crate::filters::testing::Request;

    fn location(request: &Request, to: RedirectTarget) -> String {
        let redirect = CompiledRedirect::new(&Redirect { status: 301, to });
        match request.with(|ctx| redirect.request(ctx)) {
            ControlFlow::Break(reply) => {
                assert_eq!(reply.status, 301);
                reply.headers["location"].to_str().unwrap().to_owned()
            }
            ControlFlow::Continue(()) => panic!("a redirect answers every request"),
        }
    }

    fn verbatim(text: &str) -> RedirectTarget {
        RedirectTarget::Verbatim(text.to_owned())
    }

    #[test]
    fn a_verbatim_location_is_absolute() {
        let request = Request::get("/x?y").authority("example.com:8080");
        assert_eq!(location(&request, verbatim("https://a.b/c?d#e")), "https://a.b/c?d#e");
        assert_eq!(location(&request, verbatim("/c?d")), "http://example.com/c?d");
        assert_eq!(location(&request.clone().tls(), verbatim("/c")), "https://example.com/c");
        assert_eq!(location(&request, verbatim("//a.b/c")), "http://a.b/c");
    }

    #[test]
    fn a_location_that_no_header_may_carry_is_500() {
        let redirect = CompiledRedirect::new(&Redirect { status: 301, to: verbatim("https://a.b/\nx: y") });
        let ControlFlow::Break(reply) = Request::get("/").with(|ctx| redirect.request(ctx)) else { panic!() };
        assert_eq!(reply.status, 500);
        assert!(!reply.headers.contains_key("location"));
    }

    #[test]
    fn an_app_root_stays_at_the_clients_scheme_host_and_port() {
        let to = || RedirectTarget::Path("/app".to_owned());
        let request = Request::get("/?q=1").authority("example.com:8080");
        assert_eq!(location(&request, to()), "http://example.com:8080/app");
        assert_eq!(location(&Request::get("/").seen(Scheme::Https, 443), to()), "https://example.com/app");
        assert_eq!(location(&Request::get("/").authority("[::1]:81"), to()), "http://[::1]:81/app");
    }

    #[test]
    fn url_parts_follow_the_gateway_api() {
        let base = UrlChange::default;
        let host = |name: &str| Some(Hostname::parse(name).unwrap());
        let on = |port: u16, scheme: Scheme| Request::get("/a/b?q=1").prefix("/a").seen(scheme, port);
        for (request, change, expected) in [
            (on(80, Scheme::Http), UrlChange { hostname: host("x.y"), ..base() }, "http://x.y/a/b?q=1"),
            (on(8080, Scheme::Http), UrlChange { hostname: host("x.y"), ..base() }, "http://x.y:8080/a/b?q=1"),
            (on(8443, Scheme::Https), base(), "https://example.com:8443/a/b?q=1"),
            (
                on(8080, Scheme::Http),
                UrlChange { scheme: Some(Scheme::Https), ..base() },
                "https://example.com/a/b?q=1",
            ),
            (on(443, Scheme::Https), UrlChange { scheme: Some(Scheme::Http), ..base() }, "http://example.com/a/b?q=1"),
            (on(80, Scheme::Http), UrlChange { port: Some(8081), ..base() }, "http://example.com:8081/a/b?q=1"),
            (
                on(80, Scheme::Http),
                UrlChange { scheme: Some(Scheme::Https), port: Some(443), ..base() },
                "https://example.com/a/b?q=1",
            ),
            (
                on(80, Scheme::Http),
                UrlChange { path: Some(PathRewrite::Prefix("/c".to_owned())), ..base() },
                "http://example.com/c/b?q=1",
            ),
            (
                on(80, Scheme::Http),
                UrlChange { path: Some(PathRewrite::Full("/c".to_owned())), ..base() },
                "http://example.com/c?q=1",
            ),
        ] {
            assert_eq!(location(&request, RedirectTarget::Url(change.clone())), expected, "{change:?}");
        }
    }
}
