//! The engine: HTTP on both sides. The only module that names pingora.

use std::sync::Arc;

use tokio::sync::watch;

use crate::listener::stream::ClientStream;
use crate::shared::Shared;

/// HTTP on both sides, for the connections of one worker.
#[derive(Debug)]
pub(crate) struct Engine {}

impl Engine {
    /// An engine for one worker.
    pub(crate) fn new(_shared: Arc<Shared>) -> Self {
        Self {}
    }

    /// Serves a connection until it ends.
    pub(crate) async fn serve(&self, _stream: ClientStream, _shutdown: watch::Receiver<bool>) {}

    /// Ends connections that wait for a request.
    pub(crate) async fn close_idle(&self) {}
}
