//! One request's life, on plain heads.
//!
//! ```text
//!  begin -> intake: route, filters, backend -> next_attempt -> upstream_head -> response_head -> response_body -> finish
//!             | |                                 ^   |
//!             | +--> question <-> answered -> admit +---+ failed: may another endpoint be tried?
//!             +--> Reply
//! ```
//!
//! Owns the order of these steps and what is remembered between them. Refuses to know how bytes move: the engine calls
//! it with plain heads and does what it says.

pub(crate) mod attempt;
pub(crate) mod authentication;
mod buffering;
pub(crate) mod context;
mod finish;
mod grpc;
pub(crate) mod hop_by_hop;
mod intake;
mod limits;
mod mirror;
mod session;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use genkan_routing::model::{Forward, HttpVersion, ListenerSettings, UpstreamTls};
use genkan_routing::policy::access_log::AccessLog;
use genkan_routing::policy::client::ClientSettings;
use genkan_routing::policy::forwarded::Forwarded;
use genkan_routing::policy::upstream::UpstreamSettings;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use smallvec::SmallVec;

use self::attempt::{Attempt, Cause, Situation, Verdict};
use self::authentication::Asking;
pub(crate) use self::finish::Finished;
use self::intake::Choice;
pub(crate) use self::mirror::Copies;
use self::session::Session;
use crate::access_log::Format;
use crate::connection::ConnectionInfo;
use crate::error::Failure;
use crate::filters::compression::Encoder;
use crate::filters::{self, Admitted};
use crate::metrics::{RequestCount, RuleMetrics};
use crate::random;
use crate::reply::Reply;
use crate::shared::Shared;
use crate::table::{ClusterEntry, ProxyTable, RuleEntry, RuleNumber};
use crate::upstream::client;
use crate::upstream::endpoint::Picked;
use crate::upstream::health::Outcome;
use crate::upstream::tls::Secure;

/// Kept connections that may turn out to be closed without counting as tries. A request that makes an endpoint fail
/// looks the same, so there has to be an end.
const MAX_STALE: u32 = 4;

/// A request from its head to its log line.
#[derive(Debug)]
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    table: Arc<ProxyTable>,
    connection: Arc<ConnectionInfo>,
    started: Instant,
    /// Settings of the section that it is for, where they are not those of the whole proxy. Not known before intake.
    settings: Option<Arc<ListenerSettings>>,
    rule: Option<RuleNumber>,
    choice: Option<Choice>,
    request_id: String,
    admitted: Admitted,
    /// Who is being asked about the client.
    asking: Option<Box<Asking>>,
    /// What goes to mirrors, until it is sent.
    copies: Copies,
    /// The endpoint of the current attempt, or of the first one before it begins.
    picked: Option<Picked>,
    /// Where the client's requests are kept with one endpoint.
    session: Option<Box<Session>>,
    encoder: Option<Encoder>,
    attempts: SmallVec<[Attempt; 1]>,
    /// Attempts that failed because a kept connection was already closed; they do not count as tries.
    stale: u32,
    /// When the next attempt may begin.
    next_attempt: Option<Instant>,
    /// Whether the request asks to leave HTTP.
    upgrade: bool,
    /// Whether it has a body.
    has_body: bool,
    /// Whether the endpoint's connection is to be closed after this request.
    last_use: bool,
    /// Whether the connection has left HTTP.
    upgraded: bool,
    received: u64,
    failure: Option<Failure>,
    /// The head of the last endpoint's response, where the log asks for it.
    upstream_response: Option<HeaderMap>,
    metrics: Option<Arc<RuleMetrics>>,
    /// Counts the request as under way.
    _count: RequestCount,
}

/// Where an attempt goes, and how long it may take.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// The endpoint.
    pub(crate) address: SocketAddr,
    /// TLS towards it.
    pub(crate) tls: Option<&'a UpstreamTls>,
    /// The same, set up, where the engine can't do it.
    pub(crate) secure: &'a Secure,
    /// Whether it speaks HTTP/2.
    pub(crate) http2: bool,
    /// Which kept connections of the address may be shared.
    pub(crate) connection_group: u64,
    /// For TCP and TLS together.
    pub(crate) connect_timeout: Duration,
    /// Between two writes.
    pub(crate) send_timeout: Duration,
    /// Between two reads; `None` when the time of the whole connection is watched instead (upgrades).
    pub(crate) read_timeout: Option<Duration>,
    /// How long its connection is kept after the response.
    pub(crate) idle_timeout: Duration,
}

