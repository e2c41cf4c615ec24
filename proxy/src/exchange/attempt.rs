//! Attempts: what happened with each endpoint that was tried, and whether another may be.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use genkan_routing::policy::retry::Retry;
use http::Method;

use crate::access_log;
use crate::error::Failure;

/// One attempt at one endpoint.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The endpoint.
    pub(crate) address: SocketAddr,
    /// When it began.
    pub(crate) started: Instant,
    /// Until the connection was ready (`$upstream_connect_time`); `None` when it never was.
    pub(crate) connected: Option<Duration>,
    /// Until the response's head was read (`$upstream_header_time`); `None` when it never was.
    pub(crate) head: Option<Duration>,
    /// Until the response was complete or the attempt failed (`$upstream_response_time`).
    pub(crate) ended: Option<Duration>,
    /// The endpoint's status, or that of the failure (`$upstream_status`).
    pub(crate) status: Option<u16>,
    /// Bytes of the response's body (`$upstream_response_length`).
    pub(crate) received: u64,
    /// Whether the connection was a kept one.
    pub(crate) reused: bool,
}

impl Attempt {
    /// An attempt that begins.
    pub(crate) fn new(address: SocketAddr, started: Instant) -> Self {
        Self { address, started, connected: None, head: None, ended: None, status: None, received: 0, reused: false }
    }

    /// Notes that the attempt is over, unless that was noted before.
    pub(crate) fn end(&mut self, now: Instant) {
        self.ended.get_or_insert(now.saturating_duration_since(self.started));
    }
}

impl From<&Attempt> for access_log::Attempt {
    fn from(attempt: &Attempt) -> Self {
        Self {
            address: attempt.address,
            status: attempt.status,
            response_length: attempt.received,
            connect_time: attempt.connected,
            header_time: attempt.head,
            response_time: attempt.ended,
        }
    }
}

/// What a decision about a further attempt depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    /// The rule's policy.
    pub(crate) policy: &'a Retry,
    /// Attempts so far that count.
    pub(crate) tried: u32,
    /// How many endpoints there are: the limit when the policy has none.
    pub(crate) endpoints: usize,
    /// Time since the first attempt began.
    pub(crate) elapsed: Duration,
    /// The request's method.
    pub(crate) method: &'a Method,
    /// Whether any of the request may have reached the endpoint.
    pub(crate) sent: bool,
    /// Whether the request's body can be sent again.
    pub(crate) replayable: bool,
    /// Whether the client has a byte of the response.
    pub(crate) answered: bool,
}

/// Why a further attempt might be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The attempt failed (`error`).
    Error,
    /// It took too long (`timeout`).
    Timeout,
    /// The answer was no HTTP (`invalid_header`).
    Invalid,
    /// The endpoint answered with this status (`http_503`, ...).
    Status(u16),
}

impl Cause {
    /// The cause that a failure is; `None` for failures that no other endpoint can heal.
    pub(crate) fn of(failure: &Failure) -> Option<Self> {
        match failure {
            Failure::ConnectFailed(_) | Failure::UpstreamTls(_) | Failure::UpstreamClosed(_) => Some(Self::Error),
            Failure::ConnectTimeout(_) | Failure::UpstreamTimeout(_) => Some(Self::Timeout),
            Failure::UpstreamInvalid(_) => Some(Self::Invalid),
            Failure::ClientGone
            | Failure::BadRequest(_)
            | Failure::ClientTimeout
            | Failure::BodyTooLarge
            | Failure::NoEndpoint(_)
            | Failure::RequestTimeout
            | Failure::Internal(_) => None,
        }
    }
}

impl Situation<'_> {
    /// Whether another attempt may be made (nginx `proxy_next_upstream`, `_tries`, `_timeout`).
    pub(crate) fn allows(&self, cause: Cause) -> bool {
        let policy = self.policy;
        let wanted = match cause {
            Cause::Error => policy.on_error,
            Cause::Timeout => policy.on_timeout,
            Cause::Invalid => policy.on_invalid_header,
            Cause::Status(status) => policy.on_status.binary_search(&status).is_ok(),
        };
        let limit = match policy.tries {
            0 => u32::try_from(self.endpoints).unwrap_or(u32::MAX),
            tries => tries,
        };
        wanted
            && !self.answered
            && self.replayable
            && (!self.sent || policy.non_idempotent || !changes_twice(self.method))
            && self.tried < limit
            && policy.timeout.is_none_or(|timeout| self.elapsed < timeout)
    }
}

/// Whether sending a request twice may do something twice: the methods that nginx takes for such.
fn changes_twice(method: &Method) -> bool {
    matches!(method.as_str(), "POST" | "LOCK" | "PATCH")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation<'a>(policy: &'a Retry, method: &'a Method) -> Situation<'a> {
        Situation {
            policy,
            tried: 1,
            endpoints: 2,
            elapsed: Duration::ZERO,
            method,
            sent: true,
            replayable: true,
            answered: false,
        }
    }

    #[test]
    fn errors_and_time_outs_are_tried_again_by_default_and_nothing_else() {
        let policy = Retry::default();
        let situation = situation(&policy, &Method::GET);
        assert!(situation.allows(Cause::Error));
        assert!(situation.allows(Cause::Timeout));
        assert!(!situation.allows(Cause::Invalid));
        assert!(!situation.allows(Cause::Status(503)));
    }

    #[test]
    fn a_post_is_tried_again_only_if_it_was_not_sent_or_the_rule_says_so() {
        let policy = Retry::default();
        assert!(!situation(&policy, &Method::POST).allows(Cause::Error));
        assert!(Situation { sent: false, ..situation(&policy, &Method::POST) }.allows(Cause::Error));
        let policy = Retry { non_idempotent: true, ..Retry::default() };
        assert!(situation(&policy, &Method::POST).allows(Cause::Error));
    }

    #[test]
    fn nothing_is_tried_again_after_an_answer_or_with_a_lost_body() {
        let policy = Retry::default();
        assert!(!Situation { answered: true, ..situation(&policy, &Method::GET) }.allows(Cause::Error));
        assert!(!Situation { replayable: false, ..situation(&policy, &Method::GET) }.allows(Cause::Error));
    }

    #[test]
    fn tries_and_time_are_limits() {
        let policy = Retry { timeout: Some(Duration::from_secs(1)), ..Retry::default() };
        assert!(Situation { tried: 2, ..situation(&policy, &Method::GET) }.allows(Cause::Error));
        assert!(!Situation { tried: 3, ..situation(&policy, &Method::GET) }.allows(Cause::Error));
        let late = Situation { elapsed: Duration::from_secs(1), ..situation(&policy, &Method::GET) };
        assert!(!late.allows(Cause::Error));
        let unlimited = Retry { tries: 0, ..Retry::default() };
        assert!(!Situation { tried: 2, ..situation(&unlimited, &Method::GET) }.allows(Cause::Error));
    }

    #[test]
    fn listed_statuses_are_tried_again() {
        let policy = Retry { on_status: vec![500, 503], ..Retry::default() };
        assert!(situation(&policy, &Method::GET).allows(Cause::Status(503)));
        assert!(!situation(&policy, &Method::GET).allows(Cause::Status(502)));
    }
}
