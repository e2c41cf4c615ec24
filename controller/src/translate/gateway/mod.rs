//! The Gateway API front end: GatewayClass, Gateway, HTTPRoute and ReferenceGrant.

use std::sync::Arc;

use genkan_routing::model::Listener;

use super::assembly::Batch;
use super::reader::Dirty;
use super::world::World;

/// The units of work of the Gateway API, and what they gave last.
#[derive(Debug, Default)]
pub struct GatewayFrontEnd {
    listeners: Vec<Arc<Listener>>,
}

impl GatewayFrontEnd {
    /// Redoes the units that `dirty` meets (all of them when `first`), and adds their changes to `batch`. What changed on
    /// the way may be added to `dirty` for later steps.
    pub fn update(&mut self, world: &World<'_>, first: bool, dirty: &mut Dirty, batch: &mut Batch) {
        let _ = (world, first, dirty, batch);
    }

    /// What the Gateways listen on. A listener that did not change keeps its pointer.
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }
}
