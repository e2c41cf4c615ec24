//! Rules of Ingresses: from settings to filters, and from a backend to an action.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use genkan_routing::model::{
    Action, Backend, Deny, DirectResponse, Filter, Filters, Forward, HttpVersion, Rule, RuleLabels, Target, UpstreamTls,
};
use genkan_routing::name::{Origin, RuleId, TableId};
use genkan_routing::policy::redirect::{HttpsRedirect, Redirect, RedirectTarget, UrlChange};
use genkan_routing::policy::rewrite::{PathRewrite, Rewrite};
use genkan_routing::report::Problem;

use super::fragment::{BackendRef, Body, Fragment};
use crate::translate::assembly::{ClusterWant, Contribution};
use crate::translate::cluster::{ClusterSpec, Transport};
use crate::translate::config::Config;
use crate::translate::reader::Reader;

/// What rules of a host have in common.
#[derive(Clone, Copy)]
pub(super) struct HostContext<'a> {
    /// What the host is read with.
    pub(super) reader: &'a Reader<'a>,
    /// The ConfigMap.
    pub(super) config: &'a Config,
    /// The filters of other rules.
    pub(super) pool: &'a FilterPool,
    /// The table that it stands in.
    pub(super) table: &'a TableId,
    /// Whether the host has a certificate entry, or a wildcard above it has.
    pub(super) tls: bool,
}

/// Lists of filters that rules had lately: a rule with an equal one shares it. Bounded, as every annotation may make a
/// list of its own.
#[derive(Debug, Default)]
pub(super) struct FilterPool(RefCell<VecDeque<Filters>>);

/// How many lists a pool remembers.
const POOLED: usize = 16;

impl FilterPool {
    /// The filters in their order; those of another rule if they are equal.
    pub(super) fn share(&self, filters: Vec<Filter>) -> Filters {
        let filters = Filters::sorted(filters);
        let mut pool = self.0.borrow_mut();
        let filters = match pool.iter().position(|known| *known == filters).and_then(|at| pool.remove(at)) {
            Some(known) => known,
            None => filters,
        };
        pool.push_front(filters.clone());
        pool.truncate(POOLED);
        filters
    }
}

impl HostContext<'_> {
    /// The filters of every rule, whoever it belongs to.
    pub(super) fn common_filters(&self) -> Vec<Filter> {
        let hsts = self.config.global.hsts.clone().map(Filter::Hsts);
        hsts.into_iter().chain(self.config.compression.clone().map(Filter::Compression)).collect()
    }

    /// Forwards to one cluster, and notes that it is wanted.
    pub(super) fn forward(&self, body: &Body, spec: ClusterSpec, origin: Origin, out: &mut Contribution) -> Forward {
        let backend = backend(self.reader.want(spec, origin), out);
        let (timeouts, retry) = (body.settings.timeouts.clone(), body.settings.retry.clone());
        let buffering = body.settings.buffering.policy();
        Forward { backends: vec![backend], canary: None, timeouts, retry, affinity: None, buffering }
    }

    /// The filters of a path of an Ingress.
    pub(super) fn filters(&self, body: &Body, path: &str, redirects: Redirects) -> Vec<Filter> {
        let settings = &body.settings;
        let mut filters = self.common_filters();
        filters.extend(settings.body_limit.map(Filter::BodyLimit));
        filters.extend(body.cors.clone().map(Filter::Cors));
        filters.extend(self.denial(body, path).cloned().map(|reason| Filter::Deny(Deny { status: 503, reason })));
        filters.extend(settings.rate_limits.iter().cloned().map(Filter::RateLimit));
        filters.extend(settings.connection_limit.clone().map(Filter::ConnectionLimit));
        filters.extend(body.ip_access.clone().map(Filter::IpAccess));
        if self.asks_for_authentication(path) {
            filters.extend(body.basic_auth.clone().map(Filter::BasicAuth));
        }
        if redirects == Redirects::Act {
            filters.extend(settings.redirect.clone().map(Filter::Redirect));
            filters.extend(self.https_redirect(body, path).map(Filter::HttpsRedirect));
        }
        filters
    }

    /// Why a path answers 503.
    fn denial<'b>(&self, body: &'b Body, path: &str) -> Option<&'b String> {
        let asks = |_: &&String| self.asks_for_authentication(path);
        body.settings.deny.as_ref().or_else(|| body.settings.deny_authentication.as_ref().filter(asks))
    }

    fn asks_for_authentication(&self, path: &str) -> bool {
        !begins_with_one_of(path, &self.config.global.no_auth_locations)
    }

    fn https_redirect(&self, body: &Body, path: &str) -> Option<HttpsRedirect> {
        let wanted = &body.settings.https_redirect;
        let exempt = begins_with_one_of(path, &self.config.global.no_tls_redirect_locations);
        let acts = !exempt && (wanted.force || wanted.ssl_redirect && self.tls);
        acts.then(|| HttpsRedirect {
            status: wanted.status,
            preserve_trailing_slash: wanted.preserve_trailing_slash,
            port: wanted.use_port.then_some(self.reader.settings().https_port),
        })
    }
}

