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

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use genkan_routing::model::{Cluster, HttpVersion};
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{self, AbortHandle};
use tokio::time::{sleep, timeout};

use super::endpoint::Picked;
use super::mirror::CopiedBody;
use super::tls::Secure;

/// The most connections that are kept for a next request, over all endpoints.
const MAX_IDLE: usize = 64;

/// What a connection holds of a body that its endpoint does not take, and the most of a head: hyper's own limits are
/// 400 KiB and 1 MiB.
pub(super) const SEND_BUFFER: usize = 64 << 10;

/// How often what is kept is looked through.
const TIDY_INTERVAL: Duration = Duration::from_secs(5);

/// How long an endpoint over HTTP/2 may say nothing while it is asked, and how long again until it answers a ping.
const SILENCE: Duration = Duration::from_secs(10);

/// Where a request goes.
#[derive(Debug)]
pub(crate) struct Destination {
    /// The endpoint; its request counts as under way as long as this lives.
    pub(crate) picked: Picked,
    /// Its cluster.
    pub(crate) cluster: Arc<Cluster>,
    /// What is spoken to it.
    pub(crate) version: HttpVersion,
    /// The cluster's TLS.
    pub(crate) secure: Secure,
    /// Which kept connections of the address may be shared.
    pub(crate) group: u64,
    /// For TCP and TLS together.
    pub(crate) connect_timeout: Duration,
    /// How long the connection is kept afterwards.
    pub(crate) idle_timeout: Duration,
}

/// Why there is no answer. All that wait for one connection get the same.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(Arc<io::Error>),
    /// No connection in time.
    #[error("time-out while connecting")]
    ConnectTimeout,
    /// The request has no form that could be sent.
    #[error("the request can't be sent: {0}")]
    Request(Arc<http::Error>),
    /// The connection broke, or what came is no HTTP.
    #[error("no answer: {0}")]
    Http(Arc<hyper::Error>),
    /// The same of a connection that was kept: its endpoint may have closed it just then, as every server does some time.
    #[error("no answer on a kept connection: {0}")]
    Stale(Arc<hyper::Error>),
}

/// A request's body.
#[derive(Debug)]
pub(crate) enum CallBody {
    /// None.
    Empty,
    /// All of it.
    Whole(Bytes),
    /// What comes in at another request.
    Copied(CopiedBody),
}

/// The connection of a request whose answer is being read. Over HTTP/1 it is closed unless it is kept.
#[derive(Debug)]
pub(crate) struct Used {
    client: Arc<Client>,
    key: Key,
    idle_timeout: Duration,
    connection: Connection,
}

/// The client of one worker.
#[derive(Debug)]
pub(crate) struct Client {
    pool: Mutex<Pool>,
    silence: Duration,
}

type Key = (SocketAddr, u64);

/// A connection that is being made, for all that wait for it.
type Connecting = Shared<BoxFuture<'static, Result<Http2, CallError>>>;

#[derive(Debug, Default)]
struct Pool {
    /// HTTP/1: each for one request at a time.
    idle: HashMap<Key, Vec<Kept<Http1>>>,
    /// HTTP/2: one for all requests.
    shared: HashMap<Key, Kept<Http2>>,
    connecting: HashMap<Key, Connecting>,
    /// Whether somebody looks after what is kept for too long.
    tidied: bool,
}

/// A connection that is kept until then.
#[derive(Debug)]
struct Kept<T> {
    connection: T,
    until: Instant,
}

#[derive(Debug)]
enum Connection {
    Http1(Http1),
    Http2(Http2),
}

/// An HTTP/1 connection; closed when it is dropped.
#[derive(Debug)]
struct Http1 {
    sender: http1::SendRequest<CallBody>,
    task: AbortHandle,
}

/// An HTTP/2 connection; closed when its last request has ended and it is kept no longer.
#[derive(Clone, Debug)]
struct Http2 {
    sender: http2::SendRequest<CallBody>,
    task: AbortHandle,
}

/// Where and how to connect.
struct Way {
    address: SocketAddr,
    cluster: Arc<Cluster>,
    version: HttpVersion,
    secure: Secure,
    limit: Duration,
}

/// A connection to an endpoint.
trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

