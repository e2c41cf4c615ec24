//! Services: of a v1 Service what is read. There are as many as there are routes, and most of their fields are for
//! others (selectors, IP families, what controllers note down).

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::Names;

/// A Service.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "v1::Service")]
pub struct Service {
    /// Its namespace and name.
    pub metadata: Names,
    /// `spec.externalName` of `type: ExternalName`; empty when it is missing. `None`: the Service has endpoints.
    pub external_name: Option<Box<str>>,
    /// `spec.clusterIP`; `None` for headless ones.
    pub cluster_ip: Option<IpAddr>,
    /// Whether `spec.sessionAffinity` is `ClientIP`.
    pub client_ip_affinity: bool,
    /// `spec.ports`.
    pub ports: Box<[v1::ServicePort]>,
    /// What else is read of one that was made for a Gateway.
    pub of_gateway: Option<Box<OfGateway>>,
}

/// The label of what is made for a Gateway: its name, in its namespace.
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// The annotation with the `controllerName` of whoever keeps a Service for a Gateway.
pub const GATEWAY_CONTROLLER: &str = "genkan.dev/gateway-controller";

/// What is read besides of a Service with the label [`GATEWAY_NAME`] or the annotation [`GATEWAY_CONTROLLER`]:
/// a Service is known though somebody takes one of them away.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfGateway {
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// The uid of the Gateway that controls it, if a Gateway does.
    pub owner: Option<Box<str>>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// What it is like, and where it is reached.
    pub form: Form,
}

/// What a Service made for a Gateway is like, and where it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// `spec.type`.
    pub kind: Box<str>,
    /// Whether it has no address in the cluster.
    pub headless: bool,
    /// `spec.clusterIPs`.
    pub cluster_ips: Box<[IpAddr]>,
    /// `spec.loadBalancerIP`.
    pub load_balancer_ip: Option<Box<str>>,
    /// `spec.loadBalancerClass`.
    pub load_balancer_class: Option<Box<str>>,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: Option<Box<str>>,
    /// `status.loadBalancer.ingress`: IP addresses, or names.
    pub balancer: Box<[Box<str>]>,
    /// Whether Pods are selected.
    pub selects: bool,
}

impl Form {
    fn read(spec: &v1::ServiceSpec, status: Option<&v1::ServiceStatus>) -> Self {
        let text = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(Into::into);
        let ingress = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
        let entry = |entry: &v1::LoadBalancerIngress| text(&entry.ip).or_else(|| text(&entry.hostname));
        Self {
            kind: spec.type_.as_deref().unwrap_or("ClusterIP").into(),
            headless: spec.cluster_ip.as_deref() == Some("None"),
            cluster_ips: spec.cluster_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect(),
            load_balancer_ip: text(&spec.load_balancer_ip),
            load_balancer_class: text(&spec.load_balancer_class),
            external_traffic_policy: text(&spec.external_traffic_policy),
            balancer: ingress.into_iter().flatten().filter_map(entry).collect(),
            selects: spec.selector.as_ref().is_some_and(|selector| !selector.is_empty()),
        }
    }
}

impl OfGateway {
    fn read(
        metadata: &mut ObjectMeta,
        spec: &v1::ServiceSpec,
        status: Option<&v1::ServiceStatus>,
    ) -> Option<Box<Self>> {
        let labels = metadata.labels.take().unwrap_or_default();
        let annotations = metadata.annotations.take().unwrap_or_default();
        if !labels.contains_key(GATEWAY_NAME) && !annotations.contains_key(GATEWAY_CONTROLLER) {
            return None;
        }
        let owner = metadata.owner_references.take().into_iter().flatten().find(|owner| {
            owner.controller == Some(true)
                && owner.kind == "Gateway"
                && owner.api_version.starts_with("gateway.networking.k8s.io/")
        });
        Some(Box::new(Self {
            uid: metadata.uid.take().unwrap_or_default().into(),
            owner: owner.map(|owner| owner.uid.into()),
            labels,
            annotations,
            form: Form::read(spec, status),
        }))
    }
}

impl From<v1::Service> for Service {
    fn from(mut service: v1::Service) -> Self {
        let spec = service.spec.unwrap_or_default();
        let of_gateway = OfGateway::read(&mut service.metadata, &spec, service.status.as_ref());
        let external = spec.type_.as_deref() == Some("ExternalName");
        Self {
            metadata: service.metadata.into(),
            external_name: external.then(|| spec.external_name.unwrap_or_default().into()),
            cluster_ip: spec.cluster_ip.and_then(|address| address.parse().ok()),
            client_ip_affinity: spec.session_affinity.as_deref() == Some("ClientIP"),
            ports: spec.ports.unwrap_or_default().into(),
            of_gateway,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"namespace": "default", "name": "a"}, "spec": spec})).unwrap()
    }

    #[test]
    fn only_services_of_the_type_have_an_external_name() {
        assert_eq!(of(json!({"externalName": "a.test"})).external_name, None);
        assert_eq!(of(json!({"type": "ExternalName", "externalName": "a.test"})).external_name, Some("a.test".into()));
        assert_eq!(of(json!({"type": "ExternalName"})).external_name, Some("".into()));
    }

    #[test]
    fn headless_services_have_no_address() {
        assert_eq!(of(json!({"clusterIP": "None"})).cluster_ip, None);
        assert_eq!(of(json!({"clusterIP": "10.0.0.1"})).cluster_ip, "10.0.0.1".parse().ok());
    }

    #[test]
    fn of_those_made_for_a_gateway_the_owner_is_read() {
        let service = |labels: Value, annotations: Value| -> Service {
            let owners = json!([
                {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1"},
                {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "g", "uid": "2", "controller": true},
            ]);
            let metadata = json!({
                "name": "a", "uid": "3", "labels": labels, "annotations": annotations, "ownerReferences": owners,
            });
            serde_json::from_value(json!({"metadata": metadata})).unwrap()
        };
        assert_eq!(service(json!({"app": "a"}), json!({"a": "b"})).of_gateway, None);
        for (labels, annotations) in
            [(json!({GATEWAY_NAME: "g"}), json!({})), (json!({}), json!({GATEWAY_CONTROLLER: "c"}))]
        {
            let made = service(labels, annotations).of_gateway.unwrap();
            assert_eq!((&*made.uid, made.owner.as_deref()), ("3", Some("2")));
        }
    }

    #[test]
    fn what_is_not_read_makes_no_difference() {
        assert_eq!(of(json!({"selector": {"app": "a"}})), of(json!({"selector": {"app": "b"}})));
    }
}
