//! Why a request failed: whose fault it is, which status it gives, and whether another endpoint may be tried.
//!
//! One function maps a failure to its status; 502, 503 and 504 each have only their own reasons.

use http::StatusCode;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The client's connection broke or it went away (nginx logs 499).
    #[error("the client closed the connection")]
    ClientGone,
    /// The client's request is malformed.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// The client took too long to send its request's body.
    #[error("the client took too long to send its request")]
    ClientTimeout,
    /// The request's body is over the limit.
    #[error("the request's body is over the limit")]
    BodyTooLarge,
    /// The cluster has no endpoint.
    #[error("no endpoint of {0} is ready")]
    NoEndpoint(String),
    /// The endpoint refused the connection, or could not be reached.
    #[error("cannot connect to {0}")]
    ConnectFailed(String),
    /// The endpoint did not accept the connection in time.
    #[error("time-out while connecting to {0}")]
    ConnectTimeout(String),
    /// The TLS handshake with the endpoint failed.
    #[error("TLS handshake with {0} failed")]
    UpstreamTls(String),
    /// The endpoint closed or reset the connection before its response was complete.
    #[error("{0} closed the connection")]
    UpstreamClosed(String),
    /// The endpoint's response is malformed.
    #[error("{0} sent a malformed response")]
    UpstreamInvalid(String),
    /// The endpoint did not take the request or give its response in time.
    #[error("time-out while talking to {0}")]
    UpstreamTimeout(String),
    /// Another attempt would be made, but the cluster had too many of them.
    #[error("the retry budget of {0} is used up")]
    RetriesSpent(String),
    /// The rule's total time is over.
    #[error("the request's time is over")]
    RequestTimeout,
    /// Something that must not happen.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Failure {
    /// The status that the client gets.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::ClientGone => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::ClientTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoEndpoint(_) | Self::RetriesSpent(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectFailed(_) | Self::UpstreamTls(_) | Self::UpstreamClosed(_) | Self::UpstreamInvalid(_) => {
                StatusCode::BAD_GATEWAY
            }
            Self::ConnectTimeout(_) | Self::UpstreamTimeout(_) | Self::RequestTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
