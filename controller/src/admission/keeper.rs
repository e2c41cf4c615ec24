//! The keeper: keeps the webhook's certificate in a Secret that all replicas share, and its CA in the webhook's
//! configuration. Only the leader writes; every replica reads and serves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::authority::{Authority, AuthorityError, Dated, now};
use super::serving::Serving;
use crate::resources::NamespacedName;
use crate::trouble::{self, Trouble};

/// How often Secret and configuration are looked at: others may change them.
const INTERVAL: Duration = Duration::from_secs(10);
/// The same while there is nothing to serve, or somebody was faster.
const SOON: Duration = Duration::from_secs(1);
/// One round may take so long.
const ROUND_TIME: Duration = Duration::from_secs(20);
/// Who wrote a field.
const MANAGER: &str = "genkan-admission";
/// The annotation by which a Secret of ours is known. Any other may be somebody's only copy of a key.
const MARK: &str = "genkan.dev/admission-certificate";

/// What is kept where.
#[derive(Clone, Debug)]
pub struct Keeper {
    /// The Service that the API server asks: the certificate is for its names.
    pub service: NamespacedName,
    /// The ValidatingWebhookConfiguration: every webhook in it that asks the Service gets our CAs.
    pub configuration: String,
    /// The Secret.
    pub secret: NamespacedName,
}

/// A keeper at work.
struct Work {
    keeper: Keeper,
    names: Vec<String>,
    secrets: Api<Secret>,
    configurations: Api<ValidatingWebhookConfiguration>,
    serving: Arc<Serving>,
    leading: watch::Receiver<bool>,
    /// The CAs of what is shown: they stay trusted if the Secret goes.
    cas: Vec<Dated>,
    /// What the server shows.
    shown: Option<Authority>,
}

/// What a round came to.
#[derive(Debug, PartialEq, Eq)]
enum Round {
    /// All is as it should be.
    Done,
    /// There is nothing to serve yet, or somebody was faster: look again soon.
    Again,
}

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
enum KeeperError {
    #[error("{kind} {name} can't be {what}: {error}")]
    Api {
        kind: &'static str,
        name: String,
        what: &'static str,
        #[source]
        error: kube::Error,
    },
    #[error(
        "Secret {0} was not made for this (it has no annotation {MARK}) and is left alone: let \
         --validating-webhook-secret name another, or give the certificate by --validating-webhook-certificate"
    )]
    Foreign(NamespacedName),
    #[error("Secret {0} holds no certificate of ours ({1}), and only the leader makes it anew")]
    Damaged(NamespacedName, #[source] AuthorityError),
    #[error("no certificate can be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the API server does not answer")]
    Silent,
}

impl Keeper {
    /// Keeps it until dropped; `trouble` is told what stands in the way.
    pub async fn run(self, client: Client, serving: Arc<Serving>, leading: watch::Receiver<bool>, trouble: Trouble) {
        let mut work = Work::new(self, &client, serving, leading);
        loop {
            let round = timeout(ROUND_TIME, work.round()).await.unwrap_or(Err(KeeperError::Silent));
            let wait = match round {
                Ok(Round::Done) => INTERVAL,
                Ok(Round::Again) => SOON,
                // Nobody but a human mends that.
                Err(KeeperError::Foreign(_)) => INTERVAL,
                Err(_) if !work.serving.is_shown() => SOON,
                Err(_) => INTERVAL,
            };
            match round {
                Ok(_) => trouble.clear(),
                Err(error) => {
                    let line = format!("the webhook's certificate is not looked after: {}", error.in_public());
                    if trouble.set(line, &error) {
                        tracing::warn!(%error, "the webhook's certificate is not looked after; it will be tried again");
                    }
                }
            }
            tokio::select! {
                () = sleep(wait) => {}
                // Without election it never changes.
                Ok(()) = work.leading.changed() => {}
            }
        }
    }

