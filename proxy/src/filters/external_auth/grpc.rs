//! The question as Envoy's `envoy.service.auth.v3.Authorization/Check`, and its answer.
//!
//! Written and read by hand: a dozen fields do not need a generator. Of an answer, what Genkan can't do (changes of the
//! query or of Host, or too many) is no answer, for the service counts on it; nor is one whose known fields are not of their
//! type, for a refusal may be among them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use genkan_routing::policy::external_auth::GrpcAuth;
use genkan_routing::policy::headers::HeaderOps;
use http::header::{CONTENT_TYPE, HOST, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};

use super::protobuf::{Fields, Malformed, Message, Value};
use super::{Answer, AnswerError, Permit, Question, Shown, Verdict, is_framing, joined, refusal};
use crate::exchange::context::RequestContext;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The most changes of fields in an answer. Each is held against the ones before, and real answers have a few.
const MOST_CHANGES: usize = 128;

/// Counts the changes of an answer.
#[derive(Default)]
struct Changes(usize);

/// A field that the service wants to have written (`HeaderValueOption`).
struct Change {
    name: HeaderName,
    value: HeaderValue,
    how: How,
}

/// `append`, or `append_action` where that is not said.
enum How {
    Replace,
    Append,
    IfAbsent,
    IfPresent,
}

impl From<Malformed> for AnswerError {
    fn from(_: Malformed) -> Self {
        Self::Malformed("a malformed message")
    }
}

/// `CheckRequest`, in one frame of gRPC.
pub(super) fn question(
    ctx: &RequestContext<'_>,
    shown: &Shown<'_>,
    policy: &GrpcAuth,
    service: &str,
    timeout: Duration,
    body: &Bytes,
) -> Question {
    let source = Message::default().message(1, address(ctx.client));
    let request = Message::default().message(2, http_request(ctx, shown, policy, body));
    let attributes = Message::default().message(1, source).message(4, request);
    let message = Message::default().message(1, attributes).into_bytes();
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    // A body has at most 64 KiB and a head less, so that the length fits.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = Method::POST;
    head.uri = Uri::from(PathAndQuery::from_static(CHECK));
    if let Ok(authority) = HeaderValue::from_str(service) {
        head.headers.insert(HOST, authority);
    }
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers.insert(TE, HeaderValue::from_static("trailers"));
    if let Ok(timeout) = HeaderValue::from_str(&format!("{}m", timeout.as_millis().min(99_999_999))) {
        head.headers.insert(GRPC_TIMEOUT, timeout);
    }
    Question { head, body: frame.freeze() }
}

/// `Address` with a `SocketAddress`. The port is not known behind proxies and PROXY headers.
fn address(client: IpAddr) -> Message {
    Message::default().message(1, Message::default().text(2, &client.to_canonical().to_string()))
}

/// `AttributeContext.HttpRequest`.
fn http_request(ctx: &RequestContext<'_>, shown: &Shown<'_>, policy: &GrpcAuth, body: &Bytes) -> Message {
    let target = &*shown.target;
    let method = ctx.head.method.as_str();
    let mut message = Message::default().text(1, ctx.request_id).text(2, method);
    if policy.request_headers.is_none() {
        let own =
            [(":authority", shown.authority), (":method", method), (":path", target), (":scheme", ctx.scheme.as_str())];
        for (name, value) in own {
            message = message.message(3, Message::default().text(1, name).text(2, value));
        }
    }
    let allowed = |name: &&HeaderName| policy.request_headers.as_ref().is_none_or(|allowed| allowed.contains(name));
    let names: BTreeSet<&str> = shown.fields.keys().filter(allowed).map(HeaderName::as_str).collect();
    for name in names {
        let value = HeaderName::try_from(name).map(|name| joined(&shown.fields, &name)).unwrap_or_default();
        // The type is text, and a program that checks it would refuse the whole message for one stray byte.
        let value = String::from_utf8_lossy(&value);
        message = message.message(3, Message::default().text(1, name).text(2, &value));
    }
    let protocol = match ctx.head.version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    let message = message
        .text(4, target)
        .text(5, shown.authority)
        .text(6, ctx.scheme.as_str())
        .number(9, body.len() as u64)
        .text(10, protocol);
    // `body` is text, `raw_body` is not.
    let field = if std::str::from_utf8(body).is_ok() { 11 } else { 12 };
    message.bytes(field, body)
}

