//! How often kept connections to endpoints were used (`upstream-keepalive-requests`).
//!
//! pingora's pool has no such limit. A connection that reached it gets its last request with `Connection: close`, so
//! the endpoint ends it. Endpoints over HTTP/2 renew their connections themselves, with GOAWAY.

use std::os::fd::RawFd;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// Requests by connection, of one worker.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<FxHashMap<RawFd, u32>>);

impl Uses {
    /// Counts a request on a connection; returns how many it has had. A descriptor that is not `reused` is a new
    /// connection, so that no closed one has to be reported.
    pub(super) fn count(&self, descriptor: RawFd, reused: bool) -> u32 {
        let mut uses = self.0.lock();
        let count = uses.entry(descriptor).or_default();
        *count = if reused { count.saturating_add(1) } else { 1 };
        *count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_connection_starts_anew_on_the_same_descriptor() {
        let uses = Uses::default();
        assert_eq!((uses.count(5, false), uses.count(5, true), uses.count(6, false)), (1, 2, 1));
        assert_eq!(uses.count(5, false), 1);
    }
}
