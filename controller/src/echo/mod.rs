//! The backend `genkan echo`: answers every request with what it received, for trying things and for tests.
//!
//! HTTP/1.1 and h2c on one port. Besides the description (JSON), paths that *end* in one of these do something, so
//! that they also work behind a prefix:
//!
//! | Path | Answer |
//! |---|---|
//! | `/status/NNN` | that status; `?location=` sets the header of a redirect |
//! | `/delay/MS` | the description after that many milliseconds |
//! | `/bytes/N` | N bytes |
//! | `/sse?count=N&interval=MS` | N events (10) at this interval (100 ms); `count=0` never ends |
//! | a WebSocket handshake, any path | every message, echoed (HTTP/1.1 and RFC 8441) |
//! | `content-type: application/grpc`, any path | every message, echoed, then `grpc-status: 0` |
//!
//! It is no production server: it has no limits but those on what it is asked to produce.

mod body;
mod reply;
mod websocket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::body::EchoBody;

/// Serves connections until it is dropped, which also ends those that are open. `name` is told in every answer, to
/// tell several backends apart.
pub async fn serve(listener: TcpListener, name: impl Into<Arc<str>>) {
    serve_until(listener, name, std::future::pending()).await;
}

/// Serves connections until `stop`; then it accepts no more, and returns when the requests that are open are answered.
pub async fn serve_until(listener: TcpListener, name: impl Into<Arc<str>>, stop: impl Future<Output = ()>) {
    let name = name.into();
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer)) => drop(connections.spawn(connection(stream, peer, name.clone(), stopped.clone()))),
            Err(error) => {
                // Out of descriptors, most likely; accepting again at once would spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop((listener, stopping));
    while connections.join_next().await.is_some() {}
}

/// Serves one connection. When the sender of `stopped` is gone, a request that is open is the connection's last.
async fn connection(stream: TcpStream, peer: SocketAddr, name: Arc<str>, mut stopped: watch::Receiver<()>) {
    // An optimization that may fail on exotic systems; nothing depends on it.
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).preserve_header_case(true);
    builder.http2().timer(TokioTimer::new()).enable_connect_protocol();
    let service = service_fn(|request| answer(request, peer, name.clone()));
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    name: Arc<str>,
) -> Result<Response<EchoBody>, Infallible> {
    let mut response = if websocket::is_handshake(&request) {
        websocket::accept(request)
    } else if is_grpc(&request) {
        let mut response = Response::new(EchoBody::grpc(request.into_body()));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    } else {
        reply::reply(request, peer, &name).await
    };
    if let Ok(value) = HeaderValue::from_str(&name) {
        response.headers_mut().insert("x-echo-name", value);
    }
    Ok(response)
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let grpc = |value: &HeaderValue| {
        value.to_str().is_ok_and(|value| value == "application/grpc" || value.starts_with("application/grpc+"))
    };
    request.version() == http::Version::HTTP_2
        && request.method() == Method::POST
        && request.headers().get(header::CONTENT_TYPE).is_some_and(grpc)
}

#[cfg(test)]
mod tests;
