//! `genkan controller`: serve what an API server says.

mod accepted;
mod admission;
mod flags;
mod metrics_flags;
mod place;
mod source;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use genkan_proxy::Proxy;
use genkan_proxy::metrics::ConstantLabels;

use self::accepted::AcceptedFlags;
use self::admission::AdmissionFlags;
use self::flags::ClusterFlags;
use self::metrics_flags::MetricsFlags;
use self::source::Cluster;
use super::process::{Place, ProcessFlags};
use super::serve::{Serve, Server};
use crate::admin::{AdminState, Details};
use crate::cli::flags::TranslateFlags;
use crate::cli::input::{count, plural};
use crate::settings::Settings;
use crate::status::OwnPod;
use crate::watch::connect;

/// Serve what the objects of a cluster say, and write their status
///
/// Flags have ingress-nginx's names and meanings; those of it that can have no effect here are accepted with a warning.
/// POD_NAMESPACE and POD_NAME say which Pod this is. SIGTERM drains: not ready, no new connections after
/// --shutdown-grace-period, running requests finish within --worker-shutdown-timeout, exit 0. A second one ends at once.
#[derive(Args, Debug)]
pub(in crate::cli) struct Controller {
    #[command(flatten)]
    translate: TranslateFlags,

    #[command(flatten)]
    cluster: ClusterFlags,

    #[command(flatten)]
    admission: AdmissionFlags,

    #[command(flatten)]
    metrics: MetricsFlags,

    #[command(flatten)]
    process: ProcessFlags,

    #[command(flatten)]
    accepted: AcceptedFlags,
}

impl Controller {
    pub(in crate::cli) fn run(&self) -> anyhow::Result<ExitCode> {
        self.process.start_log()?;
        for warning in self.accepted.warnings().into_iter().chain(self.metrics.warnings()) {
            tracing::warn!("{warning}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.serve())
    }

    async fn serve(&self) -> anyhow::Result<ExitCode> {
        let metrics = self.metrics.settings()?;
        let client = connect(&self.cluster.access()).await?;
        let pod = OwnPod::from_environment(client.default_namespace());
        let mut settings = self.settings();
        if self.cluster.enable_topology_aware_routing {
            settings.topology = place::of_pod(&client, &pod).await;
        }
        let mut proxy = self.process.proxy_config();
        proxy.metrics = metrics;
        proxy.metrics_labels = ConstantLabels {
            namespace: pod.namespace.clone(),
            class: settings.controller_class.clone(),
            pod: pod.name.clone(),
        };
        let serve = Serve {
            settings: settings.clone(),
            proxy,
            drain_delay: self.process.drain_delay(),
            linger: Duration::from_secs(self.cluster.post_shutdown_grace_period),
            admin_at: self.process.admin_at(Place::Cluster),
            health_path: self.process.health_check_path.clone(),
        };
        let source = |proxy: &Arc<Proxy>, admin: &Arc<AdminState>| {
            let source = Cluster::start(client, pod, &settings, (&self.cluster, &self.admission), proxy)?;
            let health = source.health();
            admin.set_details(move || Details { readiness: health.details(), metrics: health.metrics() });
            Ok(source)
        };
        serve.run(source, greet).await.context("genkan controller")
    }

    fn settings(&self) -> Settings {
        let mut settings = self.translate.cluster_settings();
        settings.namespace_selector = self.cluster.watch_namespace_selector.clone();
        settings
    }
}

fn greet(server: &Server<Cluster>) {
    let model = server.control.snapshot().model();
    let hosts: usize = model.tables.values().map(|table| table.hosts.len()).sum();
    let listening: Vec<_> = server.published.bound.iter().map(|(id, address)| format!("{id} {address}")).collect();
    tracing::info!(
        serving = format!("{}, {}", plural(hosts, "host"), plural(model.rules.len(), "rule")),
        listening = listening.join(", "),
        admin = %server.admin_server.address(),
        problems = count(&server.problems),
        "genkan {}",
        env!("CARGO_PKG_VERSION"),
    );
}
