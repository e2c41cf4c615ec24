//! HSTS: `hsts`, `hsts-max-age`, `hsts-include-subdomains`, `hsts-preload`.

use genkan_routing::policy::hsts::Hsts;

use crate::annotation::set;
use crate::config_map::{GlobalBuilder, Key};
use crate::value::{boolean, integer_in};

pub(crate) const KEYS: &[Key] = &[
    Key::on(
        "hsts",
        "true or false",
        "true",
        |b, v| set(&mut b.hsts.enabled, boolean(v.trim())),
        "Strict-Transport-Security on responses over TLS",
    ),
    Key::on(
        "hsts-max-age",
        "seconds",
        "31536000",
        |b, v| set(&mut b.hsts.settings.max_age, integer_in(v.trim(), 0, i64::MAX)),
        "How long browsers remember it",
    ),
    Key::on(
        "hsts-include-subdomains",
        "true or false",
        "true",
        |b, v| set(&mut b.hsts.settings.include_subdomains, boolean(v.trim())),
        "Adds includeSubDomains",
    ),
    Key::on(
        "hsts-preload",
        "true or false",
        "false",
        |b, v| set(&mut b.hsts.settings.preload, boolean(v.trim())),
        "Adds preload",
    ),
];

/// The settings, and whether they are used.
#[derive(Debug)]
pub(crate) struct Parts {
    enabled: bool,
    settings: Hsts,
}

impl Default for Parts {
    fn default() -> Self {
        Self { enabled: true, settings: Hsts::default() }
    }
}

pub(crate) fn finish(builder: &mut GlobalBuilder) {
    builder.config.hsts = builder.hsts.enabled.then(|| builder.hsts.settings.clone());
}
