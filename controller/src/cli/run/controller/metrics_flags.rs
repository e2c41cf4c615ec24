//! Flags about how requests are counted. Names, defaults and what is refused are ingress-nginx's.

use std::str::FromStr;

use anyhow::ensure;
use clap::{ArgAction, Args};
use genkan_proxy::metrics::{Buckets, HostLabel, MetricSettings, RequestMetric, UnknownMetric};

use crate::cli::compatible::boolean;

/// Flags about how requests are counted.
#[derive(Args, Debug)]
#[command(next_help_heading = "Metrics of requests")]
pub(super) struct MetricsFlags {
    /// Count requests; without it /metrics only tells about the process and its configuration
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "false", action = ArgAction::Set)]
    enable_metrics: bool,

    /// Tell hosts apart, as objects write them; requests whose host no object names do not count
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "true", action = ArgAction::Set)]
    metrics_per_host: bool,

    /// Tell hosts apart as requests name them, of 1000 hosts at most that no object writes out
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "false", action = ArgAction::Set)]
    metrics_per_undefined_host: bool,

    /// Tell classes of statuses apart, as in 2xx, instead of codes
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "false", action = ArgAction::Set)]
    report_status_classes: bool,

    /// Buckets of times, ascending
    #[arg(long, value_name = "SECONDS,...", allow_hyphen_values = true, default_value_t = Buckets::times())]
    time_buckets: Buckets,

    /// Buckets of the sizes of requests and responses, ascending
    #[arg(long, value_name = "BYTES,...", allow_hyphen_values = true, default_value_t = Buckets::lengths())]
    length_buckets: Buckets,

    /// Buckets of bytes_sent, ascending
    #[arg(long, value_name = "BYTES,...", allow_hyphen_values = true, default_value_t = Buckets::sizes())]
    size_buckets: Buckets,

    /// Metrics of requests that are neither counted nor shown, with or without the prefix nginx_ingress_controller_
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    exclude_socket_metrics: Vec<Excluded>,
}

/// What is excluded.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Excluded {
    Request(RequestMetric),
    /// A metric of ingress-nginx that is none of requests, which it takes here and shows all the same. The example in
    /// its documentation has one.
    Other(String),
    /// What an empty list leaves between its commas.
    Nothing,
}

/// The metrics of ingress-nginx that are none of requests, and one of requests that it had once.
const OTHERS: [&str; 29] = [
    "admission_config_size",
    "admission_render_duration",
    "admission_render_ingresses",
    "admission_roundtrip_duration",
    "admission_tested_duration",
    "admission_tested_ingresses",
    "build_info",
    "check_errors",
    "check_success",
    "config_hash",
    "config_last_reload_successful",
    "config_last_reload_successful_timestamp_seconds",
    "errors",
    "ingress_upstream_latency_seconds",
    "leader_election_status",
    "nginx_process_connections",
    "nginx_process_connections_total",
    "nginx_process_cpu_seconds_total",
    "nginx_process_num_procs",
    "nginx_process_oldest_start_time_seconds",
    "nginx_process_read_bytes_total",
    "nginx_process_requests_total",
    "nginx_process_resident_memory_bytes",
    "nginx_process_virtual_memory_bytes",
    "nginx_process_write_bytes_total",
    "orphan_ingress",
    "ssl_certificate_info",
    "ssl_expire_time_seconds",
    "success",
];

impl MetricsFlags {
    /// How requests are counted; `None` when they are not. An error when the flags contradict each other.
    pub(super) fn settings(&self) -> anyhow::Result<Option<MetricSettings>> {
        ensure!(
            self.metrics_per_host || !self.metrics_per_undefined_host,
            "--metrics-per-undefined-host=true must be passed with --metrics-per-host=true"
        );
        let hosts = match (self.metrics_per_host, self.metrics_per_undefined_host) {
            (false, _) => HostLabel::None,
            (true, false) => HostLabel::Defined,
            (true, true) => HostLabel::Requested,
        };
        let excluded = self.exclude_socket_metrics.iter().filter_map(|excluded| match excluded {
            Excluded::Request(metric) => Some(*metric),
            Excluded::Other(_) | Excluded::Nothing => None,
        });
        Ok(self.enable_metrics.then(|| MetricSettings {
            hosts,
            status_classes: self.report_status_classes,
            time_buckets: self.time_buckets.clone(),
            length_buckets: self.length_buckets.clone(),
            size_buckets: self.size_buckets.clone(),
            excluded: excluded.collect(),
        }))
    }

    /// A sentence for each name that excludes nothing.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.exclude_socket_metrics.iter().filter_map(|excluded| match excluded {
            Excluded::Other(name) => {
                Some(format!("--exclude-socket-metrics={name} has no effect: it is no metric of requests"))
            }
            Excluded::Request(_) | Excluded::Nothing => None,
        })
    }
}

