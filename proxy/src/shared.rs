//! What all workers of a proxy share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use http::StatusCode;
use tokio::sync::Notify;

use crate::config::ProxyConfig;
use crate::connection::ConnectionInfo;
use crate::table::ProxyTable;

/// What all workers of a proxy share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What is served. One store per publish; loaded once per connection and once per request.
    pub(crate) table: ArcSwap<ProxyTable>,
    /// What is fixed while the proxy runs.
    pub(crate) config: ProxyConfig,
    /// The open client connections.
    pub(crate) connections: Arc<Connections>,
}

/// Counts open client connections and gives them their ids.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: AtomicUsize,
    last_id: AtomicU64,
    none_left: Notify,
}

/// One open connection; dropping it ends the count.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    connections: Arc<Connections>,
    id: u64,
}

impl Shared {
    /// Shared state that serves `table`.
    pub(crate) fn new(config: ProxyConfig, table: Arc<ProxyTable>) -> Self {
        Self { table: ArcSwap::new(table), config, connections: Arc::default() }
    }

    /// Logs and counts a request that was refused before the engine saw it. `line` is what there is of its request
    /// line.
    pub(crate) fn log_rejected(&self, info: &ConnectionInfo, status: StatusCode, line: &[u8]) {
        let client = info.client();
        let status = status.as_u16();
        tracing::debug!(%client, status, line = %String::from_utf8_lossy(line), "a request was refused");
    }
}

impl Connections {
    /// Counts one more connection, unless there are `limit` already.
    pub(crate) fn open(self: &Arc<Self>, limit: usize) -> Option<OpenConnection> {
        if self.open.fetch_add(1, Ordering::AcqRel) >= limit {
            self.leave();
            return None;
        }
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        Some(OpenConnection { connections: Arc::clone(self), id })
    }

    /// How many connections are open.
    pub(crate) fn count(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until no connection is open.
    pub(crate) async fn all_closed(&self) {
        loop {
            let notified = self.none_left.notified();
            if self.count() == 0 {
                return;
            }
            notified.await;
        }
    }

    fn leave(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none_left.notify_waiters();
        }
    }
}

impl OpenConnection {
    /// Unique in this process, from 1.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.leave();
    }
}
