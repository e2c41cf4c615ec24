//! Serving: the loop from changes to published snapshots, and the end.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use genkan_proxy::config::ProxyConfig;
use genkan_proxy::{Proxy, Published};
use genkan_routing::report::{Change as News, Severity};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::measure::Measured;
use super::source::Source;
use super::told::Told;
use crate::admin::{AdminServer, AdminState, Audience, Condition};
use crate::certificate::generate_fallback;
use crate::cli::input::LocatedProblem;
use crate::control::{Control, Step};
use crate::dns::Resolver;
use crate::settings::Settings;
use crate::status::Bound;
use crate::translate::Change;

/// How soon a port that can't be bound is tried again.
const REBIND: Duration = Duration::from_secs(1);
/// It is tried at least so often.
const LONGEST_REBIND: Duration = Duration::from_secs(30);

/// What serving needs to know besides its source.
pub(super) struct Serve {
    pub(super) settings: Settings,
    pub(super) proxy: ProxyConfig,
    /// `--shutdown-grace-period`.
    pub(super) drain_delay: Duration,
    /// `--post-shutdown-grace-period`.
    pub(super) linger: Duration,
    /// Where the admin port is.
    pub(super) admin_at: SocketAddr,
    /// `--health-check-path`.
    pub(super) health_path: String,
    /// Who is told what is served.
    pub(super) audience: Audience,
}

impl Serve {
    /// Serves until a signal says otherwise. `source` is made when metrics can be told; `greet` says what is served.
    pub(super) async fn run<S: Source>(
        self,
        source: impl FnOnce(&Arc<Proxy>, &Arc<AdminState>) -> anyhow::Result<S>,
        greet: impl FnOnce(&Server<S>),
    ) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new()?;
        let (delay, linger) = (self.drain_delay, self.linger);
        let mut base = Base::new(self, source)?;
        let begun = tokio::select! {
            begun = base.begin() => begun.map(Some),
            () = signals.next() => Ok(None),
        };
        let (resolver, control) = match begun {
            Ok(Some(begun)) => begun,
            ended => return base.end(&mut signals, ended.map(drop)).await,
        };
        let mut server = Server::start(base, resolver, control);
        greet(&server);
        let mut drained: Option<Drain> = None;
        loop {
            let rebind = server.rebind.filter(|_| drained.is_none()).map(|(at, _)| at);
            // While it drains, changes are still followed: running connections send further requests, and backends go.
            tokio::select! {
                changes = server.source.changed(&server.control) => server.changed(changes).await,
                () = time_of(rebind) => server.rebind(),
                answer = server.resolver.next() => {
                    let change = answer.apply(server.source.resources_mut());
                    server.changed(change.into_iter().collect()).await;
                }
                cut_off = end_of(&mut drained) => {
                    if cut_off > 0 {
                        tracing::warn!(cut_off, "connections were still open at the end of the drain time");
                    }
                    break;
                }
                () = signals.next() => {
                    if drained.is_some() {
                        tracing::warn!("told to stop a second time: not waiting for running requests");
                        return Ok(ExitCode::FAILURE);
                    }
                    drained = Some(server.drain(delay));
                }
            }
        }
        tokio::select! {
            () = async { server.source.left().await; tokio::time::sleep(linger).await } => Ok(ExitCode::SUCCESS),
            () = signals.next() => Ok(ExitCode::FAILURE),
        }
    }
}

/// The end of the proxy; gives how many connections had to be cut off.
type Drain = Pin<Box<dyn Future<Output = usize>>>;

/// Waits for the end, once it has begun.
async fn end_of(drain: &mut Option<Drain>) -> usize {
    match drain {
        Some(drain) => drain.await,
        None => std::future::pending().await,
    }
}