    /// The names by which the API server may ask.
    fn names(&self) -> Vec<String> {
        let NamespacedName { namespace, name } = &self.service;
        ["svc", "svc.cluster.local"]
            .iter()
            .map(|suffix| format!("{name}.{namespace}.{suffix}"))
            .chain([format!("{name}.{namespace}")])
            .collect()
    }

    /// The webhooks that ask our Service.
    fn ours<'c>(
        &'c self,
        configuration: &'c ValidatingWebhookConfiguration,
    ) -> impl Iterator<Item = &'c ValidatingWebhook> {
        configuration.webhooks.iter().flatten().filter(|webhook| {
            let service = webhook.client_config.service.as_ref();
            service.is_some_and(|it| *it.namespace == *self.service.namespace && *it.name == *self.service.name)
        })
    }
}

impl Work {
    fn new(keeper: Keeper, client: &Client, serving: Arc<Serving>, leading: watch::Receiver<bool>) -> Self {
        Self {
            names: keeper.names(),
            secrets: Api::namespaced(client.clone(), &keeper.secret.namespace),
            configurations: Api::all(client.clone()),
            keeper,
            serving,
            leading,
            cas: Vec::new(),
            shown: None,
        }
    }

    /// Brings everything to where it should be, as far as it is ours to write.
    async fn round(&mut self) -> Result<Round, KeeperError> {
        let leading = *self.leading.borrow();
        let secret = self.secrets.get_opt(&self.keeper.secret.name).await;
        let secret = secret.map_err(|error| self.secret_error("read", error))?;
        if secret.as_ref().is_some_and(|secret| !is_ours(secret)) {
            return Err(KeeperError::Foreign(self.keeper.secret.clone()));
        }
        let (mut authority, damage) = match read(secret.as_ref()) {
            Ok(authority) => (authority, None),
            Err(error) => (None, Some(error)),
        };
        if leading {
            let next = Authority::renew(authority.as_ref(), &self.cas, &self.names, now())?;
            if let Some(next) = next {
                if !self.write(secret, &next).await? {
                    return Ok(Round::Again);
                }
                if let Some(error) = &damage {
                    tracing::warn!(secret = %self.keeper.secret, %error, "the Secret held no certificate of ours");
                }
                authority = Some(next);
            }
        }
        let authority = match (authority, damage) {
            (Some(authority), _) => authority,
            (None, Some(error)) => return Err(KeeperError::Damaged(self.keeper.secret.clone(), error)),
            (None, None) => return Ok(Round::Again),
        };
        let trusted = self.trust(&authority, leading).await;
        // What is shown is trusted, most likely; but anything is better than nothing.
        if matches!(trusted, Ok(true)) || !self.serving.is_shown() {
            self.show(authority);
        }
        Ok(if trusted? { Round::Done } else { Round::Again })
    }

    /// Whether the API server trusts the certificate; makes it so, if that is ours to do.
    async fn trust(&self, authority: &Authority, leading: bool) -> Result<bool, KeeperError> {
        let name = &self.keeper.configuration;
        let configuration = self.configurations.get_opt(name).await;
        match configuration.map_err(|error| self.configuration_error("read", error))? {
            // Then nobody asks.
            None => Ok(true),
            Some(configuration) if leading => self.bundle(&configuration, authority).await,
            Some(configuration) => Ok(self.is_trusted(&configuration, authority)),
        }
    }

