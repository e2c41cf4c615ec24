//! Forwarding over HTTP/1: what the backend sees, what the client gets back, and who answers when no backend can.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use genkan_routing::model::{Filter, HttpVersion};
use genkan_routing::policy::body_limit::BodyLimit;
use http::Response;
use kit::backend::read_head;
use kit::client::full;
use kit::model::{backend, rule};
use kit::tls::Pair;
use kit::{Backend, Running, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn echo() -> (Backend, Running) {
    let backend = Backend::echo().await;
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a")));
    (backend, running)
}

#[tokio::test]
async fn the_request_reaches_the_backend_as_it_was_sent() {
    let (_backend, running) = echo().await;
    let answer = running.get("/a//b/%2e/c?x=%20&y").await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().starts_with("GET /a//b/%2e/c?x=%20&y HTTP/1.1\n"), "{}", answer.text());
    for line in ["host: test\n", "x-forwarded-for: 127.0.0.1\n", "x-forwarded-proto: http\n", "x-request-id: "] {
        assert!(answer.text().contains(line), "{line}: {}", answer.text());
    }
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let (backend, running) = echo().await;
    let mut client = running.connect().await;
    for _ in 0..3 {
        let answer = client.get("/").await;
        assert_eq!((answer.status, answer.field("connection")), (200, Some("keep-alive")));
    }
    assert_eq!((backend.connections(), backend.requests()), (1, 3));
}

#[tokio::test]
async fn bodies_pass_with_a_length_and_in_chunks() {
    let (_backend, running) = echo().await;
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello").await;
    let answer = client.answer().await.text();
    assert!(answer.contains("content-length: 5\n") && answer.ends_with("\n\nhello"), "{answer}");
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        .await;
    let answer = client.answer().await.text();
    assert!(answer.contains("transfer-encoding: chunked\n") && answer.ends_with("\n\nabcde"), "{answer}");
}

#[tokio::test]
async fn a_body_larger_than_every_buffer_passes_both_ways() {
    let (_backend, running) = echo().await;
    let body: Vec<u8> = (0..8_000_000_u32).map(|i| i.to_le_bytes()[i as usize % 3]).collect();
    let mut client = running.connect().await;
    client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    client.send(&body).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.ends_with(&body));
}

#[tokio::test]
async fn head_gets_the_head_alone() {
    let (_backend, running) = echo().await;
    let mut client = running.connect().await;
    client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let (status, head) = client.head().await;
    assert_eq!(status, 200);
    assert!(head.to_lowercase().contains("content-length"), "{head}");
    assert_eq!(client.get("/next").await.status, 200);
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_body_without_chunks() {
    let backend = Backend::bytes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a")));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.field("transfer-encoding")), (200, None));
    assert_eq!(answer.text(), "abc");
}

#[tokio::test]
async fn the_proxy_answers_expect_itself() {
    let (_backend, running) = echo().await;
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    assert_eq!(client.head().await.0, 100);
    client.send("hi").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().ends_with("\n\nhi") && !answer.text().contains("expect:"), "{}", answer.text());
}

#[tokio::test]
async fn fields_of_the_connection_stay_on_it() {
    let backend = Backend::http1(|request| async move {
        let seen = request.headers().contains_key("x-hop") || request.headers().contains_key("proxy");
        let builder = Response::builder().status(if seen { 500 } else { 200 });
        builder.header("server", "backend").header("keep-alive", "timeout=5").body(full("ok")).unwrap()
    })
    .await;
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a")));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: x-hop\r\nX-Hop: 1\r\nProxy: http://evil\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!((answer.field("server"), answer.field("keep-alive")), (None, None));
    assert!(answer.field("date").is_some());
}

#[tokio::test]
async fn equal_lengths_reach_the_backend_once() {
    let backend = Backend::raw(|mut stream| async move {
        let head = read_head(&mut stream).await.to_lowercase();
        let count = head.matches("content-length:").count();
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{count}").as_bytes()).await;
    })
    .await;
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a")));
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi").await;
    let answer = client.answer().await;
    // Either one length or a refusal is safe; two lengths are not.
    assert!(answer.status == 400 || answer.text() == "1", "{} {}", answer.head, answer.text());
}

#[tokio::test]
async fn the_last_request_of_a_connection_says_so() {
    let backend = Backend::echo().await;
    let site = Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a"));
    let running = Running::start(site.settings(|settings| settings.client.keep_alive_requests = 2));
    let mut client = running.connect().await;
    assert_eq!(client.get("/").await.field("connection"), Some("keep-alive"));
    assert_eq!(client.get("/").await.field("connection"), Some("close"));
    client.closed().await;
}

