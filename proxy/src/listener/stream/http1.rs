//! The reading side of an HTTP/1 connection: complete heads, bodies that end where they say, deadlines.
//!
//! ```text
//!          +--------------------------- the engine ended the request <----------------+
//!          v                                                                          |
//!  Head: scan, wait -> Release: hand out -> Body: count, hand out -> Between: hold what comes early, see the end
//!    |  refused, late                                                  (or hand out all, once it is a tunnel)
//!    v
//!  Refused: answer, linger -> Closed
//! ```
//!
//! Between one request's end and the next head's completion the engine gets no byte, so nothing it does with a body can
//! make it take a body for a head.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use genkan_routing::policy::client::ClientSettings;
use http::StatusCode;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::buffer::Buffer;
use super::timer::Timer;
use super::transport::Transport;
use crate::connection::ConnectionInfo;
use crate::listener::body::BodyCounter;
use crate::listener::head::{HeadLimits, HeadScanner};
use crate::listener::refusal::Refusal;
use crate::shared::{Rejected, Shared};

/// Bytes of requests sent ahead that are kept while one is served. A client that sends more waits, and that it went
/// away is noticed later.
const MAX_AHEAD: usize = 64 << 10;
/// Bytes of a refused request line that are logged.
const MAX_LOGGED_LINE: usize = 512;

/// The reading side.
#[derive(Debug)]
pub(super) struct Http1Reader {
    state: State,
    buffer: Buffer,
    limits: HeadLimits,
    header_timeout: Duration,
    body_timeout: Duration,
    keep_alive: Duration,
    timer: Timer,
}

#[derive(Debug)]
enum State {
    /// Waiting for a head. `idle` until its first byte.
    Head { scanner: HeadScanner, deadline: Instant, idle: bool },
    /// A head of which so many bytes are still to be handed out.
    Release { left: usize, body: BodyCounter },
    /// The body; the deadline exists while nothing comes.
    Body { body: BodyCounter, deadline: Option<Instant> },
    /// The request has been read.
    Between,
    /// Answered by ourselves.
    Refused(Refusal),
    /// At its end.
    Closed,
}

impl Http1Reader {
    /// A reader whose connection has already sent `early`.
    pub(super) fn new(settings: &ClientSettings, early: Vec<u8>) -> Self {
        let limits = limits(settings);
        let state = State::Head {
            scanner: HeadScanner::new(limits),
            deadline: Instant::now() + settings.header_timeout,
            idle: early.is_empty(),
        };
        Self {
            state,
            buffer: Buffer::new(early),
            limits,
            header_timeout: settings.header_timeout,
            body_timeout: settings.body_timeout,
            keep_alive: settings.keep_alive,
            timer: Timer::default(),
        }
    }

    /// Whether the client may still be sending a body that nobody reads.
    pub(super) fn is_amid_body(&self) -> bool {
        matches!(&self.state, State::Body { body, .. } | State::Release { body, .. } if !body.is_complete())
    }

