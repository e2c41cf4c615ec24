//! What the engine keeps per client connection, shared by its stream and all its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::connection::ConnectionInfo;

/// A client connection in the engine.
#[derive(Debug)]
pub(super) struct Connection {
    /// What is known about it.
    pub(super) info: Arc<ConnectionInfo>,
    /// Whether it speaks HTTP/2: many requests at a time.
    pub(super) http2: bool,
    /// When the connection is to be broken off.
    pub(super) deadline: Deadline,
    /// Requests that are being served.
    pub(super) active: AtomicU32,
    /// Requests so far, wrapping.
    pub(super) streams_begun: AtomicU32,
    /// Turns true when no further request is to be taken: GOAWAY on HTTP/2, `Connection: close` on HTTP/1.
    closing: watch::Sender<bool>,
}

impl Connection {
    pub(super) fn new(info: Arc<ConnectionInfo>, http2: bool) -> Self {
        Self {
            info,
            http2,
            deadline: Deadline::default(),
            active: AtomicU32::new(0),
            streams_begun: AtomicU32::new(0),
            closing: watch::Sender::new(false),
        }
    }

    /// Takes no further request.
    pub(super) fn close(&self) {
        self.closing.send_if_modified(|closing| !std::mem::replace(closing, true));
    }

    /// Whether no further request is to be taken.
    pub(super) fn closes(&self) -> bool {
        *self.closing.borrow()
    }

    /// What pingora watches to end the connection in good order.
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }
}

/// A point in time after which reads of a client stream fail; HTTP/1 only. Optionally moved on by every transfer.
#[derive(Debug)]
pub(super) struct Deadline {
    epoch: Instant,
    /// Milliseconds after `epoch`; 0 is none.
    at: AtomicU64,
    /// Milliseconds that every transfer grants; 0 is none.
    idle: AtomicU64,
}

impl Default for Deadline {
    fn default() -> Self {
        Self { epoch: Instant::now(), at: AtomicU64::new(0), idle: AtomicU64::new(0) }
    }
}

impl Deadline {
    /// Breaks off at `instant`.
    pub(super) fn set(&self, instant: Instant) {
        let after = instant.saturating_duration_since(self.epoch);
        self.at.store(millis(after).max(1), Ordering::Relaxed);
    }

    /// Breaks off once nothing was transferred in either direction for `idle`.
    pub(super) fn set_idle(&self, idle: Duration) {
        self.idle.store(millis(idle).max(1), Ordering::Relaxed);
        self.touch();
    }

    /// Never breaks off.
    pub(super) fn clear(&self) {
        self.at.store(0, Ordering::Relaxed);
        self.idle.store(0, Ordering::Relaxed);
    }

    /// Something was transferred.
    pub(super) fn touch(&self) {
        let idle = self.idle.load(Ordering::Relaxed);
        if idle != 0 {
            self.set(Instant::now() + Duration::from_millis(idle));
        }
    }

    /// When the connection is to be broken off.
    pub(super) fn get(&self) -> Option<Instant> {
        let at = self.at.load(Ordering::Relaxed);
        (at != 0).then(|| self.epoch + Duration::from_millis(at))
    }
}

/// Rounded up: what is late by the clock of this deadline must be late by that of whoever set it.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
