//! PROXY headers and the HTTP version, over real sockets.

use genkan_routing::model::Protocol;
use genkan_routing::policy::client::ClientSettings;
use tokio::io::AsyncWriteExt;

use super::support::{Hall, SOON, listener, read_all, read_some, soon};
use crate::listener::establish::EstablishError;
use crate::listener::stream::ClientProtocol;

const HEAD: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn behind_proxy() -> ClientSettings {
    ClientSettings { proxy_protocol: true, ..ClientSettings::default() }
}

#[tokio::test]
async fn a_proxy_header_announces_the_client_byte_by_byte() {
    let v2 = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &[192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb][..]].concat();
    for header in [b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n".to_vec(), v2] {
        let hall = Hall::plain(behind_proxy()).await;
        let (mut client, server) = hall.connect().await;
        let send = async {
            for byte in header.iter().chain(HEAD.as_bytes()) {
                client.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (stream, ()) = tokio::join!(soon(server), send);
        let mut stream = stream.unwrap();
        assert_eq!(stream.info().client().to_string(), "192.0.2.1:56324");
        assert_eq!(stream.info().proxied.unwrap().1.to_string(), "198.51.100.7:443");
        assert_eq!(stream.info().peer, client.local_addr().unwrap());
        assert_eq!(read_some(&mut stream).await, HEAD);
    }
}

#[tokio::test]
async fn a_required_proxy_header_is_not_guessed() {
    let hall = Hall::plain(behind_proxy()).await;
    let (mut client, server) = hall.connect().await;
    client.write_all(HEAD.as_bytes()).await.unwrap();
    assert!(matches!(soon(server).await, Err(EstablishError::ProxyHeader(_))));
}

#[tokio::test]
async fn a_proxy_header_is_not_accepted_where_it_is_not_required() {
    let hall = Hall::plain(ClientSettings::default()).await;
    let (mut client, server) = hall.connect().await;
    client.write_all(format!("PROXY UNKNOWN\r\n{HEAD}").as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut stream = soon(server).await.unwrap();
    assert!(!stream.ready().await);
    assert!(read_all(&mut client).await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn the_http_2_preface_is_recognized_and_replayed() {
    let hall = Hall::plain(ClientSettings::default()).await;
    let (mut client, server) = hall.connect().await;
    let send = async {
        for byte in PREFACE.bytes() {
            client.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (stream, ()) = tokio::join!(soon(server), send);
    let mut stream = stream.unwrap();
    assert_eq!(stream.protocol(), ClientProtocol::Http2);
    assert!(stream.ready().await);
    assert_eq!(read_some(&mut stream).await, PREFACE);
    client.write_all(b"frames").await.unwrap();
    assert_eq!(read_some(&mut stream).await, "frames");
}

#[tokio::test]
async fn requests_shorter_than_the_preface_are_served() {
    let hall = Hall::plain(ClientSettings::default()).await;
    for request in ["GET / HTTP/1.0\r\n\r\n", "P / HTTP/1.0\r\n\r\n"] {
        let (mut client, server) = hall.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let mut stream = soon(server).await.unwrap();
        assert_eq!(stream.protocol(), ClientProtocol::Http1);
        assert_eq!(read_some(&mut stream).await, request);
    }
}

#[tokio::test]
async fn http_2_can_be_turned_off() {
    let hall = Hall::plain(ClientSettings { http2: false, ..ClientSettings::default() }).await;
    let (mut client, server) = hall.connect().await;
    client.write_all(PREFACE.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut stream = soon(server).await.unwrap();
    assert!(!stream.ready().await);
    assert!(read_all(&mut client).await.starts_with("HTTP/1.1 505 "));
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    for (protocol, proxy_protocol, begin) in [
        (Protocol::Http, false, ""),
        (Protocol::Http, false, "PRI * HTTP"),
        (Protocol::Http, true, "PROXY TCP4 "),
        (Protocol::Https, false, ""),
        (Protocol::Https, false, "\x16\x03\x01"),
    ] {
        let settings = ClientSettings { header_timeout: SOON, proxy_protocol, ..ClientSettings::default() };
        let hall = Hall::new(listener("one", protocol), settings).await;
        let (mut client, server) = hall.connect().await;
        client.write_all(begin.as_bytes()).await.unwrap();
        assert!(matches!(soon(server).await, Err(EstablishError::Late)), "{protocol:?} {begin:?}");
        assert_eq!(read_all(&mut client).await, "");
    }
}