    /// Reads as the engine may.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        client: Client<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Client { transport, info, shared } = client;
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match &mut self.state {
                State::Release { left, .. } => {
                    *left -= self.buffer.hand_out(out, *left);
                    self.end_release();
                    return Poll::Ready(Ok(()));
                }
                State::Body { body, .. } if body.is_complete() => self.state = State::Between,
                State::Body { .. } => return self.poll_body(cx, transport, out),
                State::Between if !info.phase.in_request() => {
                    self.adopt(shared.table.load().snapshot.client(&info.listener));
                    self.await_next_head();
                }
                State::Between if info.phase.is_tunnel() => {
                    if !self.buffer.is_empty() {
                        self.buffer.hand_out(out, usize::MAX);
                        return Poll::Ready(Ok(()));
                    }
                    return Pin::new(transport).poll_read(cx, out);
                }
                State::Between => {
                    // Only the client's end is of interest, which comes after what it sent ahead: a next request, or
                    // what is meant for another protocol, should the backend switch to it.
                    if self.buffer.len() >= MAX_AHEAD {
                        return Poll::Pending;
                    }
                    if ready!(self.buffer.poll_fill(cx, transport))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                State::Head { .. } | State::Refused(_) => {
                    ready!(self.poll_head(cx, Client { transport, info, shared }))?;
                }
                State::Closed => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Waits for a complete head, or for the end: true and false.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>, client: Client<'_>) -> Poll<io::Result<bool>> {
        let Client { transport, info, shared } = client;
        loop {
            match &mut self.state {
                State::Head { scanner, .. } if !self.buffer.is_empty() => match scanner.scan(self.buffer.bytes()) {
                    Ok(Some(head)) => {
                        self.buffer.consume(head.start);
                        let body = BodyCounter::new(head.body);
                        self.state = State::Release { left: head.end - head.start, body };
                        return Poll::Ready(Ok(true));
                    }
                    Ok(None) => ready!(self.poll_more_of_head(cx, transport, info, shared))?,
                    Err(error) => self.refuse(error.status(), info, shared),
                },
                State::Head { .. } => ready!(self.poll_more_of_head(cx, transport, info, shared))?,
                State::Refused(refusal) => {
                    let deadline = refusal.deadline;
                    if refusal.poll(cx, transport).is_pending() {
                        ready!(self.timer.poll_passed(cx, deadline));
                    }
                    self.state = State::Closed;
                }
                State::Closed => return Poll::Ready(Ok(false)),
                State::Release { .. } | State::Body { .. } | State::Between => return Poll::Ready(Ok(true)),
            }
        }
    }

    fn poll_more_of_head(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut Transport,
        info: &ConnectionInfo,
        shared: &Shared,
    ) -> Poll<io::Result<()>> {
        let State::Head { deadline, idle, .. } = &mut self.state else { return Poll::Ready(Ok(())) };
        match self.buffer.poll_fill(cx, transport) {
            Poll::Ready(Ok(0)) => {
                if !*idle {
                    // Nobody reads an answer any more; it is logged as nginx does.
                    let began = *deadline - self.header_timeout;
                    log(shared, info, StatusCode::BAD_REQUEST, &self.buffer, began, (0, 0));
                }
                self.state = State::Closed;
            }
            Poll::Ready(Ok(_)) => {
                if std::mem::replace(idle, false) {
                    *deadline = Instant::now() + self.header_timeout;
                }
            }
            Poll::Ready(Err(error)) => {
                self.state = State::Closed;
                return Poll::Ready(Err(error));
            }
            Poll::Pending => {
                let (deadline, idle) = (*deadline, *idle);
                self.buffer.shrink();
                ready!(self.timer.poll_passed(cx, deadline));
                if idle {
                    self.state = State::Closed;
                } else {
                    self.refuse(StatusCode::REQUEST_TIMEOUT, info, shared);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut Transport,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let State::Body { body, deadline, .. } = &mut self.state else { return Poll::Ready(Ok(())) };
        if !self.buffer.is_empty() {
            let window = self.buffer.len().min(out.remaining());
            let passed = body.pass(self.buffer.bytes().get(..window).unwrap_or_default()).map_err(malformed)?;
            self.buffer.hand_out(out, passed);
            return Poll::Ready(Ok(()));
        }
        let most = usize::try_from(body.at_most()).unwrap_or(usize::MAX).min(out.remaining());
        let mut part = ReadBuf::new(out.initialize_unfilled_to(most));
        match Pin::new(transport).poll_read(cx, &mut part) {
            Poll::Ready(result) => {
                result?;
                *deadline = None;
                let arrived = part.filled();
                let passed = body.pass(arrived).map_err(malformed)?;
                // The end of the chunks may lie before the end of what arrived.
                self.buffer.add(arrived.get(passed..).unwrap_or_default());
                out.advance(passed);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.body_timeout);
                ready!(self.timer.poll_passed(cx, deadline));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client stopped sending its body")))
            }
        }
    }

    /// Goes on to the body once the head is handed out.
    fn end_release(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Closed) {
            State::Release { left: 0, body } => State::Body { body, deadline: None },
            state => state,
        };
    }

    /// Goes by the settings of now, which are other ones when somebody has changed them meanwhile.
    fn adopt(&mut self, settings: &ClientSettings) {
        self.limits = limits(settings);
        self.header_timeout = settings.header_timeout;
        self.body_timeout = settings.body_timeout;
        self.keep_alive = settings.keep_alive;
    }

    fn await_next_head(&mut self) {
        let idle = self.buffer.is_empty();
        if idle && self.keep_alive.is_zero() {
            self.state = State::Closed;
            return;
        }
        let time = if idle { self.keep_alive } else { self.header_timeout };
        self.state = State::Head { scanner: HeadScanner::new(self.limits), deadline: Instant::now() + time, idle };
    }

    fn refuse(&mut self, status: StatusCode, info: &ConnectionInfo, shared: &Shared) {
        let refusal = Refusal::new(status);
        if let State::Head { deadline, .. } = self.state {
            log(shared, info, status, &self.buffer, deadline - self.header_timeout, refusal.sizes());
        }
        self.buffer = Buffer::default();
        self.state = State::Refused(refusal);
    }
}

fn limits(settings: &ClientSettings) -> HeadLimits {
    HeadLimits {
        request_line: settings.max_request_line as usize,
        header_line: settings.max_header_line as usize,
        head: settings.max_head as usize,
        fields: usize::from(settings.max_headers),
    }
}

/// What a reader works with.
pub(super) struct Client<'a> {
    pub(super) transport: &'a mut Transport,
    pub(super) info: &'a ConnectionInfo,
    pub(super) shared: &'a Shared,
}

/// Logs a request that is refused; `sizes` are those of the answer and its body.
fn log(
    shared: &Shared,
    info: &ConnectionInfo,
    status: StatusCode,
    buffer: &Buffer,
    began: Instant,
    (bytes_sent, body_bytes_sent): (usize, usize),
) {
    let rejected = Rejected {
        status,
        line: buffer.first_line(MAX_LOGGED_LINE),
        request_length: buffer.len(),
        bytes_sent,
        body_bytes_sent,
        request_time: began.elapsed(),
    };
    shared.log_rejected(info, &rejected);
}

fn malformed(error: crate::listener::body::ChunkError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
