//! What a connection or session leaves behind: its counts while it runs, its log line and metrics when it ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};

use crate::access_log::{StreamAttempt, StreamRecord};
use crate::metrics::{StreamCount, StreamMetrics};
use crate::shared::Shared;
use crate::table::LogFormats;

/// It did what it was there for.
pub(super) const OK: u16 = 200;
/// The client did not begin with the PROXY header that its listener asks for.
pub(super) const BAD_REQUEST: u16 = 400;
/// No endpoint could be reached, or it broke off.
pub(super) const BAD_GATEWAY: u16 = 502;

/// A connection or session under way. Its end is logged and counted when it is dropped.
#[derive(Debug)]
pub(super) struct Running {
    shared: Arc<Shared>,
    metrics: Arc<StreamMetrics>,
    _count: StreamCount,
    traffic: Traffic,
    identity: Identity,
    /// How its line is written, where that is not the proxy's usual way.
    log: Option<Arc<LogFormats>>,
    upstream_name: Arc<str>,
    attempts: Vec<StreamAttempt>,
    status: u16,
}

/// Whose it is.
#[derive(Debug)]
pub(super) struct Identity {
    /// `TCP` or `UDP`.
    pub(super) protocol: &'static str,
    /// `$connection`.
    pub(super) id: u64,
    /// The peer.
    pub(super) peer: SocketAddr,
    /// Our address.
    pub(super) local: SocketAddr,
    /// The client that a PROXY header announced.
    pub(super) announced: Option<SocketAddr>,
}

/// Bytes that moved, and when they last did. Both ways write it, on one thread.
#[derive(Debug)]
pub(super) struct Traffic {
    began: Instant,
    /// Microseconds since the beginning.
    last: AtomicU64,
    /// From the client.
    received: AtomicU64,
    /// To the client.
    sent: AtomicU64,
}

impl Running {
    /// One that begins now, and fails unless it is said to do otherwise.
    pub(super) fn new(shared: &Arc<Shared>, metrics: Arc<StreamMetrics>, identity: Identity) -> Self {
        Self {
            shared: Arc::clone(shared),
            _count: metrics.begin(),
            metrics,
            traffic: Traffic::new(),
            identity,
            log: None,
            upstream_name: "".into(),
            attempts: Vec::new(),
            status: BAD_GATEWAY,
        }
    }

    /// What moved.
    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Its line is written as its listener says, which is what was said when it began.
    pub(super) fn set_log(&mut self, log: Option<Arc<LogFormats>>) {
        self.log = log;
    }

    /// The PROXY header announced a client.
    pub(super) fn announce(&mut self, client: SocketAddr) {
        self.identity.announced = Some(client);
    }

    /// The peer's address and ours.
    pub(super) fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (canonical(self.identity.peer), canonical(self.identity.local))
    }

    /// The cluster that it goes to.
    pub(super) fn goes_to(&mut self, cluster: &Arc<str>) {
        self.upstream_name = Arc::clone(cluster);
    }

    /// An endpoint was tried; `connect_time` is `None` when it could not be reached.
    pub(super) fn tried(&mut self, address: SocketAddr, connect_time: Option<Duration>) {
        self.attempts.push(StreamAttempt { address, connect_time });
    }

    /// How it ended.
    pub(super) fn set_status(&mut self, status: u16) {
        self.status = status;
    }

    /// Counts bytes from the client.
    pub(super) fn received(&self, bytes: usize) {
        self.traffic.add(&self.traffic.received, bytes);
        self.metrics.received(bytes as u64);
    }

    /// Counts bytes to the client.
    pub(super) fn sent(&self, bytes: usize) {
        self.traffic.add(&self.traffic.sent, bytes);
        self.metrics.sent(bytes as u64);
    }

    fn client(&self) -> SocketAddr {
        self.identity.announced.unwrap_or(self.identity.peer)
    }

    fn log(&self) {
        let table = self.shared.table.load();
        let formats = self.log.as_deref().unwrap_or_else(|| table.logs().of(None));
        let Some(format) = &formats.stream else { return };
        let record = StreamRecord {
            protocol: self.identity.protocol,
            connection: self.identity.id,
            client: canonical(self.client()),
            announced: self.identity.announced.map(canonical),
            local: canonical(self.identity.local),
            upstream_name: &self.upstream_name,
            attempts: &self.attempts,
            status: self.status,
            bytes_received: self.traffic.received.load(Ordering::Relaxed),
            bytes_sent: self.traffic.sent.load(Ordering::Relaxed),
            session_time: self.traffic.began.elapsed(),
            now: SystemTime::now(),
        };
        self.shared.access_log.log_stream(format, &record);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.metrics.ended(self.status);
        self.log();
    }
}

impl Traffic {
    fn new() -> Self {
        let (last, received, sent) = Default::default();
        Self { began: Instant::now(), last, received, sent }
    }

    fn add(&self, count: &AtomicU64, bytes: usize) {
        count.fetch_add(bytes as u64, Ordering::Relaxed);
        let since = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    /// When something last moved.
    pub(super) fn last(&self) -> Instant {
        self.began + Duration::from_micros(self.last.load(Ordering::Relaxed))
    }

    /// Returns when nothing has moved for this long.
    pub(super) async fn idle(&self, timeout: Duration) {
        loop {
            let deadline = self.last() + timeout;
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

/// IPv4 as such, also where it arrives at an IPv6 socket.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The address of every interface in the family of another.
pub(super) fn unspecified_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}
