//! The engine: HTTP on both sides. The only module that names pingora.
//!
//! Owns HTTP/1.1 and HTTP/2 framing, connections to endpoints and their pools, and the order of pingora's phases.
//! Decides nothing about a request: every phase asks the [`Exchange`](crate::exchange::Exchange), which works on plain
//! heads.
//!
//! ```text
//!  ClientStream --EngineStream--> pingora HttpProxy --phases.rs--> exchange (route, filters, attempts, log line)
//!                                       |  peer.rs, heads.rs, failure.rs: our words <-> pingora's
//!                                       +--> pool of endpoint connections, one per worker
//! ```

mod ahead;
mod authentication;
mod connection;
mod copied_body;
mod failure;
mod gather;
mod heads;
mod pause;
mod peer;
mod phases;
mod replay;
mod request;
mod request_body;
mod secured;
mod stream;
mod uses;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use genkan_routing::model::ProxySettings;
use genkan_routing::policy::client::ClientSettings;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::sync::watch;

use self::connection::Connection;
use self::phases::Phases;
use self::stream::EngineStream;
use crate::listener::stream::{ClientProtocol, ClientStream};
use crate::shared::Shared;

/// The most attempts that pingora makes for one request. The rule's own limit is judged before; this one only bounds
/// a rule without limit.
const MAX_ATTEMPTS: usize = 1000;

/// The HTTP/2 receive window of a client's request body, per stream and per connection: an upload's rate is at most
/// this much per round trip (RFC 9113, section 5.2).
const H2_STREAM_WINDOW: u32 = 1 << 20;

/// What every field adds to the size of a head on HTTP/2 (RFC 9113, section 6.5.2).
const H2_FIELD_OVERHEAD: u32 = 32;

/// What an engine is made with; other values need another engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EngineSettings {
    /// Kept connections to endpoints.
    keepalive_connections: u32,
    http2: Http2Settings,
}

/// What an HTTP/2 connection of a client begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Http2Settings {
    max_concurrent_streams: u32,
    /// Bytes of a head, counted as the settings of HTTP/2 do.
    max_header_list: u32,
}

/// The HTTP engine of one worker.
pub(crate) struct Engine {
    proxy: Arc<HttpProxy<Phases>>,
    shared: Arc<Shared>,
    settings: EngineSettings,
}

impl EngineSettings {
    fn of(settings: &ProxySettings) -> Self {
        let http2 = Http2Settings::of(&settings.client);
        Self { keepalive_connections: settings.upstream.keepalive_connections, http2 }
    }
}

impl Http2Settings {
    fn of(client: &ClientSettings) -> Self {
        let overhead = H2_FIELD_OVERHEAD * u32::from(client.max_headers);
        Self {
            max_concurrent_streams: client.max_concurrent_streams,
            max_header_list: client.max_head.saturating_add(overhead),
        }
    }

    fn options(self) -> H2Options {
        let mut options = H2Options::default();
        options
            .max_header_list_size(self.max_header_list)
            .max_concurrent_streams(self.max_concurrent_streams)
            .initial_window_size(H2_STREAM_WINDOW)
            .initial_connection_window_size(2 * H2_STREAM_WINDOW);
        options
    }
}

