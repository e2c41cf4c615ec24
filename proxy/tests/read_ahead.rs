//! Buffering of responses: backends are free before slow clients are served.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kit::backend::{frames, read_head};
use kit::buffering::{MIB, bytes, responses, site, until_free, until_held};
use kit::client::{Client, PATIENCE, full, h2};
use kit::{Backend, Running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// A backend of one large response for each request, and how many it has given away as a whole.
async fn large(length: usize, fields: &'static str) -> (Backend, Arc<AtomicUsize>) {
    let given = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&given);
    let backend = Backend::raw(move |mut stream| {
        let given = Arc::clone(&counted);
        async move {
            loop {
                let head = read_head(&mut stream).await;
                if !head.ends_with("\r\n\r\n") {
                    return;
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{fields}\r\n");
                if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&bytes(length)).await.is_err() {
                    return;
                }
                given.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    (backend, given)
}

/// More than the sockets between backend, proxy and client hold.
const LARGE: usize = 32 * MIB;

async fn until(count: &AtomicUsize, wanted: usize) {
    let reached = async {
        while count.load(Ordering::SeqCst) < wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("the backend is free");
}

#[tokio::test]
async fn a_backend_is_free_while_its_client_has_not_read_a_byte() {
    let (backend, given) = large(LARGE, "").await;
    let running = Running::start(site(&[backend.address], responses(2 * LARGE)));
    let mut slow = running.connect().await;
    slow.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    until(&given, 1).await;
    // It serves others meanwhile.
    let mut other = running.connect().await;
    assert_eq!(other.get("/").await.body.len(), LARGE);
    assert!(running.proxy.metrics().buffering.held() > 0);
    let answer = slow.answer().await;
    assert!(answer.body == bytes(LARGE));
    until_free(&running).await;
    assert_eq!(slow.get("/").await.body.len(), LARGE, "the client's connection is kept");
}

#[tokio::test]
async fn clients_of_http2_are_read_ahead_for_as_well() {
    let (backend, given) = large(LARGE, "").await;
    let running = Running::start(site(&[backend.address], responses(2 * LARGE)));
    let mut sender = h2(running.address).await;
    let get = || Request::get("http://test/").body(full("")).unwrap();
    let slow = sender.send_request(get()).await.unwrap();
    until(&given, 1).await;
    let body = slow.into_body().collect().await.unwrap().to_bytes();
    assert!(*body == *bytes(LARGE));
    until_free(&running).await;
    let again = sender.send_request(get()).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(again.len(), LARGE);
}

#[tokio::test]
async fn no_more_is_held_than_may_be() {
    for (max_size, memory) in [(MIB, usize::MAX), (LARGE, MIB)] {
        let (backend, given) = large(LARGE, "").await;
        let site = site(&[backend.address], responses(max_size));
        let running = Running::start_with(site, |config| config.buffer_memory = memory);
        let mut client = running.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
        let (status, _) = client.head().await;
        let mut read = Vec::new();
        while read.len() < LARGE {
            assert!(running.proxy.metrics().buffering.held() <= MIB);
            let next = (LARGE - read.len()).min(MIB);
            read.extend(client.bytes(next).await);
        }
        assert!(status == 200 && read == bytes(LARGE));
        until(&given, 1).await;
        until_free(&running).await;
    }
}

#[tokio::test]
async fn what_comes_byte_by_byte_is_whole_and_no_more_than_may_be() {
    const CHUNKS: usize = 20_000;
    const SOME: usize = 64 << 10;
    let backend = Backend::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let body = b"1\r\nx\r\n".repeat(CHUNKS);
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let running = Running::start(site(&[backend.address], responses(SOME)));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(client.head().await.0, 200);
    let mut read = 0;
    loop {
        let chunk = client.chunk().await;
        if chunk.is_empty() {
            break;
        }
        read += chunk.len();
        assert!(running.proxy.metrics().buffering.held() <= SOME);
    }
    assert_eq!(read, CHUNKS);
    until_free(&running).await;
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_memory_back() {
    let (backend, given) = large(LARGE, "").await;
    let running = Running::start(site(&[backend.address], responses(2 * LARGE)));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    until(&given, 1).await;
    assert!(running.proxy.metrics().buffering.held() > 0);
    drop(client);
    until_free(&running).await;
    assert!(running.log_line().contains(" 200 "), "its head was on its way");
}

#[tokio::test]
async fn the_time_of_a_request_ends_a_response_that_its_client_does_not_read() {
    const TIME: Duration = Duration::from_secs(1);
    // In large parts and in small ones, which are gathered: some always wait for the client then.
    let small = Backend::http1(|_| async {
        let parts = futures::stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[b'x'; 1000]))));
        Response::new(BodyExt::boxed(StreamBody::new(parts)))
    })
    .await;
    let (large, _) = large(LARGE, "").await;
    for (backend, max_size) in [(&large, 2 * LARGE), (&large, MIB), (&small, MIB)] {
        let change = |rule| responses(max_size)(rule).timeouts(|timeouts| timeouts.request = Some(TIME));
        let running = Running::start(site(&[backend.address], change));
        let mut client = running.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
        until_held(&running, 1).await;
        until_free(&running).await;
        assert!(running.log_line().contains(" 200 "), "its head was on its way");
        assert_eq!(client.head().await.0, 200);
        assert!(client.rest().await.len() < LARGE);
        let mut sender = h2(running.address).await;
        let answer = sender.send_request(Request::get("http://test/").body(full("")).unwrap()).await.unwrap();
        until_held(&running, 1).await;
        until_free(&running).await;
        assert!(running.log_line().contains(" 200 "));
        assert!(answer.into_body().collect().await.is_err());
    }
}

#[tokio::test]
async fn what_the_backend_wants_streamed_is_not_held() {
    for fields in ["X-Accel-Buffering: no\r\n", "Content-Type: text/event-stream\r\n"] {
        let (backend, given) = large(LARGE, fields).await;
        let running = Running::start(site(&[backend.address], responses(2 * LARGE)));
        let mut client = running.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
        assert_eq!(client.head().await.0, 200);
        assert_eq!(running.proxy.metrics().buffering.held(), 0);
        let body = client.bytes(LARGE).await;
        assert!(body == bytes(LARGE));
        until(&given, 1).await;
        assert!(!running.proxy.metrics().encode().contains("genkan_buffered_bytes 1"));
    }
}

#[tokio::test]
async fn every_part_comes_as_soon_as_the_backend_sends_it() {
    let (parts, body) = mpsc::channel(1);
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let backend = Backend::http1(move |_| {
        let body = body.lock().unwrap().take().map_or_else(|| full(""), frames);
        async move { Response::new(body) }
    })
    .await;
    let running = Running::start(site(&[backend.address], responses(MIB)));
    let mut client = Client::connect(running.address).await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(client.head().await.0, 200);
    for part in ["one", "two", "three"] {
        parts.send(Frame::data(Bytes::from_static(part.as_bytes()))).await.unwrap();
        assert_eq!(client.chunk().await, part.as_bytes());
    }
    drop(parts);
    assert_eq!(client.chunk().await, b"");
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn a_response_that_breaks_off_does_not_look_whole() {
    let backend = Backend::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        stream.write_all(head).await.unwrap();
    })
    .await;
    let running = Running::start(site(&[backend.address], responses(MIB)));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(client.head().await.0, 200);
    assert_eq!(client.chunk().await, b"hello");
    client.closed().await;
    let mut sender = h2(running.address).await;
    let answer = sender.send_request(Request::get("http://test/").body(full("")).unwrap()).await.unwrap();
    assert!(answer.into_body().collect().await.is_err());
    until_free(&running).await;
}
