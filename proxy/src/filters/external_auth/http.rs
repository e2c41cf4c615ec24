//! The question as a request like the client's (`HTTPAuthConfig` of Gateway API), and its answer.

use bytes::Bytes;
use genkan_routing::policy::external_auth::HttpAuth;
use genkan_routing::policy::headers::HeaderOps;
use http::header::{
    ACCEPT_RANGES, AGE, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, HOST,
    LAST_MODIFIED, SERVER, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};

use super::{Answer, AnswerError, Permit, Question, Shown, Verdict, is_framing, refusal};
use crate::exchange::context::RequestContext;
use crate::reply::Reply;

/// What says something about the answer's own body and not about the client. "All headers" of an answer would else give
/// the request the answer's type.
const OF_THE_ANSWER: [HeaderName; 10] =
    [ACCEPT_RANGES, AGE, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED, SERVER, VARY];

/// The client's method, path and host, its credentials, and what else the policy lets the service see. `None` when the
/// target makes no URI: it is too long then, and an answer to another question would let it pass unjudged.
pub(super) fn question(
    ctx: &RequestContext<'_>,
    shown: &Shown<'_>,
    policy: &HttpAuth,
    body: &Bytes,
) -> Option<Question> {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = ctx.head.method.clone();
    head.uri = Uri::try_from(format!("{}{}", policy.prefix, shown.target)).ok()?;
    let allowed = std::iter::once(&AUTHORIZATION).chain(&policy.request_headers);
    for name in allowed.filter(|name| !is_framing(name)) {
        if !head.headers.contains_key(name) {
            for value in shown.fields.get_all(name) {
                head.headers.append(name, value.clone());
            }
        }
    }
    if let Ok(host) = HeaderValue::from_str(shown.authority) {
        head.headers.insert(HOST, host);
    }
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    Some(Question { head, body: body.clone() })
}

/// 200 is yes. The service's own trouble is no answer; everything else is a no, in the words of the service.
pub(super) fn verdict(ctx: &RequestContext<'_>, policy: &HttpAuth, answer: Answer) -> Result<Verdict, AnswerError> {
    let Answer { head, body, .. } = answer;
    match head.status {
        StatusCode::OK => Ok(Verdict::Permit(Permit { request: changes(policy, &head.headers), ..Permit::default() })),
        // It would read as a success.
        status if status.is_success() => Ok(Verdict::Refuse(Reply::refuse(ctx, StatusCode::FORBIDDEN))),
        status if status.is_server_error() || status.is_informational() => Err(AnswerError::Status(status)),
        status => Ok(Verdict::Refuse(refusal(ctx, status, head.headers, body))),
    }
}

/// What the backend gets of the answer. Of fields that only the service may write, the client's own are removed also
/// where the service wrote none.
fn changes(policy: &HttpAuth, fields: &HeaderMap) -> HeaderOps {
    let mut ops = HeaderOps::default();
    let names: Vec<&HeaderName> = match &policy.response_headers {
        Some(listed) => listed.iter().filter(|name| !is_framing(name)).collect(),
        None => fields.keys().filter(|name| !is_framing(name) && !OF_THE_ANSWER.contains(name)).collect(),
    };
    for name in names {
        ops.remove.push(name.clone());
        ops.add.extend(fields.get_all(name).iter().map(|value| (name.clone(), value.clone())));
    }
    ops
}
