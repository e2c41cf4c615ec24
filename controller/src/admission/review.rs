//! Reviews: an AdmissionReview (admission.k8s.io/v1) to the question in it, and the answer back.

use k8s_openapi::api::networking::v1;
use serde::Deserialize;
use serde_json::{Value, json};

use super::judge::Verdict;
use crate::resources::{Ingress, NamespacedName};

/// The version of AdmissionReview that is spoken.
const API_VERSION: &str = "admission.k8s.io/v1";

/// Whether an Ingress may be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Review {
    /// Names the question: the answer repeats it.
    pub uid: String,
    /// The Ingress's name.
    pub name: NamespacedName,
    /// The Ingress as it would be; `None` when it is to be deleted, or is being deleted and only loses finalizers.
    pub ingress: Option<Ingress>,
}

/// Why something is no review of an Ingress.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It is no AdmissionReview.
    #[error("this is no AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    /// It is one of another version.
    #[error("{kind} of {api_version} is not understood, only AdmissionReview of {API_VERSION}")]
    Version {
        /// Its `kind`.
        kind: String,
        /// Its `apiVersion`.
        api_version: String,
    },
    /// It asks nothing.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// It is about something else.
    #[error("the AdmissionReview is about {0}, and only ingresses of networking.k8s.io/v1 are judged here")]
    Resource(String),
    /// It has no object where one must be.
    #[error("the AdmissionReview has no object")]
    NoObject,
}

/// What is read first, whatever the object is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<HeadRequest>,
}

#[derive(Deserialize)]
struct HeadRequest {
    uid: String,
    resource: Resource,
    operation: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    resource: String,
}

/// What is read then.
#[derive(Deserialize)]
struct Body {
    request: BodyRequest,
}

#[derive(Deserialize)]
struct BodyRequest {
    object: Option<v1::Ingress>,
}

impl Review {
    /// Reads an AdmissionReview.
    pub fn read(body: &[u8]) -> Result<Self, ReviewError> {
        let Head { api_version, kind, request } = serde_json::from_slice(body)?;
        if api_version != API_VERSION || kind != "AdmissionReview" {
            return Err(ReviewError::Version { kind, api_version });
        }
        let HeadRequest { uid, resource, operation, namespace, name } = request.ok_or(ReviewError::NoRequest)?;
        let Resource { group, version, resource } = resource;
        if (group.as_str(), version.as_str(), resource.as_str()) != ("networking.k8s.io", "v1", "ingresses") {
            return Err(ReviewError::Resource(format!("{resource} of {group}/{version}")));
        }
        if !matches!(operation.as_str(), "CREATE" | "UPDATE") {
            return Ok(Self { uid, name: NamespacedName::new(namespace, name), ingress: None });
        }
        let Body { request: BodyRequest { object } } = serde_json::from_slice(body)?;
        let object = object.ok_or(ReviewError::NoObject)?;
        // A name that was generated stands only in the object.
        let name = object.metadata.name.clone().unwrap_or(name);
        let namespace =
            if namespace.is_empty() { object.metadata.namespace.clone().unwrap_or_default() } else { namespace };
        let deleting = object.metadata.deletion_timestamp.is_some();
        let ingress = (!deleting).then(|| Ingress::from(object));
        Ok(Self { uid, name: NamespacedName::new(namespace, name), ingress })
    }

    /// The AdmissionReview with the answer.
    pub fn answer(&self, verdict: &Verdict) -> Value {
        let mut response = json!({"uid": self.uid, "allowed": verdict.allowed});
        if !verdict.allowed {
            let message = &verdict.message;
            response["status"] = json!({"status": "Failure", "reason": "BadRequest", "code": 400, "message": message});
        }
        if !verdict.warnings.is_empty() {
            response["warnings"] = json!(verdict.warnings);
        }
        json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
    }
}
