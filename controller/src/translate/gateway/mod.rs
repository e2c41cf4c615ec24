//! The Gateway API front end: GatewayClass, Gateway, ListenerSet, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute,
//! ReferenceGrant and policies.
//!
//! ```text
//!  Gateway ---> gateways (one unit each: class, parameters, listeners, certificates)
//!                   |
//!                   v
//!                 addressing (all Gateways: addresses of pools) ------------> infrastructure
//!                   |
//!                   v
//!  ListenerSet --> ports (all Gateways: conflicts, one listener per port) ---> listeners, certificates
//!                   | parents: what a route may attach to
//!                   v
//!  HTTPRoute --> route (one unit each: attachment, rules, backends) --------> rules, clusters
//!  GRPCRoute        | matches with their rank, hosts of tables
//!                   v
//!                 hosts (contests between the two kinds; one unit per host of
//!                        a table: matches in order) -------------------------> tables
//!
//!  TLSRoute, --> stream_route (one unit each: attachment, backends) --------> clusters
//!  TCPRoute,        | listeners and server names that it wants
//!  UDPRoute         v
//!                streams (the oldest for each name) ------------------------> into the listeners
//! ```
//!
//! Each Gateway listener has a table of its own, `gateway/namespace/name/listener`, so routes never leak from one
//! listener to another. It refuses to resolve endpoints: clusters are made for all front ends alike.

mod addresses;
mod addressing;
mod affinity;
mod allowed;
mod ancestors;
mod attach;
mod attached;
mod backend;
pub(super) mod backend_tls;
mod classes;
mod client_auth;
mod client_certificate;
mod contest;
mod cors;
mod evidence;
mod external_auth;
mod family;
mod features;
mod filter_spec;
mod filters;
mod findings;
mod gateway_status;
mod gateways;
mod grant;
mod grpc_match;
pub(super) mod hostname;
mod hosts;
pub mod infrastructure;
mod known;
mod led;
mod listener;
mod listener_policy;
mod listener_sets;
mod matches;
mod mirror;
mod naming;
mod notes;
mod parameters;
mod parent;
mod policy;
mod port;
mod ports;
mod protocol;
mod rank;
mod reason;
mod route;
mod route_status;
mod rule;
mod selector;
mod serviced;
pub mod status;
mod stream_route;
mod streams;
mod target_ports;
mod timing;
pub(super) mod traffic_policy;
mod unused;
mod users;
mod validation;
mod variants;
mod x_backend;
mod x_backend_status;
mod x_backend_tls;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use genkan_routing::model::{Listener, Protocol};
use genkan_routing::name::{HostPattern, ListenerId, ObjectRef};
use genkan_routing::report::Problem;

use self::addressing::Plan;
use self::attached::Attached;
use self::backend_tls::BackendTlsPolicies;
use self::family::Family;
use self::gateway_status::Known;
use self::gateways::GatewayOutcome;
use self::hosts::Hosts;
use self::infrastructure::Infrastructure;
use self::led::Led;
use self::listener_policy::ListenerPolicies;
use self::listener_sets::SetOutcome;
pub use self::parent::ParentKey;
use self::policy::RoutePolicies;
use self::ports::{Parent, Reception};
use self::route::{RouteOutcome, Surroundings};
use self::status::Wanted;
use self::stream_route::StreamRouteOutcome;
use self::streams::Streams;
use self::traffic_policy::TrafficPolicies;
use self::users::Users;
use self::x_backend_status::XBackends;
use super::assembly::{Batch, Contribution};
use super::memo::{Changed, Memo, Output};
use super::reader::{Dependency, Dirty};
use super::world::World;
use crate::resources::{Key, Kind, NamespacedName};

