//! Filters: one small pure decision each, in the order of [`Stage`](genkan_routing::model::Stage).
//!
//! ```text
//!  Rule.filters --compile--> Compiled (in the table)       Runtime (outlives swaps): limiter zones
//!                               |                              |
//!   request(ctx, rule) ---------+--> refuse: Reply             |
//!                               +--> Admitted: rewritten target, Host, body limit, limiter guards
//!   upstream_head(...)  what the backend sees
//!   response(...)       what the client sees, on backends' responses and on our own replies
//! ```
//!
//! This module owns the order of work and refuses to know sockets, pingora and the clock.

pub(crate) mod basic_auth;
pub(crate) mod body_limit;
pub(crate) mod canary;
pub(crate) mod compression;
pub(crate) mod connection_limit;
mod cors;
mod deny;
pub(crate) mod external_auth;
pub(crate) mod forwarded;
mod headers;
mod hsts;
mod https_redirect;
mod ip_access;
mod rate_limit;
mod redirect;
mod rewrite;
pub(crate) mod upstream_headers;
mod url;
mod vary;
pub(crate) mod weighted;

#[cfg(test)]
pub(crate) mod testing;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use genkan_routing::model::{Filter, Stage};
use genkan_routing::policy::body_limit::BodyLimit;
use genkan_routing::policy::compression::Compression;
use genkan_routing::policy::external_auth::ExternalAuth;
use genkan_routing::policy::forwarded::Forwarded;
use genkan_routing::policy::headers::HeaderOps;
use genkan_routing::policy::ip_access::IpAccess;
use genkan_routing::policy::mirror::Mirror;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, StatusCode};
use smallvec::SmallVec;

use self::basic_auth::CompiledBasicAuth;
use self::compression::Encoder;
use self::connection_limit::{ConnectionGuard, ConnectionLimiter};
use self::cors::CompiledCors;
use self::rate_limit::RateLimiter;
use self::redirect::CompiledRedirect;
use self::rewrite::CompiledRewrite;
use crate::exchange::context::RequestContext;
use crate::reply::Reply;

/// The filters of a rule or of one of its backends, ready to act: header values are built, limiter zones looked up.
///
/// Made once when a table is built; immutable.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    /// Sorted by [`Step::stage`]. Empty for most rules, which then pay for one test of a length.
    steps: Box<[(Stage, Step)]>,
}

/// Filter state that outlives a swap of tables: the zones of limiters, kept while their settings stay equal.
#[derive(Debug, Default)]
pub(crate) struct Runtime {
    rate: rate_limit::Zones,
    connections: connection_limit::Zones,
}

/// What request filters decided about a request that may pass. Keep it until the response is complete: it holds the
/// client's places in connection limits.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    /// The path and query that the backend sees; `None` is the client's own, byte for byte.
    pub(crate) target: Option<PathAndQuery>,
    /// The `Host` that the backend sees; `None` is the client's own.
    pub(crate) host: Option<HeaderValue>,
    /// The most bytes that the request's body may have, also when no length was announced.
    pub(crate) body_limit: Option<u64>,
    /// What the backend is told about the client, or not told, by those who were asked.
    pub(crate) identity: HeaderOps,
    /// What they tell the client.
    pub(crate) response: HeaderOps,
    /// Places in connection limits, given back on drop.
    pub(crate) guards: SmallVec<[ConnectionGuard; 1]>,
}

