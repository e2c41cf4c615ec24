//! The running proxy: workers, listeners, publishing.

use std::io;
use std::net::SocketAddr;

use genkan_routing::name::ListenerId;

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {}

/// What publishing a snapshot did to the ports.
#[derive(Debug, Default)]
pub struct Published {
    /// Every bound address of the published snapshot, also those that were bound before.
    pub bound: Vec<(ListenerId, SocketAddr)>,
    /// Listeners whose port could not be bound; everything else is served.
    pub failed: Vec<(ListenerId, io::Error)>,
}
