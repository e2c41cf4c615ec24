//! Connections while the proxy serves: reuse, requests sent ahead, publishing under way, draining.

mod kit;

use std::sync::Arc;
use std::time::Duration;

use genkan_proxy::config::ProxyConfig;
use http::Request;
use hyper::Response;
use kit::backend::Backend;
use kit::client::{self, Client, full};
use kit::model::{Site, rule};
use kit::running::Running;
use tokio::sync::Notify;

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// A backend that tells when a request has arrived, and answers when it may.
async fn held() -> (Backend, Arc<Notify>, Arc<Notify>) {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&arrived), Arc::clone(&go));
    let backend = Backend::http1(move |_| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            tell.notify_one();
            wait.notified().await;
            Response::new(full("late"))
        }
    })
    .await;
    (backend, arrived, go)
}

fn site(backend: &Backend) -> Site {
    Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a"))
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let backend = Backend::echo().await;
    let running = Running::start(site(&backend));
    let mut client = running.connect().await;
    let post = "POST /body HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    client.send(format!("{GET}{post}{GET}")).await;
    assert!(client.answer().await.text().starts_with("GET / "));
    let second = client.answer().await.text();
    assert!(second.starts_with("POST /body ") && second.ends_with("abc"), "{second}");
    assert!(client.answer().await.text().starts_with("GET / "));
}

#[tokio::test]
async fn an_ambiguous_request_after_a_good_one_never_reaches_the_backend() {
    let backend = Backend::echo().await;
    let running = Running::start(site(&backend));
    let mut client = running.connect().await;
    client.send(format!("{GET}GET /smuggled HTTP/1.1\r\nHost: test\r\nHost: other\r\n\r\n{GET}")).await;
    assert_eq!(client.answer().await.status, 200);
    let refused = client.answer().await;
    assert_eq!((refused.status, refused.field("connection")), (400, Some("close")));
    assert_eq!(backend.requests(), 1);
}

#[tokio::test]
async fn a_kept_connection_sees_what_was_published_since() {
    let (one, two) = (Backend::named("one").await, Backend::named("two").await);
    let running = Running::start(site(&one));
    let mut client = running.connect().await;
    assert_eq!(client.get("/").await.text(), "one");
    let published = running.proxy.publish(site(&two).snapshot());
    assert_eq!(published.bound[0].1, running.address);
    assert_eq!(client.get("/").await.text(), "two");
}

#[tokio::test]
async fn idle_connections_end_by_keep_alive() {
    let backend = Backend::echo().await;
    let short = site(&backend).settings(|settings| settings.client.keep_alive = Duration::from_millis(100));
    let running = Running::start(short);
    let mut client = running.connect().await;
    assert_eq!(client.get("/").await.status, 200);
    client.closed().await;
    let mut http2 = client::h2(running.address).await;
    let request = Request::get("http://test/").body(full("")).unwrap();
    assert_eq!(http2.send_request(request).await.unwrap().status(), 200);
    while !http2.is_closed() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_drain_lets_running_requests_end_and_closes_idle_connections() {
    let (backend, arrived, go) = held().await;
    let quick = Backend::echo().await;
    let running = Running::start(site(&backend).cluster("q", &[quick.address]).rule(rule("/quick").to("q")));
    let mut idle = running.connect().await;
    idle.send(GET).await;
    arrived.notified().await;
    go.notify_one();
    assert_eq!(idle.answer().await.text(), "late");
    let mut busy = running.connect().await;
    busy.send(GET).await;
    arrived.notified().await;
    let clients = async {
        // Closed while the other request still runs.
        idle.closed().await;
        go.notify_one();
        busy.answer().await
    };
    let (cut, answer) = tokio::join!(running.proxy.drain(), clients);
    assert_eq!((cut, answer.text().as_str()), (0, "late"));
    busy.closed().await;
    assert_eq!(running.proxy.active_connections(), 0);
}

#[tokio::test]
async fn a_drain_says_how_many_it_cut_off() {
    let (backend, arrived, _go) = held().await;
    let soon = |config: &mut ProxyConfig| config.drain_timeout = Some(Duration::from_millis(50));
    let running = Running::start_with(site(&backend), soon);
    let mut client = Client::connect(running.address).await;
    client.send(GET).await;
    arrived.notified().await;
    assert_eq!(running.proxy.drain().await, 1);
    drop(running);
    client.closed().await;
}

#[tokio::test]
async fn connections_are_still_served_during_the_delay_of_a_drain() {
    let backend = Backend::echo().await;
    let delay = |config: &mut ProxyConfig| config.drain_delay = Duration::from_secs(4);
    let running = Running::start_with(site(&backend), delay);
    let mut drain = std::pin::pin!(running.proxy.drain());
    tokio::select! {
        biased;
        _ = &mut drain => panic!("the delay is not over"),
        answer = running.get("/") => assert_eq!(answer.status, 200),
    }
    assert_eq!(drain.await, 0);
    assert!(tokio::net::TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once_and_taken_again_when_there_is_room() {
    let backend = Backend::named("a").await;
    let running = Running::start(site(&backend).settings(|settings| settings.client.max_connections = 2));
    let (mut first, mut second) = (running.connect().await, running.connect().await);
    assert_eq!((first.get("/").await.status, second.get("/").await.status), (200, 200));
    for _ in 0..3 {
        let mut third = running.connect().await;
        // It may be closed before the request is sent.
        third.try_send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
        third.closed().await;
    }
    assert_eq!(first.get("/").await.status, 200, "those inside go on");
    drop(first);
    // The proxy sees the end a moment later.
    let answer = loop {
        let mut next = running.connect().await;
        next.try_send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await;
        let answer = String::from_utf8(next.rest().await).unwrap();
        if !answer.is_empty() {
            break answer;
        }
    };
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(second.get("/").await.status, 200);
    let text = running.proxy.metrics().encode();
    let total = |state: &str| {
        let state = format!("state=\"{state}\"");
        let mut lines = text.lines().filter(|line| line.contains("nginx_process_connections_total{"));
        let line = lines.find(|line| line.contains(&state)).unwrap_or_else(|| panic!("{text}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(total("accepted") >= total("handled") + 3.0, "{text}");
}

#[tokio::test]
async fn an_old_table_is_freed_when_its_last_request_ends() {
    let (slow, arrived, go) = held().await;
    let fast = Backend::echo().await;
    let running = Running::start(site(&fast));
    let old = site(&slow).snapshot();
    let watched = Arc::downgrade(&old);
    running.proxy.publish(old);
    let mut client = running.connect().await;
    client.send(GET).await;
    arrived.notified().await;
    running.proxy.publish(site(&fast).snapshot());
    assert_eq!(running.get("/").await.status, 200);
    assert!(watched.upgrade().is_some(), "the request still needs it");
    go.notify_one();
    assert_eq!(client.answer().await.text(), "late");
    // The answer is there a moment before the request is over.
    while watched.upgrade().is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.get("/").await.status, 200, "the connection lives on");
}
