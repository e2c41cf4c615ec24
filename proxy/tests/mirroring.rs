//! Mirrors: what copies of requests have, and that nothing about them is seen by the client.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use std::sync::Arc;

use genkan_routing::model::{Deny, Filter, HttpVersion};
use genkan_routing::name::ClusterId;
use genkan_routing::policy::body_limit::BodyLimit;
use genkan_routing::policy::headers::HeaderOps;
use genkan_routing::policy::mirror::{Mirror, Share};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use kit::backend::frames;
use kit::client::{Body, PATIENCE, full, h2};
use kit::model::{RuleBuilder, rule};
use kit::tls::Pair;
use kit::{Backend, Client, Running, Site};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What an endpoint got: the request line, the fields, and the body unless it broke off.
#[derive(Debug)]
struct Got {
    line: String,
    fields: HeaderMap,
    body: Option<Vec<u8>>,
}

/// Tells what it gets.
struct Recorder {
    backend: Backend,
    got: mpsc::UnboundedReceiver<Got>,
}

async fn record(request: Request<Incoming>, got: mpsc::UnboundedSender<Got>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let line = format!("{} {} {:?}", head.method, head.uri, head.version);
    let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
    got.send(Got { line, fields: head.headers, body }).unwrap();
    Response::new(full("nobody sees this"))
}

impl Recorder {
    async fn http1() -> Self {
        let (sender, got) = mpsc::unbounded_channel();
        Self { backend: Backend::http1(move |request| record(request, sender.clone())).await, got }
    }

    async fn h2c() -> Self {
        let (sender, got) = mpsc::unbounded_channel();
        Self { backend: Backend::h2c(move |request| record(request, sender.clone())).await, got }
    }

    async fn next(&mut self) -> Got {
        timeout(PATIENCE, self.got.recv()).await.expect("a copy in time").unwrap()
    }
}

fn mirror(cluster: &str, share: Share) -> Filter {
    Filter::Mirror(Arc::new(Mirror { target: ClusterId::new(cluster), share }))
}

fn to_all(cluster: &str) -> Filter {
    mirror(cluster, Share::ALL)
}

fn set(name: &'static str, value: &'static str) -> Filter {
    let field = (HeaderName::from_static(name), HeaderValue::from_static(value));
    Filter::RequestHeaders(HeaderOps { set: vec![field], ..HeaderOps::default() })
}

