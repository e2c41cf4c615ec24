//! Health of endpoints: who fails is passed over, who is asked and answers is used again, and nobody gets more than it
//! may have. Which endpoint answered decides.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use genkan_routing::model::{Cluster, Filter, HttpVersion};
use genkan_routing::name::ClusterId;
use genkan_routing::policy::health::{ActiveHealth, CircuitBreaker, Counted, Health, HttpProbe, PassiveHealth, Probe};
use genkan_routing::policy::mirror::{Mirror, Share};
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kit::backend::{read_head, with_trailers};
use kit::client::{Body, Client, PATIENCE, full};
use kit::model::rule;
use kit::{Backend, Running, Site};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

const OFTEN: Duration = Duration::from_millis(5);

fn passive(failures: u32, time: Duration) -> Health {
    let failures = NonZeroU32::new(failures).unwrap();
    Health { passive: Some(PassiveHealth { failures, statuses: vec![503], time, max_percent: 50 }), active: None }
}

fn active(probe: Probe) -> Health {
    let two = NonZeroU32::new(2).unwrap();
    let active = ActiveHealth { probe, interval: OFTEN, timeout: PATIENCE, unhealthy: two, healthy: two };
    Health { passive: None, active: Some(active) }
}

fn counted(health: Health) -> Option<Counted<Arc<Health>>> {
    Some(Counted { id: "policy".into(), policy: Arc::new(health) })
}

fn http_probe(path: &'static str) -> Probe {
    let statuses = vec![200..=299];
    Probe::Http(HttpProbe { path: path.parse().unwrap(), host: Some("health.test".parse().unwrap()), statuses })
}

/// A site with one cluster; failed attempts are not made again elsewhere.
fn site(endpoints: &[SocketAddr], change: impl FnOnce(&mut Cluster)) -> Site {
    let once = rule("/").to("a").retry(|retry| retry.tries = 1);
    Site::new().cluster_with("a", endpoints, change).rule(once)
}

/// Answers with what `status` says at the time.
async fn answering(name: &'static str, status: &Arc<AtomicU16>) -> Backend {
    let status = Arc::clone(status);
    Backend::http1(move |request| {
        let status = status.load(Ordering::SeqCst);
        // Checks come with their own host, and only they may.
        let checked = request.uri().path() == "/healthz";
        let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
        let status = if checked && host != "health.test" { 400 } else { status };
        async move { Response::builder().status(status).body(full(name)).unwrap() }
    })
    .await
}

/// What some requests are answered with.
async fn answers(running: &Running, requests: usize) -> BTreeSet<String> {
    let mut texts = BTreeSet::new();
    for _ in 0..requests {
        texts.insert(running.get("/").await.text());
    }
    texts
}

/// Waits until requests are answered with these texts.
async fn until_answers_are(running: &Running, wanted: &[&str]) {
    let wanted: BTreeSet<_> = wanted.iter().map(|text| (*text).to_owned()).collect();
    let waited = async { while answers(running, 4).await != wanted {} };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("never {wanted:?}"));
}

#[tokio::test]
async fn an_endpoint_that_fails_in_a_row_is_passed_over() {
    let bad = Arc::new(AtomicU16::new(503));
    let (failing, good) = (answering("bad", &bad).await, Backend::named("good").await);
    for nobody in [false, true] {
        let first = if nobody { Backend::nobody().await } else { failing.address };
        let health = counted(passive(3, Duration::from_secs(3600)));
        let running = Running::start(site(&[first, good.address], |cluster| cluster.health = health));
        let mut failed = 0;
        for _ in 0..20 {
            failed += usize::from(running.get("/").await.status != 200);
        }
        assert_eq!(failed, 3, "three requests find it out");
        // The endpoints' state outlives a change of the table.
        let health = counted(passive(3, Duration::from_secs(1800)));
        running.proxy.publish(site(&[first, good.address], |cluster| cluster.health = health).snapshot());
        assert_eq!(answers(&running, 8).await, BTreeSet::from(["good".to_owned()]));
        // Without the policy it is used again.
        running.proxy.publish(site(&[first, good.address], |_| {}).snapshot());
        assert!(answers(&running, 4).await.len() > 1);
    }
}

#[tokio::test]
async fn an_endpoint_comes_back_when_its_time_is_over() {
    let status = Arc::new(AtomicU16::new(503));
    let (one, good) = (answering("one", &status).await, Backend::named("good").await);
    let health = counted(passive(1, Duration::from_millis(50)));
    let running = Running::start(site(&[one.address, good.address], |cluster| cluster.health = health));
    while running.get("/").await.status == 200 {}
    status.store(200, Ordering::SeqCst);
    until_answers_are(&running, &["good", "one"]).await;
}

