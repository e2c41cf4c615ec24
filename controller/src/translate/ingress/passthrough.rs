//! TLS passthrough: hosts whose TLS connections go to a Service unopened.
//!
//! As in ingress-nginx, the oldest Ingress of a host decides, and the Service of path `/` gets the connections: a younger
//! one, which may be another tenant's, cannot take the host's certificate and guards away. Nothing of HTTP holds for the
//! connections: whoever relies on it is told.

use std::sync::Arc;

use genkan_routing::model::{Stream, StreamBackend, Target};
use genkan_routing::name::{HostPattern, ObjectRef, Origin};
use genkan_routing::report::Problem;

use super::fragment::{BackendRef, PathRule};
use super::location::{Content, Locations, Served};
use crate::settings::Settings;
use crate::translate::assembly::{ClusterWant, Contribution};
use crate::translate::cluster::{ClusterSpec, Usage};

/// The problem of an Ingress that asks for passthrough where no flag allows it.
pub(super) fn not_enabled(object: &ObjectRef, settings: &Settings) -> Problem {
    let message = "ssl-passthrough does not act: TLS connections are opened here, as without it";
    let origin = Origin::new(object.clone(), field(settings));
    Problem::warning(origin, "AnnotationWithoutEffect", message).with_mend("start with --enable-ssl-passthrough")
}

/// Where TLS connections for a host go, if the first of its Ingresses (which are in order of rank) asks for passthrough.
pub(super) fn of_host(
    host: &HostPattern,
    ingresses: &[Served<'_>],
    locations: &Locations<'_>,
    settings: &Settings,
    out: &mut Contribution,
) {
    let asks = |served: &&Served<'_>| served.body.settings.passthrough && is_for(**served, host);
    let Some(first) = ingresses.iter().find(|served| is_for(**served, host)).filter(|_| settings.ssl_passthrough)
    else {
        return;
    };
    if !matches!(host, HostPattern::Exact(_)) {
        out.problems.extend(ingresses.iter().filter(asks).map(|served| not_exact(host, *served, settings)));
        return;
    }
    if !asks(&first) {
        out.problems.extend(ingresses.iter().filter(asks).map(|served| not_first(host, *served, *first, settings)));
        return;
    }
    let Some(root) = root(locations) else { return };
    let target = match root.backend {
        Some(backend) => {
            let want = ClusterWant::new(spec(root.served, backend), root.served.fragment.origin(root.backend_field()));
            let target = Target::Cluster(want.id.clone());
            out.clusters.push(want);
            tell_others(host, *first, ingresses, locations, &root, &mut out.problems);
            target
        }
        None => {
            out.problems.extend(ingresses.iter().filter(asks).map(|served| no_root(host, *served, settings)));
            Target::Invalid { reason: "no Service has path /".to_owned() }
        }
    };
    out.passthrough = Some(Arc::new(Stream {
        origin: root.served.fragment.origin(root.field),
        accept_proxy_protocol: false,
        send_proxy_protocol: false,
        settings: None,
        backends: vec![StreamBackend { weight: 1, target }],
    }));
}

/// Tells whoever loses something by passthrough: the Ingresses that do not ask for it, paths besides `/`, and guards.
fn tell_others(
    host: &HostPattern,
    first: Served<'_>,
    ingresses: &[Served<'_>],
    locations: &Locations<'_>,
    root: &Root<'_>,
    problems: &mut Vec<Problem>,
) {
    for served in ingresses.iter().filter(|served| is_for(**served, host)) {
        if !served.body.settings.passthrough {
            problems.push(not_asked(host, *served, first));
        }
        problems.extend(not_guarded(host, *served));
        let hidden = served.paths(host).filter(|rule| owns(locations, rule) && !root.is(rule));
        problems.extend(hidden.map(|rule| not_over_tls(host, *served, rule)));
    }
}

/// What is at path `/` of a host.
struct Root<'f> {
    served: Served<'f>,
    rule: Option<&'f PathRule>,
    backend: Option<&'f BackendRef>,
    field: String,
}

impl Root<'_> {
    fn backend_field(&self) -> String {
        if self.rule.is_some() { format!("{}.backend", self.field) } else { self.field.clone() }
    }

    fn is(&self, rule: &PathRule) -> bool {
        self.rule.is_some_and(|own| std::ptr::eq(own, rule))
    }
}

