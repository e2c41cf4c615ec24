//! HTTP/2 on either side: translation to and from HTTP/1, trailers, gRPC.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use kit::backend::{echo, with_trailers};
use kit::client::{full, h2};
use kit::model::rule;
use kit::{Backend, Running, Site};

fn request(path: &str) -> Request<kit::client::Body> {
    Request::builder().uri(format!("http://test{path}")).body(full("")).unwrap()
}

async fn text(response: Response<hyper::body::Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn http2_clients_reach_http1_endpoints() {
    let backend = Backend::echo().await;
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a")));
    let mut client = h2(running.address).await;
    let mut request = request("/x?y");
    *request.method_mut() = http::Method::POST;
    *request.body_mut() = full("body");
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("connection") && !response.headers().contains_key("transfer-encoding"));
    let text = text(response).await;
    assert!(text.starts_with("POST /x?y HTTP/1.1\n"), "{text}");
    assert!(text.contains("host: test\n") && text.ends_with("\n\nbody"), "{text}");
}

#[tokio::test]
async fn http1_clients_reach_http2_endpoints_over_few_connections() {
    let backend = Backend::h2c(echo).await;
    let running = Running::start(Site::new().h2c_cluster("a", &[backend.address]).rule(rule("/").to("a")));
    let mut client = running.connect().await;
    for _ in 0..3 {
        client.send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody").await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().starts_with("POST http://test/x HTTP/2.0\n"), "{}", answer.text());
        assert!(answer.text().ends_with("\n\nbody"), "{}", answer.text());
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn trailers_pass_from_http2_to_http2() {
    let backend = Backend::h2c(|request| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "7".parse().unwrap());
        let body = with_trailers("message", trailers);
        Response::builder().header("content-type", "application/grpc").body(body).unwrap()
    })
    .await;
    let running = Running::start(Site::new().h2c_cluster("a", &[backend.address]).rule(rule("/").to("a")));
    let mut client = h2(running.address).await;
    let mut request = request("/service/Method");
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "7");
    assert_eq!(body.to_bytes(), Bytes::from_static(b"message"));
}

#[tokio::test]
async fn grpc_clients_get_our_failures_as_grpc_statuses() {
    let dead = Backend::nobody().await;
    let site = Site::new().h2c_cluster("dead", &[dead]).cluster("empty", &[]);
    let site = site.rule(rule("/dead").to("dead")).rule(rule("/empty").to("empty")).rule(rule("/invalid").invalid(1));
    let running = Running::start(site);
    let mut client = h2(running.address).await;
    for (path, status) in [("/dead/M", "14"), ("/empty/M", "14"), ("/invalid/M", "14"), ("/nothing/M", "12")] {
        let mut request = request(path);
        *request.method_mut() = http::Method::POST;
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["grpc-status"], status, "{path}");
    }
}

#[tokio::test]
async fn a_rewrite_works_on_both_versions() {
    use genkan_routing::model::Filter;
    use genkan_routing::policy::rewrite::{PathRewrite, Rewrite};
    let backend = Backend::echo().await;
    let rewrite = Rewrite { hostname: None, path: Some(PathRewrite::Prefix("/new".to_owned())) };
    let rewritten = rule("/old").to("a").filter(Filter::Rewrite(rewrite));
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rewritten));
    let response = h2(running.address).await.send_request(request("/old/x?q")).await.unwrap();
    assert!(text(response).await.starts_with("GET /new/x?q HTTP/1.1\n"));
    let answer = running.get("/old/x?q").await;
    assert!(answer.text().starts_with("GET /new/x?q HTTP/1.1\n"), "{}", answer.text());
}

#[tokio::test]
async fn streams_of_one_connection_do_not_wait_for_each_other() {
    let (silent, alive) = (Backend::silent().await, Backend::named("alive").await);
    let site = Site::new().cluster("silent", &[silent.address]).cluster("alive", &[alive.address]);
    let running = Running::start(site.rule(rule("/silent").to("silent")).rule(rule("/").to("alive")));
    let mut client = h2(running.address).await;
    let waiting = client.send_request(request("/silent"));
    let response = client.send_request(request("/")).await.unwrap();
    assert_eq!(text(response).await, "alive");
    drop(waiting);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_while_it_streams() {
    use genkan_routing::model::Filter;
    use genkan_routing::policy::body_limit::BodyLimit;
    let backend = Backend::echo().await;
    let limited = rule("/").to("a").filter(Filter::BodyLimit(BodyLimit(10)));
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(limited));
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut client = h2(running.address).await;
    let mut request = request("/");
    *request.method_mut() = http::Method::POST;
    *request.body_mut() = kit::backend::frames(receiver);
    let response = client.send_request(request);
    sender.send(hyper::body::Frame::data(Bytes::from_static(&[b'x'; 100]))).await.unwrap();
    assert_eq!(response.await.unwrap().status(), 413);
}

#[tokio::test]
async fn our_grpc_statuses_come_with_the_head_that_ends_the_stream() {
    let (dead, closes) = (Backend::nobody().await, Backend::hangs_up().await);
    let site = Site::new().h2c_cluster("dead", &[dead]).cluster("closes", &[closes.address]);
    let site = site.h2c_cluster("none", &[]).rule(rule("/dead").to("dead")).rule(rule("/closes").to("closes"));
    let running = Running::start(site.rule(rule("/none").to("none")));
    let mut client = h2(running.address).await;
    for path in ["/dead", "/closes", "/none"] {
        let mut request = request(path);
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "14", "{path}");
        assert!(hyper::body::Body::is_end_stream(response.body()), "{path}: the head is not the end");
    }
}

