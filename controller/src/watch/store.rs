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
use crate::kinds::{self, display};
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
            Ok((object, _)) => {
                update.problems_changed |= self.problems.remove(&key).is_some();
                // The same key, made of the names that the object holds.
                let key = Key::of(&object);
                if self.resources.unreadable_routes.remove(&key).is_some() {
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
                let served = match self.resources.unreadable_routes.get(&key) {
                    Some(unreadable) => unreadable.served,
                    None => self.resources.contains(&key),
                };
                let stays = if served { "; its last good version stays in service" } else { "" };
                let why = format!("{field}: {message}{stays}");
                self.note_unreadable(&key, raw, Unreadable { why: why.into(), served }, update);
                let origin = Origin::new(key.object_ref(), field);
                let problem = Problem::error(origin, "InvalidObject", format!("{message}{stays}")).with_mend(mend);
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
        self.resources.unreadable_routes.remove(key);
        if self.resources.remove(key) {
            update.changes.insert(Change::Object(key.clone()));
        }
    }

    /// Takes what can be read of a route whose rules can't: a word that is new to an enumeration is to be told in its
    /// status, at what it attaches to.
    fn note_unreadable(&mut self, key: &Key, raw: &RawObject, unreadable: Unreadable, update: &mut Update) {
        if !matches!(key.kind, Kind::HttpRoute | Kind::GrpcRoute) {
            return;
        }
        if !unreadable.served {
            let mut value = raw.value().clone();
            if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
                spec.remove("rules");
            }
            let Ok((rest, _)) = (kinds::entry(key.kind).decode)(&value) else { return };
            if self.resources.set(key.name.clone(), rest) {
                update.changes.insert(Change::Object(key.clone()));
            }
        }
        self.note_facts(key, raw, update);
        if self.resources.unreadable_routes.get(key) != Some(&unreadable) {
            self.resources.unreadable_routes.insert(key.clone(), unreadable);
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
        let kept: Vec<_> = self.resources.keys().filter(|key| key.kind.kept_on_demand()).collect();
        for key in kept.into_iter().filter(|key| !wanted(key)) {
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
mod tests {
    use serde_json::json;

    use super::super::ask::Failure;
    use super::*;

    fn raw(value: Value) -> Box<RawObject> {
        Box::new(RawObject::from(value))
    }

    fn service(name: &str) -> Box<RawObject> {
        raw(json!({"metadata": {"namespace": "default", "name": name}, "spec": {}}))
    }

    fn failure() -> Failure {
        Failure { brief: "HTTP status 403".to_owned(), detail: "no".to_owned() }
    }

    fn key(kind: Kind, name: &str) -> Key {
        Key::new(kind, "default", name)
    }

    struct Told {
        store: Store,
        wanted: BTreeSet<Key>,
    }

    impl Told {
        fn new(kind: Kind) -> Self {
            let mut store = Store::default();
            store.expect(0, kind, Scope::default());
            Self { store, wanted: BTreeSet::new() }
        }

        fn tell(&mut self, kind: Kind, events: Vec<Event>) -> Update {
            let mut update = Update::default();
            for event in events {
                let wanted = |key: &Key| self.wanted.contains(key);
                self.store.take(0, kind, event, &wanted, &mut update);
            }
            update
        }

        fn services(&self) -> Vec<&str> {
            self.store.resources.services.keys().map(|name| &*name.name).collect()
        }
    }

    fn changed(update: &Update) -> Vec<String> {
        update.changes.iter().map(|change| format!("{change:?}")).collect()
    }

    #[test]
    fn what_a_new_list_does_not_hold_is_gone() {
        let mut told = Told::new(Kind::Service);
        assert!(!told.store.is_listed());
        let listed = |names: &[&str]| {
            let objects = names.iter().map(|name| Event::Applied(service(name)));
            [Event::Listing].into_iter().chain(objects).chain([Event::Listed]).collect::<Vec<_>>()
        };
        told.tell(Kind::Service, listed(&["a", "b"]));
        assert!(told.store.is_listed());
        let update = told.tell(Kind::Service, listed(&["b", "c"]));
        assert_eq!(told.services(), ["b", "c"]);
        // What stayed equal is no change.
        assert_eq!(changed(&update).len(), 2, "{:?}", update.changes);
        let update = told.tell(Kind::Service, vec![Event::Failed(failure()), Event::Watching]);
        assert!(update.changes.is_empty());
        assert_eq!(told.services(), ["b", "c"]);
        told.tell(Kind::Service, vec![Event::Absent]);
        assert!(told.services().is_empty());
    }

    #[test]
    fn a_list_that_breaks_off_takes_nothing_away() {
        let mut told = Told::new(Kind::Service);
        told.tell(Kind::Service, vec![Event::Listing, Event::Applied(service("a")), Event::Listed]);
        told.tell(Kind::Service, vec![Event::Listing, Event::Failed(failure())]);
        told.tell(Kind::Service, vec![Event::Forbidden(failure())]);
        assert_eq!(told.services(), ["a"]);
    }

    #[test]
    fn an_object_that_can_not_be_read_keeps_its_last_good_version_and_is_told() {
        let mut told = Told::new(Kind::Gateway);
        let gateway = |listeners: Value| {
            let spec = json!({"gatewayClassName": "c", "listeners": listeners});
            Event::Applied(raw(json!({"metadata": {"namespace": "default", "name": "g"}, "spec": spec})))
        };
        told.tell(Kind::Gateway, vec![gateway(json!([]))]);
        let update = told.tell(Kind::Gateway, vec![gateway(json!("none"))]);
        assert!(update.changes.is_empty() && update.problems_changed);
        let problem = told.store.problems().next().unwrap().to_string();
        assert!(problem.contains("Gateway default/g: spec.listeners: "), "{problem}");
        assert!(problem.contains("last good version"), "{problem}");
        assert_eq!(told.store.resources.gateways.len(), 1);
        let update = told.tell(Kind::Gateway, vec![gateway(json!([]))]);
        assert!(update.problems_changed);
        assert_eq!(told.store.problems().count(), 0);
    }

    #[test]
    fn a_route_with_a_word_that_is_new_is_kept_without_its_rules() {
        let mut told = Told::new(Kind::HttpRoute);
        let route = |generation: i64, filter: &str| {
            let metadata = json!({"namespace": "default", "name": "r", "uid": "u", "generation": generation});
            let rules = json!([{"filters": [{"type": filter, "requestHeaderModifier": {}}]}]);
            let spec = json!({"parentRefs": [{"name": "edge"}], "rules": rules});
            Event::Applied(raw(json!({"metadata": metadata, "spec": spec})))
        };
        let key = key(Kind::HttpRoute, "r");
        let unreadable = |told: &Told| told.store.resources.unreadable_routes.get(&key).cloned();
        let update = told.tell(Kind::HttpRoute, vec![route(1, "Teleport")]);
        assert_eq!(update.changes.len(), 1);
        let kept = told.store.resources.http_routes.values().next().unwrap();
        assert_eq!((kept.spec.rules.is_none(), &*kept.spec.parent_refs.as_ref().unwrap()[0].name), (true, "edge"));
        let why = unreadable(&told).unwrap();
        assert!(!why.served && why.why.starts_with("spec.rules[0].filters[0].type: "), "{}", why.why);
        assert_eq!(told.store.facts(&key).unwrap().generation, 1);
        // Another word of this kind does not make it one that was served.
        told.tell(Kind::HttpRoute, vec![route(2, "Beam")]);
        assert!(!unreadable(&told).unwrap().served);
        told.tell(Kind::HttpRoute, vec![route(3, "RequestHeaderModifier")]);
        assert_eq!(unreadable(&told), None);
        let update = told.tell(Kind::HttpRoute, vec![route(4, "Teleport")]);
        assert_eq!(update.changes.len(), 1);
        assert!(unreadable(&told).unwrap().served);
        assert!(told.store.resources.http_routes.values().next().unwrap().spec.rules.is_some());
        assert_eq!(told.store.facts(&key).unwrap().generation, 4);
        told.tell(Kind::HttpRoute, vec![Event::Listing, Event::Listed]);
        assert_eq!((unreadable(&told), told.store.resources.http_routes.len()), (None, 0));
    }

    #[test]
    fn only_config_maps_that_somebody_refers_to_are_kept() {
        let mut told = Told::new(Kind::ConfigMap);
        let object = || Event::Applied(raw(json!({"metadata": {"namespace": "default", "name": "a"}})));
        let key = key(Kind::ConfigMap, "a");
        assert!(told.tell(Kind::ConfigMap, vec![object()]).changes.is_empty());
        assert!(told.store.passed_over(&key) && !told.store.resources.contains(&key));
        told.wanted.insert(key.clone());
        assert_eq!(told.tell(Kind::ConfigMap, vec![object()]).changes.len(), 1);
        assert!(!told.store.passed_over(&key));
        told.store.release(|_| true);
        assert!(told.store.resources.contains(&key));
        told.store.release(|_| false);
        assert!(told.store.passed_over(&key) && !told.store.resources.contains(&key));
        told.tell(Kind::ConfigMap, vec![Event::Fetched(key.clone(), None)]);
        assert!(!told.store.passed_over(&key));
    }

    #[test]
    fn a_kind_that_we_may_not_read_is_empty_unless_nothing_works_without_it() {
        let mut told = Told::new(Kind::IngressClass);
        let update = told.tell(Kind::IngressClass, vec![Event::Forbidden(failure())]);
        assert_eq!(changed(&update), ["Readable(IngressClass)"]);
        assert!(told.store.is_listed() && told.store.resources.unreadable.contains(&Kind::IngressClass));
        let update = told.tell(Kind::IngressClass, vec![Event::Listing, Event::Listed]);
        assert_eq!(changed(&update), ["Readable(IngressClass)"]);
        assert!(told.store.resources.unreadable.is_empty());

        let mut told = Told::new(Kind::Ingress);
        told.tell(Kind::Ingress, vec![Event::Forbidden(failure())]);
        assert!(!told.store.is_listed());
    }

    #[test]
    fn a_status_is_a_fact_and_no_change() {
        let mut told = Told::new(Kind::Ingress);
        let ingress = |ip: &str| {
            let metadata = json!({"namespace": "default", "name": "a", "uid": "u"});
            let status = json!({"loadBalancer": {"ingress": [{"ip": ip, "ports": []}, {"hostname": "lb.test"}, {}]}});
            Event::Applied(raw(json!({"metadata": metadata, "spec": {}, "status": status})))
        };
        told.tell(Kind::Ingress, vec![ingress("1.2.3.4")]);
        let update = told.tell(Kind::Ingress, vec![ingress("5.6.7.8")]);
        let key = key(Kind::Ingress, "a");
        assert!(update.changes.is_empty() && update.facts.contains(&key));
        let published = [Address::Ip("5.6.7.8".to_owned()), Address::Hostname("lb.test".to_owned())];
        assert_eq!(told.store.facts(&key).unwrap().published[..], published);
        told.tell(Kind::Ingress, vec![Event::Listing, Event::Listed]);
        assert_eq!(told.store.facts(&key), None);
    }

    #[test]
    fn what_the_cache_held_is_there_until_the_api_server_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let mut told = Told::new(Kind::Service);
        assert_eq!(told.store.restore(&path).unwrap(), 0);
        told.tell(Kind::Service, vec![Event::Listing, Event::Applied(service("a")), Event::Applied(service("b"))]);
        told.tell(Kind::Service, vec![Event::Listed, Event::Deleted(service("a"))]);
        drop(told);
        let mut told = Told::new(Kind::Service);
        assert_eq!(told.store.restore(&path).unwrap(), 1);
        assert_eq!(told.services(), ["b"]);
        assert!(!told.store.is_listed());
        told.tell(Kind::Service, vec![Event::Listing, Event::Applied(service("c")), Event::Listed]);
        assert_eq!(told.services(), ["c"]);
    }
}
