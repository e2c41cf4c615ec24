//! Body limit: `proxy-body-size`.

use genkan_routing::policy::body_limit::BodyLimit;

use crate::annotation::{Annotation, set};
use crate::config_map::Key;
use crate::definition::Risk;
use crate::value::{ValueError, size};

pub(crate) const ANNOTATIONS: &[Annotation] = &[Annotation::on(
    "proxy-body-size",
    "a size: 8m, 512k, 1g; 0 is without limit",
    "ConfigMap proxy-body-size (1m)",
    |b, v| set(&mut b.settings.body_limit, body_limit(v)),
    "The largest request body; a larger one is answered with 413",
)
.risk(Risk::Medium)];

pub(crate) const KEYS: &[Key] = &[Key::on(
    "proxy-body-size",
    "a size: 8m, 512k, 1g; 0 is without limit",
    "1m",
    |b, v| set(&mut b.config.body_limit, body_limit(v)),
    "Default of the annotation",
)];

/// A size; `None` for 0, which is without limit.
pub fn body_limit(text: &str) -> Result<Option<BodyLimit>, ValueError> {
    size(text).map(|bytes| (bytes > 0).then_some(BodyLimit(bytes)))
}
