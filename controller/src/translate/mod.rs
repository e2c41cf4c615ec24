//! Translation: resources to a model and a report. Pure and total: no clock, no I/O, no panic; any input gives an
//! answer, and a bad object loses only itself.
//!
//! [`translate`] is the specification. [`Translator`] gives the same answer after a change by redoing only what read
//! something that changed: every read of [`Resources`] by a unit of work goes through [`reader::Reader`], which
//! records it; a unit is redone when one of its recorded reads is among the changes.
//!
//! ```text
//!  changes --> dirty dependencies --> config --> front ends: ingress, gateway, stream --> batch of contributions
//!                                                                                       |
//!                 model, report <-- listeners <-- clusters (one unit each) <-- assembly
//! ```
//!
//! Each step may make further dependencies dirty for the steps after it, and stops the wave where its output stayed
//! equal.

pub mod assembly;
pub mod cluster;
mod clusters;
pub mod config;
pub mod gateway;
pub mod ingress;
mod listeners;
pub mod made_once;
pub mod memo;
pub mod policy_index;
pub mod reader;
pub mod stream;
mod translator;
mod users;
pub mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_routing::model::Model;
use genkan_routing::report::Report;

pub use gateway::infrastructure::{GatewayService, GivenKeys, Infrastructure, ServiceSpec, TargetPort};
pub use gateway::status::Statuses;
pub use ingress::{Overlap, Trial};
pub use translator::Translator;

use crate::resources::{Key, Kind, NamespacedName, Resources};
use crate::settings::Settings;

/// What translation gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// What to serve.
    pub model: Arc<Model>,
    /// What is wrong.
    pub report: Arc<Report>,
    /// What the objects' statuses are to say.
    pub statuses: Arc<Statuses>,
    /// What is to become of Services that are kept for Gateways, by their name. Others stay as they are.
    pub infrastructure: Arc<BTreeMap<NamespacedName, Infrastructure>>,
}

/// A change of [`Resources`] since the last translation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// An object was added, changed or removed.
    Object(Key),
    /// A kind was added to or removed from [`Resources::unreadable`].
    Readable(Kind),
    /// The addresses of a name in [`Resources::dns`] were added, changed or removed.
    Dns(Arc<str>),
    /// [`Resources::place`] changed.
    Place,
}

/// Translates everything.
pub fn translate(resources: &Resources, settings: &Settings) -> Translation {
    Translator::new(settings.clone()).update(resources, &Default::default())
}
