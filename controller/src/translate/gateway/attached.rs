//! Attached routes: how many routes each listener has. Counted as routes come and go, never by looking at all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::attach::ParentOutcome;
use super::parent::ParentKey;

/// Counts by listener.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    counts: BTreeMap<ParentKey, BTreeMap<Arc<str>, u32>>,
    touched: BTreeSet<ParentKey>,
}

impl Attached {
    /// Follows the change of a route; no parents is no route.
    pub(crate) fn route_changed(&mut self, old: &[ParentOutcome], new: &[ParentOutcome]) {
        let (old, new) = (listeners(old), listeners(new));
        for (parent, listener) in new.difference(&old) {
            *self.counts.entry((*parent).clone()).or_default().entry((*listener).clone()).or_default() += 1;
            self.touched.insert((*parent).clone());
        }
        for (parent, listener) in old.difference(&new) {
            self.withdraw(parent, listener);
            self.touched.insert((*parent).clone());
        }
    }

    fn withdraw(&mut self, parent: &ParentKey, listener: &Arc<str>) {
        let Some(listeners) = self.counts.get_mut(parent) else { return };
        if let Some(count) = listeners.get_mut(listener) {
            *count -= 1;
            if *count == 0 {
                listeners.remove(listener);
            }
        }
        if listeners.is_empty() {
            self.counts.remove(parent);
        }
    }

    /// How many routes a listener has.
    pub(crate) fn count(&self, parent: &ParentKey, listener: &str) -> u32 {
        self.counts.get(parent).and_then(|listeners| listeners.get(listener)).copied().unwrap_or_default()
    }

    /// The parents whose counts changed since the last call.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<ParentKey> {
        std::mem::take(&mut self.touched)
    }
}

/// The listeners that a route is attached to and accepted at (`attachedRoutes` counts no other). Two parentRefs may lead to
/// the same one: that is one route.
fn listeners(parents: &[ParentOutcome]) -> BTreeSet<(&ParentKey, &Arc<str>)> {
    let accepted = parents.iter().filter(|parent| parent.accepted);
    let attached = accepted.filter_map(|parent| parent.attached.as_ref().ok()).flatten();
    attached.map(|attachment| (&attachment.parent, &attachment.listener)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::attach::Attachment;
    use super::super::status::ParentReference;
    use super::*;
    use crate::resources::NamespacedName;
    use crate::small_map::SmallSet;

    fn name(gateway: &str) -> ParentKey {
        ParentKey::Gateway(NamespacedName::new("infra", gateway))
    }

    fn parent(gateway: &str, listeners: &[&str]) -> ParentOutcome {
        let attachment = |listener: &&str| Attachment {
            parent: name(gateway),
            listener: (*listener).into(),
            table: None,
            hosts: SmallSet::default(),
        };
        let reference = ParentReference::gateway("infra".into(), gateway.into());
        let attached = Ok(listeners.iter().map(attachment).collect());
        ParentOutcome { index: Some(0), reference, ours: true, attached, accepted: true }
    }

    #[test]
    fn a_route_counts_once_on_a_listener_however_often_it_names_it() {
        let mut attached = Attached::default();
        let both = [parent("a", &["web", "api"]), parent("a", &["web"])];
        attached.route_changed(&[], &both);
        attached.route_changed(&[], &[parent("a", &["web"])]);
        assert_eq!((attached.count(&name("a"), "web"), attached.count(&name("a"), "api")), (2, 1));
        assert_eq!(attached.take_touched(), BTreeSet::from([name("a")]));
        attached.route_changed(&both, &[parent("b", &["web"])]);
        assert_eq!((attached.count(&name("a"), "web"), attached.count(&name("b"), "web")), (1, 1));
        assert_eq!(attached.take_touched(), BTreeSet::from([name("a"), name("b")]));
        attached.route_changed(&[parent("b", &["web"])], &[parent("b", &["web"])]);
        assert!(attached.take_touched().is_empty());
        attached.route_changed(&[parent("b", &["web"])], &[]);
        attached.route_changed(&[parent("a", &["web"])], &[]);
        assert!(attached.counts.is_empty());
    }

    #[test]
    fn a_route_that_is_not_accepted_does_not_count() {
        let mut attached = Attached::default();
        let sound = [parent("a", &["web"])];
        let broken = [ParentOutcome { accepted: false, ..parent("a", &["web"]) }];
        attached.route_changed(&[], &broken);
        assert_eq!(attached.count(&name("a"), "web"), 0);
        attached.route_changed(&broken, &sound);
        assert_eq!(attached.count(&name("a"), "web"), 1);
        attached.route_changed(&sound, &broken);
        assert!(attached.counts.is_empty());
    }
}
