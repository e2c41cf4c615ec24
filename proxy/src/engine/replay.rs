//! A stand-in for the client while an endpoint gets a body that was read before.
//!
//! The engine reads a request's body from its client's session. Where the body, or its beginning, is in memory already,
//! this takes the session's place from the request's head to the body's end, once for every attempt: it gives what is held
//! and then, if that is not all, what the client still sends. Everything else is the client's own session's business.
//!
//! ```text
//!  lend: session <- Replay { client }      Lent::take_back: Replay is dropped -> client -> session
//! ```

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora_core::Result;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session as StandIn;
use pingora_core::protocols::http::{HttpTask, ServerSession as HttpSession};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::request_body::Held;

/// Messages of protocols that are none of ours.
pub(super) type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// A client's session that has a stand-in.
pub(super) struct Lent(Slot);

/// Where a stand-in leaves the session, and the place that it has come to, when it is dropped.
type Slot = Arc<Mutex<Option<(HttpSession, usize)>>>;

/// The stand-in.
struct Replay {
    client: HttpSession,
    held: Arc<Held>,
    /// The next part of it.
    next: usize,
    slot: Slot,
}

impl Drop for Replay {
    fn drop(&mut self) {
        *self.slot.lock() = Some((std::mem::replace(&mut self.client, nobody()), self.next));
    }
}

/// Lets the session's body begin with this part of what is held.
pub(super) fn lend(session: &mut Session, held: &Arc<Held>, next: usize) -> Lent {
    let slot = Slot::default();
    let client = std::mem::replace(&mut *session.downstream_session, nobody());
    let replay = Replay { client, held: Arc::clone(held), next, slot: Arc::clone(&slot) };
    *session.downstream_session = HttpSession::new_custom(Box::new(replay));
    Lent(slot)
}

/// No session at all, for the moment in which one is exchanged for another. Allocates nothing.
pub(super) fn nobody() -> HttpSession {
    HttpSession::new_custom(Box::new(()))
}

impl Lent {
    /// Puts the client's own session back. The place of the part that is next.
    pub(super) fn take_back(self, session: &mut Session) -> usize {
        // The stand-in is dropped by this.
        *session.downstream_session = nobody();
        let Some((client, next)) = self.0.lock().take() else { return 0 };
        *session.downstream_session = client;
        next
    }
}

impl Replay {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        if let Some(part) = self.held.part(self.next) {
            self.next += 1;
            return Ok(Some(part.clone()));
        }
        if self.held.is_whole() {
            return Ok(None);
        }
        self.held.pass();
        self.client.read_request_body().await
    }
}

#[async_trait]
impl StandIn for Replay {
    fn req_header(&self) -> &RequestHeader {
        self.client.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.client.req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.read().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.client.drain_request_body().await
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, _end: bool) -> Result<()> {
        self.client.write_response_header(head).await
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, _end: bool) -> Result<()> {
        self.client.write_response_header_ref(head).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.client.write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.client.write_response_trailers(trailers).await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        self.client.response_duplex_vec(tasks).await
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.client.set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.client.get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.client.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.client.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.client.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.client.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.client.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.client.response_written()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.client.shutdown().await;
    }

    fn is_body_done(&mut self) -> bool {
        self.held.part(self.next).is_none() && (self.held.is_whole() || self.client.is_body_done())
    }

    async fn finish(&mut self) -> Result<()> {
        self.client.finish_body().await
    }

    fn is_body_empty(&mut self) -> bool {
        self.held.is_whole() && self.held.len() == 0
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected { self.client.read_body_or_idle(true).await } else { self.read().await }
    }

    fn body_bytes_sent(&self) -> usize {
        self.client.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.client.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.client.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.client.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.client.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.client.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.client.to_h1_raw()
    }

    // What is held is kept for every attempt anyway.
    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        !self.held.is_replayable()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Messages) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }

    fn is_upgrade_req(&self) -> bool {
        self.client.is_upgrade_req()
    }

    fn was_upgraded(&self) -> bool {
        self.client.was_upgraded()
    }
}
