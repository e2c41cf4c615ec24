//! TCP: one connection's life, from its acceptance, or the ClientHello of TLS that is passed through, or the handshake of
//! TLS whose content is passed on, to the end of both directions.
//!
//! Each direction ends by itself: when one side has closed its sending half, the other side is told so and may go on
//! sending (nginx with `proxy_half_close on`). No buffer is kept while nothing moves.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use genkan_routing::model::Stream;
use genkan_routing::policy::stream::StreamSettings;
use smallvec::SmallVec;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, split};
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use super::record::{BAD_REQUEST, Identity, OK, Running};
use crate::listener::establish::{Accept, EstablishError, Passage, read_proxy_header};
use crate::listener::proxy_protocol;
use crate::listener::socket;
use crate::listener::stream::Transport;
use crate::metrics::StreamMetrics;
use crate::random;
use crate::shared::Shared;
use crate::table::{ClusterEntry, ProxyTable};
use crate::upstream::endpoint::Picked;
use crate::upstream::health::Outcome;

/// Bytes that are moved at once.
const CHUNK: usize = 64 << 10;

thread_local! {
    /// Only in use while a direction is polled, so one does for all connections of a worker.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// What one look at a direction gave.
enum Moved {
    /// What there was has been passed on; how many bytes.
    All(usize),
    /// This was read, and only so many bytes of it could be passed on at once.
    Some(usize, Vec<u8>),
    /// The sender has closed its half.
    End,
}

/// A connection to an endpoint.
enum Upstream {
    Plain(TcpStream),
    /// TLS that is ours: what a policy asks of the endpoint.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection of which it is known where it goes.
struct Passing {
    client: Transport,
    table: Arc<ProxyTable>,
    stream: Arc<Stream>,
    /// Source and destination that a PROXY header announced.
    announced: Option<(SocketAddr, SocketAddr)>,
    /// What the client has sent so far.
    early: Vec<u8>,
    running: Running,
}

/// Passes a connection on. Its place in the count is held to its end.
pub(crate) async fn serve(accept: Accept, stream: Arc<Stream>, shared: Arc<Shared>) {
    let Accept { tcp: mut client, open, table, entrance, peer } = accept;
    // Ends before `open`: whoever waits for the last connection finds its line in the log.
    let mut running = begin(&client, peer, open.id(), entrance.metrics(&shared.metrics), &shared);
    running.set_log(table.logs().own(stream.settings.as_ref()));
    drop(entrance);
    let mut early = Vec::new();
    let announced = match client_header(&mut client, &mut early, &stream, &table).await {
        Ok(announced) => announced,
        Err(error) => {
            tracing::debug!(%peer, %error, "a connection has no PROXY header");
            return running.set_status(BAD_REQUEST);
        }
    };
    Passing { client: Transport::Plain(client), table, stream, announced, early, running }.run().await;
}

/// Passes a TLS connection on, unopened, or what an opened one carries. Its place in the count is held to its end.
pub(crate) async fn pass_through(passage: Passage, shared: Arc<Shared>) {
    let Passage { transport: client, open, table, peer, stream, metrics, announced, early } = passage;
    // Ends before `open`, as above.
    let running = begin(client.tcp(), peer, open.id(), metrics, &shared);
    Passing { client, table, stream, announced, early, running }.run().await;
}

fn begin(client: &TcpStream, peer: SocketAddr, id: u64, metrics: Arc<StreamMetrics>, shared: &Arc<Shared>) -> Running {
    let local = client.local_addr().unwrap_or(peer);
    Running::new(shared, metrics, Identity { protocol: "TCP", id, peer, local, announced: None })
}

impl Passing {
    async fn run(self) {
        let Self { client, table, stream, announced, early, mut running } = self;
        let settings = super::settings(&table, &stream).clone();
        running.set_log(table.logs().own(stream.settings.as_ref()));
        if let Some((source, _)) = announced {
            running.announce(source);
        }
        running.received(early.len());
        let header = stream.send_proxy_protocol.then(|| {
            let (source, destination) = announced.unwrap_or_else(|| running.addresses());
            proxy_protocol::v1_header(source, destination)
        });
        let header = header.as_deref().unwrap_or_default().as_bytes();
        let Some(cluster) = super::choose(&table, &stream, random::next()) else { return };
        running.goes_to(&cluster.cluster.name);
        let Some((mut upstream, _picked)) = connect(cluster, &settings, header, &mut running).await else { return };
        // Connections may last for days, and old tables with them.
        drop((table, stream));
        if !early.is_empty() && upstream.write_all(&early).await.is_err() {
            return;
        }
        drop(early);
        let idle = settings.timeout;
        match (client, upstream) {
            (Transport::Plain(mut tcp), Upstream::Plain(mut upstream)) => {
                pass_on(tcp.split(), upstream.split(), idle, &mut running).await;
            }
            (Transport::Tls(tls), Upstream::Plain(mut upstream)) => {
                pass_on(split(tls), upstream.split(), idle, &mut running).await;
            }
            (client, Upstream::Tls(upstream)) => pass_on(split(client), split(upstream), idle, &mut running).await,
        }
    }
}

impl Upstream {
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.write_all(bytes).await,
            Self::Tls(tls) => {
                tls.write_all(bytes).await?;
                tls.flush().await
            }
        }
    }
}

/// Moves bytes both ways until both ends are done, one breaks off, or nothing moves for too long.
async fn pass_on<R, W, S, X>(client: (R, W), upstream: (S, X), idle: Duration, running: &mut Running)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: AsyncRead + Unpin,
    X: AsyncWrite + Unpin,
{
    running.set_status(OK);
    let both = async {
        tokio::try_join!(
            pump(client.0, upstream.1, |bytes| running.received(bytes)),
            pump(upstream.0, client.1, |bytes| running.sent(bytes)),
        )
    };
    tokio::select! {
        ended = both => if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke off");
        },
        () = running.traffic().idle(idle) => tracing::debug!("nothing moved on a connection for too long"),
    }
}

