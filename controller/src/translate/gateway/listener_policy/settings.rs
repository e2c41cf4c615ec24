//! Settings: what a policy says of clients, field by field, understood. The values are judged by the same functions as
//! the keys of the ConfigMap.
//!
//! A field whose value is broken counts as if it were not written, so that the next policy's or the ConfigMap's holds. A
//! network that can't be read is not trusted and a cipher that is not known is not used; the rest of these lists is.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use genkan_annotations::value::{self, ValueError};
use genkan_annotations::{
    HeaderBuffers, at_least_one, forwarded_for_header, header_buffers, idle_time, request_format, stream_format,
};
use genkan_policies::{
    AccessLogOptions, Believe, ClientLimits, ClientReception, ClientTimeouts, ForwardedOptions, Http2, LogEscape,
    ProxyProtocol, StreamOptions, TlsOptions, TlsProtocol,
};
use genkan_routing::policy::access_log::{AccessLog, Escape};
use genkan_routing::policy::client::ClientSettings;
use genkan_routing::policy::forwarded::Forwarded;
use genkan_routing::policy::stream::StreamSettings;
use genkan_routing::policy::tls::{Cipher, TlsSettings, TlsVersion};
use http::HeaderName;
use ipnet::IpNet;

use crate::resources::{Kind, NamespacedName};
use crate::translate::gateway::findings::Findings;
use crate::translate::gateway::policy::faults::{Fault, Part};
use crate::translate::gateway::policy::fields::{Fields, PolicyField};
use crate::translate::gateway::policy::index::Outcome;
use crate::translate::gateway::reason::INVALID;
use crate::translate::reader::Reader;

/// The longest that a policy may wait for what a client has begun to send. Here and below: connections, sessions and
/// memory are those of the whole process, so what one tenant may ask of them is limited; the ConfigMap may say more.
const MOST_WAIT: Duration = Duration::from_secs(10 * 60);
/// The longest that it may keep what is idle.
const MOST_IDLE: Duration = Duration::from_secs(24 * 60 * 60);
/// The most bytes of a head that it may let in.
const MOST_HEAD: u32 = 1 << 20;
/// The most requests at once that it may let into a connection.
const MOST_STREAMS: i64 = 1024;

/// A field of which policies say something. Each is taken from one policy as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Field {
    Timeouts,
    Limits,
    ProxyProtocol,
    Http2,
    Tls,
    Forwarded,
    AccessLog,
    Streams,
}

/// What a policy says of a field. `None` inside is left to the ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Timeouts { header: Option<Duration>, body: Option<Duration>, keep_alive: Option<Duration> },
    Limits { connections: Option<u32>, requests: Option<u32>, buffers: Option<HeaderBuffers>, headers: Option<u16> },
    ProxyProtocol(bool),
    Http2 { enabled: Option<bool>, streams: Option<u32> },
    Tls(Arc<TlsSettings>),
    Forwarded { trusted: Vec<IpNet>, all: bool, header: Option<HeaderName>, append: bool },
    AccessLog { enabled: bool, format: Option<String>, stream_format: Option<String>, escape: Option<Escape> },
    Streams { idle: Option<Duration>, responses: Option<u32> },
}

/// What `defaults` or `overrides` of a policy say.
pub(crate) type Settings = Fields<Field>;

impl Field {
    /// Those that act before it is known which listener of a port a client means.
    pub(crate) const OF_PORTS: [Self; 4] = [Self::Timeouts, Self::Limits, Self::ProxyProtocol, Self::Http2];
    /// The others.
    pub(crate) const OF_LISTENERS: [Self; 4] = [Self::Tls, Self::Forwarded, Self::AccessLog, Self::Streams];

    /// Whether others that come to a port may not undo it: clients would be let in that are not expected, or turned away
    /// because they come as the policy says. The rest is a matter of taste.
    pub(crate) fn keeps_port(self) -> bool {
        matches!(self, Self::ProxyProtocol | Self::Limits)
    }

