//! Buffering of requests: bodies are whole before anybody is asked.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use genkan_routing::model::Filter;
use genkan_routing::policy::body_limit::BodyLimit;
use genkan_routing::policy::buffering::Otherwise;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use kit::backend::{frames, read_head};
use kit::buffering::{MIB, bytes, requests, responses, site, until_free, until_held};
use kit::client::{Body, full, h2};
use kit::model::{RuleBuilder, rule};
use kit::{Backend, Running, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

fn h2_site(endpoints: &[std::net::SocketAddr], change: impl FnOnce(RuleBuilder) -> RuleBuilder) -> Site {
    Site::new().h2c_cluster("a", endpoints).rule(change(rule("/").to("a")))
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
    let running = Running::start_with(site, |config| config.buffer_memory = 200_000);
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
