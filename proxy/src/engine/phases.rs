//! pingora's phases, each answered by the exchange.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::ServerSession as HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::authentication::authenticate;
use super::connection::Connection;
use super::copied_body::CopiedBody;
use super::pause::pause;
use super::peer::Peers;
use super::request::Request;
use super::request_body::buffer;
use super::secured;
use super::uses::Uses;
use super::{failure, heads};
use crate::error::Failure;
use crate::exchange::attempt::Verdict;
use crate::exchange::{Exchange, Failed, Finished};
use crate::reply::Reply;
use crate::shared::Shared;
use crate::upstream::client::Client;
use crate::upstream::mirror::Mirrors;

/// How long a client may stay silent while the rest of its body is thrown away (nginx `lingering_timeout`).
const LINGERING_IDLE: Duration = Duration::from_secs(5);

/// How long a body is thrown away in all (nginx `lingering_time`).
const LINGERING: Duration = Duration::from_secs(30);

/// The phases of one worker's requests.
pub(super) struct Phases {
    shared: Arc<Shared>,
    peers: Peers,
    uses: Uses,
    mirrors: Mirrors,
    /// For questions to services.
    client: Arc<Client>,
}

impl Phases {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let mirrors = Mirrors::new(Arc::clone(&shared.metrics));
        Self { shared, peers: Peers::new(), uses: Uses::default(), mirrors, client: Arc::default() }
    }

    /// Waits for what has to be before an endpoint is chosen. A reply answers the request.
    async fn prepare(&self, session: &mut Session, request: &mut Request) -> Result<ControlFlow<Reply>> {
        let mut held = None;
        let mut prepared = authenticate(&self.client, session, &mut request.exchange, &mut held).await?;
        if prepared.is_continue() {
            prepared = buffer(session, &mut request.exchange, &mut held).await?;
        }
        request.hold(held);
        Ok(prepared)
    }
}

/// What pingora carries from phase to phase. Empty until the request's head is known.
#[derive(Default)]
pub(super) struct Carried(Option<Box<Request>>);

impl Carried {
    fn request(&mut self) -> Result<&mut Request> {
        self.0.as_deref_mut().ok_or_else(failure::decided)
    }

    fn exchange(&mut self) -> Result<&mut Exchange> {
        Ok(&mut self.request()?.exchange)
    }

    /// Notes a failure that the exchange decided and makes pingora's error of it.
    fn fail(&mut self, failure: Failure) -> Box<Error> {
        if let Some(request) = &mut self.0 {
            request.exchange.fail(failure);
        }
        failure::decided()
    }
}

#[async_trait]
impl ProxyHttp for Phases {
    type CTX = Carried;

    fn new_ctx(&self) -> Carried {
        Carried::default()
    }

