//! Draining: what SIGTERM does to load, to running requests, to readiness, and how it ends.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use genkan_e2e::frames::{Frame, Frames, GOAWAY, PING, SETTINGS};
use genkan_e2e::http1::{self, Client, Failure};
use genkan_e2e::manifests::{config_map, ingress, service};
use genkan_e2e::websocket::WebSocket;
use genkan_e2e::{Echo, Genkan, Options, PATIENCE, grpc};

fn manifests(backend: SocketAddr) -> String {
    service("web", &[backend]) + &ingress("web", "web.test", "web", &[("proxy-read-timeout", "600")])
}

fn serve(backend: SocketAddr, arguments: &[&str]) -> Genkan {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Genkan::serve_with(&[("web.yaml", &manifests(backend))], Options { arguments, ..Options::default() })
}

/// A backend that answers one request only when it is told to.
struct Slow {
    address: SocketAddr,
    /// Says that the request is there.
    begun: mpsc::Receiver<()>,
    /// Lets it be answered.
    finish: mpsc::Sender<()>,
}

impl Slow {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ((begin, begun), (finish, finished)) = (mpsc::channel(), mpsc::channel());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::new();
            while !received.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
                received.push(byte[0]);
            }
            begin.send(()).unwrap();
            // The test may have ended; then nobody wants the answer.
            if finished.recv().is_ok() {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow").unwrap();
            }
        });
        Self { address, begun, finish }
    }
}

/// Whether nothing listens there any more.
fn refused(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)
}

/// A client of the kind that load balancers are: keeps its connection until it is told that it closes, sends a request
/// again only when the connection ended before a byte of its answer, and ends when nothing listens any more.
fn http1_client(address: SocketAddr, answered: &AtomicU64) {
    'connections: loop {
        let mut client = match Client::connect(address) {
            Ok(client) => client,
            Err(error) => {
                assert!(refused(&error), "{error}");
                return;
            }
        };
        loop {
            match client.get("web.test", "/delay/1") {
                Ok(answer) => {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                    if answer.closes() {
                        continue 'connections;
                    }
                }
                Err(Failure::Unanswered) => continue 'connections,
                Err(Failure::Lost(why)) => panic!("a request was lost: {why}"),
            }
        }
    }
}

/// The same on HTTP/2: GOAWAY tells which requests were not taken.
async fn http2_client(address: SocketAddr, answered: &AtomicU64) {
    'connections: loop {
        if let Err(error) = TcpStream::connect(address) {
            assert!(refused(&error), "{error}");
            return;
        }
        let Ok(mut connection) = grpc::try_connect(address).await else { continue };
        loop {
            // An error here is before the request was sent.
            if connection.ready().await.is_err() {
                continue 'connections;
            }
            match grpc::get(&mut connection, "web.test", "/delay/1").await {
                Ok((status, _, body)) => {
                    assert_eq!(status, 200, "{body:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    assert!(grpc::unprocessed(&error), "a request was lost: {error:?}");
                    continue 'connections;
                }
            }
        }
    }
}

#[test]
fn draining_under_load_fails_no_request() {
    let echo = Echo::start("web");
    let mut genkan = serve(echo.address(), &[]);
    let address = genkan.http();
    let counters: Vec<_> = (0..4).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let clients: Vec<_> = counters
        .iter()
        .enumerate()
        .map(|(index, answered)| {
            let answered = answered.clone();
            thread::spawn(move || {
                if index == 0 {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(http2_client(address, &answered));
                } else {
                    http1_client(address, &answered);
                }
            })
        })
        .collect();
    genkan.wait_until("load", || {
        assert!(clients.iter().all(|client| !client.is_finished()), "a client failed");
        counters.iter().all(|answered| answered.load(Ordering::Relaxed) > 20)
    });
    genkan.terminate();
    assert_eq!(genkan.wait().code(), Some(0), "{}", genkan.errors());
    for client in clients {
        client.join().expect("no request is lost");
    }
}

