//! Reception: how the clients of ports and listeners are received, as ListenerPolicies say.

use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_routing::model::{Listener, ListenerSettings, Protocol, ProxySettings};
use genkan_routing::name::{HostPattern, ListenerId, TableId};

use super::Arrangement;
use crate::translate::gateway::hostname::covering;
use crate::translate::gateway::listener_policy::{At, Effects, ListenerPolicies, Member, Placing};
use crate::translate::gateway::streams::{Slot, SlotKey};

/// What says how clients are received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reception<'a> {
    /// The policies.
    pub(crate) policies: &'a ListenerPolicies,
    /// What holds where they say nothing.
    pub(crate) global: &'a ProxySettings,
}

/// The settings of one port after the other.
pub(super) struct Receiving<'a> {
    placing: Placing<'a>,
    /// The listeners that are served at each port, with their tables.
    members: BTreeMap<ListenerId, Vec<(Member, Option<TableId>)>>,
}

impl<'a> Reception<'a> {
    /// Begins with the listeners that have found their places.
    pub(super) fn begin(self, arrangement: &Arrangement) -> Receiving<'a> {
        let mut members: BTreeMap<ListenerId, Vec<_>> = BTreeMap::new();
        // Without any policy nobody's listeners are looked at.
        let parents = arrangement.parents.iter().filter(|_| !self.policies.is_empty());
        for (key, parent) in parents {
            for listener in &parent.listeners {
                let (Some(bound), Some(protocol)) = (&listener.bound, listener.protocol) else { continue };
                let member = Member {
                    parent: key.clone(),
                    gateway: parent.gateway.clone(),
                    listener: listener.name.clone(),
                    protocol,
                    hostname: listener.hostname.clone(),
                };
                members.entry(bound.clone()).or_default().push((member, listener.table.clone()));
            }
        }
        Receiving { placing: Placing::new(self.policies, self.global), members }
    }
}

impl Receiving<'_> {
    /// Gives a port and its listeners the settings that policies say.
    pub(super) fn receive(&mut self, listener: &mut Listener, of_ingress: bool, slots: &mut BTreeMap<SlotKey, Slot>) {
        let Some(members) = self.members.remove(&listener.id) else { return };
        let (members, tables): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let (number, protocol) = (listener.public_port, listener.protocol);
        let placed = self.placing.port(At { number, protocol, of_ingress, members: &members });
        listener.client = placed.client;
        let accept_proxy_protocol = protocol == Protocol::Tcp && placed.proxy_protocol.unwrap_or_default();
        let mut by_table = BTreeMap::new();
        for ((member, table), settings) in members.iter().zip(tables).zip(&placed.listeners) {
            let key = SlotKey { parent: member.parent.clone(), listener: member.listener.clone() };
            if let Some(slot) = slots.get_mut(&key) {
                slot.settings.clone_from(settings);
                slot.accept_proxy_protocol = accept_proxy_protocol;
            }
            by_table.extend(table.map(|table| (table, settings)));
        }
        for section in &mut listener.sections {
            if let Some(settings) = by_table.get(&section.table) {
                section.settings.clone_from(settings);
            }
        }
        let by_hostname: BTreeMap<_, _> =
            members.iter().map(|member| &member.hostname).zip(placed.listeners.iter().map(Option::as_ref)).collect();
        set_tls(listener, &by_hostname);
    }

    /// What the policies did.
    pub(super) fn into_effects(self) -> Effects {
        self.placing.into_effects()
    }
}

/// Gives the names of certificates the TLS of the listener with the most specific hostname that covers them.
fn set_tls(listener: &mut Listener, by_hostname: &BTreeMap<&HostPattern, Option<&Arc<ListenerSettings>>>) {
    if by_hostname.values().flatten().all(|settings| settings.tls.is_none()) {
        return;
    }
    let of = |name: &HostPattern| {
        let settings = covering(name).iter().find_map(|pattern| by_hostname.get(pattern)).copied()??;
        Some((name.clone(), settings.tls.clone()?))
    };
    listener.tls = listener.certificates.keys().filter_map(of).collect();
}
