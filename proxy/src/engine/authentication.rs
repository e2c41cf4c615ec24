//! Authentication: waits for those whom the exchange wants to ask about a request.

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use genkan_routing::policy::external_auth::ExternalAuth;
use pingora_core::Result;
use pingora_proxy::Session;

use super::pause::gone;
use super::request_body::{Held, give_up, in_time, show};
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::exchange::authentication::Asked;
use crate::filters::basic_auth::CompiledBasicAuth;
use crate::reply::Reply;
use crate::upstream::authentication::ask;
use crate::upstream::client::Client;

/// Asks everybody who is to be asked. A reply answers the request. `body` is the request's, once it was read for somebody.
pub(super) async fn authenticate(
    client: &Arc<Client>,
    session: &mut Session,
    exchange: &mut Exchange,
    body: &mut Option<Held>,
) -> Result<ControlFlow<Reply>> {
    while let Some(asked) = exchange.asks() {
        let answered = match asked {
            Asked::Client(policy) => ask_client(session, exchange, &policy).await?,
            Asked::Service(policy) => ask_service(client, session, exchange, &policy, body).await?,
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

async fn ask_service(
    client: &Arc<Client>,
    session: &mut Session,
    exchange: &mut Exchange,
    policy: &ExternalAuth,
    body: &mut Option<Held>,
) -> Result<ControlFlow<Reply>> {
    let limit = usize::from(policy.body_limit);
    let shown = match limit {
        0 => Bytes::new(),
        _ => match show(session, exchange, body, limit).await? {
            ControlFlow::Continue(shown) => shown,
            ControlFlow::Break(reply) => return Ok(ControlFlow::Break(reply)),
        },
    };
    let call = match exchange.call(session.req_header(), policy, &shown, Instant::now()) {
        ControlFlow::Continue(call) => call,
        ControlFlow::Break(reply) => return Ok(ControlFlow::Break(reply)),
    };
    let endpoint = call.destination.picked.address();
    let answer = unless_gone(session, ask(client, call)).await?;
    Ok(exchange.answered(session.req_header(), policy, endpoint, answer))
}

/// Waits for something on behalf of a client, as long as it is there.
async fn unless_gone<T>(session: &mut Session, waited_for: impl Future<Output = T>) -> Result<T> {
    tokio::select! {
        biased;
        done = waited_for => Ok(done),
        gone = gone(session.as_downstream_mut()) => Err(gone),
    }
}
