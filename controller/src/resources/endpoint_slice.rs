//! EndpointSlices: of a discovery.k8s.io/v1 EndpointSlice what is read. There are as many as there are routes and they
//! change most often; a change of what is not read is none.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1;
use serde::Deserialize;

use super::Names;

/// The label that says whose endpoints a slice holds.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The label that says that a Genkan keeps a slice for a Gateway's Service: other controllers let it alone.
pub const SLICE_KEEPER: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "genkan.dev");

/// The annotation by which a slice asks for echo servers; see `cli::run::backends`.
const ECHO_ANNOTATION: &str = "genkan.dev/echo";

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "v1::EndpointSlice")]
pub struct EndpointSlice {
    /// Its namespace and name.
    pub metadata: Names,
    /// The Service in its namespace whose endpoints it holds.
    pub service: Option<Arc<str>>,
    /// Whether a Genkan keeps it: its ports are ports of Pods of ours, and say to whom connections there belong.
    pub of_gateway: bool,
    /// The name of the echo servers that it asks for.
    pub echo: Option<Box<str>>,
    /// Its ports, except those without a number.
    pub ports: Box<[Port]>,
    /// Its endpoints, except those whose address is none.
    pub endpoints: Box<[Endpoint]>,
    /// Whether its endpoints are names (`addressType: FQDN`), of which nobody says how they are to be used.
    pub names: bool,
}

/// A port of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Empty for an unnamed port.
    pub name: Box<str>,
    /// Its number.
    pub number: u16,
    /// Its protocol.
    pub protocol: PortProtocol,
}

/// What is spoken at a port of a Service or slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortProtocol {
    /// TCP, also where none is written.
    Tcp,
    /// UDP.
    Udp,
    /// Anything else.
    Other,
}

/// An endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The first address: the meaning of others is not defined.
    pub address: IpAddr,
    /// Whether it takes requests.
    pub state: State,
    /// For whom it is, where the slice says so.
    pub hints: Option<Box<Hints>>,
}

/// For clients of which zones and nodes an endpoint is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `forZones`.
    pub zones: Box<[Box<str>]>,
    /// `forNodes`.
    pub nodes: Box<[Box<str>]>,
}

/// Whether an endpoint takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Ready,
    /// It still does while it terminates.
    Leaving,
    /// It does not.
    Away,
}

impl PortProtocol {
    /// Of the field `protocol`.
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            None | Some("TCP") => Self::Tcp,
            Some("UDP") => Self::Udp,
            Some(_) => Self::Other,
        }
    }
}

impl From<v1::EndpointSlice> for EndpointSlice {
    fn from(slice: v1::EndpointSlice) -> Self {
        let entry = |map: &Option<std::collections::BTreeMap<String, String>>, key| map.as_ref()?.get(key).cloned();
        let (keeper, ours) = SLICE_KEEPER;
        Self {
            of_gateway: entry(&slice.metadata.labels, keeper).is_some_and(|by| by == ours),
            service: entry(&slice.metadata.labels, SERVICE_LABEL).map(Into::into),
            echo: entry(&slice.metadata.annotations, ECHO_ANNOTATION).map(Into::into),
            ports: slice.ports.unwrap_or_default().into_iter().filter_map(port).collect(),
            names: slice.address_type == "FQDN",
            endpoints: slice.endpoints.iter().filter_map(endpoint).collect(),
            metadata: slice.metadata.into(),
        }
    }
}

fn port(port: v1::EndpointPort) -> Option<Port> {
    let number = u16::try_from(port.port?).ok()?;
    let protocol = PortProtocol::parse(port.protocol.as_deref());
    Some(Port { name: port.name.unwrap_or_default().into(), number, protocol })
}

fn endpoint(endpoint: &v1::Endpoint) -> Option<Endpoint> {
    let address = endpoint.addresses.first()?.parse().ok()?;
    let hints = endpoint.hints.as_ref().map(hints).filter(|hints| *hints != Hints::default()).map(Box::new);
    Some(Endpoint { address, state: state(endpoint.conditions.as_ref()), hints })
}

fn hints(hints: &v1::EndpointHints) -> Hints {
    Hints {
        zones: hints.for_zones.iter().flatten().map(|zone| zone.name.as_str().into()).collect(),
        nodes: hints.for_nodes.iter().flatten().map(|node| node.name.as_str().into()).collect(),
    }
}

/// An unknown `ready` counts as true (discovery.k8s.io/v1).
fn state(conditions: Option<&v1::EndpointConditions>) -> State {
    let Some(conditions) = conditions else { return State::Ready };
    match (conditions.ready, conditions.serving, conditions.terminating) {
        (None | Some(true), ..) => State::Ready,
        (Some(false), Some(true), Some(true)) => State::Leaving,
        _ => State::Away,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(ports: Value, endpoints: Value) -> EndpointSlice {
        let labels = json!({SERVICE_LABEL: "web", "other": "label"});
        serde_json::from_value(json!({
            "metadata": {"namespace": "default", "name": "web-a1", "labels": labels},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    #[test]
    fn conditions_decide_whether_an_endpoint_takes_requests() {
        for (conditions, state) in [
            (json!({}), State::Ready),
            (json!({"ready": true, "terminating": true}), State::Ready),
            (json!({"ready": false, "serving": true, "terminating": true}), State::Leaving),
            (json!({"ready": false, "serving": true}), State::Away),
            (json!({"ready": false, "serving": false, "terminating": true}), State::Away),
        ] {
            let slice = of(json!([]), json!([{"addresses": ["10.0.0.1"], "conditions": conditions}]));
            assert_eq!(
                slice.endpoints[..],
                [Endpoint { address: [10, 0, 0, 1].into(), state, hints: None }],
                "{conditions}"
            );
        }
    }

    #[test]
    fn hints_name_zones_and_nodes() {
        let with = |hints| of(json!([]), json!([{"addresses": ["10.0.0.1"], "hints": hints}]));
        let hints = |slice: &EndpointSlice| slice.endpoints[0].hints.clone().map(|hints| (hints.zones, hints.nodes));
        let both = with(json!({"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "n"}]}));
        assert_eq!(hints(&both), Some((["a".into(), "b".into()].into(), ["n".into()].into())));
        for nothing in [json!(null), json!({}), json!({"forZones": []})] {
            assert_eq!(hints(&with(nothing)), None);
        }
    }

    #[test]
    fn slices_that_lead_to_our_pods_are_known() {
        let kept_by = |keeper: &str| -> EndpointSlice {
            let labels = json!({SERVICE_LABEL: "web", SLICE_KEEPER.0: keeper});
            serde_json::from_value(json!({"metadata": {"name": "a", "labels": labels}, "addressType": "IPv4",
                "endpoints": []}))
            .unwrap()
        };
        assert!(kept_by(SLICE_KEEPER.1).of_gateway && !kept_by("endpointslice-controller.k8s.io").of_gateway);
    }

    #[test]
    fn what_is_no_address_or_port_is_left_out() {
        let ports = json!([{"port": 80}, {"name": "none"}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
        let slice = of(ports, json!([{"addresses": ["example.com"]}, {"addresses": ["::1"]}, {"addresses": []}]));
        let ports: Vec<_> = slice.ports.iter().map(|port| (&*port.name, port.number, port.protocol)).collect();
        assert_eq!(ports, [("", 80, PortProtocol::Tcp), ("dns", 53, PortProtocol::Udp)]);
        assert_eq!(slice.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect::<Vec<_>>(), ["::1"]);
        assert_eq!(slice.service.as_deref(), Some("web"));
    }
}
