//! Basic authentication: who has no password stays out, over every protocol, and the worker serves others meanwhile.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use std::sync::Arc;
use std::time::Duration;

use genkan_routing::model::Filter;
use genkan_routing::policy::basic_auth::{BasicAuth, PasswordHash};
use genkan_routing::policy::timeouts::Timeouts;
use http::Request;
use http_body_util::BodyExt;
use kit::client::{full, h2};
use kit::model::rule;
use kit::{Backend, Running, Site};

/// Of "secret".
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

/// `ada:secret` and `ada:guess`.
const RIGHT: &str = "Basic YWRhOnNlY3JldA==";
const WRONG: &str = "Basic YWRhOmd1ZXNz";

fn asks(forward_credentials: bool) -> Filter {
    let users = Arc::new([("ada".to_owned(), PasswordHash::new(HASH))].into_iter().collect());
    Filter::BasicAuth(Arc::new(BasicAuth { realm: "here".to_owned(), users, forward_credentials }))
}

fn site(own: &Backend) -> Site {
    let site = Site::new().cluster("own", &[own.address]);
    // The first that fits counts.
    site.rule(rule("/seen").to("own").filter(asks(true))).rule(rule("/").to("own").filter(asks(false)))
}

fn get(path: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|value| format!("Authorization: {value}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

#[tokio::test]
async fn only_the_right_password_passes_and_the_backend_sees_it_only_where_it_is_to() {
    let own = Backend::echo().await;
    let running = Running::start(site(&own));
    let mut client = running.connect().await;
    for refused in [&[][..], &[WRONG], &["Bearer x"], &[RIGHT, RIGHT], &[RIGHT, WRONG]] {
        let answer = client.send(get("/", refused)).await.answer().await;
        let challenge = Some("Basic realm=\"here\", charset=\"UTF-8\"");
        assert_eq!((answer.status, answer.field("www-authenticate")), (401, challenge), "{refused:?}");
    }
    assert_eq!(own.requests(), 0);
    for _ in 0..2 {
        let answer = client.send(get("/", &[RIGHT])).await.answer().await;
        assert!(answer.status == 200 && !answer.text().contains("authorization"), "{}", answer.text());
    }
    let answer = client.send(get("/seen", &[RIGHT])).await.answer().await;
    assert!(answer.status == 200 && answer.text().contains("authorization: Basic"), "{}", answer.text());
    let metrics = running.proxy.metrics().encode();
    let counted =
        |result: &str| metrics.lines().find(|line| line.contains("basic_auth_total{") && line.contains(result));
    assert!(counted("\"allowed\"").unwrap().ends_with(" 3"), "{metrics}");
    assert!(counted("\"denied\"").unwrap().ends_with(" 5"), "{metrics}");
}

#[tokio::test]
async fn the_backend_gets_the_path_that_was_asked_for_a_password() {
    let own = Backend::echo().await;
    let running = Running::start(site(&own));
    let answer = running.connect().await.send(get("/seen/..%2fx/../y?q", &[RIGHT])).await.answer().await;
    assert!(answer.text().starts_with("GET /y?q HTTP/1.1\n"), "{}", answer.text());
}

#[tokio::test]
async fn a_request_whose_time_is_over_does_not_wait_for_its_password() {
    let own = Backend::echo().await;
    let over = |timeouts: &mut Timeouts| timeouts.request = Some(Duration::from_nanos(1));
    let rule = rule("/").to("own").filter(asks(false)).timeouts(over);
    let running = Running::start(Site::new().cluster("own", &[own.address]).rule(rule));
    let request = Request::get("http://test/").header("authorization", RIGHT).body(full("")).unwrap();
    assert_eq!(h2(running.address).await.send_request(request).await.unwrap().status(), 504);
    assert_eq!(own.requests(), 0);
}

#[tokio::test]
async fn streams_of_one_connection_are_asked_each() {
    let own = Backend::echo().await;
    let running = Running::start(site(&own));
    let client = h2(running.address).await;
    let ask = |word: &'static str| {
        let mut client = client.clone();
        let request = Request::post("http://test/").header("authorization", word).body(full("the body")).unwrap();
        async move {
            let answer = client.send_request(request).await.unwrap();
            let status = answer.status().as_u16();
            (status, answer.into_body().collect().await.unwrap().to_bytes())
        }
    };
    let (right, wrong, again) = tokio::join!(ask(RIGHT), ask(WRONG), ask(RIGHT));
    assert_eq!((right.0, wrong.0, again.0), (200, 401, 200));
    assert!(right.1.ends_with(b"the body"));
}
