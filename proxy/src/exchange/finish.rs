//! Finish: what is counted and logged of a request once it is over.

use std::time::{Instant, SystemTime};

use genkan_routing::model::RuleLabels;
use http::{HeaderMap, StatusCode};
use smallvec::SmallVec;

use super::Exchange;
use super::context::RequestContext;
use super::intake::Chosen;
use crate::access_log::{self, Format, LogRecord};
use crate::metrics::{Observation, UpstreamTimes};

/// What the engine knows about a request that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished<'a> {
    /// The request's head, as the client sent it.
    pub(crate) head: &'a http::request::Parts,
    /// The final response's head as the client got it; `None` when it got none.
    pub(crate) response: Option<&'a http::response::Parts>,
    /// Bytes of the request's body that were read.
    pub(crate) body_read: u64,
    /// Bytes of the response's body that were sent.
    pub(crate) body_sent: u64,
}

/// Sizes of both messages, heads included.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    request: u64,
    response: u64,
}

impl Exchange {
    /// Counts and logs the request.
    pub(crate) fn finish(&mut self, finished: Finished<'_>) {
        let now = Instant::now();
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.end(now);
        }
        let status = self.final_status(finished.response);
        let format = self.wanted_format(status);
        if format.is_none() && self.metrics.is_none() {
            return;
        }
        let lengths = Lengths {
            request: request_length(finished.head) + finished.body_read,
            response: finished.response.map_or(0, |head| response_length(&head.headers)) + finished.body_sent,
        };
        if let Some(metrics) = &self.metrics {
            let upstream = match self.attempts.as_slice() {
                [only] => Some(UpstreamTimes { connect: only.connected, header: only.head, response: only.ended }),
                _ => None,
            };
            metrics.observe(&Observation {
                method: &finished.head.method,
                status: status.as_u16(),
                request_time: now.saturating_duration_since(self.started),
                request_length: lengths.request,
                bytes_sent: lengths.response,
                upstream,
            });
        }
        if let Some(format) = format {
            self.with_context(finished.head, now, |ctx| self.log(ctx, format, finished, status, lengths));
        }
    }

    /// The format of the line that this request gets; `None` when it gets none.
    fn wanted_format(&self, status: StatusCode) -> Option<&Format> {
        let format = self.log_format()?;
        let wanted = match self.rule_entry() {
            // Rules of no user's: the default backend.
            Some(entry) if entry.rule.labels.ingress.is_empty() => {
                entry.rule.access_log && self.access_log().default_backend
            }
            Some(entry) => entry.rule.access_log,
            // Without a rule it was refused before it was routed, which is always logged as by nginx, or nothing serves it.
            None => status != StatusCode::NOT_FOUND || self.access_log().default_backend,
        };
        wanted.then_some(format)
    }

    /// The status that the client got, or that of the failure that kept it from getting one (499).
    fn final_status(&self, response: Option<&http::response::Parts>) -> StatusCode {
        let failed = || self.failure.as_ref().map_or(StatusCode::INTERNAL_SERVER_ERROR, |failure| failure.status());
        response.map_or_else(failed, |head| head.status)
    }

    fn log(
        &self,
        ctx: &RequestContext<'_>,
        format: &Format,
        finished: Finished<'_>,
        status: StatusCode,
        lengths: Lengths,
    ) {
        let attempts: SmallVec<[access_log::Attempt; 1]> = self.attempts.iter().map(Into::into).collect();
        let none = RuleLabels::default();
        let (upstream_name, alternative_upstream_name) = self.upstream_names();
        self.shared.access_log.log(
            format,
            &LogRecord {
                connection: &self.connection,
                head: finished.head,
                client: ctx.client,
                scheme: ctx.scheme,
                authority: ctx.authority,
                port: ctx.port,
                host: ctx.host,
                path: ctx.path,
                request_id: &self.request_id,
                labels: self.rule_entry().map_or(&none, |entry| &entry.rule.labels),
                upstream_name,
                alternative_upstream_name,
                status: status.as_u16(),
                response: finished.response.map(|head| &head.headers),
                upstream_response: self.upstream_response.as_ref(),
                request_length: lengths.request,
                body_bytes_sent: finished.body_sent,
                bytes_sent: lengths.response,
                request_time: ctx.now.saturating_duration_since(self.started),
                attempts: &attempts,
                now: SystemTime::now(),
            },
        );
    }

    /// The names of the primary cluster, and of the canary's if it took the request; else empty.
    fn upstream_names(&self) -> (&str, &str) {
        let Some(choice) = self.choice else { return ("", "") };
        let name = |number| self.table.cluster(number).map_or("", |entry| &*entry.cluster.name);
        match choice.backend {
            Chosen::Own(_) => (name(choice.cluster), ""),
            Chosen::Canary => {
                let primary = self.rule_entry().and_then(|entry| entry.backends.first()?.cluster);
                (primary.map_or("", name), name(choice.cluster))
            }
        }
    }
}

/// The length of a request's head in its HTTP/1.1 form (`$request_length`), whatever the version.
fn request_length(head: &http::request::Parts) -> u64 {
    let target = head.uri.path_and_query().map_or(1, |target| target.as_str().len());
    // `METHOD target HTTP/1.1`, and the empty line.
    sum(&head.headers, head.method.as_str().len() + target + " HTTP/1.1\r\n ".len() + 2)
}

/// The length of a response's head in its HTTP/1.1 form.
fn response_length(headers: &HeaderMap) -> u64 {
    sum(headers, "HTTP/1.1 200 OK\r\n".len() + 2)
}

fn sum(headers: &HeaderMap, line: usize) -> u64 {
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum();
    u64::try_from(fields + line).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_text_form() {
        let text = "GET /a?b HTTP/1.1\r\nhost: test\r\nx: y\r\n\r\n";
        let head = http::Request::get("/a?b").header("host", "test").header("x", "y").body(()).unwrap().into_parts().0;
        assert_eq!(request_length(&head), text.len() as u64);
    }
}