/// What asks somebody else about a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Authentication<'a> {
    /// The client, for a password.
    Basic(&'a Arc<CompiledBasicAuth>),
    /// A service.
    External(&'a Arc<ExternalAuth>),
}

/// One compiled filter. The variants are the declared list of filters, in the order in which they act.
#[derive(Debug)]
enum Step {
    BodyLimit(BodyLimit),
    Cors(Box<CompiledCors>),
    Redirect(CompiledRedirect),
    Deny(StatusCode),
    HttpsRedirect(https_redirect::CompiledHttpsRedirect),
    RateLimit(Arc<RateLimiter>),
    ConnectionLimit(Arc<ConnectionLimiter>),
    IpAccess(Arc<IpAccess>),
    BasicAuth(Arc<CompiledBasicAuth>),
    ExternalAuth(Arc<ExternalAuth>),
    Rewrite(CompiledRewrite),
    RequestHeaders(HeaderOps),
    Mirror(Arc<Mirror>),
    ResponseHeaders(HeaderOps),
    Hsts(HeaderValue),
    Compression(Arc<Compression>),
}

impl Step {
    fn new(filter: &Filter, runtime: &Runtime) -> Self {
        match filter {
            Filter::BodyLimit(limit) => Self::BodyLimit(*limit),
            Filter::Cors(cors) => Self::Cors(Box::new(CompiledCors::new(cors))),
            Filter::Redirect(redirect) => Self::Redirect(CompiledRedirect::new(redirect)),
            Filter::Deny(deny) => Self::Deny(deny::status(deny)),
            Filter::HttpsRedirect(redirect) => {
                Self::HttpsRedirect(https_redirect::CompiledHttpsRedirect::new(redirect))
            }
            Filter::RateLimit(limit) => Self::RateLimit(runtime.rate.limiter(limit)),
            Filter::ConnectionLimit(limit) => Self::ConnectionLimit(runtime.connections.limiter(limit)),
            Filter::IpAccess(access) => Self::IpAccess(Arc::clone(access)),
            Filter::BasicAuth(auth) => Self::BasicAuth(Arc::new(CompiledBasicAuth::new(auth))),
            Filter::ExternalAuth(auth) => Self::ExternalAuth(Arc::clone(auth)),
            Filter::Rewrite(rewrite) => Self::Rewrite(CompiledRewrite::new(rewrite)),
            Filter::RequestHeaders(ops) => Self::RequestHeaders(ops.clone()),
            Filter::Mirror(mirror) => Self::Mirror(Arc::clone(mirror)),
            Filter::ResponseHeaders(ops) => Self::ResponseHeaders(ops.clone()),
            Filter::Hsts(hsts) => Self::Hsts(hsts::value(hsts)),
            Filter::Compression(compression) => Self::Compression(Arc::clone(compression)),
        }
    }
}

impl Compiled {
    /// Compiles the filters of a rule or of a backend. Limiters with equal settings keep their state in `runtime`.
    pub(crate) fn new(filters: &[Filter], runtime: &Runtime) -> Self {
        let mut steps: Vec<_> = filters.iter().map(|filter| (filter.stage(), Step::new(filter, runtime))).collect();
        steps.sort_by_key(|(stage, _)| *stage);
        Self { steps: steps.into() }
    }

    /// Whether nothing is done, so that a caller may skip its own preparations.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Runtime {
    /// Frees the limiter zones that no table uses any more.
    pub(crate) fn evict_zones(&self) {
        self.rate.evict_zones();
        self.connections.evict();
    }

    /// The same, and frees the clients that were idle long enough to be as new: a look at each, while requests of its zone
    /// wait.
    pub(crate) fn evict(&self, now: Instant) {
        self.evict_zones();
        self.rate.evict(now);
    }
}

/// Asks the request filters of `filters` in their order. The first that answers ends the request with its reply; what
/// the others decide is gathered in `admitted`. Call it for the rule, then for the chosen backend with the same
/// `admitted`.
pub(crate) fn request(ctx: &RequestContext<'_>, filters: &Compiled, admitted: &mut Admitted) -> ControlFlow<Reply> {
    for (_, step) in &filters.steps {
        match step {
            Step::BodyLimit(limit) => {
                body_limit::request(ctx, *limit)?;
                admitted.body_limit = Some(limit.0);
            }
            Step::Cors(cors) => cors.request(ctx)?,
            Step::Redirect(redirect) => redirect.request(ctx)?,
            Step::Deny(status) => return ControlFlow::Break(Reply::refuse(ctx, *status)),
            Step::HttpsRedirect(redirect) => redirect.request(ctx)?,
            Step::RateLimit(limiter) => limiter.request(ctx)?,
            Step::ConnectionLimit(limiter) => admitted.guards.extend(limiter.request(ctx)?),
            Step::IpAccess(access) => ip_access::request(ctx, access)?,
            Step::Rewrite(rewrite) => rewrite.request(ctx, admitted),
            // They take time: see `authentication`.
            Step::BasicAuth(_) | Step::ExternalAuth(_) => {}
            Step::RequestHeaders(_)
            | Step::Mirror(_)
            | Step::ResponseHeaders(_)
            | Step::Hsts(_)
            | Step::Compression(_) => {}
        }
    }
    ControlFlow::Continue(())
}

/// Who is to be asked about a request that the other request filters let pass, one after the other.
pub(crate) fn authentication(filters: &Compiled) -> impl Iterator<Item = Authentication<'_>> {
    filters.steps.iter().filter_map(|(_, step)| match step {
        Step::BasicAuth(auth) => Some(Authentication::Basic(auth)),
        Step::ExternalAuth(auth) => Some(Authentication::External(auth)),
        _ => None,
    })
}