    /// None: compression is ours, on plain heads.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Carried) -> Result<()> {
        let Some(connection) = connection_of(session) else {
            return Err(Error::explain(pingora_core::ErrorType::InternalError, "a request without a connection"));
        };
        connection.active.fetch_add(1, Ordering::Relaxed);
        connection.streams_begun.fetch_add(1, Ordering::Relaxed);
        let exchange = Exchange::begin(&self.shared, &connection.info, Instant::now());
        let request = ctx.0.insert(Box::new(Request::new(exchange, connection)));
        set_up_client(session, request);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Carried) -> Result<bool> {
        if !session.req_header().raw_path_is_utf8() {
            return Err(ctx.fail(Failure::BadRequest("the path is malformed")));
        }
        let request = ctx.request()?;
        let has_body = !session.is_body_empty();
        let mut taken = request.exchange.intake(session.req_header(), has_body, Instant::now());
        if request.exchange.waits() && matches!(taken, Ok(ControlFlow::Continue(()))) {
            watch_deadline(request, request.exchange.deadline());
            taken = match self.prepare(session, request).await? {
                ControlFlow::Continue(()) => request.exchange.admit(session.req_header(), Instant::now()),
                refused => Ok(refused),
            };
        }
        match taken {
            Ok(ControlFlow::Break(reply)) => {
                // The rest of a body may still come for a while, to be thrown away.
                request.forget_body();
                say_close(session, &request.connection);
                write_reply(session, reply).await?;
                return Ok(true);
            }
            Ok(ControlFlow::Continue(())) => {}
            Err(failure) => return Err(ctx.fail(failure)),
        }
        let copies = request.exchange.take_copies();
        request.body = copies.into_iter().filter_map(|copy| self.mirrors.send(*copy, has_body)).collect();
        if expects_continue(session.req_header()) && has_body {
            say_continue(session).await?;
        }
        Ok(false)
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Carried) -> Result<Box<HttpPeer>> {
        let request = ctx.request()?;
        request.restore(session).await;
        if let Some(until) = request.exchange.take_wait() {
            watch_deadline(request, request.exchange.deadline());
            if pause(session, until).await.is_err() {
                request.exchange.client_gone();
                return Err(failure::decided());
            }
        }
        let now = Instant::now();
        request.body.begin_attempt();
        let peer = match request.exchange.next_attempt(session.req_header(), now) {
            Ok(target) => self.peers.of(&target),
            Err(failure) => Err(failure),
        };
        let peer = match peer {
            Ok(peer) => peer,
            Err(failure) => return Err(ctx.fail(failure)),
        };
        watch_time(request, now);
        Ok(peer)
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        descriptor: std::os::fd::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Carried,
    ) -> Result<()> {
        let request = ctx.request()?;
        request.ending = digest.and_then(secured::ending);
        let uses = self.uses.count(descriptor, reused);
        request.exchange.connected(reused, uses, session.is_body_empty(), Instant::now());
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut Carried,
    ) -> Result<()> {
        let request = ctx.request()?;
        heads::edit_request(head, |parts| {
            request.exchange.upstream_head(session.req_header(), parts);
            if let Some(length) = request.known_length() {
                parts.headers.insert(CONTENT_LENGTH, length.into());
            }
        });
        request.lend(session, 0);
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Carried,
    ) -> Result<()> {
        let request = ctx.request()?;
        if end {
            request.take_back(session);
            if !request.exchange.sends_again(&session.req_header().method) || !request.is_replayable(session) {
                request.forget_body();
            }
        }
        let length = body.as_ref().map_or(0, Bytes::len);
        match request.exchange.request_body(length, end, Instant::now()) {
            Ok(()) => {
                request.body.pass(body.as_ref(), end);
                Ok(())
            }
            // Another attempt may send it again, from its first byte.
            Err(Failure::UpstreamTimeout(_)) => Err(failure::attempt_over()),
            Err(failure) => {
                request.body = CopiedBody::default();
                Err(ctx.fail(failure))
            }
        }
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Carried,
    ) -> Result<()> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS && ctx.exchange()?.upgrade_idle().is_none() {
            // To a protocol that nobody asked for: what follows has no meaning to the client.
            let endpoint = ctx.exchange()?.endpoint().map(|address| address.to_string()).unwrap_or_default();
            return Err(ctx.fail(Failure::UpstreamInvalid(endpoint)));
        }
        let method = session.req_header().method.clone();
        if !head.status.is_informational() && !ends_with_connection(&method, head) {
            ctx.request()?.ending = None;
        }
        let request = ctx.request()?;
        let replayable = request.is_replayable(session);
        let answered = has_answered(session);
        let failed = Failed { method: &method, sent: true, reused: false, replayable, answered };
        let verdict = request.exchange.upstream_status(head.status, failed, Instant::now());
        if verdict == Verdict::Pass {
            return Ok(());
        }
        let mut error = failure::decided();
        error.set_retry(verdict == Verdict::Retry);
        Err(error.into_up())
    }

    async fn response_filter(&self, session: &mut Session, head: &mut ResponseHeader, ctx: &mut Carried) -> Result<()> {
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        let request = ctx.request()?;
        let next = request.take_back(session);
        let buffering = request.exchange.response_buffering(session.req_header(), head);
        say_close(session, &request.connection);
        heads::edit_response(head, |parts| request.exchange.response_head(session.req_header(), parts))?;
        if session.req_header().version < http::Version::HTTP_11 && !head.headers.contains_key(CONTENT_LENGTH) {
            // Only the end of the connection can tell this client where the body ends.
            session.set_keepalive(None);
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            request.connection.info.phase.begin_tunnel();
        }
        if let Some(idle) = request.exchange.upgrade_idle() {
            // Both directions count from here on: a tunnel is idle when neither side says anything.
            request.connection.deadline.set_idle(idle);
            session.set_read_timeout(None);
        }
        // An endpoint that answers early gets the rest of the body all the same.
        if let Some(next) = next.filter(|next| request.has_part(*next)) {
            request.lend(session, next);
        } else if let Some(policy) = buffering {
            request.read_ahead(session, policy);
        }
        request.forget_body();
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Carried,
    ) -> Result<Option<Duration>> {
        let request = ctx.request()?;
        if end && request.ending.as_ref().is_some_and(|ending| !ending.is_whole()) {
            let endpoint = request.exchange.endpoint().map(|address| address.to_string()).unwrap_or_default();
            return Err(ctx.fail(Failure::UpstreamClosed(endpoint)));
        }
        let passed = request.exchange.response_body(body, end, Instant::now());
        passed.map(|()| None).map_err(|failure| ctx.fail(failure))
    }

    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        _trailers: &mut http::HeaderMap,
        ctx: &mut Carried,
    ) -> Result<Option<Bytes>> {
        // What is returned is sent in place of the trailers, so only an encoded body loses them.
        let rest = ctx.exchange()?.end_of_body();
        rest.map_err(|failure| ctx.fail(failure))
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Carried,
        error: Box<Error>,
    ) -> Box<Error> {
        judge(session, ctx, error, false, false)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Carried,
        reused: bool,
    ) -> Box<Error> {
        judge(session, ctx, error, true, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Carried) -> FailToProxy {
        let failure = match &mut ctx.0 {
            None => Failure::Internal(error.to_string()),
            Some(request) => {
                request.restore(session).await;
                request.forget_body();
                request.connection.deadline.clear();
                if let Some(failure) = failure::read(error, None) {
                    request.exchange.fail(failure);
                }
                let unknown = || Failure::Internal(error.to_string());
                request.exchange.failure().cloned().unwrap_or_else(unknown)
            }
        };
        let status = failure.status();
        if failure != Failure::ClientGone && !has_answered(session) {
            let head = session.req_header();
            let reply = match &ctx.0 {
                Some(request) => request.exchange.failure_reply(head, &failure),
                None => Reply::page(status, &head.headers, ""),
            };
            session.set_keepalive(None);
            // A client that can't be told is gone, which the log line says anyway.
            let _ = write_reply(session, reply).await;
        }
        FailToProxy { error_code: status.as_u16(), can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Carried) {
        if let Some(request) = &mut ctx.0 {
            request.restore(session).await;
            request.connection.deadline.clear();
            let bytes = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
            request.exchange.finish(Finished {
                head: session.req_header(),
                response: session.response_written().filter(|_| has_answered(session)).map(AsRef::as_ref),
                body_read: bytes(session.body_bytes_read()),
                body_sent: bytes(session.body_bytes_sent()),
            });
            if !request.connection.http2 && session.get_keepalive().is_some() {
                request.connection.info.phase.end_request();
            }
        }
    }

    /// Failures are in the access log, with what the client got; a line per failed request more helps nobody.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Carried, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Carried,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// The connection that a request came on.
fn connection_of(session: &Session) -> Option<Arc<Connection>> {
    let carried = session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?;
    carried.downcast_ref::<Arc<Connection>>().cloned()
}

/// Limits of the client's connection, as the table of now says.
fn set_up_client(session: &mut Session, request: &Request) {
    let connection = &request.connection;
    let settings = request.exchange.table().snapshot.client(&connection.info.listener);
    let number = connection.info.requests.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    let last = number >= settings.keep_alive_requests || settings.keep_alive.is_zero();
    session.set_write_timeout(Some(settings.body_timeout));
    if connection.http2 {
        if last {
            connection.close();
        }
        return;
    }
    connection.info.phase.begin_request();
    // pingora has turned keep-alive off for good reasons (ambiguous framing): never turn it on again.
    if session.get_keepalive().is_some() {
        let limit = settings.keep_alive.as_secs().max(1);
        session.set_keepalive((!last).then_some(limit));
    }
    session.set_read_timeout(Some(settings.body_timeout));
    session.set_total_drain_timeout(Some(LINGERING));
    // 100 is answered by us, and other interim responses confuse more clients than they help, as with nginx.
    session.as_downstream_mut().set_ignore_info_resp(true);
}

/// Tells an HTTP/1 client not to send another request on a connection that takes none. pingora looks only when a request
/// begins, so one that was already running when the drain began would promise to be kept.
fn say_close(session: &mut Session, connection: &Connection) {
    if !connection.http2 && connection.closes() {
        session.set_keepalive(None);
    }
}

/// Breaks the request off when its time is over. Only HTTP/1, where the connection is the request's own; on HTTP/2 the
/// time-outs towards the endpoint are cut to the time that is left.
fn watch_time(request: &Request, now: Instant) {
    let deadline = match request.exchange.upgrade_idle() {
        Some(idle) => Some(now + idle),
        None => request.exchange.deadline(),
    };
    watch_deadline(request, deadline);
}

fn watch_deadline(request: &Request, deadline: Option<Instant>) {
    match deadline {
        _ if request.connection.http2 => {}
        Some(deadline) => request.connection.deadline.set(deadline),
        None => request.connection.deadline.clear(),
    }
}

/// Decides about another attempt.
fn judge(session: &mut Session, ctx: &mut Carried, mut error: Box<Error>, sent: bool, reused: bool) -> Box<Error> {
    let Some(request) = &mut ctx.0 else { return error };
    request.take_back(session);
    let answered = has_answered(session);
    let replayable = request.is_replayable(session);
    let endpoint = request.exchange.endpoint();
    let endpoint = endpoint.as_ref().map(|address| address as &dyn std::fmt::Display);
    let Some(failure) = failure::read(&error, endpoint) else { return error };
    let method = &session.req_header().method;
    let failed = Failed { method, sent, reused, replayable, answered };
    error.set_retry(request.exchange.attempt_failed(failure, failed, Instant::now()));
    error
}

/// Whether a response has a body that nothing but the end of the connection ends (RFC 9112, section 6.3).
fn ends_with_connection(method: &Method, head: &ResponseHeader) -> bool {
    let bodiless = *method == Method::HEAD || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let chunked = head.headers.get_all(TRANSFER_ENCODING).iter().next_back().is_some_and(|coding| {
        let last = coding.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
        last.trim_ascii().eq_ignore_ascii_case(b"chunked")
    });
    head.version < http::Version::HTTP_2 && !bodiless && !chunked && !head.headers.contains_key(CONTENT_LENGTH)
}

/// Whether the client has a byte of the final response.
fn has_answered(session: &Session) -> bool {
    session
        .response_written()
        .is_some_and(|head| !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS)
}

/// Writes a reply of ours. A body that the client still sends is thrown away for a while, so that closing the
/// connection does not take the reply away from it.
async fn write_reply(session: &mut Session, reply: Reply) -> Result<()> {
    let unread = !session.as_downstream_mut().is_body_done() && !expects_continue(session.req_header());
    let (head, body) = heads::of_reply(reply)?;
    let bodiless = body.is_empty() || session.req_header().method == http::Method::HEAD;
    match session.as_downstream_mut() {
        // The head has to end the stream itself: a gRPC client takes it for the trailers only then, and a stream that
        // nothing ended is reset.
        HttpSession::H2(stream) if bodiless => stream.write_response_header(head, true)?,
        _ => session.write_response_header(head, bodiless).await?,
    }
    if !bodiless {
        session.write_response_body(Some(body), true).await?;
    }
    if unread {
        // Whatever goes wrong here, the reply is written.
        let _ = tokio::time::timeout(LINGERING, discard_body(session)).await;
    }
    Ok(())
}

/// Answers `Expect: 100-continue`, once: afterwards the request is one whose client sends its body.
pub(super) async fn say_continue(session: &mut Session) -> Result<()> {
    // pingora takes the interim response for an early one, after which it would close the connection.
    let keep_alive = session.get_keepalive();
    session.write_continue_response().await?;
    if keep_alive.is_some() {
        session.set_keepalive(keep_alive);
    }
    session.req_header_mut().remove_header(&http::header::EXPECT);
    Ok(())
}

async fn discard_body(session: &mut Session) {
    let read = |session: &mut Session| {
        let session = session.as_downstream_mut();
        session.set_read_timeout(Some(LINGERING_IDLE));
    };
    read(session);
    while let Ok(Ok(Some(_))) =
        tokio::time::timeout(LINGERING_IDLE, session.as_downstream_mut().read_request_body()).await
    {}
}

pub(super) fn expects_continue(head: &RequestHeader) -> bool {
    let expect = head.headers.get(http::header::EXPECT);
    head.version == http::Version::HTTP_11
        && expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
