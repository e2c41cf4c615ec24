//! Streams: every part of a response reaches the client when it comes, encoded or not, and tunnels stay open.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use genkan_routing::model::Filter;
use genkan_routing::policy::compression::Compression;
use http::Response;
use hyper::body::Frame;
use kit::backend::{frames, read_head};
use kit::client::full;
use kit::model::rule;
use kit::{Backend, Running, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// A backend that answers one request with `content_type` and the chunks that the test sends.
async fn chunked(content_type: &'static str) -> (Backend, mpsc::Sender<Frame<Bytes>>) {
    let (sender, receiver) = mpsc::channel(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let backend = Backend::http1(move |_| {
        let receiver = receiver.lock().unwrap().take().unwrap();
        async move { Response::builder().header("content-type", content_type).body(frames(receiver)).unwrap() }
    })
    .await;
    (backend, sender)
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

fn gunzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn events_reach_the_client_one_by_one() {
    let (backend, events) = chunked("text/event-stream").await;
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a")));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(client.head().await.0, 200);
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        events.send(data(event)).await.unwrap();
        assert_eq!(client.chunk().await, event.as_bytes());
    }
    drop(events);
    assert_eq!(client.chunk().await, b"");
}

#[tokio::test]
async fn a_slow_body_of_known_length_reaches_the_client_part_by_part() {
    let (sender, receiver) = mpsc::channel(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let backend = Backend::http1(move |_| {
        let receiver = receiver.lock().unwrap().take().unwrap();
        async move { Response::builder().header("content-length", "6").body(frames(receiver)).unwrap() }
    })
    .await;
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a")));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(client.head().await.0, 200);
    for part in ["one", "two"] {
        sender.send(data(part)).await.unwrap();
        assert_eq!(client.bytes(3).await, part.as_bytes());
    }
}

#[tokio::test]
async fn encoded_events_reach_the_client_one_by_one() {
    let policy = Compression { types: genkan_routing::policy::compression::MediaTypes::All, ..Compression::default() };
    let (backend, events) = chunked("text/event-stream").await;
    let compressed = rule("/").to("a").filter(Filter::Compression(Arc::new(policy)));
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(compressed));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n").await;
    let (_, head) = client.head().await;
    assert!(head.to_lowercase().contains("content-encoding: gzip"), "{head}");
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        events.send(data(event)).await.unwrap();
        let mut chunk = client.chunk().await;
        loop {
            std::io::Write::write_all(&mut decoder, &chunk).unwrap();
            std::io::Write::flush(&mut decoder).unwrap();
            if decoder.get_ref().ends_with(event.as_bytes()) {
                break;
            }
            chunk = client.chunk().await;
        }
    }
    drop(events);
    while !client.chunk().await.is_empty() {}
}

#[tokio::test]
async fn a_body_of_known_length_is_encoded_in_chunks() {
    let backend = Backend::http1(|_| async {
        Response::builder().header("content-type", "text/html").body(full("<p>hello</p>".repeat(100))).unwrap()
    })
    .await;
    let compressed = rule("/").to("a").filter(Filter::Compression(Arc::default()));
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(compressed));
    let mut client = running.connect().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!((answer.field("content-encoding"), answer.field("content-length")), (Some("gzip"), None));
        assert_eq!(gunzip(&answer.body), "<p>hello</p>".repeat(100));
    }
    let plain = client.get("/").await;
    assert_eq!((plain.field("content-encoding"), plain.body.len()), (None, 1200));
}

#[tokio::test]
async fn a_web_socket_carries_both_directions() {
    let backend = Backend::raw(|mut stream| async move {
        let head = read_head(&mut stream).await.to_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nwelcome";
        let _ = stream.write_all(switch).await;
        let mut buffer = [0; 64];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            let _ = stream.write_all(&buffer[..length].to_ascii_uppercase()).await;
        }
    })
    .await;
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a")));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let (status, head) = client.head().await;
    assert_eq!(status, 101);
    assert!(head.to_lowercase().contains("upgrade: websocket"), "{head}");
    assert_eq!(client.bytes(7).await, b"welcome");
    for _ in 0..3 {
        client.send("ping").await;
        assert_eq!(client.bytes(4).await, b"PING");
    }
}

#[tokio::test]
async fn a_tunnel_ends_when_neither_side_speaks() {
    let backend =
        Backend::bytes(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n").await;
    let idle = rule("/").to("a").timeouts(|timeouts| timeouts.read = Duration::from_millis(200));
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(idle));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").await;
    assert_eq!(client.head().await.0, 101);
    client.closed().await;
}

#[tokio::test]
async fn a_tunnel_lives_while_one_side_speaks() {
    let backend = Backend::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ =
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n").await;
        let mut received = [0; 10];
        if stream.read_exact(&mut received).await.is_ok() {
            let _ = stream.write_all(b"heard").await;
        }
    })
    .await;
    let idle = rule("/").to("a").timeouts(|timeouts| timeouts.read = Duration::from_millis(500));
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(idle));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").await;
    assert_eq!(client.head().await.0, 101);
    // The endpoint is silent for twice the limit, the client never for long.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.send("x").await;
    }
    assert_eq!(client.bytes(5).await, b"heard");
}

#[tokio::test]
async fn an_upgrade_to_http_is_not_forwarded() {
    let backend = Backend::echo().await;
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a")));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    assert!(!answer.text().contains("upgrade") && !answer.text().contains("http2-settings"), "{}", answer.text());
}
