//! The access log and metrics: one line per request, with what became of every attempt.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use genkan_proxy::metrics::{HostLabel, MetricSettings};
use genkan_routing::policy::access_log::Escape;
use kit::model::rule;
use kit::{Backend, Running, Site};

/// A site that logs in this format.
fn logging(site: Site, format: &str) -> Site {
    site.settings(|settings| {
        settings.access_log.format = format.to_owned();
        settings.access_log.escape = Escape::Default;
    })
}

#[tokio::test]
async fn a_line_says_what_was_asked_and_answered() {
    let backend = Backend::named("hello").await;
    let site = Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a"));
    let format = "$remote_addr|$request|$status|$body_bytes_sent|$request_length|$host|$uri|$args|$ingress_name|\
                  $proxy_upstream_name|$upstream_addr|$upstream_status|$upstream_response_length";
    let running = Running::start(logging(site, format));
    let request = "POST /a//b?q HTTP/1.1\r\nHost: test:80\r\nContent-Length: 2\r\n\r\nhi";
    let mut client = running.connect().await;
    client.send(request).await;
    assert_eq!(client.answer().await.status, 200);
    let expected = format!(
        "127.0.0.1|POST /a//b?q HTTP/1.1|200|5|{}|test|/a/b|q|web|default-a-80|{}|200|5",
        request.len(),
        backend.address
    );
    assert_eq!(running.log_line(), expected);
}

#[tokio::test]
async fn attempts_are_lists() {
    let (dead, alive) = (Backend::hangs_up().await, Backend::named("alive").await);
    let mut endpoints = [dead.address, alive.address];
    endpoints.sort();
    let site = Site::new().cluster("a", &endpoints).rule(rule("/").to("a"));
    let running = Running::start(logging(site, "$upstream_addr|$upstream_status|$status"));
    // Round robin: one of two requests begins at the dead endpoint.
    let lines = [running.get("/").await, running.get("/").await].map(|answer| {
        assert_eq!(answer.text(), "alive");
        running.log_line()
    });
    let expected = format!("{}, {}|502, 200|200", dead.address, alive.address);
    assert!(lines.contains(&expected), "{lines:?}");
}

#[tokio::test]
async fn failures_are_logged_with_what_the_client_got() {
    let backend = Backend::status(418).await;
    let site = Site::new().cluster("a", &[backend.address]).cluster("dead", &[Backend::nobody().await]);
    let site = site.rule(rule("/dead").to("dead")).rule(rule("/").to("a"));
    let running = Running::start(logging(site, "$status $upstream_status $sent_http_content_type"));
    assert_eq!(running.get("/dead").await.status, 502);
    assert_eq!(running.log_line(), "502 502, 502, 502 text/plain; charset=utf-8");
    assert_eq!(running.get("/").await.status, 418);
    assert_eq!(running.log_line(), "418 418 -");
}

#[tokio::test]
async fn requests_of_no_rule_are_logged_only_on_demand() {
    for (on_demand, expected) in [(true, "404 /nothing"), (false, "200 /a")] {
        let backend = Backend::named("a").await;
        let site = Site::new().cluster("a", &[backend.address]).rule(rule("/a").to("a"));
        let site = site.settings(|settings| settings.access_log.default_backend = on_demand);
        let running = Running::start(logging(site, "$status $uri"));
        assert_eq!(running.get("/nothing").await.status, 404);
        assert_eq!(running.get("/a").await.status, 200);
        assert_eq!(running.log_line(), expected);
    }
}

#[tokio::test]
async fn requests_that_are_refused_before_a_rule_is_found_are_always_logged() {
    let backend = Backend::named("a").await;
    let site = Site::new().cluster("a", &[backend.address]).rule(rule("/a").to("a"));
    let running = Running::start(logging(site, "$status $request"));
    for (target, host) in [("/a%zz", "test"), ("/a<>", "test"), ("/a?q=\"", "test"), ("/a", "te st")] {
        let mut client = running.connect().await;
        let answer = client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.answer().await;
        assert_eq!(answer.status, 400, "{target} of {host}");
        assert_eq!(running.log_line(), format!("400 GET {target} HTTP/1.1").replace('"', "\\x22"));
    }
    assert_eq!(backend.requests(), 0);
}

