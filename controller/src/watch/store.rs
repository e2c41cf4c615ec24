//! The store: what the streams told, as [`Resources`].

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::io;
use std::path::Path;
use std::sync::Arc;

use genkan_routing::name::Origin;
use genkan_routing::report::Problem;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use serde_json::Value;

use super::Update;
use super::cache::{Cache, Cached};
use super::raw::RawObject;
use super::scope::Scope;
use super::seen::SeenStatus;
use super::stream::Event;
use crate::kinds::{self, TypeError, display};
use crate::resources::{Key, Kind, NamespacedName, Resources, Shown, Unreadable};
use crate::translate::Change;

/// What is known of an object besides what is translated: for writing its status and Events about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.generation`: how often what users write was changed.
    pub generation: i64,
    /// `status.loadBalancer.ingress` of an Ingress, in its order.
    pub published: Arc<[Address]>,
    /// The status of an object of Gateway API.
    pub status: Option<Arc<SeenStatus>>,
}

/// An entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// `ip`.
    Ip(String),
    /// `hostname`.
    Hostname(String),
}

/// Everything that the streams told.
#[derive(Debug, Default)]
pub(super) struct Store {
    resources: Resources,
    streams: BTreeMap<usize, State>,
    facts: FxHashMap<Key, Facts>,
    /// Objects that could not be read. What was last read of them stays.
    problems: BTreeMap<Key, Problem>,
    /// Hashes of the keys of objects that exist and that nobody referred to when they were seen. A collision costs a
    /// fetch in vain.
    passed_over: FxHashSet<u64>,
    /// Of most Ingresses the published addresses are the same.
    addresses: FxHashSet<Arc<[Address]>>,
    cache: Option<Cache>,
    /// The `controllerName` that is ours.
    controller: Arc<str>,
}

/// A stream's state.
#[derive(Debug)]
struct State {
    kind: Kind,
    scope: Scope,
    /// Whether it was listed once, or cannot be.
    listed: bool,
    /// While it is being listed: the objects of before that were not seen again yet.
    unseen: BTreeSet<NamespacedName>,
}

impl Store {
    /// Knows nothing yet; `controller` is the `controllerName` that is ours.
    pub(super) fn new(controller: &str) -> Self {
        Self { controller: controller.into(), ..Self::default() }
    }

    /// A stream that will tell something.
    pub(super) fn expect(&mut self, stream: usize, kind: Kind, scope: Scope) {
        self.streams.insert(stream, State { kind, scope, listed: false, unseen: BTreeSet::new() });
    }

    pub(super) fn resources(&self) -> &Resources {
        &self.resources
    }

    pub(super) fn resources_mut(&mut self) -> &mut Resources {
        &mut self.resources
    }

    pub(super) fn is_listed(&self) -> bool {
        self.streams.values().all(|state| state.listed)
    }

    /// Kinds whose first list is awaited.
    pub(super) fn unlisted(&self) -> impl Iterator<Item = Kind> {
        self.streams.values().filter(|state| !state.listed).map(|state| state.kind)
    }

    pub(super) fn facts(&self, key: &Key) -> Option<&Facts> {
        self.facts.get(key)
    }

    /// The objects of which facts are known.
    pub(super) fn known(&self) -> impl Iterator<Item = &Key> {
        self.facts.keys()
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values()
    }

    /// Whether an object exists, probably, that was not kept.
    pub(super) fn passed_over(&self, key: &Key) -> bool {
        self.passed_over.contains(&hash(key))
    }

    /// Takes what a stream told.
    pub(super) fn take(
        &mut self,
        stream: usize,
        kind: Kind,
        event: Event,
        wanted: &impl Fn(&Key) -> bool,
        update: &mut Update,
    ) {
        match event {
            Event::Listing => self.begin_list(stream, kind),
            Event::Applied(raw) => {
                let key = raw.key(kind);
                if let Some(state) = self.streams.get_mut(&stream) {
                    state.unseen.remove(&key.name);
                }
                self.apply(key, &raw, wanted, update);
            }
            Event::Fetched(key, Some(raw)) => self.apply(key, &raw, wanted, update),
            Event::Fetched(key, None) => self.remove(&key, update),
            Event::Deleted(raw) => self.remove(&raw.key(kind), update),
            Event::Listed => self.end_list(stream, true, update),
            // What is not served is not there.
            Event::Absent => {
                self.begin_list(stream, kind);
                self.end_list(stream, true, update);
            }
            // It was readable if it was listed before: then what is known stays.
            Event::Forbidden(_) => self.end_list(stream, false, update),
            Event::Watching | Event::Failed(_) | Event::Unfetched(..) => {}
        }
    }

