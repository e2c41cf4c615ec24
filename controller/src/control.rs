//! Control: the one path from changed resources to a snapshot, whatever the resources come from.
//!
//! ```text
//!  changes --> Translator::update --> model, report --> Snapshot::compile_from --> whoever publishes it
//! ```
//!
//! It owns the last translation and the last snapshot, and refuses to know sockets, files or an API server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::model::Model;
use genkan_routing::report::Report;
use genkan_routing::snapshot::Snapshot;

use crate::resources::{Ingress, Key, NamespacedName, Resources};
use crate::settings::Settings;
use crate::translate::{Change, Infrastructure, Statuses, Translator, Trial};

/// Keeps a snapshot up to date with resources.
#[derive(Debug)]
pub struct Control {
    translator: Translator,
    snapshot: Arc<Snapshot>,
    report: Arc<Report>,
    infrastructure: Arc<BTreeMap<NamespacedName, Infrastructure>>,
    statuses: Arc<Statuses>,
}

/// What a change led to.
#[derive(Clone, Debug)]
pub struct Step {
    /// What to serve now.
    pub snapshot: Arc<Snapshot>,
    /// What is wrong now.
    pub report: Arc<Report>,
    /// Whether the model differs from the one before: otherwise there is nothing to publish.
    pub model_changed: bool,
}

impl Control {
    /// Starts from everything that is known.
    pub fn new(settings: Settings, resources: &Resources) -> Self {
        let mut control = Self {
            translator: Translator::new(settings),
            snapshot: Arc::new(Snapshot::compile(Arc::new(Model::default()))),
            report: Arc::default(),
            infrastructure: Arc::default(),
            statuses: Arc::default(),
        };
        // The first translation looks at everything by itself; a list of it would be the largest thing of all.
        control.apply(resources, &BTreeSet::new());
        control
    }

    /// Brings the snapshot up to `resources`, which differ from those of the last call by exactly `changes`.
    pub fn apply(&mut self, resources: &Resources, changes: &BTreeSet<Change>) -> Step {
        let translation = self.translator.update(resources, changes);
        let model_changed = translation.model != *self.snapshot.model();
        if model_changed {
            self.snapshot = Arc::new(Snapshot::compile_from(translation.model, &self.snapshot));
        }
        self.report = translation.report;
        self.infrastructure = translation.infrastructure;
        self.statuses = translation.statuses;
        Step { snapshot: self.snapshot.clone(), report: self.report.clone(), model_changed }
    }

    /// Whether somebody refers to an object, there or not.
    pub fn refers_to(&self, key: &Key) -> bool {
        self.translator.refers_to(key)
    }

    /// Secrets and ConfigMaps that were asked for since the last call and are not in the resources.
    pub fn take_missing(&mut self) -> BTreeSet<Key> {
        self.translator.take_missing()
    }

    /// The flags.
    pub fn settings(&self) -> &Settings {
        self.translator.settings()
    }

    /// Whether an Ingress is of our class.
    pub fn is_ours(&self, ingress: &NamespacedName) -> bool {
        self.translator.is_ours(ingress)
    }

    /// What would follow from an Ingress: see [`Translator::try_on`].
    pub fn try_on(
        &self,
        resources: &Resources,
        lent: &Resources,
        name: &NamespacedName,
        ingress: &Ingress,
    ) -> (Trial, BTreeSet<Key>) {
        self.translator.try_on(resources, lent, name, ingress)
    }

    /// What to serve.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What is to become of Services that are kept for Gateways.
    pub fn infrastructure(&self) -> &Arc<BTreeMap<NamespacedName, Infrastructure>> {
        &self.infrastructure
    }

    /// What is wrong.
    pub fn report(&self) -> &Arc<Report> {
        &self.report
    }

    /// What statuses are to say.
    pub fn statuses(&self) -> &Arc<Statuses> {
        &self.statuses
    }
}
