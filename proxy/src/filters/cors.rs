//! CORS: answers preflights and marks responses (Fetch standard, section 3.2), as ingress-nginx or Gateway API does.

use std::ops::ControlFlow;

use bytes::Bytes;
use genkan_routing::policy::cors::{Cors, CorsList, CorsOrigin, CorsOrigins, Preflights};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    CONTENT_TYPE, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::vary;
use crate::exchange::context::RequestContext;
use crate::reply::Reply;

/// [`Cors`] with its header values built.
#[derive(Debug)]
pub(super) struct CompiledCors {
    origins: CorsOrigins,
    preflights: Preflights,
    /// Every header but the origin.
    fields: [(HeaderName, Field); 5],
}

/// What a response has under a name.
#[derive(Debug)]
enum Field {
    /// Nothing, whatever the backend says.
    Nothing,
    /// This value.
    Value(HeaderValue),
    /// What the request has under this name.
    Requested(&'static str),
}

impl Field {
    fn text(text: Option<&str>) -> Self {
        let value = text.filter(|text| !text.is_empty()).and_then(|text| HeaderValue::from_str(text).ok());
        value.map_or(Self::Nothing, Self::Value)
    }

    fn list(list: &CorsList, requested: &'static str) -> Self {
        match list {
            CorsList::Requested => Self::Requested(requested),
            CorsList::These(text) => Self::text(Some(text)),
        }
    }
}

impl CompiledCors {
    pub(super) fn new(cors: &Cors) -> Self {
        let methods = Field::list(&cors.methods, "access-control-request-method");
        let headers = Field::list(&cors.headers, "access-control-request-headers");
        Self {
            origins: cors.origins.clone(),
            preflights: cors.preflights,
            fields: [
                (ACCESS_CONTROL_ALLOW_CREDENTIALS, Field::text(cors.credentials.then_some("true"))),
                (ACCESS_CONTROL_ALLOW_METHODS, methods),
                (ACCESS_CONTROL_ALLOW_HEADERS, headers),
                (ACCESS_CONTROL_EXPOSE_HEADERS, Field::text(cors.expose_headers.as_deref())),
                (ACCESS_CONTROL_MAX_AGE, Field::Value(HeaderValue::from(cors.max_age))),
            ],
        }
    }

