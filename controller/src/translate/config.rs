//! Config: the settings that the ConfigMap gives, for everything.

use std::sync::Arc;

use genkan_routing::model::ProxySettings;
use genkan_routing::report::Problem;

use super::memo::Output;
use super::reader::Reader;

/// The ConfigMap, understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Settings of the whole proxy.
    pub proxy: Arc<ProxySettings>,
    /// What is wrong with the ConfigMap.
    pub problems: Vec<Problem>,
}

impl Output for Config {}

impl Config {
    /// Reads the ConfigMap that the flags name.
    pub fn read(reader: &Reader<'_>) -> Self {
        let _ = reader;
        Self::default()
    }
}
