//! External authentication: the question to a service, and what its answer means.
//!
//! ```text
//!  client's head (+ body) --http.rs | grpc.rs--> Question --upstream::authentication--> Answer
//!                                                                                         |
//!              Permit { changes of the backend's head } | Refuse { reply }  <--http.rs | grpc.rs
//! ```
//!
//! Pure: who carries the question is told elsewhere. Everything that is no clear yes is a no.

mod grpc;
mod http;
mod protobuf;

use std::borrow::Cow;

use ::http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;
use genkan_routing::policy::external_auth::{AuthCall, ExternalAuth};
use genkan_routing::policy::forwarded::Forwarded;
use genkan_routing::policy::headers::HeaderOps;

use super::upstream_headers::X_ORIGINAL_URI;
use super::url::routed_target;
use super::{Admitted, forwarded, upstream_headers};
use crate::exchange::context::RequestContext;
use crate::reply::Reply;

/// What every question carries. A service may lead back here, and a question about a question would go round until its
/// time is over. Clients that write it themselves only get no answer.
pub(crate) const ASKED: HeaderName = HeaderName::from_static("x-genkan-asked");

/// The most bytes of an answer's body. Pages of refusal and lists of fields are small.
pub(crate) const MOST_ANSWER: usize = 64 << 10;

/// The request as a service sees it.
struct Shown<'a> {
    /// Fields as a backend would get them, none of which the client could forge.
    fields: HeaderMap,
    /// The host that was routed. What a proxy in front says of it (`X-Forwarded-Host`) chose no rule, so that a service
    /// that judges by it would judge another host's request.
    authority: &'a str,
    /// The path that was routed, and the query.
    target: Cow<'a, str>,
}

/// What the service is asked: a head without framing, and a body.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) head: ::http::request::Parts,
    pub(crate) body: Bytes,
}

/// What the service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: ::http::response::Parts,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

/// What an answer means.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The request may pass.
    Permit(Permit),
    /// The client gets this instead.
    Refuse(Reply),
}

/// What the service wants to have changed.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Permit {
    /// On the head that the backend sees.
    pub(crate) request: HeaderOps,
    /// On the head that the client sees.
    pub(crate) response: HeaderOps,
}

/// The answer says neither yes nor no.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    /// A status that is the service's own trouble.
    #[error("status {0}")]
    Status(StatusCode),
    /// gRPC's own outcome of the call.
    #[error("grpc-status {0}")]
    Call(String),
    /// Not what the protocol says.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Makes the question. `fields` are those of the client without what no backend must see; `service` is the name of who
/// is asked; `body` is the request's, where the policy asks for it. `None` when the target is too long for one.
pub(crate) fn question(
    ctx: &RequestContext<'_>,
    settings: &Forwarded,
    fields: HeaderMap,
    policy: &ExternalAuth,
    service: &str,
    body: &Bytes,
) -> Option<Question> {
    let shown = shown(ctx, settings, fields);
    let mut question = match &policy.call {
        AuthCall::Http(http) => http::question(ctx, &shown, http, body)?,
        AuthCall::Grpc(grpc) => grpc::question(ctx, &shown, grpc, service, policy.timeout, body),
    };
    question.head.headers.insert(ASKED, HeaderValue::from_static("1"));
    Some(question)
}

/// The service decides, so that it must not believe a client what a backend would not be told.
fn shown<'a>(ctx: &RequestContext<'a>, settings: &Forwarded, mut fields: HeaderMap) -> Shown<'a> {
    let authority = forwarded::own_authority(ctx.head);
    let host = HeaderValue::from_str(authority).ok();
    upstream_headers::apply(ctx, settings, host.as_ref(), &mut fields);
    let target = routed_target(ctx);
    if fields.remove(X_ORIGINAL_URI).is_some()
        && let Ok(target) = HeaderValue::from_str(&target)
    {
        // Services of nginx's `auth_request` judge by it; the client's spelling is another path than the backend's.
        fields.insert(X_ORIGINAL_URI, target);
    }
    Shown { fields, authority, target }
}

/// Reads the answer.
pub(crate) fn verdict(ctx: &RequestContext<'_>, policy: &ExternalAuth, answer: Answer) -> Result<Verdict, AnswerError> {
    match &policy.call {
        AuthCall::Http(http) => http::verdict(ctx, http, answer),
        AuthCall::Grpc(_) => grpc::verdict(ctx, &answer),
    }
}

impl Permit {
    /// Notes what is to be changed, beside what was noted before.
    pub(crate) fn note(self, admitted: &mut Admitted) {
        for (all, more) in [(&mut admitted.identity, self.request), (&mut admitted.response, self.response)] {
            // What another service said before must not outlive what this one says.
            all.set.retain(|(name, _)| !more.remove.contains(name));
            all.add.retain(|(name, _)| !more.remove.contains(name));
            all.remove.extend(more.remove);
            all.set.extend(more.set);
            all.add.extend(more.add);
        }
    }
}

/// Whether a field belongs to one connection or frames one message, so that no other message may have it from here.
fn is_framing(name: &HeaderName) -> bool {
    const OWN: [HeaderName; 7] = [CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    OWN.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// The reply that a service made for the client. Its body may be of any type, so it is the client's alone.
fn refusal(ctx: &RequestContext<'_>, status: StatusCode, fields: HeaderMap, body: Bytes) -> Reply {
    if fields.is_empty() && body.is_empty() {
        return Reply::refuse(ctx, status);
    }
    let mut headers = fields;
    let framing: Vec<HeaderName> = headers.keys().filter(|name| is_framing(name)).cloned().collect();
    for name in framing {
        headers.remove(name);
    }
    Reply { status, headers, body }
}

/// All fields of a name as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let separator = if name == ::http::header::COOKIE { &b"; "[..] } else { &b","[..] };
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    values.join(separator)
}

#[cfg(test)]
mod tests;
