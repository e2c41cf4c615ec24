//! TLS connections that are passed on unopened, by their server name.

#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod kit;

use std::net::SocketAddr;
use std::sync::LazyLock;

use genkan_routing::model::{Stream, StreamBackend, Target};
use kit::backend::Backend;
use kit::client::PATIENCE;
use kit::model::{Site, rule};
use kit::running::Running;
use kit::tls::{Pair, client_hello, connect, echoed, handshake, shown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The listener's own.
static OURS: LazyLock<Pair> = LazyLock::new(|| Pair::new("ours.test"));

/// An HTTPS listener that answers 204, and passes connections for `pass.test` on.
fn site(endpoints: &[SocketAddr], change: impl FnOnce(&mut Stream)) -> Site {
    let site = Site::new().cluster("a", endpoints).rule(rule("/").respond(204));
    site.https(&OURS.certificate("ours")).passthrough("pass.test", "a", change)
}

fn plain(endpoints: &[SocketAddr]) -> Site {
    site(endpoints, |_| {})
}

fn https(running: &Running) -> SocketAddr {
    running.address_of("https").unwrap()
}

/// A backend that sends back what it gets, without TLS, and ends when the client has.
async fn echo() -> Backend {
    Backend::raw(|mut stream| async move {
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    })
    .await
}

/// Everything until the end; a reset is an end as well.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap();
    bytes
}

/// Whether a connection for a server name is opened here: it shows our certificate and answers a request.
async fn is_opened(running: &Running, name: &str) -> bool {
    let mut stream = connect(https(running), name, &["http/1.1"]).await.unwrap();
    if shown(&stream) != OURS.der {
        return false;
    }
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let line = running.log_line();
    assert!(answer.starts_with(b"HTTP/1.1 204 ") && line.contains(" 204 "), "{line}");
    true
}

#[tokio::test]
async fn the_endpoint_shows_its_own_certificate_and_chooses_the_protocol() {
    let theirs = Pair::new("pass.test");
    let backend = theirs.backend().await;
    let running = Running::start(plain(&[backend.address]));
    for name in ["pass.test", "PASS.test"] {
        let mut stream = connect(https(&running), name, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(shown(&stream), theirs.der);
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(echoed(&mut stream, "any bytes").await, "any bytes");
        stream.shutdown().await.unwrap();
        let mut end = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut end)).await.unwrap().unwrap();
        assert!(running.log_line().contains("] TCP 200 "));
    }
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn every_other_server_name_is_opened_here() {
    let backend = Pair::new("pass.test").backend().await;
    let running = Running::start(plain(&[backend.address]));
    for name in ["other.test", "a.pass.test", "test", "127.0.0.1"] {
        assert!(is_opened(&running, name).await, "{name}");
    }
    assert_eq!(backend.connections(), 0);
    assert!(!is_opened(&running, "pass.test").await);
}

#[tokio::test]
async fn names_may_be_wildcards_and_everybody_else_without_a_name_too() {
    let (wild, any) = (Pair::new("wild.test"), Pair::new("any.test"));
    let (one, two) = (wild.backend().await, any.backend().await);
    let site = Site::new().cluster("wild", &[one.address]).cluster("any", &[two.address]);
    let site = site.https(&OURS.certificate("ours")).passthrough("*.wild.test", "wild", |_| {});
    let running = Running::start(site.passthrough("", "any", |_| {}));
    for (name, expected) in [("a.wild.test", &wild), ("b.a.wild.test", &wild), ("wild.test", &any), ("127.0.0.1", &any)]
    {
        assert_eq!(shown(&connect(https(&running), name, &[]).await.unwrap()), expected.der, "{name}");
    }
}

