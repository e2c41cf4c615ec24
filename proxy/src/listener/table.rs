//! The listeners' part of the table: which listener serves a port, and with which TLS configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use genkan_routing::model::Protocol;
use genkan_routing::name::ListenerId;
use genkan_routing::snapshot::Snapshot;

use super::tls::TlsTable;

/// What identifies an open port across publishes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PortKey {
    /// An address (`None`: all) and a port.
    Fixed(Option<IpAddr>, u16),
    /// An address (`None`: all) and a port that the system chose for this listener.
    Chosen(Option<IpAddr>, ListenerId),
}

/// What a connection that arrives at a port gets.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    /// The listener that owns the port.
    pub(crate) listener: ListenerId,
    /// The port that clients used to get here.
    pub(crate) public_port: u16,
    /// What is spoken.
    pub(crate) protocol: Protocol,
}

/// Which listener serves a port. Two listeners at the same address and port are the translation's error: the first by
/// id gets it.
#[derive(Debug, Default)]
pub(crate) struct ListenerTable {
    ports: BTreeMap<PortKey, Arc<Entrance>>,
    /// Certificates and TLS policies.
    pub(crate) tls: TlsTable,
}

impl PortKey {
    /// The address to bind; `None` is every address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Fixed(address, _) | Self::Chosen(address, _) => *address,
        }
    }

    /// The port to bind; 0 lets the system choose.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Fixed(_, port) => *port,
            Self::Chosen(..) => 0,
        }
    }
}

impl ListenerTable {
    /// The table of a snapshot, sharing with `previous` what did not change.
    pub(crate) fn build(snapshot: &Snapshot, previous: Option<&Self>) -> Self {
        let mut ports = BTreeMap::new();
        for listener in snapshot.model().listeners.values() {
            let entrance = Arc::new(Entrance {
                listener: listener.id.clone(),
                public_port: listener.public_port,
                protocol: listener.protocol,
            });
            let addresses: Vec<Option<IpAddr>> = match listener.addresses.as_slice() {
                [] => vec![None],
                addresses => addresses.iter().copied().map(Some).collect(),
            };
            for address in addresses {
                let key = match listener.port {
                    0 => PortKey::Chosen(address, listener.id.clone()),
                    port => PortKey::Fixed(address, port),
                };
                ports.entry(key).or_insert_with(|| Arc::clone(&entrance));
            }
        }
        Self { ports, tls: TlsTable::build(snapshot, previous.map(|table| &table.tls)) }
    }

    /// The listener of a port.
    pub(crate) fn entrance(&self, key: &PortKey) -> Option<&Arc<Entrance>> {
        self.ports.get(key)
    }

    /// The ports that must be open.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (&PortKey, &Arc<Entrance>)> {
        self.ports.iter()
    }
}
