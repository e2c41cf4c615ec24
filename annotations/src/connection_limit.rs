//! Connection limit: `limit-connections`.

use std::sync::Arc;

use genkan_routing::policy::connection_limit::ConnectionLimit;

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
    if builder.connection_limit.max > 0 {
        builder.settings.connection_limit = Some(ConnectionLimit {
            zone: Arc::from(format!("{}/{}", object.namespace, object.name)),
            max: builder.connection_limit.max,
            status: builder.context.global.limit_conn_status_code,
            exempt: builder.rate_limit.exempt.clone(),
        });
    }
}