#[tokio::test]
async fn every_byte_arrives_however_the_hello_is_cut_and_each_half_closes_by_itself() {
    let backend = echo().await;
    let running = Running::start(plain(&[backend.address]));
    let hello = client_hello("pass.test");
    let sent = [&hello, &b"and more"[..]].concat();
    for cut in [1, 5, 6, hello.len() - 1, hello.len(), sent.len()] {
        let mut client = TcpStream::connect(https(&running)).await.unwrap();
        client.set_nodelay(true).unwrap();
        for part in [&sent[..cut], &sent[cut..]] {
            client.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await, sent, "cut at {cut}");
        let line = running.log_line();
        assert!(line.contains(&format!("] TCP 200 {0} {0} ", sent.len())), "{line}");
    }
}

#[tokio::test]
async fn a_hello_in_single_bytes_is_passed_on_whole() {
    let theirs = Pair::new("pass.test");
    let backend = theirs.backend().await;
    let running = Running::start(plain(&[backend.address]));
    // A relay that cuts everything that the client sends into single bytes.
    let cutter = {
        let target = https(&running);
        Backend::raw(move |client| async move {
            let upstream = TcpStream::connect(target).await.unwrap();
            upstream.set_nodelay(true).unwrap();
            let ((mut from, mut to), (mut back, mut forth)) = (client.into_split(), upstream.into_split());
            let answers = tokio::spawn(async move { tokio::io::copy(&mut back, &mut to).await });
            while let Ok(byte) = from.read_u8().await {
                if forth.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
            let _ = forth.shutdown().await;
            let _ = answers.await;
        })
        .await
    };
    let mut stream = connect(cutter.address, "pass.test", &[]).await.unwrap();
    assert_eq!(shown(&stream), theirs.der);
    assert_eq!(echoed(&mut stream, "hello").await, "hello");
}

#[tokio::test]
async fn a_proxy_header_comes_before_the_hello_and_is_passed_on_if_the_stream_says_so() {
    let header = "PROXY TCP4 192.0.2.1 198.51.100.7 5000 443\r\n";
    let hello = client_hello("pass.test");
    for announces in [false, true] {
        let backend = echo().await;
        let site = site(&[backend.address], |stream| stream.send_proxy_protocol = announces)
            .settings(|settings| settings.client.proxy_protocol = true);
        let running = Running::start(site);
        let mut client = TcpStream::connect(https(&running)).await.unwrap();
        client.write_all(&[header.as_bytes(), &hello].concat()).await.unwrap();
        client.shutdown().await.unwrap();
        let expected = if announces { [header.as_bytes(), &hello].concat() } else { hello.clone() };
        assert_eq!(rest(&mut client).await, expected);
        let line = running.log_line();
        assert!(line.starts_with("[192.0.2.1] ") && line.contains(" TCP 200 "), "{line}");

        // Names that are opened here have it before their hello too.
        let mut client = TcpStream::connect(https(&running)).await.unwrap();
        client.write_all(header.as_bytes()).await.unwrap();
        assert_eq!(shown(&handshake(client, "other.test", &[]).await.unwrap()), OURS.der);
    }
}

#[tokio::test]
async fn the_next_endpoint_is_tried_when_one_refuses() {
    let theirs = Pair::new("pass.test");
    let (gone, backend) = (Backend::nobody().await, theirs.backend().await);
    let running = Running::start(plain(&[gone, backend.address]));
    for _ in 0..4 {
        assert_eq!(shown(&connect(https(&running), "pass.test", &[]).await.unwrap()), theirs.der);
    }
}

#[tokio::test]
async fn without_an_endpoint_the_connection_is_closed_and_nobody_else_answers() {
    let invalid = |stream: &mut Stream| {
        stream.backends = vec![StreamBackend { weight: 1, target: Target::Invalid { reason: "why".to_owned() } }];
    };
    for site in [plain(&[]), plain(&[Backend::nobody().await]), site(&[], invalid)] {
        let running = Running::start(site);
        let mut client = TcpStream::connect(https(&running)).await.unwrap();
        client.write_all(&client_hello("pass.test")).await.unwrap();
        assert_eq!(rest(&mut client).await, b"");
        assert!(running.log_line().contains("] TCP 502 "));
        assert!(is_opened(&running, "other.test").await);
    }
}

#[tokio::test]
async fn a_published_table_moves_new_connections_and_leaves_running_ones() {
    let (one, two) = (Pair::new("pass.test"), Pair::new("pass.test"));
    let (old, new) = (one.backend().await, two.backend().await);
    let running = Running::start(plain(&[old.address]));
    let mut client = connect(https(&running), "pass.test", &[]).await.unwrap();
    running.proxy.publish(plain(&[new.address]).snapshot());
    assert_eq!(shown(&connect(https(&running), "pass.test", &[]).await.unwrap()), two.der);
    assert_eq!(echoed(&mut client, "still here").await, "still here");
    running.log_line();

    // Without passthrough the name is opened here.
    let without = Site::new().rule(rule("/").respond(204)).https(&OURS.certificate("ours"));
    running.proxy.publish(without.snapshot());
    assert!(is_opened(&running, "pass.test").await);
    assert_eq!(echoed(&mut client, "and here").await, "and here");
}

#[tokio::test]
async fn a_drain_lets_a_connection_finish() {
    let backend = echo().await;
    let running = Running::start(plain(&[backend.address]));
    let mut client = TcpStream::connect(https(&running)).await.unwrap();
    let hello = client_hello("pass.test");
    client.write_all(&hello).await.unwrap();
    let mut echoed = vec![0; hello.len()];
    tokio::time::timeout(PATIENCE, client.read_exact(&mut echoed)).await.unwrap().unwrap();
    let address = https(&running);
    let finish = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        client.write_all(b"last").await.unwrap();
        client.shutdown().await.unwrap();
        rest(&mut client).await
    };
    let (cut_off, last) = tokio::join!(running.proxy.drain(), finish);
    assert_eq!((cut_off, &last[..]), (0, &b"last"[..]));
}