/// Waits for a time, if there is one.
async fn time_of(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
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
pub(super) struct Server<S> {
    pub(super) source: S,
    pub(super) control: Control,
    pub(super) admin_server: AdminServer,
    pub(super) published: Published,
    /// The same, as statuses tell it.
    bound: Arc<Bound>,
    resolver: Resolver,
    proxy: Arc<Proxy>,
    admin: Arc<AdminState>,
    /// How many tables were published.
    generation: u64,
    /// When ports that can't be bound are tried again, and the wait after that.
    rebind: Option<(Instant, Duration)>,
    /// Whether the ports are closed, or about to be.
    draining: bool,
    told: Told,
    measured: Measured,
    /// `--ingress-class`, for metrics.
    class: String,
}

/// What runs before anything is served.
struct Base<S> {
    source: S,
    settings: Settings,
    admin_server: AdminServer,
    proxy: Arc<Proxy>,
    admin: Arc<AdminState>,
}

impl<S: Source> Base<S> {
    fn new(
        serve: Serve,
        source: impl FnOnce(&Arc<Proxy>, &Arc<AdminState>) -> anyhow::Result<S>,
    ) -> anyhow::Result<Self> {
        let mut settings = serve.settings;
        settings.fallback_certificate = Some(Arc::new(generate_fallback()?));
        settings.healthz_port = serve.admin_at.port();
        let proxy = Arc::new(Proxy::start(serve.proxy)?);
        let metrics = proxy.metrics().clone();
        let admin = AdminState::new(serve.health_path, serve.audience, move || metrics.encode());
        let admin_server = AdminServer::start(serve.admin_at, admin.clone())
            .with_context(|| format!("cannot listen on {}: choose another --healthz-port", serve.admin_at))?;
        let source = source(&proxy, &admin)?;
        Ok(Self { source, settings, admin_server, proxy, admin })
    }

    /// Waits until there is something to serve.
    async fn begin(&mut self) -> anyhow::Result<(Resolver, Control)> {
        let source = &mut self.source;
        source.load().await?;
        let mut resolver = Resolver::new(crate::dns::Options::default()).context("names can't be resolved")?;
        resolver.follow(source.resources_mut());
        let mut control = Control::new(self.settings.clone(), source.resources());
        source.complete(&mut control).await;
        // More may have come by now. No name has an answer yet.
        resolver.follow(source.resources_mut());
        Ok((resolver, control))
    }

    /// Ends before anything was served, told to or because of an error. What is ours by now, a Lease for example, is
    /// given back.
    async fn end(mut self, signals: &mut Signals, why: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
        self.source.leave(Duration::ZERO);
        tokio::select! {
            () = self.source.left() => {}
            () = signals.next() => return Ok(ExitCode::FAILURE),
        }
        why?;
        tracing::info!("told to stop before anything was served");
        Ok(ExitCode::SUCCESS)
    }
}

/// What the proxy bound, as statuses tell it.
fn bound(published: &Published) -> Bound {
    Bound {
        bound: published.bound.iter().map(|(id, _)| id.clone()).collect(),
        failed: published.failed.iter().map(|(id, error)| (id.clone(), error.to_string())).collect(),
    }
}

impl<S: Source> Server<S> {
    fn start(base: Base<S>, resolver: Resolver, control: Control) -> Self {
        let Base { source, settings, admin_server, proxy, admin } = base;
        let published = Published::default();
        let mut server = Self {
            source,
            control,
            admin_server,
            published,
            bound: Arc::default(),
            resolver,
            proxy,
            admin,
            generation: 0,
            rebind: None,
            draining: false,
            told: Told::default(),
            measured: Measured::default(),
            class: settings.ingress_class,
        };
        server.admin.set(Condition::SourcesListed, true);
        server.publish();
        server.tell_statuses();
        server.tell_problems(false);
        server
    }

    /// Takes changes of the resources (none: only the source's problems) to the proxy.
    async fn changed(&mut self, mut changes: BTreeSet<Change>) {
        let stale = self.resolver.follow_changes(self.source.resources_mut(), &changes);
        changes.extend(stale);
        if !changes.is_empty() {
            let Step { model_changed, .. } = self.control.apply(self.source.resources(), &changes);
            if model_changed {
                self.publish();
            }
        }
        self.tell_problems(true);
        self.source.retell(self.told.all());
        self.source.settle(&mut self.control, &changes).await;
        self.tell_statuses();
    }

    /// Tries them again: an address may be on this host by now, and a port given up by whoever had it.
    fn rebind(&mut self) {
        self.publish();
        self.tell_statuses();
    }

    /// Plans the next attempt. Each waits twice as long as the one before.
    fn plan_rebind(&mut self) {
        let wait = self.rebind.map_or(REBIND, |(_, wait)| wait);
        let failed = !self.published.failed.is_empty();
        self.rebind = failed.then(|| (Instant::now() + wait, (wait * 2).min(LONGEST_REBIND)));
    }

    fn publish(&mut self) {
        let before = std::mem::replace(&mut self.published, self.proxy.publish(self.control.snapshot().clone()));
        for (listener, error) in &self.published.failed {
            let known = before.failed.iter().any(|(other, _)| other == listener);
            if !known {
                tracing::error!(%listener, %error, "a port can't be used: its listener is not served");
            }
        }
        self.plan_rebind();
        let bound = bound(&self.published);
        // Whoever drains has closed its ports: that is no news about Gateways, which other replicas serve.
        if !self.draining && *self.bound != bound {
            self.bound = Arc::new(bound);
        }
        self.generation += 1;
        let (model, whole) = (self.control.snapshot().model(), self.published.failed.is_empty());
        self.measured.published(self.proxy.metrics(), model, &self.class, self.generation, whole);
        self.admin.set_model(model.clone());
        self.admin.set(Condition::TableLive, true);
        // Once ready, a port that fails later costs only its own listener.
        if whole {
            self.admin.set(Condition::PortsBound, true);
        }
    }

    /// Tells the source and the admin port what is to be said about objects, and what of it is true.
    fn tell_statuses(&mut self) {
        self.admin.set_statuses(self.control.statuses().clone(), self.bound.clone());
        self.source.served(&self.control, &self.bound);
    }

    /// Everything that is wrong, with places.
    pub(super) fn problems(&self) -> BTreeSet<LocatedProblem> {
        self.told.all().problems().map(|problem| self.told.locate(problem, &self.source)).collect()
    }

    /// Writes what is newly wrong, and what no longer is, to the log; everything to the admin port. The cost follows from
    /// what is new and what is gone: there may be thousands, and nearly always nothing is.
    fn tell_problems(&mut self, log: bool) {
        let of_names = self.resolver.problems();
        let Some(before) = self.told.take(self.control.report(), &self.source, of_names) else { return };
        for (news, problem) in before.changes(self.told.all()) {
            self.measured.problem(self.proxy.metrics(), news, problem);
            match news {
                News::Came => {
                    self.source.found(problem);
                    let located = self.told.locate(problem, &self.source);
                    match problem.severity {
                        _ if !log => {}
                        Severity::Error => tracing::error!("{located}"),
                        Severity::Warning => tracing::warn!("{located}"),
                        Severity::Info => tracing::info!("{located}"),
                    }
                }
                News::Went if log => tracing::info!("mended: {}: {}", problem.origin, problem.reason),
                News::Went => {}
            }
        }
        self.admin.set_problems(self.told.all().clone());
    }

    /// Stops serving; see the module `genkan_proxy`.
    fn drain(&mut self, delay: Duration) -> Drain {
        tracing::info!("draining: running requests finish, new ones go elsewhere");
        self.draining = true;
        self.admin.drain();
        self.source.leave(delay);
        let proxy = self.proxy.clone();
        Box::pin(async move { proxy.drain().await })
    }
}
