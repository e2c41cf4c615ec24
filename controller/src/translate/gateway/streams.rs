//! Streams: which route the connections and sessions of each listener of TLS, TCP and UDP follow.
//!
//! ```text
//!  ports ----------> slots: one per such listener that is served --+
//!  stream_route ---> candidates by slot and server name            |
//!                       | the oldest                               v
//!                       +--> what each slot holds ---------> listeners of the model
//! ```
//!
//! A route that comes or goes costs the names that it wants, and no look at other routes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::model::{Certificate, Listener, SharedMap, Stream, Terminated};
use genkan_routing::name::{CertificateId, HostPattern, ListenerId, Origin};

use super::hostname::intersect;
use super::parent::ParentKey;
use super::protocol::{ListenerProtocol, TlsMode};
use super::rank::RouteAge;
use super::stream_route::StreamRouteOutcome;
use crate::translate::memo::Changed;

/// A listener by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotKey {
    /// Whose it is.
    pub(crate) parent: ParentKey,
    /// Its name.
    pub(crate) listener: Arc<str>,
}

/// A listener that serves streams.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slot {
    /// The listener of the model that it is a part of.
    pub(crate) bound: ListenerId,
    /// What it speaks.
    pub(crate) protocol: ListenerProtocol,
    /// Which server names it is for; TLS only.
    pub(crate) hostname: HostPattern,
    /// What it opens TLS with.
    pub(crate) certificates: Vec<Arc<Certificate>>,
    /// The listener in its object.
    pub(crate) origin: Origin,
}

/// The candidates of all slots, and what each slot holds.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    candidates: BTreeMap<SlotKey, BTreeMap<HostPattern, Candidates>>,
    touched: BTreeSet<(SlotKey, HostPattern)>,
    slots: BTreeMap<SlotKey, (Slot, Held)>,
}

/// Routes for one name, the oldest first.
type Candidates = BTreeMap<RouteAge, Arc<Stream>>;

/// What a slot holds.
#[derive(Clone, Debug, Default)]
struct Held {
    unopened: SharedMap<HostPattern, Arc<Stream>>,
    opened: SharedMap<HostPattern, Arc<Terminated>>,
    stream: Option<Arc<Stream>>,
}

impl Streams {
    /// Follows the change of a route.
    pub(crate) fn route_changed(&mut self, changed: &Changed<StreamRouteOutcome>) {
        let (old, new) = (changed.old.as_deref(), changed.new.as_deref());
        let same = |old: &StreamRouteOutcome, new: &StreamRouteOutcome| {
            (&old.places, &old.age, &old.stream) == (&new.places, &new.age, &new.stream)
        };
        if old.zip(new).is_some_and(|(old, new)| same(old, new)) {
            return;
        }
        for (route, place) in old.iter().flat_map(|route| route.places.iter().map(move |place| (route, place))) {
            self.withdraw(place, &route.age);
            self.touched.insert(place.clone());
        }
        for (route, place) in new.iter().flat_map(|route| route.places.iter().map(move |place| (route, place))) {
            let candidates = self.candidates.entry(place.0.clone()).or_default().entry(place.1.clone()).or_default();
            candidates.insert(route.age.clone(), Arc::clone(&route.stream));
            self.touched.insert(place.clone());
        }
    }

    /// Takes the slots as they are now. One that changed is filled anew.
    pub(crate) fn arrange(&mut self, slots: BTreeMap<SlotKey, Slot>) {
        let mut before = std::mem::take(&mut self.slots);
        for (key, slot) in slots {
            let held = match before.remove(&key) {
                Some((old, held)) if old == slot => held,
                _ => {
                    let hosts = self.candidates.get(&key).into_iter().flat_map(BTreeMap::keys);
                    self.touched.extend(hosts.map(|host| (key.clone(), host.clone())));
                    // A name that no route is for must not pass to listeners with less specific hostnames.
                    self.touched.insert((key.clone(), slot.hostname.clone()));
                    Held::default()
                }
            };
            self.slots.insert(key, (slot, held));
        }
    }

