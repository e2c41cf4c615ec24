//! Flags about the process: threads, log, the admin port, the end.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use genkan_proxy::config::{AccessLogOutput, ProxyConfig};

/// Flags about the process.
#[derive(Args, Debug)]
#[command(next_help_heading = "The process")]
pub(super) struct ProcessFlags {
    /// Port for /healthz, /readyz, /metrics, /snapshot, /problems and /statuses; 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = 10254)]
    pub(super) healthz_port: u16,

    /// Address for --healthz-port [default: every address in a cluster, 127.0.0.1 for files]
    #[arg(long, value_name = "IP")]
    healthz_host: Option<IpAddr>,

    /// Path that answers 200 while the process is healthy, besides /healthz
    #[arg(long, value_name = "PATH", default_value = "/healthz")]
    pub(super) health_check_path: String,

    /// Threads that serve; 0 is one per core that this process may use
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,

    /// Seconds in which connections are still accepted after SIGTERM, for load balancers to notice
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    shutdown_grace_period: u64,

    /// Seconds in which running requests may finish after that, 0: as long as they want; goes before the ConfigMap's key
    /// of this name, and is 240 without either
    #[arg(long, value_name = "SECONDS")]
    worker_shutdown_timeout: Option<u64>,

    /// The most memory for bodies of requests and responses that are buffered, as in 64m; a namespace's routes have no more
    /// than they leave free. What is over it is streamed, or answered with 503 where a RoutePolicy wants it buffered
    #[arg(long, value_name = "SIZE", default_value = "256m", value_parser = memory)]
    buffer_memory: usize,

    /// How messages of Genkan itself are written to standard error
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,

    /// Which messages are written, as in info or genkan_proxy=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// For machines
    Json,
}

/// Where the process runs: defaults differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On files, on somebody's machine.
    Files,
    /// In a cluster, where the kubelet probes it.
    Cluster,
}

impl ProcessFlags {
    /// Starts the log, at this level unless --log-level says another.
    pub(super) fn start_log(&self, default_level: &str) -> anyhow::Result<()> {
        let level = self.log_level.as_deref().unwrap_or(default_level);
        // The client for the API server calls every failed attempt an error; `watch` tells what follows from them.
        let filter = tracing_subscriber::EnvFilter::try_new(format!("kube_client=off,{level}")).with_context(|| {
            format!("--log-level={level} is no filter: write it like info or info,genkan_proxy=debug")
        })?;
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            // Colours are for terminals; in a file they are noise.
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false);
        match self.log_format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
        Ok(())
    }

    /// Where the admin port is.
    pub(super) fn admin_at(&self, place: Place) -> SocketAddr {
        let host = self.healthz_host.unwrap_or_else(|| match place {
            Place::Files => Ipv4Addr::LOCALHOST.into(),
            Place::Cluster => any_address(),
        });
        SocketAddr::new(host, self.healthz_port)
    }

    /// The proxy's part.
    pub(super) fn proxy_config(&self) -> ProxyConfig {
        ProxyConfig {
            workers: self.workers,
            drain_delay: self.drain_delay(),
            drain_timeout: self.worker_shutdown_timeout.map(Duration::from_secs),
            access_log: AccessLogOutput::Stdout,
            buffer_memory: self.buffer_memory,
            ..ProxyConfig::default()
        }
    }

    /// `--shutdown-grace-period`.
    pub(super) fn drain_delay(&self) -> Duration {
        Duration::from_secs(self.shutdown_grace_period)
    }
}

/// Bytes, with an optional unit.
fn memory(text: &str) -> Result<usize, String> {
    let size = genkan_annotations::value::size(text).map_err(|error| error.to_string())?;
    usize::try_from(size).map_err(|_| "it is more than there can be".to_owned())
}

/// Every address, of both families where the system has both.
pub(super) fn any_address() -> IpAddr {
    let has_ipv6 = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    if has_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}