#[tokio::test]
async fn a_kept_connection_to_an_endpoint_is_used_only_so_often() {
    let backend = Backend::echo().await;
    let site = Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a"));
    let running = Running::start(site.settings(|settings| settings.upstream.keepalive_requests = 2));
    let mut client = running.connect().await;
    for closes in [false, true, false, true] {
        let answer = client.get("/").await;
        assert_eq!(answer.text().contains("connection: close\n"), closes, "{}", answer.text());
    }
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn requests_that_nothing_serves_get_404_and_nonsense_400() {
    let backend = Backend::echo().await;
    let site = Site::new().cluster("a", &[backend.address]).rule(rule("/a").host("a.test").to("a"));
    let running = Running::start(site);
    let mut client = running.connect().await;
    let answer = client.get("/a").await;
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("404 Not Found"));
    client.send("GET /a HTTP/1.1\r\nHost: A.TEST.:80\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    for (target, host) in
        [("/../x", "Host: a.test\r\n"), ("/%zz", "Host: a.test\r\n"), ("/a", "Host: a b\r\n"), ("/a", "")]
    {
        let mut client = running.connect().await;
        client.send(format!("GET {target} HTTP/1.1\r\n{host}\r\n")).await;
        assert_eq!(client.answer().await.status, 400, "{target} {host}");
    }
    assert_eq!(backend.requests(), 1);
}

#[tokio::test]
async fn an_invalid_backend_is_500_an_empty_cluster_503_and_the_connection_lives() {
    let site = Site::new().cluster("empty", &[]).rule(rule("/empty").to("empty")).rule(rule("/invalid").invalid(1));
    let running = Running::start(site.rule(rule("/none")).rule(rule("/health").respond(200)));
    let mut client = running.connect().await;
    for (path, status) in [("/empty", 503), ("/invalid", 500), ("/none", 500), ("/health", 200), ("/empty", 503)] {
        assert_eq!(client.get(path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn ninety_to_ten_means_ninety_to_ten() {
    let (ninety, ten, never) =
        (Backend::named("ninety").await, Backend::named("ten").await, Backend::named("never").await);
    let site = Site::new()
        .cluster("ninety", &[ninety.address])
        .cluster("ten", &[ten.address])
        .cluster("never", &[never.address])
        .rule(rule("/").weighted("ninety", 90).weighted("ten", 10).weighted("never", 0));
    let running = Running::start(site);
    let mut client = running.connect().await;
    for _ in 0..900 {
        assert_eq!(client.get("/").await.status, 200);
    }
    // Twelve standard deviations around the mean of 90.
    assert!((1..200).contains(&ten.requests()), "{}", ten.requests());
    assert_eq!((ninety.requests() + ten.requests(), never.requests()), (900, 0));
}

#[tokio::test]
async fn a_canary_takes_what_its_header_says() {
    use genkan_routing::policy::canary::{Canary, CanaryHeader, CanaryHeaderRule};
    let (primary, canary) = (Backend::named("primary").await, Backend::named("canary").await);
    let header = CanaryHeader { name: "x-canary".parse().unwrap(), rule: CanaryHeaderRule::AlwaysNever };
    let policy = |cluster: &str| Canary {
        backend: backend(cluster, 1),
        header: Some(header.clone()),
        cookie: None,
        weight: 0,
        total: 100,
    };
    let site = Site::new()
        .cluster("primary", &[primary.address])
        .cluster("canary", &[canary.address])
        .cluster("empty", &[])
        .rule(rule("/empty").to("primary").forward(|forward| forward.canary = Some(policy("empty").into())))
        .rule(rule("/").to("primary").forward(|forward| forward.canary = Some(policy("canary").into())));
    let running = Running::start(site);
    let mut client = running.connect().await;
    for (path, value, expected) in
        [("/", "always", "canary"), ("/", "never", "primary"), ("/", "x", "primary"), ("/empty", "always", "primary")]
    {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nX-Canary: {value}\r\n\r\n")).await;
        assert_eq!(client.answer().await.text(), expected, "{path} {value}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_and_without_a_length() {
    let backend = Backend::echo().await;
    let limited = rule("/").to("a").filter(Filter::BodyLimit(BodyLimit(10)));
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(limited));
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 413);
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.send("8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("413 Request Entity Too Large"), "{}", answer.text());
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n1234567890").await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn a_reply_survives_a_client_that_is_still_sending() {
    let running = Running::start(Site::new().cluster("empty", &[]).rule(rule("/").to("empty")));
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4000000\r\n\r\n").await;
    for _ in 0..40 {
        client.send(vec![b'x'; 100_000]).await;
    }
    assert_eq!(client.answer().await.status, 503);
}

#[tokio::test]
async fn endpoints_may_speak_tls_with_a_certificate_that_nobody_knows() {
    let backend = Pair::new("whatever.test")
        .serving(&[], |mut stream| async move {
            let named = stream.get_ref().1.server_name().is_some();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let body = if named { "sni" } else { "no sni" };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.read(&mut head).await;
        })
        .await;
    let site = Site::new().tls_cluster("a", &[backend.address], HttpVersion::Http1).rule(rule("/").to("a"));
    let answer = Running::start(site).get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "no sni"));
}

#[tokio::test]
async fn ranges_are_the_endpoints_business_and_pass_both_ways() {
    let backend = Backend::http1(|request: http::Request<hyper::body::Incoming>| async move {
        let asked = request.headers()["range"].to_str().unwrap().to_owned();
        let part = Response::builder().status(206).header("content-range", "bytes 2-4/10").header("x-asked", asked);
        part.body(full("cde")).unwrap()
    })
    .await;
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a")));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\nRange: bytes=2-4\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (206, "cde"));
    assert_eq!((answer.field("content-range"), answer.field("x-asked")), (Some("bytes 2-4/10"), Some("bytes=2-4")));
}
