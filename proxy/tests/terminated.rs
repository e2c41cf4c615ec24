//! TLS connections that are opened, and whose content is passed on, by their server name.

#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod kit;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use genkan_routing::model::{ClientAuth, ClientAuthMode, Stream, StreamBackend, Target, UnknownName};
use genkan_routing::name::HostPattern;
use kit::backend::Backend;
use kit::client::PATIENCE;
use kit::model::{Site, rule};
use kit::running::Running;
use kit::tls::{Pair, client_hello, connect, echoed, shown};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

/// The certificate of HTTPS.
static OURS: LazyLock<Pair> = LazyLock::new(|| Pair::new("ours.test"));
/// The certificate of what is opened and passed on.
static OPENED: LazyLock<Pair> = LazyLock::new(|| Pair::new("tcp.test"));
/// What a backend says before it has heard anything.
const WELCOME: &str = "welcome\n";

/// A listener that opens connections for `tcp.test` and passes them on, and nothing else. Without HTTPS there is nobody
/// to be told why.
fn alone(endpoints: &[SocketAddr], change: impl FnOnce(&mut Stream)) -> Site {
    let site = Site::new().cluster("a", endpoints).https(&OURS.certificate("ours"));
    let site = site.terminated_with("tcp.test", &OPENED.certificate("opened"), "a", change);
    site.https_listener(|listener| {
        listener.sections.clear();
        listener.default_certificate = None;
        listener.unknown_name = UnknownName::Close;
    })
}

fn plain(endpoints: &[SocketAddr]) -> Site {
    alone(endpoints, |_| {})
}

fn address(running: &Running) -> SocketAddr {
    running.address_of("https").unwrap()
}

async fn opened(running: &Running) -> TlsStream<TcpStream> {
    connect(address(running), "tcp.test", &[]).await.unwrap()
}

/// A backend that welcomes, then sends back what it gets, and ends when the client has.
async fn welcoming() -> Backend {
    Backend::raw(|mut stream| async move {
        let (mut from, mut to) = stream.split();
        let _ = to.write_all(WELCOME.as_bytes()).await;
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    })
    .await
}

async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().map(|_| bytes)
}

/// What a client is told that says hello for a name.
async fn last_words(running: &Running, name: &str) -> Vec<u8> {
    let mut client = TcpStream::connect(address(running)).await.unwrap();
    client.write_all(&client_hello(name)).await.unwrap();
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = tokio::time::timeout(PATIENCE, client.read_to_end(&mut bytes)).await.unwrap();
    bytes
}

async fn is_https(running: &Running, name: &str) -> bool {
    let Ok(mut stream) = connect(address(running), name, &["http/1.1"]).await else { return false };
    let ours = shown(&stream) == OURS.der;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let answer = rest(&mut stream).await.unwrap();
    ours && answer.starts_with(b"HTTP/1.1 204 ") && running.log_line().contains(" 204 ")
}

#[tokio::test]
async fn the_endpoint_gets_what_tls_carries_and_may_speak_first() {
    let backend = welcoming().await;
    let running = Running::start(plain(&[backend.address]));
    let mut client = opened(&running).await;
    assert_eq!(shown(&client), OPENED.der);
    let mut welcome = vec![0; WELCOME.len()];
    tokio::time::timeout(PATIENCE, client.read_exact(&mut welcome)).await.unwrap().unwrap();
    assert_eq!(welcome, WELCOME.as_bytes());
    for text in ["PING", "and more"] {
        assert_eq!(echoed(&mut client, text).await, text);
    }
    drop(client);
    let line = running.log_line();
    assert!(line.contains(&format!("] TCP 200 {} 12 ", WELCOME.len() + 12)), "{line}");
}

#[tokio::test]
async fn clients_are_asked_for_no_certificate_where_those_of_https_are() {
    let backend = welcoming().await;
    let roots = vec![Arc::from(OURS.der.as_ref())];
    let auth = ClientAuth { mode: ClientAuthMode::Require, fingerprints: Vec::new(), roots };
    let site = plain(&[backend.address]).https_listener(|listener| listener.client_auth = Some(Arc::new(auth)));
    let running = Running::start(site);
    let mut client = opened(&running).await;
    let mut welcome = vec![0; WELCOME.len()];
    tokio::time::timeout(PATIENCE, client.read_exact(&mut welcome)).await.unwrap().unwrap();
    assert_eq!(welcome, WELCOME.as_bytes());
}