#[tokio::test]
async fn checks_find_out_who_is_healthy_without_a_request() {
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let (status, good) = (Arc::new(AtomicU16::new(500)), Arc::new(AtomicU16::new(200)));
        let (one, other) = match version {
            HttpVersion::Http1 => (answering("one", &status).await, answering("other", &good).await),
            HttpVersion::Http2 => (over_http2("one", &status).await, over_http2("other", &good).await),
        };
        let site = || {
            site(&[one.address, other.address], |cluster| {
                cluster.version = version;
                cluster.health = counted(active(http_probe("/healthz?full=1")));
            })
        };
        let running = Running::start(site());
        until_answers_are(&running, &["other"]).await;
        status.store(200, Ordering::SeqCst);
        until_answers_are(&running, &["one", "other"]).await;
        // A publish that changes nothing keeps the checks going.
        running.proxy.publish(site().snapshot());
        good.store(404, Ordering::SeqCst);
        until_answers_are(&running, &["one"]).await;
    }
}

/// As `answering`, over HTTP/2; requests that are no checks always succeed.
async fn over_http2(name: &'static str, status: &Arc<AtomicU16>) -> Backend {
    let status = Arc::clone(status);
    Backend::h2c(move |request| {
        let checked = request.uri().path() == "/healthz";
        let status = if checked { status.load(Ordering::SeqCst) } else { 200 };
        async move { Response::builder().status(status).body(full(name)).unwrap() }
    })
    .await
}

#[tokio::test]
async fn a_check_of_a_connection_finds_who_does_not_listen() {
    let good = Backend::named("good").await;
    let endpoints = [Backend::nobody().await, good.address];
    let running = Running::start(site(&endpoints, |cluster| cluster.health = counted(active(Probe::Tcp))));
    until_answers_are(&running, &["good"]).await;
}

#[tokio::test]
async fn a_grpc_check_asks_whether_a_service_is_serving() {
    let serving = Arc::new(AtomicBool::new(false));
    let backend = |name: &'static str, serving: Arc<AtomicBool>| {
        Backend::h2c(move |request| {
            let checked = request.uri().path() == "/grpc.health.v1.Health/Check";
            let answer = match (checked, serving.load(Ordering::SeqCst)) {
                (false, _) => Response::new(full(name)),
                (true, is) => grpc_health(is),
            };
            async move { answer }
        })
    };
    let (one, other) =
        (backend("one", Arc::clone(&serving)).await, backend("other", Arc::new(AtomicBool::new(true))).await);
    let running = Running::start(site(&[one.address, other.address], |cluster| {
        cluster.version = HttpVersion::Http2;
        cluster.health = counted(active(Probe::Grpc { service: "a.B".to_owned() }));
    }));
    until_answers_are(&running, &["other"]).await;
    serving.store(true, Ordering::SeqCst);
    until_answers_are(&running, &["one", "other"]).await;
}

fn grpc_health(serving: bool) -> Response<Body> {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from(0))]);
    let message = if serving { "\0\0\0\0\u{2}\u{8}\u{1}" } else { "\0\0\0\0\u{2}\u{8}\u{2}" };
    Response::new(with_trailers(message, trailers))
}

