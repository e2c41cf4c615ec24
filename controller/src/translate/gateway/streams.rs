//! Streams: which route the connections and sessions of each listener of TLS, TCP and UDP follow.
//!
//! ```text
//!  ports ----------> slots: one per such listener that is served --+
//!  stream_route ---> candidates by slot and server name            |
//!                       | the oldest                               v
//!                       +--> what each port holds ---------> listeners of the model
//! ```
//!
//! A name of a port belongs to one slot: `stream_route` leaves out those that are another listener's. A route that comes
//! or goes costs the names that it wants, and no look at other routes or ports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::model::{Certificate, Listener, ListenerSettings, SharedMap, Stream, Terminated};
use genkan_routing::name::{CertificateId, HostPattern, ListenerId, Origin};
use genkan_routing::report::Problem;

use super::hostname::intersect;
use super::parent::ParentKey;
use super::port::nowhere;
use super::protocol::{ListenerProtocol, TlsMode};
use super::rank::RouteAge;
use super::reason::CONFLICTED;
use super::stream_route::StreamRouteOutcome;
use crate::translate::assembly::{Batch, Contribution};
use crate::translate::memo::Changed;

/// A listener by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotKey {
    /// Whose it is.
    pub(crate) parent: ParentKey,
    /// Its name.
    pub(crate) listener: Arc<str>,
}

/// A server name at a listener; of TCP and UDP any.
pub(crate) type Place = (SlotKey, HostPattern);

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
    /// Its settings, where they are not those of the whole proxy.
    pub(crate) settings: Option<Arc<ListenerSettings>>,
    /// Whether its connections begin with a PROXY header; TCP only.
    pub(crate) accept_proxy_protocol: bool,
}

/// The candidates of all slots, and what each port holds.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    candidates: BTreeMap<SlotKey, BTreeMap<HostPattern, Candidates>>,
    touched: BTreeSet<Place>,
    slots: BTreeMap<SlotKey, Slot>,
    held: BTreeMap<ListenerId, Held>,
    changed: BTreeSet<ListenerId>,
    /// What is said of the routes that a place has besides the one that it follows.
    told: BTreeMap<Place, Arc<Contribution>>,
}

/// Routes for one name, the oldest first.
type Candidates = BTreeMap<RouteAge, Arc<Stream>>;

/// What a port holds.
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
        let same =
            |old: &StreamRouteOutcome, new: &StreamRouteOutcome| (&old.places, &old.age) == (&new.places, &new.age);
        if old.zip(new).is_some_and(|(old, new)| same(old, new)) {
            return;
        }
        for (route, place) in old.iter().flat_map(|route| route.places.keys().map(move |place| (route, place))) {
            self.withdraw(place, &route.age);
            self.touched.insert(place.clone());
        }
        for (route, (place, stream)) in new.iter().flat_map(|route| route.places.iter().map(move |it| (route, it))) {
            let candidates = self.candidates.entry(place.0.clone()).or_default().entry(place.1.clone()).or_default();
            candidates.insert(route.age.clone(), Arc::clone(stream));
            self.touched.insert(place.clone());
        }
    }

    /// Takes the slots as they are now. One that changed is filled anew by [`refresh`](Self::refresh).
    pub(crate) fn arrange(&mut self, slots: BTreeMap<SlotKey, Slot>) {
        let before = std::mem::replace(&mut self.slots, slots);
        for (key, old) in before.iter().filter(|(key, old)| self.slots.get(key) != Some(old)) {
            if let Some(held) = self.held.get_mut(&old.bound) {
                let hosts = self.candidates.get(key).into_iter().flat_map(BTreeMap::keys);
                hosts.chain([&old.hostname]).for_each(|host| held.forget(old.protocol, host));
                if held.is_empty() {
                    self.held.remove(&old.bound);
                }
            }
            self.changed.insert(old.bound.clone());
        }
        for (key, slot) in self.slots.iter().filter(|(key, slot)| before.get(key) != Some(slot)) {
            let hosts = self.candidates.get(key).into_iter().flat_map(BTreeMap::keys);
            // A name that no route is for must not pass to listeners with less specific hostnames.
            self.touched.extend(hosts.chain([&slot.hostname]).map(|host| (key.clone(), host.clone())));
        }
    }

    fn withdraw(&mut self, (slot, host): &Place, age: &RouteAge) {
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

    /// Brings the ports up to date with the slots and routes that changed. Returns the ports that did.
    pub(crate) fn refresh(&mut self, batch: &mut Batch) -> BTreeSet<ListenerId> {
        let touched = std::mem::take(&mut self.touched);
        // A name may move from one slot of a port to another, so that it goes before it comes.
        for comes in [false, true] {
            for (key, host) in &touched {
                let Some(slot) = self.slots.get(key) else { continue };
                let candidates = self.candidates.get(key).and_then(|hosts| hosts.get(host));
                let oldest = candidates.and_then(|candidates| candidates.values().next());
                let stream = oldest.cloned().or_else(|| slot.without_route(host));
                if stream.is_some() == comes {
                    self.held.entry(slot.bound.clone()).or_default().set(slot, host, stream);
                    self.changed.insert(slot.bound.clone());
                }
            }
        }
        for place in touched {
            self.tell(place, batch);
        }
        std::mem::take(&mut self.changed)
    }

    /// Says of the routes of a place which of them get nothing.
    fn tell(&mut self, place: Place, batch: &mut Batch) {
        let candidates = self.candidates.get(&place.0).and_then(|hosts| hosts.get(&place.1));
        let late = candidates.into_iter().flat_map(|candidates| candidates.values().skip(1));
        let problems: Vec<_> = late.map(|stream| came_late(stream, &place)).collect();
        let new = Contribution { problems, ..Contribution::default() }.into_shared();
        let old = self.told.get(&place).cloned();
        if old != new {
            match &new {
                Some(new) => drop(self.told.insert(place, Arc::clone(new))),
                None => drop(self.told.remove(&place)),
            }
            batch.push(Some(Changed { old, new }));
        }
    }

    /// Puts what a port holds into its listener of the model.
    pub(crate) fn fill(&self, listener: &mut Listener) {
        if let Some(held) = self.held.get(&listener.id) {
            join(&mut listener.passthrough, &held.unopened);
            join(&mut listener.terminated, &held.opened);
            listener.stream.clone_from(&held.stream);
        }
    }
}

