//! Passthrough: how TLS connections are counted that a listener passes on, unopened or opened.
//!
//! Where they go is the snapshot's answer to their server name. Counts belong to the object that asked for it, and live
//! as long as one of its names is in the table.

use std::sync::{Arc, OnceLock};

use genkan_routing::model::{Listener, SharedMap, Stream, Terminated};
use genkan_routing::name::{HostPattern, ObjectRef};
use rustc_hash::FxHashMap;

use crate::metrics::{Metrics, StreamLabels, StreamMetrics};

/// The counts of what one listener passes on.
#[derive(Debug)]
pub(crate) struct Passages {
    /// What `counts` was made of.
    unopened: SharedMap<HostPattern, Arc<Stream>>,
    opened: SharedMap<HostPattern, Arc<Terminated>>,
    public_port: u16,
    /// Each made when the first connection comes.
    counts: FxHashMap<ObjectRef, OnceLock<Arc<StreamMetrics>>>,
}

impl Passages {
    /// Those of a listener, which go on counting where those of `previous` ended; `None` when it passes nothing on.
    pub(super) fn build(listener: &Listener, previous: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let Listener { passthrough: unopened, terminated: opened, .. } = listener;
        if unopened.is_empty() && opened.is_empty() {
            return None;
        }
        let previous = previous.filter(|known| known.public_port == listener.public_port);
        if let Some(known) = previous.filter(|known| known.unopened == *unopened && known.opened == *opened) {
            return Some(Arc::clone(known));
        }
        let count = |stream: &Arc<Stream>| {
            let object = &stream.origin.object;
            let known = previous.and_then(|known| known.counts.get(object)).cloned();
            (object.clone(), known.unwrap_or_default())
        };
        let counts = unopened.values().chain(opened.values().map(|terminated| &terminated.stream)).map(count).collect();
        let (unopened, opened) = (unopened.clone(), opened.clone());
        Some(Arc::new(Self { unopened, opened, public_port: listener.public_port, counts }))
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
