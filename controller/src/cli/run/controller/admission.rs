//! The admission webhook: its flags, and its questions to the main loop.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::{ArgAction, Args};
use futures::StreamExt;
use genkan_proxy::Proxy;
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::admission::{
    AdmissionServer, CertificateFiles, Desk, Judgement, Keeper, Question, Questions, Rules, Serving, View, desk, judge,
};
use crate::cli::compatible::boolean;
use crate::cli::flags::parse_namespaced_name;
use crate::cli::run::process::any_address;
use crate::control::Control;
use crate::resources::{Key, NamespacedName, Resources};
use crate::trouble::Trouble;
use crate::watch::{Watch, get};

/// How often the files of a certificate are looked at.
const FILES_INTERVAL: Duration = Duration::from_secs(5);
/// Fetching what an Ingress names may take so long; what is not there then counts as missing.
const FETCH_TIME: Duration = Duration::from_secs(2);
/// Objects that are fetched for one review at most, and at the same time.
const FETCHED: usize = 64;
const FETCHED_AT_ONCE: usize = 8;

/// Flags of the admission webhook. Names without `service`, `configuration` and `secret` are ingress-nginx's.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "The admission webhook")]
pub(super) struct AdmissionFlags {
    /// Address at which the API server asks whether an Ingress is right, as in :8443; without it nobody is asked
    #[arg(long, value_name = "[IP]:PORT", default_value = "", value_parser = parse_listen)]
    validating_webhook: Option<Listen>,

    /// File with the webhook's certificate chain (PEM); read again when it changes
    #[arg(long, value_name = "FILE", requires = "validating_webhook_key")]
    validating_webhook_certificate: Option<PathBuf>,

    /// File with the key of that certificate
    #[arg(long, value_name = "FILE", requires = "validating_webhook_certificate")]
    validating_webhook_key: Option<PathBuf>,

    /// Service by which the API server reaches the webhook: its certificate is made and renewed by Genkan itself
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_namespaced_name,
        requires_all = ["validating_webhook_configuration", "validating_webhook_secret"],
        conflicts_with = "validating_webhook_certificate")]
    validating_webhook_service: Option<NamespacedName>,

    /// ValidatingWebhookConfiguration whose caBundle is kept up to date then
    #[arg(long, value_name = "NAME", requires = "validating_webhook_service")]
    validating_webhook_configuration: Option<String>,

    /// Secret that holds the certificate then, made if it is not there
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_namespaced_name,
        requires = "validating_webhook_service")]
    validating_webhook_secret: Option<NamespacedName>,

    /// Refuse Ingresses with texts that would attack nginx's configuration; here they would do nothing
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "true", action = ArgAction::Set)]
    deep_inspect: bool,
}

/// Where to listen; `None` is nowhere.
type Listen = Option<SocketAddr>;

/// The webhook at work.
pub(super) struct Admission {
    questions: Questions,
    desk: Desk,
    rules: Rules,
    client: Client,
    nothing: Resources,
    serving: Arc<Serving>,
    trouble: Trouble,
    /// Dropped with it, which ends them.
    tasks: JoinSet<()>,
    _server: AdmissionServer,
}

impl AdmissionFlags {
    /// The port at which the API server asks.
    pub(super) fn port(&self) -> Option<u16> {
        self.validating_webhook.flatten().map(|at| at.port())
    }

    /// Starts what the flags ask for. `leading`: whether what replicas share is ours to write.
    pub(super) fn start(
        &self,
        client: &Client,
        watch_namespace: Option<String>,
        leading: &watch::Receiver<bool>,
        proxy: &Arc<Proxy>,
    ) -> anyhow::Result<Option<Admission>> {
        let Some(address) = self.validating_webhook.flatten() else { return Ok(None) };
        let (serving, trouble) = (Serving::new(), Trouble::default());
        let mut tasks = JoinSet::new();
        if let (Some(certificate), Some(key)) = (&self.validating_webhook_certificate, &self.validating_webhook_key) {
            let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
            files.load(&serving)?;
            tasks.spawn(files.follow(serving.clone(), FILES_INTERVAL));
        } else if let Some(keeper) = self.keeper() {
            tasks.spawn(keeper.run(client.clone(), serving.clone(), leading.clone(), trouble.clone()));
        } else {
            bail!(
                "--validating-webhook needs a certificate: give --validating-webhook-certificate and \
                 --validating-webhook-key, or --validating-webhook-service, --validating-webhook-configuration and \
                 --validating-webhook-secret, by which Genkan makes one"
            );
        }
        let (desk, questions) = desk();
        let metrics = proxy.metrics().clone();
        let server = AdmissionServer::start(address, &serving, desk.clone(), move |seen| {
            metrics.admission.reviewed(seen.ingresses, seen.judged, seen.roundtrip, seen.size);
        });
        let server = server.with_context(|| format!("--validating-webhook: cannot listen on {address}"))?;
        tracing::info!(address = %server.address(), "the admission webhook listens");
        let rules = Rules { watch_namespace, deep_inspect: self.deep_inspect };
        let (client, nothing) = (client.clone(), Resources::default());
        Ok(Some(Admission { questions, desk, rules, client, nothing, serving, trouble, tasks, _server: server }))
    }

