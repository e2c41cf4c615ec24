//! HTTP/1: heads, bodies, deadlines, as the engine sees them.

use std::io;

use futures::poll;
use genkan_routing::policy::client::ClientSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Hall, SOON, read_all, read_some, soon};
use crate::listener::stream::{ClientProtocol, ClientStream};

const HEAD: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Whether a read finds nothing to hand out.
async fn nothing_to_read(stream: &mut ClientStream) -> bool {
    let mut byte = [0];
    poll!(std::pin::pin!(stream.read(&mut byte))).is_pending()
}

#[tokio::test]
async fn refused_requests_are_answered_and_closed_without_a_reset() {
    let settings = ClientSettings { max_headers: 3, ..ClientSettings::default() };
    let hall = Hall::plain(settings).await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: x\n\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n".to_owned(), 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9000)), 414),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(9000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(3)), 431),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(), 501),
        ("GET / HTTP/3.0\r\nHost: x\r\n\r\n".to_owned(), 505),
    ] {
        let (mut client, server) = hall.connect().await;
        // More than is read before the refusal, so that closing at once would reset the connection.
        client.write_all(format!("{request}{}", "more ".repeat(10_000)).as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let server = async {
            let mut stream = server.await.unwrap();
            assert!(!stream.ready().await, "{request}");
        };
        let ((), answer) = tokio::join!(soon(server), read_all(&mut client));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        let line = request.lines().next().unwrap();
        let logged = hall.logged().unwrap();
        let expected = format!("\"{}\" {status} ", &line[..line.len().min(512)]);
        assert!(logged.starts_with("127.0.0.1 - - [") && logged.contains(&expected), "{logged}");
    }
    assert_eq!(hall.logged(), None);
}

