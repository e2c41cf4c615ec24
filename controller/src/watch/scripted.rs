//! An API server for tests that answers from a script: without a socket, so that time may stand still, or with one.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Body as HttpBody, Frame};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What a request is answered with.
#[derive(Clone)]
pub(crate) struct Answer {
    /// The status; without one there is no answer at all.
    status: Option<u16>,
    /// The lines of the body.
    body: String,
    /// Whether the body goes on in silence.
    holds: bool,
}

impl Answer {
    /// These lines and the end.
    pub(crate) fn lines(status: u16, lines: &[Value]) -> Self {
        let body = lines.iter().map(|line| format!("{line}\n")).collect();
        Self { status: Some(status), body, holds: false }
    }

    /// No JSON.
    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self { status: Some(status), body: text.to_owned(), holds: false }
    }

    /// Silence.
    pub(crate) fn none() -> Self {
        Self { status: None, body: String::new(), holds: true }
    }

    /// The same, without an end.
    pub(crate) fn and_holds(self) -> Self {
        Self { holds: true, ..self }
    }

    async fn into_response(self) -> Result<Response<impl HttpBody<Data = Bytes, Error = Infallible>>, Infallible> {
        let Some(status) = self.status else { return std::future::pending().await };
        let rest = if self.holds { stream::pending().left_stream() } else { stream::empty().right_stream() };
        let frames = stream::iter([Ok(Frame::data(Bytes::from(self.body)))]).chain(rest);
        Ok(Response::builder().status(status).body(StreamBody::new(frames)).unwrap())
    }
}

/// The requests that a server got so far: their paths and queries.
pub(crate) type Requests = Arc<Mutex<Vec<String>>>;

/// An API server that gives these answers in turn. When nothing is left to answer, requests wait.
pub(crate) async fn api_server(script: Vec<Answer>) -> (Client, Requests) {
    let script = Mutex::new(VecDeque::from(script));
    api_server_that(move |_| script.lock().pop_front().unwrap_or_else(Answer::none))
}

/// An API server that answers by a request's path and query.
pub(crate) fn api_server_that(answer: impl Fn(&str) -> Answer + Send + 'static) -> (Client, Requests) {
    let requests = Requests::default();
    let asked = requests.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let request = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let answer = answer(&request);
        asked.lock().push(request);
        answer.into_response()
    });
    (Client::new(service, "default"), requests)
}

/// The first of them behind a socket: its address.
pub(crate) async fn serve(script: Vec<Answer>) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Requests::default();
    let asked = requests.clone();
    tokio::spawn(async move {
        let mut script = VecDeque::from(script);
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let line = String::from_utf8(head).unwrap().lines().next().unwrap().to_owned();
            asked.lock().push(line.split(' ').nth(1).unwrap().to_owned());
            let Answer { status, body, holds } = script.pop_front().unwrap_or_else(Answer::none);
            if let Some(status) = status {
                let head =
                    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n");
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            }
            if holds {
                open.push(stream);
            }
        }
    });
    (url, requests)
}

/// A failure as the API server tells it.
pub(crate) fn status(code: u16, reason: &str, message: &str, details: Value) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": message, "details": details})
}

/// A failure as an answer.
pub(crate) fn failure(code: u16) -> Answer {
    Answer::lines(code, &[status(code, "Unknown", "said so", json!({}))])
}

/// An object.
pub(crate) fn object(name: &str, version: &str) -> Value {
    json!({"metadata": {"namespace": "n", "name": name, "resourceVersion": version}, "spec": {}})
}

/// A page of a list; `more` is the token of the next one.
pub(crate) fn list(names: &[&str], version: &str, more: &str) -> Answer {
    let items: Vec<_> = names.iter().map(|name| object(name, "1")).collect();
    let metadata = json!({"resourceVersion": version, "continue": more});
    Answer::lines(200, &[json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})])
}

/// An event of a watch.
pub(crate) fn seen(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

/// The API groups, each with its versions.
pub(crate) fn groups(groups: &[(&str, &[&str])]) -> Answer {
    let version =
        |group: &str, version: &str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let groups: Vec<_> = groups
        .iter()
        .map(|(name, versions)| {
            let versions: Vec<_> = versions.iter().map(|v| version(name, v)).collect();
            json!({"name": name, "versions": versions})
        })
        .collect();
    Answer::lines(200, &[json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})])
}

/// The kinds of a version of a group, by the names that their paths have.
pub(crate) fn kinds(group_version: &str, names: &[&str]) -> Answer {
    let resources: Vec<_> = names
        .iter()
        .map(|name| json!({"name": name, "singularName": "", "namespaced": true, "kind": "", "verbs": []}))
        .collect();
    let list =
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources});
    Answer::lines(200, &[list])
}