/// `CheckResponse`: OK without a refusal is yes.
pub(super) fn verdict(ctx: &RequestContext<'_>, answer: &Answer) -> Result<Verdict, AnswerError> {
    let message = message_of(answer)?;
    let (mut code, mut denied, mut permitted) = (0, None, None);
    for field in Fields::of(message) {
        match field? {
            (1, Value::Bytes(status)) => code = number(status, 1)?,
            (2, Value::Bytes(response)) => denied = Some(response),
            (3, Value::Bytes(response)) => permitted = Some(response),
            (1..=3, _) => return Err(Malformed.into()),
            _ => {}
        }
    }
    match (code, denied) {
        (0, None) => permit(ctx, permitted.unwrap_or_default()).map(Verdict::Permit),
        (_, denied) => refuse(ctx, denied.unwrap_or_default()),
    }
}

/// The one message of a successful call.
fn message_of(answer: &Answer) -> Result<&[u8], AnswerError> {
    if answer.head.status != StatusCode::OK {
        return Err(AnswerError::Status(answer.head.status));
    }
    let status = answer.trailers.get(GRPC_STATUS).or_else(|| answer.head.headers.get(GRPC_STATUS));
    match status.map(HeaderValue::as_bytes) {
        Some(b"0") => {}
        Some(other) => return Err(AnswerError::Call(String::from_utf8_lossy(other).into_owned())),
        None => return Err(AnswerError::Malformed("no grpc-status")),
    }
    match answer.body.split_first_chunk::<5>() {
        Some(([0, length @ ..], message)) if u32::from_be_bytes(*length) as usize == message.len() => Ok(message),
        Some(([1, ..], _)) => Err(AnswerError::Malformed("a compressed message, which nobody asked for")),
        _ => Err(AnswerError::Malformed("not one message")),
    }
}

/// `OkHttpResponse`.
fn permit(ctx: &RequestContext<'_>, response: &[u8]) -> Result<Permit, AnswerError> {
    let (mut permit, mut changes) = (Permit::default(), Changes::default());
    for field in Fields::of(response) {
        match field? {
            (2, Value::Bytes(option)) => {
                let change = changes.next(option)?;
                if change.name == HOST {
                    return Err(AnswerError::Malformed("a change of Host, which is not supported"));
                }
                change.note(&mut permit.request, Some(&ctx.head.headers));
            }
            (5, Value::Bytes(name)) => {
                changes.count()?;
                let name =
                    HeaderName::from_bytes(name).map_err(|_| AnswerError::Malformed("a header name that is none"))?;
                if !is_framing(&name) {
                    permit.request.remove.push(name);
                }
            }
            (6, Value::Bytes(option)) => changes.next(option)?.note(&mut permit.response, None),
            (7 | 8, _) => return Err(AnswerError::Malformed("changes of the query, which are not supported")),
            (2 | 5 | 6, _) => return Err(Malformed.into()),
            _ => {}
        }
    }
    Ok(permit)
}

/// `DeniedHttpResponse`.
fn refuse(ctx: &RequestContext<'_>, response: &[u8]) -> Result<Verdict, AnswerError> {
    let (mut status, mut ops, mut body) = (0, HeaderOps::default(), Bytes::new());
    let mut changes = Changes::default();
    for field in Fields::of(response) {
        match field? {
            (1, Value::Bytes(http_status)) => status = number(http_status, 1)?,
            (2, Value::Bytes(option)) => changes.next(option)?.note(&mut ops, None),
            (3, Value::Bytes(text)) => body = Bytes::copy_from_slice(text),
            (1..=3, _) => return Err(Malformed.into()),
            _ => {}
        }
    }
    let status = if status == 0 { StatusCode::FORBIDDEN } else { http_status(status)? };
    let mut fields = HeaderMap::new();
    super::super::headers::apply(&ops, &mut fields);
    Ok(Verdict::Refuse(refusal(ctx, status, fields, body)))
}

