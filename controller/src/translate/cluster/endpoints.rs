//! Endpoints: the addresses of a Service's port, from its EndpointSlices or its own address.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use genkan_routing::model::Endpoint;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointSlice};

use super::{ClusterIssue, ClusterSpec};
use crate::resources::NamespacedName;
use crate::translate::reader::Reader;

/// The endpoints of a Service's port, sorted, without duplicates.
pub(super) fn of_service(
    name: &NamespacedName,
    service: &Service,
    port: &ServicePort,
    spec: &ClusterSpec,
    reader: &Reader<'_>,
    issues: &mut Vec<ClusterIssue>,
) -> Result<Vec<Endpoint>, ClusterIssue> {
    if spec.service_upstream {
        match own_address(service, port) {
            Some(address) => return Ok(vec![Endpoint { address }]),
            None => issues.push(ClusterIssue::NoAddress(name.clone())),
        }
    }
    let endpoints = of_slices(reader.endpoint_slices(name).map(AsRef::as_ref), port.name.as_deref());
    if endpoints.is_empty() { Err(ClusterIssue::NoEndpoints(name.clone())) } else { Ok(endpoints) }
}

fn own_address(service: &Service, port: &ServicePort) -> Option<SocketAddr> {
    let address: IpAddr = service.spec.as_ref()?.cluster_ip.as_deref()?.parse().ok()?;
    Some(SocketAddr::new(address, u16::try_from(port.port).ok()?))
}

/// The ready endpoints of the slices' port of this name. When none is ready, those that still serve while they
/// terminate, as kube-proxy does.
fn of_slices<'s>(slices: impl Iterator<Item = &'s EndpointSlice>, port_name: Option<&str>) -> Vec<Endpoint> {
    let (mut ready, mut leaving) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices {
        for port in slice_ports(slice, port_name.unwrap_or_default()) {
            for endpoint in &slice.endpoints {
                let set = match state(endpoint.conditions.as_ref()) {
                    State::Ready => &mut ready,
                    State::Leaving => &mut leaving,
                    State::Away => continue,
                };
                // Only the first address is ever used (discovery.k8s.io/v1: the others are undefined).
                let address = endpoint.addresses.first().and_then(|address| address.parse::<IpAddr>().ok());
                set.extend(address.map(|address| Endpoint { address: SocketAddr::new(address, port) }));
            }
        }
    }
    if ready.is_empty() { leaving } else { ready }.into_iter().collect()
}

/// The numbers of a slice's TCP ports of this name; an unnamed port has the empty name.
fn slice_ports<'s>(slice: &'s EndpointSlice, name: &'s str) -> impl Iterator<Item = u16> + 's {
    slice
        .ports
        .iter()
        .flatten()
        .filter(move |port| port.name.as_deref().unwrap_or_default() == name)
        .filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"))
        .filter_map(|port| u16::try_from(port.port?).ok())
}

enum State {
    Ready,
    Leaving,
    Away,
}

/// An unknown `ready` counts as true (discovery.k8s.io/v1).
fn state(conditions: Option<&EndpointConditions>) -> State {
    let Some(conditions) = conditions else { return State::Ready };
    match (conditions.ready, conditions.serving, conditions.terminating) {
        (None | Some(true), ..) => State::Ready,
        (Some(false), Some(true), Some(true)) => State::Leaving,
        _ => State::Away,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointPort};

    use super::*;

    fn conditions(ready: bool, serving: bool, terminating: bool) -> Option<EndpointConditions> {
        Some(EndpointConditions { ready: Some(ready), serving: Some(serving), terminating: Some(terminating) })
    }

    fn slice(endpoints: &[(&str, Option<EndpointConditions>)]) -> EndpointSlice {
        let endpoints = endpoints.iter().map(|(address, conditions)| SliceEndpoint {
            addresses: vec![(*address).to_owned()],
            conditions: conditions.clone(),
            ..SliceEndpoint::default()
        });
        let port = EndpointPort { name: Some("http".to_owned()), port: Some(8080), ..EndpointPort::default() };
        EndpointSlice { endpoints: endpoints.collect(), ports: Some(vec![port]), ..EndpointSlice::default() }
    }

    fn addresses(slices: &[EndpointSlice], port: Option<&str>) -> Vec<String> {
        of_slices(slices.iter(), port).iter().map(|endpoint| endpoint.address.to_string()).collect()
    }

    #[test]
    fn ready_endpoints_of_all_slices_are_sorted_without_duplicates() {
        let slices = [slice(&[("10.0.0.9", None), ("10.0.0.1", None)]), slice(&[("10.0.0.9", None)])];
        assert_eq!(addresses(&slices, Some("http")), ["10.0.0.1:8080", "10.0.0.9:8080"]);
        assert_eq!(addresses(&slices, None), [""; 0]);
    }

    #[test]
    fn a_leaving_endpoint_serves_only_while_none_is_ready() {
        let leaving = ("10.0.0.2", conditions(false, true, true));
        let away = ("10.0.0.3", conditions(false, false, false));
        assert_eq!(addresses(&[slice(&[leaving.clone(), away.clone()])], Some("http")), ["10.0.0.2:8080"]);
        assert_eq!(addresses(&[slice(&[leaving, away, ("10.0.0.4", None)])], Some("http")), ["10.0.0.4:8080"]);
    }

    #[test]
    fn addresses_that_are_none_are_left_out() {
        assert_eq!(addresses(&[slice(&[("example.com", None), ("::1", None)])], Some("http")), ["[::1]:8080"]);
    }
}
