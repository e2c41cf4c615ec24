//! Attempts: which failures are tried on another endpoint, which never are, and what the client gets in the end.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use std::time::Duration;

use genkan_routing::model::Filter;
use genkan_routing::policy::body_limit::BodyLimit;
use kit::backend::read_head;
use kit::model::{RuleBuilder, rule};
use kit::{Backend, Running, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A proxy with one rule for two clusters' worth of endpoints.
fn serve(endpoints: &[std::net::SocketAddr], change: impl FnOnce(RuleBuilder) -> RuleBuilder) -> Running {
    Running::start(Site::new().cluster("a", endpoints).rule(change(rule("/").to("a"))))
}

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_refused_connection_is_tried_elsewhere() {
    let backend = Backend::named("alive").await;
    let running = serve(&[Backend::nobody().await, backend.address], |rule| rule);
    let mut client = running.connect().await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "alive");
    }
    // A POST that was never sent may go elsewhere too.
    for _ in 0..4 {
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi").await;
        assert_eq!(client.answer().await.text(), "alive");
    }
}

#[tokio::test]
async fn when_everyone_refuses_the_answer_is_502() {
    let running = serve(&[Backend::nobody().await, Backend::nobody().await], |rule| rule);
    let answer = running.get("/").await;
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("502 Bad Gateway"));
}

#[tokio::test]
async fn a_get_that_was_cut_off_is_tried_elsewhere_and_a_post_is_not() {
    let (cut, alive) = (Backend::hangs_up().await, Backend::named("alive").await);
    let running = serve(&[cut.address, alive.address], |rule| rule);
    for _ in 0..4 {
        assert_eq!(running.get("/").await.text(), "alive");
    }
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let mut client = running.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi").await;
        statuses.push(client.answer().await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
}

#[tokio::test]
async fn a_post_is_tried_elsewhere_if_the_rule_says_so_with_its_body() {
    let (cut, echo) = (Backend::hangs_up().await, Backend::echo().await);
    let running = serve(&[cut.address, echo.address], |rule| rule.retry(|retry| retry.non_idempotent = true));
    for _ in 0..4 {
        let mut client = running.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello").await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().ends_with("\n\nhello"));
    }
}

#[tokio::test]
async fn a_body_that_is_sent_again_counts_once_against_its_limit() {
    let cut = Backend::raw(|mut stream| async move {
        let mut read = Vec::new();
        while !read.ends_with(b"hello") && stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {}
    })
    .await;
    let alive = Backend::named("alive").await;
    let running = serve(&[cut.address, alive.address], |rule| {
        rule.retry(|retry| retry.non_idempotent = true).filter(Filter::BodyLimit(BodyLimit(8)))
    });
    for _ in 0..4 {
        let mut client = running.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello").await;
        assert_eq!(client.answer().await.text(), "alive");
    }
    assert!(cut.connections() > 0);
}

#[tokio::test]
async fn tries_are_the_limit() {
    let cut = Backend::hangs_up().await;
    let running = serve(&[cut.address], |rule| rule.retry(|retry| retry.tries = 2));
    assert_eq!(running.get("/").await.status, 502);
    assert_eq!(cut.connections(), 2);
}

#[tokio::test]
async fn listed_statuses_are_tried_elsewhere_and_the_last_one_is_told() {
    let (bad, good) = (Backend::status(503).await, Backend::named("good").await);
    let retry = |rule: RuleBuilder| rule.retry(|retry| retry.on_status = vec![503]);
    let running = serve(&[bad.address, good.address], retry);
    for _ in 0..4 {
        assert_eq!(running.get("/").await.text(), "good");
    }
    let running = serve(&[bad.address], retry);
    let answer = running.get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "from the backend"));
}

#[tokio::test]
async fn nothing_is_tried_again_once_the_client_has_a_byte() {
    let half = Backend::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    })
    .await;
    let running = serve(&[half.address], |rule| rule);
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(client.head().await.0, 200);
    assert_eq!(client.rest().await, b"half");
    assert_eq!(half.connections(), 1);
}

#[tokio::test]
async fn no_http_is_502() {
    let backend = Backend::bytes(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
    assert_eq!(serve(&[backend.address], |rule| rule).get("/").await.status, 502);
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_silent_endpoint_is_504_after_the_tries() {
    let backend = Backend::silent().await;
    let running = serve(&[backend.address], |rule| {
        rule.timeouts(|timeouts| timeouts.read = SHORT).retry(|retry| retry.tries = 2)
    });
    let answer = running.get("/").await;
    assert_eq!(answer.status, 504);
    assert!(answer.text().contains("504 Gateway Time-out"));
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn a_silent_endpoint_is_left_for_another() {
    let (silent, alive) = (Backend::silent().await, Backend::named("alive").await);
    let running = serve(&[silent.address, alive.address], |rule| rule.timeouts(|timeouts| timeouts.read = SHORT));
    for _ in 0..4 {
        assert_eq!(running.get("/").await.text(), "alive");
    }
}

#[tokio::test]
async fn the_time_of_a_request_ends_all_its_attempts() {
    let backend = Backend::silent().await;
    let running = serve(&[backend.address], |rule| rule.timeouts(|timeouts| timeouts.request = Some(SHORT)));
    assert_eq!(running.get("/").await.status, 504);
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn the_time_of_one_attempt_leaves_time_for_another() {
    let (silent, alive) = (Backend::silent().await, Backend::named("alive").await);
    let running = serve(&[silent.address, alive.address], |rule| {
        rule.timeouts(|timeouts| timeouts.backend_request = Some(SHORT))
    });
    for _ in 0..4 {
        assert_eq!(running.get("/").await.text(), "alive");
    }
}

#[tokio::test]
async fn a_response_that_trickles_ends_with_the_requests_time() {
    let backend = Backend::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let running = serve(&[backend.address], |rule| rule.timeouts(|timeouts| timeouts.request = Some(SHORT)));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(client.head().await.0, 200);
    assert!(client.rest().await.len() < 1_000_000);
}

#[tokio::test]
async fn a_kept_connection_that_the_endpoint_closed_is_no_try() {
    // Answers one request per connection and says nothing about closing.
    let backend = Backend::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        read_head(&mut stream).await;
    })
    .await;
    let running = serve(&[backend.address], |rule| rule.retry(|retry| retry.tries = 2));
    let mut client = running.connect().await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn what_ended_the_last_attempt_is_told_and_not_what_ended_one_before() {
    let echo = Backend::echo().await;
    let limited = |rule: RuleBuilder| rule.filter(Filter::BodyLimit(BodyLimit(8)));
    let running = serve(&[Backend::nobody().await, echo.address], limited);
    for _ in 0..4 {
        let mut client = running.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n").await;
        assert_eq!(client.answer().await.status, 413);
    }
}
