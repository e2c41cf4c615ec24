//! Canary: `canary` and `canary-*`.

use genkan_routing::policy::canary::{CanaryHeader, CanaryHeaderRule};
use genkan_routing::policy::pattern::Pattern;
use genkan_routing::report::Severity;
use http::HeaderName;

use crate::annotation::{Annotation, Builder, set};
use crate::definition::{Risk, Scope};
use crate::settings::CanarySettings;
use crate::value::{BASIC, REGEX, ValueError, boolean, header_name, integer, text};

pub(crate) const ANNOTATIONS: &[Annotation] = &[
    Annotation::on(
        "canary",
        "true or false",
        "false",
        |b, v| set(&mut b.canary.enabled, boolean(v)),
        "The Ingress creates nothing of its own and takes requests from one with the same host and path",
    )
    .scope(Scope::Ingress),
    Annotation::on(
        "canary-by-header",
        "a header name",
        "none",
        |b, v| rule(b, v, "canary-by-header", |canary, v| set(&mut canary.header, header_name(v).map(Some))),
        "Its value always takes the canary, never the primary, another leaves it to cookie and weight",
    )
    .scope(Scope::Ingress)
    .risk(Risk::Medium),
    Annotation::on(
        "canary-by-header-value",
        "letters, digits and /-._~:",
        "none",
        |b, v| rule(b, v, "canary-by-header-value", |canary, v| copy(&mut canary.header_value, text(v, BASIC))),
        "Exactly this value of canary-by-header takes the canary, another leaves it to cookie and weight",
    )
    .scope(Scope::Ingress)
    .risk(Risk::Medium),
    Annotation::on(
        "canary-by-header-pattern",
        "a regular expression without look-around and back-references",
        "none",
        |b, v| rule(b, v, "canary-by-header-pattern", |canary, v| copy(&mut canary.header_pattern, text(v, REGEX))),
        "A value of canary-by-header in which this is found takes the canary; canary-by-header-value counts before it",
    )
    .scope(Scope::Ingress)
    .risk(Risk::Medium),
    Annotation::on(
        "canary-by-cookie",
        "a cookie name",
        "none",
        |b, v| rule(b, v, "canary-by-cookie", |canary, v| copy(&mut canary.cookie, text(v, BASIC))),
        "Its value always takes the canary, never the primary, another leaves it to the weight",
    )
    .scope(Scope::Ingress)
    .risk(Risk::Medium),
    Annotation::on(
        "canary-weight",
        "a whole number",
        "0",
        |b, v| rule(b, v, "canary-weight", |canary, v| set(&mut canary.weight, integer(v))),
        "Of canary-weight-total requests this many take the canary",
    )
    .scope(Scope::Ingress),
    Annotation::on(
        "canary-weight-total",
        "a whole number; below 100 counts as 100",
        "100",
        |b, v| rule(b, v, "canary-weight-total", |canary, v| set(&mut canary.total, integer(v))),
        "What canary-weight is a share of",
    )
    .scope(Scope::Ingress),
];

/// The least `canary-weight-total`, and its default.
const TOTAL: i64 = 100;

/// What the annotations say.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    enabled: bool,
    header: Option<HeaderName>,
    header_value: Option<String>,
    header_pattern: Option<String>,
    cookie: Option<String>,
    weight: i64,
    total: i64,
    /// The first rule that is written.
    first_rule: Option<&'static str>,
}

/// Reads a rule, and remembers that there is one.
fn rule(
    builder: &mut Builder<'_>,
    value: &str,
    name: &'static str,
    read: fn(&mut Parts, &str) -> Result<(), ValueError>,
) -> Result<(), ValueError> {
    builder.canary.first_rule.get_or_insert(name);
    read(&mut builder.canary, value)
}

fn copy(slot: &mut Option<String>, value: Result<&str, ValueError>) -> Result<(), ValueError> {
    set(slot, value.map(|text| Some(text.to_owned())))
}

pub(crate) fn finish(builder: &mut Builder<'_>) {
    let parts = std::mem::take(&mut builder.canary);
    if !parts.enabled {
        if let Some(name) = parts.first_rule {
            let message = format!("{name} has no effect without canary: \"true\": the Ingress is served as any other");
            builder.at(name);
            builder.note(Severity::Warning, "AnnotationWithoutEffect", message, "add canary: \"true\" or remove it");
        }
        return;
    }
    let header = header(builder, &parts);
    let in_range = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
    builder.settings.canary = Some(CanarySettings {
        header,
        cookie: parts.cookie,
        weight: in_range(parts.weight),
        total: in_range(parts.total.max(TOTAL)),
    });
}

fn header(builder: &mut Builder<'_>, parts: &Parts) -> Option<CanaryHeader> {
    let Some(name) = parts.header.clone() else {
        let values =
            [("canary-by-header-value", &parts.header_value), ("canary-by-header-pattern", &parts.header_pattern)];
        for (name, _) in values.into_iter().filter(|(_, value)| value.is_some()) {
            builder.at(name);
            let message = format!("{name} has no effect without canary-by-header");
            builder.note(Severity::Warning, "AnnotationWithoutEffect", message, "add canary-by-header");
        }
        return None;
    };
    let rule = match (&parts.header_value, &parts.header_pattern) {
        (Some(value), _) => CanaryHeaderRule::Value(value.clone()),
        (None, Some(pattern)) => Pattern::search(pattern).map(CanaryHeaderRule::Pattern).unwrap_or_else(|error| {
            let message = format!("canary-by-header-pattern: {error}: requests with the header take the primary");
            builder.at("canary-by-header-pattern");
            builder.note(Severity::Warning, "InvalidAnnotation", message, "");
            CanaryHeaderRule::Broken
        }),
        (None, None) => CanaryHeaderRule::AlwaysNever,
    };
    Some(CanaryHeader { name, rule })
}
