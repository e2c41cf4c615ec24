//! The variables of a log format, by name, as nginx and ingress-nginx define them.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use genkan_routing::policy::redirect::Scheme;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderMap, HeaderName, Version};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::clock::Second;
use super::format::Line;
use super::record::{Attempt, LogRecord, RawRequestLine};
use crate::filters::forwarded::own_authority;

/// Writes the value of a variable.
pub(super) type Render = fn(&LogRecord<'_>, &Second, &mut Line<'_>);

/// What may stand unescaped in a URI component.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What ingress-nginx's configuration sets for every request, maybe to nothing.
pub(super) const ALWAYS_SET: &[&str] = &[
    "ingress_name",
    "is_args",
    "location_path",
    "namespace",
    "proxy_alternative_upstream_name",
    "service_name",
    "service_port",
];

/// Sorted by name; the same names as the routing crate's `VARIABLES`.
const TABLE: &[(&str, Render)] = &[
    ("args", |r, _, line| line.text(query(r))),
    ("best_http_host", |r, _, line| line.text(r.authority)),
    ("body_bytes_sent", |r, _, line| line.plain(r.body_bytes_sent)),
    ("bytes_sent", |r, _, line| line.plain(r.bytes_sent)),
    ("connection", |r, _, line| line.plain(r.connection.id)),
    ("connection_requests", |r, _, line| {
        line.plain(r.connection.requests.load(std::sync::atomic::Ordering::Relaxed));
    }),
    ("content_length", |r, _, line| header(Some(&r.head.headers), &CONTENT_LENGTH, line)),
    ("content_type", |r, _, line| header(Some(&r.head.headers), &CONTENT_TYPE, line)),
    ("escaped_request_uri", |r, _, line| line.plain(utf8_percent_encode(target(r), COMPONENT))),
    ("host", |r, _, line| line.text(r.host)),
    ("hostname", |_, _, line| line.text(hostname())),
    ("ingress_name", |r, _, line| line.text(&r.labels.ingress)),
    ("is_args", |r, _, line| line.text(if query(r).is_empty() { "" } else { "?" })),
    ("location_path", |r, _, line| line.text(&r.labels.path)),
    ("msec", |r, _, line| line.plain(Seconds(r.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()))),
    ("namespace", |r, _, line| line.text(&r.labels.namespace)),
    ("pass_access_scheme", |r, _, line| line.text(r.scheme.as_str())),
    ("pass_port", |r, _, line| line.plain(r.port)),
    ("pass_server_port", |r, _, line| line.plain(r.port)),
    ("proxy_add_x_forwarded_for", |r, _, line| {
        let before = r.head.headers.contains_key("x-forwarded-for");
        header(Some(&r.head.headers), &HeaderName::from_static("x-forwarded-for"), line);
        line.text(if before { ", " } else { "" });
        line.plain(r.client);
    }),
    ("proxy_alternative_upstream_name", |r, _, line| line.text(r.alternative_upstream_name)),
    ("proxy_protocol_addr", |r, _, line| {
        if let Some((source, _)) = r.connection.proxied {
            line.plain(source.ip());
        }
    }),
    ("proxy_protocol_port", |r, _, line| {
        if let Some((source, _)) = r.connection.proxied {
            line.plain(source.port());
        }
    }),
    ("proxy_upstream_name", |r, _, line| line.text(r.upstream_name)),
    ("query_string", |r, _, line| line.text(query(r))),
    ("remote_addr", |r, _, line| line.plain(r.client)),
    ("remote_port", |r, _, line| line.plain(r.connection.client().port())),
    ("remote_user", |r, _, line| line.bytes(&basic_user(r).unwrap_or_default())),
    ("req_id", |r, _, line| line.text(r.request_id)),
    ("request", |r, _, line| match r.head.extensions.get::<RawRequestLine>() {
        Some(RawRequestLine(raw)) => line.bytes(raw),
        None => {
            line.text(r.head.method.as_str());
            line.text(" ");
            line.text(target(r));
            line.text(" ");
            line.text(protocol(r));
        }
    }),
    ("request_id", |r, _, line| line.text(r.request_id)),
    ("request_length", |r, _, line| line.plain(r.request_length)),
    ("request_method", |r, _, line| line.text(r.head.method.as_str())),
    ("request_time", |r, _, line| line.plain(Seconds(r.request_time))),
    ("request_uri", |r, _, line| line.text(target(r))),
    ("scheme", |r, _, line| {
        line.text(if r.connection.tls.is_some() { Scheme::Https.as_str() } else { Scheme::Http.as_str() });
    }),
    ("server_addr", |r, _, line| line.plain(r.connection.local.ip().to_canonical())),
    ("server_name", |r, _, line| line.text(r.host)),
    ("server_port", |r, _, line| line.plain(r.connection.local.port())),
    ("server_protocol", |r, _, line| line.text(protocol(r))),
    ("service_name", |r, _, line| line.text(&r.labels.service)),
    ("service_port", |r, _, line| line.text(&r.labels.service_port)),
    ("ssl_cipher", |r, _, line| line.text(r.connection.tls.as_ref().map_or("", |tls| tls.cipher))),
    // Client certificates are not asked for, so there are no names, and none was verified.
    ("ssl_client_i_dn", |_, _, _| {}),
    ("ssl_client_s_dn", |_, _, _| {}),
    ("ssl_client_verify", |r, _, line| line.text(if r.connection.tls.is_some() { "NONE" } else { "" })),
    ("ssl_protocol", |r, _, line| line.text(r.connection.tls.as_ref().map_or("", |tls| tls.version))),
    ("ssl_server_name", |r, _, line| {
        line.text(r.connection.tls.as_ref().and_then(|tls| tls.server_name.as_deref()).unwrap_or_default());
    }),
    ("status", |r, _, line| line.plain(format_args!("{:03}", r.status))),
    ("the_real_ip", |r, _, line| line.plain(r.client)),
    ("time_iso8601", |_, second, line| line.text(&second.iso8601)),
    ("time_local", |_, second, line| line.text(&second.local)),
    ("upstream_addr", |r, _, line| attempts(r, line, |attempt| Some(attempt.address))),
    ("upstream_connect_time", |r, _, line| attempts(r, line, |attempt| attempt.connect_time.map(Seconds))),
    ("upstream_header_time", |r, _, line| attempts(r, line, |attempt| attempt.header_time.map(Seconds))),
    ("upstream_response_length", |r, _, line| attempts(r, line, |attempt| Some(attempt.response_length))),
    ("upstream_response_time", |r, _, line| attempts(r, line, |attempt| attempt.response_time.map(Seconds))),
    ("upstream_status", |r, _, line| attempts(r, line, |attempt| attempt.status)),
    ("uri", |r, _, line| line.text(r.path)),
];

