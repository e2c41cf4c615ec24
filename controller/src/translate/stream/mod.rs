//! The stream front end: TCP and UDP ports from the ConfigMaps of `--tcp-services-configmap` and
//! `--udp-services-configmap`.
//!
//! ```text
//!  ConfigMap --> entries (one unit per ConfigMap: the texts by key)
//!                   |
//!                   v
//!                port (one unit per entry: text, Service, endpoints) --> listener, cluster
//! ```
//!
//! As in ingress-nginx, entries are independent of any class, and a port without endpoints is not opened at all, so
//! that clients and load balancers see it closed. The ports are the administrator's all the same: no Gateway gets them.

mod entry;
mod port;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::model::{Listener, Protocol};
use genkan_routing::name::{ObjectRef, Origin};
use genkan_routing::report::Problem;

use self::port::Outcome;
use super::assembly::{Batch, Contribution};
use super::cluster::Usage;
use super::memo::{Changed, Memo, Output};
use super::reader::{Dependency, Dirty, Reader};
use super::world::World;
use crate::resources::NamespacedName;
use crate::settings::Settings;

/// The units of work of TCP and UDP ports, and what they gave last.
#[derive(Debug, Default)]
pub struct StreamFrontEnd {
    maps: Memo<MapId, Entries>,
    ports: Memo<EntryId, Outcome>,
    listeners: BTreeMap<EntryId, Arc<Listener>>,
    /// The entries that came, went or changed since the ports were last opened.
    touched: BTreeSet<EntryId>,
    held: Arc<BTreeSet<(Protocol, u16)>>,
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Carrier {
    Tcp,
    Udp,
}

/// A ConfigMap of entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct MapId {
    carrier: Carrier,
    name: NamespacedName,
}

/// An entry of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct EntryId {
    map: MapId,
    key: Arc<str>,
}

/// The entries of a ConfigMap as they are written.
#[derive(Debug, Default, PartialEq)]
struct Entries {
    texts: BTreeMap<Arc<str>, Arc<str>>,
    told: Option<Arc<Contribution>>,
}

impl StreamFrontEnd {
    /// Reads the ConfigMaps that `dirty` meets (all of them when `first`). To be called before front ends that ask which
    /// ports are [`held`](Self::held).
    pub fn read_maps(&mut self, world: &World<'_>, first: bool, dirty: &Dirty, batch: &mut Batch) {
        let touched = self.refresh_maps(world, first, dirty, batch);
        if !touched.is_empty() {
            let entries = self.maps.units().filter_map(|map| Some((map.carrier, self.maps.get(map)?)));
            let ports = entries.flat_map(|(carrier, entries)| entries.texts.keys().map(move |key| (carrier, key)));
            let held = ports.filter_map(|(carrier, key)| {
                let number = entry::parse_key(key).ok().filter(|number| !port::is_reserved(*number, world.settings))?;
                Some((carrier.protocol(), number))
            });
            self.held = Arc::new(held.collect());
        }
        self.touched.extend(touched);
    }

    /// The ports that the ConfigMaps name, whether there is anything to lead to or not: nobody else is to have them.
    pub fn held(&self) -> &Arc<BTreeSet<(Protocol, u16)>> {
        &self.held
    }

    /// Redoes the ports that `dirty` meets and those whose entries changed, and adds their changes to `batch`.
    pub fn update(&mut self, world: &World<'_>, dirty: &Dirty, batch: &mut Batch) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.extend(self.ports.stale(dirty));
        for id in touched {
            let value = self.maps.get(&id.map).and_then(|entries| entries.texts.get(&id.key)).cloned();
            // The ConfigMap need not be remembered as read: an entry that changes is among `touched`.
            let changed = self.ports.refresh(&id, world.reader(), |reader| Some(port::read(&id, &value?, reader)));
            let Some(changed) = changed else { continue };
            match changed.new.as_ref().and_then(|outcome| outcome.listener.clone()) {
                Some(listener) => drop(self.listeners.insert(id, listener)),
                None => drop(self.listeners.remove(&id)),
            }
            let told = |outcome: Option<Arc<Outcome>>| outcome?.told.clone();
            batch.push(Some(Changed { old: told(changed.old), new: told(changed.new) }));
        }
    }

    /// Whether a unit looked at this.
    pub fn is_read(&self, dependency: &Dependency) -> bool {
        self.maps.is_read(dependency) || self.ports.is_read(dependency)
    }

    /// What to listen on. A listener that did not change keeps its pointer.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.values()
    }

    /// Reads the ConfigMaps again. Returns the entries that changed, came or went.
    fn refresh_maps(&mut self, world: &World<'_>, first: bool, dirty: &Dirty, batch: &mut Batch) -> BTreeSet<EntryId> {
        let mut maps = self.maps.stale(dirty);
        if first {
            maps.extend(MapId::of(world.settings));
        }
        let mut touched = BTreeSet::new();
        for map in maps {
            let changed = self.maps.refresh(&map, world.reader(), |reader| Some(Entries::read(&map, reader)));
            let Some(Changed { old, new }) = changed else { continue };
            let (was, is) = (old.as_ref().map(|it| &it.texts), new.as_ref().map(|it| &it.texts));
            let keys = was.into_iter().chain(is).flat_map(BTreeMap::keys);
            let moved =
                keys.filter(|key| was.and_then(|texts| texts.get(*key)) != is.and_then(|texts| texts.get(*key)));
            touched.extend(moved.map(|key| EntryId { map: map.clone(), key: key.clone() }));
            let told = |entries: Option<Arc<Entries>>| entries?.told.clone();
            batch.push(Some(Changed { old: told(old), new: told(new) }));
        }
        touched
    }
}

impl Carrier {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
        }
    }

    fn usage(self) -> Usage {
        match self {
            Self::Tcp => Usage::Tcp,
            Self::Udp => Usage::Udp,
        }
    }
}

impl MapId {
    /// The ConfigMaps that the flags name.
    fn of(settings: &Settings) -> impl Iterator<Item = Self> {
        let named =
            [(Carrier::Tcp, &settings.tcp_services_config_map), (Carrier::Udp, &settings.udp_services_config_map)];
        named.into_iter().filter_map(|(carrier, name)| Some(Self { carrier, name: name.clone()? }))
    }

    fn object(&self) -> ObjectRef {
        ObjectRef::new("ConfigMap", self.name.namespace.clone(), self.name.name.clone())
    }
}

impl Output for Entries {}

impl Entries {
    fn read(id: &MapId, reader: &Reader<'_>) -> Self {
        let Some(map) = reader.config_map(&id.name) else {
            let carrier = id.carrier.as_str();
            let message = format!("the ConfigMap does not exist; no port of --{carrier}-services-configmap is opened");
            let problem = Problem::warning(Origin::new(id.object(), ""), "ConfigMapNotFound", message);
            let problems = vec![problem.with_mend(format!("create it, or change --{carrier}-services-configmap"))];
            return Self {
                told: Contribution { problems, ..Contribution::default() }.into_shared(),
                ..Self::default()
            };
        };
        let texts = map.data.iter().flatten().map(|(key, value)| (key.as_str().into(), value.as_str().into()));
        Self { texts: texts.collect(), told: None }
    }
}