/// As prefix before as exact path, as in ingress-nginx; else what `spec.defaultBackend` has put there.
fn root<'f>(locations: &Locations<'f>) -> Option<Root<'f>> {
    let text: Arc<str> = "/".into();
    let found = [false, true].into_iter().filter_map(|exact| locations.get(&text, exact));
    let path = found.clone().find_map(|location| match location.content {
        Content::Path(served, rule) => {
            Some(Root { served, rule: Some(rule), backend: rule.backend.as_ref(), field: rule.field() })
        }
        _ => None,
    });
    path.or_else(|| {
        found.clone().find_map(|location| match location.content {
            Content::Root(served, backend, _) => {
                let field = if backend.is_some() { "spec.defaultBackend" } else { "" };
                Some(Root { served, rule: None, backend, field: field.to_owned() })
            }
            _ => None,
        })
    })
}

fn spec(served: Served<'_>, backend: &BackendRef) -> ClusterSpec {
    ClusterSpec {
        usage: Usage::Tcp,
        service_upstream: served.body.settings.service_upstream,
        ..ClusterSpec::new(served.fragment.name().namespace.clone(), backend.service.clone(), backend.port.clone())
    }
}

/// Whether an Ingress is for a host, or for every host.
fn is_for(served: Served<'_>, host: &HostPattern) -> bool {
    served.names(host) || *host == HostPattern::Any && served.body.catch_all
}

/// Whether a path is served, and not another's.
fn owns(locations: &Locations<'_>, rule: &PathRule) -> bool {
    let location = locations.get(&rule.path.text, rule.path.is_exact());
    location.is_some_and(|location| matches!(location.content, Content::Path(_, own) if std::ptr::eq(own, rule)))
}

fn not_exact(host: &HostPattern, served: Served<'_>, settings: &Settings) -> Problem {
    let whose = if *host == HostPattern::Any { "for other hosts".to_owned() } else { format!("for {host}") };
    let message = format!("ssl-passthrough acts for exact hosts alone: TLS connections {whose} are opened here");
    let problem = Problem::warning(served.fragment.origin(field(settings)), "PassthroughWithoutHost", message);
    problem.with_mend("write every host as a rule of its own, without *")
}

fn no_root(host: &HostPattern, served: Served<'_>, settings: &Settings) -> Problem {
    let message =
        format!("ssl-passthrough needs a Service at path /, and {host} has none: its TLS connections are closed");
    let problem = Problem::error(served.fragment.origin(field(settings)), "PassthroughWithoutBackend", message);
    problem.with_mend("add path / with the Service that speaks TLS")
}

fn not_over_tls(host: &HostPattern, served: Served<'_>, rule: &PathRule) -> Problem {
    let message = format!(
        "TLS connections for {host} are passed on unopened to the Service of path /, so {} serves plain HTTP alone",
        rule.path.text
    );
    let problem = Problem::warning(served.fragment.origin(rule.field()), "PathWithoutTls", message);
    problem.with_mend("give it a host of its own, or remove ssl-passthrough from the Ingresses of this one")
}

fn not_asked(host: &HostPattern, served: Served<'_>, asking: Served<'_>) -> Problem {
    let by = asking.fragment.name();
    let message =
        format!("TLS connections for {host} are passed on unopened, because Ingress {by} has ssl-passthrough");
    let problem = Problem::warning(served.fragment.origin("spec.rules"), "PassthroughByAnother", message);
    problem.with_mend("have one of the two use another host")
}

fn not_first(host: &HostPattern, served: Served<'_>, first: Served<'_>, settings: &Settings) -> Problem {
    let by = first.fragment.name();
    let message =
        format!("ssl-passthrough does not act for {host}: Ingress {by}, which comes first, does not ask for it");
    let problem = Problem::warning(served.fragment.origin(field(settings)), "PassthroughNotFirst", message);
    problem.with_mend("set it there, or use a host of your own")
}

/// What protects an Ingress's paths and can't be had without HTTP.
fn not_guarded(host: &HostPattern, served: Served<'_>) -> Option<Problem> {
    let settings = &served.body.settings;
    let guards = [
        (settings.basic_auth.is_some(), "basic authentication"),
        (settings.ip_access.is_some(), "address lists"),
        (!settings.rate_limits.is_empty(), "rate limits"),
        (settings.connection_limit.is_some(), "connection limits"),
        (settings.deny.is_some() || settings.deny_authentication.is_some(), "refusals with 503"),
    ];
    let guards: Vec<_> = guards.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
    let guards = if guards.is_empty() { return None } else { guards.join(", ") };
    let message = format!("TLS connections for {host} are passed on unopened, where these cannot act: {guards}");
    Some(Problem::warning(served.fragment.origin("metadata.annotations"), "AnnotationWithoutEffect", message))
}

fn field(settings: &Settings) -> String {
    format!("metadata.annotations[{}/ssl-passthrough]", settings.annotations_prefix)
}
