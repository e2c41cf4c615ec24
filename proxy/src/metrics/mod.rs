//! Metrics under the names, types and labels that dashboards and alerts of ingress-nginx know.
//!
//! ```text
//!  table build --> Metrics::rule(labels, host, canary) --> Arc<RuleMetrics>, held by the table
//!  request's end -------------------------------------------> RuleMetrics::observe: a few atomic additions
//!  scrape --> Metrics::encode: forgets rules that no table holds, renders the rest
//! ```
//!
//! The text is rendered here: client libraries append `_total` to every counter's name, and ingress-nginx's
//! `requests`, `success` and `errors` have none. Every label comes from configuration or from a fixed set, never from a
//! request's own text, so clients cannot make series.

mod admission;
mod histogram;
mod process;
mod rule;
mod stream;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use genkan_routing::model::RuleLabels;
use genkan_routing::name::HostPattern;
use genkan_routing::report::{Report, Severity};
use parking_lot::Mutex;

pub use self::admission::AdmissionMetrics;
pub use self::process::{ConnectionCount, ProcessMetrics, RequestCount};
use self::rule::{Identity, encode_rules};
pub use self::rule::{Observation, RuleMetrics, UpstreamTimes};
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
    /// Whether series carry the label `host` (`--metrics-per-host`, true).
    per_host: bool,
    rules: Mutex<HashMap<Identity, Arc<RuleMetrics>>>,
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
    problems: GaugeVec<2>,
    log_drops: AtomicU64,
}

/// Gauges of one name, set as a whole. `N` is the number of labels.
#[derive(Debug)]
pub struct GaugeVec<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    values: Mutex<BTreeMap<[String; N], f64>>,
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

