//! Attempts: what happened with each endpoint that was tried, and whether another may be.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use genkan_routing::policy::retry::Retry;
use http::Method;

use crate::access_log;
use crate::error::Failure;
use crate::random;

/// How many times the least wait the longest one may be, jitter aside.
const LONGEST_WAIT: u32 = 10;

/// One attempt at one endpoint.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The endpoint.
    pub(crate) address: SocketAddr,
    /// When it began.
    pub(crate) started: Instant,
    /// Until the connection was ready (`$upstream_connect_time`); `None` when it never was.
    pub(crate) connected: Option<Duration>,
    /// When the endpoint had been given the whole request; `None` when it never was.
    pub(crate) sent: Option<Instant>,
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
    /// Whether it failed because that connection was closed already, which says nothing about the endpoint.
    pub(crate) stale: bool,
}

impl Attempt {
    /// An attempt that begins.
    pub(crate) fn new(address: SocketAddr, started: Instant) -> Self {
        Self {
            address,
            started,
            connected: None,
            sent: None,
            head: None,
            ended: None,
            status: None,
            received: 0,
            reused: false,
            stale: false,
        }
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
    /// Time until the request has to be over; `None` without limit.
    pub(crate) left: Option<Duration>,
    /// The request's method.
    pub(crate) method: &'a Method,
    /// Whether any of the request may have reached the endpoint.
    pub(crate) sent: bool,
    /// Whether the request's body can be sent again.
    pub(crate) replayable: bool,
    /// Whether the client has a byte of the response.
    pub(crate) answered: bool,
}

/// What becomes of an attempt's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The client gets it.
    Pass,
    /// It is dropped for another attempt.
    Retry,
    /// It is dropped, and the client gets the exchange's failure: another attempt is due and not in the budget.
    Refuse,
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
            | Failure::RetriesSpent(_)
            | Failure::RequestTimeout
            | Failure::Internal(_) => None,
        }
    }
}

impl Situation<'_> {
    /// After what time another attempt may be made; `None` when none may, also because the request would be over by then.
    pub(crate) fn wait(&self, cause: Cause, random: u64) -> Option<Duration> {
        let wait = backoff(self.policy, self.tried, random);
        (self.allows(cause) && self.left.is_none_or(|left| wait < left)).then_some(wait)
    }

    /// Whether another attempt may be made (nginx `proxy_next_upstream`, `_tries`, `_timeout`).
    fn allows(&self, cause: Cause) -> bool {
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
            && (!self.sent || sends_again(policy, self.method))
            && self.tried < limit
            && policy.timeout.is_none_or(|timeout| self.elapsed < timeout)
    }
}

/// The wait after `tried` attempts: never below the policy's, twice as long each time up to a limit, and up to a quarter
/// more by chance, so that the requests of a failed moment don't come back together.
fn backoff(policy: &Retry, tried: u32, random: u64) -> Duration {
    let Some(least) = policy.backoff else { return Duration::ZERO };
    let factor = 2_u32.saturating_pow(tried.saturating_sub(1)).min(LONGEST_WAIT);
    let wait = least.saturating_mul(factor);
    let jitter = u64::try_from(wait.as_nanos() / 4).unwrap_or(u64::MAX);
    wait.saturating_add(Duration::from_nanos(random::below(jitter, random)))
}

/// Whether a request of this method that an endpoint may have seen can go to another one at all.
pub(super) fn sends_again(policy: &Retry, method: &Method) -> bool {
    policy.tries != 1 && (policy.non_idempotent || !changes_twice(method))
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
            left: None,
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
    fn what_is_sent_again_follows_from_method_and_policy() {
        let again = |change: fn(&mut Retry), method| {
            let mut policy = Retry::default();
            change(&mut policy);
            sends_again(&policy, &method)
        };
        assert!(again(|_| {}, Method::PUT) && !again(|_| {}, Method::POST) && !again(|_| {}, Method::PATCH));
        assert!(again(|policy| policy.non_idempotent = true, Method::POST));
        assert!(again(|policy| policy.tries = 0, Method::PUT) && !again(|policy| policy.tries = 1, Method::PUT));
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

    #[test]
    fn without_backoff_the_next_attempt_begins_at_once() {
        let policy = Retry::default();
        assert_eq!(situation(&policy, &Method::GET).wait(Cause::Error, u64::MAX), Some(Duration::ZERO));
        assert_eq!(situation(&policy, &Method::GET).wait(Cause::Invalid, 0), None);
    }

    #[test]
    fn backoff_doubles_up_to_a_limit_and_is_never_below_its_minimum() {
        let policy = Retry { tries: 0, backoff: Some(Duration::from_millis(100)), ..Retry::default() };
        let wait = |tried, random| {
            Situation { tried, endpoints: 99, ..situation(&policy, &Method::GET) }.wait(Cause::Error, random).unwrap()
        };
        for (tried, least) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (6, 1000), (90, 1000)] {
            let least = Duration::from_millis(least);
            assert_eq!(wait(tried, 0), least);
            let longest = wait(tried, u64::MAX);
            assert!(longest > least && longest < least * 5 / 4, "{tried}: {longest:?}");
        }
        let endless = Retry { backoff: Some(Duration::MAX), ..Retry::default() };
        assert_eq!(situation(&endless, &Method::GET).wait(Cause::Error, u64::MAX), Some(Duration::MAX));
    }

    #[test]
    fn a_wait_that_outlasts_the_request_ends_it() {
        let policy = Retry { backoff: Some(Duration::from_millis(100)), ..Retry::default() };
        let left = |millis| Situation { left: Some(Duration::from_millis(millis)), ..situation(&policy, &Method::GET) };
        assert_eq!(left(100).wait(Cause::Error, 0), None);
        assert_eq!(left(101).wait(Cause::Error, 0), Some(Duration::from_millis(100)));
        let at_once = Retry::default();
        let over = Situation { left: Some(Duration::ZERO), ..situation(&at_once, &Method::GET) };
        assert_eq!(over.wait(Cause::Error, 0), None, "nothing is left");
    }
}
