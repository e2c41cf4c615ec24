//! Access log: `enable-access-log`, and the ConfigMap's format.

use genkan_routing::policy::access_log::{
    DEFAULT_FORMAT, DEFAULT_STREAM_FORMAT, Escape, FormatPart, format_parts, is_stream_variable, is_variable,
};

use crate::annotation::{Annotation, set};
use crate::config_map::{GlobalBuilder, Key};
use crate::value::{ValueError, boolean};

pub(crate) const ANNOTATIONS: &[Annotation] = &[Annotation::on(
    "enable-access-log",
    "true or false",
    "true",
    |b, v| set(&mut b.settings.access_log, boolean(v)),
    "Whether requests are written to the access log",
)];

pub(crate) const KEYS: &[Key] = &[
    Key::on(
        "disable-access-log",
        "true or false",
        "false",
        |b, v| set(&mut b.log.disabled, boolean(v.trim())),
        "Writes no access log",
    ),
    Key::on(
        "disable-http-access-log",
        "true or false",
        "false",
        |b, v| set(&mut b.log.http_disabled, boolean(v.trim())),
        "Writes no access log of HTTP requests",
    ),
    Key::on(
        "disable-stream-access-log",
        "true or false",
        "false",
        |b, v| set(&mut b.log.stream_disabled, boolean(v.trim())),
        "Writes no access log of TCP and UDP",
    ),
    Key::on(
        "enable-access-log-for-default-backend",
        "true or false",
        "false",
        |b, v| set(&mut b.config.proxy.access_log.default_backend, boolean(v.trim())),
        "Also logs requests that belong to no Ingress",
    ),
    Key::on(
        "log-format-upstream",
        "text with $variables",
        DEFAULT_FORMAT,
        |b, v| set(&mut b.config.proxy.access_log.format, request_format(v)),
        "The line per request; a format with an unknown variable is not used",
    ),
    Key::on(
        "log-format-stream",
        "text with $variables",
        DEFAULT_STREAM_FORMAT,
        |b, v| set(&mut b.config.proxy.access_log.stream.format, stream_format(v)),
        "The line per TCP connection and UDP session; a format with an unknown variable is not used",
    ),
    Key::on(
        "log-format-escape-json",
        "true or false",
        "false",
        |b, v| set(&mut b.log.json, boolean(v.trim())),
        "Escapes variables for JSON; empty ones stay empty",
    ),
    Key::on(
        "log-format-escape-none",
        "true or false",
        "false",
        |b, v| set(&mut b.log.none, boolean(v.trim())),
        "Does not escape variables; counts before log-format-escape-json",
    ),
];

/// Switches that together say whether and how lines are written.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    disabled: bool,
    http_disabled: bool,
    stream_disabled: bool,
    json: bool,
    none: bool,
}

/// The format of a request's line: nginx's, with variables that are known.
pub fn request_format(value: &str) -> Result<String, ValueError> {
    format(value, is_variable)
}

/// The format of the line of a TCP connection or UDP session.
pub fn stream_format(value: &str) -> Result<String, ValueError> {
    format(value, is_stream_variable)
}

fn format(value: &str, is_known: fn(&str) -> bool) -> Result<String, ValueError> {
    let text = value.trim();
    // A tab is the usual separator of columns; a line break would make two lines of one request.
    if let Some(bad) = text.chars().find(|&c| c.is_control() && c != '\t') {
        return Err(ValueError::Character(bad));
    }
    let unknown = |part: &FormatPart<'_>| matches!(part, FormatPart::Variable(name) if !is_known(name));
    if let Some(FormatPart::Variable(name)) = format_parts(text).into_iter().find(unknown) {
        return Err(ValueError::Variable(name.to_owned()));
    }
    Ok(text.to_owned())
}

pub(crate) fn finish(builder: &mut GlobalBuilder) {
    let log = &mut builder.config.proxy.access_log;
    log.enabled = !(builder.log.disabled || builder.log.http_disabled);
    log.stream.enabled = !(builder.log.disabled || builder.log.stream_disabled);
    log.escape = match (builder.log.none, builder.log.json) {
        (true, _) => Escape::None,
        (false, true) => Escape::Json,
        (false, false) => Escape::Default,
    };
}
