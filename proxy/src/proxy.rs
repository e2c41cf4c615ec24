//! The running proxy: workers, listeners, publishing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use genkan_routing::model::Model;
use genkan_routing::name::ListenerId;
use genkan_routing::snapshot::Snapshot;

use crate::config::ProxyConfig;
use crate::shared::Shared;
use crate::table::ProxyTable;

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
}

/// Why a proxy can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A worker's thread or runtime can't be made.
    #[error("a worker can't be started")]
    Worker(#[source] io::Error),
}

/// What publishing a snapshot did to the ports.
#[derive(Debug, Default)]
pub struct Published {
    /// Every bound address of the published snapshot, also those that were bound before.
    pub bound: Vec<(ListenerId, SocketAddr)>,
    /// Listeners whose port could not be bound; everything else is served.
    pub failed: Vec<(ListenerId, io::Error)>,
}

impl Proxy {
    /// Starts the workers. Nothing is served until the first [`publish`](Self::publish).
    pub fn start(config: ProxyConfig) -> Result<Self, StartError> {
        let empty = Arc::new(Snapshot::compile(Arc::new(Model::default())));
        let table = Arc::new(ProxyTable::build(empty, None));
        Ok(Self { shared: Arc::new(Shared::new(config, table)) })
    }

    /// Serves a snapshot from now on: requests that run keep the one that they began with.
    pub fn publish(&self, snapshot: Arc<Snapshot>) -> Published {
        let table = ProxyTable::build(snapshot, Some(&self.shared.table.load()));
        self.shared.table.store(Arc::new(table));
        Published::default()
    }

    /// The open client connections.
    pub fn active_connections(&self) -> usize {
        self.shared.connections.count()
    }

    /// Stops serving; returns how many connections were cut off.
    pub async fn drain(&self) -> usize {
        self.shared.connections.all_closed().await;
        self.shared.connections.count()
    }
}
