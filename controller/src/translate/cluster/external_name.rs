//! ExternalName: Services and XBackends that stand for a name outside the cluster. Names are resolved elsewhere; names and addresses
//! of this machine are refused, since they would show its own ports to whoever may write such an object.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use genkan_routing::model::Endpoint;
use genkan_routing::name::Hostname;
use k8s_openapi::api::core::v1::ServicePort;

use super::{ClusterIssue, ClusterSpec};
use crate::resources::{Key, Kind, NamespacedName, Resources};
use crate::translate::reader::Reader;

/// The names whose addresses translation wants to find in [`Resources::dns`], in canonical form, by whose they are.
pub fn external_names(resources: &Resources) -> BTreeMap<Key, Arc<str>> {
    let names = [Kind::Service, Kind::XBackend];
    let keys = names.into_iter().flat_map(|kind| resources.names_of(kind).map(move |name| (kind, name)));
    keys.filter_map(|(kind, name)| Some((Key { kind, name: name.clone() }, external_name(resources, kind, name)?)))
        .collect()
}

/// That of one object, if it is a Service or XBackend that stands for one.
pub fn external_name(resources: &Resources, kind: Kind, name: &NamespacedName) -> Option<Arc<str>> {
    let external = match kind {
        Kind::Service => resources.services.get(name)?.external_name.as_deref()?,
        Kind::XBackend => &resources.x_backends.get(name)?.spec.external_hostname.as_ref()?.hostname,
        _ => return None,
    };
    match understand(external) {
        Ok(Name::Dns(name)) => Some(name),
        _ => None,
    }
}

/// What an external name is.
enum Name {
    Dns(Arc<str>),
    Address(IpAddr),
}

/// The endpoints of an ExternalName Service.
pub(super) fn of_service(
    name: &NamespacedName,
    external: &str,
    port: Option<&ServicePort>,
    spec: &ClusterSpec,
    reader: &Reader<'_>,
) -> Result<Vec<Endpoint>, ClusterIssue> {
    let object = format!("Service {name}");
    if reader.settings().disable_external_name {
        let why = "ExternalName Services are turned off (--disable-svc-external-name)";
        return Err(ClusterIssue::ExternalNameRefused { object, name: external.to_owned(), why });
    }
    // A Service without ports takes whatever number the route names.
    let number = port.and_then(target_port).or_else(|| spec.service.port.parse().ok());
    let Some(number) = number.and_then(|number| u16::try_from(number).ok()) else {
        let (service, port) = (name.clone(), spec.service.port.clone());
        return Err(ClusterIssue::NoPort { service, port, known: String::new() });
    };
    resolved(object, external, number, reader)
}

/// The endpoints of an XBackend. Its port was checked when it was referred to.
pub(super) fn of_backend(
    name: &NamespacedName,
    external: &str,
    spec: &ClusterSpec,
    reader: &Reader<'_>,
) -> Result<Vec<Endpoint>, ClusterIssue> {
    let number = spec.service.port.parse().unwrap_or_default();
    resolved(format!("XBackend {name}"), external, number, reader)
}

fn resolved(object: String, external: &str, port: u16, reader: &Reader<'_>) -> Result<Vec<Endpoint>, ClusterIssue> {
    let name = || external.to_owned();
    let refused = |why| ClusterIssue::ExternalNameRefused { object: object.clone(), name: name(), why };
    let addresses = match understand(external).map_err(refused)? {
        Name::Address(address) => vec![address],
        Name::Dns(dns) => reader.dns(&dns).unwrap_or_default().to_vec(),
    };
    if addresses.is_empty() {
        return Err(ClusterIssue::ExternalNameUnresolved { object, name: name() });
    }
    let allowed: BTreeSet<_> = addresses.into_iter().filter(|address| !is_own(*address)).collect();
    if allowed.is_empty() {
        return Err(refused("it leads to this machine"));
    }
    Ok(allowed.into_iter().map(|address| Endpoint { address: SocketAddr::new(address, port) }).collect())
}

fn target_port(port: &ServicePort) -> Option<i32> {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    match port.target_port {
        Some(IntOrString::Int(number)) if number > 0 => Some(number),
        _ => Some(port.port),
    }
}

fn understand(text: &str) -> Result<Name, &'static str> {
    let name = Hostname::parse(text).map_err(|_| "it is no hostname")?;
    match name.as_str().parse::<IpAddr>() {
        Ok(address) if is_own(address) => Err("it leads to this machine"),
        Ok(address) => Ok(Name::Address(address)),
        Err(_) if is_own_name(name.as_str()) => Err("it leads to this machine"),
        Err(_) => Ok(Name::Dns(name.as_str().into())),
    }
}

/// `localhost` and names below it (RFC 6761, section 6.3), and the old spellings that systems map to it.
fn is_own_name(name: &str) -> bool {
    matches!(name, "localhost" | "localhost.localdomain" | "ip6-localhost" | "ip6-loopback")
        || name.ends_with(".localhost")
}

/// Loopback, unspecified and link-local addresses (the last hold cloud metadata services).
fn is_own(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_unspecified() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::Object;

    #[test]
    fn the_names_of_x_backends_are_resolved() {
        let backend = json!({
            "metadata": {"namespace": "x", "name": "out"},
            "spec": {
                "type": "ExternalHostname", "port": {"port": 443}, "externalHostname": {"hostname": "Api.example.org"},
            },
        });
        let mut resources = Resources::default();
        resources.apply(Object::XBackend(Arc::new(serde_json::from_value(backend).unwrap())));
        let key = Key::new(Kind::XBackend, "x", "out");
        assert_eq!(external_names(&resources), BTreeMap::from([(key, "api.example.org".into())]));
    }

    #[test]
    fn names_and_addresses_of_this_machine_are_refused() {
        for text in ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "::1", "169.254.169.254", "0.0.0.0"] {
            assert!(understand(text).is_err(), "{text}");
        }
        assert!(is_own("::ffff:127.0.0.1".parse().unwrap()));
        assert!(matches!(understand("httpbin.org"), Ok(Name::Dns(_))));
        assert!(matches!(understand("192.0.2.1"), Ok(Name::Address(_))));
    }
}
