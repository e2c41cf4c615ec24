//! Writing: one status by server-side apply.
//!
//! Under a field manager of our own the API server keeps who owns what. Lists that several controllers write into have
//! one owner, the last who wrote: so we say which version ours follows from, and a newer one refuses it.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::failing::Failure;
use super::super::writer::WRITE_TIME;
use super::ledger::{Outcome, Write};
use crate::kinds;
use crate::resources::Kind;
use crate::watch::{SeenStatus, served_version};

/// Who owns the fields that we write.
const MANAGER: &str = "genkan-gateway-controller";

/// Writes statuses. Clones share what they learn.
#[derive(Clone)]
pub(super) struct Pen {
    client: Client,
    controller: Arc<str>,
    /// In which version each kind is served, as far as it was asked.
    versions: Arc<Mutex<BTreeMap<Kind, &'static str>>>,
}

impl Pen {
    /// A pen of the controller with this `controllerName`.
    pub(super) fn new(client: Client, controller: Arc<str>) -> Self {
        Self { client, controller, versions: Arc::default() }
    }

    /// Writes a status. An object that is gone, or has changed since, is no error.
    pub(super) async fn write(&self, write: &Write) -> Result<Outcome, Failure> {
        match timeout(WRITE_TIME, self.apply(write)).await {
            Ok(Ok(object)) => {
                let mut seen = SeenStatus::of(object.data.get("status").unwrap_or(&Value::Null), &self.controller);
                seen.version = object.metadata.resource_version.unwrap_or_default().into();
                Ok(Outcome::Written(seen))
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(Outcome::Outdated),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                // It may be the version that is not served any more.
                self.versions.lock().remove(&write.key.kind);
                Ok(Outcome::Gone)
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Failure::silent()),
        }
    }

    async fn apply(&self, write: &Write) -> kube::Result<DynamicObject> {
        let kind = write.key.kind;
        let entry = kinds::entry(kind);
        let version = self.version(kind).await;
        let resource = ApiResource {
            group: entry.group.to_owned(),
            version: version.to_owned(),
            api_version: entry.api_version(version),
            kind: kind.as_str().to_owned(),
            plural: entry.plural.to_owned(),
        };
        let api: Api<DynamicObject> = match kind.namespaced() {
            true => Api::namespaced_with(self.client.clone(), &write.key.name.namespace, &resource),
            false => Api::all_with(self.client.clone(), &resource),
        };
        let patch = Patch::Apply(body(write, &resource.api_version));
        // Whoever said it before speaks no longer about what is ours.
        let params = PatchParams::apply(MANAGER).force();
        api.patch_status(&write.key.name.name, &params, &patch).await
    }

    /// In which version a kind is served: the newest, unless the API server says otherwise.
    async fn version(&self, kind: Kind) -> &'static str {
        let known = self.versions.lock().get(&kind).copied();
        if let Some(version) = known {
            return version;
        }
        let Some(version) = served_version(&self.client, kind).await else { return kinds::entry(kind).versions[0] };
        self.versions.lock().insert(kind, version);
        version
    }
}

fn body(write: &Write, api_version: &str) -> Value {
    let name = &write.key.name;
    let mut metadata = json!({"name": &*name.name, "uid": &*write.uid});
    if write.key.kind.namespaced() {
        metadata["namespace"] = json!(&*name.namespace);
    }
    if let Some(version) = &write.version {
        metadata["resourceVersion"] = json!(&**version);
    }
    json!({"apiVersion": api_version, "kind": write.key.kind.as_str(), "metadata": metadata, "status": write.status})
}
