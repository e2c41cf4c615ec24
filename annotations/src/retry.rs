//! Retries: `proxy-next-upstream`, `proxy-next-upstream-timeout`, `proxy-next-upstream-tries`.

use std::sync::Arc;
use std::time::Duration;

use genkan_routing::policy::retry::Retry;

use crate::annotation::{Annotation, set};
use crate::config_map::Key;
use crate::definition::Risk;
use crate::value::{ValueError, boolean, choice, count, seconds};

const WHEN: &str = "off, or some of error timeout invalid_header http_500 http_502 http_503 http_504 http_403 http_404 \
    http_429 non_idempotent, separated by spaces";
const SECONDS: &str = "whole seconds, without a unit; 0 is without limit";
const TRIES: &str = "a whole number; 0 is without limit";

pub(crate) const ANNOTATIONS: &[Annotation] = &[
    Annotation::on(
        "proxy-next-upstream",
        WHEN,
        "ConfigMap proxy-next-upstream (error timeout)",
        |b, v| conditions(Arc::make_mut(&mut b.settings.retry), v),
        "When another endpoint is tried; POST, LOCK and PATCH only with non_idempotent",
    )
    .risk(Risk::Medium),
    Annotation::on(
        "proxy-next-upstream-timeout",
        SECONDS,
        "ConfigMap proxy-next-upstream-timeout (0)",
        |b, v| set(&mut Arc::make_mut(&mut b.settings.retry).timeout, time_limit(v)),
        "The time in which another endpoint may be tried",
    ),
    Annotation::on(
        "proxy-next-upstream-tries",
        TRIES,
        "ConfigMap proxy-next-upstream-tries (3)",
        |b, v| set(&mut Arc::make_mut(&mut b.settings.retry).tries, count(v)),
        "How many endpoints are tried in all",
    ),
];

pub(crate) const KEYS: &[Key] = &[
    Key::on(
        "proxy-next-upstream",
        WHEN,
        "error timeout",
        |b, v| conditions(Arc::make_mut(&mut b.config.retry), v),
        "Default of the annotation",
    ),
    Key::on(
        "proxy-next-upstream-timeout",
        SECONDS,
        "0",
        |b, v| set(&mut Arc::make_mut(&mut b.config.retry).timeout, time_limit(v.trim())),
        "Default of the annotation",
    ),
    Key::on(
        "proxy-next-upstream-tries",
        TRIES,
        "3",
        |b, v| set(&mut Arc::make_mut(&mut b.config.retry).tries, count(v.trim())),
        "Default of the annotation",
    ),
    Key::on(
        "retry-non-idempotent",
        "true or false",
        "false",
        |b, v| set(&mut b.retry_non_idempotent, boolean(v.trim())),
        "Adds non_idempotent to every proxy-next-upstream",
    ),
];

#[derive(Clone, Copy)]
enum Condition {
    Off,
    Error,
    Timeout,
    InvalidHeader,
    Status(u16),
    NonIdempotent,
}

const CONDITIONS: &[(&str, Condition)] = &[
    ("error", Condition::Error),
    ("timeout", Condition::Timeout),
    ("invalid_header", Condition::InvalidHeader),
    ("http_500", Condition::Status(500)),
    ("http_502", Condition::Status(502)),
    ("http_503", Condition::Status(503)),
    ("http_504", Condition::Status(504)),
    ("http_403", Condition::Status(403)),
    ("http_404", Condition::Status(404)),
    ("http_429", Condition::Status(429)),
    ("non_idempotent", Condition::NonIdempotent),
    ("off", Condition::Off),
];

/// Replaces the conditions and keeps the limits. Nothing is changed when a word is unknown.
fn conditions(retry: &mut Retry, text: &str) -> Result<(), ValueError> {
    let words = text.split_ascii_whitespace().map(|word| choice(word, CONDITIONS));
    let words = words.collect::<Result<Vec<_>, _>>()?;
    let non_idempotent = retry.non_idempotent;
    let mut new = Retry { tries: retry.tries, timeout: retry.timeout, non_idempotent, ..never() };
    if !words.iter().any(|word| matches!(word, Condition::Off)) {
        for word in words {
            match word {
                Condition::Off => {}
                Condition::Error => new.on_error = true,
                Condition::Timeout => new.on_timeout = true,
                Condition::InvalidHeader => new.on_invalid_header = true,
                Condition::Status(status) => new.on_status.push(status),
                Condition::NonIdempotent => new.non_idempotent = true,
            }
        }
    }
    new.on_status.sort_unstable();
    new.on_status.dedup();
    *retry = new;
    Ok(())
}

fn never() -> Retry {
    Retry { on_error: false, on_timeout: false, ..Retry::default() }
}

fn time_limit(text: &str) -> Result<Option<Duration>, ValueError> {
    seconds(text, 0).map(|limit| (!limit.is_zero()).then_some(limit))
}