    fn begin_list(&mut self, stream: usize, kind: Kind) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        let scope = &state.scope;
        state.unseen = self
            .resources
            .names_of(kind)
            .chain(self.problems.keys().filter(|key| key.kind == kind).map(|key| &key.name))
            .filter(|name| scope.covers(name))
            .cloned()
            .collect();
    }

    /// `whole`: what was not seen is gone.
    fn end_list(&mut self, stream: usize, whole: bool, update: &mut Update) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        let (kind, unseen) = (state.kind, std::mem::take(&mut state.unseen));
        if whole {
            state.listed = true;
            for name in unseen {
                self.remove(&Key { kind, name }, update);
            }
            if self.resources.unreadable.remove(&kind) {
                update.changes.insert(Change::Readable(kind));
            }
        } else if !state.listed && !kind.is_essential() {
            // Without the right to read it, it is as if it did not exist; it stays so until the right is given.
            state.listed = true;
            if self.resources.unreadable.insert(kind) {
                update.changes.insert(Change::Readable(kind));
            }
        }
    }

    fn apply(&mut self, key: Key, raw: &RawObject, wanted: &impl Fn(&Key) -> bool, update: &mut Update) {
        if key.kind.kept_on_demand() {
            if !wanted(&key) {
                self.passed_over.insert(hash(&key));
                self.forget(&key);
                if self.resources.remove(&key) {
                    update.changes.insert(Change::Object(key));
                }
                return;
            }
            self.passed_over.remove(&hash(&key));
        }
        let entry = kinds::entry(key.kind);
        match (entry.decode)(raw.value()) {
            Ok((object, unknown)) => {
                update.problems_changed |= self.problems.remove(&key).is_some();
                // The same key, made of the names that the object holds.
                let key = Key::of(&object);
                if self.resources.set_unreadable(&key, Unreadable::in_doubt(entry.doubts(&unknown))) {
                    update.changes.insert(Change::Object(key.clone()));
                }
                let facts_changed = self.note_facts(&key, raw, update);
                let mut changed = false;
                if key.kind == Kind::Gateway {
                    // It may say that something is otherwise than it was taken for.
                    let shown = Shown::read(raw.value());
                    changed = self.resources.shown.get(&key.name).is_some_and(|before| *before != shown);
                    self.resources.shown.insert(key.name.clone(), shown);
                }
                changed |= self.resources.set(key.name.clone(), object);
                // Whole lists come again and again.
                if let Some(cache) = self.cache.as_ref().filter(|_| changed || facts_changed) {
                    cache.came(&key, raw.value());
                }
                if changed {
                    update.changes.insert(Change::Object(key));
                }
            }
            Err(error) => {
                let (message, mend) = entry.explain(&error);
                let field = display(&error.path);
                let served = match self.resources.unreadable_objects.get(&key) {
                    Some(unreadable) => unreadable.served,
                    None => self.resources.contains(&key),
                };
                let stays = if served { "; its last good version stays in service" } else { "" };
                let why = format!("{field}: {message}{stays}").into();
                let origin = Origin::new(key.object_ref(), field);
                let problem = Problem::error(origin, "InvalidObject", format!("{message}{stays}")).with_mend(mend);
                self.note_unreadable(&key, raw, error, Unreadable { why, served, parts: Vec::new() }, update);
                update.problems_changed |= self.problems.insert(key, problem.clone()).as_ref() != Some(&problem);
            }
        }
    }

    fn remove(&mut self, key: &Key, update: &mut Update) {
        self.forget(key);
        self.passed_over.remove(&hash(key));
        update.problems_changed |= self.problems.remove(key).is_some();
        if self.facts.remove(key).is_some() {
            update.facts.insert(key.clone());
        }
        if key.kind == Kind::Gateway {
            self.resources.shown.remove(&key.name);
        }
        self.resources.unreadable_objects.remove(key);
        if self.resources.remove(key) {
            update.changes.insert(Change::Object(key.clone()));
        }
    }

    /// Takes what can be read of a route or policy that can't be read as a whole: a word that is new to an enumeration is
    /// to be told in its status, at what it attaches to, and a policy keeps out what it can be read to keep out.
    fn note_unreadable(
        &mut self,
        key: &Key,
        raw: &RawObject,
        error: TypeError,
        mut unreadable: Unreadable,
        update: &mut Update,
    ) {
        let entry = kinds::entry(key.kind);
        if !entry.keeps_rest() {
            return;
        }
        if !unreadable.served {
            let Some((rest, parts)) = entry.decode_rest(raw.value(), error) else { return };
            unreadable.parts = parts;
            if self.resources.set(key.name.clone(), rest) {
                update.changes.insert(Change::Object(key.clone()));
            }
        }
        self.note_facts(key, raw, update);
        if self.resources.set_unreadable(key, Some(unreadable)) {
            update.changes.insert(Change::Object(key.clone()));
        }
    }

    /// Whether they changed.
    fn note_facts(&mut self, key: &Key, raw: &RawObject, update: &mut Update) -> bool {
        if !key.kind.has_facts() {
            return false;
        }
        let published = raw.value().pointer("/status/loadBalancer/ingress");
        let published = published.filter(|_| key.kind == Kind::Ingress).and_then(Value::as_array);
        let published = self.share(published.into_iter().flatten().filter_map(Address::read).collect());
        let generation = raw.value().pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
        let status = || {
            let mut status = SeenStatus::read(raw.value(), &self.controller);
            status.marked = raw.is_marked();
            Arc::new(status)
        };
        let status = key.kind.has_status().then(status);
        let facts = Facts { uid: raw.uid().into(), generation, published, status };
        let changed = self.facts.get(key) != Some(&facts);
        if changed {
            self.facts.insert(key.clone(), facts);
            update.facts.insert(key.clone());
        }
        changed
    }

    fn share(&mut self, addresses: Arc<[Address]>) -> Arc<[Address]> {
        if let Some(shared) = self.addresses.get(&addresses) {
            return shared.clone();
        }
        if self.addresses.len() >= 64 {
            self.addresses.retain(|addresses| Arc::strong_count(addresses) > 1);
        }
        self.addresses.insert(addresses.clone());
        addresses
    }

    /// Lets go of objects kept on demand that nobody refers to. They count as passed over from then on.
    pub(super) fn release(&mut self, wanted: impl Fn(&Key) -> bool) {
        let kinds = Kind::ALL.iter().copied().filter(|kind| kind.kept_on_demand());
        let kept =
            kinds.flat_map(|kind| self.resources.names_of(kind).map(move |name| Key { kind, name: name.clone() }));
        for key in kept.filter(|key| !wanted(key)).collect::<Vec<_>>() {
            self.passed_over.insert(hash(&key));
            self.forget(&key);
            self.facts.remove(&key);
            self.resources.remove(&key);
        }
    }

    /// Opens the cache and takes what it holds as if it had just been listed.
    pub(super) fn restore(&mut self, path: &Path) -> io::Result<usize> {
        let (cache, objects) = Cache::open(path)?;
        let mut update = Update::default();
        for Cached { kind, value } in objects {
            let raw = RawObject::from(value);
            self.apply(raw.key(kind), &raw, &|_| true, &mut update);
        }
        self.cache = Some(cache);
        Ok(update.changes.len())
    }

    /// The cache need not know an object any more.
    fn forget(&self, key: &Key) {
        if let Some(cache) = self.cache.as_ref().filter(|_| self.resources.contains(key)) {
            cache.went(key);
        }
    }
}

