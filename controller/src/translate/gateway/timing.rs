//! Timing: time-outs and retries of HTTPRoute rules.

use std::time::Duration;

use gateway_api::apis::experimental::httproutes::{HttpRouteRulesRetry, HttpRouteRulesTimeouts};
use genkan_routing::policy::retry::Retry;
use genkan_routing::policy::timeouts::Timeouts;

use super::findings::Findings;
use super::reason::UNSUPPORTED_VALUE;

/// As good as no time-out, and what every timer takes.
const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The time-outs of a rule. A value that is not understood is reported and falls back to the default.
pub(crate) fn timeouts(spec: Option<&HttpRouteRulesTimeouts>, field: &str, findings: &mut Findings) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let Some(spec) = spec else { return timeouts };
    timeouts.request = duration(spec.request.as_ref(), &format!("{field}.request"), findings);
    timeouts.backend_request = duration(spec.backend_request.as_ref(), &format!("{field}.backendRequest"), findings);
    if let (Some(request), Some(backend)) = (timeouts.request, timeouts.backend_request)
        && backend > request
    {
        let message = "backendRequest is longer than request, which ends the request first";
        findings.warning(format!("{field}.backendRequest"), UNSUPPORTED_VALUE, message, "make it shorter than request");
    }
    let is_none = |text: Option<&String>| text.is_some_and(|text| is_zero(text));
    // Who wants no limit of the whole wants none between two reads.
    if timeouts.backend_request.max(timeouts.request).is_none()
        && (is_none(spec.request.as_ref()) || is_none(spec.backend_request.as_ref()))
    {
        timeouts.read = NO_LIMIT;
    }
    outlast(&mut timeouts);
    timeouts
}

/// A limit of the whole answer must not be undercut by the one between two reads.
pub(crate) fn outlast(timeouts: &mut Timeouts) {
    if let Some(longest) = timeouts.backend_request.max(timeouts.request) {
        timeouts.read = timeouts.read.max(longest);
    }
}

/// When a rule's requests are sent to another endpoint. Without `retry`: after failures to connect or to get an answer,
/// as for Ingress; but not after a `backendRequest` time-out, which without further attempts is how long a client waits.
pub(crate) fn retry(
    spec: Option<&HttpRouteRulesRetry>,
    timeouts: &Timeouts,
    field: &str,
    findings: &mut Findings,
) -> Retry {
    let mut retry = Retry::default();
    let Some(spec) = spec else {
        retry.on_timeout = timeouts.backend_request.is_none();
        return retry;
    };
    if let Some(attempts) = spec.attempts {
        match u32::try_from(attempts) {
            // `attempts` counts the further ones only.
            Ok(attempts) => retry.tries = attempts.saturating_add(1),
            Err(_) => {
                let message = format!("attempts {attempts} is not a number of retries; the default is used");
                findings.error(format!("{field}.attempts"), UNSUPPORTED_VALUE, message, "write 0 or more");
            }
        }
    }
    for (index, code) in spec.codes.iter().flatten().enumerate() {
        match u16::try_from(*code) {
            Ok(status @ 400..=599) => retry.on_status.push(status),
            _ => {
                let message = format!("{code} is no status to retry; it is ignored");
                findings.error(format!("{field}.codes[{index}]"), UNSUPPORTED_VALUE, message, "write 400 to 599");
            }
        }
    }
    retry.on_status.sort_unstable();
    retry.on_status.dedup();
    retry.backoff = duration(spec.backoff.as_ref(), &format!("{field}.backoff"), findings);
    retry
}

/// A duration; `None` for zero, which turns what it is for off, and for what is none, which is told.
pub(crate) fn duration(text: Option<&String>, field: &str, findings: &mut Findings) -> Option<Duration> {
    match parse_duration(text?) {
        Ok(duration) => duration,
        Err(error) => {
            let mend = "write hours, minutes, seconds and milliseconds, as in 1m30s or 500ms";
            findings.error(field.to_owned(), UNSUPPORTED_VALUE, error, mend);
            None
        }
    }
}

/// Whether a text says that there is no time at all.
pub(crate) fn is_zero(text: &str) -> bool {
    parse_duration(text) == Ok(None)
}

