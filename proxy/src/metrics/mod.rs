//! Metrics under the names, types and labels that dashboards and alerts of ingress-nginx know.
//!
//! ```text
//!  first request --> Metrics::rule(labels, host, canary) --> Arc<RuleMetrics>, held by the rule's RuleHandles
//!  request's end --------------------------------------------> RuleMetrics::observe: a few atomic additions
//!  publish --> RuleHandles: handed on to the rule's next version; dropped with the rule
//!  scrape --> Metrics::encode: forgets what no rule holds, renders the rest
//! ```
//!
//! The text is rendered here: client libraries append `_total` to every counter's name, and ingress-nginx's
//! `requests`, `success` and `errors` have none. Every label comes from configuration or from a fixed set, so clients
//! cannot make series; only [`HostLabel::Requested`] takes hosts from requests, a bounded number.

mod admission;
mod authentication;
mod buffering;
mod handles;
mod histogram;
mod mirror;
mod process;
mod results;
mod rule;
mod series;
mod settings;
mod stream;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use genkan_routing::model::RuleLabels;
use genkan_routing::name::HostPattern;
use parking_lot::Mutex;

pub use self::admission::AdmissionMetrics;
pub use self::authentication::{AuthMetrics, AuthResult};
pub use self::buffering::BufferMetrics;
pub(crate) use self::buffering::hold;
pub(crate) use self::handles::RuleHandles;
pub use self::mirror::MirrorResult;
pub use self::process::{ConnectionCount, ProcessMetrics, RequestCount};
pub use self::results::{Counts, Results};
use self::rule::Identity;
pub use self::rule::{Observation, RuleMetrics, UpstreamTimes};
use self::series::Counting;
pub use self::settings::{Buckets, BucketsError, HostLabel, MetricSettings, RequestMetric, UnknownMetric};
pub use self::stream::{StreamCount, StreamLabels, StreamMetrics};
use self::text::{Kind, Text};

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels that every series of the controller carries.
#[derive(Clone, Debug, Default)]
pub struct ConstantLabels {
    /// `controller_namespace`: the namespace of this pod.
    pub namespace: String,
    /// `controller_class`: the controller name of the class (`k8s.io/ingress-nginx`).
    pub class: String,
    /// `controller_pod`: the name of this pod.
    pub pod: String,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    constant: String,
    build: String,
    /// How requests are counted; `None` when they are not.
    counting: Option<Arc<Counting>>,
    rules: Mutex<Rules>,
    streams: Mutex<BTreeMap<StreamLabels, Arc<StreamMetrics>>>,
    reloads: Mutex<Reloads>,
    /// Connections and requests of the whole process.
    pub process: ProcessMetrics,
    /// `ssl_expire_time_seconds`: when certificates expire, in seconds since 1970.
    pub certificate_expiry: GaugeVec<5>,
    /// `orphan_ingress`: 1 for Ingresses whose backend is missing (`no-service`) or empty (`no-endpoint`).
    pub orphans: GaugeVec<3>,
    /// `leader_election_status`: 1 on the leader.
    pub leader: GaugeVec<1>,
    /// `admission_*`: the last review of the admission webhook; nothing before the first.
    pub admission: AdmissionMetrics,
    /// Copies of requests.
    pub mirrors: Counts<MirrorResult>,
    /// Questions who clients are.
    pub authentication: AuthMetrics,
    /// What is held between clients and backends.
    pub buffering: BufferMetrics,
    /// How many problems there are now: severity, reason.
    pub problems: GaugeVec<2>,
    log_drops: AtomicU64,
}

/// Gauges of one name. `N` is the number of labels.
#[derive(Debug)]
pub struct GaugeVec<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    values: Mutex<BTreeMap<[String; N], f64>>,
}

/// The metrics of rules.
#[derive(Debug, Default)]
struct Rules {
    by_identity: HashMap<Identity, Arc<RuleMetrics>>,
    /// At how many those that nobody holds are forgotten, lest they gather where nobody scrapes.
    full: usize,
}

/// What became of new configurations.
#[derive(Clone, Copy, Debug, Default)]
struct Reloads {
    succeeded: u64,
    failed: u64,
    last_succeeded: bool,
    last_success: f64,
    hash: u64,
}

