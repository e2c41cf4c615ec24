//! A request in the engine: its exchange, and what stands between the client's session and pingora meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use genkan_routing::policy::buffering::ResponseBuffering;
use pingora_proxy::Session;

use super::ahead::{self, Writing};
use super::connection::Connection;
use super::copied_body::CopiedBody;
use super::failure;
use super::replay::{self, Lent};
use super::request_body::Held;
use super::secured::Ending;
use crate::exchange::Exchange;

/// A request in the engine.
pub(super) struct Request {
    pub(super) exchange: Exchange,
    pub(super) connection: Arc<Connection>,
    pub(super) body: CopiedBody,
    /// The body, or its beginning, where it was read before an endpoint was chosen; until there is an answer.
    held: Option<Arc<Held>>,
    /// Whether there was one.
    forgotten: bool,
    /// The client's session has a stand-in, which gives what is held.
    lent: Option<Lent>,
    /// The client's session has a stand-in, which takes the response.
    writing: Option<Writing>,
    /// How the endpoint's connection ends: until the response's head where our TLS is under it, and after that where
    /// only the end tells that the body is whole.
    pub(super) ending: Option<Arc<Ending>>,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.connection.active.fetch_sub(1, Ordering::Relaxed);
        if !self.connection.http2 {
            self.connection.deadline.clear();
        }
    }
}

impl Request {
    pub(super) fn new(exchange: Exchange, connection: Arc<Connection>) -> Self {
        let body = CopiedBody::default();
        Self { exchange, connection, body, held: None, forgotten: false, lent: None, writing: None, ending: None }
    }

    /// Keeps what was read of the body, for every attempt.
    pub(super) fn hold(&mut self, held: Option<Held>) {
        self.held = held.map(Arc::new);
    }

    /// No other endpoint is going to get it: the memory is free once this one has it.
    pub(super) fn forget_body(&mut self) {
        self.forgotten |= self.held.take().is_some();
    }

    /// Whether there is more of the body than the parts before this one.
    pub(super) fn has_part(&self, next: usize) -> bool {
        self.held.as_ref().is_some_and(|held| !held.is_whole() || held.part(next).is_some())
    }

    /// The length of the body, where it was read as a whole.
    pub(super) fn known_length(&self) -> Option<usize> {
        self.held.as_ref().filter(|held| held.is_whole()).map(|held| held.len())
    }

    /// Whether the body can be sent again.
    pub(super) fn is_replayable(&self, session: &Session) -> bool {
        match &self.held {
            Some(held) => held.is_replayable(),
            None => !self.forgotten && !session.as_ref().retry_buffer_truncated(),
        }
    }

    /// Has the endpoint get what is held, from this part on.
    pub(super) fn lend(&mut self, session: &mut Session, next: usize) {
        self.lent = self.held.as_ref().map(|held| replay::lend(session, held, next));
    }

    /// Puts the client's own session back while the request is sent. The part of its body that is next.
    pub(super) fn take_back(&mut self, session: &mut Session) -> Option<usize> {
        self.lent.take().map(|lent| lent.take_back(session))
    }

    /// Has the response read ahead of the client. Not while the request is under way: its body is the session's as well.
    pub(super) fn read_ahead(&mut self, session: &mut Session, policy: ResponseBuffering) {
        if session.as_downstream_mut().is_body_done() {
            let most = usize::try_from(policy.max_size).unwrap_or(usize::MAX);
            let until = self.exchange.whole_deadline();
            self.writing = Some(ahead::begin(session, most, self.exchange.memory(), until));
        }
    }

    /// Puts the client's own session back, once the client has what was read for it.
    pub(super) async fn restore(&mut self, session: &mut Session) {
        self.take_back(session);
        let Some(writing) = self.writing.take() else { return };
        self.exchange.endpoint_done(Instant::now());
        if let Err(error) = writing.finish(session).await {
            if let Some(failure) = failure::read(&error, None) {
                self.exchange.writing_failed(failure, Instant::now());
            }
            // A response that is not whole must not look as if it were.
            session.set_keepalive(None);
            session.as_downstream_mut().shutdown().await;
        }
    }
}
