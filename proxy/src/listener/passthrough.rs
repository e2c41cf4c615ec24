//! Passthrough: how TLS connections are counted that a listener passes on unopened.
//!
//! Where they go is the snapshot's answer to their server name. Counts belong to the object that asked for it, and live
//! as long as one of its names is in the table.

use std::sync::{Arc, OnceLock};

use genkan_routing::model::{Listener, SharedMap, Stream};
use genkan_routing::name::{HostPattern, ObjectRef};
use rustc_hash::FxHashMap;

use crate::metrics::{Metrics, StreamLabels, StreamMetrics};

/// The counts of what one listener passes on unopened.
#[derive(Debug)]
pub(crate) struct Passages {
    /// What `counts` was made of.
    names: SharedMap<HostPattern, Arc<Stream>>,
    public_port: u16,
    /// Each made when the first connection comes.
    counts: FxHashMap<ObjectRef, OnceLock<Arc<StreamMetrics>>>,
}

impl Passages {
    /// Those of a listener, which go on counting where those of `previous` ended; `None` when it opens everything.
    pub(super) fn build(listener: &Listener, previous: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        if listener.passthrough.is_empty() {
            return None;
        }
        let previous = previous.filter(|known| known.public_port == listener.public_port);
        if let Some(known) = previous.filter(|known| known.names == listener.passthrough) {
            return Some(Arc::clone(known));
        }
        let count = |stream: &Arc<Stream>| {
            let object = &stream.origin.object;
            let known = previous.and_then(|known| known.counts.get(object)).cloned();
            (object.clone(), known.unwrap_or_default())
        };
        let counts = listener.passthrough.values().map(count).collect();
        Some(Arc::new(Self { names: listener.passthrough.clone(), public_port: listener.public_port, counts }))
    }

    /// The metrics of the connections that are passed on to `stream`.
    pub(super) fn metrics(&self, stream: &Stream, metrics: &Metrics) -> Arc<StreamMetrics> {
        let object = &stream.origin.object;
        let handle = || {
            metrics.stream(StreamLabels {
                protocol: "tls",
                port: self.public_port,
                namespace: object.namespace.clone(),
                name: object.name.clone(),
            })
        };
        match self.counts.get(object) {
            Some(count) => Arc::clone(count.get_or_init(handle)),
            None => handle(),
        }
    }
}
