//! TCP connections that are passed on as they are.

#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod kit;

use std::net::SocketAddr;
use std::time::Duration;

use genkan_routing::model::{Protocol, Stream, StreamBackend, Target, UpstreamTls};
use genkan_routing::name::ClusterId;
use kit::backend::Backend;
use kit::client::PATIENCE;
use kit::model::Site;
use kit::running::Running;
use kit::tls::Pair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A backend that sends back what it gets, and ends when the client has.
async fn echo() -> Backend {
    Backend::raw(|mut stream| async move {
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    })
    .await
}

/// A backend that says its name and closes.
async fn named(name: &'static str) -> Backend {
    Backend::raw(move |mut stream| async move {
        let _ = stream.write_all(name.as_bytes()).await;
    })
    .await
}

fn site(endpoints: &[SocketAddr], change: impl FnOnce(&mut Stream)) -> Site {
    Site::new().cluster("a", endpoints).stream("tcp/9000", Protocol::Tcp, "a", change)
}

fn plain(endpoints: &[SocketAddr]) -> Site {
    site(endpoints, |_| {})
}

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.address_of("tcp/9000").unwrap()).await.unwrap()
}

/// Everything until the end.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Everything until the end; a reset is an end as well.
async fn rest_or_reset(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap();
    bytes
}

async fn exactly(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    bytes
}

/// The words of the next log line after its time.
fn logged(running: &Running) -> Vec<String> {
    let line = running.log_line();
    let (_, after) = line.rsplit_once("] ").unwrap();
    after.split(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn bytes_go_both_ways_and_half_a_connection_can_close() {
    let backend = echo().await;
    let running = Running::start(plain(&[backend.address]));
    let mut client = connect(&running).await;
    client.write_all(b"hello").await.unwrap();
    assert_eq!(exactly(&mut client, 5).await, b"hello");
    client.write_all(b", and bye").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, ", and bye");
    let line = logged(&running);
    assert_eq!(line[..4], ["TCP", "200", "14", "14"]);
}

#[tokio::test]
async fn a_backend_that_has_said_all_can_still_listen() {
    let (sender, received) = tokio::sync::oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let backend = Backend::raw(move |mut stream| {
        let sender = sender.lock().unwrap().take();
        async move {
            stream.write_all(b"that is all").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            sender.unwrap().send(bytes).unwrap();
        }
    })
    .await;
    let running = Running::start(plain(&[backend.address]));
    let mut client = connect(&running).await;
    assert_eq!(rest(&mut client).await, "that is all");
    client.write_all(b"thanks").await.unwrap();
    drop(client);
    assert_eq!(tokio::time::timeout(PATIENCE, received).await.unwrap().unwrap(), b"thanks");
}

#[tokio::test]
async fn large_amounts_arrive_whole_while_the_reader_is_slow() {
    let backend = echo().await;
    let running = Running::start(plain(&[backend.address]));
    let client = connect(&running).await;
    let bytes: Vec<u8> = (0..8 << 20).map(|index: u32| (index % 251) as u8).collect();
    let sent = bytes.clone();
    let (mut from, mut to) = client.into_split();
    let writer = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    });
    // Nothing is read before all buffers on the way must be full.
    let mut received = Vec::new();
    tokio::task::yield_now().await;
    tokio::time::timeout(PATIENCE, from.read_to_end(&mut received)).await.unwrap().unwrap();
    writer.await.unwrap();
    assert!(received == bytes, "{} bytes came back of {}", received.len(), bytes.len());
    let expected = bytes.len().to_string();
    assert_eq!(logged(&running)[2..4], [expected.clone(), expected]);
}

#[tokio::test]
async fn connections_take_turns_and_a_refused_one_goes_to_the_next() {
    let (one, two) = (named("one").await, named("two").await);
    let running = Running::start(plain(&[one.address, two.address]));
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(rest(&mut connect(&running).await).await);
    }
    assert!(seen[0] != seen[1] && seen[0] == seen[2] && seen[1] == seen[3], "{seen:?}");
    drop(one);
    for _ in 0..4 {
        assert_eq!(rest(&mut connect(&running).await).await, "two");
    }
}

#[tokio::test]
async fn when_nobody_can_be_reached_the_connection_is_closed_and_every_try_is_logged() {
    let (one, two) = (Backend::nobody().await, Backend::nobody().await);
    let format = "$status $upstream_addr";
    let with_format = |site: Site| site.settings(|settings| settings.access_log.stream.format = format.to_owned());
    let running = Running::start(with_format(plain(&[one, two])));
    assert_eq!(rest_or_reset(&mut connect(&running).await).await, b"");
    let mut words: Vec<_> = running.log_line().split([' ', ',']).map(str::to_owned).collect();
    words.retain(|word| !word.is_empty());
    words.sort();
    let mut expected = ["502".to_owned(), one.to_string(), two.to_string()];
    expected.sort();
    assert_eq!(words, expected);

    let once = with_format(plain(&[one, two])).settings(|settings| settings.stream.next_upstream = false);
    running.proxy.publish(once.snapshot());
    assert_eq!(rest_or_reset(&mut connect(&running).await).await, b"");
    assert!(!running.log_line().contains(','), "another endpoint was tried");
}

