//! Connection limit: `limit-connections`.

use std::sync::Arc;

use genkan_routing::policy::connection_limit::ConnectionLimit;
use ipnet::IpNet;

use crate::annotation::{Annotation, Builder, set};
use crate::config_map::Key;
use crate::definition::Scope;
use crate::value::{count, integer_in};

pub(crate) const ANNOTATIONS: &[Annotation] = &[Annotation::on(
    "limit-connections",
    "a whole number; 0 is without limit",
    "0",
    |b, v| set(&mut b.connection_limit.max, count(v)),
    "Concurrent requests per client, over all paths of the Ingress; more are refused",
)
.scope(Scope::Ingress)
.rejects()];

pub(crate) const KEYS: &[Key] = &[Key::on(
    "limit-conn-status-code",
    "400 to 599",
    "503",
    |b, v| set(&mut b.config.limit_conn_status_code, integer_in(v.trim(), 400, 599)),
    "The status of what limit-connections refuses",
)];

/// What the annotation says; 0 is without limit.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    max: u32,
}

/// The clients without a limit are those of the rate limits.
pub(crate) fn finish(builder: &mut Builder<'_>) {
    let object = builder.context.object;
    let zone = format!("{}/{}", object.namespace, object.name);
    let status = builder.context.global.limit_conn_status_code;
    let exempt = &builder.rate_limit.exempt;
    builder.settings.connection_limit = connection_limit(&zone, builder.connection_limit.max, status, exempt);
}

/// The limit of so many requests at a time; none for 0. Who has the same `zone` shares it.
pub fn connection_limit(zone: &str, max: u32, status: u16, exempt: &[IpNet]) -> Option<ConnectionLimit> {
    (max > 0).then(|| ConnectionLimit { zone: Arc::from(zone), max, status, exempt: exempt.to_vec() })
}
