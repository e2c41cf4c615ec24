//! Rate limits: `limit-rps`, `limit-rpm`, `limit-burst-multiplier`, `limit-allowlist`.

use std::sync::Arc;

use genkan_routing::policy::rate_limit::{RateLimit, RateUnit};
use ipnet::IpNet;

use crate::annotation::{Annotation, Builder, set};
use crate::config_map::Key;
use crate::definition::Scope;
use crate::value::{count, integer_in, networks};

pub(crate) const ANNOTATIONS: &[Annotation] = &[
    Annotation::on(
        "limit-rps",
        "a whole number; 0 is without limit",
        "0",
        |b, v| set(&mut b.rate_limit.per_second, count(v)),
        "Requests per second and client, over all paths of the Ingress; more are refused",
    )
    .scope(Scope::Ingress)
    .rejects(),
    Annotation::on(
        "limit-rpm",
        "a whole number; 0 is without limit",
        "0",
        |b, v| set(&mut b.rate_limit.per_minute, count(v)),
        "Requests per minute and client, over all paths of the Ingress; more are refused",
    )
    .scope(Scope::Ingress)
    .rejects(),
    Annotation::on(
        "limit-burst-multiplier",
        "a whole number",
        "5",
        |b, v| set(&mut b.rate_limit.burst_multiplier, count(v).map(Some)),
        "How many times limit-rps and limit-rpm are let through at once",
    )
    .scope(Scope::Ingress),
    Annotation::on(
        "limit-allowlist",
        "IP addresses and networks, separated by commas",
        "none",
        |b, v| set(&mut b.rate_limit.exempt, networks(v)),
        "Clients that limit-rps, limit-rpm and limit-connections do not count",
    )
    .aliases(&["limit-whitelist"])
    .scope(Scope::Ingress)
    .rejects(),
];

pub(crate) const KEYS: &[Key] = &[Key::on(
    "limit-req-status-code",
    "400 to 599",
    "503",
    |b, v| set(&mut b.config.limit_req_status_code, integer_in(v.trim(), 400, 599)),
    "The status of what limit-rps and limit-rpm refuse",
)];

/// ingress-nginx's `limit-burst-multiplier`.
const BURST_MULTIPLIER: u32 = 5;

/// What is said of rates; 0 is without limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests per second and client.
    pub per_second: u32,
    /// Requests per minute and client.
    pub per_minute: u32,
    /// How many times a rate is let through at once.
    pub burst_multiplier: Option<u32>,
    /// Clients without a limit; of annotations for connections too.
    pub exempt: Vec<IpNet>,
}

/// What the annotations say.
pub(crate) type Parts = Rates;

impl Rates {
    /// The limits: one for each rate. Who has the same `zone` shares them.
    pub fn limits(&self, zone: &str, status: u16) -> Vec<RateLimit> {
        let multiplier = self.burst_multiplier.unwrap_or(BURST_MULTIPLIER);
        let limit = |requests: u32, unit, suffix| RateLimit {
            zone: Arc::from(format!("{zone}/{suffix}")),
            requests,
            unit,
            burst: requests.saturating_mul(multiplier),
            status,
            exempt: self.exempt.clone(),
        };
        let limits = [limit(self.per_second, RateUnit::Second, "rps"), limit(self.per_minute, RateUnit::Minute, "rpm")];
        limits.into_iter().filter(|limit| limit.requests > 0).collect()
    }
}

pub(crate) fn finish(builder: &mut Builder<'_>) {
    let object = builder.context.object;
    let zone = format!("{}/{}", object.namespace, object.name);
    builder.settings.rate_limits = builder.rate_limit.limits(&zone, builder.context.global.limit_req_status_code);
}
