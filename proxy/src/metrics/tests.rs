//! What is counted of requests, under which names and labels, and when it is forgotten.

use std::time::Duration;

use http::Method;

use super::*;

fn metrics(change: impl FnOnce(&mut MetricSettings)) -> Metrics {
    let labels = ConstantLabels { namespace: "ns".into(), class: "k8s.io/x".into(), pod: "pod-0".into() };
    let mut settings = MetricSettings::default();
    change(&mut settings);
    Metrics::new(&labels, Some(settings))
}

fn host(text: &str) -> HostPattern {
    HostPattern::parse_one_label(text).unwrap()
}

/// The lines of `requests`.
fn requests(metrics: &Metrics) -> Vec<String> {
    let text = metrics.encode();
    text.lines().filter(|line| line.starts_with("nginx_ingress_controller_requests{")).map(str::to_owned).collect()
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
    let metrics = metrics(|_| {});
    let handle = metrics.rule(&labels(), &host("*.a.b"), "").unwrap();
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
    let metrics = metrics(|settings| settings.hosts = HostLabel::None);
    let handle = metrics.rule(&labels(), &HostPattern::Any, "canary-svc-80").unwrap();
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
    let metrics = metrics(|_| {});
    let handle = metrics.rule(&labels(), &host("a.b"), "").unwrap();
    handle.observe(&Observation { upstream: None, ..observation(&Method::GET, 403) });
    let text = metrics.encode();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    assert!(line("nginx_ingress_controller_request_duration_seconds_count").unwrap().ends_with(" 1"));
    assert_eq!(line("nginx_ingress_controller_connect_duration_seconds_count"), None);
}

#[test]
fn equal_rules_share_series_that_go_when_no_rule_holds_them() {
    let metrics = metrics(|_| {});
    let rule = || metrics.rule(&labels(), &host("a.b"), "").unwrap();
    let (one, other) = (rule(), rule());
    one.observe(&observation(&Method::GET, 200));
    other.observe(&observation(&Method::GET, 200));
    drop(one);
    assert_eq!(requests(&metrics).len(), 1);
    drop(other);
    assert!(requests(&metrics).is_empty());
}

#[test]
fn what_nobody_holds_does_not_gather_where_nobody_scrapes() {
    let metrics = metrics(|_| {});
    let kept = metrics.rule(&labels(), &host("kept"), "").unwrap();
    kept.observe(&observation(&Method::GET, 200));
    for index in 0..10_000 {
        metrics.rule(&labels(), &host(&format!("h{index}")), "").unwrap().observe(&observation(&Method::GET, 200));
    }
    assert!(metrics.rules.lock().by_identity.len() < 200);
    assert_eq!(requests(&metrics).len(), 1);
}

#[test]
fn without_settings_requests_do_not_count_and_the_rest_does() {
    let metrics = Metrics::new(&ConstantLabels::default(), None);
    assert!(metrics.rule(&labels(), &host("a.b"), "").is_none());
    metrics.reload_succeeded(1, 1.0);
    let text = metrics.encode();
    assert!(text.contains("nginx_ingress_controller_success{") && !text.contains("request_duration"), "{text}");
}

#[test]
fn with_all_metrics_of_requests_excluded_requests_do_not_count() {
    let metrics = metrics(|settings| settings.excluded = RequestMetric::ALL.into());
    assert!(metrics.rule(&labels(), &host("a.b"), "").is_none());
}

#[test]
fn rules_for_every_host_count_only_where_hosts_are_not_told_or_requested_ones_are() {
    for (hosts, counts) in [(HostLabel::None, true), (HostLabel::Defined, false), (HostLabel::Requested, true)] {
        let metrics = metrics(|settings| settings.hosts = hosts);
        assert_eq!(metrics.rule(&labels(), &HostPattern::Any, "").is_some(), counts, "{hosts:?}");
        assert!(metrics.rule(&labels(), &host("*.a.b"), "").is_some(), "{hosts:?}");
    }
}

#[test]
fn requested_hosts_have_series_up_to_a_bound_that_ends_with_their_rule() {
    let metrics = metrics(|settings| settings.hosts = HostLabel::Requested);
    for _ in 0..2 {
        let any = metrics.rule(&labels(), &HostPattern::Any, "").unwrap();
        for index in 0..2 * rule::MAX_REQUESTED_HOSTS {
            any.of_host(&format!("h{index}")).observe(&observation(&Method::GET, 200));
            any.of_host("h0").observe(&observation(&Method::GET, 200));
        }
        any.of_host("").observe(&observation(&Method::GET, 200));
        let lines = requests(&metrics);
        assert_eq!(lines.len(), rule::MAX_REQUESTED_HOSTS + 1);
        let value = |host: &str| {
            let line = lines.iter().find(|line| line.contains(&format!("host=\"{host}\""))).unwrap();
            line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()
        };
        assert_eq!(value("h0"), 2 * rule::MAX_REQUESTED_HOSTS + 1);
        assert_eq!(value("h7"), 1);
        assert_eq!(value("_"), rule::MAX_REQUESTED_HOSTS + 1);
        drop(any);
        assert!(requests(&metrics).is_empty());
    }
}