/// As ingress-nginx compares: the text of the path, not what requests it matches.
fn begins_with_one_of(path: &str, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| path.starts_with(prefix.as_str()))
}

/// Whether redirects and rewrites of an Ingress act: not where it only lends its `spec.defaultBackend` to every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirects {
    /// They do.
    Act,
    /// They don't.
    Rest,
}

/// The rewrite of a path of an Ingress: its host, and its path where `rewrite-target` has an effect.
pub(super) fn rewrite(
    fragment: &Fragment,
    body: &Body,
    path: &str,
    backend: Option<&BackendRef>,
    problems: &mut Vec<Problem>,
) -> Option<Filter> {
    let template = rewrites(body, path).then(|| body.settings.rewrite_target.as_ref().map(|it| it.template.clone()));
    let hostname = match (&body.settings.upstream_vhost, backend) {
        (Some(vhost), Some(backend)) => match vhost.resolve(&backend.service, &backend.port) {
            Ok(hostname) => Some(hostname),
            Err(error) => {
                let message =
                    format!("upstream-vhost gives no hostname for {}: {error}; it is not used", backend.service);
                problems.push(Problem::error(fragment.origin("metadata.annotations"), "InvalidAnnotation", message));
                None
            }
        },
        _ => None,
    };
    let rewrite = Rewrite { hostname, path: template.flatten().map(PathRewrite::Template) };
    (rewrite != Rewrite::default()).then_some(Filter::Rewrite(rewrite))
}

/// Whether `rewrite-target` has an effect on a path.
pub(super) fn rewrites(body: &Body, path: &str) -> bool {
    body.settings.rewrite_target.as_ref().is_some_and(|target| target.source != path)
}

/// The spec of a backend's cluster, by the settings of the Ingress that it serves for.
pub(super) fn cluster_spec(fragment: &Fragment, body: &Body, backend: &BackendRef) -> ClusterSpec {
    let protocol = body.settings.backend_protocol;
    let transport = || Transport {
        version: if protocol.is_http2() { HttpVersion::Http2 } else { HttpVersion::Http1 },
        tls: protocol.is_tls().then_some(UpstreamTls::UNVERIFIED),
    };
    ClusterSpec {
        transport: body.protocol_written.then(transport),
        load_balance: body.settings.load_balance.clone(),
        service_upstream: body.settings.service_upstream,
        ..ClusterSpec::new(fragment.name().namespace.clone(), backend.service.clone(), backend.port.clone())
    }
}

/// A backend of one cluster, which is noted as wanted.
pub(super) fn backend(want: ClusterWant, out: &mut Contribution) -> Backend {
    let target = Target::Cluster(want.id.clone());
    out.clusters.push(want);
    Backend { weight: 1, target, filters: Vec::new() }
}

/// What logs and metrics say about a path of an Ingress.
pub(super) fn labels(fragment: &Fragment, backend: Option<&BackendRef>, path: &Arc<str>) -> RuleLabels {
    let (service, service_port) =
        backend.map(|backend| (backend.service.clone(), backend.port.clone())).unwrap_or_default();
    let name = fragment.name();
    RuleLabels {
        namespace: name.namespace.clone(),
        ingress: name.name.clone(),
        service,
        service_port,
        path: path.clone(),
    }
}

/// A rule that only redirects.
pub(super) fn redirect_rule(
    id: RuleId,
    origin: Origin,
    labels: RuleLabels,
    redirect: Redirect,
    access_log: bool,
) -> Rule {
    let action = Action::Respond(DirectResponse { status: 404 });
    Rule { id, origin, labels, filters: Filters::sorted(vec![Filter::Redirect(redirect)]), action, access_log }
}

/// `/foo` to `/foo/`, the query kept, as nginx does for a location that ends with a slash.
pub(super) fn slash_redirect(with_slash: &str) -> Redirect {
    let path = Some(PathRewrite::Full(with_slash.to_owned()));
    Redirect { status: 301, to: RedirectTarget::Url(UrlChange { path, ..UrlChange::default() }) }
}

/// `app-root`.
pub(super) fn app_root_redirect(to: &str) -> Redirect {
    Redirect { status: 302, to: RedirectTarget::Path(to.to_owned()) }
}
