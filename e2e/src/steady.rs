//! Load on what does not change while other things do: kept and new connections, plaintext and TLS, HTTP/1.1 and
//! HTTP/2, a WebSocket and a TCP stream. The first failure of any of them ends its thread, and the test with it.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::genkan::PATIENCE;
use crate::grpc;
use crate::http1::Client;
use crate::load::Load;
use crate::streams;
use crate::tls::{self, Hello};
use crate::websocket::WebSocket;

/// Between two requests of the HTTP/2 connection: leaves others some of two slow cores. It decides nothing.
const PAUSE: Duration = Duration::from_millis(5);

/// Where the load goes.
#[derive(Clone, Debug)]
pub struct Targets {
    /// The plaintext port, and a host that is served there.
    pub web: (SocketAddr, &'static str),
    /// The TLS port, a host that is served there, and the certificate that it shows, in DER.
    pub secure: (SocketAddr, &'static str, Vec<u8>),
    /// A port that leads to whoever sends back what it gets, and nothing else.
    pub stream: SocketAddr,
}

/// Load that has begun. See [`Steady::finish`].
pub struct Steady {
    running: Vec<(&'static str, Load, JoinHandle<u64>)>,
}

impl Steady {
    /// Begins. Everything that keeps a connection has it open when this returns.
    pub fn start(targets: &Targets) -> Self {
        let mut steady = Self { running: Vec::new() };
        let (web, host) = targets.web;
        let mut kept = Client::connect(web).unwrap();
        steady.run("a kept connection", move |count| {
            let answer = kept.request("POST", host, "/", &[], count.to_string().as_bytes());
            let answer = answer.expect("a kept connection");
            assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some(&*count.to_string())), "{answer:?}");
        });
        steady.run("new connections", move |_| {
            let answer = Client::connect(web).unwrap().get(host, "/").expect("a new connection");
            assert_eq!(answer.status, 200, "{answer:?}");
        });
        let mut socket = WebSocket::open(web, host);
        steady.run("a WebSocket", move |count| {
            let text = format!("text {count}");
            assert_eq!(socket.exchange(&text).expect("the WebSocket"), text);
        });
        let (secure, name, ref shown) = targets.secure;
        let mut kept = Client::new(tls::connect(secure, &Hello::to(name)).unwrap());
        steady.run("a kept TLS connection", move |_| {
            let answer = kept.get(name, "/").expect("a kept TLS connection");
            assert_eq!(answer.status, 200, "{answer:?}");
        });
        let shown = shown.clone();
        steady.run("new TLS connections", move |_| {
            let stream = tls::connect(secure, &Hello::to(name)).expect("a handshake");
            assert!(tls::shown(&stream) == shown, "another certificate is shown");
            let answer = Client::new(stream).get(name, "/").expect("a new TLS connection");
            assert_eq!(answer.status, 200, "{answer:?}");
        });
        let mut stream = streams::connect(targets.stream);
        steady.run("a TCP stream", move |count| {
            let text = count.to_string();
            stream.write_all(text.as_bytes()).expect("the TCP stream");
            let mut heard = vec![0; text.len()];
            stream.read_exact(&mut heard).expect("the TCP stream");
            assert_eq!(heard, text.as_bytes());
        });
        let load = Load::default();
        steady.running.push(("HTTP/2", load.clone(), http2(secure, name, load)));
        steady.some_more();
        steady
    }

    /// One load more.
    pub fn run(&mut self, name: &'static str, once: impl FnMut(u64) + Send + 'static) {
        let load = Load::default();
        let thread = load.run(once);
        self.running.push((name, load, thread));
    }

    /// Waits until each load has been answered twice more, so that one answer began after this was called. Fails if one
    /// has failed.
    pub fn some_more(&self) {
        let before: Vec<_> = self.running.iter().map(|(_, load, _)| load.done()).collect();
        let deadline = std::time::Instant::now() + PATIENCE;
        for ((name, load, thread), before) in self.running.iter().zip(before) {
            while load.done() < before + 2 {
                assert!(!thread.is_finished(), "{name} failed");
                assert!(std::time::Instant::now() < deadline, "{name} is stuck");
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Ends it. Fails if anything failed.
    pub fn finish(self) {
        self.running.iter().for_each(|(_, load, _)| load.end());
        for (name, _, thread) in self.running {
            let count = thread.join().unwrap_or_else(|_| panic!("{name} failed"));
            assert!(count > 0, "{name} did nothing");
        }
    }
}

/// One HTTP/2 connection over TLS.
fn http2(address: SocketAddr, host: &'static str, load: Load) -> JoinHandle<u64> {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = grpc::connect_tls(address, host).await;
            let mut count = 0;
            while !load.is_over() {
                let (status, _, body) = grpc::get(&mut connection, host, "/").await.expect("HTTP/2");
                assert_eq!(status, 200, "{body:?}");
                count += 1;
                load.count();
                tokio::time::sleep(PAUSE).await;
            }
            count
        })
    })
}
