//! The default backend: who answers what no rule matches.

use std::sync::Arc;

use genkan_routing::name::{ObjectRef, Origin};
use genkan_routing::report::Problem;

use crate::translate::assembly::Contribution;
use crate::translate::cluster::{self, ClusterSpec};
use crate::translate::memo::Output;
use crate::translate::reader::Reader;

/// Who answers what no rule matches.
#[derive(Debug, Default, PartialEq)]
pub(super) struct DefaultBackend {
    /// The Service of `--default-backend-service`, while it has endpoints; else 404 is answered.
    pub(super) service: Option<ClusterSpec>,
    /// Its problems, as a contribution.
    pub(super) told: Option<Arc<Contribution>>,
}

impl Output for DefaultBackend {}

impl DefaultBackend {
    /// Reads the Service that the flags name.
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let Some(name) = &reader.settings().default_backend_service else { return Self::default() };
        let origin = Origin::new(ObjectRef::new("Service", name.namespace.clone(), name.name.clone()), "");
        let mut told = Contribution::default();
        let mut tell = |reason, message: String| {
            let message = format!("{message}; as the default backend, 404 is answered");
            told.problems.push(Problem::warning(origin.clone(), reason, message));
        };
        let service = match reader.service(name).map(|service| cluster::first_port(service)) {
            None => {
                tell("ServiceNotFound", "the Service does not exist".to_owned());
                None
            }
            Some(None) => {
                tell("ServicePortNotFound", "the Service has no port".to_owned());
                None
            }
            Some(Some(port)) => {
                let spec = ClusterSpec::new(name.namespace.clone(), name.name.clone(), port.to_string());
                let has_endpoints = !cluster::build(spec.id(), &spec, reader).cluster.endpoints.is_empty();
                if !has_endpoints {
                    tell("NoEndpoints", "the Service has no ready endpoint".to_owned());
                }
                has_endpoints.then_some(spec)
            }
        };
        Self { service, told: told.into_shared() }
    }
}