#[tokio::test]
async fn cookies_that_http2_splits_reach_http1_endpoints_as_one_field() {
    let backend = Backend::echo().await;
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a")));
    let mut client = h2(running.address).await;
    let mut request = request("/");
    for cookie in ["a=1", "b=2"] {
        request.headers_mut().append("cookie", cookie.parse().unwrap());
    }
    let seen = text(client.send_request(request).await.unwrap()).await;
    assert!(seen.contains("\ncookie: a=1; b=2\n"), "{seen}");
}

#[tokio::test]
async fn heads_over_a_limit_are_refused_as_on_http1() {
    let backend = Backend::echo().await;
    let running = Running::start(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a")));
    let mut client = h2(running.address).await;
    let long_target = request(&format!("/{}", "a".repeat(9000)));
    let mut long_field = request("/");
    long_field.headers_mut().insert("x-long", "a".repeat(9000).parse().unwrap());
    let mut many_fields = request("/");
    for n in 0..150 {
        many_fields.headers_mut().insert(http::HeaderName::try_from(format!("x-{n}")).unwrap(), "1".parse().unwrap());
    }
    let mut trace = request("/");
    *trace.method_mut() = http::Method::TRACE;
    for (request, status) in [(long_target, 414), (long_field, 431), (many_fields, 431), (trace, 405)] {
        assert_eq!(client.send_request(request).await.unwrap().status(), status);
    }
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_client_that_reads_no_more_loses_its_stream_and_the_endpoint_is_let_go() {
    let (gone, mut is_gone) = tokio::sync::mpsc::channel(1);
    let backend = Backend::raw(move |mut stream| {
        let gone = gone.clone();
        async move {
            kit::backend::read_head(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, head).await.unwrap();
            while tokio::io::AsyncWriteExt::write_all(&mut stream, &[0; 65536]).await.is_ok() {}
            gone.send(()).await.unwrap();
        }
    })
    .await;
    let site = Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a"));
    let short = |settings: &mut genkan_routing::model::ProxySettings| {
        settings.client.body_timeout = std::time::Duration::from_millis(50);
    };
    let running = Running::start(site.settings(short));
    let mut client = h2(running.address).await;
    let unread = client.send_request(request("/")).await.unwrap();
    tokio::time::timeout(kit::client::PATIENCE, is_gone.recv()).await.expect("the endpoint is let go");
    assert!(unread.into_body().collect().await.is_err(), "the response is not complete");
}

#[tokio::test]
async fn an_idle_connection_ends_even_if_its_client_does_not_take_the_hint() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let short = |settings: &mut genkan_routing::model::ProxySettings| {
        settings.client.keep_alive = std::time::Duration::from_millis(50);
    };
    let running = Running::start(Site::new().settings(short));
    let mut client = tokio::net::TcpStream::connect(running.address).await.unwrap();
    // The preface with empty SETTINGS; nothing is ever acknowledged.
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut rest = Vec::new();
    let end = client.read_to_end(&mut rest);
    // How the connection ends, in good order or by a reset, is of no interest.
    let _ = tokio::time::timeout(kit::client::PATIENCE, end).await.expect("the end of the connection");
}

#[tokio::test]
async fn an_endpoint_that_resets_every_stream_gets_no_more_tries_than_the_rule_allows() {
    let streams = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = std::sync::Arc::clone(&streams);
    let backend = Backend::raw(move |stream| {
        let seen = std::sync::Arc::clone(&seen);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                respond.send_reset(h2::Reason::INTERNAL_ERROR);
            }
        }
    })
    .await;
    let site = Site::new().h2c_cluster("a", &[backend.address]).rule(rule("/").to("a").retry(|retry| retry.tries = 3));
    let running = Running::start(site);
    assert_eq!(running.get("/").await.status, 502);
    assert_eq!(streams.load(std::sync::atomic::Ordering::SeqCst), 3);
}

/// The limit of streams that the proxy announces to a new client (RFC 9113, section 6.5.2).
async fn announced_streams(running: &Running) -> u32 {
    const HEAD: usize = 9;
    let mut client = running.connect().await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let head = client.bytes(HEAD).await;
    assert_eq!(head[3], 4, "SETTINGS come first");
    let settings = client.bytes(usize::from(u16::from_be_bytes([head[1], head[2]]))).await;
    let limit = settings.chunks_exact(6).find(|setting| setting[..2] == [0, 3]).expect("a limit");
    u32::from_be_bytes([limit[2], limit[3], limit[4], limit[5]])
}

#[tokio::test]
async fn a_published_limit_of_streams_holds_for_new_connections_and_old_ones_live_on() {
    let backend = Backend::named("one").await;
    let site = |limit| {
        let site = Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a"));
        site.settings(|settings| settings.client.max_concurrent_streams = limit)
    };
    let running = Running::start(site(7));
    let mut old = h2(running.address).await;
    assert_eq!(old.send_request(request("/")).await.unwrap().status(), 200);
    assert_eq!(announced_streams(&running).await, 7);
    running.proxy.publish(site(9).snapshot());
    assert_eq!(announced_streams(&running).await, 9);
    assert_eq!(old.send_request(request("/")).await.unwrap().status(), 200);
}