#[tokio::test]
async fn a_client_is_announced_in_both_directions() {
    let backend = echo().await;
    let both = |stream: &mut Stream| {
        stream.accept_proxy_protocol = true;
        stream.send_proxy_protocol = true;
    };
    let running = Running::start(site(&[backend.address], both));
    let mut client = connect(&running).await;
    // What follows the header at once must not be lost.
    client.write_all(b"PROXY TCP4 192.0.2.1 198.51.100.7 5000 443\r\nhello").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, "PROXY TCP4 192.0.2.1 198.51.100.7 5000 443\r\nhello");
    let line = running.log_line();
    assert!(line.starts_with("[192.0.2.1] "), "{line}");
    assert!(line.contains(" TCP 200 49 5 "), "{line}");
}

#[tokio::test]
async fn without_a_header_from_the_client_its_own_address_is_announced() {
    let backend = echo().await;
    let running = Running::start(site(&[backend.address], |stream| stream.send_proxy_protocol = true));
    let mut client = connect(&running).await;
    client.shutdown().await.unwrap();
    let (own, listener) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", own.port(), listener.port());
    assert_eq!(rest(&mut client).await, expected);
}

#[tokio::test]
async fn an_endpoint_with_tls_gets_the_header_before_it() {
    const HEADER: &str = "PROXY TCP4 192.0.2.1 198.51.100.7 5000 443\r\n";
    let acceptor = Pair::new("endpoint.test").acceptor(&[]);
    let backend = Backend::raw(move |mut stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut header = [0; HEADER.len()];
            stream.read_exact(&mut header).await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.write_all(&header).await;
            let (mut from, mut to) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        }
    })
    .await;
    let site = Site::new().cluster_with("a", &[backend.address], |cluster| cluster.tls = Some(UpstreamTls::UNVERIFIED));
    let running = Running::start(site.stream("tcp/9000", Protocol::Tcp, "a", |stream| {
        stream.accept_proxy_protocol = true;
        stream.send_proxy_protocol = true;
    }));
    let mut client = connect(&running).await;
    client.write_all(format!("{HEADER}hello").as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, format!("{HEADER}hello"));
}

