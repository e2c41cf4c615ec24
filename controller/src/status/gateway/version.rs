//! Version: which release of Gateway API is installed, as its CRDs say. Newer ones may mean something else by what we
//! read, so the classes tell when we do not know it.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::Api;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

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
    text: String,
    known: bool,
}

impl Installed {
    /// Reads the annotation; releases before it are older than any that we know.
    pub(super) fn read(text: Option<&str>) -> Self {
        let text = text.unwrap_or_default();
        let minor = text.strip_prefix("v1.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
        Self { text: text.to_owned(), known: minor.is_some_and(|minor| minor <= NEWEST_MINOR) }
    }

    /// What is said at classes.
    pub(super) fn condition(&self) -> Cond {
        let what = if self.text.is_empty() { "of an unknown version" } else { &self.text };
        let message = format!("Gateway API {what} is installed; v1.0 to v1.{NEWEST_MINOR} are known");
        match self.known {
            true => Cond::holds(CondKind::SupportedVersion, "SupportedVersion", message),
            false => Cond::fails(CondKind::SupportedVersion, "UnsupportedVersion", message),
        }
    }
}

/// Keeps what is installed up to date until nobody listens.
pub(super) async fn follow(client: Client, installed: watch::Sender<Option<Installed>>) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    while !installed.is_closed() {
        let wait = match timeout(ANSWER_TIME, definitions.get_metadata_opt(DEFINITION)).await {
            Ok(Ok(Some(definition))) => {
                let annotations = definition.metadata.annotations.as_ref();
                let found = Installed::read(annotations.and_then(|all| all.get(ANNOTATION)).map(String::as_str));
                installed.send_if_modified(|now| {
                    let changed = now.as_ref() != Some(&found);
                    *now = Some(found);
                    changed
                });
                EVERY
            }
            // It may be installed later; until then there are no classes.
            Ok(Ok(None)) => RETRY,
            Ok(Err(error)) => {
                tracing::debug!(%error, "which Gateway API is installed can't be told");
                EVERY
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
    use super::*;

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
            let condition = Installed::read(text).condition();
            assert_eq!(condition.state, known, "{text:?}");
            assert_eq!(condition.reason, if known { "SupportedVersion" } else { "UnsupportedVersion" });
        }
    }
}
