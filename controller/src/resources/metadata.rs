//! Metadata: of an object's metadata what is read. What API servers and controllers note down there changes with every
//! write of a status, and a change of what is not read is none.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;

/// What `kubectl apply` notes down: the whole manifest once more.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The metadata of an object whose type is ours.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "ObjectMeta")]
pub struct Metadata {
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: Option<String>,
    /// `metadata.creationTimestamp`.
    pub creation_timestamp: Option<Time>,
    /// `metadata.annotations`, without what kubectl notes down for itself.
    pub annotations: Option<BTreeMap<String, String>>,
}

impl From<ObjectMeta> for Metadata {
    fn from(metadata: ObjectMeta) -> Self {
        let ObjectMeta { namespace, name, creation_timestamp, annotations, .. } = slim(metadata);
        Self { namespace, name, creation_timestamp, annotations }
    }
}

/// Without what nobody reads.
pub(crate) fn slim(metadata: ObjectMeta) -> ObjectMeta {
    let ObjectMeta { namespace, name, uid, creation_timestamp, labels, mut annotations, .. } = metadata;
    if let Some(annotations) = &mut annotations {
        annotations.remove(LAST_APPLIED);
    }
    let annotations = annotations.filter(|annotations| !annotations.is_empty());
    ObjectMeta { namespace, name, uid, creation_timestamp, labels, annotations, ..ObjectMeta::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_note_down_makes_no_difference() {
        let of = |version: &str, note: &str| {
            let annotations = json!({LAST_APPLIED: note});
            let metadata = json!({"name": "a", "uid": "u", "resourceVersion": version, "annotations": annotations});
            slim(serde_json::from_value(metadata).unwrap())
        };
        assert_eq!(of("1", "{}"), of("2", "{\"a\": 1}"));
        assert_eq!(of("1", "{}").uid.as_deref(), Some("u"));
    }
}
