//! Backends: what the backendRefs of a rule refer to.

use std::sync::Arc;

use gateway_api::apis::experimental::grpcroutes::GrpcRouteRulesBackendRefs;
use gateway_api::apis::experimental::httproutes::HttpRouteRulesBackendRefs;
use genkan_routing::model::{Backend, Filter, Target};

use super::allowed::RouteKind;
use super::filter_spec::FilterSpec;
use super::filters::{self, Place};
use super::findings::Findings;
use super::grant::{GATEWAY_GROUP, GrantFrom, GrantTo, permits};
use super::reason::{BACKEND_NOT_FOUND, INVALID_KIND, REF_NOT_PERMITTED, UNSUPPORTED_PROTOCOL, UNSUPPORTED_VALUE};
use super::x_backend;
use crate::resources::{Key, NamespacedName, Service};
use crate::translate::assembly::ClusterWant;
use crate::translate::cluster::{ClusterSpec, Usage, protocol};
use crate::translate::reader::Reader;

/// The highest weight (`BackendRef.weight`).
const MAX_WEIGHT: i32 = 1_000_000;

/// What a reference to a backend says, wherever it stands (`BackendObjectReference`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reference<'a> {
    pub(crate) group: Option<&'a str>,
    pub(crate) kind: Option<&'a str>,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: &'a str,
    pub(crate) port: Option<i32>,
}

/// A backend of a rule as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BackendSpec<'a> {
    reference: Reference<'a>,
    weight: Option<i32>,
    filters: Vec<FilterSpec<'a>>,
}

/// The backends of a rule.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    /// In the order of the rule.
    pub(crate) backends: Vec<Backend>,
    /// The clusters that they refer to.
    pub(crate) clusters: Vec<ClusterWant>,
    /// The first reason of the route's `ResolvedRefs`, when it is false.
    pub(crate) unresolved: Option<&'static str>,
    /// The first reason why a backend is not served as written though its reference is sound.
    pub(crate) broken: Option<&'static str>,
    /// XBackends that get nothing, as what they ask for can't be done: their status tells it.
    pub(crate) idle: Vec<Key>,
}

/// Why a backend is invalid: the reason of the condition, what is wrong, and the mend.
pub(super) struct Invalid {
    /// `None` when the reference is sound and something else is not.
    pub(super) unresolved: Option<&'static str>,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) mend: String,
}

macro_rules! backend_spec {
    ($($type:ty),+) => {
        $(impl<'a> From<&'a $type> for BackendSpec<'a> {
            fn from(spec: &'a $type) -> Self {
                let reference = Reference {
                    group: spec.group.as_deref(),
                    kind: spec.kind.as_deref(),
                    namespace: spec.namespace.as_deref(),
                    name: &spec.name,
                    port: spec.port,
                };
                let filters = spec.filters.iter().flatten().map(FilterSpec::from).collect();
                Self { reference, weight: spec.weight, filters }
            }
        })+
    };
}

backend_spec!(HttpRouteRulesBackendRefs, GrpcRouteRulesBackendRefs);

impl Backends {
    /// Whether no request gets to any of them.
    pub(crate) fn are_all_invalid(&self) -> bool {
        self.backends.iter().all(|backend| matches!(backend.target, Target::Invalid { .. }))
    }
}

impl Invalid {
    pub(super) fn reference(reason: &'static str, message: String, mend: impl Into<String>) -> Self {
        Self { unresolved: Some(reason), reason, message, mend: mend.into() }
    }

    /// The XBackend that gets nothing, if it is one. What no grant opens is none of the route's business.
    pub(super) fn idle(&self, reference: &Reference<'_>, route: &NamespacedName) -> Option<Key> {
        let is_permitted = self.unresolved != Some(REF_NOT_PERMITTED);
        is_permitted.then(|| x_backend::named(reference, route)).flatten()
    }
}