impl Drop for Http1 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl From<http::Error> for CallError {
    fn from(error: http::Error) -> Self {
        Self::Request(Arc::new(error))
    }
}

impl From<hyper::Error> for CallError {
    fn from(error: hyper::Error) -> Self {
        Self::Http(Arc::new(error))
    }
}

impl Default for Client {
    fn default() -> Self {
        Self { pool: Mutex::default(), silence: SILENCE }
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
        self.send_by(true, destination, head, body).await
    }

    /// Sends a request that was sent before, over a connection that is younger than that.
    pub(crate) async fn send_anew(
        self: &Arc<Self>,
        destination: &Destination,
        head: http::request::Parts,
        body: CallBody,
    ) -> Result<(Response<Incoming>, Used), CallError> {
        self.send_by(false, destination, head, body).await
    }

    /// `kept` is whether a kept connection will do.
    async fn send_by(
        self: &Arc<Self>,
        kept: bool,
        destination: &Destination,
        mut head: http::request::Parts,
        body: CallBody,
    ) -> Result<(Response<Incoming>, Used), CallError> {
        let key = (destination.picked.address(), destination.group);
        let idle_timeout = destination.idle_timeout;
        let used = |connection| Used { client: Arc::clone(self), key, idle_timeout, connection };
        if destination.version == HttpVersion::Http2 {
            to_absolute(&mut head, destination.cluster.tls.is_some())?;
            let request = Request::from_parts(head, body);
            // One on which a request failed is not kept any longer, so that the next one gets another.
            let (mut connection, old) = self.multiplexed(destination, key).await?;
            return match connection.sender.send_request(request).await {
                Ok(response) => Ok((response, used(Connection::Http2(connection)))),
                // Not where the body broke off, which is nobody's connection's fault.
                Err(error) if old && !error.is_user() => {
                    self.leave(&connection);
                    Err(CallError::Stale(Arc::new(error)))
                }
                Err(error) => Err(error.into()),
            };
        }
        let mut request = Request::from_parts(origin_form(head), body);
        loop {
            let waiting = if kept { self.take(key) } else { None };
            let (mut connection, old) = match waiting {
                Some(kept) => (kept, true),
                None => (connect_http1(&Way::to(destination)).await?, false),
            };
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, used(Connection::Http1(connection)))),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if old => request = unsent,
                    _ if old && !error.error().is_parse() => {
                        return Err(CallError::Stale(Arc::new(error.into_error())));
                    }
                    _ => return Err(error.into_error().into()),
                },
            }
        }
    }

    /// Keeps a connection of HTTP/2 no longer; what runs on it goes on.
    fn leave(&self, connection: &Http2) {
        let is_other = |kept: &Kept<Http2>| kept.connection.task.id() != connection.task.id();
        self.pool.lock().shared.retain(|_, kept| is_other(kept));
    }

    /// A connection that waits; the youngest, as the others may be about to be closed by the endpoint.
    fn take(&self, key: Key) -> Option<Http1> {
        let mut pool = self.pool.lock();
        pool.forget(Instant::now());
        pool.idle.get_mut(&key)?.pop().map(|kept| kept.connection)
    }

    /// Keeps a connection, unless none is to be kept or too many are.
    fn keep<T>(self: &Arc<Self>, connection: T, idle_timeout: Duration, put: impl FnOnce(&mut Pool, Kept<T>)) {
        let now = Instant::now();
        let mut pool = self.pool.lock();
        pool.forget(now);
        if !idle_timeout.is_zero() && pool.size() < MAX_IDLE {
            put(&mut pool, Kept { connection, until: now + idle_timeout });
            if !std::mem::replace(&mut pool.tidied, true) {
                task::spawn(Arc::clone(self).tidy());
            }
        }
    }

    /// Closes what is kept for too long, until nothing is.
    async fn tidy(self: Arc<Self>) {
        loop {
            sleep(TIDY_INTERVAL).await;
            let mut pool = self.pool.lock();
            pool.forget(Instant::now());
            pool.tidied = pool.size() > 0;
            if !pool.tidied {
                return;
            }
        }
    }

    /// A connection over which requests run at the same time, and whether it was kept. Only one is made at a time, which
    /// all wait for that come meanwhile.
    async fn multiplexed(self: &Arc<Self>, destination: &Destination, key: Key) -> Result<(Http2, bool), CallError> {
        let connecting = {
            let now = Instant::now();
            let mut pool = self.pool.lock();
            pool.forget(now);
            if let Some(kept) = pool.shared.get_mut(&key) {
                kept.until = now + destination.idle_timeout;
                return Ok((kept.connection.clone(), true));
            }
            let begin = || {
                let client = Arc::clone(self);
                let (way, idle_timeout) = (Way::to(destination), destination.idle_timeout);
                let connecting = async move {
                    let connected = connect_http2(&way, client.silence).await;
                    if let Ok(connection) = &connected {
                        let put = |pool: &mut Pool, kept| drop(pool.shared.insert(key, kept));
                        client.keep(connection.clone(), idle_timeout, put);
                    }
                    client.pool.lock().connecting.remove(&key);
                    connected
                };
                let connecting = connecting.boxed().shared();
                // Those who wait for it may all go away; it has a time-out of its own.
                task::spawn(connecting.clone());
                connecting
            };
            pool.connecting.entry(key).or_insert_with(begin).clone()
        };
        Ok((connecting.await?, false))
    }
}

