//! Version: which release of Gateway API is installed, as its CRDs say. Newer ones may mean something else by what we
//! read, so the classes tell when we do not know it; older ones lack a field that we would write.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::Client;
use kube::api::Api;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::kinds;
use crate::resources::Kind;
use crate::translate::gateway::status::{Cond, CondKind};

/// The CRD that is looked at: without it there are no classes to tell it at.
const DEFINITION: &str = "gatewayclasses.gateway.networking.k8s.io";
/// The annotation with the release.
const ANNOTATION: &str = "gateway.networking.k8s.io/bundle-version";
/// The newest release of version 1 that we know.
const NEWEST_MINOR: u32 = 6;
/// How often it is looked at: somebody may install another release.
const EVERY: Duration = Duration::from_secs(60);
/// How soon after an error.
const RETRY: Duration = Duration::from_secs(10);
/// One answer may take so long.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// What is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    /// The release, and whether we know it; `None` when we may not ask.
    release: Option<(String, bool)>,
    features: Features,
}

/// What the schema of classes says of `status.supportedFeatures`. What it does not declare makes the API server refuse
/// the whole status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Features {
    /// A list of objects with names, as of v1.4 and in experimental releases before.
    Objects,
    /// A list of names (v1.1, experimental).
    Names,
    /// Nothing.
    Undeclared,
}

impl Installed {
    /// Reads the annotation; releases before it are older than any that we know.
    pub(super) fn read(text: Option<&str>) -> Self {
        let text = text.unwrap_or_default();
        let minor = text.strip_prefix("v1.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
        let known = minor.is_some_and(|minor| minor <= NEWEST_MINOR);
        Self { release: Some((text.to_owned(), known)), features: Features::Objects }
    }

    /// The CRD may not be read: what is installed can't be told.
    pub(super) fn untold() -> Self {
        Self { release: None, features: Features::Objects }
    }

    /// Reads the CRD of classes.
    fn of(definition: &CustomResourceDefinition) -> Self {
        let annotations = definition.metadata.annotations.as_ref();
        let features = Features::of(definition);
        Self { features, ..Self::read(annotations.and_then(|all| all.get(ANNOTATION)).map(String::as_str)) }
    }

    /// The same, with another word about `supportedFeatures`.
    pub(super) fn with_features(self, features: Features) -> Self {
        Self { features, ..self }
    }

    /// How `supportedFeatures` is written.
    pub(super) fn features(&self) -> Features {
        self.features
    }

    /// What is said at classes, if anything can be.
    pub(super) fn condition(&self) -> Option<Cond> {
        let (text, known) = self.release.as_ref()?;
        let what = if text.is_empty() { "of an unknown version" } else { text };
        let message = format!("Gateway API {what} is installed; v1.0 to v1.{NEWEST_MINOR} are known");
        Some(supported(*known, message))
    }
}

/// The condition about the release.
pub(super) fn supported(known: bool, message: String) -> Cond {
    match known {
        true => Cond::holds(CondKind::SupportedVersion, "SupportedVersion", message),
        false => Cond::fails(CondKind::SupportedVersion, "UnsupportedVersion", message),
    }
}

impl Features {
    /// What the newest version says that is served and that we know.
    fn of(definition: &CustomResourceDefinition) -> Self {
        let mut versions = kinds::entry(Kind::GatewayClass).versions.iter();
        let schema = versions.find_map(|name| {
            let served = definition.spec.versions.iter().find(|version| version.served && version.name == *name)?;
            served.schema.as_ref()?.open_api_v3_schema.as_ref()
        });
        // Without a schema anything goes.
        let Some(schema) = schema else { return Self::Objects };
        let property = |schema: &JSONSchemaProps, name: &str| schema.properties.as_ref()?.get(name).cloned();
        let features = property(schema, "status").and_then(|status| property(&status, "supportedFeatures"));
        match features.map(|features| features.items) {
            None => Self::Undeclared,
            Some(Some(JSONSchemaPropsOrArray::Schema(item))) if item.type_.as_deref() == Some("string") => Self::Names,
            Some(_) => Self::Objects,
        }
    }
}

/// Keeps what is installed up to date until nobody listens.
pub(super) async fn follow(client: Client, installed: watch::Sender<Option<Installed>>) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    while !installed.is_closed() {
        let wait = match timeout(ANSWER_TIME, definitions.get_opt(DEFINITION)).await {
            Ok(Ok(Some(definition))) => {
                let found = Installed::of(&definition);
                installed.send_if_modified(|now| {
                    let changed = now.as_ref() != Some(&found);
                    *now = Some(found);
                    changed
                });
                EVERY
            }
            // It may be installed later; until then there are no classes.
            Ok(Ok(None)) => RETRY,
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                tracing::debug!(error = status.message, "which Gateway API is installed may not be asked");
                // What was seen before is more than nothing.
                installed.send_if_modified(|now| {
                    let first = now.is_none();
                    now.get_or_insert_with(Installed::untold);
                    first
                });
                EVERY
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "which Gateway API is installed can't be told");
                RETRY
            }
            Err(_) => RETRY,
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = installed.closed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::{Value, json};