#[test]
fn a_running_request_finishes_and_says_that_the_connection_closes() {
    let slow = Slow::start();
    let mut genkan = serve(slow.address, &[]);
    let mut idle = Client::connect(genkan.http()).unwrap();
    assert_eq!(idle.get("elsewhere.test", "/").unwrap().status, 404);
    let mut running = Client::connect(genkan.http()).unwrap();
    running.send("GET", "web.test", "/", &[], b"").unwrap();
    slow.begun.recv().unwrap();
    genkan.terminate();
    // The idle connection is closed after running ones were told that they are the last.
    assert!(idle.rest().unwrap().is_empty());
    slow.finish.send(()).unwrap();
    let answer = running.answer("GET").expect("the running request's answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "slow"));
    assert!(answer.closes(), "{answer:?}");
    assert!(running.rest().unwrap().is_empty());
    assert_eq!(genkan.wait().code(), Some(0), "{}", genkan.errors());
}

#[test]
fn an_http_2_client_is_told_to_go_away_without_an_error() {
    let echo = Echo::start("web");
    let mut genkan = serve(echo.address(), &[]);
    let stream = TcpStream::connect(genkan.http()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut frames = Frames::open(stream).unwrap();
    frames.next_of(SETTINGS).unwrap();
    genkan.terminate();
    let mut reasons = Vec::new();
    while let Some(frame) = frames.frame().unwrap() {
        match frame.kind {
            GOAWAY => reasons.push(frame.payload[4..8].to_vec()),
            // Asks whether the client has seen that it is to go.
            PING if frame.flags == 0 => frames.send(&Frame { flags: 1, ..frame }).unwrap(),
            _ => {}
        }
    }
    assert!(!reasons.is_empty() && reasons.iter().all(|reason| *reason == 0_u32.to_be_bytes()), "{reasons:?}");
    assert_eq!(genkan.wait().code(), Some(0), "{}", genkan.errors());
}

#[test]
fn it_is_not_ready_but_serves_during_the_grace_period() {
    let slow = Slow::start();
    let echo = Echo::start("other");
    let manifests = [
        service("slow", &[slow.address]),
        ingress("slow", "slow.test", "slow", &[]),
        service("web", &[echo.address()]),
        ingress("web", "web.test", "web", &[]),
    ];
    let arguments = vec!["--shutdown-grace-period".to_owned(), "4".to_owned()];
    let mut genkan =
        Genkan::serve_with(&[("all.yaml", &manifests.concat())], Options { arguments, ..Options::default() });
    assert_eq!(genkan.admin_get("/readyz").0, 200);
    genkan.terminate();
    genkan.wait_until("not ready", || genkan.admin_get("/readyz").0 == 503);
    assert_eq!(genkan.admin_get("/healthz").0, 500);
    assert_eq!(http1::get(genkan.http(), "web.test", "/").status, 200, "new connections are still served");
    // A request that begins now outlives the grace period.
    let mut running = Client::connect(genkan.http()).unwrap();
    running.send("GET", "slow.test", "/", &[], b"").unwrap();
    slow.begun.recv().unwrap();
    genkan.wait_until("the port closes", || TcpStream::connect(genkan.http()).is_err());
    assert_eq!(genkan.admin_get("/readyz").0, 503);
    slow.finish.send(()).unwrap();
    assert_eq!(running.answer("GET").unwrap().status, 200);
    assert_eq!(genkan.wait().code(), Some(0), "{}", genkan.errors());
}

#[test]
fn a_second_signal_ends_at_once() {
    let slow = Slow::start();
    let mut genkan = serve(slow.address, &[]);
    let mut running = Client::connect(genkan.http()).unwrap();
    running.send("GET", "web.test", "/", &[], b"").unwrap();
    slow.begun.recv().unwrap();
    genkan.terminate();
    genkan.wait_until("not ready", || genkan.admin_get("/readyz").0 == 503);
    genkan.terminate();
    // The running request alone would keep it for 240 s, which is longer than this waits.
    let status = genkan.wait();
    assert_eq!(status.code(), Some(1), "{}", genkan.errors());
    assert!(matches!(running.answer("GET"), Err(Failure::Unanswered)));
}

#[test]
fn the_deadline_cuts_what_still_runs() {
    let echo = Echo::start("web");
    cuts(serve(echo.address(), &["--worker-shutdown-timeout", "1"]));
    let settings = config_map(&[("worker-shutdown-timeout", "1s")]);
    cuts(Genkan::serve(&(manifests(echo.address()) + &settings)));
}

/// What still runs a second after the signal is cut off.
fn cuts(mut genkan: Genkan) {
    let mut socket = WebSocket::open(genkan.http(), "web.test");
    assert_eq!(socket.exchange("before").unwrap(), "before");
    genkan.terminate();
    genkan.wait_until("the port closes", || TcpStream::connect(genkan.http()).is_err());
    // A reset is as good an end as any for one that was cut.
    let rest = socket.rest().unwrap_or_default();
    assert!(rest.is_empty(), "{rest:?}");
    assert_eq!(genkan.wait().code(), Some(0), "{}", genkan.errors());
    assert!(genkan.errors().contains("still open"), "{}", genkan.errors());
}
