//! Load balancing: `load-balance`, `upstream-hash-by`.

use genkan_routing::policy::load_balance::{HashKey, LoadBalance};

use crate::annotation::{Annotation, Builder, set};
use crate::config_map::Key;
use crate::definition::{Risk, Scope};
use crate::value::{VARIABLES, ValueError, header_name, text};

const ALGORITHM: &str = "round_robin or ewma";

pub(crate) const ANNOTATIONS: &[Annotation] = &[
    Annotation::on(
        "load-balance",
        ALGORITHM,
        "ConfigMap load-balance (round_robin)",
        algorithm,
        "How an endpoint is chosen; the first Ingress that names a Service decides",
    )
    .scope(Scope::Service)
    .rejects(),
    Annotation::on(
        "upstream-hash-by",
        "one of $remote_addr, $binary_remote_addr, $request_uri, $host, $http_host, $http_NAME, $cookie_NAME",
        "off",
        hash_by,
        "Requests with the same value go to the same endpoint; counts before load-balance",
    )
    .scope(Scope::Service)
    .risk(Risk::High)
    .rejects(),
];

pub(crate) const KEYS: &[Key] = &[Key::on(
    "load-balance",
    ALGORITHM,
    "round_robin",
    |b, v| set(&mut b.config.load_balance, by_name(v.trim())),
    "Default of the annotation",
)];

/// What the annotations say; a hash counts before an algorithm.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    algorithm: Option<LoadBalance>,
    hash: Option<HashKey>,
}

fn algorithm(builder: &mut Builder<'_>, value: &str) -> Result<(), ValueError> {
    match value.trim() {
        name @ ("chash" | "chashsubset" | "sticky_balanced" | "sticky_persistent") => {
            builder.unsupported_value(format!("load-balance: {name} cannot be chosen by itself: the default holds"));
        }
        name => builder.load_balance.algorithm = Some(by_name(name)?),
    }
    Ok(())
}

fn by_name(name: &str) -> Result<LoadBalance, ValueError> {
    match name {
        "round_robin" => Ok(LoadBalance::RoundRobin),
        "ewma" => Ok(LoadBalance::PeakEwma),
        _ => Err(ValueError::Choice(name.to_owned(), ALGORITHM.to_owned())),
    }
}

fn hash_by(builder: &mut Builder<'_>, value: &str) -> Result<(), ValueError> {
    let text = text(value, VARIABLES)?;
    match hash_key(text) {
        Some(key) => builder.load_balance.hash = Some(key),
        None => builder.unsupported_value(format!(
            "upstream-hash-by: {text} is not supported: load-balance holds; one variable alone is, such as $request_uri"
        )),
    }
    Ok(())
}

/// The key of one variable, written `$name` or `${name}`.
fn hash_key(text: &str) -> Option<HashKey> {
    let name = text.strip_prefix('$')?;
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    if name.chars().any(|c| !(c.is_ascii_alphanumeric() || c == '_')) {
        return None;
    }
    match name {
        "remote_addr" | "binary_remote_addr" => Some(HashKey::ClientAddress),
        "request_uri" => Some(HashKey::RequestUri),
        "host" | "http_host" => Some(HashKey::Host),
        _ => match (name.strip_prefix("http_"), name.strip_prefix("cookie_")) {
            (Some(header), _) => header_name(&header.replace('_', "-")).ok().map(HashKey::Header),
            (_, Some(cookie)) if !cookie.is_empty() => Some(HashKey::Cookie(cookie.to_owned())),
            _ => None,
        },
    }
}

pub(crate) fn finish(builder: &mut Builder<'_>) {
    let parts = std::mem::take(&mut builder.load_balance);
    if let Some(chosen) = parts.hash.map(LoadBalance::ConsistentHash).or(parts.algorithm) {
        builder.settings.load_balance = chosen;
        builder.settings.load_balance_explicit = true;
    }
}