/// The problem of a route when an older one has what it wants. Which one that is may be none of its author's business.
fn came_late(stream: &Stream, (slot, host): &Place) -> Problem {
    let what = match host {
        HostPattern::Any => "everything".to_owned(),
        host => format!("what is for {host}"),
    };
    let SlotKey { parent, listener } = slot;
    let message =
        format!("a route that came first gets {what} on listener {listener} of {parent}; this one gets none of it");
    let origin = Origin { field: "spec.parentRefs".into(), ..stream.origin.clone() };
    Problem::warning(origin, CONFLICTED, message)
        .with_mend("use another listener or hostname, or remove one of the routes")
}

/// Adds the names of a port's slots to the few that it had, which are different ones.
fn join<T: Clone>(all: &mut SharedMap<HostPattern, T>, part: &SharedMap<HostPattern, T>) {
    let few = std::mem::replace(all, part.clone());
    all.extend(few.iter().map(|(name, value)| (name.clone(), value.clone())));
}

impl Held {
    fn is_empty(&self) -> bool {
        self.unopened.is_empty() && self.opened.is_empty() && self.stream.is_none()
    }

    fn forget(&mut self, protocol: ListenerProtocol, host: &HostPattern) {
        match protocol {
            ListenerProtocol::Http | ListenerProtocol::Https => {}
            ListenerProtocol::Tcp | ListenerProtocol::Udp => self.stream = None,
            ListenerProtocol::Tls(TlsMode::Passthrough) => drop(self.unopened.remove(host)),
            ListenerProtocol::Tls(TlsMode::Terminate) => drop(self.opened.remove(host)),
        }
    }

    /// What the connections for a name of a slot follow.
    fn set(&mut self, slot: &Slot, host: &HostPattern, stream: Option<Arc<Stream>>) {
        let Some(stream) = stream.map(|stream| slot.dress(stream)) else { return self.forget(slot.protocol, host) };
        match slot.protocol {
            ListenerProtocol::Http | ListenerProtocol::Https => {}
            ListenerProtocol::Tcp | ListenerProtocol::Udp => self.stream = Some(stream),
            ListenerProtocol::Tls(TlsMode::Passthrough) => drop(self.unopened.insert(host.clone(), stream)),
            ListenerProtocol::Tls(TlsMode::Terminate) => {
                let terminated = Terminated { certificates: slot.certificates_for(host), stream };
                self.opened.insert(host.clone(), Arc::new(terminated));
            }
        }
    }
}

impl Slot {
    /// What connections for a name follow that no route wants: the slot's own name leads nowhere, others do not exist.
    fn without_route(&self, host: &HostPattern) -> Option<Arc<Stream>> {
        let is_tls = matches!(self.protocol, ListenerProtocol::Tls(_));
        (is_tls && self.hostname == *host).then(|| Arc::new(nowhere(self.origin.clone())))
    }

    /// A route's stream with what the listener says of it.
    fn dress(&self, stream: Arc<Stream>) -> Arc<Stream> {
        if self.settings.is_none() && !self.accept_proxy_protocol {
            return stream;
        }
        let (settings, accept_proxy_protocol) = (self.settings.clone(), self.accept_proxy_protocol);
        Arc::new(Stream { settings, accept_proxy_protocol, ..Stream::clone(&stream) })
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
