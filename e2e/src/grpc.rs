//! HTTP/2 by prior knowledge, and a bidirectional gRPC stream on it.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use crate::tls::{self, Hello};

/// A request's body.
pub type Body = BoxBody<Bytes, Infallible>;

/// An open stream to the echo backend: what is sent comes back.
pub struct Stream {
    sender: mpsc::Sender<Bytes>,
    incoming: Incoming,
    buffer: BytesMut,
}

/// A connection; give it several requests at a time.
pub async fn connect(address: SocketAddr) -> SendRequest<Body> {
    try_connect(address).await.expect("HTTP/2 begins")
}

/// The same, where the proxy may be gone.
pub async fn try_connect(address: SocketAddr) -> Result<SendRequest<Body>, Box<dyn Error>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // How it ends is told to whoever uses it.
    tokio::spawn(connection);
    Ok(sender)
}

/// Whether a failed request was certainly not processed, so that it may be sent again: the connection was closed
/// before it was sent, or GOAWAY or REFUSED_STREAM said so (RFC 9113, section 8.7).
pub fn unprocessed(error: &hyper::Error) -> bool {
    let reset = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    let refused = reset.is_some_and(|reset| {
        reset.is_go_away() && reset.reason() == Some(h2::Reason::NO_ERROR)
            || reset.reason() == Some(h2::Reason::REFUSED_STREAM)
    });
    error.is_canceled() || error.is_closed() || refused
}

/// The same over TLS, by ALPN; any certificate is taken.
pub async fn connect_tls(address: SocketAddr, name: &str) -> SendRequest<Body> {
    let config = tls::config(&Hello { protocols: &["h2"], ..Hello::to(name) }).expect("a TLS configuration");
    let name = ServerName::try_from(name.to_owned()).expect("a server name");
    let stream = TcpStream::connect(address).await.expect("the proxy accepts");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2 begins");
    tokio::spawn(connection);
    sender
}

/// `GET`: the status, the header fields and the body; or what went wrong.
pub async fn get(
    connection: &mut SendRequest<Body>,
    host: &str,
    path: &str,
) -> Result<(u16, HeaderMap, Bytes), hyper::Error> {
    let uri = format!("http://{host}{path}");
    let request = Request::get(uri).body(Empty::new().boxed()).expect("a valid request");
    connection.ready().await?;
    let (head, body) = connection.send_request(request).await?.into_parts();
    Ok((head.status.as_u16(), head.headers, body.collect().await?.to_bytes()))
}

impl Stream {
    /// Begins a call.
    pub async fn open(connection: &mut SendRequest<Body>, host: &str) -> Self {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
        let frames = async_stream(move |cx| receiver.poll_recv(cx));
        let request = Request::post(format!("http://{host}/echo.Echo/Stream"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(StreamBody::new(frames).boxed())
            .expect("a valid request");
        let response = connection.send_request(request).await.expect("the call begins");
        assert_eq!(response.status(), 200);
        Self { sender, incoming: response.into_body(), buffer: BytesMut::new() }
    }

    /// Sends a message and waits for it to come back.
    pub async fn exchange(&mut self, message: &str) -> Result<String, String> {
        let length = u32::try_from(message.len()).expect("a short message");
        let mut bytes = BytesMut::new();
        // Not compressed, then the length.
        bytes.put_u8(0);
        bytes.put_u32(length);
        bytes.put_slice(message.as_bytes());
        self.sender.send(bytes.freeze()).await.map_err(|_| "the request's body is no longer read".to_owned())?;
        let whole = message.len() + 5;
        while self.buffer.len() < whole {
            match self.incoming.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.put(data),
                    Err(trailers) => return Err(format!("the call ended: {trailers:?}")),
                },
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the call ended".to_owned()),
            }
        }
        let message = self.buffer.split_to(whole);
        Ok(String::from_utf8_lossy(&message[5..]).into_owned())
    }

    /// Ends the call; gives its trailers.
    pub async fn finish(self) -> HeaderMap {
        let Self { sender, incoming, .. } = self;
        drop(sender);
        let collected = incoming.collect().await.expect("the call ends in good order");
        collected.trailers().cloned().unwrap_or_default()
    }
}

/// A stream of data frames from a poll function.
fn async_stream(
    mut poll: impl FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<Bytes>> + Send + Sync,
) -> impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync {
    futures::stream::poll_fn(move |cx| poll(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))))
}
