//! Clients: one that writes bytes and reads answers on a raw connection, and hyper's for HTTP/2.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A body of any kind.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// A raw HTTP/1 connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response as it came over the wire.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The values of a field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self
    }

    /// Writes what the proxy may no longer want to read.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// `GET path` of host `test`.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        self.answer().await
    }

    /// Reads one answer to a request that was no HEAD.
    pub async fn answer(&mut self) -> Answer {
        let (status, head) = self.head().await;
        let answer = Answer { status, head, body: Vec::new() };
        let body = if matches!(status, 204 | 304) || (100..200).contains(&status) {
            Vec::new()
        } else if answer.field("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            self.chunks().await
        } else if let Some(length) = answer.field("content-length") {
            let length = length.parse().unwrap();
            self.bytes(length).await
        } else {
            self.rest().await
        };
        Answer { body, ..answer }
    }

    /// Reads a head: status and text.
    pub async fn head(&mut self) -> (u16, String) {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill().await > 0, "closed before a head: {:?}", String::from_utf8_lossy(&self.buffer));
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head)
    }

    /// Reads exactly this many bytes.
    pub async fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill().await > 0, "closed after {} of {length} bytes", self.buffer.len());
        }
        self.buffer.drain(..length).collect()
    }

    /// Reads one chunk; empty at the end of the body.
    pub async fn chunk(&mut self) -> Vec<u8> {
        let size = self.line().await;
        let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
        let chunk = self.bytes(size).await;
        assert_eq!(self.line().await, "");
        chunk
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }

    async fn line(&mut self) -> String {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                break at;
            }
            assert!(self.fill().await > 0, "closed inside a line");
        };
        let line = self.buffer.drain(..end + 2).take(end).collect();
        String::from_utf8(line).unwrap()
    }

    /// Reads until the proxy closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// Waits until the proxy closes or resets the connection; nothing more may come.
    pub async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }

    async fn fill(&mut self) -> usize {
        let read = self.stream.read_buf(&mut self.buffer);
        tokio::time::timeout(PATIENCE, read).await.expect("an answer in time").unwrap_or(0)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// `GET path` on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    Client::connect(address).await.get(path).await
}

/// An HTTP/2 connection by prior knowledge.
pub async fn h2(address: SocketAddr) -> hyper::client::conn::http2::SendRequest<Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A body that is known at once.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}
