//! Where messages begin and end, and what may be in their heads: the cases in which two programs could disagree.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use kit::backend::read_head;
use kit::model::rule;
use kit::{Backend, Running, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn site(backend: &Backend) -> Site {
    Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a"))
}

/// A backend that answers the first request of every connection with these bytes, and closes.
async fn answering(bytes: &'static str) -> Backend {
    Backend::raw(move |mut stream| async move {
        read_head(&mut stream).await;
        // The proxy may have hung up already.
        let _ = stream.write_all(bytes.as_bytes()).await;
    })
    .await
}

#[tokio::test]
async fn a_connection_stays_usable_when_the_offered_upgrade_is_not_taken() {
    let backend = Backend::echo().await;
    let running = Running::start(site(&backend));
    for protocol in ["h2c", "foo"] {
        let mut client = running.connect().await;
        let offer = format!("GET /a HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");
        assert_eq!(client.send(&offer).await.answer().await.status, 200);
        assert_eq!(client.get("/b").await.status, 200, "{protocol}: the next request");
        client.send(format!("{offer}GET /c HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, 200);
        assert!(client.answer().await.text().starts_with("GET /c"), "{protocol}: a request sent ahead");
    }
}

#[tokio::test]
async fn what_is_sent_ahead_of_a_switch_reaches_the_backend_after_it() {
    let backend = Backend::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n";
        stream.write_all(switch).await.unwrap();
        let mut early = [0; 5];
        stream.read_exact(&mut early).await.unwrap();
        stream.write_all(&early).await.unwrap();
    })
    .await;
    let running = Running::start(site(&backend));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\nearly").await;
    assert_eq!(client.head().await.0, 101);
    assert_eq!(client.rest().await, b"early");
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_an_invalid_response() {
    let backend = answering("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nx").await;
    assert_eq!(Running::start(site(&backend)).get("/").await.status, 502);
}

#[tokio::test]
async fn the_version_of_a_response_is_that_of_the_clients_connection() {
    let backend = answering("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let answer = Running::start(site(&backend)).get("/").await;
    assert!(answer.head.starts_with("HTTP/1.1 200"), "{}", answer.head);
}

#[tokio::test]
async fn a_response_without_length_closes_an_http_1_0_connection_and_says_so() {
    let backend = answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    let running = Running::start(site(&backend));
    let mut client = running.connect().await;
    let answer = client.send("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n").await.answer().await;
    assert_eq!((answer.field("connection"), answer.field("transfer-encoding")), (Some("close"), None));
    assert_eq!(answer.text(), "ok");
}

#[tokio::test]
async fn continue_is_said_once_and_the_connection_is_kept() {
    let backend = Backend::raw(|mut stream| async move {
        loop {
            read_head(&mut stream).await;
            let mut body = [0; 2];
            if stream.read_exact(&mut body).await.is_err() {
                return;
            }
            let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let running = Running::start(site(&backend));
    let mut client = running.connect().await;
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").await;
        assert_eq!(client.head().await.0, 100);
        let answer = client.send("hi").await.answer().await;
        assert_eq!((answer.status, answer.field("connection")), (200, Some("keep-alive")));
    }
}

#[tokio::test]
async fn malformed_chunks_are_answered_with_400() {
    let backend = Backend::echo().await;
    let running = Running::start(site(&backend));
    for chunks in ["zz\r\n", "3\r\nabcX\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n"] {
        let mut client = running.connect().await;
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")).await;
        assert_eq!(client.answer().await.status, 400, "{chunks:?}");
    }
}

#[tokio::test]
async fn a_client_that_stops_sending_its_body_gets_408() {
    let backend = Backend::echo().await;
    let short = site(&backend).settings(|settings| settings.client.body_timeout = std::time::Duration::from_millis(50));
    let running = Running::start(short);
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nab").await;
    assert_eq!(client.answer().await.status, 408);
}

#[tokio::test]
async fn backends_do_not_see_names_with_an_underscore_unless_that_is_wanted() {
    let backend = Backend::echo().await;
    let request = "GET / HTTP/1.1\r\nHost: test\r\nX_Real_IP: 10.0.0.1\r\n\r\n";
    let running = Running::start(site(&backend));
    let seen = running.connect().await.send(request).await.answer().await.text().to_lowercase();
    assert!(!seen.contains("x_real_ip") && seen.contains("x-real-ip"), "{seen}");
    let running = Running::start(site(&backend).settings(|settings| settings.client.underscores_in_headers = true));
    let seen = running.connect().await.send(request).await.answer().await.text().to_lowercase();
    assert!(seen.contains("x_real_ip"), "{seen}");
}

#[tokio::test]
async fn methods_and_targets_for_other_proxies_are_refused_and_logged() {
    let backend = Backend::echo().await;
    let running = Running::start(site(&backend));
    for (line, status) in [("CONNECT test:80", 405), ("TRACE /", 405), ("GET http://other/", 400)] {
        let mut client = running.connect().await;
        let answer = client.send(format!("{line} HTTP/1.1\r\nHost: test\r\n\r\n")).await.answer().await;
        assert_eq!((answer.status, answer.field("server")), (status, None), "{line}");
        assert!(running.log_line().contains(&format!(" {status} ")), "{line}");
    }
    assert_eq!(backend.requests(), 0);
}