impl<const N: usize> GaugeVec<N> {
    fn new(name: &'static str, help: &'static str, labels: [&'static str; N]) -> Self {
        Self { name, help, labels, values: Mutex::default() }
    }

    /// Replaces every series; those that are not given are gone. Label values are in the order of the metric's labels.
    pub fn replace(&self, values: impl IntoIterator<Item = ([String; N], f64)>) {
        *self.values.lock() = values.into_iter().collect();
    }

    /// Sets one series, or forgets it.
    pub fn set(&self, labels: [String; N], value: Option<f64>) {
        let mut values = self.values.lock();
        match value {
            Some(value) => drop(values.insert(labels, value)),
            None => drop(values.remove(&labels)),
        }
    }

    fn encode(&self, text: &mut Text<'_>) {
        let values = self.values.lock();
        if values.is_empty() {
            return;
        }
        text.family(self.name, self.help, Kind::Gauge);
        for (labels, value) in &*values {
            let labels: Vec<_> = self.labels.iter().copied().zip(labels.iter().map(String::as_str)).collect();
            text.sample(self.name, &labels, *value);
        }
    }
}

impl Rules {
    /// Forgets those that nobody holds.
    fn sweep(&mut self) {
        self.by_identity.retain(|_, handle| Arc::strong_count(handle) > 1);
    }

    fn get_or_insert(&mut self, identity: Identity, new: impl FnOnce(Identity) -> RuleMetrics) -> Arc<RuleMetrics> {
        if let Some(known) = self.by_identity.get(&identity) {
            return Arc::clone(known);
        }
        if self.by_identity.len() >= self.full {
            self.sweep();
            // Twice what is in use, so that a sweep costs little for each one that is new.
            self.full = 2 * self.by_identity.len() + 64;
        }
        let handle = Arc::new(new(identity.clone()));
        self.by_identity.insert(identity, Arc::clone(&handle));
        handle
    }
}

impl Metrics {
    /// Metrics with these labels on every series. `requests` says how requests are counted; without it they are not.
    pub fn new(labels: &ConstantLabels, requests: Option<MetricSettings>) -> Self {
        let constant = text::labels(&[
            ("controller_class", &labels.class),
            ("controller_namespace", &labels.namespace),
            ("controller_pod", &labels.pod),
        ]);
        Self {
            constant,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            counting: requests.and_then(Counting::new),
            rules: Mutex::default(),
            streams: Mutex::default(),
            reloads: Mutex::default(),
            process: ProcessMetrics::default(),
            certificate_expiry: GaugeVec::new(
                "nginx_ingress_controller_ssl_expire_time_seconds",
                "Number of seconds since 1970 to the SSL certificate's expiry.",
                ["namespace", "class", "host", "secret_name", "identifier"],
            ),
            orphans: GaugeVec::new(
                "nginx_ingress_controller_orphan_ingress",
                "Ingresses whose backend has no Service or no endpoint.",
                ["namespace", "ingress", "type"],
            ),
            leader: GaugeVec::new(
                "nginx_ingress_controller_leader_election_status",
                "1 on the leader, 0 elsewhere.",
                ["name"],
            ),
            admission: AdmissionMetrics::default(),
            mirrors: Counts::default(),
            buffering: BufferMetrics::default(),
            authentication: AuthMetrics::default(),
            problems: GaugeVec::new(
                "genkan_problems",
                "Problems that the last translation reported.",
                ["severity", "reason"],
            ),
            log_drops: AtomicU64::new(0),
        }
    }

    /// A new configuration is live; `hash` tells configurations apart, `now` is in seconds since 1970.
    pub fn reload_succeeded(&self, hash: u64, now: f64) {
        let mut reloads = self.reloads.lock();
        reloads.succeeded += 1;
        reloads.last_succeeded = true;
        reloads.last_success = now;
        reloads.hash = hash;
    }

    /// A new configuration could not be taken over; the old one serves on.
    pub fn reload_failed(&self) {
        let mut reloads = self.reloads.lock();
        reloads.failed += 1;
        reloads.last_succeeded = false;
    }

    /// Access log lines were lost because nobody took them.
    pub(crate) fn log_lines_dropped(&self, lines: u64) {
        self.log_drops.fetch_add(lines, Ordering::Relaxed);
    }

