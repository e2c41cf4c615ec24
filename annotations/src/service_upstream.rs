//! `service-upstream`: the Service's own address instead of its endpoints.

use crate::annotation::{Annotation, set};
use crate::config_map::Key;
use crate::definition::Scope;
use crate::value::boolean;

pub(crate) const ANNOTATIONS: &[Annotation] = &[Annotation::on(
    "service-upstream",
    "true or false",
    "ConfigMap service-upstream (false)",
    |b, v| set(&mut b.settings.service_upstream, boolean(v)),
    "Sends requests to the Service's address instead of its endpoints, so that kube-proxy chooses one by \
     sessionAffinity and trafficDistribution",
)
.scope(Scope::Service)];

pub(crate) const KEYS: &[Key] = &[Key::on(
    "service-upstream",
    "true or false",
    "false",
    |b, v| set(&mut b.config.service_upstream, boolean(v.trim())),
    "Default of the annotation",
)];