    fn keeper(&self) -> Option<Keeper> {
        Some(Keeper {
            service: self.validating_webhook_service.clone()?,
            configuration: self.validating_webhook_configuration.clone()?,
            secret: self.validating_webhook_secret.clone()?,
        })
    }
}

impl Admission {
    /// The next question; never, without a webhook. Cancelling loses nothing.
    pub(super) async fn next(admission: &mut Option<Self>) -> Question {
        match admission {
            Some(admission) => admission.questions.next().await,
            None => std::future::pending().await,
        }
    }

    /// What is wrong with it, a line for each.
    pub(super) fn troubles(&self) -> impl Fn() -> Vec<String> + Send + Sync + use<> {
        let (serving, trouble) = (self.serving.clone(), self.trouble.clone());
        move || {
            let none = (!serving.is_shown()).then(|| "the admission webhook has no certificate yet".to_owned());
            none.into_iter().chain(trouble.line()).collect()
        }
    }

    /// Answers a question, at once or when what it needs was fetched.
    pub(super) fn take(&mut self, mut question: Question, control: &Control, watch: &Watch) {
        while self.tasks.try_join_next().is_some() {}
        let began = Instant::now();
        let lent = question.lent.as_ref().unwrap_or(&self.nothing);
        let view = View { control, resources: watch.resources(), lent, rules: &self.rules };
        let Judgement { verdict, ingresses, missing } = judge(view, &question.review);
        question.spent += began.elapsed();
        // Nobody referred to it so far, so it was not kept; it may be there all the same.
        let fetch: Vec<_> = missing.into_iter().filter(|key| watch.passed_over(key)).take(FETCHED).collect();
        if question.lent.is_some() || fetch.is_empty() {
            question.answer(verdict, ingresses);
        } else {
            self.tasks.spawn(lend(self.client.clone(), question, fetch, self.desk.clone()));
        }
    }
}

/// Fetches what a question needs, and asks it again.
async fn lend(client: Client, mut question: Question, fetch: Vec<Key>, desk: Desk) {
    let mut lent = Resources::default();
    let fetches = fetch.into_iter().map(|key| {
        let client = client.clone();
        async move { get(&client, &key).await }
    });
    let mut objects = futures::stream::iter(fetches).buffer_unordered(FETCHED_AT_ONCE);
    let all = async {
        while let Some(object) = objects.next().await {
            if let Some(object) = object {
                lent.apply(object);
            }
        }
    };
    if timeout(FETCH_TIME, all).await.is_err() {
        tracing::debug!(ingress = %question.review.name, "what the Ingress names can't be fetched in time");
    }
    drop(objects);
    question.lent = Some(lent);
    desk.ask_again(question).await;
}

/// `:8443`, `10.0.0.1:8443`, `[::]:8443`; nothing is nowhere.
fn parse_listen(text: &str) -> Result<Listen, String> {
    let parse = || -> anyhow::Result<Listen> {
        if text.is_empty() {
            return Ok(None);
        }
        let (host, port) = text.rsplit_once(':').context("there is no port")?;
        let port: u16 = port.parse().context("the port is no number below 65536")?;
        let host = match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
            _ if host.is_empty() => any_address(),
            Some(Some(host)) => IpAddr::V6(host.parse::<Ipv6Addr>()?),
            _ => {
                ensure!(!host.contains(':'), "an IPv6 address is written in brackets");
                host.parse::<IpAddr>()?
            }
        };
        Ok(Some(SocketAddr::new(host, port)))
    };
    parse().map_err(|error| format!("{text:?} is no address to listen on: {error}; write it like :8443"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        admission: AdmissionFlags,
    }

    fn parse(arguments: &[&str]) -> Result<AdmissionFlags, clap::Error> {
        Line::try_parse_from([&["genkan"], arguments].concat()).map(|line| line.admission)
    }

    #[test]
    fn the_address_is_written_as_for_ingress_nginx() {
        assert_eq!(parse_listen(""), Ok(None));
        assert_eq!(parse_listen(":8443").unwrap().unwrap().port(), 8443);
        assert!(parse_listen(":8443").unwrap().unwrap().ip().is_unspecified());
        assert_eq!(parse_listen("127.0.0.1:1").unwrap().unwrap().to_string(), "127.0.0.1:1");
        assert_eq!(parse_listen("[::1]:1").unwrap().unwrap().to_string(), "[::1]:1");
        for text in ["8443", "a:8443", ":x", ":70000", "::1:8443"] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn flags_of_a_certificate_go_together() {
        assert!(parse(&["--validating-webhook=:1", "--validating-webhook-certificate=a"]).is_err());
        assert!(parse(&["--validating-webhook-certificate=a", "--validating-webhook-key=b"]).is_ok());
        let own = [
            "--validating-webhook=:1",
            "--validating-webhook-service=a/b",
            "--validating-webhook-configuration=c",
            "--validating-webhook-secret=a/d",
        ];
        assert!(parse(&own).unwrap().keeper().is_some());
        assert!(parse(&own[..3]).is_err());
        let files = ["--validating-webhook-certificate=a", "--validating-webhook-key=b"];
        assert!(parse(&[&own[..], &files].concat()).is_err());
    }
}
