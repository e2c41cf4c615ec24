//! Answers to plain requests: the description of the request, and the paths that do something.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde::Serialize;

use super::body::EchoBody;

/// Bodies up to this size are repeated in the description.
const SHOWN: usize = 4096;
/// The most that `/bytes/N` gives: 16 GiB.
const MAX_BYTES: u64 = 16 << 30;
/// The longest that `/delay/MS` waits: ten minutes.
const MAX_DELAY: u64 = 600_000;

/// What was received.
#[derive(Debug, Serialize)]
struct Description<'a> {
    name: &'a str,
    method: String,
    path: &'a str,
    query: &'a str,
    protocol: String,
    /// The authority of the URI, or the Host header.
    host: &'a str,
    peer: String,
    headers: BTreeMap<&'a str, Vec<String>>,
    #[serde(rename = "bodySize")]
    body_size: u64,
    /// Only short text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    trailers: BTreeMap<String, Vec<String>>,
}

/// What was received after the head.
#[derive(Default)]
struct Received {
    size: u64,
    begin: Vec<u8>,
    trailers: HeaderMap,
}

pub(super) async fn reply(request: Request<Incoming>, peer: SocketAddr, name: &str) -> Response<EchoBody> {
    let (head, body) = request.into_parts();
    let received = match receive(body).await {
        Ok(received) => received,
        Err(error) => return plain(StatusCode::BAD_REQUEST, format!("the body ended too soon: {error}\n")),
    };
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let mut ends = path.trim_end_matches('/').rsplit('/');
    let (last, before) = (ends.next().unwrap_or_default(), ends.next().unwrap_or_default());
    match (before, last) {
        ("status", code) => return status(code, query),
        ("bytes", length) => return bytes(length),
        (_, "sse") => return events(query),
        ("delay", time) => match time.parse::<u64>() {
            Ok(time) if time <= MAX_DELAY => tokio::time::sleep(Duration::from_millis(time)).await,
            _ => return plain(StatusCode::BAD_REQUEST, format!("a delay is 0 to {MAX_DELAY} milliseconds\n")),
        },
        _ => {}
    }
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let text = (received.size <= SHOWN as u64).then(|| String::from_utf8(received.begin).ok()).flatten();
    let description = Description {
        name,
        method: head.method.to_string(),
        path,
        query,
        protocol: format!("{:?}", head.version),
        host: head.uri.authority().map(|authority| authority.as_str()).or(host).unwrap_or_default(),
        peer: peer.to_string(),
        headers: described(&head.headers),
        body_size: received.size,
        body: text.filter(|text| !text.is_empty()),
        trailers: described(&received.trailers).into_iter().map(|(name, values)| (name.to_owned(), values)).collect(),
    };
    let text = serde_json::to_string_pretty(&description).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    typed(StatusCode::OK, "application/json", EchoBody::text(text + "\n"))
}

async fn receive(mut body: Incoming) -> Result<Received, hyper::Error> {
    let mut received = Received::default();
    if body.is_end_stream() {
        return Ok(received);
    }
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                received.size += data.len() as u64;
                let room = SHOWN.saturating_sub(received.begin.len());
                received.begin.extend(data.iter().take(room));
            }
            Err(frame) => received.trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok(received)
}

fn described(headers: &HeaderMap) -> BTreeMap<&str, Vec<String>> {
    let mut described: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        described.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    described
}

fn status(code: &str, query: &str) -> Response<EchoBody> {
    let Some(status) = code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok()).filter(|s| s.as_u16() >= 200)
    else {
        return plain(StatusCode::BAD_REQUEST, "a status is 200 to 999\n".to_owned());
    };
    let mut response = match status {
        // These have no body (RFC 9110, sections 15.3.5 and 15.4.5).
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Response::new(EchoBody::empty()),
        _ => plain(status, format!("{status}\n")),
    };
    *response.status_mut() = status;
    if let Some(location) = parameter(query, "location").and_then(|value| HeaderValue::from_str(value).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn bytes(length: &str) -> Response<EchoBody> {
    match length.parse() {
        Ok(length) if length <= MAX_BYTES => {
            typed(StatusCode::OK, "application/octet-stream", EchoBody::zeroes(length))
        }
        _ => plain(StatusCode::BAD_REQUEST, format!("a length is 0 to {MAX_BYTES} bytes\n")),
    }
}

fn events(query: &str) -> Response<EchoBody> {
    let number = |name, otherwise| parameter(query, name).map_or(Some(otherwise), |text| text.parse::<u64>().ok());
    let (Some(count), Some(interval)) = (number("count", 10), number("interval", 100)) else {
        return plain(StatusCode::BAD_REQUEST, "count and interval are numbers\n".to_owned());
    };
    let body = EchoBody::events((count > 0).then_some(count), Duration::from_millis(interval.min(MAX_DELAY)));
    let mut response = typed(StatusCode::OK, "text/event-stream", body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// A query parameter as it stands; nothing here needs percent-encoding.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<EchoBody> {
    typed(status, "text/plain; charset=utf-8", EchoBody::text(text))
}

fn typed(status: StatusCode, content_type: &'static str, body: EchoBody) -> Response<EchoBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
