//! Listeners: joins what the front ends want to listen on. Parts with the same port and protocol become one listener
//! with the sections of both.
//!
//! Where Gateways and Ingresses share a port, a server name belongs to whoever has the most specific hostname for it: a
//! Gateway listener for `*.example.com` gets no connections for the host of an Ingress, whatever routes and certificates
//! it has. Of two with the same hostname the Gateway's comes first. A port is joined anew only when a part of it
//! changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use genkan_routing::model::{Listener, Protocol, SharedMap, Table, UnknownName};
use genkan_routing::name::{CertificateId, HostPattern, ListenerId};

use super::gateway::hostname::covering;

/// What a front end wants to listen on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'l> {
    /// What it wants.
    pub(super) listener: &'l Arc<Listener>,
    /// The hostnames of Gateway listeners, where there may be Ingresses beside them.
    pub(super) hostnames: Option<&'l Hostnames>,
}

/// The listeners as they were joined last.
#[derive(Debug, Default)]
pub(super) struct Joined(BTreeMap<Place, JoinedPort>);

type Place = (Vec<IpAddr>, u16, Protocol);

type Hostnames = Arc<BTreeSet<HostPattern>>;

#[derive(Debug)]
struct JoinedPort {
    parts: Vec<(Arc<Listener>, Option<Hostnames>)>,
    /// The hosts of the Ingresses.
    hosts: Option<Arc<Table>>,
    listener: Arc<Listener>,
}

impl Joined {
    /// Joins the listeners of all front ends, those of the first in front. `hosts` are those of the Ingresses. A
    /// listener that is equal to the one before keeps its pointer.
    pub(super) fn join<'l>(
        &mut self,
        parts: impl Iterator<Item = Part<'l>>,
        hosts: Option<&Arc<Table>>,
    ) -> BTreeMap<ListenerId, Arc<Listener>> {
        let mut by_port: BTreeMap<Place, Vec<Part<'l>>> = BTreeMap::new();
        for part in parts {
            let listener = part.listener;
            by_port.entry((listener.addresses.clone(), listener.port, listener.protocol)).or_default().push(part);
        }
        let mut before = std::mem::take(&mut self.0);
        for (place, parts) in by_port {
            let port = match (before.remove(&place), parts.split_first()) {
                (Some(known), _) if known.is_of(&parts, hosts) => known,
                (known, Some(parts)) => JoinedPort::new(parts, hosts, known.as_ref()),
                (_, None) => continue,
            };
            self.0.insert(place, port);
        }
        self.0.values().map(|port| (port.listener.id.clone(), Arc::clone(&port.listener))).collect()
    }
}

impl JoinedPort {
    fn new((first, others): (&Part<'_>, &[Part<'_>]), hosts: Option<&Arc<Table>>, before: Option<&Self>) -> Self {
        let mut listener = Arc::clone(first.listener);
        let hostnames = first.hostnames;
        for part in others {
            let listener = Arc::make_mut(&mut listener);
            if let Some(hostnames) = hostnames {
                Border { hostnames, hosts: hosts.map(AsRef::as_ref), ingresses: part.listener }.keep(listener);
            }
            add(listener, part.listener);
        }
        let listener = match before {
            Some(before) if before.listener == listener => Arc::clone(&before.listener),
            _ => listener,
        };
        let kept = |part: &Part<'_>| (Arc::clone(part.listener), part.hostnames.cloned());
        let parts: Vec<_> = std::iter::once(first).chain(others).map(kept).collect();
        let hosts = hosts.filter(|_| parts.len() > 1).cloned();
        Self { parts, hosts, listener }
    }

    /// Whether it was made of these.
    fn is_of(&self, parts: &[Part<'_>], hosts: Option<&Arc<Table>>) -> bool {
        let same = |((listener, hostnames), part): (&(Arc<Listener>, Option<_>), &Part<'_>)| {
            Arc::ptr_eq(listener, part.listener) && is_same(hostnames.as_ref(), part.hostnames)
        };
        self.parts.len() == parts.len()
            && self.parts.iter().zip(parts).all(same)
            && (parts.len() == 1 || is_same(self.hosts.as_ref(), hosts))
    }
}

fn is_same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// Between the names of Gateways and those of Ingresses.
struct Border<'l> {
    hostnames: &'l BTreeSet<HostPattern>,
    hosts: Option<&'l Table>,
    ingresses: &'l Listener,
}

