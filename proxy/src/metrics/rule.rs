//! Metrics of the requests of one rule on one host.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use genkan_routing::model::RuleLabels;
use genkan_routing::name::HostPattern;
use http::Method;
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::series::{Counting, Series, StatusLabel};
use super::settings::HostLabel;

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
    counting: Arc<Counting>,
    identity: Identity,
    /// By method and status; a bounded number.
    series: RwLock<FxHashMap<(u8, StatusLabel), Arc<Series>>>,
    /// Where the rule takes many hosts and each has its own series.
    requested: Option<Box<Requested>>,
}

/// What tells series of rules apart. Rules of the same labels share theirs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) labels: RuleLabels,
    pub(super) host: Option<String>,
    pub(super) canary: String,
}

/// Series of hosts that requests name. Clients choose them, hence not the fast hash.
#[derive(Debug)]
struct Requested {
    counting: Arc<Counting>,
    by_host: RwLock<HashMap<Box<str>, Arc<RuleMetrics>>>,
}

/// How many hosts may have series because requests named them. Each has a few kilobytes for every status and method.
pub(super) const MAX_REQUESTED_HOSTS: usize = 1000;

/// The longest name in DNS.
const MAX_HOST: usize = 253;

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
    pub(super) fn new(counting: &Arc<Counting>, identity: Identity, host: &HostPattern) -> Self {
        let many = counting.hosts == HostLabel::Requested && !matches!(host, HostPattern::Exact(_));
        let requested = many.then(|| Box::new(Requested::new(counting)));
        Self { requested, ..Self::of_one_host(counting, identity) }
    }

    fn of_one_host(counting: &Arc<Counting>, identity: Identity) -> Self {
        Self { counting: Arc::clone(counting), identity, series: RwLock::default(), requested: None }
    }

    /// Those of requests that name this host.
    pub(crate) fn of_host(self: &Arc<Self>, host: &str) -> Arc<Self> {
        let own = || {
            let identity = Identity { host: Some(host.to_owned()), ..self.identity.clone() };
            Self::of_one_host(&self.counting, identity)
        };
        let requested = self.requested.as_ref().and_then(|requested| requested.get_or_insert(host, own));
        requested.unwrap_or_else(|| Arc::clone(self))
    }

    /// Counts a finished request.
    pub fn observe(&self, observation: &Observation<'_>) {
        self.series(observation.method, observation.status).observe(observation);
    }

    /// All series there are.
    pub(super) fn all(&self) -> Vec<Arc<Series>> {
        let mut all: Vec<_> = self.series.read().values().cloned().collect();
        if let Some(requested) = &self.requested {
            all.extend(requested.by_host.read().values().flat_map(|metrics| metrics.all()));
        }
        all
    }

    fn series(&self, method: &Method, status: u16) -> Arc<Series> {
        let other = METHODS.len() - 1;
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(other);
        let key = (u8::try_from(method).unwrap_or(u8::MAX), self.counting.status(status));
        if let Some(series) = self.series.read().get(&key) {
            return Arc::clone(series);
        }
        let name = METHODS.get(method).copied().unwrap_or("OTHER");
        let new = || Arc::new(Series::new(&self.counting, &self.identity, name, key.1));
        Arc::clone(self.series.write().entry(key).or_insert_with(new))
    }
}

impl Requested {
    fn new(counting: &Arc<Counting>) -> Self {
        Self { counting: Arc::clone(counting), by_host: RwLock::default() }
    }

    /// The metrics of a host; `None` when there are too many already, or it is no name.
    fn get_or_insert(&self, host: &str, new: impl FnOnce() -> RuleMetrics) -> Option<Arc<RuleMetrics>> {
        if let Some(known) = self.by_host.read().get(host) {
            return Some(Arc::clone(known));
        }
        let room = |count| (count < MAX_REQUESTED_HOSTS).then_some(count + 1);
        let count = &self.counting.requested_hosts;
        if host.is_empty() || host.len() > MAX_HOST || room(count.load(Ordering::Relaxed)).is_none() {
            return None;
        }
        let mut all = self.by_host.write();
        if let Some(known) = all.get(host) {
            return Some(Arc::clone(known));
        }
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Arc::clone(all.entry(host.into()).or_insert_with(|| Arc::new(new()))))
    }
}

impl Drop for Requested {
    fn drop(&mut self) {
        self.counting.requested_hosts.fetch_sub(self.by_host.get_mut().len(), Ordering::Relaxed);
    }
}
