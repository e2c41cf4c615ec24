//! Bodies of requests that are read before anybody gets them: because a service wants to see them, or so that a client
//! that sends slowly holds no endpoint.
//!
//! Owns the reading, with its limits in bytes and time, and what was read. How an endpoint gets it is in
//! [`replay`](super::replay).

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use genkan_routing::policy::buffering::Otherwise;
use http::header::CONTENT_LENGTH;
use pingora_core::{Error, Result};
use pingora_proxy::Session;
use tokio::time::timeout_at;

use super::failure;
use super::phases::{expects_continue, say_continue};
use crate::buffers::Memory;
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::reply::Reply;

/// Bytes that an endpoint gets at a time. What clients send in smaller parts is put together, so that no part costs
/// more memory than its bytes.
const BLOCK: usize = 64 << 10;

/// A request's body, or the beginning of one, in memory.
#[derive(Debug)]
pub(super) struct Held {
    parts: Vec<Bytes>,
    length: usize,
    /// Whether there is no more than this.
    whole: bool,
    /// Whether the client was asked for more than this, which is gone after that.
    passed: AtomicBool,
    memory: Memory,
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With the body.
    Whole,
    /// There is more than is wanted.
    TooLarge,
    /// The process or the namespace has no memory for more.
    NoMemory,
}

impl Held {
    fn new(memory: Memory) -> Self {
        Self { parts: Vec::new(), length: 0, whole: false, passed: AtomicBool::new(false), memory }
    }

    /// Bytes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Whether it is the whole body.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// A part; `None` behind the last one.
    pub(super) fn part(&self, place: usize) -> Option<&Bytes> {
        self.parts.get(place)
    }

    /// All of it in one piece.
    pub(super) fn joined(&self) -> Bytes {
        match self.parts.as_slice() {
            [] => Bytes::new(),
            [only] => only.clone(),
            parts => parts.concat().into(),
        }
    }

    /// Notes that the client is asked for more than this.
    pub(super) fn pass(&self) {
        self.passed.store(true, Ordering::Relaxed);
    }

    /// Whether the body can be sent to another endpoint.
    pub(super) fn is_replayable(&self) -> bool {
        !self.passed.load(Ordering::Relaxed)
    }
}

/// Reads the body as the rule's policy wants it, unless it was read already for somebody. A reply answers the request.
pub(super) async fn buffer(
    session: &mut Session,
    exchange: &mut Exchange,
    held: &mut Option<Held>,
) -> Result<ControlFlow<Reply>> {
    let Some(policy) = exchange.request_buffering(session.req_header()) else {
        return Ok(ControlFlow::Continue(()));
    };
    let most = usize::try_from(policy.max_size).unwrap_or(usize::MAX);
    // Not a byte of it need be read to know that it is too large, if its length is announced.
    let too_large = match &held {
        Some(held) => held.length > most,
        None => announced(session).is_some_and(|length| length > policy.max_size),
    };
    if too_large && policy.otherwise == Otherwise::Refuse {
        return Ok(ControlFlow::Break(exchange.body_too_large(session.req_header())));
    }
    if too_large || held.is_some() {
        return Ok(ControlFlow::Continue(()));
    }
    exchange.ignore_upgrade();
    let (read, end) = read(session, exchange, most).await?;
    let over = exchange.body_limit().is_some_and(|limit| u64::try_from(read.length).unwrap_or(u64::MAX) > limit);
    let refused = match end {
        _ if over => Some(exchange.body_too_large(session.req_header())),
        End::TooLarge if policy.otherwise == Otherwise::Refuse => Some(exchange.body_too_large(session.req_header())),
        End::NoMemory if policy.otherwise == Otherwise::Refuse => Some(exchange.no_memory(session.req_header())),
        End::Whole | End::TooLarge | End::NoMemory => None,
    };
    *held = Some(read);
    Ok(refused.map_or(ControlFlow::Continue(()), ControlFlow::Break))
}

/// Reads the body for somebody who wants to see the whole of it, at most `limit` bytes. A reply answers the request; so it
/// does when the body belongs to an upgrade: it has no end then, and a part of it would be a lie.
pub(super) async fn show(
    session: &mut Session,
    exchange: &mut Exchange,
    held: &mut Option<Held>,
    limit: usize,
) -> Result<ControlFlow<Reply, Bytes>> {
    if held.is_none() {
        let length = announced(session);
        let framed =
            length.is_some_and(|length| length > 0) || session.get_header(http::header::TRANSFER_ENCODING).is_some();
        let too_large = length.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit));
        if too_large || exchange.upgrade_idle().is_some() && framed {
            return Ok(ControlFlow::Break(exchange.body_too_large(session.req_header())));
        }
        if exchange.upgrade_idle().is_some() || session.is_body_empty() {
            return Ok(ControlFlow::Continue(Bytes::new()));
        }
        let (read, end) = read(session, exchange, limit).await?;
        *held = Some(read);
        if end == End::NoMemory {
            return Ok(ControlFlow::Break(exchange.no_memory(session.req_header())));
        }
    }
    Ok(match held.as_ref().filter(|held| held.whole && held.length <= limit) {
        Some(held) => ControlFlow::Continue(held.joined()),
        None => ControlFlow::Break(exchange.body_too_large(session.req_header())),
    })
}

fn announced(session: &Session) -> Option<u64> {
    session.get_header(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads until there is more than `most`, or more than the rule permits. Nothing but this ends a client of HTTP/2 that
/// stops in the middle: it is no endpoint's turn yet, and its connection is not idle.
async fn read(session: &mut Session, exchange: &mut Exchange, most: usize) -> Result<(Held, End)> {
    if expects_continue(session.req_header()) {
        say_continue(session).await?;
    }
    let permitted = exchange.body_limit().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let most = most.min(permitted);
    let (patience, end) = (exchange.client_settings().body_timeout, exchange.deadline());
    let mut held = Held::new(exchange.memory());
    let mut block = BytesMut::new();
    let ended = loop {
        let silent = Instant::now() + patience;
        let until = end.map_or(silent, |end| end.min(silent));
        let Some(part) = in_time(Some(until), session.as_downstream_mut().read_request_body()).await else {
            let over = end.is_some_and(|end| end <= silent);
            return Err(give_up(exchange, if over { Failure::RequestTimeout } else { Failure::ClientTimeout }));
        };
        // Whose fault it was, the reader does not say: without that it would be ours, a 500.
        let Some(part) = part.map_err(Error::into_down)? else { break End::Whole };
        let counted = held.memory.grow(part.len());
        held.length += part.len();
        block.extend_from_slice(&part);
        if block.len() >= BLOCK {
            held.parts.push(std::mem::take(&mut block).freeze());
        }
        if !counted {
            break End::NoMemory;
        }
        if held.length > most {
            break End::TooLarge;
        }
    };
    if !block.is_empty() {
        held.parts.push(block.freeze());
    }
    // The client may have ended it together with the last part.
    held.whole = ended == End::Whole || session.as_downstream_mut().is_body_done();
    Ok((held, ended))
}

/// `None` when it took too long.
pub(super) async fn in_time<T>(until: Option<Instant>, waited_for: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => timeout_at(until.into(), waited_for).await.ok(),
        None => Some(waited_for.await),
    }
}

/// Ends the request; the exchange knows why.
pub(super) fn give_up(exchange: &mut Exchange, failure: Failure) -> Box<Error> {
    exchange.fail(failure);
    failure::decided()
}
