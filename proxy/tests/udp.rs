//! UDP sessions.

#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod kit;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use genkan_routing::model::{Protocol, ProxySettings};
use kit::client::PATIENCE;
use kit::model::Site;
use kit::running::Running;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A backend that answers each datagram so often with its name and the datagram, and tells who asked.
struct Answers {
    address: SocketAddr,
    asked: mpsc::UnboundedReceiver<SocketAddr>,
    task: JoinHandle<()>,
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Answers {
    async fn start(name: &'static str, times: usize) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (sender, asked) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
                let _ = sender.send(from);
                let answer = [name.as_bytes(), b":", &buffer[..count]].concat();
                for _ in 0..times {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self { address, asked, task }
    }

    /// Who sent the next datagram.
    async fn asked_by(&mut self) -> SocketAddr {
        tokio::time::timeout(PATIENCE, self.asked.recv()).await.unwrap().unwrap()
    }
}

fn site(endpoints: &[SocketAddr], change: impl FnOnce(&mut ProxySettings)) -> Site {
    Site::new().cluster("a", endpoints).stream("udp/9000", Protocol::Udp, "a", |_| {}).settings(change)
}

fn plain(endpoints: &[SocketAddr]) -> Site {
    site(endpoints, |_| {})
}

/// A client's socket, connected, so that an answer from elsewhere would not arrive.
async fn client(running: &Running) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(running.address_of("udp/9000").unwrap()).await.unwrap();
    socket
}

async fn answer(client: &UdpSocket) -> String {
    let mut buffer = vec![0; 65_536];
    let count = tokio::time::timeout(PATIENCE, client.recv(&mut buffer)).await.expect("an answer").unwrap();
    String::from_utf8(buffer[..count].to_vec()).unwrap()
}

async fn ask(client: &UdpSocket, text: &str) -> String {
    client.send(text.as_bytes()).await.unwrap();
    answer(client).await
}

#[tokio::test]
async fn an_answered_session_ends_and_the_next_one_takes_the_next_endpoint() {
    let (one, two) = (Answers::start("one", 1).await, Answers::start("two", 1).await);
    let running = Running::start(plain(&[one.address, two.address]));
    let client = client(&running).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(ask(&client, "x").await);
        let line = running.log_line();
        assert!(line.contains("] UDP 200 5 1 "), "{line}");
    }
    assert!(seen[0] != seen[1] && seen[0] == seen[2] && seen[1] == seen[3], "{seen:?}");
}

#[tokio::test]
async fn a_session_that_waits_for_more_answers_keeps_its_endpoint_and_socket() {
    let mut one = Answers::start("one", 1).await;
    let running = Running::start(site(&[one.address], |settings| settings.stream.responses = 2));
    let (first, second) = (client(&running).await, client(&running).await);
    let mut from = BTreeSet::new();
    for _ in 0..3 {
        assert_eq!(ask(&first, "x").await, "one:x");
        from.insert(one.asked_by().await);
    }
    assert_eq!(from.len(), 1, "each datagram had a socket of its own");
    ask(&second, "y").await;
    assert!(!from.contains(&one.asked_by().await), "two clients share a socket");
}

#[tokio::test]
async fn all_expected_answers_arrive_and_then_the_session_is_over() {
    let one = Answers::start("one", 3).await;
    let running = Running::start(site(&[one.address], |settings| settings.stream.responses = 3));
    let client = client(&running).await;
    client.send(b"x").await.unwrap();
    for _ in 0..3 {
        assert_eq!(answer(&client).await, "one:x");
    }
    let line = running.log_line();
    assert!(line.contains("] UDP 200 15 1 "), "{line}");
}

#[tokio::test]
async fn where_no_answer_is_expected_a_session_ends_with_its_datagram() {
    let mut silent = Answers::start("log", 0).await;
    let running = Running::start(site(&[silent.address], |settings| settings.stream.responses = 0));
    let client = client(&running).await;
    client.send(b"a line").await.unwrap();
    silent.asked_by().await;
    let line = running.log_line();
    assert!(line.contains("] UDP 200 0 6 "), "{line}");
}

#[tokio::test]
async fn a_session_without_an_answer_ends_after_its_time() {
    let silent = Answers::start("silent", 0).await;
    let timeout = Duration::from_millis(50);
    let running = Running::start(site(&[silent.address], |settings| settings.stream.timeout = timeout));
    client(&running).await.send(b"x").await.unwrap();
    let line = running.log_line();
    assert!(line.contains("] UDP 502 0 1 "), "{line}");
}