#[tokio::test]
async fn a_head_is_handed_out_only_when_it_is_complete() {
    let hall = Hall::plain(ClientSettings::default()).await;
    let (mut client, server) = hall.connect().await;
    client.write_all(b"G").await.unwrap();
    let mut stream = soon(server).await.unwrap();
    assert_eq!(stream.protocol(), ClientProtocol::Http1);
    for byte in &HEAD.as_bytes()[1..] {
        assert!(nothing_to_read(&mut stream).await);
        client.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(read_some(&mut stream).await, HEAD);
}

#[tokio::test]
async fn requests_sent_ahead_wait_for_their_turn() {
    let hall = Hall::plain(ClientSettings::default()).await;
    let (mut client, server) = hall.connect().await;
    let second = "GET /second HTTP/1.1\r\nHost: x\r\n\r\n";
    client.write_all(format!("{HEAD}\r\n{second}").as_bytes()).await.unwrap();
    let mut stream = soon(server).await.unwrap();
    assert_eq!(read_some(&mut stream).await, HEAD);
    stream.info().phase.begin_request();
    assert!(nothing_to_read(&mut stream).await);
    stream.info().phase.end_request();
    assert_eq!(read_some(&mut stream).await, second);
}

#[tokio::test]
async fn bodies_end_where_they_say() {
    let hall = Hall::plain(ClientSettings::default()).await;
    for (fields, body) in
        [("Content-Length: 5", "12345"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n")]
    {
        let (mut client, server) = hall.connect().await;
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        client.write_all(format!("{head}{body}{HEAD}").as_bytes()).await.unwrap();
        let mut stream = soon(server).await.unwrap();
        assert_eq!(read_some(&mut stream).await, head);
        stream.info().phase.begin_request();
        assert_eq!(read_some(&mut stream).await, body);
        assert!(nothing_to_read(&mut stream).await);
        stream.info().phase.end_request();
        assert_eq!(read_some(&mut stream).await, HEAD);
    }
}

#[tokio::test]
async fn a_body_that_comes_later_ends_where_it_says() {
    let hall = Hall::plain(ClientSettings::default()).await;
    for (fields, body) in [("Content-Length: 5", "12345"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n")] {
        let (mut client, server) = hall.connect().await;
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let mut stream = soon(server).await.unwrap();
        assert_eq!(read_some(&mut stream).await, head);
        stream.info().phase.begin_request();
        client.write_all(format!("{body}{HEAD}").as_bytes()).await.unwrap();
        let mut read = String::new();
        while read.len() < body.len() {
            read.push_str(&read_some(&mut stream).await);
        }
        assert_eq!(read, body);
        assert!(nothing_to_read(&mut stream).await);
        stream.info().phase.end_request();
        assert_eq!(read_some(&mut stream).await, HEAD);
    }
}

#[tokio::test]
async fn malformed_chunks_are_an_error() {
    let hall = Hall::plain(ClientSettings::default()).await;
    let (mut client, server) = hall.connect().await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write_all(format!("{head}3\nabc\r\n0\r\n\r\n").as_bytes()).await.unwrap();
    let mut stream = soon(server).await.unwrap();
    assert_eq!(read_some(&mut stream).await, head);
    stream.info().phase.begin_request();
    let error = soon(stream.read(&mut [0; 64])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn an_upgraded_connection_passes_everything_and_serves_nothing_else() {
    let hall = Hall::plain(ClientSettings::default()).await;
    let (mut client, server) = hall.connect().await;
    let head = "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut stream = soon(server).await.unwrap();
    assert_eq!(read_some(&mut stream).await, head);
    stream.info().phase.begin_request();
    client.write_all(HEAD.as_bytes()).await.unwrap();
    let mut buffer = [0; 64];
    let early = futures::poll!(Box::pin(stream.read(&mut buffer)));
    assert!(early.is_pending(), "nobody has agreed to another protocol yet");
    stream.info().phase.begin_tunnel();
    assert_eq!(read_some(&mut stream).await, HEAD);
    client.write_all(b"anything").await.unwrap();
    assert_eq!(read_some(&mut stream).await, "anything");
}

#[tokio::test]
async fn a_request_sent_ahead_is_served_when_the_upgrade_is_not() {
    let hall = Hall::plain(ClientSettings::default()).await;
    let (mut client, server) = hall.connect().await;
    let head = "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";
    client.write_all(format!("{head}{HEAD}").as_bytes()).await.unwrap();
    let mut stream = soon(server).await.unwrap();
    assert_eq!(read_some(&mut stream).await, head);
    stream.info().phase.begin_request();
    stream.info().phase.end_request();
    assert_eq!(read_some(&mut stream).await, HEAD);
}

#[tokio::test]
async fn the_clients_end_is_seen_while_its_request_is_served() {
    let hall = Hall::plain(ClientSettings::default()).await;
    let (mut client, server) = hall.connect().await;
    client.write_all(format!("{HEAD}{HEAD}").as_bytes()).await.unwrap();
    let mut stream = soon(server).await.unwrap();
    assert_eq!(read_some(&mut stream).await, HEAD);
    stream.info().phase.begin_request();
    drop(client);
    assert_eq!(read_some(&mut stream).await, "");
}

#[tokio::test]
async fn a_slow_head_is_answered_with_408() {
    let settings = ClientSettings { header_timeout: SOON, ..ClientSettings::default() };
    let hall = Hall::plain(settings).await;
    let (mut client, server) = hall.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let server = async { assert!(!server.await.unwrap().ready().await) };
    let client = async {
        let answer = read_some(&mut client).await;
        client.shutdown().await.unwrap();
        answer
    };
    let ((), answer) = tokio::join!(soon(server), client);
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
}

#[tokio::test]
async fn idle_connections_are_closed_in_silence() {
    let settings = ClientSettings { keep_alive: SOON, ..ClientSettings::default() };
    let hall = Hall::plain(settings).await;
    let (mut client, server) = hall.connect().await;
    client.write_all(HEAD.as_bytes()).await.unwrap();
    let mut stream = soon(server).await.unwrap();
    assert_eq!(read_some(&mut stream).await, HEAD);
    stream.info().phase.begin_request();
    stream.info().phase.end_request();
    assert_eq!(read_some(&mut stream).await, "");
    drop(stream);
    assert_eq!(read_all(&mut client).await, "");
}

#[tokio::test]
async fn a_stalled_body_is_an_error() {
    let settings = ClientSettings { body_timeout: SOON, ..ClientSettings::default() };
    let hall = Hall::plain(settings).await;
    let (mut client, server) = hall.connect().await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
    client.write_all(format!("{head}123").as_bytes()).await.unwrap();
    let mut stream = soon(server).await.unwrap();
    assert_eq!(read_some(&mut stream).await, head);
    stream.info().phase.begin_request();
    assert_eq!(read_some(&mut stream).await, "123");
    let error = soon(stream.read(&mut [0; 64])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_reaches_the_client() {
    let hall = Hall::plain(ClientSettings::default()).await;
    let (mut client, server) = hall.connect().await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut stream = soon(server).await.unwrap();
    assert_eq!(read_some(&mut stream).await, head);
    stream.info().phase.begin_request();
    stream.write_all(b"HTTP/1.1 413 Content Too Large\r\n\r\n").await.unwrap();
    drop(stream);
    soon(client.write_all(&[b'x'; 1_000_000])).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, "HTTP/1.1 413 Content Too Large\r\n\r\n");
}