impl Metrics {
    /// Metrics with these labels on every series. `per_host` adds the label `host` to those of requests.
    pub fn new(labels: &ConstantLabels, per_host: bool) -> Self {
        let constant = text::labels(&[
            ("controller_class", &labels.class),
            ("controller_namespace", &labels.namespace),
            ("controller_pod", &labels.pod),
        ]);
        Self {
            constant,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            per_host,
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

    /// Counts the problems of a report by severity and reason.
    pub fn set_problems(&self, report: &Report) {
        let mut counts: BTreeMap<(Severity, &str), f64> = BTreeMap::new();
        for problem in &report.problems {
            *counts.entry((problem.severity, problem.reason)).or_default() += 1.0;
        }
        let labels = |(severity, reason): (Severity, &str)| [severity.to_string(), reason.to_owned()];
        self.problems.replace(counts.into_iter().map(|(key, count)| (labels(key), count)));
    }

    /// Access log lines were lost because nobody took them.
    pub(crate) fn log_lines_dropped(&self, lines: u64) {
        self.log_drops.fetch_add(lines, Ordering::Relaxed);
    }

    /// The series of a rule's requests on one of its hosts. `canary` is the name of the cluster that its canary goes
    /// to, for requests that go there; else empty. Hold the handle as long as the rule may serve: its series are
    /// forgotten when nobody does.
    pub fn rule(&self, labels: &RuleLabels, host: &HostPattern, canary: &str) -> Arc<RuleMetrics> {
        let identity = Identity::new(labels, self.per_host.then_some(host), canary);
        let mut rules = self.rules.lock();
        let handle = rules.entry(identity.clone()).or_insert_with(|| Arc::new(RuleMetrics::new(identity)));
        Arc::clone(handle)
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
        let rules: Vec<_> = {
            let mut rules = self.rules.lock();
            rules.retain(|_, handle| Arc::strong_count(handle) > 1);
            rules.values().cloned().collect()
        };
        encode_rules(&rules, &mut text);
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
mod tests {
    use std::time::Duration;

    use genkan_routing::name::{ObjectRef, Origin};
    use genkan_routing::report::Problem;
    use http::Method;

    use super::*;

    fn metrics(per_host: bool) -> Metrics {
        let labels = ConstantLabels { namespace: "ns".into(), class: "k8s.io/x".into(), pod: "pod-0".into() };
        Metrics::new(&labels, per_host)
    }

    fn labels() -> RuleLabels {
        RuleLabels {
            namespace: "default".into(),
            ingress: "web".into(),
            service: "svc".into(),
            service_port: "80".into(),
            path: "/a\"b".into(),
        }
    }

    fn observation(method: &Method, status: u16) -> Observation<'_> {
        Observation {
            method,
            status,
            request_time: Duration::from_millis(7),
            request_length: 15,
            bytes_sent: 250,
            upstream: Some(UpstreamTimes {
                connect: Some(Duration::from_millis(1)),
                header: Some(Duration::from_millis(3)),
                response: Some(Duration::from_millis(6)),
            }),
        }
    }

    const CONSTANT: &str = "controller_class=\"k8s.io/x\",controller_namespace=\"ns\",controller_pod=\"pod-0\"";

    #[test]
    fn a_request_is_counted_under_the_names_of_ingress_nginx() {
        let metrics = metrics(true);
        let handle = metrics.rule(&labels(), &HostPattern::parse_one_label("*.a.b").unwrap(), "");
        handle.observe(&observation(&Method::GET, 200));
        handle.observe(&observation(&Method::GET, 200));
        let text = metrics.encode();
        let series = format!(
            "{{{CONSTANT},status=\"200\",method=\"GET\",path=\"/a\\\"b\",namespace=\"default\",ingress=\"web\",\
             service=\"svc\",canary=\"\",host=\"*.a.b\""
        );
        for line in [
            "# TYPE nginx_ingress_controller_requests counter".to_owned(),
            format!("nginx_ingress_controller_requests{series}}} 2"),
            "# TYPE nginx_ingress_controller_request_duration_seconds histogram".to_owned(),
            format!("nginx_ingress_controller_request_duration_seconds_bucket{series},le=\"0.005\"}} 0"),
            format!("nginx_ingress_controller_request_duration_seconds_bucket{series},le=\"0.01\"}} 2"),
            format!("nginx_ingress_controller_request_duration_seconds_bucket{series},le=\"+Inf\"}} 2"),
            format!("nginx_ingress_controller_request_duration_seconds_sum{series}}} 0.014"),
            format!("nginx_ingress_controller_request_duration_seconds_count{series}}} 2"),
            format!("nginx_ingress_controller_response_duration_seconds_sum{series}}} 0.012"),
            format!("nginx_ingress_controller_header_duration_seconds_sum{series}}} 0.006"),
            format!("nginx_ingress_controller_connect_duration_seconds_sum{series}}} 0.002"),
            format!("nginx_ingress_controller_request_size_bucket{series},le=\"10\"}} 0"),
            format!("nginx_ingress_controller_request_size_bucket{series},le=\"20\"}} 2"),
            format!("nginx_ingress_controller_response_size_sum{series}}} 500"),
            format!("nginx_ingress_controller_bytes_sent_bucket{series},le=\"1000\"}} 2"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn unknown_methods_share_a_label_and_hosts_are_optional() {
        let metrics = metrics(false);
        let handle = metrics.rule(&labels(), &HostPattern::Any, "canary-svc-80");
        for method in ["BREW", "WHEN"] {
            handle.observe(&observation(&method.parse().unwrap(), 418));
        }
        let text = metrics.encode();
        let line = text.lines().find(|line| line.starts_with("nginx_ingress_controller_requests{")).unwrap();
        assert!(line.contains("method=\"OTHER\"") && line.ends_with("} 2"), "{line}");
        assert!(line.contains("canary=\"canary-svc-80\"") && !line.contains("host="), "{line}");
    }

    #[test]
    fn times_that_are_not_known_are_not_observed() {
        let metrics = metrics(true);
        let handle = metrics.rule(&labels(), &HostPattern::Any, "");
        handle.observe(&Observation { upstream: None, ..observation(&Method::GET, 403) });
        let text = metrics.encode();
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).map(str::to_owned);
        assert!(line("nginx_ingress_controller_request_duration_seconds_count").unwrap().ends_with(" 1"));
        assert_eq!(line("nginx_ingress_controller_connect_duration_seconds_count"), None);
    }

    #[test]
    fn equal_rules_share_series_that_go_when_no_rule_holds_them() {
        let metrics = metrics(true);
        let (one, other) =
            (metrics.rule(&labels(), &HostPattern::Any, ""), metrics.rule(&labels(), &HostPattern::Any, ""));
        one.observe(&observation(&Method::GET, 200));
        other.observe(&observation(&Method::GET, 200));
        drop(one);
        assert!(metrics.encode().contains("nginx_ingress_controller_requests{"));
        drop(other);
        assert!(!metrics.encode().contains("nginx_ingress_controller_requests{"));
    }

    #[test]
    fn reloads_and_problems_are_told() {
        let metrics = metrics(true);
        metrics.reload_succeeded(1 << 11, 1_700_000_000.5);
        metrics.reload_failed();
        metrics.log_lines_dropped(3);
        let origin = || Origin::new(ObjectRef::new("Ingress", "default", "web"), "");
        metrics.set_problems(&Report::new(vec![
            Problem::error(origin(), "ServiceNotFound", "a"),
            Problem::error(origin(), "ServiceNotFound", "b"),
        ]));
        metrics.certificate_expiry.replace([(["ns", "c", "h", "s", "i"].map(str::to_owned), 5.0)]);
        let text = metrics.encode();
        for line in [
            format!("nginx_ingress_controller_config_last_reload_successful{{{CONSTANT}}} 0"),
            format!(
                "nginx_ingress_controller_config_last_reload_successful_timestamp_seconds{{{CONSTANT}}} 1700000000.5"
            ),
            format!("nginx_ingress_controller_config_hash{{{CONSTANT}}} 1"),
            format!("nginx_ingress_controller_success{{{CONSTANT}}} 1"),
            format!("nginx_ingress_controller_errors{{{CONSTANT}}} 1"),
            format!("genkan_problems{{{CONSTANT},severity=\"error\",reason=\"ServiceNotFound\"}} 2"),
            format!("genkan_access_log_dropped_lines_total{{{CONSTANT}}} 3"),
            format!(
                "nginx_ingress_controller_ssl_expire_time_seconds{{{CONSTANT},namespace=\"ns\",class=\"c\",host=\"h\",\
                 secret_name=\"s\",identifier=\"i\"}} 5"
            ),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }
}
