//! Ingresses: of a networking.k8s.io/v1 Ingress what is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use super::metadata::LAST_APPLIED;

/// An Ingress.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "v1::Ingress")]
pub struct Ingress {
    /// Its metadata.
    pub metadata: IngressMetadata,
    /// `spec`.
    pub spec: Option<Box<v1::IngressSpec>>,
}

/// The metadata of an Ingress.
#[derive(Clone, Debug, PartialEq)]
pub struct IngressMetadata {
    /// `metadata.namespace`.
    pub namespace: Option<Arc<str>>,
    /// `metadata.name`.
    pub name: Option<Arc<str>>,
    /// `metadata.creationTimestamp`.
    pub creation_timestamp: Option<Time>,
    /// `metadata.annotations`, without what kubectl notes down for itself.
    pub annotations: Option<BTreeMap<String, String>>,
}

impl From<v1::Ingress> for Ingress {
    fn from(ingress: v1::Ingress) -> Self {
        let metadata = ingress.metadata;
        let mut annotations = metadata.annotations;
        if let Some(annotations) = &mut annotations {
            annotations.remove(LAST_APPLIED);
        }
        let metadata = IngressMetadata {
            namespace: metadata.namespace.map(Into::into),
            name: metadata.name.map(Into::into),
            creation_timestamp: metadata.creation_timestamp,
            annotations,
        };
        Self { metadata, spec: ingress.spec.map(Box::new) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(annotations: Value, status: Value) -> Ingress {
        let metadata = json!({"namespace": "default", "name": "a", "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "spec": {}, "status": status})).unwrap()
    }

    #[test]
    fn status_and_notes_of_kubectl_make_no_difference() {
        let status = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}});
        assert_eq!(of(json!({"a": "b", LAST_APPLIED: "{}"}), status), of(json!({"a": "b"}), json!({})));
        assert_ne!(of(json!({"a": "b"}), json!({})), of(json!({"a": "c"}), json!({})));
    }
}
