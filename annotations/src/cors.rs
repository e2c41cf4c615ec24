//! CORS: `enable-cors` and `cors-*`.
//!
//! Where ingress-nginx takes a `cors-allow-origin` that it can't read for `*`, CORS stays off here.

use genkan_routing::policy::cors::{Cors, CorsList, CorsOrigin, CorsOrigins, Preflights};
use genkan_routing::policy::pattern::Pattern;
use genkan_routing::report::Severity;

use crate::annotation::{Annotation, Builder, set};
use crate::definition::{OnInvalid, Risk};
use crate::value::{Charset, HEADERS, ValueError, boolean, integer, list, quoted, text};

pub(crate) const ANNOTATIONS: &[Annotation] = &[
    Annotation::on(
        "enable-cors",
        "true or false",
        "false",
        |b, v| set(&mut b.cors.enabled, boolean(v)),
        "Answers preflights and marks responses for browsers of other origins",
    ),
    Annotation::on(
        "cors-allow-origin",
        "*, or origins separated by commas: https://example.com, https://*.example.com:8443, null",
        "*",
        allow_origin,
        "Which origins may call; a * label stands for exactly one label",
    )
    .risk(Risk::Medium)
    .on_invalid(OnInvalid::TurnsOff),
    Annotation::on(
        "cors-allow-methods",
        "methods, separated by commas",
        METHODS,
        |b, v| set(&mut b.cors.methods, text(v, METHOD_LIST).map(|methods| Some(methods.to_owned()))),
        "Access-Control-Allow-Methods, as written",
    )
    .risk(Risk::Medium),
    Annotation::on(
        "cors-allow-headers",
        "header names, separated by commas",
        ALLOWED_HEADERS,
        |b, v| set(&mut b.cors.headers, text(v, HEADERS).map(|names| Some(names.to_owned()))),
        "Access-Control-Allow-Headers, as written",
    )
    .risk(Risk::Medium),
    Annotation::on(
        "cors-expose-headers",
        "header names, separated by commas, or *",
        "none",
        |b, v| set(&mut b.cors.expose_headers, text(v, EXPOSED).map(|names| Some(names.to_owned()))),
        "Access-Control-Expose-Headers, as written",
    )
    .risk(Risk::Medium),
    Annotation::on(
        "cors-allow-credentials",
        "true or false",
        "true",
        |b, v| set(&mut b.cors.credentials, boolean(v).map(Some)),
        "Access-Control-Allow-Credentials: true",
    ),
    Annotation::on(
        "cors-max-age",
        "seconds",
        "1728000",
        |b, v| set(&mut b.cors.max_age, integer(v).map(Some)),
        "Access-Control-Max-Age",
    ),
];

const METHODS: &str = "GET, PUT, POST, DELETE, PATCH, OPTIONS";
const ALLOWED_HEADERS: &str =
    "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization";
const MAX_AGE: i64 = 1_728_000;
const METHOD_LIST: Charset = Charset::new(", ");
const EXPOSED: Charset = Charset::new("-_, *");

/// What the annotations say; `None` is the default.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    enabled: bool,
    origins: Option<CorsOrigins>,
    methods: Option<String>,
    headers: Option<String>,
    expose_headers: Option<String>,
    credentials: Option<bool>,
    max_age: Option<i64>,
    /// Origins that can't be understood keep CORS off.
    off: bool,
}

fn allow_origin(builder: &mut Builder<'_>, value: &str) -> Result<(), ValueError> {
    // Until every entry is understood.
    builder.cors.off = true;
    let mut origins = Vec::new();
    for entry in list(value) {
        if entry == "*" {
            builder.cors.off = false;
            builder.cors.origins = Some(CorsOrigins::All);
            return Ok(());
        }
        match origin(entry)? {
            Some(origin) => origins.push(origin),
            None => {
                let message = format!("the origin {} has no scheme and is passed over", quoted(entry));
                builder.note(Severity::Warning, "InvalidAnnotation", message, "write https:// before it");
            }
        }
    }
    if origins.is_empty() {
        return Err(ValueError::Other("names no origin"));
    }
    builder.cors.off = false;
    builder.cors.origins = Some(CorsOrigins::List(origins));
    Ok(())
}

/// One origin (RFC 6454, section 6.2), or `None` when it has no scheme.
fn origin(entry: &str) -> Result<Option<CorsOrigin>, ValueError> {
    const BAD: ValueError = ValueError::Other("contains an entry that is not an origin like https://example.com");
    if entry == "null" {
        return Ok(Some(CorsOrigin::Exact(entry.to_owned())));
    }
    let Some((scheme, authority)) = entry.split_once("://") else {
        text(entry, Charset::new("-_.:*"))?;
        return Ok(None);
    };
    let scheme_is_sound = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let (host, port) = authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let (wildcard, host) = host.strip_prefix("*.").map_or((false, host), |host| (true, host));
    let host_is_sound = !host.is_empty()
        && host
            .split('.')
            .all(|label| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)));
    if !scheme_is_sound || !host_is_sound || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(BAD);
    }
    if !wildcard {
        return Ok(Some(CorsOrigin::Exact(entry.to_owned())));
    }
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let tail = regex::escape(&format!(".{host}{port}"));
    let expression = format!("(?i:{}://[a-z0-9-]+{tail})", regex::escape(scheme));
    Ok(Some(CorsOrigin::Wildcard(Pattern::full(&expression)?)))
}

pub(crate) fn finish(builder: &mut Builder<'_>) {
    let parts = std::mem::take(&mut builder.cors);
    if !parts.enabled || parts.off {
        return;
    }
    builder.settings.cors = Some(Cors {
        origins: parts.origins.unwrap_or(CorsOrigins::All),
        methods: CorsList::These(parts.methods.unwrap_or_else(|| METHODS.to_owned())),
        headers: CorsList::These(parts.headers.unwrap_or_else(|| ALLOWED_HEADERS.to_owned())),
        expose_headers: parts.expose_headers,
        credentials: parts.credentials.unwrap_or(true),
        max_age: parts.max_age.unwrap_or(MAX_AGE),
        preflights: Preflights::OfAllowedOrigins,
    });
}
