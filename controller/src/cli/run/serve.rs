//! Serving: the loop from changes to published snapshots, and the end.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use genkan_proxy::{Proxy, Published};
use genkan_routing::report::Severity;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::backends::Backends;
use super::summary::Summary;
use super::{Run, measure};
use crate::admin::{AdminServer, AdminState, Condition};
use crate::certificate::generate_fallback;
use crate::cli::input::{LocatedProblem, Place, located};
use crate::control::{Control, Step};
use crate::dns::Resolver;
use crate::files::Watcher;
use crate::resources::Kind;
use crate::translate::Change;

/// Serves until a signal says otherwise.
pub(super) async fn serve(run: &Run) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let mut server = Server::start(run).await?;
    server.greet(run);
    loop {
        tokio::select! {
            update = server.watcher.changed() => server.changed(update.changes).await,
            answer = server.resolver.next() => {
                let change = answer.apply(server.watcher.store_mut().resources_mut());
                server.changed(change.into_iter().collect()).await;
            }
            () = signals.next() => break,
        }
    }
    let drained = server.drain();
    tokio::select! {
        cut_off = drained => {
            if cut_off > 0 {
                tracing::warn!(cut_off, "connections were still open at the end of the drain time");
            }
            Ok(ExitCode::SUCCESS)
        }
        () = signals.next() => {
            tracing::warn!("told to stop a second time: not waiting for running requests");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The signals that end a process: SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let of = |kind| signal(kind).context("signals can't be received");
        Ok(Self { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Everything that runs.
struct Server {
    watcher: Watcher,
    resolver: Resolver,
    control: Control,
    proxy: Arc<Proxy>,
    admin: Arc<AdminState>,
    admin_server: AdminServer,
    backends: Backends,
    published: Published,
    /// How many tables were published.
    generation: u64,
    problems: BTreeSet<LocatedProblem>,
    /// `--ingress-class`, for metrics.
    class: String,
}

impl Server {
    async fn start(run: &Run) -> anyhow::Result<Self> {
        let mut settings = run.translate.settings();
        settings.fallback_certificate = Some(Arc::new(generate_fallback()?));
        let process = &run.process;
        let admin_at = SocketAddr::new(process.healthz_host, process.healthz_port);
        let proxy = Arc::new(Proxy::start(run.proxy_config())?);
        let metrics = proxy.metrics().clone();
        let admin = AdminState::new(move || metrics.encode());
        let admin_server = AdminServer::start(admin_at, admin.clone())
            .with_context(|| format!("cannot listen on {admin_at}: choose another --healthz-port"))?;

        let mut watcher = Watcher::open(run.path.as_path());
        let mut resolver = Resolver::new(crate::dns::Options::default()).context("names can't be resolved")?;
        resolver.follow(watcher.store_mut().resources_mut());
        let control = Control::new(settings, watcher.store().resources());
        let mut backends = Backends::default();
        backends.follow(watcher.store().resources()).await;
        let published = Published::default();
        let mut server = Self {
            watcher,
            resolver,
            control,
            proxy,
            admin,
            admin_server,
            backends,
            published,
            generation: 0,
            problems: BTreeSet::new(),
            class: run.translate.ingress_class.clone(),
        };
        server.admin.set(Condition::SourcesListed, true);
        server.publish();
        server.tell_problems(false);
        Ok(server)
    }

    /// Takes changes of the resources (none: only the problems of files) to the proxy.
    async fn changed(&mut self, mut changes: BTreeSet<Change>) {
        let touches = |kind| changes.iter().any(|change| matches!(change, Change::Object(key) if key.kind == kind));
        let (services, slices) = (touches(Kind::Service), touches(Kind::EndpointSlice));
        if services {
            changes.extend(self.resolver.follow(self.watcher.store_mut().resources_mut()));
        }
        let Step { model_changed, .. } = self.control.apply(self.watcher.store().resources(), &changes);
        if model_changed {
            self.publish();
        }
        self.tell_problems(true);
        if slices {
            self.backends.follow(self.watcher.store().resources()).await;
        }
    }

    fn publish(&mut self) {
        self.published = self.proxy.publish(self.control.snapshot().clone());
        for (listener, error) in &self.published.failed {
            tracing::error!(%listener, %error, "a port can't be used: its listener is not served");
        }
        self.generation += 1;
        let (model, whole) = (self.control.snapshot().model(), self.published.failed.is_empty());
        measure::published(self.proxy.metrics(), model, &self.class, self.generation, whole);
        self.admin.set_model(model.clone());
        self.admin.set(Condition::TableLive, true);
        // Once ready, a port that fails later costs only its own listener.
        if whole {
            self.admin.set(Condition::PortsBound, true);
        }
    }

    /// Writes what is newly wrong, and what no longer is, to the log; everything to the admin port.
    fn tell_problems(&mut self, log: bool) {
        let store = self.watcher.store();
        let mut problems = located(&store.problems(), self.control.report(), |key| store.source(key));
        let of_names = self.resolver.problems();
        problems.extend(of_names.into_iter().map(|problem| LocatedProblem { place: Place::default(), problem }));
        let problems: BTreeSet<_> = problems.into_iter().collect();
        if log {
            for problem in problems.difference(&self.problems) {
                match problem.problem.severity {
                    Severity::Error => tracing::error!("{problem}"),
                    Severity::Warning => tracing::warn!("{problem}"),
                    Severity::Info => tracing::info!("{problem}"),
                }
            }
            for problem in self.problems.difference(&problems) {
                tracing::info!("mended: {}: {}", problem.problem.origin, problem.problem.reason);
            }
        }
        let all: Vec<_> = problems.iter().map(|located| located.problem.clone()).collect();
        measure::problems(self.proxy.metrics(), &all);
        self.admin.set_problems(all);
        self.problems = problems;
    }

    fn greet(&self, run: &Run) {
        let store = self.watcher.store();
        let summary = Summary {
            path: &run.path,
            resources: store.resources(),
            other_kinds: &store.other_kinds(),
            model: self.control.snapshot().model(),
            problems: &self.problems,
            bound: &self.published.bound,
            admin: self.admin_server.address(),
            backends: self.backends.count(),
            try_it: !run.process.quiet,
        };
        eprint!("{}", summary.text());
    }

    /// Stops serving; see the module `genkan_proxy`. Returns how many connections had to be cut off.
    async fn drain(&self) -> usize {
        tracing::info!("draining: running requests finish, new ones go elsewhere");
        self.admin.drain();
        self.proxy.drain().await
    }
}
