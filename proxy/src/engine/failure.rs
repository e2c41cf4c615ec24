//! pingora's errors in our words.

use std::fmt::Display;
use std::io;

use pingora_core::{Error, ErrorSource, ErrorType};

use crate::error::Failure;

/// The error type of failures that the exchange decided: what went wrong is kept there.
pub(super) const DECIDED: ErrorType = ErrorType::new("decided by the exchange");

/// An error that ends the request; the exchange knows why.
pub(super) fn decided() -> Box<Error> {
    Error::new(DECIDED)
}

/// An error that ends the attempt, not the request: its time is over.
pub(super) fn attempt_over() -> Box<Error> {
    Error::new_up(ErrorType::WriteTimedout)
}

/// Why talking to `endpoint` failed; `None` when the exchange decided it.
pub(super) fn read(error: &Error, endpoint: Option<&dyn Display>) -> Option<Failure> {
    if *error.etype() == DECIDED {
        return None;
    }
    Some(match error.esource() {
        ErrorSource::Upstream => {
            upstream(error, endpoint.map_or_else(|| "the endpoint".to_owned(), ToString::to_string))
        }
        ErrorSource::Downstream => client(error),
        ErrorSource::Internal | ErrorSource::Unset => Failure::Internal(error.to_string()),
    })
}

fn upstream(error: &Error, endpoint: String) -> Failure {
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Failure::ConnectTimeout(endpoint),
        ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::ConnectProxyFailure
        | ErrorType::BindError
        | ErrorType::SocketError => Failure::ConnectFailed(endpoint),
        ErrorType::TLSHandshakeFailure
        | ErrorType::TLSWantX509Lookup
        | ErrorType::HandshakeError
        | ErrorType::InvalidCert => Failure::UpstreamTls(endpoint),
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Failure::UpstreamTimeout(endpoint),
        ErrorType::InvalidHTTPHeader | ErrorType::H1Error | ErrorType::InvalidH2 | ErrorType::H2Downgrade => {
            Failure::UpstreamInvalid(endpoint)
        }
        _ => Failure::UpstreamClosed(endpoint),
    }
}

fn client(error: &Error) -> Failure {
    // What the client's stream itself found wrong.
    let cause = error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind);
    match error.etype() {
        _ if cause == Some(io::ErrorKind::InvalidData) => Failure::BadRequest("the body is malformed"),
        _ if cause == Some(io::ErrorKind::TimedOut) => Failure::ClientTimeout,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Failure::ClientTimeout,
        ErrorType::InvalidHTTPHeader | ErrorType::H1Error => Failure::BadRequest("the request is malformed"),
        _ => Failure::ClientGone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_decides_whose_fault_it_is() {
        let endpoint: &dyn Display = &"192.0.2.1:80";
        let read = |kind, source: fn(&mut Error)| {
            let mut error = Error::new(kind);
            source(&mut error);
            read(&error, Some(endpoint))
        };
        let address = || "192.0.2.1:80".to_owned();
        for (kind, expected) in [
            (ErrorType::ConnectTimedout, Failure::ConnectTimeout(address())),
            (ErrorType::ConnectRefused, Failure::ConnectFailed(address())),
            (ErrorType::TLSHandshakeFailure, Failure::UpstreamTls(address())),
            (ErrorType::ReadTimedout, Failure::UpstreamTimeout(address())),
            (ErrorType::ConnectionClosed, Failure::UpstreamClosed(address())),
            (ErrorType::InvalidHTTPHeader, Failure::UpstreamInvalid(address())),
        ] {
            assert_eq!(read(kind, Error::as_up), Some(expected));
        }
        assert_eq!(read(ErrorType::ReadTimedout, Error::as_down), Some(Failure::ClientTimeout));
        assert_eq!(read(ErrorType::ConnectionClosed, Error::as_down), Some(Failure::ClientGone));
        assert!(matches!(read(ErrorType::InternalError, Error::as_in), Some(Failure::Internal(_))));
        assert_eq!(read(DECIDED, Error::as_up), None);
    }
}
