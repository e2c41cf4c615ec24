//! What all workers of a proxy share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use genkan_routing::model::RuleLabels;
use genkan_routing::policy::redirect::Scheme;
use http::{Method, StatusCode, Uri};
use tokio::sync::Notify;

use crate::access_log::{LogRecord, RawRequestLine, Writer};
use crate::buffers::Buffers;
use crate::config::ProxyConfig;
use crate::connection::ConnectionInfo;
use crate::metrics::{ConnectionCount, Metrics};
use crate::passwords::Passwords;
use crate::table::ProxyTable;

/// What all workers of a proxy share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What is served. One store per publish; loaded once per connection and once per request.
    pub(crate) table: ArcSwap<ProxyTable>,
    /// Told of every publish; one task waits for it.
    pub(crate) published: Notify,
    /// What is fixed while the proxy runs.
    pub(crate) config: ProxyConfig,
    /// The open client connections.
    pub(crate) connections: Arc<Connections>,
    /// The UDP sessions, counted apart: a sender of datagrams can invent any number of clients.
    pub(crate) sessions: Arc<Connections>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Where lines of the access log go.
    pub(crate) access_log: Writer,
    /// Compares passwords.
    pub(crate) passwords: Passwords,
    /// Memory for bodies.
    pub(crate) buffers: Buffers,
}

/// A request that was refused before it was one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rejected<'a> {
    /// The answer's status, also when nobody read it.
    pub(crate) status: StatusCode,
    /// What there is of its request line.
    pub(crate) line: &'a [u8],
    /// Bytes that were read of it.
    pub(crate) request_length: usize,
    /// Bytes of the answer.
    pub(crate) bytes_sent: usize,
    /// Bytes of the answer's body.
    pub(crate) body_bytes_sent: usize,
    /// Since its first byte.
    pub(crate) request_time: Duration,
}

/// Counts open client connections and gives them their ids.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: AtomicUsize,
    last_id: AtomicU64,
    none_left: Notify,
}

/// One open connection; dropping it ends the count.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    connections: Arc<Connections>,
    id: u64,
    counted: Option<ConnectionCount>,
    at_listener: Option<Place>,
}

/// How many client connections of one listener are open.
#[derive(Debug, Default)]
pub(crate) struct OpenAtListener(AtomicUsize);

/// A connection's place in the count of its listener; dropping it ends the count.
#[derive(Debug)]
struct Place(Arc<OpenAtListener>);

impl Shared {
    /// Shared state that serves `table`. Fails when the access log can't be set up.
    pub(crate) fn new(config: ProxyConfig, table: Arc<ProxyTable>) -> io::Result<Self> {
        let metrics = Arc::new(Metrics::new(&config.metrics_labels, config.metrics.clone()));
        let access_log = Writer::start(&config.access_log, Arc::clone(&metrics))?;
        let (connections, sessions) = Default::default();
        let (table, published, passwords) = (ArcSwap::new(table), Notify::new(), Passwords::default());
        let buffers = Buffers::new(Arc::clone(&metrics), config.buffer_memory);
        Ok(Self { table, published, config, connections, sessions, metrics, access_log, passwords, buffers })
    }

    /// Serves a table from now on.
    pub(crate) fn store(&self, table: Arc<ProxyTable>) {
        self.table.store(table);
        self.published.notify_one();
    }

    /// Counts one more connection, unless there are `limit` already, or at its listener as many as that may have.
    pub(crate) fn open_connection(
        &self,
        limit: usize,
        (at_listener, its_limit): (&Arc<OpenAtListener>, usize),
    ) -> Option<OpenConnection> {
        let place = at_listener.open(its_limit);
        let open = place.and_then(|place| {
            let mut open = self.connections.open(limit)?;
            open.counted = Some(self.metrics.process.connection());
            open.at_listener = Some(place);
            Some(open)
        });
        if open.is_none() {
            self.metrics.process.connection_refused();
        }
        open
    }

    /// Logs and counts a request that was refused before the engine saw it, as nginx does.
    pub(crate) fn log_rejected(&self, info: &ConnectionInfo, rejected: &Rejected<'_>) {
        drop(self.metrics.process.request());
        let table = self.table.load();
        let server_name = info.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        let settings = table.snapshot.settings(&info.listener, server_name.unwrap_or_default());
        let Some(format) = &table.logs().of(settings).http else { return };
        let record = LogRecord {
            connection: info,
            head: &rejected.head(),
            client: info.client().ip(),
            scheme: if info.tls.is_some() { Scheme::Https } else { Scheme::Http },
            authority: "",
            port: info.public_port,
            host: "",
            path: "",
            request_id: "",
            labels: &RuleLabels::default(),
            upstream_name: "",
            alternative_upstream_name: "",
            status: rejected.status.as_u16(),
            response: None,
            upstream_response: None,
            request_length: rejected.request_length as u64,
            body_bytes_sent: rejected.body_bytes_sent as u64,
            bytes_sent: rejected.bytes_sent as u64,
            request_time: rejected.request_time,
            attempts: &[],
            now: SystemTime::now(),
        };
        self.access_log.log(format, &record);
    }
}

impl Rejected<'_> {
    /// What can be said of its head.
    fn head(&self) -> http::request::Parts {
        let mut words = self.line.split(|&byte| byte == b' ');
        let mut head = http::Request::new(()).into_parts().0;
        // A token that is no method of anybody stands for what is none.
        let none = || Method::from_bytes(b"-").unwrap_or_default();
        head.method = words.next().and_then(|word| Method::from_bytes(word).ok()).unwrap_or_else(none);
        head.uri = words.next().and_then(|word| Uri::try_from(word).ok()).unwrap_or_default();
        head.extensions.insert(RawRequestLine(self.line.into()));
        head
    }
}

impl Connections {
    /// Counts one more connection, unless there are `limit` already.
    pub(crate) fn open(self: &Arc<Self>, limit: usize) -> Option<OpenConnection> {
        if self.open.fetch_add(1, Ordering::AcqRel) >= limit {
            self.leave();
            return None;
        }
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        Some(OpenConnection { connections: Arc::clone(self), id, counted: None, at_listener: None })
    }

    /// How many connections are open.
    pub(crate) fn count(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until no connection is open.
    pub(crate) async fn all_closed(&self) {
        loop {
            let notified = self.none_left.notified();
            if self.count() == 0 {
                return;
            }
            notified.await;
        }
    }

    fn leave(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none_left.notify_waiters();
        }
    }
}

impl OpenAtListener {
    /// Counts one more, unless there are `limit` already.
    fn open(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let before = self.0.fetch_add(1, Ordering::AcqRel);
        let place = Place(Arc::clone(self));
        (before < limit).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl OpenConnection {
    /// Unique in this process, from 1.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        // Before the last one to leave is told.
        (self.counted, self.at_listener) = (None, None);
        self.connections.leave();
    }
}
