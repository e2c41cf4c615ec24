//! Requests of our own to endpoints: copies of requests, and what else asks somebody other than the request's backend.
//!
//! The engine has one upstream per request and decides what the client gets; this is for answers that it never sees. So
//! it is a small client (hyper) with a small pool, one per worker, that shares nothing with the engine's.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use genkan_routing::model::{Cluster, HttpVersion};
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{self, AbortHandle};
use tokio::time::{sleep, timeout};

use super::endpoint::Picked;
use super::mirror::CopiedBody;
use super::tls::Secure;

/// The most connections that wait for a next request, over all endpoints.
const MAX_IDLE: usize = 64;

/// Where a request goes.
#[derive(Debug)]
pub(crate) struct Destination {
    /// The endpoint; its request counts as under way as long as this lives.
    pub(crate) picked: Picked,
    /// Its cluster.
    pub(crate) cluster: Arc<Cluster>,
    /// The cluster's TLS.
    pub(crate) secure: Secure,
    /// Which kept connections of the address may be shared.
    pub(crate) group: u64,
    /// For TCP and TLS together.
    pub(crate) connect_timeout: Duration,
    /// How long the connection is kept afterwards.
    pub(crate) idle_timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// No connection in time.
    #[error("time-out while connecting")]
    ConnectTimeout,
    /// The request has no form that could be sent.
    #[error("the request can't be sent: {0}")]
    Request(#[from] http::Error),
    /// The connection broke, or what came is no HTTP.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
}

/// A request's body.
#[derive(Debug)]
pub(crate) enum CallBody {
    /// None.
    Empty,
    /// What comes in at another request.
    Copied(CopiedBody),
}

/// The connection of a request whose answer is being read. Over HTTP/1 it is closed unless it is kept.
#[derive(Debug)]
pub(crate) struct Used {
    client: Arc<Client>,
    key: Key,
    idle_timeout: Duration,
    connection: Option<Http1>,
}

/// The client of one worker.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pool: Mutex<Pool>,
}

type Key = (SocketAddr, u64);

#[derive(Debug, Default)]
struct Pool {
    /// HTTP/1: each for one request at a time.
    idle: HashMap<Key, Vec<Kept<Http1>>>,
    /// HTTP/2: one for all requests.
    shared: HashMap<Key, Kept<http2::SendRequest<CallBody>>>,
    /// Whether somebody looks after what is kept for too long.
    tidied: bool,
}

/// A connection that is kept until then.
#[derive(Debug)]
struct Kept<T> {
    connection: T,
    until: Instant,
}

/// An HTTP/1 connection; closed when it is dropped.
#[derive(Debug)]
struct Http1 {
    sender: http1::SendRequest<CallBody>,
    task: AbortHandle,
}

/// A connection to an endpoint.
trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

