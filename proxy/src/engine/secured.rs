//! Connections to endpoints whose TLS is ours.
//!
//! pingora's TLS asks an endpoint's certificate for the server name and nothing else, and shows a certificate only if it
//! gets its private key as bytes, which Genkan does not keep. So where other names are asked for, or a certificate is to
//! be shown, the handshake is made here, and pingora gets one end of a pair of sockets:
//!
//! ```text
//!  pingora --plain--> UnixStream pair --relay--> TLS --> endpoint
//! ```
//!
//! A kept connection is compared with its peer's address, which a pair has not, unless the address is 0.0.0.0; so that
//! is what pingora is told, and the true one is part of the group. To pingora the pair ends in good order also where the
//! endpoint's connection broke off; [`Ending`] tells those whose body ends with the connection.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use genkan_routing::model::{HttpVersion, UpstreamTls, Verify};
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{Digest, GetProxyDigest};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::{TcpStream, UnixStream};
use tokio::task;
use tokio::time::timeout;

use crate::exchange::Target;
use crate::upstream::tls::Secure;

/// How a connection ended whose TLS is ours.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Whether the endpoint ended it in good order (`close_notify`). Set before pingora can see the end.
    whole: AtomicBool,
}

/// Makes the connections of one attempt.
#[derive(Debug)]
struct Connector {
    address: SocketAddr,
    tls: UpstreamTls,
    version: HttpVersion,
    secure: Secure,
    limit: Duration,
    send_timeout: Duration,
}

/// Whether pingora can't do what is asked.
pub(super) fn is_needed(tls: &UpstreamTls) -> bool {
    let names = matches!(&tls.verify, Verify::Trust(trust) if !trust.names.is_empty());
    names || tls.client.is_some()
}

/// How a connection ends; `None` for one whose TLS is not ours.
pub(super) fn ending(connection: &Digest) -> Option<Arc<Ending>> {
    let carried = connection.proxy_digest.as_ref()?.user_data.as_ref()?;
    carried.downcast_ref::<Arc<Ending>>().cloned()
}

impl Ending {
    /// Whether everything came that the endpoint wanted to say.
    pub(super) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }
}

/// What makes the connections of an attempt.
pub(super) fn connector(target: &Target<'_>, tls: &UpstreamTls) -> Arc<dyn L4Connect + Send + Sync> {
    Arc::new(Connector {
        address: target.address,
        tls: tls.clone(),
        version: if target.http2 { HttpVersion::Http2 } else { HttpVersion::Http1 },
        secure: target.secure.clone(),
        limit: target.connect_timeout,
        send_timeout: target.send_timeout,
    })
}

#[async_trait]
impl L4Connect for Connector {
    async fn connect(&self, _told: &PeerAddress) -> Result<Stream> {
        let connecting = async {
            let stream = TcpStream::connect(self.address).await.map_err(refused)?;
            stream.set_nodelay(true).map_err(refused)?;
            let secured = self.secure.handshake(&self.tls, Some(self.version), self.address, stream);
            secured.await.map_err(|error| Error::because(ErrorType::TLSHandshakeFailure, "own TLS", error))
        };
        let stream = timeout(self.limit, connecting).await;
        let stream = stream.map_err(|late| Error::because(ErrorType::ConnectTimedout, "own TLS", late))??;
        let (ours, theirs) = UnixStream::pair().map_err(refused)?;
        let ending = Arc::new(Ending::default());
        let carried: Box<dyn Any + Send + Sync> = Box::new(Arc::clone(&ending));
        let mut theirs = Stream::from(theirs);
        // The one place in which a connection can carry something of ours.
        theirs
            .set_proxy_digest(ProxyDigest::new(Box::new(ResponseHeader::build_no_case(200, Some(0))?), Some(carried)));
        task::spawn(relay(stream, ours, self.send_timeout, ending));
        Ok(theirs)
    }
}

fn refused(error: io::Error) -> Box<Error> {
    Error::because(ErrorType::ConnectError, "own TLS", error)
}

/// Bytes of a request that are passed on at once.
const CHUNK: usize = 8 << 10;

/// Passes on what comes from either side. pingora never closes one direction alone, so its end is the end of both; the
/// endpoint may close before it has read everything. One that takes nothing for `send_timeout` is given up: pingora may
/// have gone long since, which is not seen while a write waits.
async fn relay(endpoint: impl AsyncRead + AsyncWrite, own: UnixStream, send_timeout: Duration, ending: Arc<Ending>) {
    let (mut from_endpoint, mut to_endpoint) = split(endpoint);
    let (mut from_engine, mut to_engine) = own.into_split();
    let requests = async {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        // Errors of either side end the connection; the request's own failure tells of them.
        while from_engine.read_buf(&mut chunk).await.is_ok_and(|read| read > 0) {
            while !chunk.is_empty() {
                let Ok(Ok(1..)) = timeout(send_timeout, to_endpoint.write_buf(&mut chunk)).await else { return };
            }
            let Ok(Ok(())) = timeout(send_timeout, to_endpoint.flush()).await else { return };
            chunk.reserve(CHUNK);
        }
        let _ = timeout(send_timeout, to_endpoint.shutdown()).await;
    };
    let responses = async {
        if copy(&mut from_endpoint, &mut to_engine).await.is_ok() {
            ending.whole.store(true, Ordering::Release);
            if to_engine.shutdown().await.is_ok() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = responses => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_that_takes_nothing_does_not_keep_the_relay() {
        let (endpoint, held) = tokio::io::duplex(16);
        let (own, mut engine) = UnixStream::pair().unwrap();
        let relay = task::spawn(relay(endpoint, own, Duration::from_millis(10), Arc::default()));
        engine.write_all(&[b'x'; 64]).await.unwrap();
        drop(engine);
        relay.await.unwrap();
        drop(held);
    }

    #[tokio::test]
    async fn what_the_engine_sends_arrives_and_its_end_is_told() {
        let (endpoint, mut held) = tokio::io::duplex(16);
        let (own, mut engine) = UnixStream::pair().unwrap();
        let relay = task::spawn(relay(endpoint, own, Duration::from_secs(60), Arc::default()));
        let sent: Vec<u8> = (0..100_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        task::spawn(async move {
            engine.write_all(&sent).await.unwrap();
            drop(engine);
        });
        let mut got = Vec::new();
        held.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, expected);
        relay.await.unwrap();
    }
}