/// A status that a client may get as a refusal; a success would read as one.
fn http_status(number: u64) -> Result<StatusCode, AnswerError> {
    let status = u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok());
    let status = status.filter(|status| !status.is_informational() && status.as_u16() < 600);
    let status = status.ok_or(AnswerError::Malformed("a status that is none"))?;
    Ok(if status.is_success() { StatusCode::FORBIDDEN } else { status })
}

/// The number in a field of a message.
fn number(message: &[u8], wanted: u64) -> Result<u64, Malformed> {
    let mut found = 0;
    for field in Fields::of(message) {
        match field? {
            (number, Value::Number(value)) if number == wanted => found = value,
            (number, _) if number == wanted => return Err(Malformed),
            _ => {}
        }
    }
    Ok(found)
}

impl Changes {
    fn next(&mut self, option: &[u8]) -> Result<Change, AnswerError> {
        self.count()?;
        change(option)
    }

    /// One more.
    fn count(&mut self) -> Result<(), AnswerError> {
        self.0 += 1;
        (self.0 <= MOST_CHANGES).then_some(()).ok_or(AnswerError::Malformed("more than 128 changes of headers"))
    }
}

/// `HeaderValueOption`.
fn change(option: &[u8]) -> Result<Change, AnswerError> {
    let (mut field, mut append, mut action) = (&[][..], None, 0);
    for part in Fields::of(option) {
        match part? {
            (1, Value::Bytes(header)) => field = header,
            (2, Value::Bytes(flag)) => append = Some(number(flag, 1)? != 0),
            (3, Value::Number(value)) => action = value,
            (1..=3, _) => return Err(Malformed.into()),
            _ => {}
        }
    }
    let (mut name, mut value) = (&[][..], &[][..]);
    for part in Fields::of(field) {
        match part? {
            (1, Value::Bytes(text)) => name = text,
            (2 | 3, Value::Bytes(bytes)) => value = bytes,
            (1..=3, _) => return Err(Malformed.into()),
            _ => {}
        }
    }
    let how = match (append, action) {
        (Some(true), _) => How::Append,
        (None, 1) => How::IfAbsent,
        (None, 3) => How::IfPresent,
        // The first action would append and can't be told from none, for which Envoy's service replaces.
        _ => How::Replace,
    };
    let name = HeaderName::from_bytes(name).map_err(|_| AnswerError::Malformed("a header name that is none"))?;
    let value = HeaderValue::from_bytes(value).map_err(|_| AnswerError::Malformed("a header value that is none"))?;
    Ok(Change { name, value, how })
}

impl Change {
    /// `present` is the head that is changed, where it is known yet.
    fn note(self, ops: &mut HeaderOps, present: Option<&HeaderMap>) {
        let Self { name, value, how } = self;
        if is_framing(&name) {
            return;
        }
        let is_there = present.is_some_and(|headers| headers.contains_key(&name))
            || ops.add.iter().any(|(known, _)| *known == name);
        match how {
            How::Append => ops.add.push((name, value)),
            How::Replace => {
                ops.add.retain(|(known, _)| *known != name);
                ops.remove.push(name.clone());
                ops.add.push((name, value));
            }
            How::IfAbsent if is_there => {}
            How::IfPresent if !is_there => {}
            How::IfAbsent => ops.add.push((name, value)),
            How::IfPresent => {
                ops.remove.push(name.clone());
                ops.add.push((name, value));
            }
        }
    }
}
