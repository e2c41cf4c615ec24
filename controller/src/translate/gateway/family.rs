//! Families: the listeners of a Gateway and those of its ListenerSets together.
//!
//! What comes first keeps working: the Gateway's own listeners, then those of its sets, the oldest set first. Whoever
//! attaches a set later can take nothing away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::model::Protocol;
use genkan_routing::name::HostPattern;

use super::addressing::Addressing;
use super::findings::Findings;
use super::gateways::{GatewayListener, GatewayOutcome};
use super::listener_sets::SetOutcome;
use super::reason::{HOSTNAME_CONFLICT, PROTOCOL_CONFLICT};
use crate::resources::NamespacedName;

/// A Gateway that is ours, and its sets, oldest first.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    /// The Gateway's name.
    pub(crate) name: &'a NamespacedName,
    /// The Gateway.
    pub(crate) gateway: &'a GatewayOutcome,
    /// Where it is reached.
    pub(crate) addressing: &'a Addressing,
    /// Its sets.
    pub(crate) sets: Vec<(&'a NamespacedName, &'a SetOutcome)>,
}

/// What the listeners of a family took so far.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    ports: BTreeMap<(bool, u16), (Protocol, BTreeSet<HostPattern>)>,
}

impl<'a> Family<'a> {
    /// The Gateways that are ours with their sets. Gateways come in order of age.
    pub(crate) fn all(
        gateways: &[(&'a NamespacedName, &'a Arc<GatewayOutcome>)],
        sets: impl Iterator<Item = (&'a NamespacedName, &'a Arc<SetOutcome>)>,
        addressing: &'a BTreeMap<NamespacedName, Addressing>,
    ) -> Vec<Self> {
        let mut by_gateway: BTreeMap<&NamespacedName, Vec<(&NamespacedName, &SetOutcome)>> = BTreeMap::new();
        for (name, set) in sets {
            by_gateway.entry(&set.gateway).or_default().push((name, set));
        }
        let family = |(name, gateway): &(&'a NamespacedName, &'a Arc<GatewayOutcome>)| {
            let mut sets = by_gateway.remove(name).unwrap_or_default();
            sets.sort_by(|(_, one), (_, other)| one.age.cmp(&other.age));
            Some(Self { name, gateway, addressing: addressing.get(*name)?, sets })
        };
        gateways.iter().filter_map(family).collect()
    }
}

impl Taken {
    /// Notes a listener that is distinct from all that were noted.
    pub(crate) fn note(&mut self, listener: &GatewayListener) {
        if let Some(protocol) = listener.protocol.filter(|_| listener.verdict.claims()) {
            let protocol = protocol.on_port();
            let place = (protocol == Protocol::Udp, listener.port);
            let (_, hostnames) = self.ports.entry(place).or_insert_with(|| (protocol, BTreeSet::new()));
            hostnames.insert(listener.hostname.clone());
        }
    }

    /// Why a listener of a set is not distinct from those before it, if so.
    pub(crate) fn conflict(&self, listener: &GatewayListener, findings: &mut Findings) -> Option<&'static str> {
        let protocol = listener.protocol.filter(|_| listener.verdict.claims())?.on_port();
        let port = listener.port;
        let (other, hostnames) = self.ports.get(&(protocol == Protocol::Udp, port))?;
        let of = "a listener of the Gateway, or of a ListenerSet that came first,";
        if *other != protocol {
            let message = format!("{of} uses port {port} with another protocol; this listener is not served");
            let mend = "use another port, or the same protocol";
            findings.error(format!("{}.protocol", listener.field), PROTOCOL_CONFLICT, message, mend);
            return Some(PROTOCOL_CONFLICT);
        }
        hostnames.contains(&listener.hostname).then(|| {
            let message = format!("{of} has this hostname on port {port}; this listener is not served");
            let mend = "use another hostname or port, or attach the routes to that listener";
            findings.error(format!("{}.hostname", listener.field), HOSTNAME_CONFLICT, message, mend);
            HOSTNAME_CONFLICT
        })
    }
}