/// Reads the PROXY header if there has to be one. What follows it stays in `early`.
async fn client_header(
    tcp: &mut TcpStream,
    early: &mut Vec<u8>,
    stream: &Stream,
    table: &ProxyTable,
) -> Result<Option<(SocketAddr, SocketAddr)>, EstablishError> {
    if !stream.accept_proxy_protocol {
        return Ok(None);
    }
    timeout(super::settings(table, stream).header_timeout, read_proxy_header(tcp, early))
        .await
        .map_err(|_| EstablishError::Late)?
}

/// Connects to an endpoint: to the next one where that fails, as the settings say. `header` is the PROXY header.
async fn connect(
    cluster: &ClusterEntry,
    settings: &StreamSettings,
    header: &[u8],
    running: &mut Running,
) -> Option<(Upstream, Picked)> {
    let began = Instant::now();
    let mut tried: SmallVec<[SocketAddr; 4]> = SmallVec::new();
    loop {
        let picked = cluster.balancer.pick_in_turn(&tried, Instant::now().into_std())?;
        let address = picked.address();
        if tried.contains(&address) {
            // That was the last one.
            return None;
        }
        let attempt = Instant::now();
        match timeout(settings.connect_timeout, connect_to(cluster, address, header)).await {
            Ok(Ok(upstream)) => {
                cluster.balancer.note(&picked, Outcome::Connected, Instant::now().into_std());
                running.tried(address, Some(attempt.elapsed()));
                return Some((upstream, picked));
            }
            Ok(Err(error)) => tracing::debug!(%address, %error, "an endpoint can't be reached"),
            Err(_) => tracing::debug!(%address, "an endpoint does not answer"),
        }
        cluster.balancer.note(&picked, Outcome::Failed, Instant::now().into_std());
        running.tried(address, None);
        tried.push(address);
        if !tries_again(settings, tried.len(), began.elapsed()) {
            return None;
        }
    }
}

/// Connects to an endpoint, and makes TLS of it where its cluster has that. The PROXY header goes before TLS: whoever
/// reads it need not be who opens that.
async fn connect_to(cluster: &ClusterEntry, address: SocketAddr, header: &[u8]) -> io::Result<Upstream> {
    let mut tcp = TcpStream::connect(address).await?;
    if let Err(error) = socket::tune(&SockRef::from(&tcp)) {
        tracing::debug!(%address, %error, "a connection keeps the system's options");
    }
    if !header.is_empty() {
        tcp.write_all(header).await?;
    }
    Ok(match &cluster.cluster.tls {
        None => Upstream::Plain(tcp),
        Some(tls) => Upstream::Tls(Box::new(cluster.secure.handshake(tls, None, address, tcp).await?)),
    })
}

/// Whether another endpoint may be tried after so many, and so much time.
fn tries_again(settings: &StreamSettings, tried: usize, elapsed: Duration) -> bool {
    let limit = usize::try_from(settings.next_upstream_tries).unwrap_or(usize::MAX);
    settings.next_upstream
        && (limit == 0 || tried < limit)
        && settings.next_upstream_timeout.is_none_or(|limit| elapsed < limit)
}

/// Moves what `from` sends to `to` until `from` has closed its half, and then closes ours: with a FIN, in TLS after
/// `close_notify`.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: impl Fn(usize),
) -> io::Result<()> {
    loop {
        let step = poll_fn(|cx| BUFFER.with_borrow_mut(|buffer| poll_move(&mut from, &mut to, cx, buffer)));
        match step.await? {
            Moved::All(bytes) => moved(bytes),
            Moved::Some(mut bytes, rest) => {
                moved(bytes);
                let mut left = rest.get(bytes..).unwrap_or_default();
                while !left.is_empty() {
                    bytes = to.write(left).await?;
                    left = left.get(bytes..).filter(|_| bytes > 0).ok_or(io::ErrorKind::WriteZero)?;
                    moved(bytes);
                }
            }
            Moved::End => {
                // A side that is gone needs not be told.
                let _ = to.shutdown().await;
                return Ok(());
            }
        }
        // TLS may have taken more than it could send.
        to.flush().await?;
        // Where both sides are always ready, others get their turn.
        consume_budget().await;
    }
}

/// Nothing stays in `buffer`: other connections use it next.
fn poll_move(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<Moved>> {
    let mut read = ReadBuf::new(buffer);
    ready!(Pin::new(from).poll_read(cx, &mut read))?;
    let read = read.filled();
    if read.is_empty() {
        return Poll::Ready(Ok(Moved::End));
    }
    let written = match Pin::new(to).poll_write(cx, read) {
        Poll::Ready(written) => written?,
        Poll::Pending => 0,
    };
    Poll::Ready(Ok(if written == read.len() { Moved::All(written) } else { Moved::Some(written, read.to_vec()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_end_with_their_number_or_their_time_or_at_once() {
        let settings = StreamSettings::default();
        let soon = Duration::from_secs(1);
        assert!(tries_again(&settings, 2, soon));
        assert!(!tries_again(&settings, 3, soon));
        assert!(!tries_again(&settings, 1, Duration::from_secs(600)));
        assert!(!tries_again(&StreamSettings { next_upstream: false, ..settings.clone() }, 1, soon));
        let unlimited = StreamSettings { next_upstream_tries: 0, next_upstream_timeout: None, ..settings };
        assert!(tries_again(&unlimited, 1000, Duration::from_secs(86_400)));
    }
}