/// Whoever is asked judges the path that was routed, so that the backend has to get that path and not another spelling,
/// which it may read in another way: of `/admin/..%2fpublic` a service would judge `/public` and the backend serve
/// `/admin`. A rewrite makes its target of the routed path. Refuses what is too long to be written so.
pub(crate) fn keep_judged(ctx: &RequestContext<'_>, admitted: &mut Admitted) -> ControlFlow<Reply> {
    if admitted.target.is_some() || ctx.head.uri.path() == ctx.path {
        return ControlFlow::Continue(());
    }
    match PathAndQuery::try_from(&*url::routed_target(ctx)) {
        Ok(target) => {
            admitted.target = Some(target);
            ControlFlow::Continue(())
        }
        Err(_) => ControlFlow::Break(Reply::refuse(ctx, StatusCode::SERVICE_UNAVAILABLE)),
    }
}

/// Changes the head of a backend's response as those want it who were asked about the request.
pub(crate) fn tell_client(admitted: &Admitted, headers: &mut HeaderMap) {
    headers::apply(&admitted.response, headers);
}

/// Where copies of a request may go that the filters let pass.
pub(crate) fn mirrors(filters: &Compiled) -> impl Iterator<Item = &Mirror> {
    filters.steps.iter().filter_map(|(_, step)| match step {
        Step::Mirror(mirror) => Some(&**mirror),
        _ => None,
    })
}

/// Makes the head that the backend sees of a copy of the client's: target, `Host`, forwarded headers, then the header
/// operations of the rule and of the backend. Framing and hop-by-hop fields are the engine's.
pub(crate) fn upstream_head(
    ctx: &RequestContext<'_>,
    settings: &Forwarded,
    rule: &Compiled,
    backend: Option<&Compiled>,
    admitted: &Admitted,
    head: &mut http::request::Parts,
) {
    if let Some(target) = &admitted.target {
        head.uri = http::Uri::from(target.clone());
    }
    upstream_headers::apply(ctx, settings, admitted.host.as_ref(), &mut head.headers);
    headers::apply(&admitted.identity, &mut head.headers);
    for (_, step) in rule.steps.iter().chain(backend.iter().flat_map(|filters| &filters.steps)) {
        if let Step::RequestHeaders(ops) = step {
            headers::apply(ops, &mut head.headers);
        }
    }
}

/// Changes the head that the client sees, of a backend's response or of a reply of ours. Returns the encoder that the
/// body must pass through, having changed the head accordingly (`Content-Length` is gone then).
pub(crate) fn response(
    ctx: &RequestContext<'_>,
    rule: &Compiled,
    backend: Option<&Compiled>,
    status: StatusCode,
    head: &mut HeaderMap,
) -> Option<Encoder> {
    let mut encoder = None;
    for (_, step) in rule.steps.iter().filter(|(stage, _)| *stage <= Stage::ResponseHeaders) {
        respond(ctx, step, status, head, &mut encoder);
    }
    for (_, step) in backend.iter().flat_map(|filters| &filters.steps) {
        respond(ctx, step, status, head, &mut encoder);
    }
    for (_, step) in rule.steps.iter().filter(|(stage, _)| *stage > Stage::ResponseHeaders) {
        respond(ctx, step, status, head, &mut encoder);
    }
    encoder
}

/// Changes the head of a reply of ours as [`response`] does; its body is small and stays as it is.
pub(crate) fn reply(ctx: &RequestContext<'_>, rule: &Compiled, reply: &mut Reply) {
    for (_, step) in rule.steps.iter().filter(|(stage, _)| *stage < Stage::Compression) {
        respond(ctx, step, reply.status, &mut reply.headers, &mut None);
    }
}

