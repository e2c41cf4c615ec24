//! Metrics of the requests of one rule on one host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use genkan_routing::model::RuleLabels;
use genkan_routing::name::HostPattern;
use http::Method;
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::histogram::{Histogram, LENGTH, SIZE, TIME};
use super::text::{Kind, Text, labels};

/// What is told about a finished request.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The status that the client got.
    pub status: u16,
    /// From the first byte of the request to the last of the response.
    pub request_time: Duration,
    /// Bytes of the request: line, header and body.
    pub request_length: u64,
    /// Bytes sent to the client: header and body.
    pub bytes_sent: u64,
    /// What the endpoint took; `None` without an endpoint and after several attempts, whose times ingress-nginx does
    /// not observe either.
    pub upstream: Option<UpstreamTimes>,
}

/// What an endpoint took, from the start of the attempt; `None` for what it did not come to.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpstreamTimes {
    /// To the established connection; zero on a kept one.
    pub connect: Option<Duration>,
    /// To the end of the response's head.
    pub header: Option<Duration>,
    /// To the end of the response.
    pub response: Option<Duration>,
}

/// The series of one rule, host and canary.
#[derive(Debug)]
pub struct RuleMetrics {
    identity: Identity,
    /// By method and status; a bounded number.
    series: RwLock<FxHashMap<(u8, u16), Arc<Series>>>,
}

/// What tells series of rules apart. Rules of the same labels share theirs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    labels: RuleLabels,
    host: Option<String>,
    canary: String,
}

#[derive(Debug)]
struct Series {
    labels: String,
    requests: AtomicU64,
    request_duration: Histogram,
    response_duration: Histogram,
    header_duration: Histogram,
    connect_duration: Histogram,
    request_size: Histogram,
    response_size: Histogram,
    bytes_sent: Histogram,
}

/// The methods that have a label of their own; the last stands for all others.
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "OTHER"];

impl Identity {
    pub(super) fn new(labels: &RuleLabels, host: Option<&HostPattern>, canary: &str) -> Self {
        let host = host.map(|host| match host {
            HostPattern::Exact(name) => name.to_string(),
            HostPattern::OneLabel(suffix) | HostPattern::Suffix(suffix) => format!("*.{suffix}"),
            // nginx's name of the server for every other host.
            HostPattern::Any => "_".to_owned(),
        });
        Self { labels: labels.clone(), host, canary: canary.to_owned() }
    }
}

impl RuleMetrics {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, series: RwLock::default() }
    }

    /// Counts a finished request.
    pub fn observe(&self, observation: &Observation<'_>) {
        let series = self.series(observation.method, observation.status);
        series.requests.fetch_add(1, Ordering::Relaxed);
        series.request_duration.observe_time(observation.request_time);
        series.request_size.observe(observation.request_length);
        series.response_size.observe(observation.bytes_sent);
        series.bytes_sent.observe(observation.bytes_sent);
        let times = observation.upstream.unwrap_or_default();
        for (histogram, time) in [
            (&series.connect_duration, times.connect),
            (&series.header_duration, times.header),
            (&series.response_duration, times.response),
        ] {
            if let Some(time) = time {
                histogram.observe_time(time);
            }
        }
    }

    fn series(&self, method: &Method, status: u16) -> Arc<Series> {
        let other = METHODS.len() - 1;
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(other);
        let key = (u8::try_from(method).unwrap_or(u8::MAX), status.min(999));
        if let Some(series) = self.series.read().get(&key) {
            return Arc::clone(series);
        }
        let name = METHODS.get(method).copied().unwrap_or("OTHER");
        let mut all = self.series.write();
        Arc::clone(all.entry(key).or_insert_with(|| Arc::new(Series::new(&self.identity, name, key.1))))
    }
}

impl Series {
    fn new(identity: &Identity, method: &str, status: u16) -> Self {
        let status = format!("{status:03}");
        let mut pairs = vec![
            ("status", status.as_str()),
            ("method", method),
            ("path", &identity.labels.path),
            ("namespace", &identity.labels.namespace),
            ("ingress", &identity.labels.ingress),
            ("service", &identity.labels.service),
            ("canary", &identity.canary),
        ];
        pairs.extend(identity.host.as_deref().map(|host| ("host", host)));
        Self {
            labels: labels(&pairs),
            requests: AtomicU64::new(0),
            request_duration: Histogram::new(&TIME),
            response_duration: Histogram::new(&TIME),
            header_duration: Histogram::new(&TIME),
            connect_duration: Histogram::new(&TIME),
            request_size: Histogram::new(&LENGTH),
            response_size: Histogram::new(&LENGTH),
            bytes_sent: Histogram::new(&SIZE),
        }
    }
}

/// A family of histograms: its name without prefix, its help, and where a series keeps it.
type Family = (&'static str, &'static str, fn(&Series) -> &Histogram);

const HISTOGRAMS: [Family; 7] = [
    ("request_duration_seconds", "The request processing time in seconds.", |series| &series.request_duration),
    ("response_duration_seconds", "The time until the endpoint's response was complete.", |series| {
        &series.response_duration
    }),
    ("header_duration_seconds", "The time until the endpoint's response header was complete.", |series| {
        &series.header_duration
    }),
    ("connect_duration_seconds", "The time until the connection to the endpoint stood.", |series| {
        &series.connect_duration
    }),
    ("request_size", "The request length: line, header and body.", |series| &series.request_size),
    ("response_size", "The response length: header and body.", |series| &series.response_size),
    ("bytes_sent", "Deprecated: the bytes sent to the client.", |series| &series.bytes_sent),
];

/// Renders the series of all rules, family by family.
pub(super) fn encode_rules(rules: &[Arc<RuleMetrics>], text: &mut Text<'_>) {
    let mut series: Vec<_> =
        rules.iter().flat_map(|rule| rule.series.read().values().cloned().collect::<Vec<_>>()).collect();
    if series.is_empty() {
        return;
    }
    series.sort_by(|one, other| one.labels.cmp(&other.labels));
    let name = "nginx_ingress_controller_requests";
    text.family(name, "The total number of client requests.", Kind::Counter);
    for series in &series {
        text.rendered(name, "", &series.labels, "", series.requests.load(Ordering::Relaxed) as f64);
    }
    for (name, help, histogram) in HISTOGRAMS {
        let name = format!("nginx_ingress_controller_{name}");
        text.family(&name, help, Kind::Histogram);
        for series in &series {
            histogram(series).encode(&name, &series.labels, text);
        }
    }
}