    /// What it says that can't be read, where nothing would say more than was meant: of others the ConfigMap's holds.
    fn strictest(self) -> Option<Value> {
        match self {
            Self::Tls => Some(Value::Tls(Arc::new(strictest_tls()))),
            Self::Forwarded => Some(Value::Forwarded { trusted: Vec::new(), all: false, header: None, append: false }),
            _ => None,
        }
    }

    /// Whether it decides which address a client is taken to have.
    pub(crate) fn says_who_clients_are(self) -> bool {
        matches!(self, Self::ProxyProtocol | Self::Forwarded)
    }
}

impl PolicyField for Field {
    type Value = Value;

    const KIND: Kind = Kind::ListenerPolicy;

    fn as_str(self) -> &'static str {
        match self {
            Self::Timeouts => "timeouts",
            Self::Limits => "limits",
            Self::ProxyProtocol => "proxyProtocol",
            Self::Http2 => "http2",
            Self::Tls => "tls",
            Self::Forwarded => "forwarded",
            Self::AccessLog => "accessLog",
            Self::Streams => "streams",
        }
    }

    /// The Gateway's access lists and limits count clients by their addresses, so who those are is not for the tenants to
    /// say who have ListenerSets: they would pass the one and fill the others in the name of anybody.
    fn acts_on(self, target: Kind) -> bool {
        target != Kind::ListenerSet || !self.says_who_clients_are()
    }

    fn read(name: &NamespacedName, reader: &Reader<'_>) -> Option<Outcome<Self>> {
        super::read(name, reader)
    }
}

impl Settings {
    /// Reads `defaults` or `overrides`.
    pub(crate) fn read(part: Part<'_>, written: &ClientReception, findings: &mut Findings) -> Self {
        let ClientReception { timeouts, limits, proxy_protocol, http2, tls, forwarded, access_log, streams } = written;
        if let Some(why) = part.whole() {
            let message = format!("{why}; {}; {}", follows(Field::Forwarded), follows(Field::Tls));
            findings.error(format!("spec.{}", part.name), INVALID, message, "");
        }
        let mut read = Read { part, findings };
        let values = [
            (Field::Timeouts, timeouts.as_ref().map(|written| read.timeouts(written))),
            (Field::Limits, limits.as_ref().map(|written| read.limits(written))),
            (
                Field::ProxyProtocol,
                proxy_protocol.map(|written| Value::ProxyProtocol(written == ProxyProtocol::Required)),
            ),
            (Field::Http2, http2.as_ref().map(|written| read.http2(written))),
            (Field::Tls, tls.as_ref().map(|written| read.tls(written))),
            (Field::Forwarded, forwarded.as_ref().map(|written| read.forwarded(written))),
            (Field::AccessLog, access_log.as_ref().map(|written| read.access_log(written))),
            (Field::Streams, streams.as_ref().map(|written| read.streams(written))),
        ];
        values.into_iter().filter_map(|(field, value)| Some((field, read.sound(field, value)?))).collect()
    }
}

/// Reads the fields of a part of a policy. What is broken is told, and as if it were not written.
struct Read<'a> {
    part: Part<'a>,
    findings: &'a mut Findings,
}

