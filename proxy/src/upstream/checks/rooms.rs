//! Rooms: how many endpoints are asked at a time, of a namespace and of all.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::upstream::services::Registry;

/// Endpoints of all clusters that are asked at a time: requests go before checks.
const IN_ALL: usize = 128;

/// Endpoints of one namespace's clusters that are asked at a time: one whose endpoints hang waits for itself.
const OF_NAMESPACE: usize = 16;

/// Gives places to checks.
#[derive(Debug)]
pub(super) struct Rooms {
    all: Arc<Semaphore>,
    /// As long as somebody has a place there or waits for one.
    own: Registry<Arc<str>, Semaphore>,
}

/// May ask; others may as soon as it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _in_all: Option<OwnedSemaphorePermit>,
    _own: Option<OwnedSemaphorePermit>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(IN_ALL)), own: Registry::default() }
    }
}

impl Rooms {
    /// Waits for a place: first among those of the namespace, so that the others' line has few of each.
    pub(super) async fn enter(&self, namespace: &Arc<str>) -> Place {
        let own = self.own.get(Arc::clone(namespace), || Semaphore::new(OF_NAMESPACE));
        // None of them is ever closed.
        let own = own.acquire_owned().await.ok();
        Place { _own: own, _in_all: Arc::clone(&self.all).acquire_owned().await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// How many of some checks get a place at once, and their places.
    fn enter(rooms: &Rooms, namespace: &str, checks: usize) -> Vec<Place> {
        (0..checks).filter_map(|_| rooms.enter(&namespace.into()).now_or_never()).collect()
    }

    #[test]
    fn a_namespace_leaves_room_to_others() {
        let rooms = Rooms::default();
        let mut busy = enter(&rooms, "busy", 200);
        assert_eq!(busy.len(), OF_NAMESPACE);
        assert_eq!(enter(&rooms, "other", 1).len(), 1);
        busy.pop();
        assert_eq!(enter(&rooms, "busy", 2).len(), 1);
    }

    #[test]
    fn all_together_are_bounded() {
        let rooms = Rooms::default();
        let held: Vec<_> = (0..20).map(|number| enter(&rooms, &number.to_string(), 10)).collect();
        assert_eq!(held.iter().map(Vec::len).sum::<usize>(), IN_ALL);
    }

    #[test]
    fn who_waits_for_a_namespace_takes_no_place_of_all() {
        let rooms = Rooms::default();
        let busy = enter(&rooms, "busy", OF_NAMESPACE);
        let mut waiting = Vec::from_iter((0..200).map(|_| Box::pin(async { rooms.enter(&"busy".into()).await })));
        assert!(waiting.iter_mut().all(|check| check.now_or_never().is_none()));
        assert_eq!(rooms.all.available_permits(), IN_ALL - busy.len());
    }
}
