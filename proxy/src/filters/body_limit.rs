//! Body limit: 413 for bodies that are too large (nginx `client_max_body_size`).
//!
//! An announced length is judged before anything else; a body without one is counted by the exchange while it streams.

use std::ops::ControlFlow;

use genkan_routing::policy::body_limit::BodyLimit;
use http::StatusCode;
use http::header::CONTENT_LENGTH;

use crate::exchange::context::RequestContext;
use crate::reply::Reply;

/// Refuses a request whose announced body is over the limit.
pub(super) fn request(ctx: &RequestContext<'_>, limit: BodyLimit) -> ControlFlow<Reply> {
    let announced = ctx.head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    match announced {
        Some(length) if limit.0 < length => ControlFlow::Break(Reply::refuse(ctx, StatusCode::PAYLOAD_TOO_LARGE)),
        _ => ControlFlow::Continue(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::testing::Request;

    #[test]
    fn an_announced_length_over_the_limit_is_413() {
        for (length, refused) in [("10", false), ("11", true), ("18446744073709551615", true)] {
            let request_ = Request::post("/").header("content-length", length);
            let flow = request_.with(|ctx| request(ctx, BodyLimit(10)));
            assert_eq!(flow.is_break(), refused, "{length}");
            if let ControlFlow::Break(reply) = flow {
                assert_eq!(reply.status, 413);
            }
        }
    }
}
