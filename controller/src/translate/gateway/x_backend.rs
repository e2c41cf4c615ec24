//! XBackends as backends: a name outside the cluster with the protocol and TLS that are spoken there.
//!
//! What an XBackend asks for and does not get closes it: its share of requests is answered with 500.

use std::net::IpAddr;
use std::sync::Arc;

use genkan_routing::model::{HttpVersion, UpstreamTls};
use genkan_routing::name::Hostname;

use super::allowed::RouteKind;
use super::backend::{Invalid, Reference};
use super::findings::Findings;
use super::gateways::Refusal;
use super::reason::{BACKEND_NOT_FOUND, INVALID, UNSUPPORTED_PROTOCOL};
use super::x_backend_tls::{self, Tls};
use crate::resources::{Key, Kind, NamespacedName, XBackend, XBackendSpec};
use crate::translate::cluster::{ClusterSpec, Transport, Usage};
use crate::translate::reader::Reader;

/// The group of the kind.
pub(super) const GROUP: &str = "gateway.networking.x-k8s.io";
/// The kind.
pub(super) const KIND: &str = "XBackend";
/// What follows where one can't be used.
pub(super) const CLOSED: &str = "requests for it are answered with 500";

/// The XBackend that a reference of a route names, if it names one.
pub(super) fn named(reference: &Reference<'_>, route: &NamespacedName) -> Option<Key> {
    if (reference.group, reference.kind) != (Some(GROUP), Some(KIND)) {
        return None;
    }
    let namespace = reference.namespace.filter(|namespace| !namespace.is_empty());
    let namespace = namespace.map_or_else(|| route.namespace.clone(), Arc::from);
    Some(Key { kind: Kind::XBackend, name: NamespacedName::new(namespace, reference.name) })
}

/// The cluster of a backend that is referred to with this port, or with none.
pub(super) fn resolve(
    name: &NamespacedName,
    port: Option<i32>,
    route_kind: RouteKind,
    reader: &Reader<'_>,
) -> Result<ClusterSpec, Invalid> {
    let Some(backend) = reader.x_backend(name) else {
        let message = format!("XBackend {name} does not exist");
        return Err(Invalid::reference(BACKEND_NOT_FOUND, message, "create it, or name another"));
    };
    let number = number(name, backend, port)?;
    let external = hostname(name, &backend.spec)?;
    // What is wrong is told at the backend.
    let mut findings = Findings::new(Key { kind: Kind::XBackend, name: name.clone() }.object_ref());
    let Tls { settings, .. } = x_backend_tls::read(name, &backend.spec, reader, &mut findings);
    let tls = settings.map_err(|Refusal { reason, message }| invalid(reason, name, message))?;
    let (usage, transport) = transport(name, &backend.spec, route_kind, tls)?;
    Ok(ClusterSpec {
        usage,
        transport: Some(transport),
        external: Some(external),
        ..ClusterSpec::new(name.namespace.clone(), name.name.clone(), number.to_string())
    })
}

/// Whether any route could use a backend, TLS apart.
pub(super) fn check(name: &NamespacedName, backend: &XBackend) -> Result<(), Invalid> {
    number(name, backend, None)?;
    hostname(name, &backend.spec).map(drop)
}

fn number(name: &NamespacedName, backend: &XBackend, wanted: Option<i32>) -> Result<u16, Invalid> {
    let own = backend.spec.port.port;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != own) {
        let message = format!("XBackend {name} has no port {wanted}");
        return Err(Invalid::reference(BACKEND_NOT_FOUND, message, format!("its port is {own}")));
    }
    u16::try_from(own).ok().filter(|port| *port > 0).ok_or_else(|| broken(name, format!("{own} is no port")))
}

fn hostname(name: &NamespacedName, spec: &XBackendSpec) -> Result<Arc<str>, Invalid> {
    let external = match (spec.r#type.as_str(), &spec.external_hostname) {
        ("ExternalHostname", Some(external)) => external.hostname.as_str(),
        ("ExternalHostname", None) => return Err(broken(name, "it has no externalHostname".to_owned())),
        (other, _) => return Err(broken(name, format!("the type {other:?} is not known"))),
    };
    let refused = |why: &str| broken(name, format!("externalHostname {external:?} {why}"));
    let hostname = Hostname::parse(external).map_err(|_| refused("is no hostname"))?;
    if hostname.as_str().parse::<IpAddr>().is_ok() {
        return Err(refused("is an address"));
    }
    if hostname.as_str().ends_with(".cluster.local") {
        return Err(refused("is a name of the cluster: refer to the Service"));
    }
    Ok(hostname.as_str().into())
}

/// What is spoken, and how. Without a protocol the route's kind decides.
fn transport(
    name: &NamespacedName,
    spec: &XBackendSpec,
    route_kind: RouteKind,
    tls: Option<UpstreamTls>,
) -> Result<(Usage, Transport), Invalid> {
    let protocol = spec.protocol.as_deref();
    let refused = || {
        let protocol = protocol.unwrap_or("no protocol");
        let message =
            format!("XBackend {name} speaks {protocol}, which a route of kind {} can't use", route_kind.as_str());
        Err(Invalid::reference(UNSUPPORTED_PROTOCOL, message, "write another protocol"))
    };
    let (usage, version) = match (route_kind, protocol) {
        (RouteKind::Http, None | Some("HTTP" | "HTTP11")) => (Usage::Http, HttpVersion::Http1),
        (RouteKind::Http, Some("HTTP2" | "GRPC")) => (Usage::Http, HttpVersion::Http2),
        (RouteKind::Grpc, None | Some("HTTP" | "HTTP2" | "GRPC")) => (Usage::Grpc, HttpVersion::Http2),
        (RouteKind::Http, Some("H2C")) if tls.is_none() => (Usage::Http, HttpVersion::Http2),
        (RouteKind::Grpc, Some("H2C")) if tls.is_none() => (Usage::Grpc, HttpVersion::Http2),
        (RouteKind::Tcp | RouteKind::Tls, None | Some("TCP")) => {
            (if tls.is_some() { Usage::Opened } else { Usage::Tcp }, HttpVersion::default())
        }
        _ => return refused(),
    };
    Ok((usage, Transport { version, tls }))
}

fn broken(name: &NamespacedName, what: String) -> Invalid {
    invalid(INVALID, name, what)
}

fn invalid(reason: &'static str, name: &NamespacedName, what: String) -> Invalid {
    Invalid { unresolved: None, reason, message: format!("XBackend {name}: {what}"), mend: String::new() }
}