#[test]
fn a_host_that_an_object_writes_out_keeps_its_name_where_requested_ones_count() {
    let metrics = metrics(|settings| settings.hosts = HostLabel::Requested);
    let exact = metrics.rule(&labels(), &host("a.b"), "").unwrap();
    exact.of_host("a.b").observe(&observation(&Method::GET, 200));
    let wild = metrics.rule(&labels(), &host("*.a.b"), "").unwrap();
    wild.of_host("x.a.b").observe(&observation(&Method::GET, 200));
    let lines = requests(&metrics);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for host in ["host=\"a.b\"", "host=\"x.a.b\""] {
        assert!(lines.iter().any(|line| line.contains(host)), "{lines:#?}");
    }
}

#[test]
fn statuses_are_counted_by_class_on_demand() {
    let metrics = metrics(|settings| settings.status_classes = true);
    let handle = metrics.rule(&labels(), &host("a.b"), "").unwrap();
    for status in [200, 204, 404, 499] {
        handle.observe(&observation(&Method::GET, status));
    }
    let lines = requests(&metrics);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for class in ["status=\"2xx\"", "status=\"4xx\""] {
        assert!(lines.iter().any(|line| line.contains(class) && line.ends_with("} 2")), "{lines:#?}");
    }
}

#[test]
fn each_kind_of_histogram_has_its_buckets() {
    let metrics = metrics(|settings| {
        settings.time_buckets = "0.5,1".parse().unwrap();
        settings.length_buckets = "7".parse().unwrap();
        settings.size_buckets = "1e6,2e6,3e6".parse().unwrap();
    });
    let handle = metrics.rule(&labels(), &host("a.b"), "").unwrap();
    handle.observe(&observation(&Method::GET, 200));
    let text = metrics.encode();
    let times: &[_] = &["0.5", "1", "+Inf"];
    for (metric, expected) in [
        (RequestMetric::RequestDuration, times),
        (RequestMetric::ResponseDuration, times),
        (RequestMetric::HeaderDuration, times),
        (RequestMetric::ConnectDuration, times),
        (RequestMetric::RequestSize, &["7", "+Inf"]),
        (RequestMetric::ResponseSize, &["7", "+Inf"]),
        (RequestMetric::BytesSent, &["1e+06", "2e+06", "3e+06", "+Inf"]),
    ] {
        let start = format!("nginx_ingress_controller_{}_bucket{{", metric.name());
        let buckets = text.lines().filter(|line| line.starts_with(&start));
        let bound = |line: &str| Some(line.split_once(",le=\"")?.1.split_once('"')?.0.to_owned());
        assert_eq!(buckets.filter_map(bound).collect::<Vec<_>>(), expected, "{metric:?}");
    }
}

#[test]
fn what_is_excluded_is_not_there_and_the_rest_is() {
    for excluded in RequestMetric::ALL {
        let metrics = metrics(|settings| settings.excluded = [excluded].into());
        let handle = metrics.rule(&labels(), &host("a.b"), "").unwrap();
        handle.observe(&observation(&Method::GET, 200));
        let text = metrics.encode();
        for metric in RequestMetric::ALL {
            let shown = text.contains(&format!("nginx_ingress_controller_{}", metric.name()));
            assert_eq!(shown, metric != excluded, "{metric:?} without {excluded:?}");
        }
    }
}

#[test]
fn reloads_and_problems_are_told() {
    let metrics = metrics(|_| {});
    metrics.reload_succeeded(1 << 11, 1_700_000_000.5);
    metrics.reload_failed();
    metrics.log_lines_dropped(3);
    for count in [Some(1.0), None, Some(2.0)] {
        metrics.problems.set(["error", "ServiceNotFound"].map(str::to_owned), count);
    }
    metrics.certificate_expiry.replace([(["ns", "c", "h", "s", "i"].map(str::to_owned), 5.0)]);
    let text = metrics.encode();
    for line in [
        format!("nginx_ingress_controller_config_last_reload_successful{{{CONSTANT}}} 0"),
        format!("nginx_ingress_controller_config_last_reload_successful_timestamp_seconds{{{CONSTANT}}} 1700000000.5"),
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