#[tokio::test]
async fn close_notify_and_fin_stand_for_each_other_in_both_directions() {
    // The client ends first: its end arrives, and the answer to it still comes.
    let backend = welcoming().await;
    let running = Running::start(plain(&[backend.address]));
    let mut client = opened(&running).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    // Without close_notify this would be an error.
    assert_eq!(rest(&mut client).await.unwrap(), [WELCOME.as_bytes(), b"question"].concat());

    // The endpoint ends first, and still hears what the client says.
    let (heard, mut hears) = mpsc::unbounded_channel();
    let backend = Backend::raw(move |mut stream| {
        let heard = heard.clone();
        async move {
            let _ = stream.write_all(b"answer").await;
            let _ = stream.shutdown().await;
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes).await;
            let _ = heard.send(bytes);
        }
    })
    .await;
    running.proxy.publish(plain(&[backend.address]).snapshot());
    let mut client = opened(&running).await;
    assert_eq!(rest(&mut client).await.unwrap(), b"answer");
    client.write_all(b"late question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, hears.recv()).await.unwrap().unwrap(), b"late question");
}

#[tokio::test]
async fn a_connection_that_is_cut_off_ends_at_the_endpoint_too() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let backend = Backend::raw(move |mut stream| {
        let ended = ended.clone();
        async move {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes).await;
            // Both directions are over, not only the client's.
            while stream.write_all(&[0; 1024]).await.is_ok() {}
            let _ = ended.send(bytes);
        }
    })
    .await;
    let running = Running::start(plain(&[backend.address]));
    let mut client = opened(&running).await;
    client.write_all(b"cut").await.unwrap();
    client.flush().await.unwrap();
    // A FIN without close_notify.
    client.get_mut().0.shutdown().await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, ends.recv()).await.unwrap().unwrap(), b"cut");
    assert!(running.log_line().contains("] TCP 200 "));
}

#[tokio::test]
async fn much_goes_both_ways_at_once() {
    let backend = Backend::raw(|mut stream| async move {
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    })
    .await;
    let running = Running::start(plain(&[backend.address]));
    let (mut from, mut to) = tokio::io::split(opened(&running).await);
    let sent: Vec<u8> = (0_u32..1 << 20).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
        to
    });
    assert!(rest(&mut from).await.unwrap() == expected);
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn no_application_protocol_is_agreed_on() {
    let backend = welcoming().await;
    let running = Running::start(plain(&[backend.address]));
    let client = connect(address(&running), "tcp.test", &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), None);
}

#[tokio::test]
async fn passthrough_and_terminated_and_https_share_a_port_by_server_name() {
    let theirs = Pair::new("pass.test");
    let (unopened, backend) = (theirs.backend().await, welcoming().await);
    let site = Site::new().cluster("unopened", &[unopened.address]).cluster("opened", &[backend.address]);
    let site = site.rule(rule("/").respond(204)).https(&OURS.certificate("ours"));
    let site = site.passthrough("*.test", "unopened", |_| {});
    let site = site.terminated("tcp.test", &OPENED.certificate("opened"), "opened");
    let site = site.terminated("*.tcp.test", &OPENED.certificate("opened"), "opened");
    let running = Running::start(site.passthrough("pass.tcp.test", "unopened", |_| {}));
    for (name, expected) in [
        ("a.test", &theirs),
        ("tcp.test", &OPENED),
        ("TCP.test", &OPENED),
        ("a.tcp.test", &OPENED),
        ("pass.tcp.test", &theirs),
    ] {
        let mut client = connect(address(&running), name, &[]).await.unwrap();
        assert_eq!(shown(&client), expected.der, "{name}");
        client.write_all(b"x").await.unwrap();
        client.shutdown().await.unwrap();
        let welcome = if std::ptr::eq(expected, &raw const theirs) { "" } else { WELCOME };
        assert_eq!(rest(&mut client).await.unwrap(), [welcome.as_bytes(), b"x"].concat(), "{name}");
        assert!(running.log_line().contains("] TCP 200 "));
    }
    for name in ["ours.example", "127.0.0.1"] {
        assert!(is_https(&running, name).await, "{name}");
    }
}

