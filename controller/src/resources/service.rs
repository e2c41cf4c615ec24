//! Services: of a v1 Service what is read. There are as many as there are routes, and most of their fields are for
//! others (selectors, IP families, what controllers note down).

use std::net::IpAddr;

use k8s_openapi::api::core::v1;
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
}

impl From<v1::Service> for Service {
    fn from(service: v1::Service) -> Self {
        let spec = service.spec.unwrap_or_default();
        let external = spec.type_.as_deref() == Some("ExternalName");
        Self {
            metadata: service.metadata.into(),
            external_name: external.then(|| spec.external_name.unwrap_or_default().into()),
            cluster_ip: spec.cluster_ip.and_then(|address| address.parse().ok()),
            client_ip_affinity: spec.session_affinity.as_deref() == Some("ClientIP"),
            ports: spec.ports.unwrap_or_default().into(),
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
    fn what_is_not_read_makes_no_difference() {
        assert_eq!(of(json!({"selector": {"app": "a"}})), of(json!({"selector": {"app": "b"}})));
    }
}
