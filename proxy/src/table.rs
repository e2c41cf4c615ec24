//! The table: what one publish swaps.

use std::sync::Arc;

use genkan_routing::snapshot::Snapshot;

use crate::listener::table::ListenerTable;

/// What one publish swaps. Immutable but for run-time state that outlives a swap.
#[derive(Debug)]
pub(crate) struct ProxyTable {
    /// What is routed.
    pub(crate) snapshot: Arc<Snapshot>,
    /// What is accepted: ports and their TLS.
    pub(crate) listeners: ListenerTable,
}

impl ProxyTable {
    /// The table of a snapshot, sharing with `previous` what did not change.
    pub(crate) fn build(snapshot: Arc<Snapshot>, previous: Option<&Self>) -> Self {
        let listeners = ListenerTable::build(&snapshot, previous.map(|table| &table.listeners));
        Self { snapshot, listeners }
    }
}