#[tokio::test]
async fn an_unknown_name_gets_an_alert_where_there_is_https_and_nothing_elsewhere() {
    let backend = welcoming().await;
    let alone = plain(&[backend.address]);
    let beside = Site::new().rule(rule("/").respond(204)).cluster("a", &[backend.address]);
    let beside = beside.https(&OURS.certificate("ours")).terminated("tcp.test", &OPENED.certificate("opened"), "a");
    let beside = beside.https_listener(|listener| {
        let ids = listener.default_certificate.take().into_iter().collect();
        listener.certificates.insert(HostPattern::parse_suffix("ours.test").unwrap(), ids);
    });
    let running = Running::start(beside);
    assert!(is_https(&running, "ours.test").await);
    assert_eq!(shown(&opened(&running).await), OPENED.der);
    for name in ["unknown.test", "a.tcp.test", "127.0.0.1"] {
        assert_eq!(last_words(&running, name).await, [21, 3, 3, 0, 2, 2, 112], "{name}");
    }
    running.proxy.publish(alone.snapshot());
    assert_eq!(shown(&opened(&running).await), OPENED.der);
    for name in ["unknown.test", "a.tcp.test", "127.0.0.1"] {
        assert_eq!(last_words(&running, name).await, b"", "{name}");
    }
}

#[tokio::test]
async fn where_nothing_can_be_reached_the_connection_is_closed() {
    let invalid = |stream: &mut Stream| {
        stream.backends = vec![StreamBackend { weight: 1, target: Target::Invalid { reason: "why".to_owned() } }];
    };
    // What leads nowhere whoever comes is closed before the handshake.
    for site in [alone(&[], invalid), alone(&[], |stream| stream.backends.clear())] {
        let running = Running::start(site);
        assert_eq!(last_words(&running, "tcp.test").await, b"");
        assert!(running.log_line().contains("] TCP 502 "));
    }
    let running = Running::start(plain(&[Backend::nobody().await]));
    if let Ok(mut client) = connect(address(&running), "tcp.test", &[]).await {
        let bytes = rest(&mut client).await.unwrap_or_default();
        assert_eq!(bytes, b"");
    }
    assert!(running.log_line().contains("] TCP 502 "));
}

#[tokio::test]
async fn the_endpoint_is_told_of_the_client_if_the_stream_says_so() {
    let backend = welcoming().await;
    let running = Running::start(alone(&[backend.address], |stream| stream.send_proxy_protocol = true));
    let mut client = opened(&running).await;
    let peer = client.get_ref().0.local_addr().unwrap();
    client.write_all(b"x").await.unwrap();
    client.shutdown().await.unwrap();
    let text = String::from_utf8(rest(&mut client).await.unwrap()).unwrap();
    let to = address(&running);
    let header = format!("PROXY TCP4 {} {} {} {}\r\n", peer.ip(), to.ip(), peer.port(), to.port());
    assert_eq!(text, format!("{WELCOME}{header}x"));
}

#[tokio::test]
async fn connections_are_counted_by_object_and_a_drain_lets_them_finish() {
    let backend = welcoming().await;
    let running = Running::start(plain(&[backend.address]));
    let mut client = opened(&running).await;
    let mut welcome = vec![0; WELCOME.len()];
    tokio::time::timeout(PATIENCE, client.read_exact(&mut welcome)).await.unwrap().unwrap();
    let labels = "protocol=\"tls\",port=\"443\",namespace=\"default\",name=\"opened\"} 1";
    let text = running.proxy.metrics().encode();
    let active = |line: &str| line.starts_with("genkan_stream_active_sessions{") && line.ends_with(labels);
    assert!(text.lines().any(active), "{text}");
    let to = address(&running);
    let finish = async {
        while TcpStream::connect(to).await.is_ok() {
            tokio::task::yield_now().await;
        }
        client.write_all(b"last").await.unwrap();
        client.shutdown().await.unwrap();
        rest(&mut client).await.unwrap()
    };
    let (cut_off, last) = tokio::join!(running.proxy.drain(), finish);
    assert_eq!((cut_off, &last[..]), (0, &b"last"[..]));
}