    use super::*;
    use crate::fake_api::{client, failure};

    #[test]
    fn releases_of_version_one_are_known_up_to_the_newest() {
        for (text, known) in [
            (Some("v1.0.0"), true),
            (Some("v1.6.3"), true),
            (Some("v1.6.0-rc.1"), true),
            (Some("v1.7.0"), false),
            (Some("v0.8.1"), false),
            (Some("v2.0.0"), false),
            (Some("v1"), false),
            (Some("main"), false),
            (None, false),
        ] {
            let condition = Installed::read(text).condition().unwrap();
            assert_eq!(condition.state, known, "{text:?}");
            assert_eq!(condition.reason, if known { "SupportedVersion" } else { "UnsupportedVersion" });
        }
        assert_eq!(Installed::untold().condition(), None);
    }

    /// The CRD of classes with such versions: name, whether it is served, what its status has.
    fn definition(versions: &[(&str, bool, Value)]) -> CustomResourceDefinition {
        let version = |(name, served, status): &(&str, bool, Value)| {
            let schema = json!({"type": "object", "properties": {"status": {"type": "object", "properties": status}}});
            json!({"name": name, "served": served, "storage": false, "schema": {"openAPIV3Schema": schema}})
        };
        let versions: Vec<_> = versions.iter().map(version).collect();
        let names = json!({"kind": "GatewayClass", "plural": "gatewayclasses"});
        let metadata = json!({"annotations": {(ANNOTATION): "v1.3.0"}});
        let spec = json!({"group": "g", "names": names, "scope": "Cluster", "versions": versions});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn features_are_written_as_the_schema_declares_them() {
        let list = |item: Value| json!({"conditions": {"type": "array"}, "supportedFeatures": {"type": "array", "items": item}});
        let (objects, names) = (list(json!({"type": "object"})), list(json!({"type": "string"})));
        let bare = json!({"conditions": {"type": "array"}});
        let of = |versions: &[(&str, bool, Value)]| Installed::of(&definition(versions)).features();
        assert_eq!(of(&[("v1", true, objects.clone())]), Features::Objects);
        assert_eq!(of(&[("v1", true, names)]), Features::Names);
        assert_eq!(of(&[("v1beta1", true, objects.clone()), ("v1", true, bare.clone())]), Features::Undeclared);
        assert_eq!(of(&[("v1", false, bare.clone()), ("v1beta1", true, objects)]), Features::Objects);
        let release = Installed::of(&definition(&[("v1", true, bare)])).condition().unwrap();
        assert!(release.message.contains("v1.3.0"), "{}", release.message);
    }

    #[tokio::test]
    async fn who_may_not_ask_says_so_and_forgets_nothing() {
        let allowed = Arc::new(AtomicBool::new(false));
        let told = allowed.clone();
        let client = client(move |asked| {
            let allowed = told.load(Ordering::Relaxed);
            async move {
                assert!(asked.path.ends_with(DEFINITION), "{}", asked.path);
                let definition = serde_json::to_value(definition(&[("v1", true, json!({}))])).unwrap();
                if allowed { (200, definition) } else { failure(403) }
            }
        });
        for (may, known, expected) in [(false, None, None), (true, None, Some(true))] {
            allowed.store(may, Ordering::Relaxed);
            let (told, mut installed) = watch::channel(known);
            let follow = tokio::spawn(follow(client.clone(), told));
            let found = installed.wait_for(Option::is_some).await.unwrap().clone().unwrap();
            assert_eq!(found.condition().map(|condition| condition.state), expected);
            follow.abort();
        }
    }
}
