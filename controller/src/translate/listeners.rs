//! Listeners: joins what the front ends want to listen on. Parts with the same port and protocol become one listener
//! with the sections of both.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use genkan_routing::model::{Listener, UnknownName};
use genkan_routing::name::ListenerId;

/// Joins the listeners of all front ends, those of the first in front. A listener equal to one of `previous` keeps its
/// pointer.
pub(super) fn join<'l>(
    parts: impl Iterator<Item = &'l Arc<Listener>>,
    previous: &BTreeMap<ListenerId, Arc<Listener>>,
) -> BTreeMap<ListenerId, Arc<Listener>> {
    let mut by_port = BTreeMap::new();
    for part in parts {
        match by_port.entry((part.addresses.clone(), part.port, part.protocol)) {
            Entry::Vacant(vacant) => {
                vacant.insert(part.clone());
            }
            Entry::Occupied(mut occupied) => add(Arc::make_mut(occupied.get_mut()), part),
        }
    }
    by_port.into_values().map(|listener| (listener.id.clone(), keep(listener, previous))).collect()
}

fn add(listener: &mut Listener, part: &Listener) {
    listener.sections.extend(part.sections.iter().cloned());
    // Whoever comes first has the name, whatever becomes of its connections.
    let taken = |listener: &Listener, name| {
        listener.certificates.contains_key(name)
            || listener.passthrough.contains_key(name)
            || listener.terminated.contains_key(name)
    };
    for (name, stream) in &part.passthrough {
        if !taken(listener, name) {
            listener.passthrough.insert(name.clone(), Arc::clone(stream));
        }
    }
    for (name, terminated) in &part.terminated {
        if !taken(listener, name) {
            listener.terminated.insert(name.clone(), Arc::clone(terminated));
        }
    }
    // Front ends give no port away that asks its clients for certificates, so at most one part does.
    if listener.client_auth.is_none() {
        listener.client_auth.clone_from(&part.client_auth);
    }
    if part.unknown_name == UnknownName::Alert {
        listener.unknown_name = UnknownName::Alert;
    }
    for (name, ids) in &part.certificates {
        let mut all = listener.certificates.get(name).cloned().unwrap_or_default();
        all.extend(ids.iter().filter(|id| !all.contains(id)).cloned().collect::<Vec<_>>());
        listener.certificates.insert(name.clone(), all);
    }
    if listener.default_certificate.is_none() {
        listener.default_certificate.clone_from(&part.default_certificate);
    }
}

fn keep(listener: Arc<Listener>, previous: &BTreeMap<ListenerId, Arc<Listener>>) -> Arc<Listener> {
    match previous.get(&listener.id) {
        Some(old) if *old == listener => old.clone(),
        _ => listener,
    }
}