impl Pool {
    fn forget(&mut self, now: Instant) {
        for idle in self.idle.values_mut() {
            idle.retain(|kept| now < kept.until && !kept.connection.sender.is_closed());
        }
        self.idle.retain(|_, idle| !idle.is_empty());
        self.shared.retain(|_, kept| now < kept.until && !kept.connection.sender.is_closed());
    }

    /// How many connections are kept.
    fn size(&self) -> usize {
        self.idle.values().map(Vec::len).sum::<usize>() + self.shared.len()
    }
}

impl Used {
    /// Keeps the connection for the next request. To be called when the answer has been read to its end.
    pub(crate) async fn keep(self) {
        // One of HTTP/2 was never taken away.
        let Connection::Http1(mut connection) = self.connection else { return };
        if connection.sender.ready().await.is_ok() {
            let put = |pool: &mut Pool, kept| pool.idle.entry(self.key).or_default().push(kept);
            self.client.keep(connection, self.idle_timeout, put);
        }
    }

    /// Closes the connection with whatever else runs on it: for requests whose body the endpoint does not take, and
    /// nothing else would end.
    pub(crate) fn break_off(self) {
        match self.connection {
            Connection::Http1(connection) => drop(connection),
            Connection::Http2(connection) => {
                // At once, for the end of the task takes a moment.
                self.client.leave(&connection);
                connection.task.abort();
            }
        }
    }
}

impl Way {
    fn to(destination: &Destination) -> Self {
        Self {
            address: destination.picked.address(),
            cluster: Arc::clone(&destination.cluster),
            version: destination.version,
            secure: destination.secure.clone(),
            limit: destination.connect_timeout,
        }
    }
}

async fn connect_http1(way: &Way) -> Result<Http1, CallError> {
    let stream = TokioIo::new(connect(way).await?);
    // Names as the engine writes them.
    let mut builder = http1::Builder::new();
    builder.title_case_headers(true).max_buf_size(SEND_BUFFER);
    let (sender, connection) = builder.handshake(stream).await?;
    let task = task::spawn(async {
        // What went wrong is told to the request.
        let _ = connection.await;
    });
    Ok(Http1 { sender, task: task.abort_handle() })
}

async fn connect_http2(way: &Way, silence: Duration) -> Result<Http2, CallError> {
    let stream = connect(way).await?;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_send_buf_size(SEND_BUFFER);
    // Without pings a connection to an address that is gone would be used until TCP gives it up.
    builder.timer(TokioTimer::new()).keep_alive_interval(silence).keep_alive_timeout(silence);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let task = task::spawn(async {
        // As above.
        let _ = connection.await;
    });
    Ok(Http2 { sender, task: task.abort_handle() })
}