#[tokio::test]
async fn an_endpoint_that_is_gone_costs_its_session_and_not_the_port() {
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let running = Running::start(plain(&[gone]));
    let client = client(&running).await;
    for _ in 0..2 {
        client.send(b"x").await.unwrap();
        let line = running.log_line();
        assert!(line.contains("] UDP 502 0 1 "), "{line}");
    }
    let one = Answers::start("one", 1).await;
    running.proxy.publish(plain(&[one.address]).snapshot());
    assert_eq!(ask(&client, "y").await, "one:y");
}

#[tokio::test]
async fn datagrams_of_every_size_arrive_whole() {
    let one = Answers::start("one", 1).await;
    let running = Running::start(plain(&[one.address]));
    let client = client(&running).await;
    for size in [0, 1, 1400, 9000, 65_000] {
        let text = "z".repeat(size);
        assert_eq!(ask(&client, &text).await, format!("one:{text}"), "{size}");
    }
}

#[tokio::test]
async fn sessions_are_bounded_and_what_is_too_much_is_counted() {
    let silent = Answers::start("silent", 0).await;
    let running = Running::start(site(&[silent.address], |settings| settings.stream.max_sessions = 2));
    let mut clients = Vec::new();
    for _ in 0..3 {
        let client = client(&running).await;
        client.send(b"x").await.unwrap();
        clients.push(client);
    }
    let metric = |name: &str| {
        let text = running.proxy.metrics().encode();
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next().map(str::to_owned))
    };
    tokio::time::timeout(PATIENCE, async {
        while metric("genkan_stream_dropped_datagrams_total").as_deref() != Some("1") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("one is dropped");
    assert_eq!(metric("genkan_stream_active_sessions").as_deref(), Some("2"));
}

#[tokio::test]
async fn a_port_that_is_no_longer_wanted_is_free_at_once() {
    let silent = Answers::start("silent", 0).await;
    let running = Running::start(plain(&[silent.address]));
    let client = client(&running).await;
    client.send(b"x").await.unwrap();
    let address = running.address_of("udp/9000").unwrap();
    let mut silent = silent;
    silent.asked_by().await;
    running.proxy.publish(Site::new().snapshot());
    // Its session ends, and with it the last that holds the socket.
    let line = running.log_line();
    assert!(line.contains("] UDP 200 0 1 "), "{line}");
    tokio::time::timeout(PATIENCE, async {
        while UdpSocket::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the port is free");
}

#[tokio::test]
async fn a_drain_waits_for_answers() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let running = Running::start(plain(&[socket.local_addr().unwrap()]));
    let client = client(&running).await;
    client.send(b"x").await.unwrap();
    let mut buffer = [0; 16];
    let (_, from) = socket.recv_from(&mut buffer).await.unwrap();
    let late = async {
        // Answers once new datagrams are no longer taken.
        while running.address_of("udp/9000").is_some() {
            tokio::task::yield_now().await;
        }
        socket.send_to(b"late", from).await.unwrap();
        answer(&client).await
    };
    let (cut_off, late) = tokio::join!(running.proxy.drain(), late);
    assert_eq!((cut_off, late.as_str()), (0, "late"));
}

#[tokio::test]
async fn every_worker_answers_its_own_flows() {
    let one = Answers::start("one", 1).await;
    let running = Running::start_with(plain(&[one.address]), |config| config.workers = 2);
    let mut clients = Vec::new();
    for _ in 0..16 {
        clients.push(client(&running).await);
    }
    for round in 0..4 {
        for (number, client) in clients.iter().enumerate() {
            let text = format!("{round}-{number}");
            assert_eq!(ask(client, &text).await, format!("one:{text}"));
        }
    }
}

#[tokio::test]
async fn what_arrives_at_an_address_of_other_listeners_is_dropped() {
    let mut backend = Answers::start("here", 1).await;
    let site = plain(&[backend.address]).own_addresses(&["127.0.0.2".parse().unwrap()]);
    let running = Running::start(site.listener("udp/9000", |listener| listener.addresses.clear()));
    let port = running.address_of("udp/9000").unwrap().port();
    let (stranger, client) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    stranger.send_to(b"lost", ("127.0.0.2", port)).await.unwrap();
    client.send_to(b"taken", ("127.0.0.1", port)).await.unwrap();
    let mut buffer = [0; 64];
    let (count, _) = tokio::time::timeout(PATIENCE, client.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer[..count], b"here:taken");
    backend.asked_by().await;
    assert!(backend.asked.try_recv().is_err());
}
