//! Translation: resources to a model and a report. Pure and total: no clock, no I/O, no panic; any input gives an
//! answer, and a bad object loses only itself.
//!
//! [`translate`] is the specification. [`Translator`] gives the same answer after a change by redoing only what read
//! something that changed: every read of [`Resources`] by a unit of work goes through [`reader::Reader`], which
//! records it; a unit is redone when one of its recorded reads is among the changes.

pub mod reader;

use std::collections::BTreeSet;
use std::sync::Arc;

use genkan_routing::model::Model;
use genkan_routing::report::Report;

use crate::resources::{Key, Resources};
use crate::settings::Settings;

/// What translation gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// What to serve.
    pub model: Arc<Model>,
    /// What is wrong.
    pub report: Arc<Report>,
}

/// A change of [`Resources`] since the last translation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// An object was added, changed or removed.
    Object(Key),
    /// The addresses of a name in [`Resources::dns`] were added, changed or removed.
    Dns(Arc<str>),
}

/// Translates everything.
pub fn translate(resources: &Resources, settings: &Settings) -> Translation {
    let _ = (resources, settings);
    Translation::default()
}

/// Translates again and again, redoing only what changes touch.
#[derive(Debug)]
pub struct Translator {
    settings: Settings,
}

impl Translator {
    /// A translator that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Brings the translation up to `resources`, which differ from those of the last call by exactly `changes`.
    /// Equal to [`translate`] of the same resources.
    pub fn update(&mut self, resources: &Resources, changes: &BTreeSet<Change>) -> Translation {
        let _ = changes;
        translate(resources, &self.settings)
    }
}