    /// Whether requests of rules for `host` are counted.
    pub(crate) fn counts(&self, host: &HostPattern) -> bool {
        self.counting
            .as_ref()
            .is_some_and(|counting| counting.hosts != HostLabel::Defined || !matches!(host, HostPattern::Any))
    }

    /// The series of a rule's requests on one of its hosts; `None` when they are not counted. `canary` is the name of
    /// the cluster that its canary goes to, for requests that go there; else empty. Hold the handle as long as the rule
    /// may serve: its series are forgotten when nobody does.
    pub fn rule(&self, labels: &RuleLabels, host: &HostPattern, canary: &str) -> Option<Arc<RuleMetrics>> {
        let counting = self.counting.as_ref().filter(|_| self.counts(host))?;
        let identity = Identity::new(labels, (counting.hosts != HostLabel::None).then_some(host), canary);
        let new = |identity| RuleMetrics::new(counting, identity, host);
        Some(self.rules.lock().get_or_insert(identity, new))
    }

    /// The series of a TCP or UDP port. They are forgotten as those of [`Self::rule`].
    pub fn stream(&self, labels: StreamLabels) -> Arc<StreamMetrics> {
        let mut streams = self.streams.lock();
        let handle = streams.entry(labels).or_insert_with_key(|labels| Arc::new(StreamMetrics::new(labels)));
        Arc::clone(handle)
    }

    /// Everything in Prometheus's text format, version 0.0.4.
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(16 << 10);
        let mut text = Text::new(&mut out, &self.constant);
        self.encode_process(&mut text);
        self.problems.encode(&mut text);
        self.certificate_expiry.encode(&mut text);
        self.orphans.encode(&mut text);
        self.leader.encode(&mut text);
        self.admission.encode(&mut text);
        self.process.encode(&mut text);
        mirror::encode(&self.mirrors, &mut text);
        self.buffering.encode(&mut text);
        self.authentication.encode(&mut text);
        if let Some(counting) = &self.counting {
            let rules: Vec<_> = {
                let mut rules = self.rules.lock();
                rules.sweep();
                rules.by_identity.values().cloned().collect()
            };
            series::encode(counting, rules.iter().flat_map(|rule| rule.all()).collect(), &mut text);
        }
        let streams: Vec<_> = {
            let mut streams = self.streams.lock();
            streams.retain(|_, handle| Arc::strong_count(handle) > 1);
            streams.values().cloned().collect()
        };
        stream::encode(&streams, &mut text);
        out
    }

    fn encode_process(&self, text: &mut Text<'_>) {
        let reloads = *self.reloads.lock();
        let name = "nginx_ingress_controller_build_info";
        text.family(name, "A metric with a constant '1' value labelled with the build.", Kind::Gauge);
        let repository = env!("CARGO_PKG_REPOSITORY");
        text.sample(name, &[("build", &self.build), ("release", &self.build), ("repository", repository)], 1.0);
        let success = if reloads.last_succeeded { 1.0 } else { 0.0 };
        // Prometheus knows only floats; a hash keeps its upper 53 bits, which tells configurations apart as well.
        let hash = (reloads.hash >> 11) as f64;
        for (name, help, kind, value) in [
            ("config_hash", "Hash of the running configuration.", Kind::Gauge, hash),
            ("config_last_reload_successful", "Whether the last new configuration went live.", Kind::Gauge, success),
            (
                "config_last_reload_successful_timestamp_seconds",
                "When a new configuration last went live.",
                Kind::Gauge,
                reloads.last_success,
            ),
            ("success", "Configurations that went live.", Kind::Counter, reloads.succeeded as f64),
            ("errors", "Configurations that could not be taken over.", Kind::Counter, reloads.failed as f64),
        ] {
            let name = format!("nginx_ingress_controller_{name}");
            text.family(&name, help, kind);
            text.sample(&name, &[], value);
        }
        let name = "genkan_access_log_dropped_lines_total";
        text.family(name, "Access log lines that were lost because the output was too slow.", Kind::Counter);
        text.sample(name, &[], self.log_drops.load(Ordering::Relaxed) as f64);
    }
}

#[cfg(test)]
mod tests;
