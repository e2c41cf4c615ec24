//! Refusals: the answers that a listener gives by itself, before there is a request to route.
//!
//! They are written, then the connection is closed in a way that lets the client read them: the write side first, and
//! the rest once the client closed its own or has had its time. Closing at once would reset the connection while the
//! client still sends, and the reset would overtake the answer (RFC 9112 section 9.6).

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long a client may take to read a refusal and close (nginx `lingering_timeout`).
pub(super) const LINGER: Duration = Duration::from_secs(5);
/// How many bytes of a client that is being closed are read and forgotten.
const MAX_FORGOTTEN: usize = 16 << 20;

/// A refusal on its way.
#[derive(Debug)]
pub(super) struct Refusal {
    bytes: Vec<u8>,
    body: usize,
    written: usize,
    linger: Option<Linger>,
    /// When the connection is closed whatever happened.
    pub(super) deadline: Instant,
}

/// The end of a connection: nothing more to say, but the client may still be talking.
#[derive(Debug, Default)]
pub(super) struct Linger {
    shut: bool,
    forgotten: usize,
}

impl Refusal {
    /// The answer of this status.
    pub(super) fn new(status: StatusCode) -> Self {
        let (bytes, body) = response(status, None);
        Self { bytes, body, written: 0, linger: None, deadline: Instant::now() + LINGER }
    }

    /// Bytes of the answer, and of its body.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.bytes.len(), self.body)
    }

    /// Writes, closes the write side, and waits for the client's end.
    pub(super) fn poll<T>(&mut self, cx: &mut Context<'_>, transport: &mut T) -> Poll<io::Result<()>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *transport).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.linger.get_or_insert_default().poll(cx, transport)
    }
}

impl Linger {
    /// Closes the write side and reads until the client closes its own.
    pub(super) fn poll<T>(&mut self, cx: &mut Context<'_>, transport: &mut T) -> Poll<io::Result<()>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        if !self.shut {
            ready!(Pin::new(&mut *transport).poll_shutdown(cx))?;
            self.shut = true;
        }
        let mut space = [MaybeUninit::uninit(); 8192];
        loop {
            let mut read = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut *transport).poll_read(cx, &mut read))?;
            self.forgotten += read.filled().len();
            if read.filled().is_empty() || self.forgotten > MAX_FORGOTTEN {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// A complete response that closes the connection, and the size of its body. `text` replaces the status's own words in
/// the body.
pub(super) fn response(status: StatusCode, text: Option<&str>) -> (Vec<u8>, usize) {
    let reason = status.canonical_reason().unwrap_or("Error");
    let code = status.as_u16();
    let body = format!("{code} {}\n", text.unwrap_or(reason));
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now()).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {code} {reason}\r\nDate: {date}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    ((head + &body).into_bytes(), body.len())
}