/// The units of work of the Gateway API, and what they gave last.
#[derive(Debug, Default)]
pub struct GatewayFrontEnd {
    classes: Memo<NamespacedName, Contribution>,
    gateways: Memo<NamespacedName, GatewayOutcome>,
    sets: Memo<NamespacedName, SetOutcome>,
    plan: Plan,
    /// Where Services of Gateways lead.
    led: Led,
    own_addresses: Arc<BTreeSet<IpAddr>>,
    infrastructure: Arc<BTreeMap<NamespacedName, Infrastructure>>,
    parents: BTreeMap<ParentKey, Parent>,
    listeners: BTreeMap<ListenerId, Arc<Listener>>,
    /// The hostnames that the Gateways have on ports which Ingresses are served on too.
    beside_ingresses: BTreeMap<ListenerId, Arc<BTreeSet<HostPattern>>>,
    /// The ports of TCP and UDP services.
    services: Arc<BTreeSet<(Protocol, u16)>>,
    ports: Option<Arc<Contribution>>,
    routes: Memo<Key, RouteOutcome>,
    hosts: Hosts,
    stream_routes: Memo<Key, StreamRouteOutcome>,
    streams: Streams,
    /// The listeners without what routes of streams add.
    arranged: BTreeMap<ListenerId, Listener>,
    traffic_policies: TrafficPolicies,
    users: Users,
    backend_tls_policies: BackendTlsPolicies,
    policies: RoutePolicies,
    listener_policies: ListenerPolicies,
    x_backends: XBackends,
    attached: Attached,
    statuses: BTreeMap<ParentKey, Arc<Contribution>>,
}

/// What is around Gateways and ListenerSets.
#[derive(Default)]
struct Around<'a> {
    /// What is in the way of listeners, by whose they are.
    conflicts: BTreeMap<&'a ObjectRef, Vec<&'a Problem>>,
    /// How many ListenerSets a Gateway has that are accepted; nothing where none could be.
    attached_sets: BTreeMap<&'a NamespacedName, u32>,
}

impl GatewayFrontEnd {
    /// Redoes the units that `dirty` meets (all of them when `first`), and adds their changes to `batch`. What changed on
    /// the way may be added to `dirty` for later steps. `services` are the ports of TCP and UDP services, which are not
    /// for the taking.
    pub fn update(
        &mut self,
        world: &World<'_>,
        first: bool,
        services: &Arc<BTreeSet<(Protocol, u16)>>,
        dirty: &mut Dirty,
        batch: &mut Batch,
    ) {
        self.update_classes(world, first, dirty, batch);
        let any_gateway = self.update_gateways(world, first, dirty, batch);
        let any_set = self.update_sets(world, first, dirty, batch);
        let any_service = self.services != *services;
        self.services = Arc::clone(services);
        let any_policy = self.listener_policies.update(world, first, dirty) || dirty.contains(&Dependency::Config);
        let any_led = world.settings.target_ports.is_some() && self.led.update(world.resources, first, dirty);
        let anything = first
            || any_gateway
            || any_set
            || any_service
            || any_policy
            || any_led
            || self.is_contradicted(world, dirty);
        if anything {
            self.arrange_ports(world, dirty, batch);
        }
        self.policies.update(world, &self.parents, first, dirty);
        self.update_routes(world, first, dirty, batch);
        self.update_stream_routes(world, first, dirty, batch);
        let filled = self.streams.refresh(batch);
        self.fill_listeners(anything, filled);
        self.update_statuses(anything, batch);
        self.listener_policies.update_statuses(world, &self.parents, dirty, batch);
        self.hosts.refresh(|name| self.routes.get(name), batch);
        self.policies.update_statuses(world, &self.parents, dirty, batch);
        self.traffic_policies.update(world, &self.users, first, dirty, batch);
        self.backend_tls_policies.update(world, &self.users, first, dirty, batch);
        self.x_backends.update(world, &self.users, first, dirty, batch);
    }

    /// Whether the status of a Gateway says something else than what was promised to it.
    fn is_contradicted(&self, world: &World<'_>, dirty: &Dirty) -> bool {
        changed_objects(dirty).filter(|key| key.kind == Kind::Gateway).any(|Key { name, .. }| {
            let (promise, shown) = (self.plan.promised.get(name), world.resources.shown.get(name));
            promise.zip(shown).is_some_and(|(promise, shown)| promise.is_contradicted_by(shown))
        })
    }

