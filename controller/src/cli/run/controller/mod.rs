//! `genkan controller`: serve what an API server says.

mod accepted;
mod admission;
mod flags;
mod metrics_flags;
mod place;
mod source;
mod unwritten;
mod writing;

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
use crate::admin::{AdminState, Audience};
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
#[command(version, args_override_self = true)]
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
        self.process.start_log(self.cluster.log_level())?;
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
        let settings = self.settings();
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
            audience: if self.cluster.expose_configuration { Audience::Everybody } else { Audience::Loopback },
        };
        let source = |proxy: &Arc<Proxy>, admin: &Arc<AdminState>| {
            let source = Cluster::start(client, pod, &settings, (&self.cluster, &self.admission), proxy)?;
            admin.set_details(source.details());
            Ok(source)
        };
        serve.run(source, greet).await.context("genkan controller")
    }

    fn settings(&self) -> Settings {
        let mut settings = self.translate.cluster_settings();
        settings.watch_namespace = self.cluster.watch_namespace.as_deref().map(Into::into);
        settings.namespace_selector = self.cluster.watch_namespace_selector.clone();
        settings.target_ports = self.cluster.target_ports();
        settings.update_status = self.cluster.update_status;
        settings.webhook_port = self.admission.port();
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
        problems = count(&server.problems()),
        "genkan {}",
        env!("CARGO_PKG_VERSION"),
    );
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::compatible::spelled_out;

    #[derive(Parser)]
    #[command(version)]
    struct Line {
        #[command(flatten)]
        controller: Controller,
    }

    /// Every flag of ingress-nginx 1.15 with its default, save those that may not be given together.
    const INGRESS_NGINX: &str = "
        --annotations-prefix=nginx.ingress.kubernetes.io --apiserver-host= --bucket-factor=0 --certificate-authority=
        --configmap= --controller-class=k8s.io/ingress-nginx --deep-inspect=true --default-backend-service=
        --default-server-port=8181 --default-ssl-certificate= --disable-catch-all=false --disable-full-test=false
        --disable-leader-election=false --disable-svc-external-name=false --disable-sync-events=false
        --dynamic-configuration-retries=15 --election-id=ingress-controller-leader --election-ttl=30s
        --enable-annotation-validation=true --enable-metrics=false --enable-ssl-chain-completion=false
        --enable-topology-aware-routing=false --exclude-socket-metrics= --health-check-path=/healthz
        --health-check-timeout=10 --healthz-host= --healthz-port=10254 --http-port=80 --https-port=443
        --ingress-class=nginx --ingress-class-by-name=false --internal-logger-address=127.0.0.1:11514 --kubeconfig=
        --length-buckets=10,20,30,40,50,60,70,80,90,100 --max-buckets=100 --maxmind-edition-ids=GeoLite2-City
        --maxmind-license-key= --maxmind-mirror= --maxmind-retries-count=1 --maxmind-retries-timeout=0s
        --metrics-per-host=true --metrics-per-undefined-host=false --monitor-max-batch-size=10000
        --post-shutdown-grace-period=10 --profiler-address=127.0.0.1 --profiler-port=10245 --profiling=true
        --publish-service= --publish-status-address= --report-node-internal-ip-address=false
        --report-status-classes=false --shutdown-grace-period=0 --size-buckets=10,100,1000 --ssl-passthrough-proxy-port=442
        --status-port=10246 --status-update-interval=60 --stream-port=10247 --sync-period=0s --sync-rate-limit=0.3
        --tcp-services-configmap= --time-buckets=0.005,0.01,0.025 --udp-services-configmap= --update-status=true
        --update-status-on-shutdown=true -v=0 --validating-webhook= --validating-webhook-certificate=
        --validating-webhook-key= --watch-ingress-without-class=false --watch-namespace= --watch-namespace-selector=
        --logtostderr=true --alsologtostderr=false --stderrthreshold=2 --vmodule= --log_dir= --log_file=
        --log_file_max_size=1800 --add_dir_header=false --skip_headers=false --skip_log_headers=false
        --one_output=false --log_backtrace_at=:0";

    fn controller(arguments: &[&str]) -> Result<Controller, clap::Error> {
        let given = ["genkan"].into_iter().chain(arguments.iter().copied()).map(Into::into).collect();
        Line::try_parse_from(spelled_out(given)).map(|line| line.controller)
    }

    #[test]
    fn every_flag_of_ingress_nginx_is_taken_with_its_default() {
        let given: Vec<_> = INGRESS_NGINX.split_whitespace().collect();
        let all = controller(&given).unwrap_or_else(|error| panic!("{error}"));
        let none = controller(&[]).unwrap();
        assert_eq!(format!("{:?}", all.cluster), format!("{:?}", none.cluster));
        assert_eq!(format!("{:?}", all.admission), format!("{:?}", none.admission));
        // A --controller-class that is given is the only one; without it our own is ours besides.
        assert!(none.settings().own_controller_class);
        let expected = Settings { own_controller_class: false, ..none.settings() };
        assert_eq!(format!("{:?}", all.settings()), format!("{expected:?}"));
        assert!(none.accepted.warnings().is_empty());
        assert!(all.accepted.warnings().iter().all(|warning| warning.contains(" has no effect: ")));
    }

    #[test]
    fn the_last_of_two_counts() {
        let given = controller(&["--watch-namespace=a", "--watch-namespace=b", "--http-port=1", "--http-port", "2"]);
        let given = given.unwrap();
        assert_eq!(given.cluster.watch_namespace.as_deref(), Some("b"));
        assert_eq!(given.settings().http_port, 2);
    }

    #[test]
    fn verbosity_is_a_log_level_and_a_log_level_goes_before_it() {
        for (arguments, level) in
            [(&[][..], "info"), (&["-v=1"], "info"), (&["-v", "2"], "debug"), (&["--v=5"], "debug")]
        {
            assert_eq!(controller(arguments).unwrap().cluster.log_level(), level, "{arguments:?}");
        }
        assert_eq!(controller(&["--version"]).unwrap_err().kind(), clap::error::ErrorKind::DisplayVersion);
    }
}