async fn connect(way: &Way) -> Result<Box<dyn Transport>, CallError> {
    let connecting = async {
        let stream = TcpStream::connect(way.address).await?;
        stream.set_nodelay(true)?;
        Ok(match &way.cluster.tls {
            None => Box::new(stream) as Box<dyn Transport>,
            Some(tls) => Box::new(way.secure.handshake(tls, Some(way.version), way.address, stream).await?),
        })
    };
    let connected = timeout(way.limit, connecting).await;
    let failed = |error: io::Error| CallError::Connect(Arc::new(error));
    connected.map_err(|_| CallError::ConnectTimeout)?.map_err(failed)
}

/// A head for HTTP/1: the target is a path.
fn origin_form(mut head: http::request::Parts) -> http::request::Parts {
    head.version = Version::HTTP_11;
    head.uri = target(&head).into();
    head
}

/// Makes the target of a head that of HTTP/2: it says the scheme, and what `Host` said. A head that has no such form is
/// left as it is.
pub(crate) fn to_absolute(head: &mut http::request::Parts, tls: bool) -> Result<(), http::Error> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.path_and_query = Some(target(head));
    uri.authority = Some(match (head.headers.get(HOST), head.uri.authority()) {
        (Some(host), _) => Authority::try_from(host.as_bytes())?,
        (None, Some(authority)) => authority.clone(),
        (None, None) => Authority::try_from("")?,
    });
    head.uri = Uri::from_parts(uri)?;
    head.headers.remove(HOST);
    head.version = Version::HTTP_2;
    Ok(())
}

fn target(head: &http::request::Parts) -> PathAndQuery {
    head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            this @ Self::Whole(_) => match std::mem::replace(this, Self::Empty) {
                Self::Whole(bytes) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                _ => Poll::Ready(None),
            },
            Self::Copied(body) => body.poll_part(cx).map(|part| part.map(|part| part.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Copied(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Copied(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use genkan_routing::model::{Endpoint, ServiceRef};
    use genkan_routing::name::ClusterId;
    use genkan_routing::policy::load_balance::LoadBalance;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::upstream::balance::Balancer;
    use crate::upstream::services::Services;

    fn destination(address: SocketAddr, version: HttpVersion) -> Destination {
        let cluster = Cluster {
            id: ClusterId::new("a"),
            name: "a".into(),
            service: ServiceRef { namespace: "default".into(), name: "a".into(), port: "80".into() },
            version,
            tls: None,
            load_balance: LoadBalance::RoundRobin,
            affinity: None,
            retry_budget: None,
            health: None,
            circuit_breaker: None,
            endpoints: vec![Endpoint { address }],
        };
        let balancer = Balancer::new(&cluster, &Services::default(), None, 0, Instant::now());
        Destination {
            picked: balancer.find(Instant::now(), |_| true).unwrap(),
            cluster: Arc::new(cluster),
            version,
            secure: Secure::default(),
            group: 0,
            connect_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
        }
    }

    fn get() -> http::request::Parts {
        Request::get("/").header(HOST, "a.test").body(()).unwrap().into_parts().0
    }

    #[tokio::test]
    async fn a_connection_to_an_address_that_is_gone_is_not_kept_however_often_it_is_used() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination = destination(listener.local_addr().unwrap(), HttpVersion::Http2);
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::clone(&connections);
        task::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                task::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
            }
        });
        let client = Arc::new(Client { pool: Mutex::default(), silence: Duration::from_millis(20) });
        for number in 1..=2 {
            let failed = client.send(&destination, get(), CallBody::Empty).await.unwrap_err();
            assert!(matches!(failed, CallError::Http(_)), "{failed}");
            assert_eq!(connections.load(Ordering::SeqCst), number);
        }
    }

    #[test]
    fn a_head_of_http2_says_scheme_and_host_in_its_target_or_is_left_alone() {
        let mut head = get();
        to_absolute(&mut head, true).unwrap();
        assert_eq!((head.uri.to_string().as_str(), head.headers.len()), ("https://a.test/", 0));
        to_absolute(&mut head, false).unwrap();
        assert_eq!(head.uri, "http://a.test/");
        let mut nameless = Request::get("/").body(()).unwrap().into_parts().0;
        assert!(to_absolute(&mut nameless, true).is_err());
        assert_eq!((nameless.uri, nameless.version), (Uri::from_static("/"), Version::HTTP_11));
    }
}
