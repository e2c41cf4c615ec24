//! CORS: answers preflights and marks responses (Fetch standard, section 3.2), as ingress-nginx does.

use std::ops::ControlFlow;

use bytes::Bytes;
use genkan_routing::policy::cors::{Cors, CorsOrigin, CorsOrigins};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CONTENT_TYPE, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::vary;
use crate::exchange::context::RequestContext;
use crate::reply::Reply;

/// [`Cors`] with its header values built.
#[derive(Debug)]
pub(super) struct CompiledCors {
    origins: CorsOrigins,
    /// Every header but the origin; `None` removes the backend's.
    fields: [(HeaderName, Option<HeaderValue>); 5],
}

impl CompiledCors {
    pub(super) fn new(cors: &Cors) -> Self {
        let text = |text: &str| HeaderValue::from_str(text).ok();
        let credentials = cors.credentials.then(|| HeaderValue::from_static("true"));
        Self {
            origins: cors.origins.clone(),
            fields: [
                (ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials),
                (ACCESS_CONTROL_ALLOW_METHODS, text(&cors.methods)),
                (ACCESS_CONTROL_ALLOW_HEADERS, text(&cors.headers)),
                (ACCESS_CONTROL_EXPOSE_HEADERS, cors.expose_headers.as_deref().and_then(text)),
                (ACCESS_CONTROL_MAX_AGE, Some(HeaderValue::from(cors.max_age))),
            ],
        }
    }

    /// Answers the preflight of an allowed origin. That of another goes to the backend.
    pub(super) fn request(&self, ctx: &RequestContext<'_>) -> ControlFlow<Reply> {
        if ctx.head.method != Method::OPTIONS || self.allowed(ctx).is_none() {
            return ControlFlow::Continue(());
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain charset=UTF-8"));
        self.response(ctx, &mut headers);
        ControlFlow::Break(Reply { status: StatusCode::NO_CONTENT, headers, body: Bytes::new() })
    }

    /// Replaces the CORS headers of a response to an allowed origin; leaves those to others alone.
    pub(super) fn response(&self, ctx: &RequestContext<'_>, headers: &mut HeaderMap) {
        if matches!(self.origins, CorsOrigins::List(_)) {
            vary::add(headers, "origin");
        }
        let Some(origin) = self.allowed(ctx) else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        for (name, value) in &self.fields {
            match value {
                Some(value) => headers.insert(name, value.clone()),
                None => headers.remove(name),
            };
        }
    }

    /// The value of `Access-Control-Allow-Origin`, if the request's origin is allowed.
    fn allowed(&self, ctx: &RequestContext<'_>) -> Option<HeaderValue> {
        let CorsOrigins::List(origins) = &self.origins else { return Some(HeaderValue::from_static("*")) };
        let value = ctx.head.headers.get(ORIGIN)?;
        let origin = value.to_str().ok()?;
        let allowed = origins.iter().any(|allowed| match allowed {
            CorsOrigin::Exact(name) => name.eq_ignore_ascii_case(origin),
            CorsOrigin::Wildcard(pattern) => pattern.regex().is_match(origin),
        });
        allowed.then(|| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use genkan_routing::policy::pattern::Pattern;
    use http::header::VARY;

    use super::*;
    use crate::filters::testing::Request;

    fn cors(origins: CorsOrigins) -> Cors {
        Cors {
            origins,
            methods: "GET, PUT".to_owned(),
            headers: "DNT,Authorization".to_owned(),
            expose_headers: None,
            credentials: true,
            max_age: 1_728_000,
        }
    }

    fn list() -> CorsOrigins {
        CorsOrigins::List(vec![
            CorsOrigin::Exact("https://a.example".to_owned()),
            CorsOrigin::Exact("null".to_owned()),
            CorsOrigin::Wildcard(Pattern::full(r"https://[^.]+\.b\.example").unwrap()),
        ])
    }

    fn response(cors: &Cors, request: &Request, backend: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in backend {
            headers.append(name, value.parse().unwrap());
        }
        request.with(|ctx| CompiledCors::new(cors).response(ctx, &mut headers));
        headers
    }

    #[test]
    fn a_preflight_of_an_allowed_origin_is_204() {
        let request = Request::new(Method::OPTIONS, "/").header("origin", "https://x.b.example");
        let flow = request.with(|ctx| CompiledCors::new(&cors(list())).request(ctx));
        let reply = flow.break_value().unwrap();
        assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0));
        for (name, value) in [
            ("content-type", "text/plain charset=UTF-8"),
            ("access-control-allow-origin", "https://x.b.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "DNT,Authorization"),
            ("access-control-max-age", "1728000"),
            ("vary", "origin"),
        ] {
            assert_eq!(reply.headers[name], value, "{name}");
        }
    }

    #[test]
    fn a_preflight_of_another_origin_goes_to_the_backend() {
        for origin in ["https://b.example", "https://x.y.b.example", "https://evil"] {
            let request = Request::new(Method::OPTIONS, "/").header("origin", origin);
            assert!(request.with(|ctx| CompiledCors::new(&cors(list())).request(ctx)).is_continue(), "{origin}");
        }
        let bare = Request::new(Method::OPTIONS, "/");
        assert!(bare.with(|ctx| CompiledCors::new(&cors(list())).request(ctx)).is_continue());
        assert!(bare.with(|ctx| CompiledCors::new(&cors(CorsOrigins::All)).request(ctx)).is_break());
    }

    #[test]
    fn the_backends_headers_are_replaced_for_allowed_origins_only() {
        let backend = [(ACCESS_CONTROL_ALLOW_ORIGIN, "https://own"), (ACCESS_CONTROL_EXPOSE_HEADERS, "own")];
        let allowed = response(&cors(list()), &Request::get("/").header("origin", "HTTPS://A.example"), &backend);
        assert_eq!(allowed[ACCESS_CONTROL_ALLOW_ORIGIN], "HTTPS://A.example");
        assert!(!allowed.contains_key(ACCESS_CONTROL_EXPOSE_HEADERS));
        let other = response(&cors(list()), &Request::get("/").header("origin", "https://evil"), &backend);
        assert_eq!(other[ACCESS_CONTROL_ALLOW_ORIGIN], "https://own");
        assert_eq!(other[ACCESS_CONTROL_EXPOSE_HEADERS], "own");
        assert_eq!(other[VARY], "origin");
    }

    #[test]
    fn everyone_is_a_literal_star_also_without_an_origin() {
        let mut settings = cors(CorsOrigins::All);
        settings.credentials = false;
        settings.expose_headers = Some("X-A, X-B".to_owned());
        let headers = response(&settings, &Request::get("/"), &[(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true")]);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(headers[ACCESS_CONTROL_EXPOSE_HEADERS], "X-A, X-B");
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
        assert!(!headers.contains_key(VARY));
    }
}
