//! The Ingress front end: networking.k8s.io/v1 Ingress with ingress-nginx's annotations.

use std::sync::Arc;

use genkan_routing::model::Listener;

use super::assembly::Batch;
use super::reader::Dirty;
use super::world::World;

/// The units of work of Ingresses, and what they gave last.
#[derive(Debug, Default)]
pub struct IngressFrontEnd {
    listeners: Vec<Arc<Listener>>,
}

impl IngressFrontEnd {
    /// Redoes the units that `dirty` meets (all of them when `first`), and adds their changes to `batch`.
    pub fn update(&mut self, world: &World<'_>, first: bool, dirty: &mut Dirty, batch: &mut Batch) {
        let _ = (world, first, dirty, batch);
    }

    /// `http` and `https`.
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }
}