/// Answers with a status and a body that tell what it got.
async fn own(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let sum = body.iter().fold(body.len(), |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
    let status = if head.uri.path().ends_with("teapot") { 418 } else { 200 };
    Response::builder().status(status).body(full(format!("{} {} {sum}", head.method, head.uri.path()))).unwrap()
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// How many copies ended so.
fn count(running: &Running, result: &str) -> u64 {
    let text = running.proxy.metrics().encode();
    let line = text.lines().find(|line| {
        line.starts_with("genkan_mirrored_requests_total") && line.contains(&format!("result=\"{result}\""))
    });
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Waits until so many copies ended so.
async fn counted(running: &Running, result: &str, wanted: u64) {
    let reached = reached(|| count(running, result) >= wanted).await;
    assert!(reached, "{result}: {}", running.proxy.metrics().encode());
}

/// Waits for what is counted and has no event.
async fn reached(is_reached: impl Fn() -> bool) -> bool {
    let reached = async {
        while !is_reached() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, reached).await.is_ok()
}

#[tokio::test]
async fn a_copy_has_the_rules_changes_and_the_body_but_not_what_is_the_backends() {
    let (own, mut copy) = (Backend::echo().await, Recorder::http1().await);
    let mut builder = rule("/").to("own").filter(to_all("copy")).filter(set("x-rule", "1"));
    builder.forward.backends[0].filters.push(set("x-backend", "1"));
    let site = Site::new().cluster("own", &[own.address]).cluster("copy", &[copy.backend.address]).rule(builder);
    let running = Running::start(site);
    let mut client = running.connect().await;
    client.send(post("/a?b=c", b"the body")).await;
    assert!(client.answer().await.text().contains("x-backend: 1"));
    let got = copy.next().await;
    assert_eq!((got.line.as_str(), got.body.as_deref()), ("POST /a?b=c HTTP/1.1", Some(&b"the body"[..])));
    assert_eq!(got.fields["x-rule"], "1");
    assert!(!got.fields.contains_key("x-backend"));
    assert_eq!(got.fields["x-genkan-mirrored"], "1");
    assert_eq!((&got.fields["host"], &got.fields["content-length"]), (&"test".parse().unwrap(), &8.into()));
    assert_eq!(got.fields["x-forwarded-for"], "127.0.0.1");
    // Without a body, and with one of unknown length.
    running.get("/get").await;
    assert_eq!(copy.next().await.line, "GET /get HTTP/1.1");
    client.send("PUT /put HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(copy.next().await.body.as_deref(), Some(&b"abc"[..]));
}

#[tokio::test]
async fn every_mirror_gets_its_copy_in_the_protocol_that_it_speaks() {
    let (own, mut one, mut two) = (Backend::named("own").await, Recorder::http1().await, Recorder::h2c().await);
    let site = Site::new()
        .cluster("own", &[own.address])
        .cluster("one", &[one.backend.address])
        .h2c_cluster("two", &[two.backend.address])
        .rule(rule("/").to("own").filter(to_all("one")).filter(to_all("two")));
    let running = Running::start(site);
    let mut client = running.connect().await;
    client.send(post("/x", b"body")).await;
    assert_eq!(client.answer().await.text(), "own");
    let got = one.next().await;
    assert_eq!((got.line.as_str(), got.body.as_deref()), ("POST /x HTTP/1.1", Some(&b"body"[..])));
    let got = two.next().await;
    assert_eq!((got.line.as_str(), got.body.as_deref()), ("POST http://test/x HTTP/2.0", Some(&b"body"[..])));
    // A client of HTTP/2 has no Host; its copies do.
    let mut sender = h2(running.address).await;
    let request = Request::post("http://example.test/y").body(full("more")).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    let got = one.next().await;
    assert_eq!((got.line.as_str(), &got.fields["host"]), ("POST /y HTTP/1.1", &"example.test".parse().unwrap()));
    assert_eq!(two.next().await.line, "POST http://example.test/y HTTP/2.0");
}

#[tokio::test]
async fn only_a_share_of_requests_is_copied_and_none_that_was_refused() {
    let (own, mut copy) = (Backend::named("own").await, Recorder::http1().await);
    let none = mirror("copy", Share::new(0, 100).unwrap());
    let deny = Filter::Deny(Deny { status: 503, reason: String::new() });
    let site = Site::new()
        .cluster("own", &[own.address])
        .cluster("copy", &[copy.backend.address])
        .rule(rule("/none").to("own").filter(none))
        .rule(rule("/denied").to("own").filter(to_all("copy")).filter(deny))
        .rule(rule("/invalid").invalid(1).filter(to_all("copy")))
        .rule(rule("/").to("own").filter(to_all("copy")));
    let running = Running::start(site);
    for (path, status) in [("/none", 200), ("/denied", 503), ("/invalid", 500)] {
        for _ in 0..10 {
            assert_eq!(running.get(path).await.status, status, "{path}");
        }
    }
    running.get("/all").await;
    assert_eq!(copy.next().await.line, "GET /all HTTP/1.1");
    counted(&running, "answered", 1).await;
    assert_eq!(copy.backend.requests(), 1);
}

#[tokio::test]
async fn a_connection_is_used_for_one_copy_after_the_other() {
    let (own, mut copy) = (Backend::named("own").await, Recorder::http1().await);
    let site = Site::new().cluster("own", &[own.address]).cluster("copy", &[copy.backend.address]);
    let running = Running::start(site.rule(rule("/").to("own").filter(to_all("copy"))));
    for number in 1..=5 {
        running.get("/").await;
        copy.next().await;
        counted(&running, "answered", number).await;
    }
    assert_eq!(copy.backend.connections(), 1);
}

#[tokio::test]
async fn copies_go_over_tls_where_the_mirror_wants_it() {
    let (own, copy) = (Backend::named("own").await, Pair::new("copy.test").backend().await);
    let site = Site::new()
        .cluster("own", &[own.address])
        .tls_cluster("copy", &[copy.address], HttpVersion::Http1)
        .rule(rule("/").to("own").filter(to_all("copy")));
    let running = Running::start(site);
    assert_eq!(running.get("/").await.text(), "own");
    // It sends back what it gets, which is no answer.
    counted(&running, "failed", 1).await;
    assert_eq!(copy.connections(), 1);
}

/// Mirrors that do everything wrong.
async fn bad_mirrors() -> Vec<(&'static str, Option<Backend>, Vec<std::net::SocketAddr>)> {
    let unread = Backend::raw(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    });
    let mut mirrors = vec![("nobody", None, vec![Backend::nobody().await]), ("empty", None, Vec::new())];
    for (name, backend) in [
        ("silent", Backend::silent().await),
        ("hangs_up", Backend::hangs_up().await),
        ("nonsense", Backend::bytes(b"nonsense\r\n\r\n").await),
        ("unread", unread.await),
        ("error", Backend::status(500).await),
    ] {
        let address = backend.address;
        mirrors.push((name, Some(backend), vec![address]));
    }
    mirrors
}

#[tokio::test]
async fn whatever_a_mirror_does_the_answer_is_the_same() {
    let backend = Backend::http1(own).await;
    let mirrors = bad_mirrors().await;
    let site = Site::new().cluster("own", &[backend.address]);
    let site = mirrors.iter().fold(site, |site, (name, _, addresses)| site.cluster(name, addresses));
    let with =
        |builder: RuleBuilder, names: &[&str]| names.iter().fold(builder, |rule, name| rule.filter(to_all(name)));
    let names: Vec<_> = mirrors.iter().map(|(name, _, _)| *name).collect();
    let site = names
        .iter()
        .fold(site, |site, name| site.rule(with(rule("/").to("own").host(&format!("{name}.test")), &[name])));
    let site = site.rule(with(rule("/").to("own").host("all.test"), &names)).rule(rule("/").to("own").host("test"));
    let running = Running::start(site);
    for size in [0, 1, 4_000, 70_000, 3 << 20] {
        let body: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        for path in ["/", "/teapot"] {
            let mut answers = Vec::new();
            for name in names.iter().copied().chain(["all"]).map(|name| format!("{name}.test")).chain(["test".into()]) {
                let mut client = running.connect().await;
                let head =
                    format!("POST {path} HTTP/1.1\r\nHost: {name}\r\nContent-Length: {size}\r\n\r\n").into_bytes();
                client.send([&head[..], &body].concat()).await;
                let answer = client.answer().await;
                answers.push((answer.status, answer.text()));
            }
            assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{size} {path} {answers:?}");
        }
    }
}

#[tokio::test]
async fn no_answer_waits_for_a_mirror_however_many_copies_do() {
    let (backend, silent) = (Backend::named("own").await, Backend::silent().await);
    let site = Site::new().cluster("own", &[backend.address]).cluster("silent", &[silent.address]);
    let running = Running::start(site.rule(rule("/").to("own").filter(to_all("silent"))));
    let mut client = running.connect().await;
    // None of the copies is answered, and there are more than may be under way.
    for _ in 0..100 {
        assert_eq!(client.get("/").await.text(), "own");
    }
    assert_eq!((count(&running, "answered"), count(&running, "too_many")), (0, 100 - 64));
}

#[tokio::test]
async fn silent_mirrors_of_one_tenant_leave_places_for_another() {
    let (own, silent, mut copy) = (Backend::named("own").await, Backend::silent().await, Recorder::http1().await);
    let site = Site::new()
        .cluster("own", &[own.address])
        .cluster_with("silent", &[silent.address], |cluster| cluster.service.namespace = "noisy".into())
        .cluster("copy", &[copy.backend.address])
        .rule(rule("/noisy").to("own").filter(to_all("silent")))
        .rule(rule("/").to("own").filter(to_all("copy")));
    let running = Running::start(site);
    let mut client = running.connect().await;
    for _ in 0..300 {
        assert_eq!(client.get("/noisy").await.text(), "own");
    }
    client.get("/quiet").await;
    assert_eq!(copy.next().await.line, "GET /quiet HTTP/1.1");
    counted(&running, "answered", 1).await;
}

#[tokio::test]
async fn a_mirror_that_leads_back_gets_each_request_once() {
    let own = Backend::named("own").await;
    let site = |back: &[std::net::SocketAddr]| {
        let site = Site::new().cluster("own", &[own.address]).cluster("back", back);
        site.rule(rule("/").to("own").filter(to_all("back")).filter(to_all("back")))
    };
    let running = Running::start(site(&[]));
    running.proxy.publish(site(&[running.address]).snapshot());
    for round in 1..=3_usize {
        assert_eq!(running.get("/").await.text(), "own");
        counted(&running, "answered", 2 * round as u64).await;
        assert_eq!(own.requests(), 3 * round);
    }
}

#[tokio::test]
async fn a_mirror_over_http2_that_answers_and_takes_no_body_keeps_nothing() {
    let (asked, mut was_asked) = mpsc::unbounded_channel();
    // Says 200 at once, and never that it may be sent more.
    let stuck = Backend::raw(move |stream| {
        let asked = asked.clone();
        async move {
            let mut builder = h2::server::Builder::new();
            let mut connection = builder.initial_window_size(0).handshake::<_, bytes::Bytes>(stream).await.unwrap();
            let mut bodies = Vec::new();
            while let Some(Ok((request, mut answer))) = connection.accept().await {
                answer.send_response(Response::new(()), true).unwrap();
                bodies.push(request.into_body());
                asked.send(()).unwrap();
            }
        }
    })
    .await;
    let (backend, mut copy) = (Backend::http1(own).await, Recorder::h2c().await);
    let site = Site::new()
        .cluster("own", &[backend.address])
        .h2c_cluster("stuck", &[stuck.address])
        .h2c_cluster("copy", &[copy.backend.address])
        .rule(rule("/stuck").to("own").filter(to_all("stuck")))
        .rule(rule("/").to("own").filter(to_all("copy")));
    let running = Running::start(site);
    let (begun, body) = (vec![b'x'; 900 << 10], vec![b'x'; 1500 << 10]);
    // More than may wait.
    for number in 1..=6 {
        let mut client = running.connect().await;
        client.send(&post("/stuck", &body)[..begun.len()]).await;
        timeout(PATIENCE, was_asked.recv()).await.unwrap();
        // On the same connection: when this one is answered, the other is.
        running.get("/stuck").await;
        counted(&running, "answered", 2 * number - 1).await;
        client.send(&post("/stuck", &body)[begun.len()..]).await;
        assert_eq!(client.answer().await.status, 200);
        counted(&running, "answered", 2 * number).await;
        timeout(PATIENCE, was_asked.recv()).await.unwrap();
    }
    // What can't be ended otherwise is ended with its connection.
    assert_eq!(stuck.connections(), 6);
    let mut client = running.connect().await;
    client.send(post("/", &begun)).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(copy.next().await.body.map(|body| body.len()), Some(begun.len()));
}

#[tokio::test]
async fn copies_that_come_together_share_one_new_connection() {
    let (own, mut copy) = (Backend::named("own").await, Recorder::h2c().await);
    let site = Site::new().cluster("own", &[own.address]).h2c_cluster("copy", &[copy.backend.address]);
    let site = site.rule((0..8).fold(rule("/").to("own"), |rule, _| rule.filter(to_all("copy"))));
    let running = Running::start(site);
    running.get("/").await;
    for _ in 0..8 {
        assert_eq!(copy.next().await.line, "GET http://test/ HTTP/2.0");
    }
    assert_eq!(copy.backend.connections(), 1);
}

#[tokio::test]
async fn a_body_over_the_limit_does_not_look_whole_to_the_mirror() {
    let (own, mut copy) = (Backend::echo().await, Recorder::http1().await);
    let limited = rule("/").to("own").filter(to_all("copy")).filter(Filter::BodyLimit(BodyLimit(8)));
    let site = Site::new().cluster("own", &[own.address]).cluster("copy", &[copy.backend.address]).rule(limited);
    let running = Running::start(site);
    // The part that crosses the limit is also the last.
    let mut sender = h2(running.address).await;
    let (part, parts) = mpsc::channel(1);
    let request = Request::post("http://test/").body(frames(parts)).unwrap();
    let answer = sender.send_request(request);
    part.send(Frame::data("0123456789".into())).await.unwrap();
    drop(part);
    assert_eq!(timeout(PATIENCE, answer).await.unwrap().unwrap().status(), 413);
    let mut client = running.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 413);
    counted(&running, "incomplete", 2).await;
    while let Ok(got) = copy.got.try_recv() {
        assert_eq!(got.body, None);
    }
}

#[tokio::test]
async fn a_mirror_that_does_not_read_is_given_up_and_the_upload_is_not() {
    let backend = Backend::http1(own).await;
    let unread = Backend::raw(|stream| async move {
        socket2::SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let site = Site::new().cluster("own", &[backend.address]).cluster("unread", &[unread.address]);
    let running = Running::start(site.rule(rule("/").to("own").filter(to_all("unread"))));
    // More than what sockets hold.
    let body = vec![b'x'; 12 << 20];
    let mut client = running.connect().await;
    client.send(post("/", &body)).await;
    assert_eq!(client.answer().await.status, 200);
    counted(&running, "behind", 1).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_does_not_look_whole_to_the_mirror() {
    let (silent, mut copy) = (Backend::silent().await, Recorder::http1().await);
    let site = Site::new().cluster("silent", &[silent.address]).cluster("copy", &[copy.backend.address]);
    let running = Running::start(site.rule(rule("/").to("silent").filter(to_all("copy"))));
    let heads = ["Content-Length: 1000\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"];
    for (number, head) in heads.iter().enumerate() {
        let mut client = running.connect().await;
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\n{head}")).await;
        assert!(reached(|| copy.backend.requests() > number).await);
        drop(client);
        assert_eq!(copy.next().await.body, None, "{head}");
    }
    counted(&running, "incomplete", 2).await;
}

#[tokio::test]
async fn a_body_is_copied_once_however_many_attempts_it_takes() {
    let (alive, mut copy) = (Backend::named("alive").await, Recorder::http1().await);
    let cut = Backend::raw(|mut stream| async move {
        let mut read = Vec::new();
        while !read.ends_with(b"the whole body") && stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {}
    })
    .await;
    let site = Site::new()
        .cluster("own", &[cut.address, alive.address])
        .cluster("copy", &[copy.backend.address])
        .rule(rule("/").to("own").filter(to_all("copy")).retry(|retry| retry.non_idempotent = true));
    let running = Running::start(site);
    for _ in 0..4 {
        let mut client = running.connect().await;
        client.send(post("/", b"the whole body")).await;
        assert_eq!(client.answer().await.text(), "alive");
        assert_eq!(copy.next().await.body.as_deref(), Some(&b"the whole body"[..]));
    }
    assert!(cut.connections() > 0);
}

#[tokio::test]
async fn upgrades_are_not_copied() {
    let switch =
        Backend::bytes(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n").await;
    let mut copy = Recorder::http1().await;
    let site = Site::new().cluster("own", &[switch.address]).cluster("copy", &[copy.backend.address]);
    let running = Running::start(site.rule(rule("/").to("own").filter(to_all("copy"))));
    let mut client = Client::connect(running.address).await;
    client.send("GET /up HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n").await;
    assert_eq!(client.head().await.0, 101);
    let mut other = Client::connect(running.address).await;
    other.send("GET /plain HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(copy.next().await.line, "GET /plain HTTP/1.1");
    assert_eq!(copy.backend.requests(), 1);
}
