//! External authentication: nothing passes without a yes, and nobody but the service says who the client is.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use genkan_routing::model::{Filter, HttpVersion};
use genkan_routing::name::ClusterId;
use genkan_routing::policy::buffering::{Otherwise, RequestBuffering};
use genkan_routing::policy::canary::Canary;
use genkan_routing::policy::cors::{Cors, CorsList, CorsOrigins, Preflights};
use genkan_routing::policy::external_auth::{AuthCall, ExternalAuth, GrpcAuth, HttpAuth};
use genkan_routing::policy::health::{Counted, Health, PassiveHealth};
use genkan_routing::policy::mirror::{Mirror, Share};
use genkan_routing::policy::redirect::{Redirect, RedirectTarget};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kit::backend::frames;
use kit::client::{Body, PATIENCE, full, h2};
use kit::model::{backend, rule};
use kit::{Backend, Client, Running, Site};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::timeout;

/// The service's word on a request: by the password `open`, with the name of the user and the path that was asked about.
async fn judge(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let open = head.headers.get("authorization").is_some_and(|value| value == "open");
    let builder = Response::builder().header("x-path", head.uri.path()).header("x-seen", body.len());
    if open {
        builder.header("x-user", "ada").body(full("")).unwrap()
    } else {
        builder.status(401).header("www-authenticate", "Word").body(full("say it")).unwrap()
    }
}

fn policy(call: AuthCall, body_limit: u16, timeout: Duration) -> Filter {
    let target = ClusterId::new("auth");
    Filter::ExternalAuth(Arc::new(ExternalAuth { target, call, body_limit, timeout }))
}

fn over_http(body_limit: u16) -> Filter {
    let listed = ["x-user", "x-role", "x-path", "x-seen"].map(HeaderName::from_static).to_vec();
    let http = HttpAuth { prefix: "/check".to_owned(), response_headers: Some(listed), ..HttpAuth::default() };
    policy(AuthCall::Http(http), body_limit, PATIENCE)
}

fn site(filter: Filter, own: &Backend, service: &Backend) -> Site {
    let site = Site::new().cluster("own", &[own.address]).cluster("auth", &[service.address]);
    site.rule(rule("/").to("own").filter(filter))
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

fn post(fields: &str, body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: test\r\nAuthorization: open\r\nContent-Length: {}\r\n{fields}\r\n{body}",
        body.len()
    )
}

fn counted(running: &Running, result: &str) -> bool {
    let text = running.proxy.metrics().encode();
    let wanted = format!("result=\"{result}\"");
    text.lines()
        .any(|line| line.starts_with("genkan_external_auth_total") && line.contains(&wanted) && !line.ends_with(" 0"))
}

#[tokio::test]
async fn a_yes_lets_pass_and_only_the_service_names_the_user() {
    let (own, service) = (Backend::echo().await, Backend::http1(judge).await);
    let running = Running::start(site(over_http(0), &own, &service));
    let mut client = running.connect().await;
    let spoofed = "Authorization: open\r\nX-User: root\r\nX-Role: admin\r\n";
    for _ in 0..2 {
        let answer = client.send(get("/a", spoofed)).await.answer().await;
        let seen = answer.text();
        assert_eq!(answer.status, 200, "{seen}");
        assert!(seen.contains("x-user: ada") && seen.contains("x-path: /check/a"), "{seen}");
        assert!(!seen.contains("root") && !seen.contains("admin"), "{seen}");
        assert_eq!(answer.field("x-user"), None, "what the service says is for the backend");
    }
    assert_eq!((service.requests(), service.connections()), (2, 1));
    assert!(counted(&running, "allowed") && !counted(&running, "denied"));
}

#[tokio::test]
async fn a_body_that_the_service_has_seen_is_held_to_the_size_of_buffering() {
    let (own, service) = (Backend::echo().await, Backend::http1(judge).await);
    for (otherwise, large) in [(Otherwise::Refuse, 413), (Otherwise::Stream, 200)] {
        let request = Some(RequestBuffering { max_size: 10, otherwise });
        let rule = rule("/").to("own").filter(over_http(100));
        let rule = rule.forward(|forward| forward.buffering.get_or_insert_default().request = request);
        let running =
            Running::start(Site::new().cluster("own", &[own.address]).cluster("auth", &[service.address]).rule(rule));
        for (body, status) in [("0123456789", 200), ("0123456789a", large)] {
            let mut client = running.connect().await;
            let answer = client.send(post("", body)).await.answer().await;
            assert_eq!(answer.status, status, "{body}");
            assert!(status != 200 || answer.text().ends_with(&format!("\n\n{body}")), "{}", answer.text());
        }
    }
    assert_eq!((service.requests(), own.requests()), (4, 3));
}

