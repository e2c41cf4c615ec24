//! Retries as Gateway API asks for them: attempts, statuses, backoff and the times of attempts and requests, for clients
//! and endpoints of both versions of HTTP. What the endpoints counted decides.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use genkan_routing::policy::retry_budget::RetryBudget;
use http::{Method, Request, Response, Version};
use http_body_util::BodyExt;
use kit::backend::{frames, read_head};
use kit::client::{Body, PATIENCE, full, h2};
use kit::model::{RuleBuilder, rule};
use kit::{Backend, Running, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(3600);
const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// A proxy with one rule for endpoints of one version.
fn serve(version: Version, endpoints: &[SocketAddr], change: impl FnOnce(RuleBuilder) -> RuleBuilder) -> Running {
    let site = match version {
        Version::HTTP_2 => Site::new().h2c_cluster("a", endpoints),
        _ => Site::new().cluster("a", endpoints),
    };
    Running::start(site.rule(change(rule("/").to("a"))))
}

/// An endpoint of this version.
async fn backend<F, R>(version: Version, answer: F) -> Backend
where
    F: Fn(Request<hyper::body::Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    match version {
        Version::HTTP_2 => Backend::h2c(answer).await,
        _ => Backend::http1(answer).await,
    }
}

/// An endpoint that never answers its first requests and answers the others.
async fn silent_at_first(version: Version, silent: usize) -> Backend {
    let asked = Arc::new(AtomicUsize::new(0));
    backend(version, move |request| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        async move {
            if number < silent {
                pending::<()>().await;
            }
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(full(body))
        }
    })
    .await
}

/// An endpoint that answers with this status, and when it was asked.
async fn failing(status: u16) -> (Backend, Arc<Mutex<Vec<Instant>>>) {
    let times = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&times);
    let backend = Backend::http1(move |_| {
        asked.lock().unwrap().push(Instant::now());
        async move { Response::builder().status(status).body(full("failing")).unwrap() }
    })
    .await;
    (backend, times)
}