/// What the engine knows about a failed attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed<'a> {
    /// The request's method.
    pub(crate) method: &'a Method,
    /// Whether the connection was made, so that the endpoint may have seen the request.
    pub(crate) sent: bool,
    /// Whether the connection was a kept one.
    pub(crate) reused: bool,
    /// Whether the request's body can be sent again.
    pub(crate) replayable: bool,
    /// Whether the client has a byte of the response.
    pub(crate) answered: bool,
}

impl Exchange {
    /// Begins a request with the table of now.
    pub(crate) fn begin(shared: &Arc<Shared>, connection: &Arc<ConnectionInfo>, now: Instant) -> Self {
        Self {
            shared: Arc::clone(shared),
            table: shared.table.load_full(),
            connection: Arc::clone(connection),
            started: now,
            settings: None,
            rule: None,
            choice: None,
            request_id: String::new(),
            admitted: Admitted::default(),
            asking: None,
            copies: Copies::new(),
            picked: None,
            session: None,
            encoder: None,
            attempts: SmallVec::new(),
            stale: 0,
            next_attempt: None,
            upgrade: false,
            has_body: false,
            last_use: false,
            upgraded: false,
            received: 0,
            failure: None,
            upstream_response: None,
            metrics: None,
            _count: shared.metrics.process.request(),
        }
    }

    /// The table that serves this request.
    pub(crate) fn table(&self) -> &Arc<ProxyTable> {
        &self.table
    }