/// A duration of GEP-2257; zero turns a time-out off.
pub(crate) fn parse_duration(text: &str) -> Result<Option<Duration>, String> {
    let duration: gateway_api::Duration = text.parse().map_err(|_| format!("{text:?} is not a duration"))?;
    Ok((!duration.is_zero()).then(|| Duration::new(duration.as_secs(), duration.subsec_nanos())))
}

#[cfg(test)]
mod tests {
    use genkan_routing::name::ObjectRef;

    use super::*;

    fn findings() -> Findings {
        Findings::new(ObjectRef::new("HTTPRoute", "default", "web"))
    }

    fn timeouts_of(request: Option<&str>, backend: Option<&str>) -> (Timeouts, usize) {
        let mut findings = findings();
        let spec =
            HttpRouteRulesTimeouts { request: request.map(str::to_owned), backend_request: backend.map(str::to_owned) };
        let timeouts = timeouts(Some(&spec), "spec.rules[0].timeouts", &mut findings);
        (timeouts, findings.into_problems().len())
    }

    #[test]
    fn durations_are_those_of_the_api() {
        let (timeouts, problems) = timeouts_of(Some("1m30s"), Some("500ms"));
        assert_eq!(timeouts.request, Some(Duration::from_secs(90)));
        assert_eq!(timeouts.backend_request, Some(Duration::from_millis(500)));
        assert_eq!(problems, 0);
    }

    #[test]
    fn zero_is_no_timeout() {
        let none = Timeouts { read: NO_LIMIT, ..Timeouts::default() };
        assert_eq!(timeouts_of(Some("0s"), Some("0h")), (none.clone(), 0));
        assert_eq!(timeouts_of(Some("0s"), None), (none, 0));
        // Where one of them is a limit, that is the limit.
        let (timeouts, problems) = timeouts_of(Some("0s"), Some("5s"));
        assert_eq!((timeouts.request, timeouts.read, problems), (None, Timeouts::default().read, 0));
    }

    #[test]
    fn a_broken_duration_is_told() {
        for text in ["5", "1.5s", "-1s", "1d", ""] {
            assert_eq!(timeouts_of(Some(text), None), (Timeouts::default(), 1), "{text:?}");
        }
    }

    #[test]
    fn a_long_timeout_outlasts_the_one_between_reads() {
        assert_eq!(timeouts_of(Some("5m"), None).0.read, Duration::from_secs(300));
        assert_eq!(timeouts_of(Some("5s"), None).0.read, Timeouts::default().read);
    }

    #[test]
    fn attempts_count_the_further_ones() {
        let mut findings = findings();
        let backoff = Some("100ms".to_owned());
        let spec = HttpRouteRulesRetry { attempts: Some(2), backoff, codes: Some(vec![503, 500, 503]) };
        let retry = retry(Some(&spec), &Timeouts::default(), "spec.rules[0].retry", &mut findings);
        assert_eq!((retry.tries, retry.on_status), (3, vec![500, 503]));
        assert_eq!(retry.backoff, Some(Duration::from_millis(100)));
        assert!(findings.into_problems().is_empty());
    }

    #[test]
    fn a_limit_of_an_attempt_is_met_once_where_no_retry_is_asked_for() {
        let limited = Timeouts { backend_request: Some(Duration::from_secs(1)), ..Timeouts::default() };
        let asked = HttpRouteRulesRetry { attempts: None, backoff: None, codes: None };
        for (spec, timeouts, on_timeout) in
            [(None, &Timeouts::default(), true), (None, &limited, false), (Some(&asked), &limited, true)]
        {
            assert_eq!(retry(spec, timeouts, "retry", &mut findings()).on_timeout, on_timeout);
        }
    }

    #[test]
    fn what_is_no_retry_is_told() {
        let mut findings = findings();
        let backoff = Some("a while".to_owned());
        let spec = HttpRouteRulesRetry { attempts: Some(-1), backoff, codes: Some(vec![200]) };
        let retry = retry(Some(&spec), &Timeouts::default(), "retry", &mut findings);
        assert_eq!(retry, Retry::default());
        let fields: Vec<_> = findings.into_problems().into_iter().map(|problem| problem.origin.field).collect();
        assert_eq!(fields, ["retry.attempts", "retry.codes[0]", "retry.backoff"]);
    }
}
