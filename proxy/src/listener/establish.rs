//! Establishing: from an accepted TCP connection to a client stream, or to a TLS connection that is passed on.
//!
//! PROXY header, ClientHello, handshake and HTTP/2 preface have one deadline together. Bytes are read into a buffer of
//! ours and looked at there, so nothing that the client sent is lost whichever way the connection goes.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use genkan_routing::model::{Protocol, Stream, UnknownName};
use genkan_routing::name::ListenerId;
use http::StatusCode;
use rustls::server::Accepted;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::client_hello::{HelloError, HelloReader};
use super::proxy_protocol::{self, ProxyHeaderError};
use super::refusal;
use super::stream::{ClientProtocol, ClientStream, Transport};
use super::table::Entrance;
use super::tls::{self, Next};
use crate::connection::{ConnectionInfo, Phase, TlsInfo};
use crate::metrics::StreamMetrics;
use crate::shared::{OpenConnection, Shared};
use crate::table::ProxyTable;

/// What an HTTP/2 connection begins with (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A fatal `unrecognized_name` alert, as a record (RFC 6066 section 3).
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// Why a connection did not get as far as a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EstablishError {
    /// The client closed, or the connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Too slow.
    #[error("the client took too long")]
    Late,
    /// A listener of TCP or UDP, which are passed on elsewhere.
    #[error("the listener does not speak HTTP")]
    NotHttp,
    /// PROXY protocol is required.
    #[error(transparent)]
    ProxyHeader(#[from] ProxyHeaderError),
    /// Plain HTTP at a TLS port.
    #[error("the client does not speak TLS")]
    NotTls,
    /// The ClientHello is malformed.
    #[error("the ClientHello is malformed: {0}")]
    ClientHello(rustls::Error),
    /// Nothing is here for the server name, and there is no default.
    #[error("nothing is here for the server name {0:?}")]
    UnknownName(Option<String>),
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) struct Accept {
    /// The connection.
    pub(crate) tcp: TcpStream,
    /// Its place in the count.
    pub(crate) open: OpenConnection,
    /// The table when it was accepted.
    pub(crate) table: Arc<ProxyTable>,
    /// What it entered by.
    pub(crate) entrance: Arc<Entrance>,
    /// Where it came from.
    pub(crate) peer: SocketAddr,
}

/// What a connection has turned out to be.
#[derive(Debug)]
pub(crate) enum Established {
    /// A client of ours.
    Client(ClientStream),
    /// Somebody else's, to be passed on.
    Passage(Box<Passage>),
}

/// A TLS connection that is passed on, unopened or opened.
#[derive(Debug)]
pub(crate) struct Passage {
    /// The connection; what is read of an opened one is what TLS carries.
    pub(crate) transport: Transport,
    /// Its place in the count.
    pub(crate) open: OpenConnection,
    /// The table that says so.
    pub(crate) table: Arc<ProxyTable>,
    /// Where it came from.
    pub(crate) peer: SocketAddr,
    /// Where it goes.
    pub(crate) stream: Arc<Stream>,
    /// Where it is counted.
    pub(crate) metrics: Arc<StreamMetrics>,
    /// Source and destination that a PROXY header announced.
    pub(crate) announced: Option<(SocketAddr, SocketAddr)>,
    /// What the client of an unopened one has sent, from the first byte of its ClientHello.
    pub(crate) early: Vec<u8>,
}

/// Where the first bytes lead to.
enum Secured {
    /// There is no TLS.
    Not(TcpStream, ClientProtocol),
    /// It was ours.
    Opened(Box<TlsStream<TcpStream>>, ClientProtocol, TlsInfo),
    /// It is the endpoint's, or what it carries is.
    PassedOn { transport: Transport, table: Arc<ProxyTable>, stream: Arc<Stream>, metrics: Arc<StreamMetrics> },
}

/// Finds out what a connection is.
pub(crate) async fn establish(accept: Accept, shared: Arc<Shared>) -> Result<Established, EstablishError> {
    let Accept { mut tcp, open, table, entrance, peer } = accept;
    let local = canonical(tcp.local_addr()?);
    let client = table.snapshot.client(&entrance.listener).clone();
    let deadline = Instant::now() + client.header_timeout;
    let steps = async {
        let mut early = Vec::new();
        let proxied = if client.proxy_protocol { read_proxy_header(&mut tcp, &mut early).await? } else { None };
        let secured = match entrance.protocol {
            Protocol::Http => {
                let protocol = sniff(&mut tcp, &mut early, client.http2).await?;
                Secured::Not(tcp, protocol)
            }
            Protocol::Https => handshake(tcp, &mut early, &entrance.listener, table, &shared).await?,
            Protocol::Tcp | Protocol::Udp => return Err(EstablishError::NotHttp),
        };
        Ok::<_, EstablishError>((secured, proxied, early))
    };
    let (secured, proxied, early) = timeout_at(deadline, steps).await.map_err(|_| EstablishError::Late)??;
    let (transport, protocol, tls) = match secured {
        Secured::Not(tcp, protocol) => (Transport::Plain(tcp), protocol, None),
        Secured::Opened(tls, protocol, info) => (Transport::Tls(tls), protocol, Some(info)),
        Secured::PassedOn { transport, table, stream, metrics } => {
            let passage = Passage { transport, open, table, peer, stream, metrics, announced: proxied, early };
            return Ok(Established::Passage(Box::new(passage)));
        }
    };
    let info = Arc::new(ConnectionInfo {
        id: open.id(),
        listener: entrance.listener.clone(),
        public_port: entrance.public_port,
        peer: canonical(peer),
        local,
        proxied,
        tls,
        requests: Default::default(),
        phase: Phase::default(),
        client_text: OnceLock::new(),
    });
    Ok(Established::Client(ClientStream::new(transport, open, protocol, early, info, shared, &client)))
}

