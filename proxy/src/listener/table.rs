//! The listeners' part of the table: which listener serves a port, and with which TLS configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use genkan_routing::model::{Listener, Protocol, Stream};
use genkan_routing::name::ListenerId;
use genkan_routing::snapshot::Snapshot;

use super::tls::TlsTable;
use crate::metrics::{Metrics, StreamLabels, StreamMetrics};
use crate::shared::OpenAtListener;

/// What identifies an open port across publishes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PortKey {
    /// An address (`None`: all) and a port.
    Fixed(Wire, Option<IpAddr>, u16),
    /// An address (`None`: all) and a port that the system chose for this listener.
    Chosen(Wire, Option<IpAddr>, ListenerId),
}

/// What a port is a port of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Wire {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
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
    /// Where it goes as it is; TCP and UDP.
    pub(crate) stream: Option<Arc<Stream>>,
    /// How many connections it may have; `None` where only the whole proxy has a limit.
    pub(crate) limit: Option<usize>,
    /// How many it has, whatever it was before.
    pub(crate) open: Arc<OpenAtListener>,
    /// Made when the first connection or session comes.
    metrics: OnceLock<Arc<StreamMetrics>>,
}

/// Which listener serves a port. Two listeners at the same address and port are the translation's error: the first by
/// id gets it.
#[derive(Debug, Default)]
pub(crate) struct ListenerTable {
    ports: BTreeMap<PortKey, Arc<Entrance>>,
    own_addresses: Arc<BTreeSet<IpAddr>>,
    /// Certificates and TLS policies.
    pub(crate) tls: TlsTable,
}

impl Wire {
    fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http | Protocol::Https | Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

impl PortKey {
    /// What it is a port of.
    pub(crate) fn wire(&self) -> Wire {
        match self {
            Self::Fixed(wire, ..) | Self::Chosen(wire, ..) => *wire,
        }
    }

    /// The address to bind; `None` is every address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Fixed(_, address, _) | Self::Chosen(_, address, _) => *address,
        }
    }

    /// The port to bind; 0 lets the system choose.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Fixed(.., port) => *port,
            Self::Chosen(..) => 0,
        }
    }
}

impl Entrance {
    fn of(listener: &Listener, open: Arc<OpenAtListener>) -> Self {
        Self {
            limit: limit(listener),
            open,
            listener: listener.id.clone(),
            public_port: listener.public_port,
            protocol: listener.protocol,
            stream: listener.stream.clone(),
            metrics: OnceLock::new(),
        }
    }

    fn is_of(&self, listener: &Listener) -> bool {
        (&self.listener, self.public_port, self.protocol, &self.stream, self.limit)
            == (&listener.id, listener.public_port, listener.protocol, &listener.stream, limit(listener))
    }

    /// The metrics of its connections or sessions.
    pub(crate) fn metrics(&self, metrics: &Metrics) -> Arc<StreamMetrics> {
        let handle = self.metrics.get_or_init(|| {
            let object = self.stream.as_ref().map(|stream| &stream.origin.object);
            metrics.stream(StreamLabels {
                protocol: match Wire::of(self.protocol) {
                    Wire::Tcp => "tcp",
                    Wire::Udp => "udp",
                },
                port: self.public_port,
                namespace: object.map(|object| object.namespace.clone()).unwrap_or_default(),
                name: object.map(|object| object.name.clone()).unwrap_or_default(),
            })
        });
        Arc::clone(handle)
    }
}

/// How many connections a listener may have.
fn limit(listener: &Listener) -> Option<usize> {
    let client = listener.client.as_ref()?;
    Some(usize::try_from(client.max_connections).unwrap_or(usize::MAX))
}

impl ListenerTable {
    /// The table of a snapshot, sharing with `previous` what did not change.
    pub(crate) fn build(snapshot: &Snapshot, previous: Option<&Self>) -> Self {
        let mut ports = BTreeMap::new();
        for listener in snapshot.model().listeners.values() {
            let keys = keys(listener);
            let before = keys.iter().find_map(|key| previous?.entrance(key).filter(|it| it.listener == listener.id));
            let open = before.map_or_else(Arc::default, |before| Arc::clone(&before.open));
            let entrance = Arc::new(Entrance::of(listener, open));
            for key in keys {
                // One that stays keeps its metrics.
                let known = previous.and_then(|table| table.entrance(&key)).filter(|known| known.is_of(listener));
                ports.entry(key).or_insert_with(|| Arc::clone(known.unwrap_or(&entrance)));
            }
        }
        let own_addresses = Arc::clone(&snapshot.model().own_addresses);
        Self { ports, own_addresses, tls: TlsTable::build(snapshot, previous.map(|table| &table.tls)) }
    }

    /// Whether what arrived at a port of every address is for others: the address, asked for where it matters, belongs
    /// to listeners that name it, and those have no such port.
    pub(crate) fn is_for_others(&self, key: &PortKey, local: impl FnOnce() -> Option<IpAddr>) -> bool {
        let everywhere = key.address().is_none_or(|address| address.is_unspecified());
        let belongs = |address: IpAddr| self.own_addresses.contains(&address.to_canonical());
        everywhere && !self.own_addresses.is_empty() && local().is_some_and(belongs)
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

/// The ports of a listener.
fn keys(listener: &Listener) -> Vec<PortKey> {
    let wire = Wire::of(listener.protocol);
    let key = |address| match listener.port {
        0 => PortKey::Chosen(wire, address, listener.id.clone()),
        port => PortKey::Fixed(wire, address, port),
    };
    match listener.addresses.as_slice() {
        [] => vec![key(None)],
        addresses => addresses.iter().copied().map(Some).map(key).collect(),
    }
}