impl Address {
    fn read(entry: &Value) -> Option<Self> {
        let text = |field| entry.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        text("ip").map(Self::Ip).or_else(|| text("hostname").map(Self::Hostname))
    }
}

impl Kind {
    /// Whether nothing can be served without it. The rest of the kinds need not be readable (RBAC): ingress-nginx goes
    /// on without IngressClasses, and Gateway API need not be used.
    pub(super) fn is_essential(self) -> bool {
        matches!(self, Self::Ingress | Self::Service | Self::EndpointSlice | Self::Secret | Self::ConfigMap)
    }

    /// Whether it is of Gateway API, or attached to it, and has a status that we write.
    pub(crate) fn has_status(self) -> bool {
        matches!(
            self,
            Self::GatewayClass
                | Self::Gateway
                | Self::ListenerSet
                | Self::HttpRoute
                | Self::GrpcRoute
                | Self::TlsRoute
                | Self::TcpRoute
                | Self::UdpRoute
                | Self::BackendTlsPolicy
                | Self::XBackendTrafficPolicy
                | Self::XBackend
                | Self::ListenerPolicy
                | Self::RoutePolicy
        )
    }

    /// Whether we write its objects' status, or Events about them.
    fn has_facts(self) -> bool {
        !matches!(
            self,
            Self::Service | Self::EndpointSlice | Self::IngressClass | Self::Namespace | Self::ReferenceGrant
        )
    }
}

fn hash(key: &Key) -> u64 {
    FxBuildHasher.hash_one(key)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
