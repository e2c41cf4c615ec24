//! Config: the settings that the ConfigMap gives, for everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_annotations::config_map;
use genkan_annotations::{Context, GlobalConfig, IngressSettings};
use genkan_routing::model::ProxySettings;
use genkan_routing::name::{ObjectRef, Origin};
use genkan_routing::policy::compression::Compression;
use genkan_routing::report::Problem;

use super::memo::Output;
use super::reader::Reader;

/// The ConfigMap, understood. The default is that of a ConfigMap without keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Defaults of annotations, and switches.
    pub global: GlobalConfig,
    /// Settings of the whole proxy, as the model shares them.
    pub proxy: Arc<ProxySettings>,
    /// Compression, as rules share it.
    pub compression: Option<Arc<Compression>>,
    /// The settings of an Ingress without annotations, as most Ingresses share them.
    pub plain: Arc<IngressSettings>,
    /// What is wrong with the ConfigMap.
    pub problems: Vec<Problem>,
}

impl Output for Config {
    fn share(&mut self, old: &Self) {
        if self.proxy == old.proxy {
            self.proxy = old.proxy.clone();
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(GlobalConfig::default(), Vec::new())
    }
}

impl Config {
    /// Reads the ConfigMap that the flags name. One that is not there means defaults.
    pub fn read(reader: &Reader<'_>) -> Self {
        let settings = reader.settings();
        let Some(name) = &settings.config_map else { return Self::new(GlobalConfig::default(), Vec::new()) };
        let object = ObjectRef::new("ConfigMap", name.namespace.clone(), name.name.clone());
        match reader.config_map(name) {
            Some(present) => {
                let none = BTreeMap::new();
                let (global, problems) = config_map::parse(present.data.as_ref().unwrap_or(&none), &object);
                Self::new(global, problems)
            }
            None => {
                let problem = Problem::warning(
                    Origin::new(object, ""),
                    "ConfigMapNotFound",
                    "the ConfigMap does not exist; every setting has its default",
                );
                let problems =
                    settings.config_map_required.then(|| problem.with_mend("create it, or change --configmap"));
                Self::new(GlobalConfig::default(), problems.into_iter().collect())
            }
        }
    }

    fn new(global: GlobalConfig, problems: Vec<Problem>) -> Self {
        let proxy = Arc::new(global.proxy.clone());
        let compression = global.compression.clone().map(Arc::new);
        let nobody = ObjectRef::new("Ingress", "", "");
        let context = Context { prefix: "", object: &nobody, global: &global };
        let plain = Arc::new(genkan_annotations::parse(&BTreeMap::new(), &context).settings);
        Self { global, proxy, compression, plain, problems }
    }

    /// Settings of an Ingress, shared with those of others where they say the same.
    pub fn share(&self, settings: IngressSettings) -> Arc<IngressSettings> {
        if settings == *self.plain { Arc::clone(&self.plain) } else { Arc::new(settings) }
    }
}
