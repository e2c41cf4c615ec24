//! The admin server on `--healthz-port`: probes, metrics, and what is served and what is wrong.
//!
//! | Path | Answer |
//! |---|---|
//! | `/healthz` | 200 while serving, 500 while draining (as ingress-nginx); also under `--health-check-path` |
//! | `/readyz` | 200 when every [`Condition`] holds, else 503 with what is missing |
//! | `/metrics` | text for Prometheus |
//! | `/snapshot` | the model that is served, as YAML, without private keys |
//! | `/problems` | what is wrong: text, or JSON by `Accept: application/json` |
//! | `/statuses` | what the status of every object of Gateway API is to say, as YAML; of files as well |
//!
//! The last three show the configuration of everybody whose objects are served. In a cluster the port is open to every
//! Pod, so there they answer to loopback only ([`Audience`]).
//!
//! It runs on a thread and a runtime of its own, so that a busy controller or proxy cannot fail a probe, and it knows
//! nothing of the proxy: [`AdminState`] is told.

mod respond;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use genkan_routing::model::Model;
use genkan_routing::report::Report;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::side_server::SideServer;
use crate::status::Bound;
use crate::translate::Statuses;

/// A request's head must arrive within this time, also on a kept connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// No connection is older, so that a client that reads slowly or not at all gives its place back.
const MAX_AGE: Duration = Duration::from_secs(600);

/// What must hold before Genkan is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// Every source (kind of object, folder) was listed once.
    SourcesListed,
    /// The first routing table is live.
    TableLive,
    /// The ports of that table are bound.
    PortsBound,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 3] = [Self::SourcesListed, Self::TableLive, Self::PortsBound];

    /// What to say while it does not hold.
    fn missing(self) -> &'static str {
        match self {
            Self::SourcesListed => "the sources are not listed yet",
            Self::TableLive => "there is no routing table yet",
            Self::PortsBound => "the ports are not bound",
        }
    }
}

/// Who is told what is served and what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Whoever reaches the port.
    Everybody,
    /// Peers on loopback: the machine itself, or whatever shares our Pod, `kubectl port-forward` included.
    Loopback,
}

/// What the admin server answers from. Shared; whoever knows something tells it.
pub struct AdminState {
    holds: Mutex<BTreeSet<Condition>>,
    draining: AtomicBool,
    model: ArcSwap<Model>,
    problems: ArcSwap<Report>,
    statuses: ArcSwap<(Arc<Statuses>, Arc<Bound>)>,
    metrics: Box<dyn Fn() -> String + Send + Sync>,
    health_path: String,
    audience: Audience,
    details: OnceLock<Box<dyn Fn() -> Details + Send + Sync>>,
}

/// What a source has to say besides.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// Lines for `/readyz`: what is not as it should be and does not make us unready.
    pub readiness: Vec<String>,
    /// More text for `/metrics`.
    pub metrics: String,
}

/// A running admin server. Dropping it ends it.
#[derive(Debug)]
pub struct AdminServer(SideServer);

impl AdminState {
    /// A state in which nothing holds yet; `metrics` gives the text of `/metrics` whenever it is asked for. `/healthz`
    /// answers under `health_path` as well.
    pub fn new(
        health_path: impl Into<String>,
        audience: Audience,
        metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            holds: Mutex::default(),
            draining: AtomicBool::new(false),
            model: ArcSwap::default(),
            problems: ArcSwap::default(),
            statuses: ArcSwap::default(),
            metrics: Box::new(metrics),
            health_path: health_path.into(),
            audience,
            details: OnceLock::new(),
        })
    }

    /// Says where details come from. Only the first time counts.
    pub fn set_details(&self, details: impl Fn() -> Details + Send + Sync + 'static) {
        // A second source would be a mistake in our own code, and harmless.
        let _ = self.details.set(Box::new(details));
    }

    fn details(&self) -> Details {
        self.details.get().map_or_else(Details::default, |details| details())
    }

    /// Says whether a condition holds.
    pub fn set(&self, condition: Condition, holds: bool) {
        let mut all = self.holds.lock();
        if holds {
            all.insert(condition)
        } else {
            all.remove(&condition)
        };
    }

    /// Begins to drain: neither healthy nor ready from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The model that is served now.
    pub fn set_model(&self, model: Arc<Model>) {
        self.model.store(model);
    }

    /// Everything that is wrong now: of files, names and translation.
    pub fn set_problems(&self, problems: Report) {
        self.problems.store(Arc::new(problems));
    }

    /// What statuses are to say, and which listeners are bound.
    pub fn set_statuses(&self, statuses: Arc<Statuses>, bound: Arc<Bound>) {
        let now = self.statuses.load();
        if !(Arc::ptr_eq(&now.0, &statuses) && Arc::ptr_eq(&now.1, &bound)) {
            self.statuses.store(Arc::new((statuses, bound)));
        }
    }

    /// Whether `/readyz` answers 200; else everything that is missing.
    pub fn ready(&self) -> Result<(), Vec<&'static str>> {
        if self.is_draining() {
            return Err(vec!["draining"]);
        }
        let holds = self.holds.lock();
        let missing = Condition::ALL.into_iter().filter(|condition| !holds.contains(condition));
        let missing: Vec<_> = missing.map(Condition::missing).collect();
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    }

    /// Whether a peer is told what is served and what is wrong.
    fn trusts(&self, peer: IpAddr) -> bool {
        // A socket for both families gives IPv4 addresses inside of IPv6 ones.
        self.audience == Audience::Everybody || peer.to_canonical().is_loopback()
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").field("ready", &self.ready()).finish_non_exhaustive()
    }
}

impl AdminServer {
    /// Binds an address and serves it on a thread of its own. Errors are those of binding and of making the thread.
    pub fn start(address: SocketAddr, state: Arc<AdminState>) -> io::Result<Self> {
        SideServer::start("admin", address, move |stream, peer| {
            let state = state.clone();
            async move {
                if timeout(MAX_AGE, connection(stream, peer.ip(), state)).await.is_err() {
                    tracing::debug!(%peer, "admin connection is too old");
                }
            }
        })
        .map(Self)
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

async fn connection(stream: TcpStream, peer: IpAddr, state: Arc<AdminState>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond::respond(&state, peer, &request);
        async { Ok::<_, std::convert::Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(16 << 10);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "admin connection ended");
    }
}

#[cfg(test)]
mod tests;
