//! Whether an object is what its kind says: read as its type and written again, nothing of it may be missing. Types
//! ignore fields that they do not know, so reading alone would not find a mistyped one.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{IngressClass, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Kinds of other projects, whose types are not here: only their names are checked.
const FOREIGN: [(&str, &str); 5] = [
    ("cert-manager.io/v1", "Certificate"),
    ("cert-manager.io/v1", "Issuer"),
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
];

/// What is wrong with an object, if anything.
pub(crate) fn check(object: &Value) -> Result<(), String> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let read = match (text("apiVersion"), text("kind")) {
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy") => through::<ValidatingAdmissionPolicy>,
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding") => {
            through::<ValidatingAdmissionPolicyBinding>
        }
        ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration") => {
            through::<ValidatingWebhookConfiguration>
        }
        ("apps/v1", "DaemonSet") => through::<DaemonSet>,
        ("apps/v1", "Deployment") => through::<Deployment>,
        ("autoscaling/v2", "HorizontalPodAutoscaler") => through::<HorizontalPodAutoscaler>,
        ("networking.k8s.io/v1", "IngressClass") => through::<IngressClass>,
        ("networking.k8s.io/v1", "NetworkPolicy") => through::<NetworkPolicy>,
        ("policy/v1", "PodDisruptionBudget") => through::<PodDisruptionBudget>,
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => through::<ClusterRole>,
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => through::<ClusterRoleBinding>,
        ("rbac.authorization.k8s.io/v1", "Role") => through::<Role>,
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => through::<RoleBinding>,
        ("v1", "ConfigMap") => through::<ConfigMap>,
        ("v1", "Service") => through::<Service>,
        ("v1", "ServiceAccount") => through::<ServiceAccount>,
        known if FOREIGN.contains(&known) => return Ok(()),
        (version, kind) => return Err(format!("{version} {kind} is not a kind that the chart should make")),
    };
    lost(object, &read(object)?, "").map_or(Ok(()), Err)
}

fn through<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// The first place where something was given and is not there any more.
fn lost(given: &Value, kept: &Value, path: &str) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => given.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match kept.get(key) {
                Some(kept) => lost(value, kept, &path),
                None => Some(format!("{path} is not a field of the type, or has no value: {value}")),
            }
        }),
        (Value::Array(given), Value::Array(kept)) if given.len() == kept.len() => given
            .iter()
            .zip(kept)
            .enumerate()
            .find_map(|(index, (given, kept))| lost(given, kept, &format!("{path}[{index}]"))),
        _ if given == kept => None,
        _ => Some(format!("{path}: {given} was read as {kept}")),
    }
}

#[test]
fn a_mistyped_field_is_found() {
    let service = |spec: Value| serde_json::json!({"apiVersion": "v1", "kind": "Service", "spec": spec});
    assert_eq!(check(&service(serde_json::json!({"ports": [{"port": 80}]}))), Ok(()));
    let error = check(&service(serde_json::json!({"ports": [{"port": 80, "nodeport": 1}]}))).unwrap_err();
    assert!(error.starts_with(".spec.ports[0].nodeport is not a field"), "{error}");
    let error = check(&service(serde_json::json!({"ports": [{"port": "80"}]}))).unwrap_err();
    assert!(error.contains("invalid type"), "{error}");
    let error = check(&serde_json::json!({"apiVersion": "batch/v1", "kind": "Job"})).unwrap_err();
    assert!(error.contains("not a kind"), "{error}");
}
