//! The echo backend over real connections.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use http::StatusCode;

struct Echo {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, task: tokio::spawn(serve(listener, "first")) }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn get(&self, path: &str) -> Response<Bytes> {
        self.send(Request::get(path).header("host", "a.test").body(Full::default()).unwrap()).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect().await)).await.unwrap();
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }
}

#[tokio::test]
async fn a_request_that_is_open_is_answered_before_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve_until(listener, "first", async move { drop(stopped.await) }));
    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(b"POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .await
        .unwrap();
    // The answer to Expect says that the request is being read.
    let mut continued = [0; 25];
    open.read_exact(&mut continued).await.unwrap();
    assert_eq!(&continued, b"HTTP/1.1 100 Continue\r\n\r\n");

    stop.send(()).unwrap();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    open.write_all(b"ok").await.unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    serving.await.unwrap();
}

#[tokio::test]
async fn the_answer_describes_the_request() {
    let echo = Echo::start().await;
    let request = Request::put("/a/b?c=d").header("host", "a.test").header("x-two", "1").header("x-two", "2");
    let response = echo.send(request.body("hello".into()).unwrap()).await;
    assert_eq!(response.headers()["x-echo-name"], "first");
    let told: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(told["method"], "PUT");
    assert_eq!((&told["path"], &told["query"], &told["host"]), (&json!("/a/b"), &json!("c=d"), &json!("a.test")));
    assert_eq!((&told["bodySize"], &told["body"], &told["name"]), (&json!(5), &json!("hello"), &json!("first")));
    assert_eq!((&told["headers"]["x-two"], &told["protocol"]), (&json!(["1", "2"]), &json!("HTTP/1.1")));
}

#[tokio::test]
async fn statuses_are_given_behind_any_prefix() {
    let echo = Echo::start().await;
    assert_eq!(echo.get("/status/503").await.status(), 503);
    let response = echo.get("/some/prefix/status/302?location=/there").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (302, &HeaderValue::from_static("/there"))
    );
    assert!(echo.get("/status/204").await.body().is_empty());
    for bad in ["/status/101", "/status/abc", "/status/1000", "/bytes/x", "/delay/x", "/sse?count=x"] {
        assert_eq!(echo.get(bad).await.status(), 400, "{bad}");
    }
}

#[tokio::test]
async fn as_many_bytes_and_events_as_asked_for() {
    let echo = Echo::start().await;
    let response = echo.get("/bytes/200000").await;
    assert_eq!((response.body().len(), &response.headers()["content-length"]), (200_000, &HeaderValue::from(200_000)));
    let response = echo.get("/sse?count=2&interval=1").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.body(), "id: 0\ndata: event 0\n\nid: 1\ndata: event 1\n\n");
    assert_eq!(echo.get("/delay/1").await.status(), 200);
}

#[tokio::test]
async fn grpc_messages_come_back_with_trailers() {
    let echo = Echo::start().await;
    let stream = TokioIo::new(echo.connect().await);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let message = Bytes::from_static(b"\0\0\0\0\x03abc");
    let request = Request::post("http://a.test/any.Service/Method").header("content-type", "application/grpc");
    let response = sender.send_request(request.body(Full::new(message.clone())).unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), message);
}

#[tokio::test]
async fn a_websocket_is_opened_and_echoed() {
    let echo = Echo::start().await;
    let mut stream = echo.connect().await;
    let handshake = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                     sec-websocket-protocol: chat, other\r\n\r\n";
    stream.write_all(handshake.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    assert!(head.contains("sec-websocket-protocol: chat\r\n"), "{head}");
    stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i', 0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, [0x81, 2, b'h', b'i', 0x88, 0]);
}

#[tokio::test]
async fn a_websocket_without_its_version_or_key_is_refused() {
    let echo = Echo::start().await;
    let request = || Request::get("/ws").header("host", "a").header("upgrade", "websocket");
    let response = echo.send(request().body(Full::default()).unwrap()).await;
    assert_eq!(
        (response.status(), &response.headers()["sec-websocket-version"]),
        (StatusCode::UPGRADE_REQUIRED, &HeaderValue::from_static("13"))
    );
    let response = echo.send(request().header("sec-websocket-version", "13").body(Full::default()).unwrap()).await;
    assert_eq!(response.status(), 400);
}
