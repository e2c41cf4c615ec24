//! The client stream as pingora wants it.
//!
//! Owns the adapter only: what the connection is (address, TLS, protocol) is decided by the listener, and carried to
//! every request as [`Connection`] in pingora's per-connection digest. Gathers small writes of HTTP/1 until pingora
//! flushes or waits, so that a head and a body that are ready together are one system call and one TLS record. Also
//! breaks a connection off whose time is over: the engine always has a read of the client pending, so a read that fails
//! at the deadline ends the request.

use std::any::Any;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::ALPN;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::connection::Connection;
use super::gather::Gather;
use crate::listener::stream::ClientStream;

/// A client stream with what pingora asks of one.
#[derive(Debug)]
pub(super) struct EngineStream {
    stream: ClientStream,
    connection: Arc<Connection>,
    digest: Arc<ProxyDigest>,
    timer: Option<Pin<Box<Sleep>>>,
    gather: Gather,
}

impl EngineStream {
    pub(super) fn new(stream: ClientStream, connection: Arc<Connection>) -> pingora_core::Result<Self> {
        let head = Box::new(ResponseHeader::build_no_case(200, Some(0))?);
        let carried: Box<dyn Any + Send + Sync> = Box::new(Arc::clone(&connection));
        let digest = Arc::new(ProxyDigest::new(head, Some(carried)));
        Ok(Self { stream, connection, digest, timer: None, gather: Gather::default() })
    }

    /// Resolves once the client has closed its side, however much it sent before that nobody has read. Never, if that
    /// can't be watched.
    pub(super) async fn closed(&self) {
        if self.stream.closed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sends what is gathered when the engine does not go on writing: pingora flushes a body of known length only at its
    /// end, however slowly it comes. The engine reads between its writes, so one look more tells whether it is idle.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.gather.is_empty() {
            return Ok(());
        }
        if self.gather.was_seen() {
            return match self.gather.poll_drain(cx, &mut self.stream) {
                Poll::Ready(result) => result,
                Poll::Pending => Ok(()),
            };
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Fails once the connection's deadline is over; arranges to be woken by then.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(deadline) = self.connection.deadline.get().map(Instant::from_std) else {
            return Ok(());
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        // A later deadline needs no new timer: the old one fires first and is set again then.
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if deadline <= timer.deadline() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            timer.as_mut().reset(deadline);
        }
        Ok(())
    }
}

impl AsyncRead for EngineStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(result) => {
                self.connection.deadline.touch();
                Poll::Ready(result)
            }
            Poll::Pending => {
                self.poll_idle(cx)?;
                match self.poll_deadline(cx) {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                }
            }
        }
    }
}

/// HTTP/2 gathers its frames itself.
impl AsyncWrite for EngineStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.connection.deadline.touch();
        if this.connection.http2 {
            return Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        }
        this.gather.poll_write(cx, &mut this.stream, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        !self.connection.http2 || self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.gather.poll_drain(cx, &mut this.stream))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = match this.gather.poll_drain(cx, &mut this.stream) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.stream).poll_shutdown(cx),
            drained => drained,
        };
        if ended.is_pending() {
            // Nobody waits for a client that does not take the rest when its time is over.
            this.poll_deadline(cx)?;
        }
        ended
    }
}

#[async_trait]
impl Shutdown for EngineStream {
    async fn shutdown(&mut self) {
        // The connection is being given up; a client that is gone already is no news.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for EngineStream {
    fn id(&self) -> UniqueIDType {
        // Only pools of upstream connections compare ids; a client connection never enters one.
        -1
    }
}

impl Ssl for EngineStream {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(if self.connection.http2 { ALPN::H2 } else { ALPN::H1 })
    }
}

impl GetTimingDigest for EngineStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for EngineStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetSocketDigest for EngineStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

#[async_trait]
impl Peek for EngineStream {}
