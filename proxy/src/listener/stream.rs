//! Client streams: the bytes of a client connection, as the engine may see them.
//!
//! Owns the reading discipline of HTTP/1 (`stream/http1.rs`), the deadline of writes, and the gentle end of a connection
//! whose client is still sending. HTTP/2 passes through untouched once its preface has been seen.

mod buffer;
mod http1;
mod timer;
mod transport;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use genkan_routing::policy::client::ClientSettings;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use self::buffer::Buffer;
use self::http1::{Client, Http1Reader};
use self::timer::Timer;
pub(crate) use self::transport::Transport;
use super::refusal::{LINGER, Linger};
use crate::connection::ConnectionInfo;
use crate::shared::{OpenConnection, Shared};

/// Between two writes that the client takes (nginx `send_timeout`, 60 s, which ingress-nginx leaves alone).
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// The HTTP version that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientProtocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2; the preface has been seen and is the first thing that is read.
    Http2,
}

/// A client connection, past PROXY header, TLS handshake and the choice of the HTTP version.
#[derive(Debug)]
pub(crate) struct ClientStream {
    /// `None` only while it is dropped.
    connection: Option<Connection>,
    reader: Reader,
    info: Arc<ConnectionInfo>,
    shared: Arc<Shared>,
    write_deadline: Option<Instant>,
    write_timer: Timer,
}

#[derive(Debug)]
struct Connection {
    transport: Transport,
    /// Ends the count when the socket is closed, not before.
    _open: OpenConnection,
}

#[derive(Debug)]
enum Reader {
    Http1(Box<Http1Reader>),
    Http2(Buffer),
}

impl ClientStream {
    /// A stream over an established connection that has already sent `early`.
    pub(crate) fn new(
        transport: Transport,
        open: OpenConnection,
        protocol: ClientProtocol,
        early: Vec<u8>,
        info: Arc<ConnectionInfo>,
        shared: Arc<Shared>,
        settings: &ClientSettings,
    ) -> Self {
        let reader = match protocol {
            ClientProtocol::Http1 => Reader::Http1(Box::new(Http1Reader::new(settings, early))),
            ClientProtocol::Http2 => Reader::Http2(Buffer::new(early)),
        };
        Self {
            connection: Some(Connection { transport, _open: open }),
            reader,
            info,
            shared,
            write_deadline: None,
            write_timer: Timer::default(),
        }
    }

    /// What is known about the connection.
    pub(crate) fn info(&self) -> &Arc<ConnectionInfo> {
        &self.info
    }

    /// The HTTP version that it speaks.
    pub(crate) fn protocol(&self) -> ClientProtocol {
        match self.reader {
            Reader::Http1(_) => ClientProtocol::Http1,
            Reader::Http2(_) => ClientProtocol::Http2,
        }
    }

    /// Waits until there is something to serve. False when the connection came to its end before, by itself or refused.
    pub(crate) async fn ready(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        match &mut self.reader {
            Reader::Http2(_) => true,
            Reader::Http1(reader) => poll_fn(|cx| {
                let transport = &mut connection.transport;
                reader.poll_head(cx, Client { transport, info: &self.info, shared: &self.shared })
            })
            .await
            .unwrap_or(false),
        }
    }

    /// Resolves once the client has closed its side, however much it sent before that nobody has read.
    pub(crate) async fn closed(&self) -> io::Result<()> {
        let Some(connection) = &self.connection else { return Ok(()) };
        // Apart from the stream's own registration, whose readiness stays as long as something is unread.
        let socket = connection.transport.tcp().as_fd().try_clone_to_owned()?;
        let socket = TcpStream::from_std(socket.into())?;
        while !socket.ready(Interest::READABLE).await?.is_read_closed() {
            // Nothing is read: this waits for what comes next.
            let _ = socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        Ok(())
    }

    /// Runs a write; too long without one that succeeds is an error.
    fn poll_in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Transport>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if let Poll::Ready(result) = write(Pin::new(&mut connection.transport), cx) {
            self.write_deadline = None;
            return Poll::Ready(result);
        }
        let deadline = *self.write_deadline.get_or_insert_with(|| Instant::now() + SEND_TIMEOUT);
        ready!(self.write_timer.poll_passed(cx, deadline));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client stopped reading")))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(Connection { transport, .. }) = &mut this.connection else { return Poll::Ready(Ok(())) };
        match &mut this.reader {
            Reader::Http1(reader) => {
                reader.poll_read(cx, Client { transport, info: &this.info, shared: &this.shared }, buf)
            }
            Reader::Http2(early) if !early.is_empty() => {
                early.hand_out(buf, usize::MAX);
                early.shrink();
                Poll::Ready(Ok(()))
            }
            Reader::Http2(_) => Pin::new(transport).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_in_time(cx, |transport, cx| transport.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_in_time(cx, |transport, cx| transport.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.transport.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_in_time(cx, |transport, cx| transport.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_in_time(cx, |transport, cx| transport.poll_shutdown(cx))
    }
}

/// A client that is still sending the body of an answered request (413) would lose the answer to a reset, so the
/// connection lingers as after a refusal.
impl Drop for ClientStream {
    fn drop(&mut self) {
        let amid_body = matches!(&self.reader, Reader::Http1(reader) if reader.is_amid_body());
        let (true, Some(mut connection), Ok(runtime)) =
            (amid_body, self.connection.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move {
            let mut linger = Linger::default();
            let end = poll_fn(|cx| linger.poll(cx, &mut connection.transport));
            // Either way the connection ends here.
            let _ = timeout(LINGER, end).await;
        });
    }
}
