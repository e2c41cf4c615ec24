//! Lacking: what is not as it is to be, of Services and of their slices. It is worked out anew for the Services that a
//! change touches and for no others: a Pod that comes or goes changes a slice of each of thousands, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::View;
use super::action::{Action, action};
use super::slices::{self, SliceAction, Slices, Viewed, service_of};
use crate::resources::NamespacedName;
use crate::translate::Infrastructure;

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    Service(NamespacedName),
    Slice(NamespacedName),
}

/// What is done about it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    Service(Action),
    Slice(SliceAction),
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Lacking {
    view: View,
    ours: Option<Slices>,
    present: Option<Slices>,
    /// Those of `present` by their Service.
    by_service: BTreeMap<NamespacedName, Slices>,
    /// By Service; only where anything lacks.
    acts: BTreeMap<NamespacedName, Vec<(Object, Act)>>,
    /// By Service, the Service of another release that keeps it as well.
    rivals: BTreeMap<NamespacedName, String>,
}

impl Object {
    /// Its name.
    pub(super) fn name(&self) -> &NamespacedName {
        match self {
            Self::Service(name) | Self::Slice(name) => name,
        }
    }

    /// So many things may be done about it without a pause. A Service is made, gets what its Gateway gives, is changed;
    /// slices follow our Pods, which come and go several at a time.
    pub(super) fn at_once(&self) -> u32 {
        match self {
            Self::Service(_) => 4,
            Self::Slice(_) => 32,
        }
    }
}

impl Lacking {
    /// Follows what is wanted, the slices of our own Service, and those that are there.
    pub(super) fn update(&mut self, view: &View, ours: Option<&Slices>, present: Option<&Slices>) {
        let mut touched = BTreeSet::new();
        for name in view.keys().chain(self.view.keys()) {
            if !is_same(view.get(name), self.view.get(name)) {
                touched.insert(name.clone());
            }
        }
        if self.ours.as_ref() != ours || self.present.is_none() != present.is_none() {
            self.ours = ours.cloned();
            touched.extend(view.keys().cloned());
        }
        self.follow_slices(present, &mut touched);
        if !touched.is_empty() {
            self.view.clone_from(view);
        }
        for name in touched {
            match self.rival_at(&name).map(str::to_owned) {
                Some(rival) => drop(self.rivals.insert(name.clone(), rival)),
                None => drop(self.rivals.remove(&name)),
            }
            let acts = self.view.get(&name).map_or_else(Vec::new, |viewed| self.of_service(&name, viewed));
            match acts.is_empty() {
                true => drop(self.acts.remove(&name)),
                false => drop(self.acts.insert(name, acts)),
            }
        }
    }

    /// Everything that is to be done.
    pub(super) fn all(&self) -> impl Iterator<Item = &(Object, Act)> {
        self.acts.values().flatten()
    }

    /// Whether Services are to lead to our Pods, and there are none.
    pub(super) fn leads_nowhere(&self) -> bool {
        let leads = |viewed: &Viewed| matches!(&viewed.0, Infrastructure::Service(wanted) if wanted.spec.is_some());
        self.ours.as_ref().is_some_and(Slices::is_empty) && self.view.values().any(leads)
    }

    /// The Service of another release that keeps the same Services as we do, and deletes our slices as we delete its own.
    pub(super) fn rival(&self) -> Option<&str> {
        self.rivals.values().next().map(String::as_str)
    }

    fn rival_at(&self, name: &NamespacedName) -> Option<&str> {
        let ours = self.ours.as_ref().filter(|ours| !ours.is_empty() && self.view.contains_key(name))?;
        self.by_service.get(name)?.values().find_map(|slice| slices::rival(slice, ours))
    }

    fn follow_slices(&mut self, present: Option<&Slices>, touched: &mut BTreeSet<NamespacedName>) {
        let Some(present) = present else {
            (self.present, self.by_service) = (None, BTreeMap::new());
            return;
        };
        let known = self.present.get_or_insert_default();
        let gone = known.keys().filter(|name| !present.contains_key(*name)).cloned().collect::<Vec<_>>();
        let came: Vec<_> = present
            .iter()
            .filter(|(name, slice)| known.get(*name).is_none_or(|known| !Arc::ptr_eq(known, slice)))
            .map(|(name, slice)| (name.clone(), slice.clone()))
            .collect();
        let mut moves: Vec<(NamespacedName, Option<Arc<EndpointSlice>>)> = Vec::with_capacity(gone.len() + came.len());
        moves.extend(gone.into_iter().map(|name| (name, None)));
        moves.extend(came.into_iter().map(|(name, slice)| (name, Some(slice))));
        for (name, slice) in moves {
            let before = match &slice {
                Some(slice) => known.insert(name.clone(), slice.clone()),
                None => known.remove(&name),
            };
            if let Some(service) = before.and_then(|before| service_of(&name, &before)) {
                if let Some(slices) = self.by_service.get_mut(&service) {
                    slices.remove(&name);
                    if slices.is_empty() {
                        self.by_service.remove(&service);
                    }
                }
                touched.insert(service);
            }
            if let Some(slice) = slice
                && let Some(service) = service_of(&name, &slice)
            {
                self.by_service.entry(service.clone()).or_default().insert(name, slice);
                touched.insert(service);
            }
        }
    }

    fn of_service(&self, name: &NamespacedName, viewed: &Viewed) -> Vec<(Object, Act)> {
        let (wanted, seen) = viewed;
        let service = action(name, wanted, seen.as_deref());
        let mut acts: Vec<_> =
            service.map(|action| (Object::Service(name.clone()), Act::Service(action))).into_iter().collect();
        // We are one of our Pods: without any slice it is the flag that is wrong, and what leads to us stays.
        if let (Some(ours), Some(_)) = (self.ours.as_ref().filter(|ours| !ours.is_empty()), &self.present) {
            let none = Slices::new();
            let present = self.by_service.get(name).unwrap_or(&none);
            let actions = slices::actions(name, viewed, ours, present).into_iter();
            acts.extend(actions.map(|(slice, action)| (Object::Slice(slice), Act::Slice(action))));
        }
        acts
    }
}

/// Whether nothing is to be looked at again.
fn is_same(one: Option<&Viewed>, other: Option<&Viewed>) -> bool {
    match (one, other) {
        (Some((wanted, seen)), Some((other, before))) => {
            let is_wanted = match (wanted, other) {
                (Infrastructure::Service(one), Infrastructure::Service(other)) if Arc::ptr_eq(one, other) => true,
                _ => wanted == other,
            };
            let is_seen = match (seen, before) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
                (None, None) => true,
                _ => false,
            };
            is_wanted && is_seen
        }
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
#[path = "lacking_tests.rs"]
mod tests;