impl Read<'_> {
    fn bad(&mut self, field: &str, message: String, mend: &str) {
        self.findings.error(format!("spec.{}.{field}", self.part.name), INVALID, message, mend);
    }

    /// What holds of a field if a part of it can't be read.
    fn sound(&mut self, field: Field, value: Option<Value>) -> Option<Value> {
        let (why, rest) = match self.part.fault(field.as_str()) {
            None => return value,
            Some(Fault::Whole(_)) => return field.strictest(),
            Some(Fault::Broken(why)) => (why, None),
            Some(Fault::Partly(why)) => (why, value),
        };
        let (strictest, is_left) = (field.strictest(), rest.is_some());
        if strictest.is_some() || !is_left {
            self.bad(field.as_str(), format!("{why}; {}", follows(field)), "");
        }
        strictest.or(rest)
    }

    fn value<T>(&mut self, field: &str, written: impl Display, value: Result<T, ValueError>) -> Option<T> {
        let told = value.map_err(|error| self.bad(field, format!("{written} {error}; it is left out"), ""));
        told.ok()
    }

    fn text<T>(
        &mut self,
        field: &str,
        written: Option<&String>,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Option<T> {
        let text = written?;
        self.value(field, value::quoted(text), parse(text))
    }

    fn number<T>(
        &mut self,
        field: &str,
        written: Option<i32>,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Option<T> {
        let number = written?;
        self.value(field, number, parse(&number.to_string()))
    }

    fn timeouts(&mut self, written: &ClientTimeouts) -> Value {
        Value::Timeouts {
            header: self.text("timeouts.header", written.header.as_ref(), wait),
            body: self.text("timeouts.body", written.body.as_ref(), wait),
            keep_alive: self.text("timeouts.keepAlive", written.keep_alive.as_ref(), |text| idle(value::time(text)?)),
        }
    }

    fn limits(&mut self, written: &ClientLimits) -> Value {
        Value::Limits {
            connections: self.number("limits.connections", written.connections, at_least_one),
            requests: self.number("limits.requestsPerConnection", written.requests_per_connection, at_least_one),
            buffers: self.text("limits.headerBuffers", written.header_buffers.as_ref(), buffers),
            headers: self.number("limits.headers", written.headers, |text| value::integer_in(text, 1, 1000)),
        }
    }

    fn http2(&mut self, written: &Http2) -> Value {
        let few = |text: &str| value::integer_in(text, 1, MOST_STREAMS);
        let streams = self.number("http2.maxConcurrentStreams", written.max_concurrent_streams, few);
        Value::Http2 { enabled: written.enabled, streams }
    }

    fn tls(&mut self, written: &TlsOptions) -> Value {
        let version = |written| match written {
            TlsProtocol::Tls12 => TlsVersion::Tls12,
            TlsProtocol::Tls13 => TlsVersion::Tls13,
        };
        let mut settings = TlsSettings::default();
        settings.min_version = written.min_version.map_or(settings.min_version, version);
        settings.max_version = written.max_version.map_or(settings.max_version, version);
        if settings.min_version > settings.max_version {
            self.bad("tls.minVersion", "minVersion is newer than maxVersion, which is left out".to_owned(), "");
            settings.max_version = settings.min_version;
        }
        for name in &written.ciphers {
            match value::choice(name, Cipher::ALL) {
                Ok(cipher) if settings.ciphers.contains(&cipher) => {}
                Ok(cipher) => settings.ciphers.push(cipher),
                Err(error) => {
                    self.bad("tls.ciphers", format!("{} {error}; it is not used", value::quoted(name)), "");
                }
            }
        }
        // An empty list would stand for all ciphers, which is not what was meant.
        if settings.ciphers.is_empty() && !written.ciphers.is_empty() {
            settings = strictest_tls();
        }
        Value::Tls(Arc::new(settings))
    }

    fn forwarded(&mut self, written: &ForwardedOptions) -> Value {
        let mut trusted = Vec::new();
        for text in &written.trusted {
            match value::network(text) {
                Ok(network) => trusted.push(network),
                Err(error) => {
                    let message = format!("{} {error}; it is not trusted", value::quoted(text));
                    self.bad("forwarded.trusted", message, "write networks like 10.0.0.0/8");
                }
            }
        }
        trusted.sort();
        trusted.dedup();
        let header = self.text("forwarded.header", written.header.as_ref(), forwarded_for_header);
        let all = written.believe.unwrap_or_default() == Believe::All;
        Value::Forwarded { trusted, all, header, append: written.append.unwrap_or_default() }
    }

    fn access_log(&mut self, written: &AccessLogOptions) -> Value {
        Value::AccessLog {
            enabled: written.enabled.unwrap_or(true),
            format: self.text("accessLog.format", written.format.as_ref(), request_format),
            stream_format: self.text("accessLog.streamFormat", written.stream_format.as_ref(), stream_format),
            escape: written.escape.map(|escape| match escape {
                LogEscape::Default => Escape::Default,
                LogEscape::Json => Escape::Json,
                LogEscape::None => Escape::None,
            }),
        }
    }

    fn streams(&mut self, written: &StreamOptions) -> Value {
        Value::Streams {
            idle: self.text("streams.idle", written.idle.as_ref(), |text| idle(idle_time(text)?)),
            responses: self.number("streams.responses", written.responses, value::count),
        }
    }
}

/// The strictest that there is.
fn strictest_tls() -> TlsSettings {
    let (min_version, max_version) = (TlsVersion::Tls13, TlsVersion::Tls13);
    TlsSettings { min_version, max_version, ciphers: vec![Cipher::Aes256Gcm] }
}

/// What follows when a field can't be read.
fn follows(field: Field) -> &'static str {
    match field {
        Field::Tls => "TLS 1.3 with AES-256 alone is spoken",
        Field::Forwarded => "nobody is trusted",
        _ => "it is left out",
    }
}