#[tokio::test]
async fn a_client_that_does_not_announce_itself_where_it_must_is_closed() {
    let backend = echo().await;
    let running = Running::start(site(&[backend.address], |stream| stream.accept_proxy_protocol = true));
    let mut client = connect(&running).await;
    client.write_all(b"hello, no header").await.unwrap();
    assert_eq!(rest_or_reset(&mut client).await, b"");
    assert_eq!(logged(&running)[1], "400");
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn a_header_that_does_not_come_ends_the_connection() {
    let backend = echo().await;
    let site = site(&[backend.address], |stream| stream.accept_proxy_protocol = true)
        .settings(|settings| settings.stream.header_timeout = Duration::from_millis(50));
    let running = Running::start(site);
    let mut client = connect(&running).await;
    client.write_all(b"PROXY TCP4 ").await.unwrap();
    assert_eq!(rest_or_reset(&mut client).await, b"");
    assert_eq!(logged(&running)[1], "400");
}

#[tokio::test]
async fn an_idle_connection_ends_and_a_busy_one_does_not() {
    let backend = echo().await;
    let timeout = Duration::from_millis(300);
    let running = Running::start(plain(&[backend.address]).settings(|settings| settings.stream.timeout = timeout));
    let mut client = connect(&running).await;
    let began = std::time::Instant::now();
    while began.elapsed() < 2 * timeout {
        client.write_all(b"x").await.unwrap();
        exactly(&mut client, 1).await;
    }
    let idle = std::time::Instant::now();
    assert_eq!(rest(&mut client).await, "");
    assert!(idle.elapsed() >= timeout / 2, "it ended before its time");
    assert_eq!(logged(&running)[1], "200");
}

#[tokio::test]
async fn a_published_table_moves_new_connections_and_leaves_running_ones() {
    let (one, two) = (echo().await, named("two").await);
    let running = Running::start(plain(&[one.address]));
    let mut old = connect(&running).await;
    old.write_all(b"a").await.unwrap();
    assert_eq!(exactly(&mut old, 1).await, b"a");
    running.proxy.publish(plain(&[two.address]).snapshot());
    assert_eq!(rest(&mut connect(&running).await).await, "two");
    old.write_all(b"b").await.unwrap();
    assert_eq!(exactly(&mut old, 1).await, b"b");

    // Without the listener the port refuses, and the connection still runs.
    let address = running.address_of("tcp/9000").unwrap();
    running.proxy.publish(Site::new().snapshot());
    assert!(TcpStream::connect(address).await.is_err());
    old.write_all(b"c").await.unwrap();
    old.shutdown().await.unwrap();
    assert_eq!(rest(&mut old).await, "c");
}

#[tokio::test]
async fn a_cluster_without_endpoints_and_an_invalid_backend_close() {
    let invalid = |stream: &mut Stream| {
        stream.backends = vec![StreamBackend { weight: 1, target: Target::Invalid { reason: "why".to_owned() } }];
    };
    for site in [plain(&[]), site(&[], invalid)] {
        let running = Running::start(site);
        assert_eq!(rest_or_reset(&mut connect(&running).await).await, b"");
        assert_eq!(logged(&running)[1], "502");
    }
}

#[tokio::test]
async fn backends_get_connections_by_weight() {
    let (one, two) = (named("one").await, named("two").await);
    let weighted = |stream: &mut Stream| {
        let backend = |name: &str, weight| StreamBackend { weight, target: Target::Cluster(ClusterId::new(name)) };
        stream.backends = vec![backend("a", 0), backend("b", 3)];
    };
    let site = Site::new().cluster("a", &[one.address]).cluster("b", &[two.address]);
    let running = Running::start(site.stream("tcp/9000", Protocol::Tcp, "a", weighted));
    for _ in 0..8 {
        assert_eq!(rest(&mut connect(&running).await).await, "two");
    }
}

#[tokio::test]
async fn a_drain_lets_a_connection_finish() {
    let backend = echo().await;
    let running = Running::start(plain(&[backend.address]));
    let mut client = connect(&running).await;
    client.write_all(b"a").await.unwrap();
    assert_eq!(exactly(&mut client, 1).await, b"a");
    let address = client.peer_addr().unwrap();
    let finish = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        client.write_all(b"b").await.unwrap();
        client.shutdown().await.unwrap();
        rest(&mut client).await
    };
    let (cut_off, last) = tokio::join!(running.proxy.drain(), finish);
    assert_eq!((cut_off, last.as_str()), (0, "b"));
}

/// The metrics of the port of these tests.
const COUNTED: &str = "protocol=\"tcp\",port=\"9000\",namespace=\"default\",name=\"services\"";

#[tokio::test]
async fn connections_are_counted_by_port() {
    let backend = echo().await;
    let running = Running::start(plain(&[backend.address]));
    let mut client = connect(&running).await;
    client.write_all(b"abc").await.unwrap();
    exactly(&mut client, 3).await;
    running.until_counted("genkan_stream_active_sessions", COUNTED, "", Some(1)).await;
    running.until_counted("genkan_stream_received_bytes_total", COUNTED, "", Some(3)).await;
    running.until_counted("genkan_stream_sent_bytes_total", COUNTED, "", Some(3)).await;
    client.shutdown().await.unwrap();
    rest(&mut client).await;
    running.log_line();
    // With no connection left, a publish of the same listener still keeps the counts.
    running.proxy.publish(plain(&[backend.address]).snapshot());
    running.until_counted("genkan_stream_sessions_total", COUNTED, ",status=\"200\"", Some(1)).await;
    running.until_counted("genkan_stream_received_bytes_total", COUNTED, "", Some(3)).await;
    running.until_counted("genkan_stream_active_sessions", COUNTED, "", Some(0)).await;
}

#[tokio::test]
async fn what_arrives_at_an_address_of_other_listeners_gets_nothing() {
    let backend = named("here").await;
    let site = |own: &str| {
        let site = plain(&[backend.address]).own_addresses(&[own.parse().unwrap()]);
        site.listener("tcp/9000", |listener| listener.addresses.clear())
    };
    let running = Running::start(site("127.0.0.2"));
    let port = running.address_of("tcp/9000").unwrap().port();
    let got = async |address: &str| {
        let mut client = TcpStream::connect((address, port)).await.unwrap();
        String::from_utf8(rest_or_reset(&mut client).await).unwrap()
    };
    assert_eq!((got("127.0.0.1").await.as_str(), got("127.0.0.2").await.as_str()), ("here", ""));
    running.proxy.publish(site("127.0.0.1").snapshot());
    assert_eq!((got("127.0.0.1").await.as_str(), got("127.0.0.2").await.as_str()), ("", "here"));
    assert_eq!(backend.connections(), 2);
}
