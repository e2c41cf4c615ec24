//! `genkan run`: serve manifests until told to stop. The only part of this crate that touches the proxy.
//!
//! ```text
//!  watcher, DNS --> Resources --> Control --> snapshot --> Proxy::publish
//!                                     +--> report --> log, admin
//! ```

mod backends;
mod measure;
mod serve;
mod summary;

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use genkan_proxy::config::{AccessLogOutput, ProxyConfig};

use super::flags::TranslateFlags;

/// Serve manifests, and every change of them at once
///
/// SIGTERM (or Ctrl-C) drains: not ready, no new connections after --shutdown-grace-period, running requests finish
/// within --worker-shutdown-timeout, exit 0. A second one ends at once.
#[derive(Args, Debug)]
pub(super) struct Run {
    /// A manifest, or a folder of manifests; watched while it is served
    path: PathBuf,

    #[command(flatten)]
    translate: TranslateFlags,

    #[command(flatten)]
    process: ProcessFlags,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "The process")]
struct ProcessFlags {
    /// Port for /healthz, /readyz, /metrics, /snapshot and /problems; 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = 10254)]
    healthz_port: u16,

    /// Address for --healthz-port
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    healthz_host: IpAddr,

    /// Threads that serve; 0 is one per core that this process may use
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,

    /// Seconds in which connections are still accepted after SIGTERM, for load balancers to notice
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    shutdown_grace_period: u64,

    /// Seconds in which running requests may finish after that
    #[arg(long, value_name = "SECONDS", default_value_t = 240)]
    worker_shutdown_timeout: u64,

    /// How messages of Genkan itself are written to standard error
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,

    /// Which messages are written, as in info or genkan_proxy=debug
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log_level: String,

    /// Do not print command lines to try
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// For machines
    Json,
}

impl Run {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            self.path.exists(),
            "{} does not exist: give a manifest or a folder of manifests",
            self.path.display()
        );
        self.process.start_log()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(serve::serve(self))
    }

    fn proxy_config(&self) -> ProxyConfig {
        ProxyConfig {
            workers: self.process.workers,
            drain_delay: Duration::from_secs(self.process.shutdown_grace_period),
            drain_timeout: Duration::from_secs(self.process.worker_shutdown_timeout),
            access_log: AccessLogOutput::Stdout,
            ..ProxyConfig::default()
        }
    }
}

impl ProcessFlags {
    fn start_log(&self) -> anyhow::Result<()> {
        let filter = tracing_subscriber::EnvFilter::try_new(&self.log_level)?;
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
}
