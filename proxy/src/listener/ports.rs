//! Ports: which are open, and what a publish opens and closes.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use genkan_routing::name::ListenerId;

use super::socket::{self, PortSockets};
use super::table::{ListenerTable, PortKey};

/// The open ports.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    open: BTreeMap<PortKey, SocketAddr>,
}

/// What changes with a table.
#[derive(Debug, Default)]
pub(crate) struct PortChange {
    /// Sockets for the workers, already listening.
    pub(crate) opened: Vec<(PortKey, PortSockets)>,
    /// Ports that no listener names any more.
    pub(crate) closed: Vec<PortKey>,
    /// Every open port that a listener names.
    pub(crate) bound: Vec<(ListenerId, SocketAddr)>,
    /// Ports that can't be opened.
    pub(crate) failed: Vec<(ListenerId, io::Error)>,
}

impl Ports {
    /// Opens the ports that `table` names and that are not open, with `count` sockets each, and tells which are to be
    /// closed. A port that can't be opened is tried again with the next table.
    pub(crate) fn change(&mut self, table: &ListenerTable, count: usize) -> PortChange {
        let mut change = PortChange::default();
        for (key, entrance) in table.ports() {
            if !self.open.contains_key(key) {
                match socket::bind(key.wire(), key.address(), key.port(), count, self.overlaps(key)) {
                    Ok(sockets) => {
                        self.open.insert(key.clone(), sockets.address);
                        change.opened.push((key.clone(), sockets));
                    }
                    Err(error) => {
                        tracing::error!(listener = %entrance.listener, port = key.port(), %error, "a port can't be opened");
                        change.failed.push((entrance.listener.clone(), error));
                        continue;
                    }
                }
            }
            change.bound.extend(self.open.get(key).map(|address| (entrance.listener.clone(), *address)));
        }
        self.open.retain(|key, _| {
            let named = table.entrance(key).is_some();
            if !named {
                change.closed.push(key.clone());
            }
            named
        });
        change
    }

    /// Whether an open port has the same number at an address that covers, or is covered by, this one's.
    fn overlaps(&self, key: &PortKey) -> bool {
        let is_wild = |address: Option<IpAddr>| address.is_none_or(|ip| ip.is_unspecified());
        self.open.iter().any(|(other, bound)| {
            other.wire() == key.wire()
                && bound.port() == key.port()
                && (is_wild(other.address()) || is_wild(key.address()))
        })
    }
}
