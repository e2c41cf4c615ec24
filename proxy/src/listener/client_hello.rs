//! The ClientHello: read as it arrives, before a certificate is chosen.

use std::io;

use rustls::server::{Accepted, Acceptor};

/// The record type of a ClientHello (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Why there is no ClientHello.
#[derive(Debug)]
pub(crate) enum HelloError {
    /// The client speaks something else.
    NotTls,
    /// The ClientHello is malformed, or too long.
    Malformed {
        /// What is wrong.
        error: rustls::Error,
        /// What tells the client, as a TLS record; may be empty.
        alert: Vec<u8>,
    },
}

/// Reads a ClientHello from a growing buffer.
#[derive(Default)]
pub(crate) struct HelloReader {
    acceptor: Acceptor,
    /// How many bytes of the buffer were read.
    seen: usize,
}

impl HelloReader {
    /// Reads on; `early` is all that the client sent, and longer every time. `None` when more is needed.
    pub(crate) fn read(&mut self, early: &[u8]) -> Result<Option<Accepted>, HelloError> {
        if early.first().is_some_and(|&byte| byte != HANDSHAKE) {
            return Err(HelloError::NotTls);
        }
        let mut rest = early.get(self.seen..).unwrap_or_default();
        self.seen = early.len();
        while !rest.is_empty() {
            self.acceptor.read_tls(&mut rest).map_err(|error| too_long(&error))?;
        }
        self.acceptor.accept().map_err(|(error, mut alert)| {
            let mut bytes = Vec::new();
            // Writing to memory does not fail; without its bytes the client would see the connection end.
            let _ = alert.write_all(&mut bytes);
            HelloError::Malformed { error, alert: bytes }
        })
    }
}

/// rustls refuses to buffer more; reading from memory fails for no other reason.
fn too_long(error: &io::Error) -> HelloError {
    HelloError::Malformed { error: rustls::Error::General(error.to_string()), alert: Vec::new() }
}