    /// Whether any unit read this.
    pub fn is_read(&self, dependency: &Dependency) -> bool {
        self.classes.is_read(dependency)
            || self.gateways.is_read(dependency)
            || self.sets.is_read(dependency)
            || self.routes.is_read(dependency)
            || self.policies.is_read(dependency)
            || self.traffic_policies.is_read(dependency)
            || self.stream_routes.is_read(dependency)
            || self.backend_tls_policies.is_read(dependency)
            || self.listener_policies.is_read(dependency)
            || self.x_backends.is_read(dependency)
    }

    /// What the Gateways listen on. A listener that did not change keeps its pointer.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.values()
    }

    /// The hostnames that the Gateways have on a port, if Ingresses are served there too.
    pub fn hostnames_beside_ingresses(&self, listener: &ListenerId) -> Option<&Arc<BTreeSet<HostPattern>>> {
        self.beside_ingresses.get(listener)
    }

    /// What is to become of Services that are kept for Gateways, by their name.
    pub fn infrastructure(&self) -> &Arc<BTreeMap<NamespacedName, Infrastructure>> {
        &self.infrastructure
    }

    /// The addresses that Gateways have for themselves.
    pub fn own_addresses(&self) -> &Arc<BTreeSet<IpAddr>> {
        &self.own_addresses
    }

    fn update_classes(&mut self, world: &World<'_>, first: bool, dirty: &Dirty, batch: &mut Batch) {
        for name in due(&self.classes, Kind::GatewayClass, world, first, dirty) {
            batch.push(self.classes.refresh(&name, world.reader(), |reader| {
                reader.is_served(Kind::GatewayClass, &name).then(|| classes::read(&name, reader)).flatten()
            }));
        }
    }

    /// Returns whether any Gateway changed.
    fn update_gateways(&mut self, world: &World<'_>, first: bool, dirty: &Dirty, batch: &mut Batch) -> bool {
        let mut any = false;
        for name in due(&self.gateways, Kind::Gateway, world, first, dirty) {
            let changed = self.gateways.refresh(&name, world.reader(), |reader| {
                reader.is_served(Kind::Gateway, &name).then(|| gateways::read(&name, reader)).flatten()
            });
            if let Some(changed) = changed {
                let contribution = |outcome: Option<Arc<GatewayOutcome>>| Some(outcome?.contribution.clone());
                batch.push(Some(Changed { old: contribution(changed.old), new: contribution(changed.new) }));
                any = true;
            }
        }
        any
    }

    /// Returns whether any ListenerSet changed.
    fn update_sets(&mut self, world: &World<'_>, first: bool, dirty: &Dirty, batch: &mut Batch) -> bool {
        let mut any = false;
        for name in due(&self.sets, Kind::ListenerSet, world, first, dirty) {
            let changed = self.sets.refresh(&name, world.reader(), |reader| {
                reader.is_served(Kind::ListenerSet, &name).then(|| listener_sets::read(&name, reader)).flatten()
            });
            if let Some(changed) = changed {
                let contribution = |outcome: Option<Arc<SetOutcome>>| Some(outcome?.contribution.clone());
                batch.push(Some(Changed { old: contribution(changed.old), new: contribution(changed.new) }));
                any = true;
            }
        }
        any
    }

    /// Holds all Gateways against each other. What routes see of a Gateway that changed becomes dirty.
    fn arrange_ports(&mut self, world: &World<'_>, dirty: &mut Dirty, batch: &mut Batch) {
        let mut gateways: Vec<_> =
            self.gateways.units().filter_map(|name| Some((name, self.gateways.get(name)?))).collect();
        gateways.sort_by(|(_, one), (_, other)| one.age.cmp(&other.age));
        let sets = self.sets.units().filter_map(|name| self.sets.get(name).map(|set| &**set));
        let most = world.settings.target_ports.as_ref().map_or(0, target_ports::of_namespace);
        let known = known::Known {
            promised: &self.plan.promised,
            freed: &self.plan.freed,
            led: self.led.ports(most),
            shown: &world.resources.shown,
            ports: serviced::wanted(&gateways, sets),
            services: &self.services,
        };
        let plan = addressing::plan(&gateways, &known, world.settings);
        let sets = self.sets.units().filter_map(|name| Some((name, self.sets.get(name)?)));
        let proxy = world.config.map(|config| config.proxy.clone()).unwrap_or_default();
        let reception = Reception { policies: &self.listener_policies, global: &proxy };
        let families = Family::all(&gateways, sets, &plan.gateways);
        let mut arrangement = ports::arrange(&families, &self.services, world.settings, reception);
        arrangement.problems.extend(plan.problems.iter().cloned());
        if *self.infrastructure != plan.infrastructure {
            self.infrastructure = Arc::new(plan.infrastructure.clone());
        }
        let own_addresses = plan.own_addresses();
        if *self.own_addresses != own_addresses {
            self.own_addresses = Arc::new(own_addresses);
        }
        self.plan = plan;
        let keys: BTreeSet<_> = self.parents.keys().chain(arrangement.parents.keys()).collect();
        for key in keys {
            let [was, is] = [&self.parents, &arrangement.parents].map(|parents| parents.get(key));
            if was != is {
                dirty.insert(Dependency::Parent(key.clone()));
            }
            let is_default = |parent: Option<&Parent>| parent.is_some_and(|parent| parent.is_default);
            if is_default(was) != is_default(is) {
                dirty.insert(Dependency::DefaultGateways);
            }
        }
        self.parents = arrangement.parents;
        self.listener_policies.settle(arrangement.effects, dirty);
        self.arranged = arrangement.listeners.into_iter().map(|listener| (listener.id.clone(), listener)).collect();
        self.streams.arrange(arrangement.slots);
        self.beside_ingresses = arrangement
            .beside_ingresses
            .into_iter()
            .map(|(id, hostnames)| {
                let same = self.beside_ingresses.get(&id).filter(|same| ***same == hostnames).cloned();
                (id, same.unwrap_or_else(|| Arc::new(hostnames)))
            })
            .collect();
        let contribution = Contribution {
            certificates: arrangement.certificates,
            problems: arrangement.problems,
            ..Contribution::default()
        };
        if self.ports.as_deref() != Some(&contribution) {
            let new = Some(Arc::new(contribution));
            let old = std::mem::replace(&mut self.ports, new.clone());
            batch.push(Some(Changed { old, new }));
        }
    }

    /// Puts the streams into the listeners: into those of `filled`, into all when they were arranged anew.
    fn fill_listeners(&mut self, rearranged: bool, mut filled: BTreeSet<ListenerId>) {
        if rearranged {
            self.listeners.retain(|id, _| self.arranged.contains_key(id));
            filled.extend(self.arranged.keys().cloned());
        }
        for id in filled {
            let Some(mut listener) = self.arranged.get(&id).cloned() else { continue };
            self.streams.fill(&mut listener);
            if self.listeners.get(&id).is_none_or(|present| **present != listener) {
                self.listeners.insert(id, Arc::new(listener));
            }
        }
    }

    fn update_routes(&mut self, world: &World<'_>, first: bool, dirty: &mut Dirty, batch: &mut Batch) {
        let keys = due_keys(&self.routes, &[Kind::HttpRoute, Kind::GrpcRoute], world, first, dirty);
        let mut changes = BTreeMap::new();
        self.read_routes(&keys, world, &mut changes);
        // What a route wants does not depend on who gets it: after this everything is settled.
        let keys = self.hosts.settle(|key| self.routes.get(key));
        self.read_routes(&keys, world, &mut changes);
        let contribution = |outcome: Option<Arc<RouteOutcome>>| Some(outcome?.contribution.clone());
        for (key, Changed { old, new }) in changes {
            let [was, is] = [&old, &new].map(|outcome| outcome.as_ref().map(|outcome| &outcome.acts));
            self.policies.route_changed(&key, was, is);
            let parents = [&old, &new].map(|outcome| outcome.as_ref().map_or(&[][..], |outcome| &outcome.parents));
            self.attached.route_changed(parents[0], parents[1]);
            self.users.route_changed(&users::uses(old.as_deref()), &users::uses(new.as_deref()), dirty);
            batch.push(Some(Changed { old: contribution(old), new: contribution(new) }));
        }
    }

    /// Reads routes, maybe for the second time, and adds to `changes` what became of each since the first.
    fn read_routes(
        &mut self,
        keys: &BTreeSet<Key>,
        world: &World<'_>,
        changes: &mut BTreeMap<Key, Changed<RouteOutcome>>,
    ) {
        let Self { routes, parents, hosts, policies, .. } = self;
        for key in keys {
            let changed = routes.refresh(key, world.reader(), |reader| {
                let surroundings = Surroundings { parents, winner: &|table| hosts.winner(table, key), policies };
                reader.is_served(key.kind, &key.name).then(|| route::read(key, &surroundings, reader)).flatten()
            });
            let Some(changed) = changed else { continue };
            hosts.route_changed(key, &changed);
            match changes.get_mut(key) {
                Some(earlier) => earlier.new = changed.new,
                None => drop(changes.insert(key.clone(), changed)),
            }
        }
    }

    fn update_stream_routes(&mut self, world: &World<'_>, first: bool, dirty: &mut Dirty, batch: &mut Batch) {
        let keys = due_keys(&self.stream_routes, &stream_route::KINDS, world, first, dirty);
        let Self { stream_routes, parents, streams, attached, users, .. } = self;
        for key in keys {
            let changed = stream_routes.refresh(&key, world.reader(), |reader| {
                reader.is_served(key.kind, &key.name).then(|| stream_route::read(&key, parents, reader)).flatten()
            });
            let Some(changed) = changed else { continue };
            streams.route_changed(&changed);
            let [old, new] = [&changed.old, &changed.new].map(|it| it.as_ref().map_or(&[][..], |it| &it.parents));
            attached.route_changed(old, new);
            let [old, new] = [&changed.old, &changed.new].map(|it| it.as_ref().map(|it| &it.uses));
            users.route_changed(old.unwrap_or(&BTreeSet::new()), new.unwrap_or(&BTreeSet::new()), dirty);
            let contribution = |outcome: Option<Arc<StreamRouteOutcome>>| Some(outcome?.contribution.clone());
            batch.push(Some(Changed { old: contribution(changed.old), new: contribution(changed.new) }));
        }
    }

    /// Says anew what statuses of Gateways and ListenerSets are to say: of all when `anything` changed, else of those
    /// whose routes came or went.
    fn update_statuses(&mut self, anything: bool, batch: &mut Batch) {
        let mut keys = self.attached.take_touched();
        if anything {
            keys.extend(self.statuses.keys().chain(self.parents.keys()).cloned());
            // Those without a Gateway are nobody's parents.
            keys.extend(self.sets.units().cloned().map(ParentKey::ListenerSet));
        }
        if keys.is_empty() {
            return;
        }
        let around = self.around();
        let contribution = |(object, status)| {
            let statuses = vec![(object, Arc::new(status))];
            Arc::new(Contribution { statuses, ..Contribution::default() })
        };
        let all: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let new = self.status(&key, &around).map(contribution);
                (key, new)
            })
            .collect();
        for (key, new) in all {
            let old = self.statuses.get(&key).cloned();
            if old == new {
                continue;
            }
            match &new {
                Some(new) => drop(self.statuses.insert(key, new.clone())),
                None => drop(self.statuses.remove(&key)),
            }
            batch.push(Some(Changed { old, new }));
        }
    }

    /// The status of what has listeners.
    fn status(&self, key: &ParentKey, around: &Around<'_>) -> Option<(Key, Wanted)> {
        let (kind, gateway) = match key {
            ParentKey::Gateway(name) => (Kind::Gateway, name),
            ParentKey::ListenerSet(name) => (Kind::ListenerSet, &self.sets.get(name)?.gateway),
        };
        let object = Key { kind, name: key.name().clone() };
        let Some(parent) = self.parents.get(key) else {
            let is_orphan = kind == Kind::ListenerSet && self.gateways.get(gateway).is_none();
            return is_orphan
                .then(|| (object, gateway_status::withdrawn("the Gateway does not exist; nothing is served")));
        };
        let (outcome, addressing) = (self.gateways.get(gateway)?, self.plan.gateways.get(gateway)?);
        let set = match key {
            ParentKey::Gateway(_) => None,
            ParentKey::ListenerSet(name) => self.sets.get(name),
        };
        let told = set.map_or(&outcome.contribution, |set| &set.contribution);
        let reference = object.object_ref();
        let own = told.problems.iter().filter(|problem| problem.origin.object == reference);
        let problems: Vec<_> = own.chain(around.conflicts.get(&reference).into_iter().flatten().copied()).collect();
        let of_gateway = &outcome.contribution.problems;
        let (attached, problems) = (&self.attached, &problems);
        let known = Known { key, outcome, parent, attached, addressing, problems, of_gateway };
        let wanted = match set {
            Some(set) => gateway_status::of_set(&known, set),
            None => gateway_status::status(&known, around.attached_sets.get(gateway).copied())?,
        };
        Some((object, wanted))
    }

    /// Looks once at what the statuses of all Gateways and ListenerSets may tell.
    fn around(&self) -> Around<'_> {
        let mut around = Around::default();
        for problem in self.ports.iter().flat_map(|ports| &ports.problems) {
            around.conflicts.entry(&problem.origin.object).or_default().push(problem);
        }
        let sets = self.sets.units().filter_map(|name| Some((name, self.sets.get(name)?)));
        for (name, set) in sets.filter(|(_, set)| set.allowed) {
            let count = around.attached_sets.entry(&set.gateway).or_default();
            let parent = self.parents.get(&ParentKey::ListenerSet(name.clone()));
            *count += u32::from(parent.is_some_and(Parent::has_sound_listener));
        }
        around
    }
}

