//! World: what every unit of work may look at, through a [`Reader`](super::reader::Reader) that records it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Change;
use super::config::Config;
use super::made_once::MadeOnce;
use super::policy_index::PolicyIndex;
use super::reader::{Dependency, Dirty, Reader};
use crate::resources::{EndpointSlice, Key, Kind, NamespacedName, Resources};
use crate::settings::Settings;
use crate::small_map::SmallSet;

/// What units of work look at.
#[derive(Debug)]
pub struct World<'a> {
    pub(super) resources: &'a Resources,
    pub(super) settings: &'a Settings,
    pub(super) slices: &'a SliceIndex,
    pub(super) policies: &'a PolicyIndex,
    pub(super) made: &'a MadeOnce,
    /// `None` only while the ConfigMap itself is read.
    pub(super) config: Option<&'a Arc<Config>>,
    /// Objects besides, for a trial: Secrets and ConfigMaps that nobody referred to so far.
    pub(super) lent: Option<&'a Resources>,
    /// Secrets and ConfigMaps that were asked for and are not there.
    pub(super) missing: &'a RefCell<BTreeSet<Key>>,
}

impl World<'_> {
    /// Takes note of an object that is not there. It may only not have been kept, as nobody asked for it before.
    pub(super) fn note_missing(&self, key: &Key) {
        if key.kind.kept_on_demand() {
            self.missing.borrow_mut().insert(key.clone());
        }
    }

    /// A reader for one unit of work.
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(self)
    }
}

/// Which EndpointSlices belong to which Service.
#[derive(Debug, Default)]
pub struct SliceIndex {
    slices: FxHashMap<NamespacedName, SmallSet<NamespacedName>>,
    services: FxHashMap<NamespacedName, NamespacedName>,
}

impl SliceIndex {
    /// The names of a Service's slices, in order.
    pub fn of<'s>(&'s self, service: &NamespacedName) -> impl Iterator<Item = &'s NamespacedName> + use<'s> {
        self.slices.get(service).into_iter().flat_map(SmallSet::keys)
    }

    /// Indexes everything anew.
    pub fn rebuild(&mut self, resources: &Resources) {
        *self = Self::default();
        for (name, slice) in &resources.endpoint_slices {
            self.insert(name, slice);
        }
    }

    /// Follows the change of one slice. Returns the Services whose endpoints it may change.
    pub fn update(&mut self, name: &NamespacedName, slice: Option<&EndpointSlice>) -> [Option<NamespacedName>; 2] {
        let before = self.services.remove(name);
        if let Some(service) = &before
            && let Some(slices) = self.slices.get_mut(service)
        {
            slices.remove(name);
            if slices.is_empty() {
                self.slices.remove(service);
            }
        }
        [before, slice.and_then(|slice| self.insert(name, slice))]
    }

    fn insert(&mut self, name: &NamespacedName, slice: &EndpointSlice) -> Option<NamespacedName> {
        let service = NamespacedName::new(name.namespace.clone(), slice.service.clone()?);
        self.slices.entry(service.clone()).or_default().insert(name.clone(), ());
        self.services.insert(name.clone(), service.clone());
        Some(service)
    }
}

/// The dependencies that changes meet; keeps the indices up to date on the way.
pub(super) fn dirty(
    changes: &BTreeSet<Change>,
    resources: &Resources,
    slices: &mut SliceIndex,
    policies: &mut PolicyIndex,
) -> Dirty {
    let mut dirty = Dirty::default();
    for change in changes {
        match change {
            Change::Readable(kind) => {
                dirty.insert(Dependency::Readable(*kind));
            }
            Change::Place => {
                dirty.insert(Dependency::Place);
            }
            Change::Dns(name) => {
                dirty.insert(Dependency::Dns(name.clone()));
            }
            Change::Object(key) => {
                dirty.insert(Dependency::All(key.kind));
                dirty.insert(Dependency::AllIn(key.kind, key.name.namespace.clone()));
                let targets = policies.update(key, resources).into_iter();
                dirty.extend(targets.map(|service| Dependency::PoliciesOf(key.kind, service)));
                if key.kind == Kind::EndpointSlice {
                    let slice = resources.endpoint_slices.get(&key.name);
                    let services = slices.update(&key.name, slice.map(AsRef::as_ref));
                    dirty.extend(services.into_iter().flatten().map(Dependency::Endpoints));
                }
                if key.kind == Kind::Service {
                    dirty.insert(Dependency::Endpoints(key.name.clone()));
                }
                dirty.insert(Dependency::Object(key.clone()));
            }
        }
    }
    dirty
}
