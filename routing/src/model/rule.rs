//! Rules: filters, policies and backends.

use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;

use crate::name::{ClusterId, Origin, RuleId};
use crate::policy::affinity::Affinity;
use crate::policy::basic_auth::BasicAuth;
use crate::policy::body_limit::BodyLimit;
use crate::policy::buffering::Buffering;
use crate::policy::canary::Canary;
use crate::policy::compression::Compression;
use crate::policy::connection_limit::ConnectionLimit;
use crate::policy::cors::Cors;
use crate::policy::external_auth::ExternalAuth;
use crate::policy::headers::HeaderOps;
use crate::policy::hsts::Hsts;
use crate::policy::ip_access::IpAccess;
use crate::policy::mirror::Mirror;
use crate::policy::rate_limit::RateLimit;
use crate::policy::redirect::{HttpsRedirect, Redirect};
use crate::policy::retry::Retry;
use crate::policy::rewrite::Rewrite;
use crate::policy::timeouts::Timeouts;

/// What happens to the requests of a match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// The object and field that it came from.
    pub origin: Origin,
    /// What metrics and logs say about its requests.
    pub labels: RuleLabels,
    /// What it does to requests and responses besides.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub filters: Filters,
    /// What happens to a request that no filter answered.
    pub action: Action,
    /// Whether requests are written to the access log (`enable-access-log`).
    pub access_log: bool,
}

/// Filters in order of [`Filter::stage`]; a stage may occur several times. Rules may share one list: most have what the
/// ConfigMap says for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Filters(Arc<[Filter]>);

impl Filters {
    /// Filters in the order in which they act; equal stages keep their order.
    pub fn sorted(mut filters: Vec<Filter>) -> Self {
        filters.sort_by_key(Filter::stage);
        Self(filters.into())
    }
}

impl Deref for Filters {
    type Target = [Filter];

    fn deref(&self) -> &[Filter] {
        &self.0
    }
}

/// What metrics and logs say about a rule's requests (`nginx_ingress_controller_requests`, `$ingress_name`, ...).
/// Empty for requests that belong to no object of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleLabels {
    /// The object's namespace.
    pub namespace: Arc<str>,
    /// The Ingress's or route's name.
    pub ingress: Arc<str>,
    /// The first backend's Service.
    pub service: Arc<str>,
    /// The first backend's port.
    pub service_port: Arc<str>,
    /// The path as the object writes it.
    pub path: Arc<str>,
}

/// One step on the way of a request or its response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Filter {
    /// Refuses large bodies.
    BodyLimit(BodyLimit),
    /// Answers preflights and marks responses.
    Cors(Arc<Cors>),
    /// Answers with a `Location`.
    Redirect(Redirect),
    /// Refuses everything: a security setting could not be understood.
    Deny(Deny),
    /// Sends HTTP to HTTPS.
    HttpsRedirect(HttpsRedirect),
    /// Limits the rate of requests per client.
    RateLimit(RateLimit),
    /// Limits concurrent requests per client.
    ConnectionLimit(ConnectionLimit),
    /// Lets only some addresses in.
    IpAccess(Arc<IpAccess>),
    /// Asks for user and password.
    BasicAuth(Arc<BasicAuth>),
    /// Asks a service whether the request may pass.
    ExternalAuth(Arc<ExternalAuth>),
    /// Changes the host and path that the backend sees.
    Rewrite(Rewrite),
    /// Changes the headers that the backend sees.
    RequestHeaders(HeaderOps),
    /// Sends a copy of the request elsewhere.
    Mirror(Arc<Mirror>),
    /// Changes the headers that the client sees.
    ResponseHeaders(HeaderOps),
    /// `Strict-Transport-Security`.
    Hsts(Hsts),
    /// Compresses responses.
    Compression(Arc<Compression>),
}

