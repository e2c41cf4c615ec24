//! Metrics of the whole process under nginx's words: accepted and handled connections, their states, requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::text::{Kind, Text};

/// Connections and requests of the whole process.
#[derive(Debug, Default)]
pub struct ProcessMetrics {
    counts: Arc<Counts>,
}

/// An open client connection; counts until it is dropped.
#[derive(Debug)]
pub struct ConnectionCount(Arc<Counts>);

/// A request under way; counts until it is dropped.
#[derive(Debug)]
pub struct RequestCount(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    handled: AtomicU64,
    requests: AtomicU64,
    active: AtomicU64,
    writing: AtomicU64,
}

impl ProcessMetrics {
    /// A connection was accepted and closed at once: over the limit, or a broken PROXY header.
    pub fn connection_refused(&self) {
        self.counts.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was accepted and is served.
    pub fn connection(&self) -> ConnectionCount {
        self.counts.accepted.fetch_add(1, Ordering::Relaxed);
        self.counts.handled.fetch_add(1, Ordering::Relaxed);
        self.counts.active.fetch_add(1, Ordering::Relaxed);
        ConnectionCount(Arc::clone(&self.counts))
    }

    /// A request's head was read.
    pub fn request(&self) -> RequestCount {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        self.counts.writing.fetch_add(1, Ordering::Relaxed);
        RequestCount(Arc::clone(&self.counts))
    }

    pub(super) fn encode(&self, text: &mut Text<'_>) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (active, writing) = (read(&self.counts.active), read(&self.counts.writing));
        let name = "nginx_ingress_controller_nginx_process_connections_total";
        text.family(name, "Client connections so far, accepted and handled.", Kind::Counter);
        text.sample(name, &[("state", "accepted")], read(&self.counts.accepted) as f64);
        text.sample(name, &[("state", "handled")], read(&self.counts.handled) as f64);
        let name = "nginx_ingress_controller_nginx_process_requests_total";
        text.family(name, "Requests so far.", Kind::Counter);
        text.sample(name, &[], read(&self.counts.requests) as f64);
        let name = "nginx_ingress_controller_nginx_process_connections";
        text.family(name, "Open client connections by what they do.", Kind::Gauge);
        // Several streams of an HTTP/2 connection write at once; a connection that reads a head waits until it is whole.
        let waiting = active.saturating_sub(writing);
        for (state, value) in [("active", active), ("reading", 0), ("writing", writing), ("waiting", waiting)] {
            text.sample(name, &[("state", state)], value as f64);
        }
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for RequestCount {
    fn drop(&mut self) {
        self.0.writing.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_requests_count_while_they_last() {
        let process = ProcessMetrics::default();
        let encode = || {
            let mut out = String::new();
            process.encode(&mut Text::new(&mut out, "c=\"d\""));
            out
        };
        process.connection_refused();
        let connections = [process.connection(), process.connection()];
        let request = process.request();
        let text = encode();
        for (state, value) in [("accepted", 3), ("handled", 2), ("active", 2), ("writing", 1), ("waiting", 1)] {
            assert!(text.contains(&format!("state=\"{state}\"}} {value}\n")), "{state}\n{text}");
        }
        drop((connections, request));
        let text = encode();
        for (state, value) in [("accepted", 3), ("active", 0), ("writing", 0)] {
            assert!(text.contains(&format!("state=\"{state}\"}} {value}\n")), "{state}\n{text}");
        }
        assert!(text.contains("nginx_process_requests_total{c=\"d\"} 1\n"));
    }
}
