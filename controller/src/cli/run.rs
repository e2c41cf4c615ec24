//! `genkan run` and `genkan controller`: serve until told to stop. The only part of this crate that touches the proxy.
//!
//! ```text
//!  files, API server, DNS --> Resources --> Control --> snapshot --> Proxy::publish
//!                                               +--> report --> log, admin, Events
//! ```

mod backends;
mod controller;
mod measure;
mod process;
mod serve;
mod source;
mod summary;
mod told;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use self::backends::Backends;
pub(super) use self::controller::Controller;
use self::process::{Place, ProcessFlags};
use self::serve::{Serve, Server};
use self::source::Files;
use self::summary::Summary;
use super::flags::TranslateFlags;
use crate::admin::Audience;
use crate::files::Watcher;

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

    /// Do not print command lines to try
    #[arg(long)]
    quiet: bool,
}

impl Run {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            self.path.exists(),
            "{} does not exist: give a manifest or a folder of manifests",
            self.path.display()
        );
        self.process.start_log("info")?;
        let serve = Serve {
            settings: self.translate.settings(),
            proxy: self.process.proxy_config(),
            drain_delay: self.process.drain_delay(),
            linger: Duration::ZERO,
            admin_at: self.process.admin_at(Place::Files),
            health_path: self.process.health_check_path.clone(),
            // Whoever opened the port to others did so by --healthz-host.
            audience: Audience::Everybody,
        };
        let files =
            || Files { watcher: Watcher::open(self.path.as_path()), backends: Backends::default(), revision: 0 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(serve.run(|_, _| Ok(files()), |server| self.greet(server)))
    }

    fn greet(&self, server: &Server<Files>) {
        let store = server.source.watcher.store();
        let summary = Summary {
            path: &self.path,
            resources: store.resources(),
            other_kinds: &store.other_kinds(),
            model: server.control.snapshot().model(),
            problems: &server.problems(),
            bound: &server.published.bound,
            admin: server.admin_server.address(),
            backends: server.source.backends.count(),
            try_it: !self.quiet,
        };
        eprint!("{}", summary.text());
    }
}
