//! Authentication: waits for those whom the exchange wants to ask about a request, and reads the body that they want to
//! see.

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use genkan_routing::policy::external_auth::ExternalAuth;
use http::header::CONTENT_LENGTH;
use pingora_core::{Error, Result};
use pingora_proxy::Session;
use tokio::time::timeout_at;

use super::failure;
use super::pause::gone;
use super::phases::{expects_continue, say_continue};
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::exchange::authentication::Asked;
use crate::filters::basic_auth::CompiledBasicAuth;
use crate::reply::Reply;
use crate::upstream::authentication::ask;
use crate::upstream::client::Client;

/// Asks everybody who is to be asked. A reply answers the request.
pub(super) async fn authenticate(
    client: &Arc<Client>,
    session: &mut Session,
    exchange: &mut Exchange,
) -> Result<ControlFlow<Reply>> {
    let mut body = None;
    while let Some(asked) = exchange.asks() {
        let answered = match asked {
            Asked::Client(policy) => ask_client(session, exchange, &policy).await?,
            Asked::Service(policy) => ask_service(client, session, exchange, &policy, &mut body).await?,
        };
        if answered.is_break() {
            return Ok(answered);
        }
    }
    Ok(ControlFlow::Continue(()))
}

async fn ask_client(
    session: &mut Session,
    exchange: &mut Exchange,
    policy: &CompiledBasicAuth,
) -> Result<ControlFlow<Reply>> {
    let question = match exchange.password(session.req_header(), policy) {
        ControlFlow::Continue(question) => question,
        ControlFlow::Break(reply) => return Ok(ControlFlow::Break(reply)),
    };
    let shared = Arc::clone(exchange.shared());
    let until = exchange.deadline();
    let comparison = unless_gone(session, shared.passwords.are_right(question, Instant::now()));
    let right = in_time(until, comparison).await.ok_or_else(|| give_up(exchange, Failure::RequestTimeout))??;
    Ok(exchange.password_compared(session.req_header(), policy, right))
}

/// `body` is the request's, once it was read for somebody.
async fn ask_service(
    client: &Arc<Client>,
    session: &mut Session,
    exchange: &mut Exchange,
    policy: &ExternalAuth,
    body: &mut Option<Bytes>,
) -> Result<ControlFlow<Reply>> {
    let limit = usize::from(policy.body_limit);
    let shown = if limit == 0 { Some(Bytes::new()) } else { whole_body(session, exchange, body, limit).await? };
    let Some(shown) = shown else { return Ok(ControlFlow::Break(exchange.body_too_large(session.req_header()))) };
    let call = match exchange.call(session.req_header(), policy, &shown, Instant::now()) {
        ControlFlow::Continue(call) => call,
        ControlFlow::Break(reply) => return Ok(ControlFlow::Break(reply)),
    };
    let endpoint = call.destination.picked.address();
    let answer = unless_gone(session, ask(client, call)).await?;
    Ok(exchange.answered(session.req_header(), policy, endpoint, answer))
}

/// Reads the request's body, which the engine then sends to the backend again; `None` when it is larger than `limit`,
/// and when it belongs to an upgrade: it has no end then, and a part of it would be a lie.
async fn whole_body(
    session: &mut Session,
    exchange: &mut Exchange,
    read: &mut Option<Bytes>,
    limit: usize,
) -> Result<Option<Bytes>> {
    if let Some(read) = read {
        return Ok((read.len() <= limit).then(|| read.clone()));
    }
    let head = session.req_header();
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let has_body =
        announced.is_some_and(|length| length > 0) || head.headers.contains_key(http::header::TRANSFER_ENCODING);
    if exchange.upgrade_idle().is_some() {
        return Ok((!has_body).then(Bytes::new));
    }
    if announced.is_some_and(|length| length > limit) {
        return Ok(None);
    }
    if session.is_body_empty() {
        return Ok(Some(read.insert(Bytes::new()).clone()));
    }
    if expects_continue(session.req_header()) {
        say_continue(session).await?;
    }
    let whole = all_parts(session, exchange, limit).await?;
    Ok(whole.map(|whole| read.insert(whole).clone()))
}

/// `None` when they are larger than `limit`. Nothing but this ends a client of HTTP/2 that stops in the middle: it is
/// no endpoint's turn yet, and its connection is not idle.
async fn all_parts(session: &mut Session, exchange: &mut Exchange, limit: usize) -> Result<Option<Bytes>> {
    let (patience, end) = (exchange.client_settings().body_timeout, exchange.deadline());
    let client = session.as_downstream_mut();
    // It keeps 64 KiB, which is more than any limit.
    client.enable_retry_buffering();
    let mut body = BytesMut::new();
    loop {
        let silent = Instant::now() + patience;
        let until = end.map_or(silent, |end| end.min(silent));
        let Some(part) = in_time(Some(until), client.read_request_body()).await else {
            let over = end.is_some_and(|end| end <= silent);
            return Err(give_up(exchange, if over { Failure::RequestTimeout } else { Failure::ClientTimeout }));
        };
        // Whose fault it was, the reader does not say: without that it would be ours, a 500.
        let Some(part) = part.map_err(Error::into_down)? else { return Ok(Some(body.freeze())) };
        if body.len() + part.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
}

/// `None` when it took too long.
async fn in_time<T>(until: Option<Instant>, waited_for: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => timeout_at(until.into(), waited_for).await.ok(),
        None => Some(waited_for.await),
    }
}

/// Ends the request; the exchange knows why.
fn give_up(exchange: &mut Exchange, failure: Failure) -> Box<Error> {
    exchange.fail(failure);
    failure::decided()
}

/// Waits for something on behalf of a client, as long as it is there.
async fn unless_gone<T>(session: &mut Session, waited_for: impl Future<Output = T>) -> Result<T> {
    tokio::select! {
        biased;
        done = waited_for => Ok(done),
        gone = gone(session.as_downstream_mut()) => Err(gone),
    }
}
