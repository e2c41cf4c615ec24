//! Buffering: bodies of requests are whole before anybody is asked, and backends are free before slow clients are served.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use genkan_routing::model::Filter;
use genkan_routing::policy::body_limit::BodyLimit;
use genkan_routing::policy::buffering::{Otherwise, RequestBuffering, ResponseBuffering};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use kit::backend::{frames, read_head};
use kit::client::{Body, Client, PATIENCE, full, h2};
use kit::model::{RuleBuilder, rule};
use kit::{Backend, Running, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

const MIB: usize = 1 << 20;

fn requests(max_size: usize, otherwise: Otherwise) -> impl FnOnce(RuleBuilder) -> RuleBuilder {
    let request = Some(RequestBuffering { max_size: max_size as u64, otherwise });
    move |rule| rule.forward(|forward| forward.buffering.get_or_insert_default().request = request)
}

fn responses(max_size: usize) -> impl FnOnce(RuleBuilder) -> RuleBuilder {
    let response = Some(ResponseBuffering { max_size: max_size as u64 });
    move |rule| rule.forward(|forward| forward.buffering.get_or_insert_default().response = response)
}

fn site(endpoints: &[std::net::SocketAddr], change: impl FnOnce(RuleBuilder) -> RuleBuilder) -> Site {
    Site::new().cluster("a", endpoints).rule(change(rule("/").to("a")))
}

fn h2_site(endpoints: &[std::net::SocketAddr], change: impl FnOnce(RuleBuilder) -> RuleBuilder) -> Site {
    Site::new().h2c_cluster("a", endpoints).rule(change(rule("/").to("a")))
}

/// Bytes that tell their place.
fn bytes(length: usize) -> Vec<u8> {
    let cycle: Vec<u8> = (0..7 * 251).map(|at| (at / 7) as u8).collect();
    let mut bytes = cycle.repeat(length / cycle.len() + 1);
    bytes.truncate(length);
    bytes
}

/// Tells how long the body is, how the head announced it, and the sum of its bytes.
async fn measure(request: Request<Incoming>) -> Response<Body> {
    let announced = request.headers().get("content-length").map(|value| value.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    Response::new(full(format!("{} {:?} {}", body.len(), announced, sum(&body))))
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().enumerate().map(|(at, byte)| (at as u64 + 1) * u64::from(*byte)).sum()
}

fn measured(body: &[u8], announced: Option<usize>) -> String {
    format!("{} {:?} {}", body.len(), announced.map(|length| length.to_string()), sum(body))
}

fn post(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n")
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunks(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for chunk in body.chunks(10_000) {
        text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        text.extend_from_slice(chunk);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"0\r\n\r\n");
    text
}

/// Waits until nothing is held.
async fn until_free(running: &Running) {
    let free = async {
        while running.proxy.metrics().buffering.held() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("memory is given back");
}

async fn until_held(running: &Running, bytes: usize) {
    let held = async {
        while running.proxy.metrics().buffering.held() < bytes {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.expect("it is held");
}

#[tokio::test]
async fn a_backend_sees_nothing_of_a_request_before_all_of_it_is_there() {
    let backend = Backend::http1(measure).await;
    let running = Running::start(site(&[backend.address], requests(MIB, Otherwise::Refuse)));
    let body = bytes(300_000);
    let mut slow = running.connect().await;
    slow.send(post(body.len())).await.send(&body[..200_000]).await;
    until_held(&running, 200_000).await;
    assert_eq!((backend.connections(), backend.requests()), (0, 0));
    let mut quick = running.connect().await;
    quick.send(post(3)).await.send("abc").await;
    assert_eq!(quick.answer().await.text(), measured(b"abc", Some(3)));
    slow.send(&body[200_000..]).await;
    assert_eq!(slow.answer().await.text(), measured(&body, Some(body.len())));
    until_free(&running).await;
    // The connection is as good as new.
    slow.send(post(3)).await.send("abc").await;
    assert_eq!(slow.answer().await.text(), measured(b"abc", Some(3)));
    assert_eq!(backend.requests(), 3);
}

#[tokio::test]
async fn a_body_without_a_length_gets_one() {
    let backend = Backend::http1(measure).await;
    let running = Running::start(site(&[backend.address], requests(MIB, Otherwise::Refuse)));
    let mut client = running.connect().await;
    for length in [0, 1, 65_536, 500_000] {
        let body = bytes(length);
        client.send(CHUNKED).await.send(chunks(&body)).await;
        assert_eq!(client.answer().await.text(), measured(&body, Some(length)), "{length}");
    }
    assert_eq!(client.get("/").await.text(), measured(b"", None));
    until_free(&running).await;
}

#[tokio::test]
async fn bodies_pass_between_all_versions() {
    let (one, two) = (Backend::http1(measure).await, Backend::h2c(measure).await);
    for (running, version) in [
        (Running::start(site(&[one.address], requests(MIB, Otherwise::Refuse))), 1),
        (Running::start(h2_site(&[two.address], requests(MIB, Otherwise::Refuse))), 2),
    ] {
        let mut sender = h2(running.address).await;
        let mut client = running.connect().await;
        for length in [0, 5, 400_000] {
            let body = bytes(length);
            client.send(CHUNKED).await.send(chunks(&body)).await;
            assert_eq!(client.answer().await.text(), measured(&body, Some(length)), "{version}: {length}");
            let request = Request::post("http://test/").body(full(body.clone())).unwrap();
            let answer = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
            let length = Some(length).filter(|length| *length > 0);
            let wanted = [measured(&body, length), measured(&body, Some(body.len()))];
            assert!(wanted.iter().any(|wanted| *wanted.as_bytes() == *answer), "{version}: {answer:?}");
        }
        until_free(&running).await;
    }
}

#[tokio::test]
async fn a_client_of_http2_sends_without_holding_a_backend() {
    let backend = Backend::http1(measure).await;
    let running = Running::start(site(&[backend.address], requests(MIB, Otherwise::Refuse)));
    let mut sender = h2(running.address).await;
    let (parts, body) = mpsc::channel(1);
    let request = Request::post("http://test/").body(frames(body)).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    parts.send(Frame::data(Bytes::from(bytes(10_000)))).await.unwrap();
    until_held(&running, 10_000).await;
    assert_eq!(backend.connections(), 0);
    drop(parts);
    let answer = answer.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(*answer, *measured(&bytes(10_000), Some(10_000)).as_bytes());
}

#[tokio::test]
async fn a_large_body_is_sent_again() {
    let cut = Backend::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.read_exact(&mut [0; 100_000]).await;
    })
    .await;
    let failing = Backend::http1(|request: Request<Incoming>| async move {
        let _ = request.into_body().collect().await;
        Response::builder().status(503).body(full("no")).unwrap()
    })
    .await;
    let good = Backend::http1(measure).await;
    let change = |rule: RuleBuilder| {
        requests(MIB, Otherwise::Refuse)(rule).retry(|retry| {
            retry.non_idempotent = true;
            retry.on_status = vec![503];
        })
    };
    let running = Running::start(site(&[cut.address, failing.address, good.address], change));
    let body = bytes(700_000);
    for _ in 0..4 {
        let mut client = running.connect().await;
        client.send(post(body.len())).await.send(&body).await;
        assert_eq!(client.answer().await.text(), measured(&body, Some(body.len())));
    }
    assert_eq!(good.requests(), 4);
    assert!(cut.connections() > 0 && failing.requests() > 0);
    until_free(&running).await;
}

#[tokio::test]
async fn a_body_is_kept_for_another_endpoint_only_where_one_may_get_it() {
    let (sent, mut seen) = mpsc::unbounded_channel();
    let (answer, answers) = mpsc::channel(1);
    let answers = Arc::new(tokio::sync::Mutex::new(answers));
    let backend = Backend::http1(move |request| {
        let (sent, answers) = (sent.clone(), Arc::clone(&answers));
        async move {
            let answer = measure(request).await;
            sent.send(()).unwrap();
            answers.lock().await.recv().await.unwrap();
            answer
        }
    })
    .await;
    let body = bytes(200_000);
    for (method, non_idempotent, tries, kept) in [
        ("POST", false, 3, false),
        ("PATCH", false, 3, false),
        ("POST", true, 3, true),
        ("PUT", false, 3, true),
        ("PUT", false, 1, false),
    ] {
        let change = |rule| {
            requests(MIB, Otherwise::Refuse)(rule).retry(|retry| {
                retry.non_idempotent = non_idempotent;
                retry.tries = tries;
            })
        };
        let running = Running::start(site(&[backend.address], change));
        let mut client = running.connect().await;
        client.send(post(body.len()).replacen("POST", method, 1)).await.send(&body).await;
        seen.recv().await.unwrap();
        if kept {
            assert_eq!(running.proxy.metrics().buffering.held(), body.len(), "{method}");
        } else {
            until_free(&running).await;
        }
        answer.send(()).await.unwrap();
        assert_eq!(client.answer().await.text(), measured(&body, Some(body.len())));
        until_free(&running).await;
    }
}

#[tokio::test]
async fn what_is_too_large_is_413_and_no_backend_is_asked() {
    let backend = Backend::http1(measure).await;
    let running = Running::start(site(&[backend.address], requests(100_000, Otherwise::Refuse)));
    let body = bytes(100_001);
    let mut client = running.connect().await;
    client.send(post(body.len())).await;
    assert_eq!(client.answer().await.status, 413, "announced");
    let mut client = running.connect().await;
    client.send(CHUNKED).await.try_send(chunks(&body)).await;
    assert_eq!(client.answer().await.status, 413, "counted");
    let mut client = running.connect().await;
    client.send(CHUNKED).await.send(chunks(&body[1..])).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(backend.requests(), 1);
    until_free(&running).await;
}

#[tokio::test]
async fn nothing_is_held_of_a_request_that_is_refused_while_the_rest_of_it_comes() {
    let refused = site(&[], requests(100_000, Otherwise::Refuse));
    let empty = site(&[], requests(100_000, Otherwise::Stream));
    let nobody = site(&[Backend::nobody().await], requests(100_000, Otherwise::Stream));
    for (site, status) in [(refused, 413), (empty, 503), (nobody, 502)] {
        let running = Running::start(site);
        let mut client = running.connect().await;
        // Its end does not come.
        let body = chunks(&bytes(200_000));
        client.send(CHUNKED).await.send(&body[..150_000]).await;
        assert_eq!(client.answer().await.status, status);
        assert_eq!(running.proxy.metrics().buffering.held(), 0, "{status}");
    }
}

#[tokio::test]
async fn the_limit_of_bodies_counts_as_well() {
    let backend = Backend::http1(measure).await;
    for otherwise in [Otherwise::Refuse, Otherwise::Stream] {
        let change = |rule| requests(MIB, otherwise)(rule).filter(Filter::BodyLimit(BodyLimit(1000)));
        let running = Running::start(site(&[backend.address], change));
        let mut client = running.connect().await;
        client.send(CHUNKED).await.send(chunks(&bytes(1001))).await;
        assert_eq!(client.answer().await.status, 413);
        let mut client = running.connect().await;
        client.send(CHUNKED).await.send(chunks(&bytes(1000))).await;
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(backend.requests(), 2);
}

#[tokio::test]
async fn a_large_body_is_streamed_where_that_is_said() {
    let (started, mut seen) = mpsc::unbounded_channel();
    let backend = Backend::http1(move |request| {
        started.send(()).unwrap();
        measure(request)
    })
    .await;
    let running = Running::start(site(&[backend.address], requests(100_000, Otherwise::Stream)));
    let body = bytes(400_000);
    // Announced, and counted: what was read of it comes first.
    let text = chunks(&body);
    for (head, text, announced) in [(post(body.len()), &body, Some(body.len())), (CHUNKED.to_owned(), &text, None)] {
        let mut client = running.connect().await;
        client.send(head).await.send(&text[..200_000]).await;
        seen.recv().await.unwrap();
        client.send(&text[200_000..]).await;
        assert_eq!(client.answer().await.text(), measured(&body, announced));
    }
    until_free(&running).await;
}

#[tokio::test]
async fn without_memory_a_request_is_503_or_streamed() {
    let backend = Backend::http1(measure).await;
    let rules = |site: Site| {
        site.rule(requests(MIB, Otherwise::Refuse)(rule("/refuse").to("a")))
            .rule(requests(MIB, Otherwise::Stream)(rule("/stream").to("a")))
            .rule(requests(MIB, Otherwise::Refuse)(rule("/other").namespace("other").to("a")))
    };
    let site = rules(Site::new().cluster("a", &[backend.address]));
    let running = Running::start_with(site, |config| config.buffer_memory = 400_000);
    let body = bytes(60_000);
    let to = |path: &str| post(body.len()).replacen('/', path, 1);
    let mut first = running.connect().await;
    first.send(to("/refuse")).await.send(&body[..50_000]).await;
    until_held(&running, 50_000).await;
    let mut second = running.connect().await;
    second.send(to("/refuse")).await.try_send(&body).await;
    assert_eq!(second.answer().await.status, 503);
    let mut third = running.connect().await;
    third.send(to("/stream")).await.send(&body).await;
    assert_eq!(third.answer().await.text(), measured(&body, Some(body.len())));
    let mut other = running.connect().await;
    other.send(to("/other")).await.send(&body).await;
    assert_eq!(other.answer().await.text(), measured(&body, Some(body.len())), "another namespace has its own");
    first.send(&body[50_000..]).await;
    assert_eq!(first.answer().await.status, 200, "whoever has memory keeps it");
    until_free(&running).await;
    assert!(running.proxy.metrics().encode().contains("genkan_buffers_exhausted_total"));
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_is_408_on_both_versions() {
    let backend = Backend::http1(measure).await;
    let site = site(&[backend.address], requests(MIB, Otherwise::Refuse));
    let site = site.settings(|settings| settings.client.body_timeout = Duration::from_millis(100));
    let running = Running::start(site);
    let mut client = running.connect().await;
    client.send(post(10)).await.send("abc").await;
    assert_eq!(client.answer().await.status, 408);
    let mut sender = h2(running.address).await;
    let (parts, body) = mpsc::channel(1);
    parts.send(Frame::data(Bytes::from_static(b"abc"))).await.unwrap();
    let request = Request::post("http://test/").body(frames(body)).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 408);
    assert_eq!(backend.connections(), 0);
    until_free(&running).await;
}

#[tokio::test]
async fn a_client_that_asks_is_told_to_continue_before_the_backend_is_asked() {
    let backend = Backend::http1(measure).await;
    let running = Running::start(site(&[backend.address], requests(MIB, Otherwise::Refuse)));
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.head().await.0, 100);
    assert_eq!(backend.connections(), 0);
    client.send("abc").await;
    assert_eq!(client.answer().await.text(), measured(b"abc", Some(3)));
    client.send(format!("{}x", post(1))).await;
    assert_eq!(client.answer().await.status, 200, "the connection is kept");
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 413);
}

#[tokio::test]
async fn an_endpoint_that_answers_early_gets_the_rest() {
    // It says what it read only once it has all of it, and its head at once.
    let backend = Backend::raw(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ").or(line.strip_prefix("Content-Length: ")))
            .unwrap()
            .parse()
            .unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await.unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(if body == bytes(length) { b"good" } else { b"bad!" }).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let running = Running::start(site(&[backend.address], requests(8 * MIB, Otherwise::Refuse)));
    let body = bytes(8 * MIB);
    let mut client = running.connect().await;
    client.send(post(body.len())).await.send(&body).await;
    assert_eq!(client.answer().await.text(), "good");
    until_free(&running).await;
}

#[tokio::test]
async fn calls_of_grpc_and_upgrades_are_not_held() {
    let (started, mut seen) = mpsc::unbounded_channel();
    let backend = Backend::h2c(move |request| {
        started.send(()).unwrap();
        measure(request)
    })
    .await;
    let running = Running::start(h2_site(&[backend.address], requests(MIB, Otherwise::Refuse)));
    let mut sender = h2(running.address).await;
    let (parts, body) = mpsc::channel(1);
    let request = Request::post("http://test/").header("content-type", "application/grpc").body(frames(body)).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    // While its body is open.
    seen.recv().await.unwrap();
    drop(parts);
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    let echo = Backend::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: word\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut word = [0; 4];
        while stream.read_exact(&mut word).await.is_ok() {
            stream.write_all(&word).await.unwrap();
        }
    })
    .await;
    let both = |rule| responses(MIB)(requests(MIB, Otherwise::Refuse)(rule));
    let running = Running::start(site(&[echo.address], both));
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: word\r\n\r\n").await;
    assert_eq!(client.head().await.0, 101);
    for word in [b"ping", b"pong"] {
        assert_eq!(client.send(word).await.bytes(4).await, word);
    }
}

#[tokio::test]
async fn no_client_gets_around_it_by_what_it_says() {
    let (one, two) = (Backend::http1(kit::backend::echo).await, Backend::h2c(measure).await);
    let running = Running::start(site(&[one.address], requests(1000, Otherwise::Refuse)));
    let call = "Content-Type: application/grpc\r\n";
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    for fields in [call, upgrade] {
        for (length, status) in [(1001, 413), (1000, 200)] {
            let mut client = running.connect().await;
            let head = CHUNKED.replacen("\r\n\r\n", &format!("\r\n{fields}\r\n"), 1);
            client.send(head).await.send(chunks(&[b'x'; 1001][..length])).await;
            let answer = client.answer().await;
            let grpc = answer.field("grpc-status").is_some_and(|status| status == "8");
            assert_eq!(if grpc { 413 } else { answer.status }, status, "{fields}");
            if status == 200 {
                assert!(answer.text().contains("content-length: 1000\n"), "{}", answer.text());
                assert!(!answer.text().contains("upgrade"), "{}", answer.text());
            }
        }
    }
    assert_eq!(one.requests(), 2);
    // Over HTTP/2 it is a call where the backend can take one.
    let h2_running = Running::start(h2_site(&[two.address], requests(1000, Otherwise::Refuse)));
    for (running, refused) in [(&running, true), (&h2_running, false)] {
        let mut sender = h2(running.address).await;
        let request = Request::post("http://test/").header("content-type", "application/grpc");
        let answer = sender.send_request(request.body(full(bytes(1001))).unwrap()).await.unwrap();
        assert_eq!(answer.headers().get("grpc-status").is_some_and(|status| status == "8"), refused);
    }
    assert_eq!((one.requests(), two.requests()), (2, 1));
}

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
