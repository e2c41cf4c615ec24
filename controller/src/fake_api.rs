//! An API server for tests that is a closure: no socket, so that time may stand still in tests.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// A request to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Nothing where there is none.
    pub(crate) body: Value,
}

/// A client of an API server that answers by `answer`: with an HTTP status and a body. An answer that is no longer
/// awaited is dropped.
pub(crate) fn client<A>(answer: impl Fn(Asked) -> A + Send + Sync + 'static) -> Client
where
    A: Future<Output = (u16, Value)> + Send + 'static,
{
    let answer = Arc::new(answer);
    streaming_client(move |asked| {
        let answer = answer.clone();
        async move {
            let (status, value) = answer(asked).await;
            (status, value, Duration::ZERO)
        }
    })
}

/// The same, where an answer says besides how much later than it its end comes. `null` is no body.
pub(crate) fn streaming_client<A>(answer: impl Fn(Asked) -> A + Send + Sync + 'static) -> Client
where
    A: Future<Output = (u16, Value, Duration)> + Send + 'static,
{
    let answer = Arc::new(answer);
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answer.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
            let (method, path) = (parts.method.to_string(), parts.uri.path().to_owned());
            let (status, value, silence) = answer(Asked { method, path, body }).await;
            let bytes = if value.is_null() { Bytes::new() } else { Bytes::from(value.to_string()) };
            let parts = [(Duration::ZERO, bytes), (silence, Bytes::new())].into_iter();
            let body = StreamBody::new(Box::pin(stream::unfold(parts, async |mut parts| {
                let (delay, bytes) = parts.next()?;
                // One of no length may still take a tick of the clock.
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                Some((Ok::<_, Infallible>(Frame::data(bytes)), parts))
            })));
            Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
        }
    });
    Client::new(service, "default")
}

/// An answer that is an error.
pub(crate) fn failure(code: u16) -> (u16, Value) {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        _ => "Unknown",
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": format!("{reason}, said so")});
    (code, status)
}