/// The status and body that a client of this version gets.
async fn ask(version: Version, running: &Running, method: Method, body: &'static str) -> (u16, String) {
    if version != Version::HTTP_2 {
        let mut client = running.connect().await;
        let length = body.len();
        client.send(format!("{method} / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}")).await;
        let answer = client.answer().await;
        return (answer.status, answer.text());
    }
    let request = Request::builder().method(method).uri("http://test/").body(full(body)).unwrap();
    let answer = async {
        let response = h2(running.address).await.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time")
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_followed_by_another() {
    for client in VERSIONS {
        for endpoint in VERSIONS {
            let backend = silent_at_first(endpoint, 2).await;
            let running = serve(endpoint, &[backend.address], |rule| {
                rule.timeouts(|timeouts| timeouts.backend_request = Some(SHORT)).retry(|retry| retry.tries = 50)
            });
            let answer = ask(client, &running, Method::PUT, "again").await;
            assert_eq!(answer, (200, "again".to_owned()), "{client:?} to {endpoint:?}");
            // More where this machine is slower than an attempt may be.
            assert!(backend.requests() >= 3, "{client:?} to {endpoint:?}");
        }
    }
}

#[tokio::test]
async fn a_time_out_is_told_when_no_attempt_is_left() {
    for client in VERSIONS {
        for endpoint in VERSIONS {
            let backend = silent_at_first(endpoint, usize::MAX).await;
            let running = serve(endpoint, &[backend.address], |rule| {
                rule.timeouts(|timeouts| timeouts.backend_request = Some(SHORT)).retry(|retry| retry.tries = 2)
            });
            assert_eq!(ask(client, &running, Method::GET, "").await.0, 504, "{client:?} to {endpoint:?}");
            assert_eq!(backend.requests(), 2, "{client:?} to {endpoint:?}");
        }
    }
}

#[tokio::test]
async fn a_post_that_timed_out_is_not_sent_twice_unless_the_rule_says_so() {
    for client in VERSIONS {
        for (non_idempotent, status) in [(false, 504), (true, 200)] {
            let backend = silent_at_first(Version::HTTP_11, 1).await;
            let running = serve(Version::HTTP_11, &[backend.address], |rule| {
                rule.timeouts(|timeouts| timeouts.backend_request = Some(SHORT))
                    .retry(|retry| (retry.tries, retry.non_idempotent) = (50, non_idempotent))
            });
            assert_eq!(ask(client, &running, Method::POST, "once").await.0, status, "{client:?}");
            assert_eq!(backend.requests() > 1, non_idempotent, "{client:?}");
        }
    }
}

#[tokio::test]
async fn the_time_of_the_request_bounds_its_attempts() {
    for client in VERSIONS {
        let backend = silent_at_first(Version::HTTP_11, usize::MAX).await;
        let running = serve(Version::HTTP_11, &[backend.address], |rule| {
            rule.timeouts(|timeouts| {
                timeouts.backend_request = Some(SHORT);
                timeouts.request = Some(3 * SHORT);
            })
            .retry(|retry| retry.tries = 100)
        });
        assert_eq!(ask(client, &running, Method::GET, "").await.0, 504);
        // None of them ends before its time.
        assert!(backend.requests() <= 3, "{client:?}: {}", backend.requests());
    }
}

#[tokio::test]
async fn a_response_that_stops_after_its_head_is_not_asked_for_again() {
    for client in VERSIONS {
        let backend = Backend::raw(|mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let running = serve(Version::HTTP_11, &[backend.address], |rule| {
            rule.timeouts(|timeouts| timeouts.backend_request = Some(SHORT))
        });
        if client == Version::HTTP_2 {
            let request = Request::get("http://test/").body(full("")).unwrap();
            let response = h2(running.address).await.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            assert!(tokio::time::timeout(PATIENCE, response.into_body().collect()).await.unwrap().is_err());
        } else {
            let mut client = running.connect().await;
            client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
            assert_eq!(client.head().await.0, 200);
            assert_eq!(client.rest().await, b"half");
        }
        assert_eq!(backend.connections(), 1, "{client:?}");
    }
}

#[tokio::test]
async fn an_upload_that_outlasts_its_attempt_ends_it() {
    // The endpoint takes everything and says nothing, and the client never stops sending.
    let backend = Backend::silent().await;
    let running = serve(Version::HTTP_11, &[backend.address], |rule| {
        rule.timeouts(|timeouts| timeouts.backend_request = Some(SHORT))
    });
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let part = || hyper::body::Frame::data(bytes::Bytes::from_static(&[b'x'; 4096]));
        while sender.send(part()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let request = Request::post("http://test/").body(frames(receiver)).unwrap();
    let mut client = h2(running.address).await;
    let response = tokio::time::timeout(PATIENCE, client.send_request(request)).await.unwrap().unwrap();
    assert_eq!(response.status(), 504);
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_body_that_is_too_large_to_be_kept_is_sent_once() {
    for client in VERSIONS {
        // It takes all of the body before it answers.
        let backend = Backend::http1(|request| async move {
            let _ = request.into_body().collect().await;
            Response::builder().status(503).body(full("failing")).unwrap()
        })
        .await;
        let running =
            serve(Version::HTTP_11, &[backend.address], |rule| rule.retry(|retry| retry.on_status = vec![503]));
        let large = String::leak("x".repeat(200_000));
        let answer = ask(client, &running, Method::PUT, large).await;
        assert_eq!(answer.0, 503);
        assert_eq!(backend.requests(), 1, "{client:?}");
    }
}

#[tokio::test]
async fn attempts_are_counted_and_the_last_status_is_told() {
    for client in VERSIONS {
        for (listed, status, requests) in [(vec![500, 503], 503, 4), (vec![500], 503, 1), (vec![503], 503, 4)] {
            let (backend, times) = failing(status).await;
            let running = serve(Version::HTTP_11, &[backend.address], |rule| {
                rule.retry(|retry| (retry.tries, retry.on_status) = (4, listed.clone()))
            });
            assert_eq!(ask(client, &running, Method::GET, "").await, (status, "failing".to_owned()));
            assert_eq!(times.lock().unwrap().len(), requests, "{client:?} {listed:?}");
        }
    }
}

#[tokio::test]
async fn between_attempts_is_at_least_the_backoff_which_doubles() {
    for client in VERSIONS {
        let (backend, times) = failing(503).await;
        let running = serve(Version::HTTP_11, &[backend.address], |rule| {
            rule.retry(|retry| {
                (retry.tries, retry.on_status) = (3, vec![503]);
                retry.backoff = Some(SHORT);
            })
        });
        assert_eq!(ask(client, &running, Method::GET, "").await.0, 503);
        let times = times.lock().unwrap();
        assert_eq!(times.len(), 3);
        assert!(times[1] - times[0] >= SHORT, "{times:?}");
        assert!(times[2] - times[1] >= 2 * SHORT, "{times:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_after_the_backoff() {
    let nobody = Backend::nobody().await;
    let running =
        serve(Version::HTTP_11, &[nobody], |rule| rule.retry(|retry| (retry.tries, retry.backoff) = (2, Some(SHORT))));
    let began = Instant::now();
    assert_eq!(ask(Version::HTTP_11, &running, Method::POST, "never sent").await.0, 502);
    assert!(began.elapsed() >= SHORT);
}

#[tokio::test]
async fn a_backoff_that_outlasts_the_request_is_not_begun() {
    for client in VERSIONS {
        let (backend, times) = failing(503).await;
        let running = serve(Version::HTTP_11, &[backend.address], |rule| {
            rule.timeouts(|timeouts| timeouts.request = Some(PATIENCE * 6)).retry(|retry| {
                retry.on_status = vec![503];
                retry.backoff = Some(LONG);
            })
        });
        assert_eq!(ask(client, &running, Method::GET, "").await, (503, "failing".to_owned()));
        assert_eq!(times.lock().unwrap().len(), 1, "{client:?}");
    }
}

// Reading the log waits with its thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_during_the_backoff_is_not_waited_for() {
    for client in VERSIONS {
        let (backend, times) = failing(503).await;
        let running = serve(Version::HTTP_11, &[backend.address], |rule| {
            rule.retry(|retry| (retry.on_status, retry.backoff) = (vec![503], Some(LONG)))
        });
        let asked = async { ask(client, &running, Method::GET, "").await };
        tokio::select! {
            answer = asked => panic!("{answer:?}"),
            () = until(|| times.lock().unwrap().len() == 1) => {}
        }
        // The client was dropped with its connection.
        let line = running.log_line();
        assert!(line.contains(" 499 "), "{line}");
        assert_eq!(times.lock().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_amid_its_body_is_not_waited_for_either() {
    for client in VERSIONS {
        let nobody = Backend::nobody().await;
        let running = serve(Version::HTTP_11, &[nobody], |rule| rule.retry(|retry| retry.backoff = Some(LONG)));
        // None of the body is read before there is a connection.
        if client == Version::HTTP_2 {
            let (part, receiver) = tokio::sync::mpsc::channel(1);
            part.send(hyper::body::Frame::data("half".into())).await.unwrap();
            let request = Request::post("http://test/").body(frames(receiver)).unwrap();
            let mut sender = h2(running.address).await;
            let began = || running.proxy.metrics().encode().contains("state=\"writing\"} 1\n");
            tokio::select! {
                answer = sender.send_request(request) => panic!("{answer:?}"),
                () = until(began) => {}
            }
        } else {
            running.connect().await.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf").await;
        }
        let line = running.log_line();
        assert!(line.contains(" 499 "), "{line}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced_without_backoff() {
    // Answers one request per connection and says nothing about closing.
    let backend = Backend::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        read_head(&mut stream).await;
    })
    .await;
    let running = serve(Version::HTTP_11, &[backend.address], |rule| rule.retry(|retry| retry.backoff = Some(LONG)));
    let mut client = running.connect().await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn what_is_over_the_retry_budget_is_503() {
    let budget = RetryBudget { percent: 0, interval: LONG, floor: 2, floor_interval: LONG };
    for refused in [false, true] {
        let (backend, times) = failing(500).await;
        let address = if refused { Backend::nobody().await } else { backend.address };
        let site = Site::new().cluster_with("a", &[address], |cluster| cluster.retry_budget = Some(budget));
        let retry = |rule: RuleBuilder| rule.retry(|retry| (retry.tries, retry.on_status) = (10, vec![500]));
        let running = Running::start(site.rule(retry(rule("/").to("a"))));
        for requests in [3, 4, 5] {
            let (status, text) = ask(Version::HTTP_11, &running, Method::GET, "").await;
            assert!(status == 503 && text.contains("503 Service Temporarily Unavailable"), "{status} {text}");
            // The first has both of its retries, the others have none.
            assert_eq!(times.lock().unwrap().len(), if refused { 0 } else { requests });
        }
    }
}

#[tokio::test]
async fn a_retry_budget_outlives_changes_of_its_cluster() {
    let budget = RetryBudget { percent: 0, interval: LONG, floor: 1, floor_interval: LONG };
    let ((one, asked), (other, also_asked)) = (failing(500).await, failing(500).await);
    let site = |endpoints: &[SocketAddr]| {
        let site = Site::new().cluster_with("a", endpoints, |cluster| cluster.retry_budget = Some(budget));
        site.rule(rule("/").to("a").retry(|retry| retry.on_status = vec![500]))
    };
    let running = Running::start(site(&[one.address]));
    assert_eq!(ask(Version::HTTP_11, &running, Method::GET, "").await.0, 503);
    assert_eq!(asked.lock().unwrap().len(), 2);
    running.proxy.publish(site(&[other.address]).snapshot());
    assert_eq!(ask(Version::HTTP_11, &running, Method::GET, "").await.0, 503);
    assert_eq!(also_asked.lock().unwrap().len(), 1);
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
