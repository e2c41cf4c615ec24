//! The running proxy: workers, listeners, publishing, draining.
//!
//! ```text
//!  publish:  build the table -> bind new ports -> take and close ports no longer named -> swap -> accept at new ports
//!  drain:    go on for the delay -> take and close all ports -> no more requests on running connections
//!            -> wait for what runs, within the time-out
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use genkan_routing::model::Model;
use genkan_routing::name::ListenerId;
use genkan_routing::snapshot::Snapshot;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::config::ProxyConfig;
use crate::listener::ports::{PortChange, Ports};
use crate::metrics::Metrics;
use crate::shared::Shared;
use crate::table::ProxyTable;
use crate::worker::Worker;

/// A running proxy. Dropping it cuts what still runs; see [`drain`](Self::drain).
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    state: Mutex<State>,
    shutdown: watch::Sender<bool>,
}

/// Why a proxy can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A worker's thread or runtime can't be made.
    #[error("a worker can't be started")]
    Worker(#[source] io::Error),
    /// The access log's output can't be set up.
    #[error("the access log can't be started")]
    AccessLog(#[source] io::Error),
}

/// What publishing a snapshot did to the ports.
#[derive(Debug, Default)]
pub struct Published {
    /// Every bound address of the published snapshot, also those that were bound before.
    pub bound: Vec<(ListenerId, SocketAddr)>,
    /// Listeners whose port could not be bound; everything else is served.
    pub failed: Vec<(ListenerId, io::Error)>,
}

/// Held for the whole of a publish: one at a time.
#[derive(Debug, Default)]
struct State {
    ports: Ports,
    bound: Vec<(ListenerId, SocketAddr)>,
    /// No port is opened any more.
    closing: bool,
}

impl Proxy {
    /// Starts the workers. Nothing is served until the first [`publish`](Self::publish).
    pub fn start(config: ProxyConfig) -> Result<Self, StartError> {
        let count = match config.workers {
            0 => available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let empty = Arc::new(Snapshot::compile(Arc::new(Model::default())));
        let table = Arc::new(ProxyTable::build(empty, None));
        let shared = Arc::new(Shared::new(config, table).map_err(StartError::AccessLog)?);
        let (shutdown, watch) = watch::channel(false);
        let workers = (0..count)
            .map(|index| Worker::start(index, Arc::clone(&shared), watch.clone()))
            .collect::<Result<_, _>>()
            .map_err(StartError::Worker)?;
        Ok(Self { shared, workers, state: Mutex::default(), shutdown })
    }

    /// Serves a snapshot from now on; requests that run keep the one that they began with, connections keep running.
    ///
    /// New ports are open and closed ports refuse when this returns. It blocks for as long as the workers take to
    /// empty the queues of closed ports, which is well below a millisecond.
    pub fn publish(&self, snapshot: Arc<Snapshot>) -> Published {
        let mut state = self.state.lock();
        let table = Arc::new(ProxyTable::build(snapshot, Some(&self.shared.table.load())));
        if state.closing {
            self.shared.store(table);
            return Published::default();
        }
        let PortChange { opened, closed, bound, failed } = state.ports.change(&table.listeners, self.workers.len());
        if !closed.is_empty() {
            // Before the swap, so that what waits there is still known.
            let closing: Vec<_> = self.workers.iter().map(|worker| worker.close(Some(closed.clone()))).collect();
            for done in closing {
                // A worker that is gone has closed its ports.
                let _ = futures::executor::block_on(done);
            }
        }
        self.shared.store(table);
        for (port, sockets) in opened {
            for (worker, socket) in self.workers.iter().zip(sockets.sockets) {
                worker.open(port.clone(), socket);
            }
        }
        self.shared.table.load().evict_zones();
        state.bound.clone_from(&bound);
        Published { bound, failed }
    }

    /// The bound addresses of the published snapshot.
    pub fn addresses(&self) -> Vec<(ListenerId, SocketAddr)> {
        self.state.lock().bound.clone()
    }

    /// The open client connections.
    pub fn active_connections(&self) -> usize {
        self.shared.connections.count()
    }

    /// What is counted, here and for the rest of the process.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Stops serving: goes on for [`drain_delay`](ProxyConfig::drain_delay), closes the ports, lets running requests
    /// end within [`drain_timeout`](ProxyConfig::drain_timeout). Returns how many connections were still open then;
    /// dropping the proxy cuts them. Needs a tokio runtime with timers.
    pub async fn drain(&self) -> usize {
        sleep(self.shared.config.drain_delay).await;
        {
            let mut state = self.state.lock();
            state.closing = true;
            state.bound.clear();
        }
        let all = |command: fn(&Worker) -> oneshot::Receiver<()>| {
            // A worker that is gone has nothing left to do.
            futures::future::join_all(self.workers.iter().map(command))
        };
        all(|worker| worker.close(None)).await;
        self.shutdown.send_replace(true);
        all(Worker::close_idle).await;
        // Running out of time is told by what is left.
        let Shared { connections, sessions, .. } = &*self.shared;
        let all_closed = futures::future::join(connections.all_closed(), sessions.all_closed());
        let configured = self.shared.table.load().snapshot.model().settings.client.drain_timeout;
        let limit = self.shared.config.drain_timeout.unwrap_or(configured);
        let _ = timeout(if limit.is_zero() { Duration::MAX } else { limit }, all_closed).await;
        self.shared.access_log.flush();
        connections.count() + sessions.count()
    }
}

#[cfg(test)]
mod tests;
