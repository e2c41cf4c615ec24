//! Writing: one status by server-side apply.
//!
//! Under a field manager of our own the API server keeps who owns what. Lists that several controllers write into have
//! one owner, the last who wrote: so we say which version ours follows from, and a newer one refuses it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::super::failing::Failure;
use super::super::writer::WRITE_TIME;
use super::ledger::{Outcome, Write};
use crate::kinds;
use crate::resources::Kind;
use crate::translate::gateway::status::CondKind;
use crate::watch::{STATUS_MANAGER, SeenStatus, served_version};

/// In which version a kind is served is not asked again sooner.
const ASKED_TIME: Duration = Duration::from_secs(10);

/// Writes statuses. Clones share what they learn.
#[derive(Clone)]
pub(super) struct Pen {
    client: Client,
    controller: Arc<str>,
    /// In which version each kind is served, as far as it was asked. Held while one asks: others want to know the same.
    versions: Arc<Mutex<BTreeMap<Kind, Version>>>,
}

/// In which version a kind is served.
#[derive(Clone, Copy)]
struct Version {
    /// `None` when it could not be told.
    told: Option<&'static str>,
    /// When it was asked.
    at: Instant,
    /// Whether it may be another by now.
    doubted: bool,
}

impl Pen {
    /// A pen of the controller with this `controllerName`.
    pub(super) fn new(client: Client, controller: Arc<str>) -> Self {
        Self { client, controller, versions: Arc::default() }
    }

    /// Writes a status. An object that is gone, or has changed since, is no error.
    pub(super) async fn write(&self, write: &Write) -> Result<Outcome, Failure> {
        match timeout(WRITE_TIME, self.apply(write)).await {
            Ok(Ok(seen)) => Ok(Outcome::Written(seen)),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(Outcome::Outdated),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                // It may be the version that is not served any more.
                if let Some(version) = self.versions.lock().await.get_mut(&write.key.kind) {
                    version.doubted = true;
                }
                Ok(Outcome::Gone)
            }
            Ok(Err(kube::Error::Api(status))) if is_undeclared(write, &status.message) => Ok(Outcome::Undeclared),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Failure::silent()),
        }
    }

    async fn apply(&self, write: &Write) -> kube::Result<SeenStatus> {
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
        let params = PatchParams::apply(STATUS_MANAGER).force();
        let object = api.patch_status(&write.key.name.name, &params, &patch).await?;
        let seen = self.seen(&object);
        if write.shared || seen.digest == write.digest {
            return Ok(seen);
        }
        // Another controller had the object before, and owns entries of lists that nobody else may write: it is asked no
        // more, they go.
        let patch = Patch::Merge(replacement(write, &object));
        let params = PatchParams { field_manager: Some(STATUS_MANAGER.to_owned()), ..PatchParams::default() };
        Ok(self.seen(&api.patch_status(&write.key.name.name, &params, &patch).await?))
    }

    fn seen(&self, object: &DynamicObject) -> SeenStatus {
        let seen = SeenStatus::of(object.data.get("status").unwrap_or(&Value::Null), &self.controller);
        seen.at(object.metadata.resource_version.as_deref().unwrap_or_default(), true)
    }

    /// In which version a kind is served: the newest, unless the API server says otherwise.
    async fn version(&self, kind: Kind) -> &'static str {
        let newest = kinds::entry(kind).versions[0];
        let mut versions = self.versions.lock().await;
        if let Some(version) = versions.get(&kind)
            && (version.at.elapsed() < ASKED_TIME || (version.told.is_some() && !version.doubted))
        {
            return version.told.unwrap_or(newest);
        }
        let told = served_version(&self.client, kind).await;
        versions.insert(kind, Version { told, at: Instant::now(), doubted: false });
        told.unwrap_or(newest)
    }
}

/// Whether the schema that is installed does not know a field that only newer ones have.
fn is_undeclared(write: &Write, message: &str) -> bool {
    write.key.kind == Kind::GatewayClass && message.contains("supportedFeatures")
}

/// What makes a status that is ours alone what it is to be: of what is there only conditions stay that are not ours to
/// write.
fn replacement(write: &Write, there: &DynamicObject) -> Value {
    let old = there.data.get("status").unwrap_or(&Value::Null);
    let mut status = write.status.clone();
    keep_others(&mut status, old);
    let listeners = old.get("listeners").and_then(Value::as_array);
    for listener in status.get_mut("listeners").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = listener.get("name").cloned();
        let same = listeners.into_iter().flatten().find(|other| other.get("name") == name.as_ref());
        keep_others(listener, same.unwrap_or(&Value::Null));
    }
    if let (Some(fields), Some(old)) = (status.as_object_mut(), old.as_object()) {
        for field in old.keys().filter(|field| SAID.contains(&field.as_str())) {
            fields.entry(field.as_str()).or_insert(Value::Null);
        }
    }
    let metadata = json!({"uid": &*write.uid, "resourceVersion": there.metadata.resource_version});
    json!({"metadata": metadata, "status": status})
}

/// What Gateways, ListenerSets and classes say, besides conditions.
const SAID: [&str; 4] = ["addresses", "attachedListenerSets", "listeners", "supportedFeatures"];

/// Adds the conditions that others say.
fn keep_others(owner: &mut Value, old: &Value) {
    let is_others = |condition: &&Value| {
        let kind = condition.get("type").and_then(Value::as_str);
        !kind.is_some_and(CondKind::is_known)
    };
    let others = old.get("conditions").and_then(Value::as_array).into_iter().flatten().filter(is_others).cloned();
    if let Some(conditions) = owner.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.extend(others);
    }
}

fn body(write: &Write, api_version: &str) -> Value {
    let name = &write.key.name;
    let mut metadata = json!({"name": &*name.name, "uid": &*write.uid});
    if write.key.kind.namespaced() {
        metadata["namespace"] = json!(&*name.namespace);
    }
    if write.shared {
        metadata["resourceVersion"] = json!(&*write.basis);
    }
    json!({"apiVersion": api_version, "kind": write.key.kind.as_str(), "metadata": metadata, "status": write.status})
}