/// IPv4 as such, also where it arrives at an IPv6 socket.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Reads more into `early`; the client's end is an error.
async fn read_more<T: AsyncRead + Unpin>(io: &mut T, early: &mut Vec<u8>) -> io::Result<()> {
    early.reserve(1024);
    match io.read_buf(early).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Reads a PROXY header from the beginning of `early` and what follows there.
pub(crate) async fn read_proxy_header(
    tcp: &mut TcpStream,
    early: &mut Vec<u8>,
) -> Result<Option<(SocketAddr, SocketAddr)>, EstablishError> {
    loop {
        if let Some(header) = proxy_protocol::parse(early)? {
            early.drain(..header.len);
            return Ok(header.addresses);
        }
        read_more(tcp, early).await?;
    }
}

/// Tells HTTP/2 from HTTP/1 by the preface, as soon as a byte differs.
async fn sniff<T: AsyncRead + Unpin>(io: &mut T, early: &mut Vec<u8>, http2: bool) -> io::Result<ClientProtocol> {
    while http2 && early.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(early) {
        read_more(io, early).await?;
    }
    Ok(if http2 && early.starts_with(HTTP2_PREFACE) { ClientProtocol::Http2 } else { ClientProtocol::Http1 })
}

async fn handshake(
    mut tcp: TcpStream,
    early: &mut Vec<u8>,
    listener: &ListenerId,
    accepted_with: Arc<ProxyTable>,
    shared: &Shared,
) -> Result<Secured, EstablishError> {
    let accepted = read_client_hello(&mut tcp, early).await?;
    // Names and certificates as of now, unless the listener has gone while the client was waiting.
    let latest = shared.table.load_full();
    let table = if latest.listeners.tls.serves(listener) { latest } else { accepted_with };
    let hello = accepted.client_hello();
    let (config, goes_on) = match table.listeners.tls.next(&table.snapshot, listener, &hello, &shared.metrics) {
        Next::Open(config) => (config, None),
        Next::OpenStream(config, stream, metrics) => (config, Some((stream, metrics))),
        Next::PassOn(stream, metrics) => {
            return Ok(Secured::PassedOn { transport: Transport::Plain(tcp), table, stream, metrics });
        }
        Next::Refuse(how) => {
            let name = hello.server_name().map(str::to_owned);
            say_last(&mut tcp, last_words(how)).await;
            return Err(EstablishError::UnknownName(name));
        }
    };
    early.clear();
    let opening = StartHandshake::from_parts(accepted, tcp).into_stream(config);
    if let Some((stream, metrics)) = goes_on {
        let transport = Transport::Tls(Box::new(opening.await?));
        return Ok(Secured::PassedOn { transport, table, stream, metrics });
    }
    drop(table);
    let mut stream = opening.await?;
    let session = stream.get_ref().1;
    let tls = tls::describe(session);
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    // Without the preface it is the engine that refuses, as HTTP/2 has words for it.
    let protocol = if is_http2 { ClientProtocol::Http2 } else { ClientProtocol::Http1 };
    if is_http2 {
        sniff(&mut stream, early, true).await?;
    }
    Ok(Secured::Opened(Box::new(stream), protocol, tls))
}

fn last_words(how: UnknownName) -> &'static [u8] {
    match how {
        UnknownName::Alert => UNRECOGNIZED_NAME,
        UnknownName::Close => &[],
    }
}

/// Reads a ClientHello into `early`, where all its bytes stay.
async fn read_client_hello(tcp: &mut TcpStream, early: &mut Vec<u8>) -> Result<Accepted, EstablishError> {
    let mut reader = HelloReader::default();
    loop {
        match reader.read(early) {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => read_more(tcp, early).await?,
            Err(HelloError::NotTls) => {
                refuse_plaintext(tcp, early).await;
                return Err(EstablishError::NotTls);
            }
            Err(HelloError::Malformed { error, alert }) => {
                say_last(tcp, &alert).await;
                return Err(EstablishError::ClientHello(error));
            }
        }
    }
}

/// Answers plain HTTP at a TLS port in words that its user can read, as nginx does.
async fn refuse_plaintext(tcp: &mut TcpStream, early: &[u8]) {
    if early.first().is_some_and(u8::is_ascii_uppercase) {
        let text = "The plain HTTP request was sent to HTTPS port";
        say_last(tcp, &refusal::response(StatusCode::BAD_REQUEST, Some(text)).0).await;
    }
}

/// Writes and closes in a way that lets the client read it. Failing to is no news: the connection ends anyhow.
async fn say_last(tcp: &mut TcpStream, bytes: &[u8]) {
    if tcp.write_all(bytes).await.is_ok() {
        let mut linger = refusal::Linger::default();
        let end = std::future::poll_fn(|cx| linger.poll(cx, tcp));
        let _ = tokio::time::timeout(refusal::LINGER, end).await;
    }
}