    /// When the time of the request or of the attempt that is under way is over; `None` without limit.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.whole_deadline().into_iter().chain(self.attempt_deadline()).min()
    }

    /// When the time of the request is over, whatever is under way; `None` without limit.
    pub(crate) fn whole_deadline(&self) -> Option<Instant> {
        self.forward()?.timeouts.request.map(|limit| self.started + limit)
    }

    /// `None` between two attempts.
    fn attempt_deadline(&self) -> Option<Instant> {
        let attempt = self.attempts.last().filter(|attempt| attempt.ended.is_none())?;
        self.forward()?.timeouts.backend_request.map(|limit| attempt.started + limit)
    }

    /// When the next attempt may begin; `None` is at once.
    pub(crate) fn take_wait(&mut self) -> Option<Instant> {
        self.next_attempt.take()
    }

    /// Whether the request asks to leave HTTP, and how long such a connection may be silent.
    pub(crate) fn upgrade_idle(&self) -> Option<Duration> {
        self.forward().filter(|_| self.upgrade).map(|forward| forward.timeouts.read)
    }

    /// Chooses the endpoint of the next attempt; intake has chosen the first.
    pub(crate) fn next_attempt(&mut self, client: &http::request::Parts, now: Instant) -> Result<Target<'_>, Failure> {
        // What ended the attempt before is not what ends this one.
        self.failure = None;
        let picked = match self.picked.take().filter(|_| self.attempts.is_empty()) {
            Some(first) => first,
            None => self.pick_again(client, now)?,
        };
        let address = self.picked.insert(picked).address();
        self.attempts.push(Attempt::new(address, now));
        // An attempt begins with the body's first byte, however much of it others were sent.
        self.received = 0;
        let deadline = self.deadline();
        let (Some(cluster), Some(forward)) = (self.cluster(), self.forward()) else {
            return Err(Failure::Internal("an attempt without a cluster".to_owned()));
        };
        if let Some(budget) = &cluster.budget {
            budget.attempt(now);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Failure::RequestTimeout);
        }
        let within = |limit: Duration| left.map_or(limit, |left| limit.min(left)).max(Duration::from_millis(1));
        let upstream = &self.table.snapshot.model().settings.upstream;
        Ok(Target {
            address,
            tls: cluster.cluster.tls.as_ref(),
            secure: &cluster.secure,
            http2: cluster.cluster.version == HttpVersion::Http2,
            connection_group: cluster.connection_group(upstream.keepalive_time, now),
            connect_timeout: within(forward.timeouts.connect),
            send_timeout: within(forward.timeouts.send),
            read_timeout: (!self.upgrade).then(|| within(forward.timeouts.read)),
            idle_timeout: kept_for(upstream),
        })
    }

    /// Notes that the attempt's connection is ready; `uses` is how many requests it has had, this one included. `bodiless`
    /// is whether the head is the whole request.
    pub(crate) fn connected(&mut self, reused: bool, uses: u32, bodiless: bool, now: Instant) {
        let upstream = &self.table.snapshot.model().settings.upstream;
        self.last_use = uses >= upstream.keepalive_requests || kept_for(upstream).is_zero();
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.connected = Some(now.saturating_duration_since(attempt.started));
            attempt.reused = reused;
            attempt.sent = bodiless.then_some(now);
        }
    }

    /// Makes the head that the endpoint sees of a copy of the client's.
    pub(crate) fn upstream_head(&self, client: &http::request::Parts, head: &mut http::request::Parts) {
        let http2 = self.cluster().is_some_and(|cluster| cluster.cluster.version == HttpVersion::Http2);
        let upgrade = hop_by_hop::upgrade(client).cloned().filter(|_| self.upgrade && !http2);
        let close = self.last_use && !http2 && upgrade.is_none();
        self.clean_head(head, upgrade, http2);
        if close {
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let Some(entry) = self.rule_entry() else { return };
        let settings = self.forwarded();
        self.with_context(client, Instant::now(), |ctx| {
            filters::upstream_head(ctx, settings, &entry.filters, self.backend_filters(), &self.admitted, head);
        });
        if http2 && self.cluster().is_some_and(|cluster| cluster.cluster.tls.is_some()) {
            // The engine would say `http` where it does not know of the TLS. What has no such form it refuses itself.
            let _ = client::to_absolute(head, true);
        }
    }

    /// Takes out of a copy of the client's head what no endpoint must see.
    fn clean_head(&self, head: &mut http::request::Parts, upgrade: Option<HeaderValue>, http2: bool) {
        hop_by_hop::clean_request(&mut head.headers, upgrade, http2);
        if !self.client_settings().underscores_in_headers {
            hop_by_hop::drop_underscores(&mut head.headers);
        }
    }

    /// Counts a part of the request's body; `end` is whether it is the last.
    pub(crate) fn request_body(&mut self, length: usize, end: bool, now: Instant) -> Result<(), Failure> {
        if let Some(attempt) = self.attempts.last_mut().filter(|_| end) {
            attempt.sent.get_or_insert(now);
        }
        self.received += u64::try_from(length).unwrap_or(u64::MAX);
        if self.admitted.body_limit.is_some_and(|limit| self.received > limit) && !self.upgraded {
            return Err(Failure::BodyTooLarge);
        }
        if self.upgraded { Ok(()) } else { self.check_time(now) }
    }

    /// Takes note of an endpoint's status, and says what becomes of the response.
    pub(crate) fn upstream_status(&mut self, status: StatusCode, failed: Failed<'_>, now: Instant) -> Verdict {
        // Those that say only that there will be another one. After 101 there is none.
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            return Verdict::Pass;
        }
        let Some(attempt) = self.attempts.last_mut() else { return Verdict::Pass };
        let latency = now.saturating_duration_since(attempt.started);
        attempt.head = Some(latency);
        if let Some(picked) = &self.picked {
            picked.observe(latency, now);
        }
        attempt.status = Some(status.as_u16());
        self.note(Outcome::Status(status.as_u16()), now);
        let verdict = self.judge(Cause::Status(status.as_u16()), failed, now);
        if let Some(attempt) = self.attempts.last_mut().filter(|_| verdict != Verdict::Pass) {
            attempt.end(now);
        }
        verdict
    }

    /// Makes the head that the client sees of the endpoint's.
    pub(crate) fn response_head(&mut self, client: &http::request::Parts, head: &mut http::response::Parts) {
        if self.log_format().is_some_and(Format::needs_upstream_header) {
            self.upstream_response = Some(head.headers.clone());
        }
        hop_by_hop::clean_response(head);
        self.upgraded = head.status == StatusCode::SWITCHING_PROTOCOLS;
        filters::tell_client(&self.admitted, &mut head.headers);
        if let Some(entry) = self.rule_entry() {
            let backend = self.backend_filters();
            if !entry.filters.is_empty() || backend.is_some() {
                let status = head.status;
                self.encoder = self.with_context(client, Instant::now(), |ctx| {
                    filters::response(ctx, &entry.filters, backend, status, &mut head.headers)
                });
            }
        }
        self.tell_session(client, &mut head.headers);
        frame(client.version, head, self.encoder.is_some());
    }

    /// Takes a part of the response's body on its way: counts it, and encodes it where that was decided.
    pub(crate) fn response_body(&mut self, body: &mut Option<Bytes>, end: bool, now: Instant) -> Result<(), Failure> {
        let length = body.as_ref().map_or(0, Bytes::len);
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.received += u64::try_from(length).unwrap_or(u64::MAX);
        }
        if let Some(encoder) = &mut self.encoder {
            let part = encoder.encode(body.as_deref().unwrap_or_default())?;
            let part = if end { joined(part, encoder.finish()?) } else { part };
            *body = (!part.is_empty()).then_some(part);
        }
        if end {
            self.encoder = None;
        }
        if self.upgraded { Ok(()) } else { self.check_time(now) }
    }

    /// What is left to send of an encoded body that ended without a last part.
    pub(crate) fn end_of_body(&mut self) -> Result<Option<Bytes>, Failure> {
        self.encoder.take().map(|mut encoder| encoder.finish()).transpose()
    }

    /// Takes note of a failed attempt. Whether another one is to be made.
    pub(crate) fn attempt_failed(&mut self, failure: Failure, failed: Failed<'_>, now: Instant) -> bool {
        let failure = self.explain(failure, now);
        if failure == Failure::RequestTimeout && self.hangs(now) {
            self.note(Outcome::Failed, now);
        }
        let unanswered = self.attempts.last().is_none_or(|attempt| attempt.head.is_none());
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.end(now);
            attempt.status.get_or_insert(failure.status().as_u16());
            if let Some(picked) = self.picked.as_ref().filter(|_| unanswered) {
                picked.observe(now.saturating_duration_since(attempt.started), now);
            }
        }
        let cause = Cause::of(&failure);
        // An HTTP/2 connection that was kept is not gone when a stream on it fails.
        let http1 = self.cluster().is_some_and(|entry| entry.cluster.version == HttpVersion::Http1);
        let stale = http1 && failed.reused && matches!(failure, Failure::UpstreamClosed(_));
        self.failure = Some(failure);
        let Some(cause) = cause else { return false };
        if stale && self.stale < MAX_STALE && self.wait(cause, failed, now).is_some() {
            self.stale += 1;
            if let Some(attempt) = self.attempts.last_mut() {
                attempt.stale = true;
            }
            return true;
        }
        // With the head of a response the endpoint has answered: what breaks off a body or a tunnel, which may be hours
        // later, says little of the next request.
        if unanswered {
            self.note(Outcome::Failed, now);
        }
        self.judge(cause, failed, now) == Verdict::Retry
    }

    /// Whether a request whose time is over says that its endpoint hangs: it took no connection, or had the whole request
    /// and said nothing, for most of that time. A client that is slow and attempts before this one leave an endpoint less,
    /// which is not its fault.
    fn hangs(&self, now: Instant) -> bool {
        let limit = self.forward().and_then(|forward| forward.timeouts.request);
        let (Some(limit), Some(attempt)) = (limit, self.attempts.last()) else { return false };
        let since = if attempt.connected.is_none() { Some(attempt.started) } else { attempt.sent };
        let waited = since.map(|since| now.saturating_duration_since(since));
        attempt.head.is_none() && waited.is_some_and(|waited| waited * 2 >= limit)
    }

    /// Notes what became of the attempt for the health of its endpoint.
    fn note(&self, outcome: Outcome, now: Instant) {
        if let (Some(cluster), Some(picked)) = (self.cluster(), &self.picked) {
            cluster.balancer.note(picked, outcome, now);
        }
    }

    /// Notes that the client went away between two attempts.
    pub(crate) fn client_gone(&mut self) {
        self.failure = Some(Failure::ClientGone);
    }

    /// Notes why the request failed, unless that is known already.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// What the client gets for a failure.
    pub(crate) fn failure_reply(&self, client: &http::request::Parts, failure: &Failure) -> Reply {
        self.finish_reply(client, Reply::page(failure.status(), &client.headers, &self.request_id))
    }

    /// Why the request failed.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The endpoint of the current attempt.
    pub(crate) fn endpoint(&self) -> Option<SocketAddr> {
        self.attempts.last().map(|attempt| attempt.address)
    }

    /// Decides about another attempt, and notes when it may begin.
    fn judge(&mut self, cause: Cause, failed: Failed<'_>, now: Instant) -> Verdict {
        let Some(wait) = self.wait(cause, failed, now) else { return Verdict::Pass };
        if let Some(cluster) = self.cluster()
            && cluster.budget.as_ref().is_some_and(|budget| !budget.take(now))
        {
            self.failure = Some(Failure::RetriesSpent(cluster.cluster.name.to_string()));
            return Verdict::Refuse;
        }
        self.next_attempt = (!wait.is_zero()).then(|| now + wait);
        Verdict::Retry
    }

    fn wait(&self, cause: Cause, failed: Failed<'_>, now: Instant) -> Option<Duration> {
        let (Some(forward), Some(cluster), Some(first)) = (self.forward(), self.cluster(), self.attempts.first())
        else {
            return None;
        };
        let tried = u32::try_from(self.attempts.len()).unwrap_or(u32::MAX).saturating_sub(self.stale);
        let situation = Situation {
            policy: &forward.retry,
            tried,
            endpoints: cluster.cluster.endpoints.len(),
            elapsed: now.saturating_duration_since(first.started),
            left: self.whole_deadline().map(|deadline| deadline.saturating_duration_since(now)),
            method: failed.method,
            sent: failed.sent,
            replayable: failed.replayable,
            answered: failed.answered,
        };
        situation.wait(cause, random::next())
    }

    /// A failure at a deadline is a time-out, whatever broke first.
    fn explain(&self, failure: Failure, now: Instant) -> Failure {
        self.check_time(now).err().unwrap_or(failure)
    }

    fn check_time(&self, now: Instant) -> Result<(), Failure> {
        let over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| now >= deadline);
        if over(self.whole_deadline()) {
            return Err(Failure::RequestTimeout);
        }
        if over(self.attempt_deadline()) {
            return Err(Failure::UpstreamTimeout(self.endpoint().map(|at| at.to_string()).unwrap_or_default()));
        }
        Ok(())
    }

    /// Whom to believe about the client.
    fn forwarded(&self) -> &Forwarded {
        let global = || &self.table.snapshot.model().settings.forwarded;
        self.settings.as_ref().map_or_else(global, |settings| &settings.forwarded)
    }

    /// What is logged.
    fn access_log(&self) -> &AccessLog {
        let global = || &self.table.snapshot.model().settings.access_log;
        self.settings.as_ref().map_or_else(global, |settings| &settings.access_log)
    }

    /// How requests of the section are logged; `None` when they are not.
    fn log_format(&self) -> Option<&Format> {
        self.table.logs().of(self.settings.as_ref()).http.as_ref()
    }

    /// Time-outs and limits of the client.
    pub(crate) fn client_settings(&self) -> &ClientSettings {
        self.table.snapshot.client(&self.connection.listener)
    }

    fn rule_entry(&self) -> Option<&RuleEntry> {
        self.table.rule(self.rule?)
    }

    /// The namespace of the rule, of which what all share is counted.
    fn tenant(&self) -> Arc<str> {
        self.rule_entry().map(|entry| Arc::clone(&entry.rule.origin.object.namespace)).unwrap_or_default()
    }

    fn forward(&self) -> Option<&Forward> {
        self.rule_entry()?.forward()
    }

    fn cluster(&self) -> Option<&ClusterEntry> {
        self.table.cluster(self.choice.as_ref()?.cluster)
    }
}

/// Sets the framing of a response whose body is of unknown length, or becomes so by being encoded.
fn frame(client: Version, head: &mut http::response::Parts, encoded: bool) {
    // The version is this connection's, not that of the endpoint's (RFC 9110, section 2.5).
    if head.version < Version::HTTP_11 {
        head.version = Version::HTTP_11;
    }
    match client {
        // Such a client knows no chunks: the end of the connection is the end of the body (RFC 9112, section 6.3).
        Version::HTTP_09 | Version::HTTP_10 => {
            head.headers.remove(TRANSFER_ENCODING);
        }
        Version::HTTP_11 if encoded => {
            head.headers.remove(CONTENT_LENGTH);
            head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        _ => {}
    }
}

/// How long a connection to an endpoint is kept; zero where any setting says that none is.
fn kept_for(upstream: &UpstreamSettings) -> Duration {
    let none = upstream.keepalive_connections == 0 || upstream.keepalive_time.is_zero();
    if none { Duration::ZERO } else { upstream.keepalive_timeout }
}

fn joined(first: Bytes, second: Bytes) -> Bytes {
    if first.is_empty() {
        return second;
    }
    let mut both = BytesMut::from(first);
    both.extend_from_slice(&second);
    both.freeze()
}