/// The units to do again of those that are objects of a kind: what they read is dirty, or they are it themselves; all of
/// them when `first`.
fn due<V: Output>(
    memo: &Memo<NamespacedName, V>,
    kind: Kind,
    world: &World<'_>,
    first: bool,
    dirty: &Dirty,
) -> BTreeSet<NamespacedName> {
    let all = first.then(|| world.resources.names_of(kind).cloned()).into_iter().flatten();
    let changed = changed_objects(dirty).filter(|key| key.kind == kind).map(|key| key.name.clone());
    memo.stale(dirty).into_iter().chain(changed).chain(all).collect()
}

/// As [`due`], of objects of several kinds.
fn due_keys<V: Output>(
    memo: &Memo<Key, V>,
    kinds: &[Kind],
    world: &World<'_>,
    first: bool,
    dirty: &Dirty,
) -> BTreeSet<Key> {
    let of_kind = |kind: Kind| world.resources.names_of(kind).map(move |name| Key { kind, name: name.clone() });
    let all = kinds.iter().filter(|_| first).flat_map(|kind| of_kind(*kind));
    let changed = changed_objects(dirty).filter(|key| kinds.contains(&key.kind)).cloned();
    memo.stale(dirty).into_iter().chain(changed).chain(all).collect()
}

/// The objects that changed.
fn changed_objects(dirty: &Dirty) -> impl Iterator<Item = &Key> {
    dirty.iter().filter_map(|dependency| match dependency {
        Dependency::Object(key) => Some(key),
        _ => None,
    })
}