/// The lines of `requests`.
fn counted(running: &Running) -> Vec<String> {
    let text = running.proxy.metrics().encode();
    text.lines().filter(|line| line.starts_with("nginx_ingress_controller_requests{")).map(str::to_owned).collect()
}

/// Serves a rule for `test`, one for `*.wild` and one for every host.
async fn start_with_hosts(metrics: Option<MetricSettings>) -> (Backend, Running) {
    let backend = Backend::named("a").await;
    let mut site = Site::new().cluster("a", &[backend.address]);
    for host in ["test", "*.wild", ""] {
        site = site.rule(rule("/").host(host).to("a"));
    }
    (backend, Running::start_with(site, |config| config.metrics = metrics))
}

/// One request to each of these hosts. Requests are counted before they are logged.
async fn ask(running: &Running, hosts: &[&str]) {
    for host in hosts {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(running.connect().await.send(request).await.answer().await.status, 200, "{host}");
        running.log_line();
    }
}

#[tokio::test]
async fn requests_are_counted_by_rule_and_status() {
    let (_backend, running) = start_with_hosts(Some(MetricSettings::default())).await;
    ask(&running, &["test", "test", "test"]).await;
    let lines = counted(&running);
    let [line] = lines.as_slice() else { panic!("{lines:#?}") };
    assert!(line.contains("ingress=\"web\"") && line.contains("status=\"200\"") && line.ends_with(" 3"), "{line}");
}

#[tokio::test]
async fn hosts_have_series_as_the_settings_say() {
    let asked = ["test", "a.wild", "b.wild", "else:80", "other", "a.wild"];
    for (hosts, expected) in [
        (HostLabel::None, ["} 6"].as_slice()),
        (HostLabel::Defined, &["host=\"*.wild\"} 3", "host=\"test\"} 1"]),
        (
            HostLabel::Requested,
            &["host=\"a.wild\"} 2", "host=\"b.wild\"} 1", "host=\"else\"} 1", "host=\"other\"} 1", "host=\"test\"} 1"],
        ),
    ] {
        let (_backend, running) = start_with_hosts(Some(MetricSettings { hosts, ..MetricSettings::default() })).await;
        ask(&running, &asked).await;
        let lines = counted(&running);
        let are = lines.len() == expected.len() && lines.iter().zip(expected).all(|(line, end)| line.ends_with(end));
        assert!(are, "{hosts:?}: {lines:#?}");
        assert!(hosts != HostLabel::None || !lines[0].contains("host="), "{lines:#?}");
    }
}

#[tokio::test]
async fn without_settings_no_request_is_counted() {
    let (_backend, running) = start_with_hosts(None).await;
    ask(&running, &["test", "other"]).await;
    let text = running.proxy.metrics().encode();
    assert!(text.contains("nginx_process_requests_total") && !text.contains("method=\"GET\""), "{text}");
}

#[tokio::test]
async fn series_of_a_rule_that_is_gone_are_gone() {
    let backend = Backend::named("a").await;
    let site = Site::new().cluster("a", &[backend.address]);
    let running = Running::start(site.clone().rule(rule("/").host("test").to("a")));
    let mut client = running.connect().await;
    let request = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    assert_eq!(client.send(request).await.answer().await.status, 200);
    running.log_line();
    assert_eq!(counted(&running).len(), 1);
    running.proxy.publish(site.snapshot());
    // The next one on the connection begins when nothing is left of the one before.
    assert_eq!(client.send(request).await.answer().await.status, 404);
    assert!(counted(&running).is_empty());
}