fn wait(text: &str) -> Result<Duration, ValueError> {
    const TOO_LONG: ValueError = ValueError::Other("is longer than 10m, the most that a policy may say");
    idle_time(text).and_then(|time| if time > MOST_WAIT { Err(TOO_LONG) } else { Ok(time) })
}

fn idle(time: Duration) -> Result<Duration, ValueError> {
    const TOO_LONG: ValueError = ValueError::Other("is longer than 24h, the most that a policy may say");
    if time > MOST_IDLE { Err(TOO_LONG) } else { Ok(time) }
}

fn buffers(text: &str) -> Result<HeaderBuffers, ValueError> {
    const TOO_LARGE: ValueError = ValueError::Other("is more than 1m in all, the most that a policy may say");
    header_buffers(text).and_then(|buffers| if buffers.head > MOST_HEAD { Err(TOO_LARGE) } else { Ok(buffers) })
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

impl Value {
    /// What a field of ports says of client connections.
    pub(crate) fn set_client(&self, client: &mut ClientSettings) {
        match self {
            Self::Timeouts { header, body, keep_alive } => {
                put(&mut client.header_timeout, *header);
                put(&mut client.body_timeout, *body);
                put(&mut client.keep_alive, *keep_alive);
            }
            Self::Limits { connections, requests, buffers, headers } => {
                put(&mut client.max_connections, *connections);
                put(&mut client.keep_alive_requests, *requests);
                if let Some(HeaderBuffers { line, head }) = *buffers {
                    (client.max_header_line, client.max_request_line, client.max_head) = (line, line, head);
                }
                put(&mut client.max_headers, *headers);
            }
            Self::ProxyProtocol(required) => client.proxy_protocol = *required,
            Self::Http2 { enabled, streams } => {
                put(&mut client.http2, *enabled);
                put(&mut client.max_concurrent_streams, *streams);
            }
            Self::Tls(_) | Self::Forwarded { .. } | Self::AccessLog { .. } | Self::Streams { .. } => {}
        }
    }

    /// Whom it says is to be believed.
    pub(crate) fn set_forwarded(&self, forwarded: &mut Forwarded) {
        if let Self::Forwarded { trusted, all, header, append } = self {
            (forwarded.use_forwarded_headers, forwarded.enable_real_ip) = (*all, !all);
            forwarded.trusted.clone_from(trusted);
            forwarded.compute_full_forwarded_for = *append;
            put(&mut forwarded.forwarded_for_header, header.clone());
        }
    }

    /// What it says of the log.
    pub(crate) fn set_access_log(&self, log: &mut AccessLog) {
        if let Self::AccessLog { enabled, format, stream_format, escape } = self {
            (log.enabled, log.stream.enabled) = (*enabled, *enabled);
            put(&mut log.format, format.clone());
            put(&mut log.stream.format, stream_format.clone());
            put(&mut log.escape, *escape);
        }
    }

    /// What it says of streams.
    pub(crate) fn set_streams(&self, stream: &mut StreamSettings) {
        match self {
            Self::Streams { idle, responses } => {
                put(&mut stream.timeout, *idle);
                put(&mut stream.responses, *responses);
            }
            // Of a port of TCP: how long a PROXY header may take.
            Self::Timeouts { header, .. } => put(&mut stream.header_timeout, *header),
            _ => {}
        }
    }
}