/// Speaks what the client speaks, as servers with both on one port do.
async fn of_both_versions(name: &'static str, serving: bool) -> Backend {
    Backend::raw(move |stream| async move {
        let answer = service_fn(move |request: Request<Incoming>| async move {
            let checked = request.uri().path() == "/grpc.health.v1.Health/Check";
            assert_eq!(checked, request.version() == Version::HTTP_2);
            Ok::<_, Infallible>(if checked { grpc_health(serving) } else { Response::new(full(name)) })
        });
        let mut first = [0];
        stream.peek(&mut first).await.unwrap();
        // The preface of HTTP/2 begins with PRI.
        if &first == b"P" {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
        } else {
            let builder = hyper::server::conn::http1::Builder::new();
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_grpc_check_is_http2_where_requests_are_http1() {
    let (one, other) = (of_both_versions("one", false).await, of_both_versions("other", true).await);
    let running = Running::start(site(&[one.address, other.address], |cluster| {
        cluster.health = counted(active(Probe::Grpc { service: String::new() }));
    }));
    // Without an answer to the second one's check both would be unhealthy, and none passed over.
    until_answers_are(&running, &["other"]).await;
}

#[tokio::test]
async fn a_changed_interval_acts_at_once() {
    let status = Arc::new(AtomicU16::new(200));
    let (one, other) = (answering("one", &status).await, Backend::named("other").await);
    let checked = |interval| {
        site(&[one.address, other.address], |cluster| {
            let mut health = active(http_probe("/healthz"));
            health.active.as_mut().unwrap().interval = interval;
            cluster.health = counted(health);
        })
    };
    let running = Running::start(checked(Duration::from_secs(3600)));
    until(|| one.requests() > 0).await;
    status.store(404, Ordering::SeqCst);
    running.proxy.publish(checked(OFTEN).snapshot());
    until_answers_are(&running, &["other"]).await;
}

#[tokio::test]
async fn an_endpoint_that_hangs_keeps_no_other_from_being_asked() {
    let status = Arc::new(AtomicU16::new(500));
    let one = answering("one", &status).await;
    let hanging = Backend::http1(|request| async move {
        if request.uri().path() == "/healthz" {
            std::future::pending::<()>().await;
        }
        Response::new(full("hanging"))
    })
    .await;
    let running = Running::start(site(&[one.address, hanging.address], |cluster| {
        let mut health = active(http_probe("/healthz"));
        health.active.as_mut().unwrap().timeout = Duration::from_secs(3600);
        cluster.health = counted(health);
    }));
    until_answers_are(&running, &["hanging"]).await;
    status.store(200, Ordering::SeqCst);
    until_answers_are(&running, &["hanging", "one"]).await;
}

/// Takes upgrades and answers other requests with `plain`. Tunnels are reset when `broken` has a permit for them.
async fn of_tunnels(plain: &'static str, broken: &Arc<Semaphore>) -> Backend {
    let broken = Arc::clone(broken);
    Backend::raw(move |mut stream| {
        let broken = Arc::clone(&broken);
        async move {
            if !read_head(&mut stream).await.to_lowercase().contains("upgrade: x") {
                let _ = stream.write_all(plain.as_bytes()).await;
                return;
            }
            let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n";
            let _ = stream.write_all(switch).await;
            broken.acquire().await.unwrap().forget();
            stream.set_zero_linger().unwrap();
        }
    })
    .await
}

/// Asks for an upgrade; gives the status as well.
async fn upgraded(running: &Running) -> (u16, Client) {
    let mut client = running.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").await;
    (client.head().await.0, client)
}

#[tokio::test]
async fn a_tunnel_that_opens_is_a_success() {
    let plain = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (one, good) = (of_tunnels(plain, &Arc::new(Semaphore::new(0))).await, Backend::named("good").await);
    let health = counted(passive(2, Duration::from_secs(3600)));
    let running = Running::start(site(&[one.address, good.address], |cluster| cluster.health = health));
    // Two requests meet both, one after the other.
    for round in 0..4 {
        let statuses = BTreeSet::from([running.get("/").await.status, running.get("/").await.status]);
        assert_eq!(statuses, BTreeSet::from([200, 503]), "round {round}");
        let statuses = BTreeSet::from([upgraded(&running).await.0, upgraded(&running).await.0]);
        assert_eq!(statuses, BTreeSet::from([101, 200]), "round {round}");
    }
}

#[tokio::test]
async fn a_tunnel_that_breaks_off_is_no_failure() {
    let plain = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\none";
    let broken = Arc::new(Semaphore::new(0));
    let (one, good) = (of_tunnels(plain, &broken).await, Backend::named("good").await);
    let health = counted(passive(1, Duration::from_secs(3600)));
    let running = Running::start(site(&[one.address, good.address], |cluster| cluster.health = health));
    let clients = [upgraded(&running).await, upgraded(&running).await];
    let mut tunnel = clients.into_iter().find(|(status, _)| *status == 101).unwrap().1;
    assert!(running.log_line().contains(" 200 "));
    broken.add_permits(1);
    tunnel.closed().await;
    assert!(running.log_line().contains(" 101 "), "the exchange is over");
    assert_eq!(answers(&running, 4).await, BTreeSet::from(["good".to_owned(), "one".to_owned()]));
}

/// A site whose requests may take some seconds, and one failure is enough.
fn in_seconds(endpoints: &[SocketAddr]) -> Site {
    let once = rule("/").to("a").retry(|retry| retry.tries = 1);
    let limited = once.timeouts(|timeouts| {
        timeouts.request = Some(Duration::from_secs(2));
        timeouts.read = Duration::from_secs(60);
    });
    let health = counted(passive(1, Duration::from_secs(3600)));
    Site::new().cluster_with("a", endpoints, |cluster| cluster.health = health).rule(limited)
}

#[tokio::test]
async fn an_endpoint_that_hangs_until_the_request_is_over_has_failed() {
    let (silent, good) = (Backend::silent().await, Backend::named("good").await);
    let running = Running::start(in_seconds(&[silent.address, good.address]));
    let mut failed = 0;
    for _ in 0..6 {
        failed += usize::from(running.get("/").await.status == 504);
    }
    assert_eq!(failed, 1);
}

#[tokio::test]
async fn an_endpoint_is_not_to_blame_for_a_client_that_takes_its_time() {
    // They answer when they have read all of it.
    let reading = |name: &'static str| {
        Backend::http1(move |request| async move {
            let _ = request.into_body().collect().await;
            Response::new(full(name))
        })
    };
    let (one, other) = (reading("one").await, reading("other").await);
    let running = Running::start(in_seconds(&[one.address, other.address]));
    for _ in 0..2 {
        let mut client = running.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na").await;
        assert_eq!(client.answer().await.status, 504);
    }
    assert_eq!(answers(&running, 4).await, BTreeSet::from(["one".to_owned(), "other".to_owned()]));
}

#[tokio::test]
async fn what_becomes_of_copies_counts_for_who_gets_them() {
    let (own, good, bad) = (Backend::named("own").await, Backend::named("good").await, Backend::status(503).await);
    let mirror = Filter::Mirror(Arc::new(Mirror { target: ClusterId::new("copies"), share: Share::ALL }));
    let health = counted(passive(1, Duration::from_secs(3600)));
    let site = Site::new()
        .cluster("a", &[own.address])
        .cluster_with("copies", &[bad.address, good.address], |cluster| cluster.health = health)
        .rule(rule("/").to("a").filter(mirror));
    let running = Running::start(site);
    for copies in 1..=6 {
        assert_eq!(running.get("/").await.status, 200);
        running.until_counted("genkan_mirrored_requests_total", "", "result=\"answered\"", Some(copies)).await;
    }
    assert_eq!((good.requests(), bad.requests()), (5, 1));
}

#[tokio::test]
async fn checks_end_with_their_policy_and_with_their_cluster() {
    let status = Arc::new(AtomicU16::new(200));
    let one = answering("one", &status).await;
    let checked = || site(&[one.address], |cluster| cluster.health = counted(active(http_probe("/healthz"))));
    let running = Running::start(checked());
    for without in [site(&[one.address], |_| {}), Site::new()] {
        running.proxy.publish(checked().snapshot());
        let before = one.requests();
        until(|| one.requests() > before + 3).await;
        running.proxy.publish(without.snapshot());
        // Some may be under way; then nobody asks any more.
        let quiet = async {
            let mut last = usize::MAX;
            while std::mem::replace(&mut last, one.requests()) != one.requests() {
                tokio::time::sleep(OFTEN * 20).await;
            }
        };
        tokio::time::timeout(PATIENCE, quiet).await.expect("the checks end");
    }
}

#[tokio::test]
async fn what_is_over_the_limit_of_requests_is_503_until_one_ends() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let backend = Backend::http1(move |_| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.unwrap().forget();
            Response::new(full("done"))
        }
    })
    .await;
    for breaker in [
        CircuitBreaker { requests: NonZeroU32::new(2), requests_per_endpoint: None },
        CircuitBreaker { requests: None, requests_per_endpoint: NonZeroU32::new(2) },
    ] {
        let running = Arc::new(Running::start(site(&[backend.address], |cluster| {
            cluster.circuit_breaker = Some(Counted { id: "policy".into(), policy: breaker });
        })));
        let before = backend.requests();
        let held: Vec<_> = (0..2)
            .map(|_| {
                let running = Arc::clone(&running);
                tokio::spawn(async move { running.get("/").await.status })
            })
            .collect();
        until(|| backend.requests() == before + 2).await;
        for _ in 0..3 {
            assert_eq!(running.get("/").await.status, 503);
        }
        assert_eq!(backend.requests(), before + 2, "nobody else came through");
        gate.add_permits(3);
        for held in held {
            assert_eq!(held.await.unwrap(), 200);
        }
        // The last bytes reach the client a moment before the request is over.
        let again = async { while running.get("/").await.status != 200 {} };
        tokio::time::timeout(PATIENCE, again).await.unwrap();
    }
}

/// Waits until something is so.
async fn until(is: impl Fn() -> bool) {
    let waited = async {
        while !is() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.expect("it comes to pass");
}
