//! Backends: small servers on ports of the system's choice, each of one kind.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::client::{Body, full};

/// A running backend; dropping it closes its port.
pub struct Backend {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    /// Connections that were accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests that were read (not counted by [`Backend::raw`]).
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Does with every connection what `serve` says.
    pub async fn raw<F, R>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::accept(move |stream, _| serve(stream)).await
    }

    async fn accept<F, R>(serve: F) -> Self
    where
        F: Fn(TcpStream, Arc<AtomicUsize>) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (accepted, counted) = (Arc::clone(&connections), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&counted)));
            }
        });
        Self { address, connections, requests, task }
    }

    /// Answers every HTTP/1 request with what `answer` makes of it.
    pub async fn http1<F, R>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::accept(move |stream, requests| {
            let answer = answer.clone();
            async move {
                let service = service_fn(move |request| {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                // A proxy that hangs up is part of many tests.
                let _ = connection.await;
            }
        })
        .await
    }

    /// As [`Backend::http1`], for HTTP/2 by prior knowledge.
    pub async fn h2c<F, R>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::accept(move |stream, requests| {
            let answer = answer.clone();
            async move {
                let service = service_fn(move |request| {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await) }
                });
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
            }
        })
        .await
    }

    /// Tells what it was asked: the request line, then one header line each, an empty line, and the body.
    pub async fn echo() -> Self {
        Self::http1(echo).await
    }

    /// Answers with its name.
    pub async fn named(name: &'static str) -> Self {
        Self::http1(move |_| async move { Response::new(full(name)) }).await
    }

    /// Answers with a status.
    pub async fn status(status: u16) -> Self {
        Self::http1(move |_| async move { Response::builder().status(status).body(full("from the backend")).unwrap() })
            .await
    }

    /// Reads the head of one request and closes without an answer.
    pub async fn hangs_up() -> Self {
        Self::raw(|mut stream| async move {
            read_head(&mut stream).await;
        })
        .await
    }

    /// Reads the head of a request and answers with these bytes; the connection stays open.
    pub async fn bytes(answer: &'static [u8]) -> Self {
        Self::raw(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(answer).await;
            // Until the proxy hangs up.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await
    }

    /// Takes connections and requests and never says anything.
    pub async fn silent() -> Self {
        Self::raw(|mut stream| async move {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await
    }

    /// An address on which nobody listens.
    pub async fn nobody() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }
}

/// The answer of [`Backend::echo`].
pub async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    for (name, value) in &head.headers {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    text.push('\n');
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(&body);
    Response::new(full(bytes))
}

/// A body of these frames, each when it comes.
pub fn frames(receiver: tokio::sync::mpsc::Receiver<Frame<Bytes>>) -> Body {
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        let frame = receiver.recv().await?;
        Some((Ok(frame), receiver))
    });
    BodyExt::boxed(StreamBody::new(stream))
}

/// A body of one part, followed by trailers.
pub fn with_trailers(data: &'static str, trailers: HeaderMap) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    sender.try_send(Frame::data(Bytes::from_static(data.as_bytes()))).unwrap();
    sender.try_send(Frame::trailers(trailers)).unwrap();
    frames(receiver)
}

/// Reads up to the empty line after a head; returns what was read.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