impl Engine {
    /// An engine with its own pool of endpoint connections, as the table of now says. Make it on the worker's thread.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let settings = EngineSettings::of(&shared.table.load().snapshot.model().settings);
        let conf = ServerConf {
            threads: 1,
            max_retries: MAX_ATTEMPTS,
            // pingora keeps at least one connection per pool, and an idle time of zero is some milliseconds to it. So
            // where none is kept, every request to an HTTP/1 endpoint says that it is the last one.
            upstream_keepalive_pool_size: usize::try_from(settings.keepalive_connections.max(1)).unwrap_or(1),
            ..ServerConf::default()
        };
        let mut proxy = http_proxy(&Arc::new(conf), Phases::new(Arc::clone(&shared)));
        // Not pingora's h2c sniffing: the listener has done it, under a deadline.
        proxy.server_options = Some(HttpServerOptions::default());
        proxy.h2_options = Some(settings.http2.options());
        Self { proxy: Arc::new(proxy), shared, settings }
    }

    /// Whether the table of now asks for another engine.
    pub(crate) fn is_outdated(&self) -> bool {
        self.settings != EngineSettings::of(&self.shared.table.load().snapshot.model().settings)
    }

    /// Serves a client connection until it ends. When `shutdown` turns true, requests under way are finished and no
    /// further one is taken.
    pub(crate) async fn serve(&self, stream: ClientStream, mut shutdown: watch::Receiver<bool>) {
        let http2 = stream.protocol() == ClientProtocol::Http2;
        let connection = Arc::new(Connection::new(Arc::clone(stream.info()), http2));
        let watch = connection.watch();
        if *shutdown.borrow_and_update() {
            connection.close();
        }
        let stream = match EngineStream::new(stream, Arc::clone(&connection)) {
            Ok(stream) => Box::new(stream),
            Err(error) => return tracing::error!(%error, "cannot take a client connection"),
        };
        let served = self.process(stream, &connection, &watch);
        tokio::pin!(served);
        loop {
            tokio::select! {
                biased;
                _ = &mut served => return,
                changed = shutdown.changed() => {
                    connection.close();
                    if changed.is_err() {
                        // Nobody is left to tell; only the connection itself can end.
                        served.await;
                        return;
                    }
                }
                () = idle(&connection, self.idle_limit(&connection)), if http2 => {
                    if connection.closes() {
                        // The client does not go although it was told to.
                        return;
                    }
                    connection.close();
                }
            }
        }
    }

    /// Runs a connection to its end. On HTTP/2 its listener may have settings of its own.
    async fn process(&self, stream: Box<EngineStream>, connection: &Connection, watch: &watch::Receiver<bool>) {
        let own = connection.http2.then(|| {
            let table = self.shared.table.load();
            Http2Settings::of(table.snapshot.client(&connection.info.listener))
        });
        match own.filter(|own| *own != self.settings.http2) {
            None => drop(self.proxy.process_new(stream, watch).await),
            Some(own) => {
                let app = Arc::new(OwnHttp2 { proxy: Arc::clone(&self.proxy), options: own.options() });
                drop(app.process_new(stream, watch).await);
            }
        }
    }

    /// Closes idle HTTP/1 connections and lets HTTP/2 connections go away once their streams have ended. Final: the
    /// engine takes no further request.
    pub(crate) async fn close_idle(&self) {
        self.proxy.cleanup().await;
    }

    /// How long an HTTP/2 connection may be without a stream. Without keep-alive it ends after its first request, so
    /// this is the time for that one's head.
    fn idle_limit(&self, connection: &Connection) -> Duration {
        let table = self.shared.table.load();
        let settings = table.snapshot.client(&connection.info.listener);
        if settings.keep_alive.is_zero() { settings.header_timeout } else { settings.keep_alive }
    }
}

/// The proxy, for an HTTP/2 connection with settings of its own. It shares everything with the others, the connections
/// to endpoints above all.
struct OwnHttp2 {
    proxy: Arc<HttpProxy<Phases>>,
    options: H2Options,
}

#[async_trait]
impl HttpServerApp for OwnHttp2 {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &watch::Receiver<bool>,
    ) -> Option<ReusedHttpStream> {
        self.proxy.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(self.options.clone())
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options.as_ref()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Returns once an HTTP/2 connection had no stream during one whole `limit`.
async fn idle(connection: &Connection, limit: Duration) {
    loop {
        let before = connection.streams_begun.load(Ordering::Relaxed);
        tokio::time::sleep(limit).await;
        let quiet = connection.streams_begun.load(Ordering::Relaxed) == before;
        if quiet && connection.active.load(Ordering::Relaxed) == 0 {
            return;
        }
    }
}
