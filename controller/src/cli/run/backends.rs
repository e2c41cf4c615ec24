//! Backends of examples: echo servers that this process runs where an EndpointSlice asks for them.
//!
//! An EndpointSlice with the annotation `genkan.dev/echo: NAME` in a folder that `genkan run` serves is answered by an
//! echo server of that name on each of its loopback addresses and ports. In a cluster the annotation means nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::echo;
use crate::resources::{EndpointSlice, Resources};

/// The echo servers that run.
#[derive(Debug, Default)]
pub(super) struct Backends {
    running: BTreeMap<SocketAddr, (String, JoinHandle<()>)>,
}

impl Backends {
    /// Starts what `resources` ask for and stops what they no longer do. An address that is taken is left to whoever
    /// has it: a backend that the user started.
    pub(super) async fn follow(&mut self, resources: &Resources) {
        let wanted: BTreeMap<_, _> = resources.endpoint_slices.values().flat_map(|slice| asked_for(slice)).collect();
        self.running.retain(|address, (name, task)| {
            let keep = wanted.get(address) == Some(name);
            if !keep {
                task.abort();
            }
            keep
        });
        for (address, name) in wanted {
            if self.running.contains_key(&address) {
                continue;
            }
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let task = tokio::spawn(echo::serve(listener, name.clone()));
                    self.running.insert(address, (name, task));
                }
                Err(error) => tracing::warn!(%address, %error, "no echo backend {name}: the address can't be used"),
            }
        }
    }

    /// How many run.
    pub(super) fn count(&self) -> usize {
        self.running.len()
    }
}

/// Where a slice asks for echo servers, and under which name.
fn asked_for(slice: &EndpointSlice) -> Vec<(SocketAddr, String)> {
    let Some(name) = &slice.echo else { return Vec::new() };
    let addresses = slice.endpoints.iter().map(|endpoint| endpoint.address).filter(IpAddr::is_loopback);
    let ports = || slice.ports.iter().map(|port| port.number);
    addresses.flat_map(|address| ports().map(move |port| (SocketAddr::new(address, port), name.to_string()))).collect()
}
