//! Swapping snapshots under load: whatever changes, no request fails and no stream ends.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::thread::{self, JoinHandle};
use std::time::Duration;

use genkan_e2e::http1::Client;
use genkan_e2e::load::Load;
use genkan_e2e::manifests::{config_map, ingress, service};
use genkan_e2e::websocket::WebSocket;
use genkan_e2e::{Echo, Genkan, Options, grpc};

/// How many snapshots are swapped in.
const SWAPS: u64 = 1000;
/// Between two requests of one client: leaves swaps some of two slow cores. It decides nothing.
const PAUSE: Duration = Duration::from_millis(5);

/// The file of swap number `swap`. Each differs from the one before by one of: the endpoints of the Service that is
/// under load, an annotation of its Ingress, a route more or less, a whole host more or less. Besides, a redirect of a
/// host of its own tells which swap is live.
fn manifests(swap: u64, backends: &[&Echo; 2]) -> String {
    let endpoints = match swap / 12 % 3 {
        0 => vec![backends[0].address()],
        1 => vec![backends[0].address(), backends[1].address()],
        _ => vec![backends[1].address()],
    };
    // What changes every so many swaps: settings more often than objects come and go, as in clusters.
    let turned = |swaps: u64| swap / swaps % 2 == 1;
    let body_size = if turned(2) { "8m" } else { "16m" };
    let annotations = [("proxy-body-size", body_size), ("proxy-read-timeout", "600")];
    let mut text = service("web", &endpoints) + &ingress("web", "web.test", "web", &annotations);
    if turned(15) {
        text += &ingress("more", "web.test", "web", &[]).replace("path: /\n", "path: /more\n");
    }
    if turned(20) {
        text += &ingress("other", "other.test", "web", &[]);
    }
    text += &ingress("grpc", "grpc.test", "web", &[("backend-protocol", "GRPC"), annotations[0]]);
    let target = format!("https://swap.test/{swap}");
    text + &ingress("swap", "swap.test", "web", &[("permanent-redirect", &target)])
}

/// One HTTP/2 connection with a gRPC stream that stays open and requests beside it. Gives how many were answered.
fn http2_load(address: std::net::SocketAddr, load: &Load) -> JoinHandle<u64> {
    let load = load.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = grpc::connect(address).await;
            let mut stream = grpc::Stream::open(&mut connection, "grpc.test").await;
            let mut count = 0;
            while !load.is_over() {
                let message = format!("message {count}");
                assert_eq!(stream.exchange(&message).await, Ok(message), "the gRPC stream");
                let (status, _, body) = grpc::get(&mut connection, "web.test", "/h2").await.expect("HTTP/2");
                assert_eq!(status, 200, "{body:?}");
                count += 1;
                load.count();
                tokio::time::sleep(PAUSE).await;
            }
            assert_eq!(stream.finish().await.get("grpc-status").unwrap(), "0");
            count
        })
    })
}

#[test]
fn a_thousand_swaps_fail_no_request_and_end_no_stream() {
    let (first, second) = (Echo::start("first"), Echo::start("second"));
    let backends = [&first, &second];
    // The gRPC stream and the WebSocket stay on the first backend, which no longer is one after some swaps.
    let web = ("web.yaml", manifests(0, &backends));
    // No connection is closed because it was used often enough.
    let settings = config_map(&[("keep-alive-requests", "100000000")]);
    let genkan = Genkan::serve_with(&[(web.0, &web.1), ("settings.yaml", &settings)], Options::default());
    let address = genkan.http();

    let load = Load::default();
    let mut socket = WebSocket::open(address, "web.test");
    let mut kept = Client::connect(address).unwrap();
    let threads = [
        (
            "keep-alive",
            load.run(move |count| {
                // Without a new connection: the proxy keeps this one through all swaps.
                let answer = kept.request("POST", "web.test", "/more", &[], format!("{count}").as_bytes());
                let answer = answer.expect("a kept connection");
                assert_eq!(answer.status, 200, "{answer:?}");
                assert_eq!(answer.json()["body"], count.to_string(), "{answer:?}");
            }),
        ),
        (
            "new connections",
            load.run(move |_| {
                let answer = Client::connect(address).unwrap().get("web.test", "/").expect("a new connection");
                assert_eq!(answer.status, 200, "{answer:?}");
            }),
        ),
        (
            "WebSocket",
            load.run(move |count| {
                let text = format!("text {count}");
                assert_eq!(socket.exchange(&text).expect("the WebSocket"), text);
            }),
        ),
        ("HTTP/2 and gRPC", http2_load(address, &load)),
    ];

    let mut observer = Client::connect(address).unwrap();
    for swap in 1..=SWAPS {
        let before = load.done();
        genkan.write(web.0, &manifests(swap, &backends));
        let target = format!("https://swap.test/{swap}");
        genkan.wait_until("a swap", || {
            let answer = observer.get("swap.test", "/").expect("the redirect is always there");
            assert_eq!(answer.status, 301, "{answer:?}");
            answer.field("location") == Some(&target)
        });
        // Load goes on between any two swaps; a thread that failed is found here, not at the end.
        genkan.wait_until("a request", || {
            assert!(threads.iter().all(|(_, thread)| !thread.is_finished()), "load failed at swap {swap}");
            load.done() > before
        });
    }
    load.end();
    for (name, thread) in threads {
        let count = thread.join().unwrap_or_else(|_| panic!("{name} failed"));
        assert!(count > 0, "{name} did nothing");
    }
    let (status, metrics) = genkan.admin_get("/metrics");
    assert_eq!(status, 200);
    let succeeded = "nginx_ingress_controller_success{";
    let line = metrics.lines().find(|line| line.starts_with(succeeded)).unwrap_or_else(|| panic!("{metrics}"));
    let reloads: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(reloads > SWAPS as f64, "{line}");
}