    /// Answers preflights, as far as that is decided here.
    pub(super) fn request(&self, ctx: &RequestContext<'_>) -> ControlFlow<Reply> {
        let nginx = self.preflights == Preflights::OfAllowedOrigins;
        let asked = |name| ctx.head.headers.contains_key(name);
        // Fetch standard, section 4.8: a preflight says who asks for which method.
        let is_preflight = nginx || asked(ORIGIN) && asked(ACCESS_CONTROL_REQUEST_METHOD);
        if ctx.head.method != Method::OPTIONS || !is_preflight {
            return ControlFlow::Continue(());
        }
        match (self.allowed(ctx), nginx) {
            (None, true) => return ControlFlow::Continue(()),
            (None, false) => return ControlFlow::Break(Reply::refuse(ctx, StatusCode::FORBIDDEN)),
            (Some(_), _) => {}
        }
        let mut headers = HeaderMap::new();
        if nginx {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain charset=UTF-8"));
        }
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
        for (name, field) in &self.fields {
            let value = match field {
                Field::Nothing => None,
                Field::Value(value) => Some(value.clone()),
                // Only a preflight asks; elsewhere a cache would keep what one client wrote for all.
                Field::Requested(asked) if ctx.head.method == Method::OPTIONS => {
                    vary::add(headers, asked);
                    requested(ctx, asked)
                }
                Field::Requested(_) => None,
            };
            match value {
                Some(value) => headers.insert(name, value),
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

/// What a preflight asks for under a name: a list of methods or of field names, which are both tokens (RFC 9110, section
/// 5.6.2). Anything else is not repeated.
fn requested(ctx: &RequestContext<'_>, name: &str) -> Option<HeaderValue> {
    let value = ctx.head.headers.get(name)?;
    let mut tokens = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tokens.all(|token| Method::from_bytes(token).is_ok()).then(|| value.clone())
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
            methods: CorsList::These("GET, PUT".to_owned()),
            headers: CorsList::These("DNT,Authorization".to_owned()),
            expose_headers: None,
            credentials: true,
            max_age: 1_728_000,
            preflights: Preflights::OfAllowedOrigins,
        }
    }

    /// As Gateway API's filter with `*` for methods and headers.
    fn gateway(origins: CorsOrigins) -> Cors {
        Cors {
            methods: CorsList::Requested,
            headers: CorsList::Requested,
            preflights: Preflights::All,
            ..cors(origins)
        }
    }

    /// The answer to a preflight, if it is answered.
    fn preflight(cors: &Cors, origin: &str, fields: &[(&'static str, &str)]) -> Option<Reply> {
        let request = Request::new(Method::OPTIONS, "/").header("origin", origin);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(name, value));
        request.with(|ctx| CompiledCors::new(cors).request(ctx)).break_value()
    }

    const METHOD: (&str, &str) = ("access-control-request-method", "PATCH");
    const HEADERS: (&str, &str) = ("access-control-request-headers", "x-one, X-Two");

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

    #[test]
    fn of_gateway_api_every_preflight_is_answered_but_no_other_request() {
        let refused = preflight(&gateway(list()), "https://evil", &[METHOD]).unwrap();
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert!(!refused.headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(preflight(&gateway(list()), "https://a.example", &[METHOD]).unwrap().status, StatusCode::NO_CONTENT);
        assert!(preflight(&gateway(list()), "https://a.example", &[]).is_none(), "an OPTIONS that asks for no method");
        let get = Request::get("/").header("origin", "https://evil").header(METHOD.0, METHOD.1);
        assert!(get.with(|ctx| CompiledCors::new(&gateway(list())).request(ctx)).is_continue());
    }

    #[test]
    fn what_is_asked_for_is_repeated_where_anything_is_allowed() {
        let reply = preflight(&gateway(list()), "https://a.example", &[METHOD, HEADERS]).unwrap();
        assert_eq!(reply.headers[ACCESS_CONTROL_ALLOW_METHODS], "PATCH");
        assert_eq!(reply.headers[ACCESS_CONTROL_ALLOW_HEADERS], "x-one, X-Two");
        let vary: Vec<_> = reply.headers.get_all(VARY).iter().collect();
        assert_eq!(vary, ["origin", "access-control-request-method", "access-control-request-headers"]);
        let bare = preflight(&gateway(list()), "https://a.example", &[METHOD]).unwrap();
        assert!(!bare.headers.contains_key(ACCESS_CONTROL_ALLOW_HEADERS));
        let odd = preflight(&gateway(list()), "https://a.example", &[METHOD, (HEADERS.0, "x-one, <script>")]).unwrap();
        assert!(!odd.headers.contains_key(ACCESS_CONTROL_ALLOW_HEADERS));
        // No other request is answered with what its client wrote.
        let get = Request::get("/").header("origin", "https://a.example").header(HEADERS.0, HEADERS.1);
        let headers = response(&gateway(list()), &get, &[(ACCESS_CONTROL_ALLOW_HEADERS, "own")]);
        assert!(
            headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) && !headers.contains_key(ACCESS_CONTROL_ALLOW_HEADERS)
        );
    }

    #[test]
    fn a_list_is_the_answer_whatever_is_asked_for() {
        let settings = Cors { methods: CorsList::These("PUT".to_owned()), ..gateway(CorsOrigins::All) };
        let settings = Cors { headers: CorsList::These(String::new()), credentials: false, ..settings };
        let reply = preflight(&settings, "https://any.example:8443", &[METHOD, HEADERS]).unwrap();
        assert_eq!(reply.headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(reply.headers[ACCESS_CONTROL_ALLOW_METHODS], "PUT");
        assert!(!reply.headers.contains_key(ACCESS_CONTROL_ALLOW_HEADERS));
        assert!(!reply.headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }
}
