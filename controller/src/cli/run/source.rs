//! Sources: where resources come from. Past this trait nothing knows which one it is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use genkan_routing::name::ObjectRef;
use genkan_routing::report::{Problem, Report};

use super::backends::Backends;
use crate::cli::input::{LocatedProblem, Place, object_place, of_files};
use crate::control::Control;
use crate::files::Watcher;
use crate::resources::{Kind, Resources};
use crate::status::Bound;
use crate::translate::Change;

/// Where resources come from.
pub(super) trait Source {
    /// Waits until there is enough to translate once.
    async fn load(&mut self) -> anyhow::Result<()>;

    /// Waits until there is everything that the first translation asked for.
    async fn complete(&mut self, control: &mut Control);

    /// Waits for changes; none may mean that only [`Self::problems`] changed. Cancelling loses nothing.
    async fn changed(&mut self, control: &Control) -> BTreeSet<Change>;

    /// Everything that is known.
    fn resources(&self) -> &Resources;

    /// The same, for whoever keeps [`Resources::dns`].
    fn resources_mut(&mut self) -> &mut Resources;

    /// Control took changes.
    async fn settle(&mut self, control: &mut Control, changes: &BTreeSet<Change>);

    /// What was translated so far is served, as far as ports could be bound.
    fn served(&mut self, control: &Control, bound: &Arc<Bound>);

    /// Everything that is wrong besides what translation reports, with places.
    fn problems(&self) -> Vec<LocatedProblem>;

    /// Where an object is written.
    fn place(&self, object: &ObjectRef) -> Place;

    /// Changes when [`Self::problems`] may have changed.
    fn revision(&self) -> u64;

    /// Something is newly wrong.
    fn found(&self, problem: &Problem);

    /// Looks at everything that is wrong, whether new or not, if there is a reason to.
    fn retell(&mut self, problems: &Report);

    /// The process begins to stop; it goes on serving for `delay`.
    fn leave(&mut self, delay: Duration);

    /// Waits until what [`Self::leave`] began is done.
    async fn left(&mut self);
}

/// Files, and the echo servers that they ask for.
pub(super) struct Files {
    pub(super) watcher: Watcher,
    pub(super) backends: Backends,
    /// How often the problems of the files changed.
    pub(super) revision: u64,
}

impl Source for Files {
    async fn load(&mut self) -> anyhow::Result<()> {
        self.backends.follow(self.watcher.store().resources()).await;
        Ok(())
    }

    async fn complete(&mut self, _: &mut Control) {}

    async fn changed(&mut self, _: &Control) -> BTreeSet<Change> {
        let update = self.watcher.changed().await;
        self.revision += u64::from(update.problems_changed);
        update.changes
    }

    fn resources(&self) -> &Resources {
        self.watcher.store().resources()
    }

    fn resources_mut(&mut self) -> &mut Resources {
        self.watcher.store_mut().resources_mut()
    }

    async fn settle(&mut self, _: &mut Control, changes: &BTreeSet<Change>) {
        if touches(changes, Kind::EndpointSlice) {
            self.backends.follow(self.watcher.store().resources()).await;
        }
    }

    fn served(&mut self, _: &Control, _: &Arc<Bound>) {}

    fn problems(&self) -> Vec<LocatedProblem> {
        of_files(&self.watcher.store().problems()).collect()
    }

    fn place(&self, object: &ObjectRef) -> Place {
        object_place(object, |key| self.watcher.store().source(key))
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn found(&self, _: &Problem) {}

    fn retell(&mut self, _: &Report) {}

    fn leave(&mut self, _: Duration) {}

    async fn left(&mut self) {}
}

/// Whether an object of a kind is among changes.
pub(super) fn touches(changes: &BTreeSet<Change>, kind: Kind) -> bool {
    changes.iter().any(|change| matches!(change, Change::Object(key) if key.kind == kind))
}