fn respond(
    ctx: &RequestContext<'_>,
    step: &Step,
    status: StatusCode,
    head: &mut HeaderMap,
    encoder: &mut Option<Encoder>,
) {
    match step {
        Step::Cors(cors) => cors.response(ctx, head),
        Step::ResponseHeaders(ops) => headers::apply(ops, head),
        Step::Hsts(value) => hsts::response(ctx, value, head),
        Step::Compression(policy) if encoder.is_none() => *encoder = compression::response(ctx, policy, status, head),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use genkan_routing::model::Deny;
    use genkan_routing::policy::hsts::Hsts;
    use genkan_routing::policy::rate_limit::{RateLimit, RateUnit};
    use genkan_routing::policy::redirect::{HttpsRedirect, Redirect, RedirectTarget};
    use genkan_routing::policy::rewrite::{PathRewrite, Rewrite};
    use http::HeaderName;

    use super::testing::Request;
    use super::*;

    fn compiled(filters: &[Filter]) -> Compiled {
        Compiled::new(filters, &Runtime::default())
    }

    /// The status of the reply; 0 when the request passes.
    fn status(filters: &[Filter], request_: &Request) -> u16 {
        let compiled = compiled(filters);
        match request_.with(|ctx| request(ctx, &compiled, &mut Admitted::default())) {
            ControlFlow::Break(reply) => reply.status.as_u16(),
            ControlFlow::Continue(()) => 0,
        }
    }

    fn ops(name: &'static str, value: &'static str) -> HeaderOps {
        let field = (HeaderName::from_static(name), HeaderValue::from_static(value));
        HeaderOps { set: vec![field], ..HeaderOps::default() }
    }

    #[test]
    fn filters_act_in_the_order_of_their_stages() {
        let nobody = IpAccess { deny: vec!["0.0.0.0/0".parse().unwrap()], allow: Vec::new() };
        // Each of them answers; written here from the last to the first.
        let mut filters = vec![
            (403, Filter::IpAccess(Arc::new(nobody))),
            (308, Filter::HttpsRedirect(HttpsRedirect { status: 308, preserve_trailing_slash: false, port: None })),
            (503, Filter::Deny(Deny { status: 503, reason: String::new() })),
            (302, Filter::Redirect(Redirect { status: 302, to: RedirectTarget::Path("/x".to_owned()) })),
            (413, Filter::BodyLimit(BodyLimit(1))),
        ];
        let request = Request::post("/").header("content-length", "2");
        while let Some((expected, _)) = filters.last() {
            let given: Vec<_> = filters.iter().map(|(_, filter)| filter.clone()).collect();
            assert_eq!(status(&given, &request), *expected);
            filters.pop();
        }
        assert_eq!(status(&[], &request), 0);
    }

    #[test]
    fn a_redirect_costs_no_place_in_a_limit() {
        let limit =
            RateLimit { zone: "z".into(), requests: 1, unit: RateUnit::Minute, burst: 0, status: 503, exempt: vec![] };
        let redirect = HttpsRedirect { status: 308, preserve_trailing_slash: false, port: None };
        let compiled = compiled(&[Filter::RateLimit(limit), Filter::HttpsRedirect(redirect)]);
        let statuses = |request_: &Request| {
            let flow = request_.with(|ctx| request(ctx, &compiled, &mut Admitted::default()));
            flow.break_value().map_or(0, |reply| reply.status.as_u16())
        };
        assert_eq!([statuses(&Request::get("/")), statuses(&Request::get("/"))], [308, 308]);
        let tls = Request::get("/").tls();
        assert_eq!([statuses(&tls), statuses(&tls)], [0, 503]);
    }

    #[test]
    fn a_backends_filters_act_after_the_rules() {
        let rewrite =
            |path: &str| Filter::Rewrite(Rewrite { hostname: None, path: Some(PathRewrite::Full(path.to_owned())) });
        let rule = compiled(&[
            rewrite("/rule"),
            Filter::RequestHeaders(ops("x-a", "rule")),
            Filter::ResponseHeaders(ops("x-a", "rule")),
        ]);
        let backend = compiled(&[
            rewrite("/backend"),
            Filter::RequestHeaders(ops("x-a", "backend")),
            Filter::ResponseHeaders(ops("x-a", "backend")),
        ]);
        Request::get("/?q=1").with(|ctx| {
            let mut admitted = Admitted::default();
            assert!(request(ctx, &rule, &mut admitted).is_continue());
            assert!(request(ctx, &backend, &mut admitted).is_continue());
            let mut head = ctx.head.clone();
            upstream_head(ctx, &Forwarded::default(), &rule, Some(&backend), &admitted, &mut head);
            assert_eq!(head.uri, "/backend?q=1");
            assert_eq!(head.headers["x-a"], "backend");
            assert_eq!(head.headers["host"], "example.com");
            let mut headers = HeaderMap::new();
            response(ctx, &rule, Some(&backend), StatusCode::OK, &mut headers);
            assert_eq!(headers["x-a"], "backend");
        });
    }

    #[test]
    fn a_request_header_filter_may_set_the_host() {
        let rule = compiled(&[Filter::RequestHeaders(ops("host", "other.example"))]);
        Request::get("/").with(|ctx| {
            let mut head = ctx.head.clone();
            upstream_head(ctx, &Forwarded::default(), &rule, None, &Admitted::default(), &mut head);
            assert_eq!(head.headers["host"], "other.example");
        });
    }

    #[test]
    fn our_own_replies_carry_the_response_headers_but_stay_uncompressed() {
        let rule = compiled(&[
            Filter::Hsts(Hsts::default()),
            Filter::ResponseHeaders(ops("x-a", "b")),
            Filter::Compression(Arc::new(Compression { min_length: 0, ..Compression::default() })),
        ]);
        let request = Request::get("/").tls().header("accept-encoding", "gzip");
        let answer = request.with(|ctx| {
            let mut answer = Reply::refuse(ctx, StatusCode::FORBIDDEN);
            reply(ctx, &rule, &mut answer);
            answer
        });
        assert_eq!(answer.headers["x-a"], "b");
        assert!(answer.headers.contains_key("strict-transport-security"));
        assert!(!answer.headers.contains_key("content-encoding"));
    }
}
