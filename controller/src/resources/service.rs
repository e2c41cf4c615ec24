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

/// What is read of the metadata of a Service with the label [`GATEWAY_NAME`] or the annotation [`GATEWAY_CONTROLLER`]:
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
}

impl OfGateway {
    fn read(metadata: &mut ObjectMeta) -> Option<Box<Self>> {
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
        }))
    }
}

impl From<v1::Service> for Service {
    fn from(mut service: v1::Service) -> Self {
        let of_gateway = OfGateway::read(&mut service.metadata);
        let spec = service.spec.unwrap_or_default();
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