impl Border<'_> {
    /// Takes from the Gateways' listener the names that are Ingresses', and keeps hosts of Ingresses from its streams and
    /// its TLS.
    fn keep(&self, gateways: &mut Listener) {
        self.leave(&mut gateways.passthrough);
        self.leave(&mut gateways.terminated);
        self.leave(&mut gateways.certificates);
        self.leave(&mut gateways.tls);
        if gateways.passthrough.is_empty() && gateways.terminated.is_empty() && gateways.tls.is_empty() {
            return;
        }
        let hosts = self.hosts.into_iter().flat_map(|table| table.hosts.keys());
        for host in hosts.filter(|host| **host != HostPattern::Any && !self.hostnames.contains(*host)) {
            let is_named = |name: &HostPattern| {
                is_streamed(gateways, name)
                    || gateways.certificates.contains_key(name)
                    || self.ingresses.certificates.contains_key(name)
                    || self.ingresses.passthrough.contains_key(name)
            };
            let Some(name) = covering(host).into_iter().find(is_named) else { continue };
            if is_streamed(gateways, &name) {
                // A host without a certificate of its own gets the one that it has where there is no Gateway.
                gateways.certificates.insert(host.clone(), self.certificates_of(host));
            } else if gateways.tls.contains_key(&name)
                && let Some(ids) = gateways.certificates.get(&name).cloned()
            {
                // It is shown the Gateway's certificate, but opened as the whole proxy's: the name is told apart.
                gateways.certificates.insert(host.clone(), ids);
            }
        }
    }

    fn leave<V: Clone>(&self, names: &mut SharedMap<HostPattern, V>) {
        let theirs: Vec<_> = names.keys().filter(|name| self.is_of_an_ingress(name)).cloned().collect();
        theirs.iter().for_each(|name| drop(names.remove(name)));
    }

    /// Whether an Ingress has a more specific hostname for a name than any Gateway.
    fn is_of_an_ingress(&self, name: &HostPattern) -> bool {
        for pattern in covering(name) {
            if pattern == HostPattern::Any || self.hostnames.contains(&pattern) {
                return false;
            }
            if self.hosts.is_some_and(|table| table.hosts.contains_key(&pattern))
                || self.ingresses.certificates.contains_key(&pattern)
                || self.ingresses.passthrough.contains_key(&pattern)
            {
                return true;
            }
        }
        false
    }

    fn certificates_of(&self, host: &HostPattern) -> Vec<CertificateId> {
        let Listener { certificates, default_certificate, .. } = self.ingresses;
        let own = covering(host).into_iter().find_map(|name| certificates.get(&name).filter(|ids| !ids.is_empty()));
        own.cloned().unwrap_or_else(|| default_certificate.iter().cloned().collect())
    }
}

fn is_streamed(listener: &Listener, name: &HostPattern) -> bool {
    listener.passthrough.contains_key(name) || listener.terminated.contains_key(name)
}

fn add(listener: &mut Listener, part: &Listener) {
    listener.sections.extend(part.sections.iter().cloned());
    // Whoever comes first has the name, whatever becomes of its connections.
    let is_free = |name: &HostPattern| !listener.certificates.contains_key(name) && !is_streamed(listener, name);
    let unopened: Vec<_> = own(&part.passthrough, is_free);
    let opened: Vec<_> = own(&part.terminated, is_free);
    listener.passthrough.extend(unopened);
    listener.terminated.extend(opened);
    join_certificates(&mut listener.certificates, &part.certificates);
    // Front ends give no port away that asks its clients for certificates, so at most one part does.
    if listener.client_auth.is_none() {
        listener.client_auth.clone_from(&part.client_auth);
    }
    if part.unknown_name == UnknownName::Alert {
        listener.unknown_name = UnknownName::Alert;
    }
    if listener.default_certificate.is_none() {
        listener.default_certificate.clone_from(&part.default_certificate);
    }
}

fn own<V: Clone>(names: &SharedMap<HostPattern, V>, is_own: impl Fn(&HostPattern) -> bool) -> Vec<(HostPattern, V)> {
    names.iter().filter(|(name, _)| is_own(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Adds certificates, behind those that are there. What is more keeps its pointers.
fn join_certificates(
    all: &mut SharedMap<HostPattern, Vec<CertificateId>>,
    more: &SharedMap<HostPattern, Vec<CertificateId>>,
) {
    let joined = |front: &[CertificateId], back: &[CertificateId]| {
        let new = back.iter().filter(|id| !front.contains(id));
        front.iter().chain(new).cloned().collect::<Vec<_>>()
    };
    if all.len() < more.len() {
        let front = std::mem::replace(all, more.clone());
        for (name, ids) in &front {
            let ids = joined(ids, more.get(name).map_or(&[], Vec::as_slice));
            all.insert(name.clone(), ids);
        }
    } else {
        for (name, ids) in more {
            let ids = joined(all.get(name).map_or(&[], Vec::as_slice), ids);
            all.insert(name.clone(), ids);
        }
    }
}
