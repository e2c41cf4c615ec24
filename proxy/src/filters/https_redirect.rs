//! HTTPS redirect: sends requests that came by `http` to the same URL with `https`.

use std::ops::ControlFlow;

use genkan_routing::policy::redirect::{HttpsRedirect, Scheme};
use http::StatusCode;

use super::url;
use crate::exchange::context::RequestContext;
use crate::reply::Reply;

/// An [`HttpsRedirect`] with its status checked.
#[derive(Debug)]
pub(super) struct CompiledHttpsRedirect {
    status: StatusCode,
    preserve_trailing_slash: bool,
    port: Option<u16>,
}

impl CompiledHttpsRedirect {
    pub(super) fn new(redirect: &HttpsRedirect) -> Self {
        Self {
            status: StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::PERMANENT_REDIRECT),
            preserve_trailing_slash: redirect.preserve_trailing_slash,
            port: redirect.port,
        }
    }

    /// Answers requests whose scheme, as the client sees it, is `http`.
    pub(super) fn request(&self, ctx: &RequestContext<'_>) -> ControlFlow<Reply> {
        if ctx.scheme == Scheme::Https {
            return ControlFlow::Continue(());
        }
        let (host, _) = url::split_authority(ctx.authority);
        let mut target = url::raw_target(ctx);
        if !self.preserve_trailing_slash {
            // As ingress-nginx: one slash at the very end, be it of the path or of the query.
            target = target.strip_suffix('/').unwrap_or(target);
        }
        let location = url::absolute(Scheme::Https, host, self.port, target);
        ControlFlow::Break(match url::location(&location) {
            Some(location) => Reply::redirect(ctx, self.status, location),
            None => Reply::refuse(ctx, StatusCode::BAD_REQUEST),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::testing::Request;

    fn location(request: &Request, redirect: &HttpsRedirect) -> Option<String> {
        match request.with(|ctx| CompiledHttpsRedirect::new(redirect).request(ctx)) {
            ControlFlow::Break(reply) => {
                assert_eq!(reply.status, redirect.status);
                Some(reply.headers["location"].to_str().unwrap().to_owned())
            }
            ControlFlow::Continue(()) => None,
        }
    }

    const REDIRECT: HttpsRedirect = HttpsRedirect { status: 308, preserve_trailing_slash: false, port: None };

    #[test]
    fn exactly_one_final_slash_is_cut() {
        for (target, expected) in [
            ("/", "https://example.com"),
            ("/a/", "https://example.com/a"),
            ("/a//", "https://example.com/a/"),
            ("/a/?x=1", "https://example.com/a/?x=1"),
            ("/a?x=/", "https://example.com/a?x="),
            ("/%2F%20", "https://example.com/%2F%20"),
        ] {
            assert_eq!(location(&Request::get(target), &REDIRECT).as_deref(), Some(expected), "{target}");
        }
    }

    #[test]
    fn the_final_slash_stays_when_asked_for() {
        let redirect = HttpsRedirect { status: 301, preserve_trailing_slash: true, port: None };
        assert_eq!(location(&Request::get("/a/"), &redirect).as_deref(), Some("https://example.com/a/"));
    }

    #[test]
    fn the_requests_port_is_dropped_and_the_configured_one_written() {
        let request = Request::get("/a").authority("example.com:8080");
        assert_eq!(location(&request, &REDIRECT).as_deref(), Some("https://example.com/a"));
        let redirect = HttpsRedirect { port: Some(8443), ..REDIRECT };
        assert_eq!(location(&request, &redirect).as_deref(), Some("https://example.com:8443/a"));
    }

    #[test]
    fn ipv6_literals_keep_their_brackets() {
        let request = Request::get("/a").authority("[2001:db8::1]:80");
        assert_eq!(location(&request, &REDIRECT).as_deref(), Some("https://[2001:db8::1]/a"));
    }

    #[test]
    fn https_as_the_client_sees_it_is_left_alone() {
        assert_eq!(location(&Request::get("/").tls(), &REDIRECT), None);
        assert_eq!(location(&Request::get("/").seen(Scheme::Https, 443), &REDIRECT), None);
    }
}