    /// Writes the Secret, unless somebody changed it since it was read. `false`: somebody did.
    async fn write(&self, present: Option<Secret>, authority: &Authority) -> Result<bool, KeeperError> {
        let name = &*self.keeper.secret.name;
        let exists = present.is_some();
        let mut secret = present.unwrap_or_else(|| Secret {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        });
        secret.metadata.annotations.get_or_insert_default().insert(MARK.to_owned(), "made".to_owned());
        // It holds what it was read with: its `resourceVersion` makes a change in between a conflict.
        secret.data = Some(authority.data());
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let written = if exists {
            self.secrets.replace(name, &params, &secret).await
        } else {
            self.secrets.create(&params, &secret).await
        };
        match written {
            Ok(_) => {
                tracing::info!(secret = %self.keeper.secret, "the webhook's certificate was made anew");
                Ok(true)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(self.secret_error("written", error)),
        }
    }

    /// Writes our CAs where they are not, unless somebody changed the configuration since it was read. `false`: somebody
    /// did.
    async fn bundle(
        &self,
        configuration: &ValidatingWebhookConfiguration,
        authority: &Authority,
    ) -> Result<bool, KeeperError> {
        let bundle = k8s_openapi::ByteString(authority.bundle().into_bytes());
        let differs = |webhook: &&ValidatingWebhook| webhook.client_config.ca_bundle.as_ref() != Some(&bundle);
        let webhooks: Vec<_> = self
            .keeper
            .ours(configuration)
            .filter(differs)
            .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}}))
            .collect();
        if webhooks.is_empty() {
            return Ok(true);
        }
        // Merged by the names of the webhooks; nothing else of them is touched.
        let version = &configuration.metadata.resource_version;
        let patch = Patch::Strategic(json!({"metadata": {"resourceVersion": version}, "webhooks": webhooks}));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match self.configurations.patch(&self.keeper.configuration, &params, &patch).await {
            Ok(_) => {
                let name = &self.keeper.configuration;
                tracing::info!(configuration = %name, webhooks = webhooks.len(), "the webhook's caBundle is written");
                Ok(true)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(self.configuration_error("patched", error)),
        }
    }

    /// Whether the API server would trust the certificate.
    fn is_trusted(&self, configuration: &ValidatingWebhookConfiguration, authority: &Authority) -> bool {
        self.keeper.ours(configuration).all(|webhook| {
            let bundle = webhook.client_config.ca_bundle.as_ref();
            bundle.is_some_and(|bundle| authority.is_trusted_by(&bundle.0, &self.names, now()))
        })
    }

    fn show(&mut self, authority: Authority) {
        self.cas = authority.cas().to_vec();
        if self.shown.as_ref().is_some_and(|shown| shown.same_certificate(&authority)) {
            return;
        }
        if let Some(certificate) = authority.certified() {
            self.serving.show(certificate);
            self.shown = Some(authority);
        }
    }

    fn secret_error(&self, what: &'static str, error: kube::Error) -> KeeperError {
        KeeperError::Api { kind: "Secret", name: self.keeper.secret.to_string(), what, error }
    }

    fn configuration_error(&self, what: &'static str, error: kube::Error) -> KeeperError {
        KeeperError::Api {
            kind: "ValidatingWebhookConfiguration",
            name: self.keeper.configuration.clone(),
            what,
            error,
        }
    }
}

impl KeeperError {
    /// It without names, for everybody.
    fn in_public(&self) -> String {
        match self {
            Self::Api { kind, what, error, .. } => {
                format!("its {kind} can't be {what}: {}", trouble::cause(trouble::status(error)))
            }
            Self::Foreign(_) => "its Secret was not made for this; the log says more".to_owned(),
            Self::Damaged(..) => "its Secret holds something else; the log says more".to_owned(),
            Self::Make(_) | Self::Silent => self.to_string(),
        }
    }
}

/// What a Secret holds, if anything.
fn read(secret: Option<&Secret>) -> Result<Option<Authority>, AuthorityError> {
    let data = secret.and_then(|secret| secret.data.as_ref()).filter(|data| !data.is_empty());
    data.map(Authority::read).transpose()
}

/// Whether a Secret is ours to write: made by us, or empty, as somebody may prepare it.
fn is_ours(secret: &Secret) -> bool {
    let marked = secret.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MARK));
    marked || secret.data.as_ref().is_none_or(BTreeMap::is_empty)
}

/// Without keys.
impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("keeper", &self.keeper).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