/// The variable of this name, unless it is one that names a header, cookie or parameter.
pub(super) fn find(name: &str) -> Option<Render> {
    let at = TABLE.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    TABLE.get(at).map(|(_, render)| *render)
}

/// `$http_name`: all fields of the name. `$http_host` is `:authority` where the client sent that instead.
pub(super) fn request_header(record: &LogRecord<'_>, name: &HeaderName, line: &mut Line<'_>) {
    if name == HOST && !record.head.headers.contains_key(HOST) {
        line.text(own_authority(record.head));
    } else {
        header(Some(&record.head.headers), name, line);
    }
}

/// All fields of a name as one list.
pub(super) fn header(headers: Option<&HeaderMap>, name: &HeaderName, line: &mut Line<'_>) {
    let Some(headers) = headers else { return };
    let separator = if name == COOKIE { "; " } else { ", " };
    for (number, value) in headers.get_all(name).iter().enumerate() {
        if number > 0 {
            line.text(separator);
        }
        line.bytes(value.as_bytes());
    }
}

/// `$arg_name`: the first parameter of the name as it was sent; the case of the name does not matter in nginx.
pub(super) fn argument<'r>(record: &LogRecord<'r>, name: &str) -> &'r str {
    let pairs = query(record).split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

/// Seconds with milliseconds: `0.123`.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}

fn query<'r>(record: &LogRecord<'r>) -> &'r str {
    record.head.uri.query().unwrap_or_default()
}

/// The request's target as nginx has it in `$request_uri`.
fn target<'r>(record: &LogRecord<'r>) -> &'r str {
    match record.head.uri.path_and_query() {
        Some(target) => target.as_str(),
        None => record.head.uri.authority().map_or("", |authority| authority.as_str()),
    }
}

fn protocol(record: &LogRecord<'_>) -> &'static str {
    match record.head.version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// A list over the attempts; `-` for what an attempt has not.
fn attempts<T: fmt::Display>(record: &LogRecord<'_>, line: &mut Line<'_>, value: impl Fn(&Attempt) -> Option<T>) {
    for (number, attempt) in record.attempts.iter().enumerate() {
        if number > 0 {
            line.plain(", ");
        }
        match value(attempt) {
            Some(value) => line.plain(value),
            None => line.plain("-"),
        }
    }
}

/// The user name of Basic authentication (RFC 7617), whether or not it was checked.
fn basic_user(record: &LogRecord<'_>) -> Option<Vec<u8>> {
    let value = record.head.headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, credentials) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut decoded = BASE64_STANDARD.decode(credentials.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    decoded.truncate(colon);
    Some(decoded)
}

/// The name of this machine, which in Kubernetes is the pod's.
pub(super) fn hostname() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let file = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        std::env::var("HOSTNAME").ok().or_else(file).unwrap_or_default().trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_variables_that_formats_may_use() {
        let names: Vec<_> = TABLE.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, genkan_routing::policy::access_log::VARIABLES);
        assert!(names.is_sorted());
    }
}