impl Drop for Http1 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// Sends a request; its head has the path and the `Host` that the endpoint is to see. Retries on a new connection
    /// what a kept one did not take.
    pub(crate) async fn send(
        self: &Arc<Self>,
        destination: &Destination,
        head: http::request::Parts,
        body: CallBody,
    ) -> Result<(Response<Incoming>, Used), CallError> {
        let key = (destination.picked.address(), destination.group);
        let tls = destination.cluster.tls.is_some();
        let mut used = Used { client: Arc::clone(self), key, idle_timeout: destination.idle_timeout, connection: None };
        if destination.cluster.version == HttpVersion::Http2 {
            let request = Request::from_parts(absolute(head, tls)?, body);
            return Ok((self.multiplexed(destination, key).await?.send_request(request).await?, used));
        }
        let mut request = Request::from_parts(origin_form(head), body);
        loop {
            let (mut connection, kept) = match self.take(key) {
                Some(kept) => (kept, true),
                None => (connect_http1(destination).await?, false),
            };
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    used.connection = Some(connection);
                    return Ok((response, used));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if kept => request = unsent,
                    _ => return Err(error.into_error().into()),
                },
            }
        }
    }

    /// A connection that waits; the youngest, as the others may be about to be closed by the endpoint.
    fn take(&self, key: Key) -> Option<Http1> {
        let mut pool = self.pool.lock();
        pool.forget(Instant::now());
        pool.idle.get_mut(&key)?.pop().map(|kept| kept.connection)
    }

    fn put(self: &Arc<Self>, key: Key, connection: Http1, idle_timeout: Duration) {
        let now = Instant::now();
        let mut pool = self.pool.lock();
        pool.forget(now);
        if pool.idle.values().map(Vec::len).sum::<usize>() < MAX_IDLE && !idle_timeout.is_zero() {
            pool.idle.entry(key).or_default().push(Kept { connection, until: now + idle_timeout });
            self.look_after(&mut pool, idle_timeout);
        }
    }

    fn look_after(self: &Arc<Self>, pool: &mut Pool, period: Duration) {
        if !std::mem::replace(&mut pool.tidied, true) {
            task::spawn(Arc::clone(self).tidy(period));
        }
    }

    /// Closes what is kept for too long, until nothing is.
    async fn tidy(self: Arc<Self>, period: Duration) {
        loop {
            sleep(period).await;
            let mut pool = self.pool.lock();
            pool.forget(Instant::now());
            pool.tidied = !(pool.idle.is_empty() && pool.shared.is_empty());
            if !pool.tidied {
                return;
            }
        }
    }

    /// A connection over which requests run at the same time.
    async fn multiplexed(
        self: &Arc<Self>,
        destination: &Destination,
        key: Key,
    ) -> Result<http2::SendRequest<CallBody>, CallError> {
        let until = Instant::now() + destination.idle_timeout;
        let known = {
            let mut pool = self.pool.lock();
            pool.forget(Instant::now());
            pool.shared.get_mut(&key).map(|kept| {
                kept.until = until;
                kept.connection.clone()
            })
        };
        if let Some(mut known) = known
            && known.ready().await.is_ok()
        {
            return Ok(known);
        }
        let stream = TokioIo::new(connect(destination).await?);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new()).handshake(stream).await?;
        // It ends when its last request has, once it is kept no longer.
        task::spawn(connection);
        if !destination.idle_timeout.is_zero() {
            let mut pool = self.pool.lock();
            pool.shared.insert(key, Kept { connection: sender.clone(), until });
            self.look_after(&mut pool, destination.idle_timeout);
        }
        Ok(sender)
    }
}

impl Pool {
    fn forget(&mut self, now: Instant) {
        for idle in self.idle.values_mut() {
            idle.retain(|kept| now < kept.until && !kept.connection.sender.is_closed());
        }
        self.idle.retain(|_, idle| !idle.is_empty());
        self.shared.retain(|_, kept| now < kept.until && !kept.connection.is_closed());
    }
}

impl Used {
    /// Keeps the connection for the next request. To be called when the answer has been read to its end.
    pub(crate) async fn keep(self) {
        let Some(mut connection) = self.connection else { return };
        if connection.sender.ready().await.is_ok() {
            self.client.put(self.key, connection, self.idle_timeout);
        }
    }
}

async fn connect_http1(destination: &Destination) -> Result<Http1, CallError> {
    let stream = TokioIo::new(connect(destination).await?);
    // Names as the engine writes them.
    let (sender, connection) = http1::Builder::new().title_case_headers(true).handshake(stream).await?;
    let task = task::spawn(async {
        // What went wrong is told to the request.
        let _ = connection.await;
    });
    Ok(Http1 { sender, task: task.abort_handle() })
}

async fn connect(destination: &Destination) -> Result<Box<dyn Transport>, CallError> {
    let connecting = async {
        let address = destination.picked.address();
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(match &destination.cluster.tls {
            None => Box::new(stream) as Box<dyn Transport>,
            Some(tls) => {
                let version = Some(destination.cluster.version);
                Box::new(destination.secure.handshake(tls, version, address, stream).await?)
            }
        })
    };
    let connected = timeout(destination.connect_timeout, connecting).await;
    connected.map_err(|_| CallError::ConnectTimeout)?.map_err(CallError::Connect)
}

/// A head for HTTP/1: the target is a path.
fn origin_form(mut head: http::request::Parts) -> http::request::Parts {
    head.version = Version::HTTP_11;
    head.uri = target(&head).into();
    head
}

/// A head for HTTP/2: the target says what `Host` said.
fn absolute(mut head: http::request::Parts, tls: bool) -> Result<http::request::Parts, http::Error> {
    head.version = Version::HTTP_2;
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.path_and_query = Some(target(&head));
    let host = head.headers.remove(HOST);
    uri.authority = Some(Authority::try_from(host.as_ref().map_or(&b""[..], |host| host.as_bytes()))?);
    head.uri = Uri::from_parts(uri)?;
    Ok(head)
}

fn target(head: &http::request::Parts) -> PathAndQuery {
    head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

impl Body for CallBody {
    type Data = bytes::Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<bytes::Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Copied(body) => body.poll_part(cx).map(|part| part.map(|part| part.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Copied(_) => SizeHint::default(),
        }
    }
}
