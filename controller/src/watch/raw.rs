//! Raw objects: JSON as the API server sent it. Any object can be one, so that one of an unexpected form fails by
//! itself and not the list that it came in.

use std::borrow::Cow;
use std::fmt;

use kube::Resource;
use kube::api::{ApiResource, ObjectMeta};
use kube::core::DynamicResourceScope;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::seen::STATUS_MANAGER;
use crate::resources::{Key, Kind};

/// An object of any kind.
#[derive(Clone)]
pub(super) struct RawObject {
    /// Of its metadata what says who it is.
    metadata: ObjectMeta,
    /// Whether we wrote any of its status.
    marked: bool,
    /// All of it.
    value: Value,
}

impl RawObject {
    /// The key of an object of this kind.
    pub(super) fn key(&self, kind: Kind) -> Key {
        let namespace = self.metadata.namespace.as_deref().filter(|_| kind.namespaced()).unwrap_or_default();
        Key::new(kind, namespace, self.metadata.name.as_deref().unwrap_or_default())
    }

    /// `metadata.uid`; empty when there is none.
    pub(super) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Whether we wrote any of its status.
    pub(super) fn is_marked(&self) -> bool {
        self.marked
    }

    /// All of it.
    pub(super) fn value(&self) -> &Value {
        &self.value
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

impl From<Value> for RawObject {
    fn from(mut value: Value) -> Self {
        let metadata = value.get_mut("metadata").and_then(Value::as_object_mut);
        let text = |field| {
            let found = metadata.as_deref().and_then(|metadata| metadata.get(field));
            found.and_then(Value::as_str).map(str::to_owned)
        };
        let identity = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        // Often the larger part of an object, and nobody reads it but for this.
        let managers = metadata.and_then(|metadata| metadata.remove("managedFields"));
        let ours = |entry: &Value| {
            entry.get("manager").and_then(Value::as_str) == Some(STATUS_MANAGER)
                && entry.get("subresource").and_then(Value::as_str) == Some("status")
        };
        let marked = managers.as_ref().and_then(Value::as_array).is_some_and(|entries| entries.iter().any(ours));
        Self { metadata: identity, marked, value }
    }
}

/// Without the content: it may be a Secret's.
impl fmt::Debug for RawObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawObject").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

impl Resource for RawObject {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_of_any_form_is_taken_and_not_printed() {
        let raw = |value: Value| serde_json::from_value::<RawObject>(value).unwrap();
        let metadata = json!({"name": "a", "namespace": "n", "uid": "u", "managedFields": [{}]});
        let object = raw(json!({"metadata": metadata, "data": {"key": "c2VjcmV0"}}));
        assert_eq!(object.key(Kind::Secret), Key::new(Kind::Secret, "n", "a"));
        assert_eq!(object.key(Kind::Namespace), Key::new(Kind::Namespace, "", "a"));
        assert!(object.value()["metadata"].get("managedFields").is_none());
        assert!(!object.is_marked() && !format!("{object:?}").contains("c2VjcmV0"));
        let marked = |manager, subresource| {
            let fields = json!([{"manager": "kubectl"}, {"manager": manager, "subresource": subresource}]);
            raw(json!({"metadata": {"name": "a", "managedFields": fields}})).is_marked()
        };
        assert!(marked(STATUS_MANAGER, "status") && !marked(STATUS_MANAGER, "scale") && !marked("other", "status"));
        for odd in [json!(5), json!({"metadata": 7}), json!({"metadata": {"name": 1}}), json!([])] {
            assert_eq!(raw(odd).key(Kind::Secret).name.name.as_ref(), "");
        }
    }
}