#[tokio::test]
async fn the_service_judges_the_path_that_the_backend_gets() {
    let (own, service) = (Backend::echo().await, Backend::http1(judge).await);
    let running = Running::start(site(over_http(0), &own, &service));
    let mut client = running.connect().await;
    for (sent, path) in [
        ("/admin/../public/x?q=%20", "/public/x"),
        ("/admin/..%2fpublic/x", "/public/x"),
        ("//public//x", "/public/x"),
        ("/a%20b", "/a%20b"),
        ("/caf%e9", "/caf%E9"),
    ] {
        let seen = client.send(get(sent, "Authorization: open\r\n")).await.answer().await.text();
        let query = sent.find('?').map_or("", |at| &sent[at..]);
        assert!(seen.starts_with(&format!("GET {path}{query} HTTP/1.1\n")), "{sent}: {seen}");
        assert!(seen.contains(&format!("x-path: /check{path}\n")), "{sent}: {seen}");
    }
}

/// Tells the backend what it was told of the client.
async fn repeat(request: Request<Incoming>) -> Response<Body> {
    let fields = request.headers();
    let told = ["host", "x-forwarded-for", "x-forwarded-host", "x_real_ip", "x-tenant"];
    let told = told.map(|name| fields.get(name).map_or("-", |value| value.to_str().unwrap()));
    Response::builder().header("x-user", told.join(" ")).body(full("")).unwrap()
}

#[tokio::test]
async fn the_service_is_told_what_the_backend_is_told_and_the_host_that_was_routed() {
    let (own, service) = (Backend::echo().await, Backend::http1(repeat).await);
    let shown = ["x-forwarded-for", "x-forwarded-host", "x_real_ip", "x-tenant"].map(HeaderName::from_static).to_vec();
    let http = HttpAuth { request_headers: shown, ..HttpAuth::default() };
    let site = site(policy(AuthCall::Http(http), 0, PATIENCE), &own, &service);
    let forged = "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: public\r\nX_Real_IP: 10.0.0.1\r\n\
                  X-Tenant: a\r\nConnection: x-tenant\r\n";
    let running = Running::start(site.clone());
    let seen = running.connect().await.send(get("/", forged)).await.answer().await.text();
    assert!(seen.contains("x-user: test 127.0.0.1 test - -\n"), "{seen}");
    let running = Running::start(site.settings(|settings| settings.forwarded.use_forwarded_headers = true));
    let seen = running.connect().await.send(get("/", forged)).await.answer().await.text();
    assert!(seen.contains("x-user: test 10.0.0.1 public - -\n"), "{seen}");
}