    fn withdraw(&mut self, (slot, host): &(SlotKey, HostPattern), age: &RouteAge) {
        let Some(hosts) = self.candidates.get_mut(slot) else { return };
        if let Some(candidates) = hosts.get_mut(host) {
            candidates.remove(age);
            if candidates.is_empty() {
                hosts.remove(host);
            }
        }
        if hosts.is_empty() {
            self.candidates.remove(slot);
        }
    }

    /// Brings the slots up to date with the routes that changed. Returns whether there were any.
    pub(crate) fn refresh(&mut self) -> bool {
        let touched = std::mem::take(&mut self.touched);
        for (key, host) in &touched {
            let candidates = self.candidates.get(key).and_then(|hosts| hosts.get(host));
            let oldest = candidates.and_then(|candidates| candidates.values().next()).cloned();
            if let Some((slot, held)) = self.slots.get_mut(key) {
                held.set(slot, host, oldest);
            }
        }
        !touched.is_empty()
    }

    /// Puts what the slots hold into the listeners of the model.
    pub(crate) fn fill(&self, mut listeners: Vec<Listener>) -> Vec<Listener> {
        let mut by_listener: BTreeMap<&ListenerId, Vec<&Held>> = BTreeMap::new();
        for (slot, held) in self.slots.values() {
            by_listener.entry(&slot.bound).or_default().push(held);
        }
        for listener in &mut listeners {
            for held in by_listener.get(&listener.id).into_iter().flatten() {
                join(&mut listener.passthrough, &held.unopened);
                join(&mut listener.terminated, &held.opened);
                listener.stream = listener.stream.take().or_else(|| held.stream.clone());
            }
        }
        listeners
    }
}

/// Adds the names of a slot to those of others, which are different ones.
fn join<T: Clone>(all: &mut SharedMap<HostPattern, T>, part: &SharedMap<HostPattern, T>) {
    if all.is_empty() {
        all.clone_from(part);
        return;
    }
    for (name, value) in part {
        all.insert(name.clone(), value.clone());
    }
}

impl Held {
    /// What the connections for a name follow. Without a route the slot's own name leads nowhere, others do not exist.
    fn set(&mut self, slot: &Slot, host: &HostPattern, stream: Option<Arc<Stream>>) {
        let nowhere = || slot.hostname == *host;
        match slot.protocol {
            ListenerProtocol::Http | ListenerProtocol::Https => {}
            ListenerProtocol::Tcp | ListenerProtocol::Udp => self.stream = stream,
            ListenerProtocol::Tls(TlsMode::Passthrough) => {
                match stream.or_else(|| nowhere().then(|| slot.to_nowhere())) {
                    Some(stream) => drop(self.unopened.insert(host.clone(), stream)),
                    None => drop(self.unopened.remove(host)),
                }
            }
            ListenerProtocol::Tls(TlsMode::Terminate) => {
                match stream.or_else(|| nowhere().then(|| slot.to_nowhere())) {
                    Some(stream) => {
                        let terminated = Terminated { certificates: slot.certificates_for(host), stream };
                        self.opened.insert(host.clone(), Arc::new(terminated));
                    }
                    None => drop(self.opened.remove(host)),
                }
            }
        }
    }
}

impl Slot {
    fn to_nowhere(&self) -> Arc<Stream> {
        let (accept_proxy_protocol, send_proxy_protocol) = (false, false);
        let origin = self.origin.clone();
        Arc::new(Stream { origin, accept_proxy_protocol, send_proxy_protocol, settings: None, backends: Vec::new() })
    }

    /// The certificates that cover a name; without one, the first reference stands in.
    fn certificates_for(&self, host: &HostPattern) -> Vec<CertificateId> {
        let covers = |certificate: &&Arc<Certificate>| {
            certificate.names.iter().any(|name| intersect(name, host).as_ref() == Some(host))
        };
        let mut ids: Vec<_> = self.certificates.iter().filter(covers).map(|one| one.id.clone()).collect();
        if ids.is_empty() {
            ids.extend(self.certificates.first().map(|certificate| certificate.id.clone()));
        }
        ids
    }
}