impl FromStr for Excluded {
    type Err = UnknownMetric;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let name = text.strip_prefix("nginx_ingress_controller_").unwrap_or(text);
        match text {
            "" => Ok(Self::Nothing),
            _ if OTHERS.contains(&name) => Ok(Self::Other(text.to_owned())),
            _ => text.parse().map(Self::Request),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        metrics: MetricsFlags,
    }

    fn flags(arguments: &[&str]) -> MetricsFlags {
        Line::parse_from([&["genkan"], arguments].concat()).metrics
    }

    fn settings(arguments: &[&str]) -> MetricSettings {
        flags(&[&["--enable-metrics"], arguments].concat()).settings().unwrap().unwrap()
    }

    #[test]
    fn requests_are_counted_on_demand() {
        for (arguments, counted) in [
            (&[][..], false),
            (&["--enable-metrics"], true),
            (&["--enable-metrics=true"], true),
            (&["--enable-metrics=false"], false),
        ] {
            assert_eq!(flags(arguments).settings().unwrap().is_some(), counted, "{arguments:?}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_settings() {
        assert_eq!(format!("{:?}", settings(&[])), format!("{:?}", MetricSettings::default()));
    }

    #[test]
    fn two_flags_say_what_the_label_host_tells() {
        for (arguments, hosts) in [
            (&[][..], HostLabel::Defined),
            (&["--metrics-per-host"], HostLabel::Defined),
            (&["--metrics-per-host=false"], HostLabel::None),
            (&["--metrics-per-undefined-host"], HostLabel::Requested),
            (&["--metrics-per-host=true", "--metrics-per-undefined-host=true"], HostLabel::Requested),
        ] {
            assert_eq!(settings(arguments).hosts, hosts, "{arguments:?}");
        }
    }

    #[test]
    fn undefined_hosts_cannot_be_told_apart_without_hosts() {
        for enabled in ["--enable-metrics=true", "--enable-metrics=false"] {
            let flags = flags(&[enabled, "--metrics-per-host=false", "--metrics-per-undefined-host"]);
            let refused = flags.settings().unwrap_err().to_string();
            assert!(refused.contains("--metrics-per-undefined-host"), "{refused}");
        }
    }

    #[test]
    fn buckets_are_lists_of_their_own() {
        let settings = settings(&["--time-buckets=0.01,0.1,1", "--length-buckets", "1e3,1e6", "--size-buckets=-1,5"]);
        assert_eq!(settings.time_buckets.to_string(), "0.01,0.1,1");
        assert_eq!(settings.length_buckets.to_string(), "1000,1e+06");
        assert_eq!(settings.size_buckets.to_string(), "-1,5");
    }

    #[test]
    fn buckets_that_do_not_ascend_are_refused_by_flag() {
        for flag in ["--time-buckets", "--length-buckets", "--size-buckets"] {
            for value in ["2,1", "1,1", "1,x", "nan", ""] {
                let refused = Line::try_parse_from(["genkan", &format!("{flag}={value}")]).unwrap_err().to_string();
                assert!(refused.contains(flag), "{refused}");
            }
        }
    }

    #[test]
    fn metrics_are_excluded_by_either_name() {
        let list = "--exclude-socket-metrics=nginx_ingress_controller_bytes_sent,request_size,";
        let excluded = settings(&[list, "--exclude-socket-metrics=response_size"]).excluded;
        let expected = [RequestMetric::BytesSent, RequestMetric::RequestSize, RequestMetric::ResponseSize];
        assert_eq!(excluded, BTreeSet::from(expected));
        assert!(settings(&["--exclude-socket-metrics="]).excluded.is_empty());
    }

    #[test]
    fn a_metric_that_is_not_of_requests_is_told_and_one_that_nobody_has_refused() {
        let flags = flags(&[
            "--enable-metrics",
            "--exclude-socket-metrics=nginx_ingress_controller_success,header_duration_seconds",
        ]);
        let warnings: Vec<_> = flags.warnings().collect();
        assert!(
            matches!(warnings.as_slice(), [one] if one.contains("nginx_ingress_controller_success")),
            "{warnings:?}"
        );
        assert_eq!(flags.settings().unwrap().unwrap().excluded, [RequestMetric::HeaderDuration].into());
        for name in ["request_durations", "requests_total", "request_size_bucket"] {
            let refused = Line::try_parse_from(["genkan", "--exclude-socket-metrics", name]).unwrap_err().to_string();
            assert!(refused.contains("--exclude-socket-metrics") && refused.contains("bytes_sent"), "{refused}");
        }
    }
}
