//! The server: HTTPS beside the proxy, so that a flood of reviews costs the proxy and the probes nothing.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::desk::Desk;
use super::review::Review;
use super::serving::Serving;
use crate::side_server::SideServer;

/// A handshake must be over, a request's head and its body be there within this time.
const CLIENT_TIME: Duration = Duration::from_secs(10);
/// No connection is older: then it takes no further request, and ends when those that run are answered.
const MAX_AGE: Duration = Duration::from_secs(600);
/// How long requests may then still run.
const LAST_TIME: Duration = Duration::from_secs(30);
/// How long an answer may take: the API server waits 10 s by default, 30 s at most.
const ANSWER_TIME: Duration = Duration::from_secs(25);
/// The largest body that is read (ingress-nginx).
const MAX_BODY: usize = 9 << 20;
/// Bytes of all bodies that are being read; a request that would exceed them is turned away.
const MAX_BODIES: usize = 64 << 20;

/// Bytes of a body that are read and thrown away when it is refused.
const DRAINED: usize = 4 * MAX_BODY;

/// What a review cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observation {
    /// How many Ingresses were looked at.
    pub ingresses: usize,
    /// How long it was judged.
    pub judged: Duration,
    /// From the first byte of the request to the answer.
    pub roundtrip: Duration,
    /// Bytes of the review.
    pub size: usize,
}

/// Who is told of each review.
type Observer = dyn Fn(&Observation) + Send + Sync;

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct AdmissionServer(SideServer);

/// What every request needs.
struct Shared {
    desk: Desk,
    observe: Box<Observer>,
    /// Bytes of bodies that are being read.
    bodies: AtomicUsize,
}

impl AdmissionServer {
    /// Binds an address and serves it on a thread of its own.
    pub fn start(
        address: SocketAddr,
        serving: &Arc<Serving>,
        desk: Desk,
        observe: impl Fn(&Observation) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let config = serving.config().map_err(io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let shared = Arc::new(Shared { desk, observe: Box::new(observe), bodies: AtomicUsize::new(0) });
        SideServer::start("admission", address, move |stream, peer| {
            connection(stream, peer, acceptor.clone(), shared.clone())
        })
        .map(Self)
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let stream = match timeout(CLIENT_TIME, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "no TLS with a client of the webhook"),
        Err(_) => return tracing::debug!(%peer, "a client of the webhook is silent"),
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(respond(request, &shared).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(CLIENT_TIME).max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(32)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(CLIENT_TIME)
        .keep_alive_timeout(CLIENT_TIME);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = sleep(MAX_AGE) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_TIME, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection to the webhook ended");
    }
}

/// What a client gets instead of an answer.
struct Refusal(StatusCode, String);

async fn respond(request: Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let began = Instant::now();
    match review(request, shared, began).await {
        Ok(text) => response(StatusCode::OK, "application/json", text),
        Err(Refusal(status, text)) => {
            let mut response = response(status, "text/plain; charset=utf-8", text + "\n");
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            response
        }
    }
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn review(request: Request<Incoming>, shared: &Shared, began: Instant) -> Result<String, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "only POST".to_owned()));
    }
    let (review, size) = {
        let mut held = Held { bytes: 0, of: &shared.bodies };
        let slow = || Refusal(StatusCode::REQUEST_TIMEOUT, "the body does not arrive".to_owned());
        let body = timeout(CLIENT_TIME, read(request.into_body(), &mut held)).await.map_err(|_| slow())??;
        let review = Review::read(&body).map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
        (review, body.len())
    };
    let unanswered = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "there is no answer yet".to_owned());
    let answer = timeout(ANSWER_TIME, shared.desk.ask(review.clone())).await.ok().flatten().ok_or_else(unanswered)?;
    let text = review.answer(&answer.verdict).to_string();
    let (ingresses, judged) = (answer.ingresses, answer.spent);
    (shared.observe)(&Observation { ingresses, judged, roundtrip: began.elapsed(), size });
    if !answer.verdict.allowed {
        tracing::info!(ingress = %review.name, reason = %answer.verdict.message, "the webhook refuses an Ingress");
    }
    Ok(text)
}

/// Bytes of bodies that a request holds; gives them back when it ends.
struct Held<'h> {
    bytes: usize,
    of: &'h AtomicUsize,
}

impl Held<'_> {
    fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes += bytes;
        let all = self.of.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.bytes > MAX_BODY {
            return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {MAX_BODY} bytes")));
        }
        if all > MAX_BODIES {
            return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "too many large reviews at once".to_owned()));
        }
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

async fn read(mut body: Incoming, held: &mut Held<'_>) -> Result<Bytes, Refusal> {
    let mut whole = BytesMut::new();
    let mut refusal = None;
    let mut left = DRAINED;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if refusal.is_none() {
            match held.take(data.len()) {
                Ok(()) => whole.extend_from_slice(&data),
                Err(error) => {
                    refusal = Some(error);
                    whole = BytesMut::new();
                }
            }
        }
        // What is too large is read on for a while: a client that still writes would not see the answer.
        if refusal.is_some() {
            left = left.saturating_sub(data.len());
        }
        if left == 0 {
            break;
        }
    }
    refusal.map_or_else(|| Ok(whole.freeze()), Err)
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