/// Resolves the backendRefs of a rule. An invalid one keeps its weight: its share of requests is answered with 500.
pub(crate) fn resolve_all(
    specs: &[BackendSpec<'_>],
    kind: RouteKind,
    route: &NamespacedName,
    prefix: bool,
    field: &str,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Backends {
    // Kept for as long as the route is.
    let mut resolved = Backends {
        backends: Vec::with_capacity(specs.len()),
        clusters: Vec::with_capacity(specs.len()),
        ..Backends::default()
    };
    for (index, spec) in specs.iter().enumerate() {
        let field = format!("{field}.backendRefs[{index}]");
        let weight = spec.weight.unwrap_or(1);
        filters::tell_repeated(&spec.filters, &field, findings);
        let backend = check_weight(weight)
            .and_then(|()| parse_filters(&spec.filters, prefix))
            .and_then(|filters| Ok((resolve(spec.reference, kind, route, reader)?, filters)));
        let (target, filters) = match backend {
            Ok((spec, filters)) => {
                let want = reader.want(spec, findings.origin(field));
                let target = Target::Cluster(want.id.clone());
                resolved.clusters.push(want);
                (target, filters)
            }
            Err(invalid) => {
                match invalid.unresolved {
                    Some(reason) => resolved.unresolved = resolved.unresolved.or(Some(reason)),
                    None => resolved.broken = resolved.broken.or(Some(invalid.reason)),
                }
                resolved.idle.extend(invalid.idle(&spec.reference, route));
                let message = format!("{}; its share of requests is answered with 500", invalid.message);
                findings.error(field, invalid.reason, message, invalid.mend);
                (Target::Invalid { reason: invalid.message }, Vec::new())
            }
        };
        resolved.backends.push(Backend { weight: u32::try_from(weight).unwrap_or(1), target, filters });
    }
    resolved
}

pub(super) fn check_weight(weight: i32) -> Result<(), Invalid> {
    if (0..=MAX_WEIGHT).contains(&weight) {
        return Ok(());
    }
    let message = format!("{weight} is no weight");
    let mend = format!("write 0 to {MAX_WEIGHT}");
    Err(Invalid { unresolved: None, reason: UNSUPPORTED_VALUE, message, mend })
}

fn parse_filters(specs: &[FilterSpec<'_>], prefix: bool) -> Result<Vec<Filter>, Invalid> {
    let mut filters = filters::parse_all(specs, Place::Backend { prefix }).map_err(|errors| {
        let reason = errors.first().map_or(UNSUPPORTED_VALUE, |(_, error)| error.reason());
        let texts: Vec<_> = errors.iter().map(|(index, error)| format!("filters[{index}]: {error}")).collect();
        Invalid { unresolved: None, reason, message: texts.join("; "), mend: String::new() }
    })?;
    filters.sort_by_key(Filter::stage);
    Ok(filters)
}

/// The cluster that a reference of a route names.
pub(super) fn resolve(
    reference: Reference<'_>,
    route_kind: RouteKind,
    route: &NamespacedName,
    reader: &Reader<'_>,
) -> Result<ClusterSpec, Invalid> {
    let from = GrantFrom { group: GATEWAY_GROUP, kind: route_kind.as_str(), namespace: &route.namespace };
    resolve_from(reference, route_kind, from, reader)
}

/// The cluster that a reference of some object names, to be spoken to as routes of this kind speak to backends.
pub(super) fn resolve_from(
    reference: Reference<'_>,
    route_kind: RouteKind,
    from: GrantFrom<'_>,
    reader: &Reader<'_>,
) -> Result<ClusterSpec, Invalid> {
    let group = reference.group.unwrap_or_default();
    let kind = reference.kind.unwrap_or("Service");
    let is_x_backend = (reference.group, reference.kind) == (Some(x_backend::GROUP), Some(x_backend::KIND));
    if !is_x_backend && (!group.is_empty() || kind != "Service") {
        let name = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        return Err(Invalid::reference(INVALID_KIND, format!("a backend can't be of kind {name}"), "name a Service"));
    }
    let namespace = reference.namespace.filter(|namespace| !namespace.is_empty());
    let namespace: Arc<str> = Arc::from(namespace.unwrap_or(from.namespace));
    let name = NamespacedName::new(namespace.clone(), reference.name);
    if *namespace != *from.namespace {
        let to = GrantTo { group, kind, name: reference.name };
        if !permits(reader.reference_grants_in(&namespace), from, to) {
            let message = format!(
                "no ReferenceGrant in {namespace} allows {} of {} to use {kind} {}",
                from.kind, from.namespace, reference.name
            );
            let mend = format!("create a ReferenceGrant in {namespace} from {} to {kind}", from.kind);
            return Err(Invalid::reference(REF_NOT_PERMITTED, message, mend));
        }
    }
    if is_x_backend {
        return x_backend::resolve(&name, reference.port, route_kind, reader);
    }
    let Some(port) = reference.port else {
        let (message, mend) = ("a reference to a Service needs a port".to_owned(), "add port".to_owned());
        return Err(Invalid { unresolved: None, reason: UNSUPPORTED_VALUE, message, mend });
    };
    let Some(service) = reader.service(&name) else {
        let message = format!("Service {name} does not exist");
        return Err(Invalid::reference(BACKEND_NOT_FOUND, message, "create it, or name another"));
    };
    if !has_port(service, port, route_kind) {
        let wire = if route_kind == RouteKind::Udp { "UDP port" } else { "port" };
        let message = format!("Service {name} has no {wire} {port}");
        let mend = format!("its ports are {}", ports_of(service).collect::<Vec<_>>().join(", "));
        return Err(Invalid::reference(BACKEND_NOT_FOUND, message, mend));
    }
    check_protocol(&name, service, port, route_kind)?;
    let usage = match route_kind {
        RouteKind::Http => Usage::Http,
        RouteKind::Grpc => Usage::Grpc,
        RouteKind::Tls | RouteKind::Tcp => Usage::Tcp,
        RouteKind::Udp => Usage::Udp,
    };
    Ok(ClusterSpec { usage, ..ClusterSpec::new(namespace, reference.name, port.to_string()) })
}

/// Whether a Service has a port of this number for what routes of this kind carry. One that only names something outside
/// the cluster needs to list none.
fn has_port(service: &Service, number: i32, route_kind: RouteKind) -> bool {
    let wanted = if route_kind == RouteKind::Udp { "UDP" } else { "TCP" };
    let carries = |protocol: Option<&str>| protocol.unwrap_or("TCP") == wanted;
    let listed = service.ports.iter().any(|port| port.port == number && carries(port.protocol.as_deref()));
    service.external_name.is_some() || listed
}

/// Whether a route can send what it has in the protocol of a Service's port. Streams are passed on whatever they are.
fn check_protocol(name: &NamespacedName, service: &Service, port: i32, kind: RouteKind) -> Result<(), Invalid> {
    let port = service.ports.iter().find(|listed| listed.port == port);
    let Some(word) = port.and_then(|port| port.app_protocol.as_deref()) else { return Ok(()) };
    let can = match kind {
        RouteKind::Http => protocol::is_of_requests(word),
        RouteKind::Grpc => protocol::is_of_calls(word),
        RouteKind::Tls | RouteKind::Tcp | RouteKind::Udp => true,
    };
    if can {
        return Ok(());
    }
    let kind = kind.as_str();
    let message = format!("the appProtocol of Service {name} is {word}, which routes of kind {kind} can't be sent in");
    let mend = "write http, https, kubernetes.io/h2c or kubernetes.io/ws, or leave appProtocol out";
    Err(Invalid::reference(UNSUPPORTED_PROTOCOL, message, mend))
}

fn ports_of(service: &Service) -> impl Iterator<Item = String> {
    service.ports.iter().map(|port| port.port.to_string())
}
