//! The series of one rule, host, canary, method and status, and how they are made and rendered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::histogram::{Histogram, Shape};
use super::rule::{Identity, Observation};
use super::settings::{HostLabel, MetricSettings, PREFIX, RequestMetric};
use super::text::{Kind, Text, labels};

/// What all series are made by: the settings, prepared.
#[derive(Debug)]
pub(super) struct Counting {
    pub(super) hosts: HostLabel,
    status_classes: bool,
    excluded: BTreeSet<RequestMetric>,
    time: Arc<Shape>,
    length: Arc<Shape>,
    size: Arc<Shape>,
    /// How many hosts have series because requests named them.
    pub(super) requested_hosts: AtomicUsize,
}

/// What a status is counted as: its code, or the first digit of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum StatusLabel {
    Code(u16),
    Class(u16),
}

/// Series of equal labels. What is excluded is not there.
#[derive(Debug)]
pub(super) struct Series {
    labels: String,
    requests: Option<AtomicU64>,
    request_duration: Option<Histogram>,
    response_duration: Option<Histogram>,
    header_duration: Option<Histogram>,
    connect_duration: Option<Histogram>,
    request_size: Option<Histogram>,
    response_size: Option<Histogram>,
    bytes_sent: Option<Histogram>,
}

/// A family of histograms: its metric, its help, and where a series keeps it.
type Family = (RequestMetric, &'static str, fn(&Series) -> Option<&Histogram>);

const HISTOGRAMS: [Family; 7] = [
    (RequestMetric::RequestDuration, "The request processing time in seconds.", |it| it.request_duration.as_ref()),
    (RequestMetric::ResponseDuration, "The time until the endpoint's response was complete.", |it| {
        it.response_duration.as_ref()
    }),
    (RequestMetric::HeaderDuration, "The time until the endpoint's response header was complete.", |it| {
        it.header_duration.as_ref()
    }),
    (RequestMetric::ConnectDuration, "The time until the connection to the endpoint stood.", |it| {
        it.connect_duration.as_ref()
    }),
    (RequestMetric::RequestSize, "The request length: line, header and body.", |it| it.request_size.as_ref()),
    (RequestMetric::ResponseSize, "The response length: header and body.", |it| it.response_size.as_ref()),
    (RequestMetric::BytesSent, "Deprecated: the bytes sent to the client.", |it| it.bytes_sent.as_ref()),
];

impl Counting {
    /// `None` when nothing is left to count.
    pub(super) fn new(settings: MetricSettings) -> Option<Arc<Self>> {
        let MetricSettings { hosts, status_classes, time_buckets, length_buckets, size_buckets, excluded } = settings;
        (excluded.len() < RequestMetric::ALL.len()).then(|| {
            Arc::new(Self {
                hosts,
                status_classes,
                excluded,
                time: Shape::seconds(&time_buckets),
                length: Shape::bytes(&length_buckets),
                size: Shape::bytes(&size_buckets),
                requested_hosts: AtomicUsize::new(0),
            })
        })
    }

    /// What a status is counted as.
    pub(super) fn status(&self, status: u16) -> StatusLabel {
        let status = status.min(999);
        if self.status_classes { StatusLabel::Class(status / 100) } else { StatusLabel::Code(status) }
    }

    fn histogram(&self, metric: RequestMetric, shape: &Arc<Shape>) -> Option<Histogram> {
        (!self.excluded.contains(&metric)).then(|| Histogram::new(shape))
    }
}

impl Series {
    pub(super) fn new(counting: &Counting, identity: &Identity, method: &str, status: StatusLabel) -> Self {
        let status = match status {
            StatusLabel::Code(code) => format!("{code:03}"),
            StatusLabel::Class(class) => format!("{class}xx"),
        };
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
        let requests = !counting.excluded.contains(&RequestMetric::Requests);
        Self {
            labels: labels(&pairs),
            requests: requests.then(|| AtomicU64::new(0)),
            request_duration: counting.histogram(RequestMetric::RequestDuration, &counting.time),
            response_duration: counting.histogram(RequestMetric::ResponseDuration, &counting.time),
            header_duration: counting.histogram(RequestMetric::HeaderDuration, &counting.time),
            connect_duration: counting.histogram(RequestMetric::ConnectDuration, &counting.time),
            request_size: counting.histogram(RequestMetric::RequestSize, &counting.length),
            response_size: counting.histogram(RequestMetric::ResponseSize, &counting.length),
            bytes_sent: counting.histogram(RequestMetric::BytesSent, &counting.size),
        }
    }

    pub(super) fn observe(&self, observation: &Observation<'_>) {
        if let Some(requests) = &self.requests {
            requests.fetch_add(1, Ordering::Relaxed);
        }
        let times = observation.upstream.unwrap_or_default();
        for (histogram, time) in [
            (&self.request_duration, Some(observation.request_time)),
            (&self.connect_duration, times.connect),
            (&self.header_duration, times.header),
            (&self.response_duration, times.response),
        ] {
            if let (Some(histogram), Some(time)) = (histogram, time) {
                histogram.observe_time(time);
            }
        }
        for (histogram, bytes) in [
            (&self.request_size, observation.request_length),
            (&self.response_size, observation.bytes_sent),
            (&self.bytes_sent, observation.bytes_sent),
        ] {
            if let Some(histogram) = histogram {
                histogram.observe(bytes);
            }
        }
    }
}

/// Renders series, family by family.
pub(super) fn encode(counting: &Counting, mut series: Vec<Arc<Series>>, text: &mut Text<'_>) {
    if series.is_empty() {
        return;
    }
    series.sort_by(|one, other| one.labels.cmp(&other.labels));
    if !counting.excluded.contains(&RequestMetric::Requests) {
        let name = format!("{PREFIX}{}", RequestMetric::Requests.name());
        text.family(&name, "The total number of client requests.", Kind::Counter);
        for series in &series {
            if let Some(requests) = &series.requests {
                text.rendered(&name, "", &series.labels, "", requests.load(Ordering::Relaxed) as f64);
            }
        }
    }
    for (metric, help, histogram) in HISTOGRAMS.iter().filter(|(metric, ..)| !counting.excluded.contains(metric)) {
        let name = format!("{PREFIX}{}", metric.name());
        text.family(&name, help, Kind::Histogram);
        for series in &series {
            if let Some(histogram) = histogram(series) {
                histogram.encode(&name, &series.labels, text);
            }
        }
    }
}