/// When a filter acts: the order of the variants is the order of work (ingress-nginx's phases).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// First: a body that is too large is not worth any other work (nginx judges it before the rewrite phase).
    BodyLimit,
    /// A preflight carries no credentials, so it must pass before anything asks for them.
    Cors,
    /// nginx's rewrite phase: before HTTPS redirect, access lists and limits.
    Redirect,
    /// nginx's rewrite phase, after an explicit redirect.
    Deny,
    /// Before access lists and limits: nothing secret is shown by it.
    HttpsRedirect,
    /// nginx's preaccess phase.
    RateLimit,
    /// nginx's preaccess phase, after the rate.
    ConnectionLimit,
    /// nginx's access phase.
    IpAccess,
    /// nginx's access phase, after addresses: what costs a hash is asked of those alone who passed everything that costs
    /// nothing, limits above all, or passwords could be guessed at any rate.
    BasicAuth,
    /// After passwords, as in nginx: what costs a request of our own comes last. The request is still as the client sent
    /// it (Gateway API), so before the rewrite.
    ExternalAuth,
    /// Once the request may pass: what the backend sees.
    Rewrite,
    /// After the rewrite, so that it may overwrite `Host`.
    RequestHeaders,
    /// The copy has what the filters before have changed.
    Mirror,
    /// On the response's head.
    ResponseHeaders,
    /// After other response headers: it replaces the backend's.
    Hsts,
    /// Last: on the response's body.
    Compression,
}

impl Filter {
    /// When it acts.
    pub fn stage(&self) -> Stage {
        match self {
            Self::BodyLimit(_) => Stage::BodyLimit,
            Self::Cors(_) => Stage::Cors,
            Self::Redirect(_) => Stage::Redirect,
            Self::Deny(_) => Stage::Deny,
            Self::HttpsRedirect(_) => Stage::HttpsRedirect,
            Self::RateLimit(_) => Stage::RateLimit,
            Self::ConnectionLimit(_) => Stage::ConnectionLimit,
            Self::IpAccess(_) => Stage::IpAccess,
            Self::BasicAuth(_) => Stage::BasicAuth,
            Self::ExternalAuth(_) => Stage::ExternalAuth,
            Self::Rewrite(_) => Stage::Rewrite,
            Self::RequestHeaders(_) => Stage::RequestHeaders,
            Self::Mirror(_) => Stage::Mirror,
            Self::ResponseHeaders(_) => Stage::ResponseHeaders,
            Self::Hsts(_) => Stage::Hsts,
            Self::Compression(_) => Stage::Compression,
        }
    }
}

/// A refusal of every request of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deny {
    /// The status: 503 as ingress-nginx's denied locations, 500 for filters that Gateway API could not resolve.
    pub status: u16,
    /// Why, for `explain` and the error log; never shown to clients.
    pub reason: String,
}

/// What happens to a request that no filter answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Goes to a backend.
    Forward(Forward),
    /// Is answered here.
    Respond(DirectResponse),
}

/// An answer of Genkan's own, with the usual small error page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectResponse {
    /// The status: 404 for the default backend, 200 for `/healthz` of the catch-all host.
    pub status: u16,
}

/// Where requests go, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forward {
    /// Weighted; a share of weight 0 gets nothing. Empty: 500 (Gateway API), Ingress always has one.
    pub backends: Vec<Backend>,
    /// Takes some requests away from `backends`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Box<Canary>>,
    /// Time-outs towards the backend; shared, as most rules have the same.
    pub timeouts: Arc<Timeouts>,
    /// When another endpoint is tried; shared as well.
    pub retry: Arc<Retry>,
    /// Keeps clients with one endpoint of all `backends`, also of those without weight; `None` leaves it to the clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Arc<Affinity>>,
    /// What is held between client and backend; `None` passes everything on as it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffering: Option<Buffering>,
}

/// A weighted reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Its share is its weight divided by the sum of all.
    pub weight: u32,
    /// What it refers to.
    pub target: Target,
    /// Filters for requests that go here; acting after the rule's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
}

/// What a [`Backend`] refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// A cluster of the model.
    Cluster(ClusterId),
    /// Nothing that exists or may be used: its share of requests is answered with 500 (Gateway API).
    Invalid {
        /// Why, for `explain` and the error log.
        reason: String,
    },
}
