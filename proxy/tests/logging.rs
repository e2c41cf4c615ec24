//! The access log and metrics: one line per request, with what became of every attempt.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

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

#[tokio::test]
async fn requests_are_counted_by_rule_and_status() {
    let backend = Backend::named("a").await;
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a")));
    for _ in 0..3 {
        assert_eq!(running.get("/").await.status, 200);
        running.log_line();
    }
    let text = running.proxy.metrics().encode();
    let line = text.lines().find(|line| line.starts_with("nginx_ingress_controller_requests{"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("ingress=\"web\"") && line.contains("status=\"200\"") && line.ends_with(" 3"), "{line}");
}