#[tokio::test]
async fn a_client_that_stops_in_a_body_that_is_to_be_shown_is_not_waited_for() {
    const SHORT: Duration = Duration::from_millis(50);
    let (own, service) = (Backend::echo().await, Backend::http1(judge).await);
    let site = Site::new().cluster("own", &[own.address]).cluster("auth", &[service.address]);
    let plain = site.clone().rule(rule("/").to("own").filter(over_http(8)));
    let silent = plain.settings(|settings| settings.client.body_timeout = SHORT);
    let rule = rule("/").to("own").filter(over_http(8)).timeouts(|timeouts| timeouts.request = Some(SHORT));
    for (site, status) in [(silent.clone(), 408), (site.rule(rule), 504)] {
        let running = Running::start(site);
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        sender.try_send(Frame::data("abc".into())).unwrap();
        let request = Request::post("http://test/a").header("authorization", "open").body(frames(receiver)).unwrap();
        let mut client = h2(running.address).await;
        let answer = timeout(PATIENCE, client.send_request(request)).await.unwrap().unwrap();
        assert_eq!(answer.status(), status);
        drop(sender);
    }
    let running = Running::start(silent);
    for (sent, status) in [("Content-Length: 5\r\n\r\nab", 408), ("Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400)] {
        let mut client = running.connect().await;
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\n{sent}")).await;
        assert_eq!(client.answer().await.status, status);
    }
    assert_eq!((own.requests(), service.requests()), (0, 0));
}

#[tokio::test]
async fn a_no_is_passed_on_as_the_service_says_it() {
    let (own, service) = (Backend::echo().await, Backend::http1(judge).await);
    let running = Running::start(site(over_http(0), &own, &service));
    let mut client = running.connect().await;
    for _ in 0..2 {
        let answer = client.send(get("/", "")).await.answer().await;
        assert_eq!((answer.status, answer.text().as_str()), (401, "say it"));
        assert_eq!(answer.field("www-authenticate"), Some("Word"));
    }
    // The same connection goes on with a request that may pass.
    assert_eq!(client.send(get("/", "Authorization: open\r\n")).await.answer().await.status, 200);
    assert_eq!(own.requests(), 1);
    assert!(counted(&running, "denied"));
}

#[tokio::test]
async fn a_service_that_is_not_there_or_in_trouble_lets_nobody_pass() {
    let own = Backend::echo().await;
    let nobody = Backend::nobody().await;
    for endpoints in [vec![], vec![nobody]] {
        let site = Site::new().cluster("own", &[own.address]).cluster("auth", &endpoints);
        let running = Running::start(site.rule(rule("/").to("own").filter(over_http(0))));
        assert_eq!(running.get("/").await.status, 503);
        assert!(counted(&running, "failed"));
    }
    for service in [Backend::status(500).await, Backend::hangs_up().await, Backend::bytes(b"rubbish\r\n\r\n").await] {
        let running = Running::start(site(over_http(0), &own, &service));
        assert_eq!(running.get("/").await.status, 503);
    }
    assert_eq!(own.requests(), 0);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_leaves_the_question_to_another() {
    let (own, service) = (Backend::echo().await, Backend::http1(judge).await);
    let endpoints = [Backend::nobody().await, service.address];
    let site = Site::new().cluster("own", &[own.address]).cluster("auth", &endpoints);
    let running = Running::start(site.rule(rule("/").to("own").filter(over_http(0))));
    for _ in 0..4 {
        let answer = running.connect().await.send(get("/", "Authorization: open\r\n")).await.answer().await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn endpoints_of_a_service_that_fail_are_passed_over() {
    let (own, good) = (Backend::echo().await, Backend::http1(judge).await);
    for failing in [Backend::status(503).await, Backend::silent().await, Backend::hangs_up().await] {
        let passive = PassiveHealth {
            failures: NonZeroU32::MIN,
            statuses: vec![503],
            time: Duration::from_secs(3600),
            max_percent: 50,
        };
        let health = Arc::new(Health { passive: Some(passive), active: None });
        let site = Site::new().cluster("own", &[own.address]);
        let site = site.cluster_with("auth", &[failing.address, good.address], |cluster| {
            cluster.health = Some(Counted { id: "policy".into(), policy: health });
        });
        let filter = policy(AuthCall::Http(HttpAuth::default()), 0, Duration::from_secs(2));
        let running = Running::start(site.rule(rule("/").to("own").filter(filter)));
        let mut failed = 0;
        for _ in 0..6 {
            let answer = running.connect().await.send(get("/", "Authorization: open\r\n")).await.answer().await;
            failed += usize::from(answer.status == 503);
        }
        assert_eq!(failed, 1);
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_service_closes_costs_nobody_an_answer() {
    let own = Backend::echo().await;
    // They take a second question on each connection, and close it.
    let http1 = Backend::raw(|mut stream| async move {
        kit::backend::read_head(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-User: ada\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        kit::backend::read_head(&mut stream).await;
    })
    .await;
    let http2 = Backend::raw(|stream| async move {
        let (over, asked) = (Arc::new(Notify::new()), AtomicUsize::new(0));
        let service = service_fn(|request| {
            let (over, first) = (Arc::clone(&over), asked.fetch_add(1, Ordering::SeqCst) == 0);
            async move {
                if !first {
                    over.notify_one();
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(judge(request).await)
            }
        });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::select! {
            _ = builder.serve_connection(TokioIo::new(stream), service) => {}
            () = over.notified() => {}
        }
    })
    .await;
    for (service, version) in [(http1, HttpVersion::Http1), (http2, HttpVersion::Http2)] {
        let site = Site::new().cluster("own", &[own.address]);
        let site = site.cluster_with("auth", &[service.address], |cluster| cluster.version = version);
        let running = Running::start(site.rule(rule("/").to("own").filter(over_http(0))));
        let mut client = running.connect().await;
        for _ in 0..4 {
            let answer = client.send(get("/", "Authorization: open\r\n")).await.answer().await;
            assert_eq!(answer.status, 200, "{version:?}");
            assert!(answer.text().contains("x-user: ada"));
        }
        assert_eq!(service.connections(), 4);
    }
}

#[tokio::test]
async fn a_service_that_is_too_slow_lets_nobody_pass() {
    let (own, service) = (Backend::echo().await, Backend::silent().await);
    let filter = policy(AuthCall::Http(HttpAuth::default()), 0, Duration::from_millis(50));
    let running = Running::start(site(filter, &own, &service));
    assert_eq!(timeout(PATIENCE, running.get("/")).await.unwrap().status, 503);
    assert!(counted(&running, "timeout"));
    assert_eq!(own.requests(), 0);
}

#[tokio::test]
async fn a_body_is_shown_to_the_service_and_sent_to_the_backend() {
    let (own, service) = (Backend::echo().await, Backend::http1(judge).await);
    let running = Running::start(site(over_http(8), &own, &service));
    let mut client = running.connect().await;
    let sum = |answer: kit::client::Answer| (answer.status, answer.text());
    let (status, seen) = sum(client.send(post("", "12345678")).await.answer().await);
    assert!(status == 200 && seen.contains("x-seen: 8") && seen.contains("12345678"), "{status} {seen}");
    // In chunks, and none.
    let chunked = "POST / HTTP/1.1\r\nHost: test\r\nAuthorization: open\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (status, seen) = sum(client.send(format!("{chunked}4\r\nabcd\r\n0\r\n\r\n")).await.answer().await);
    assert!(status == 200 && seen.contains("x-seen: 4") && seen.contains("abcd"), "{status} {seen}");
    let (status, seen) = sum(client.send(get("/", "Authorization: open\r\n")).await.answer().await);
    assert!(status == 200 && seen.contains("x-seen: 0"), "{status} {seen}");
    // A client that waits to be told.
    let head = post("Expect: 100-continue\r\n", "");
    let head = head.replace("Content-Length: 0", "Content-Length: 3");
    client.send(head).await;
    assert_eq!(client.head().await.0, 100);
    let (status, seen) = sum(client.send("xyz").await.answer().await);
    assert!(status == 200 && seen.contains("x-seen: 3"), "{status} {seen}");
}

#[tokio::test]
async fn a_request_goes_to_no_other_rule_than_the_one_that_was_asked_about() {
    let (own, other) = (Backend::echo().await, Backend::echo().await);
    let service = Backend::http1(judge).await;
    let site = Site::new().cluster("own", &[own.address]).cluster("other", &[other.address]);
    let asking = rule("/").header("expect", "100-continue").to("own").filter(over_http(8));
    let site = site.cluster("auth", &[service.address]).rule(asking).rule(rule("/").to("other"));
    let running = Running::start(site);
    // Once the body is asked for nothing is expected any more, and the second rule would match.
    let mut client = running.connect().await;
    client.send(post("Expect: 100-continue\r\n", "").replace("Content-Length: 0", "Content-Length: 3")).await;
    assert_eq!(client.head().await.0, 100);
    assert_eq!(client.send("xyz").await.answer().await.status, 503);
    assert_eq!((service.requests(), own.requests(), other.requests()), (1, 0, 0));
}

#[tokio::test]
async fn a_body_over_the_limit_passes_nobody() {
    let (own, service) = (Backend::echo().await, Backend::http1(judge).await);
    let running = Running::start(site(over_http(8), &own, &service));
    assert_eq!(running.connect().await.send(post("", "123456789")).await.answer().await.status, 413);
    let chunked = "POST / HTTP/1.1\r\nHost: test\r\nAuthorization: open\r\nTransfer-Encoding: chunked\r\n\r\n\
                   9\r\n123456789\r\n0\r\n\r\n";
    assert_eq!(running.connect().await.send(chunked).await.answer().await.status, 413);
    assert_eq!((own.requests(), service.requests()), (0, 0));
}

#[tokio::test]
async fn an_upgrade_is_asked_about_and_cannot_smuggle_a_body_past() {
    let own =
        Backend::bytes(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let service = Backend::http1(judge).await;
    let running = Running::start(site(over_http(8), &own, &service));
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(running.connect().await.send(get("/", upgrade)).await.answer().await.status, 401);
    let with = |more: &str| get("/", &format!("Authorization: open\r\n{upgrade}{more}"));
    let mut client = running.connect().await;
    assert_eq!(client.send(with("")).await.head().await.0, 101);
    let answer = running.connect().await.send(with("Content-Length: 3\r\n") + "abc").await.answer().await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn clients_of_http2_are_asked_about_too() {
    let (own, service) = (Backend::echo().await, Backend::http1(judge).await);
    let running = Running::start(site(over_http(8), &own, &service));
    let mut client = h2(running.address).await;
    let request = |word: &str, body: &'static str| {
        let builder = Request::post("http://test/a").header("authorization", word).header("x-role", "admin");
        builder.body(full(body)).unwrap()
    };
    let answer = client.send_request(request("open", "abc")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let seen = answer.into_body().collect().await.unwrap().to_bytes();
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains("x-seen: 3") && seen.contains("abc") && !seen.contains("admin"), "{seen}");
    assert_eq!(client.send_request(request("closed", "")).await.unwrap().status(), 401);
    assert_eq!(client.send_request(request("open", "123456789")).await.unwrap().status(), 413);
}

#[tokio::test]
async fn a_client_that_goes_away_is_not_waited_for() {
    let own = Backend::echo().await;
    let (asked, mut questions) = tokio::sync::mpsc::unbounded_channel();
    let service = Backend::raw(move |stream| {
        let asked = asked.clone();
        async move {
            let mut stream = stream;
            kit::backend::read_head(&mut stream).await;
            asked.send(()).unwrap();
            // Until the other side has enough of it.
            let mut rest = [0; 1];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut rest).await;
            asked.send(()).unwrap();
        }
    })
    .await;
    let filter = policy(AuthCall::Http(HttpAuth::default()), 0, Duration::from_secs(600));
    let running = Running::start(site(filter, &own, &service));
    let mut client = running.connect().await;
    client.send(get("/", "")).await;
    timeout(PATIENCE, questions.recv()).await.unwrap().unwrap();
    drop(client);
    timeout(PATIENCE, questions.recv()).await.expect("the question is given up").unwrap();
}

/// A message of protobuf.
fn message(field: u8, content: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2, u8::try_from(content.len()).unwrap()][..], content].concat()
}

/// `HeaderValueOption`.
fn option(name: &str, value: &str) -> Vec<u8> {
    message(1, &[message(1, name.as_bytes()), message(2, value.as_bytes())].concat())
}

/// `Check` of Envoy: whoever says `open` is `ada`.
async fn check(request: Request<Incoming>, calls: Arc<AtomicUsize>) -> Response<Body> {
    calls.fetch_add(1, Ordering::SeqCst);
    assert_eq!(request.uri().path(), "/envoy.service.auth.v3.Authorization/Check");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let open = body.windows(4).any(|part| part == b"open");
    let response = if open {
        message(3, &[message(2, &option("x-user", "ada")), message(6, &option("x-told", "yes"))].concat())
    } else {
        let denied = [message(1, &[1 << 3, 0x91, 3]), message(2, &option("x-why", "word")), message(3, b"no")].concat();
        [message(1, &[1 << 3, 7]), message(2, &denied)].concat()
    };
    let length = u32::try_from(response.len()).unwrap().to_be_bytes();
    let frame = [&[0][..], &length, &response].concat();
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    sender.try_send(Frame::data(frame.into())).unwrap();
    sender.try_send(Frame::trailers(trailers)).unwrap();
    Response::new(frames(receiver))
}

#[tokio::test]
async fn envoys_protocol_is_spoken() {
    let own = Backend::echo().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let service = Backend::h2c(move |request| check(request, Arc::clone(&counter))).await;
    let filter = policy(AuthCall::Grpc(GrpcAuth::default()), 0, PATIENCE);
    let site = Site::new().cluster("own", &[own.address]).h2c_cluster("auth", &[service.address]);
    let running = Running::start(site.rule(rule("/").to("own").filter(filter)));
    let mut client = running.connect().await;
    for _ in 0..2 {
        let answer = client.send(get("/", "X-User: root\r\nX-Word: open\r\n")).await.answer().await;
        assert_eq!((answer.status, answer.field("x-told")), (200, Some("yes")));
        assert!(answer.text().contains("x-user: ada") && !answer.text().contains("root"), "{}", answer.text());
    }
    assert_eq!((calls.load(Ordering::SeqCst), service.connections()), (2, 1));
    let mut client: Client = running.connect().await;
    let answer = client.send(get("/", "")).await.answer().await;
    assert_eq!((answer.status, answer.field("x-why"), answer.text().as_str()), (401, Some("word"), "no"));
}

#[tokio::test]
async fn preflights_and_redirects_come_before_any_question() {
    let (own, service) = (Backend::echo().await, Backend::http1(judge).await);
    let cors = Cors {
        origins: CorsOrigins::All,
        methods: CorsList::These("PUT".to_owned()),
        headers: CorsList::Requested,
        expose_headers: None,
        credentials: false,
        max_age: 5,
        preflights: Preflights::All,
    };
    let leads = Redirect { status: 302, to: RedirectTarget::Verbatim("/there".to_owned()) };
    let site = Site::new().cluster("own", &[own.address]).cluster("auth", &[service.address]);
    let guarded = |path| rule(path).to("own").filter(over_http(0));
    let site = site.rule(guarded("/away").filter(Filter::Redirect(leads)));
    let running = Running::start(site.rule(guarded("/").filter(Filter::Cors(Arc::new(cors)))));
    let mut client = running.connect().await;
    let asks = "Origin: http://other\r\nAccess-Control-Request-Method: PUT\r\n";
    let preflight = get("/", asks).replace("GET", "OPTIONS");
    let answer = client.send(preflight).await.answer().await;
    assert_eq!((answer.status / 100, answer.field("access-control-allow-methods")), (2, Some("PUT")));
    assert_eq!(client.send(get("/away", "")).await.answer().await.status, 302);
    assert_eq!(service.requests(), 0);
    // What is none of both is asked about, and a page may read the no.
    let answer = client.send(get("/", "Origin: http://other\r\n")).await.answer().await;
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (401, Some("*")));
    assert_eq!((service.requests(), own.requests()), (1, 0));
}

#[tokio::test]
async fn mirrors_and_canaries_get_nothing_of_what_was_refused() {
    let (own, service) = (Backend::echo().await, Backend::http1(judge).await);
    let (canary, copied) = (Backend::named("canary").await, Backend::echo().await);
    let policy = Canary { backend: backend("canary", 1), header: None, cookie: None, weight: 100, total: 100 };
    let mirror = Filter::Mirror(Arc::new(Mirror { target: ClusterId::new("copied"), share: Share::ALL }));
    let site = Site::new()
        .cluster("own", &[own.address])
        .cluster("auth", &[service.address])
        .cluster("canary", &[canary.address])
        .cluster("copied", &[copied.address]);
    let guarded = rule("/").to("own").filter(over_http(8)).filter(mirror);
    let running = Running::start(site.rule(guarded.forward(|forward| forward.canary = Some(policy.into()))));
    let mut client = running.connect().await;
    let refused = post("", "abc").replace("open", "closed");
    for _ in 0..3 {
        assert_eq!(client.send(refused.clone()).await.answer().await.status, 401);
    }
    assert_eq!((own.requests(), canary.requests()), (0, 0));
    let answer = client.send(post("", "abc")).await.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "canary"));
    running.until_counted("genkan_mirrored_requests_total", "result=\"answered\"", "", Some(1)).await;
    assert_eq!((copied.requests(), canary.requests(), own.requests()), (1, 1, 0));
}

#[tokio::test]
async fn a_retry_keeps_what_the_service_said_and_asks_nobody_again() {
    let (broken, own) = (Backend::status(503).await, Backend::echo().await);
    let service = Backend::http1(judge).await;
    let site = Site::new().cluster("own", &[broken.address, own.address]).cluster("auth", &[service.address]);
    let guarded = rule("/").to("own").filter(over_http(0)).retry(|retry| retry.on_status = vec![503]);
    let running = Running::start(site.rule(guarded));
    let mut client = running.connect().await;
    for _ in 0..2 {
        let seen = client.send(get("/", "Authorization: open\r\nX-User: root\r\n")).await.answer().await.text();
        assert!(seen.contains("x-user: ada") && !seen.contains("root"), "{seen}");
    }
    assert_eq!(service.requests(), 2);
    assert!(broken.requests() > 0, "one of them was a retry");
}

#[tokio::test]
async fn a_service_that_leads_back_here_is_not_asked_round_and_round() {
    let own = Backend::echo().await;
    let site = |service| {
        let site = Site::new().cluster("own", &[own.address]).cluster("auth", &[service]);
        site.rule(rule("/").to("own").filter(over_http(0)))
    };
    let running = Running::start(site(own.address));
    assert!(running.proxy.publish(site(running.address).snapshot()).failed.is_empty());
    assert_eq!(running.get("/").await.status, 503);
    let name = "genkan_external_auth_total";
    running.until_counted(name, "result=\"failed\"", "", Some(2)).await;
    let marked = running.connect().await.send(get("/", "X-Genkan-Asked: 1\r\n")).await.answer().await;
    assert_eq!((marked.status, own.requests()), (508, 0));
}