/// The metrics of what Ingress `default/passing` passes on.
const COUNTED: &str = "protocol=\"tls\",port=\"443\",namespace=\"default\",name=\"passing\"";

#[tokio::test]
async fn connections_are_counted_by_object_as_long_as_it_has_a_name() {
    let backend = echo().await;
    let running = Running::start(plain(&[backend.address]));
    let hello = client_hello("pass.test");
    let length = u64::try_from(hello.len()).unwrap();
    let mut client = TcpStream::connect(https(&running)).await.unwrap();
    client.write_all(&hello).await.unwrap();
    running.until_counted("genkan_stream_received_bytes_total", COUNTED, "", Some(length)).await;
    running.until_counted("genkan_stream_active_sessions", COUNTED, "", Some(1)).await;
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, hello);
    running.log_line();
    // With no connection left, other names of the object keep the counts.
    running.proxy.publish(plain(&[backend.address]).passthrough("more.test", "a", |_| {}).snapshot());
    running.until_counted("genkan_stream_sessions_total", COUNTED, ",status=\"200\"", Some(1)).await;
    running.until_counted("genkan_stream_sent_bytes_total", COUNTED, "", Some(length)).await;
    running.until_counted("genkan_stream_active_sessions", COUNTED, "", Some(0)).await;
    running.proxy.publish(Site::new().https(&OURS.certificate("ours")).snapshot());
    running.until_counted("genkan_stream_sessions_total", COUNTED, "", None).await;
}

#[tokio::test]
async fn connections_are_limited_together_with_all_others() {
    let backend = echo().await;
    let site = plain(&[backend.address]).settings(|settings| settings.client.max_connections = 1);
    let running = Running::start(site);
    let hello = client_hello("pass.test");
    let mut first = TcpStream::connect(https(&running)).await.unwrap();
    first.write_all(&hello).await.unwrap();
    let mut bytes = vec![0; hello.len()];
    tokio::time::timeout(PATIENCE, first.read_exact(&mut bytes)).await.unwrap().unwrap();
    let mut second = TcpStream::connect(https(&running)).await.unwrap();
    assert_eq!(rest(&mut second).await, b"");
    assert_eq!(backend.connections(), 1);
}
