//! Metrics of TCP and UDP ports, and of TLS passthrough. ingress-nginx has none of them; the names are Genkan's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::text::{Kind, Text, labels};

/// Counts of one port, or of what one object has passed through at it. Shared by whoever serves it.
#[derive(Debug, Default)]
pub struct StreamMetrics {
    /// Its labels, rendered.
    labels: String,
    active: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    dropped: AtomicU64,
    ended: Mutex<BTreeMap<u16, u64>>,
}

/// A connection or session under way; counts until it is dropped.
#[derive(Debug)]
pub struct StreamCount(Arc<StreamMetrics>);

/// What tells ports apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamLabels {
    /// `tcp`, `udp`, or `tls` where connections are passed on unopened.
    pub protocol: &'static str,
    /// The port that clients use.
    pub port: u16,
    /// The object that opened it.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl StreamMetrics {
    pub(super) fn new(of: &StreamLabels) -> Self {
        let port = of.port.to_string();
        let labels =
            labels(&[("protocol", of.protocol), ("port", &port), ("namespace", &of.namespace), ("name", &of.name)]);
        Self { labels, ..Self::default() }
    }

    /// A connection or session began.
    pub fn begin(self: &Arc<Self>) -> StreamCount {
        self.active.fetch_add(1, Ordering::Relaxed);
        StreamCount(Arc::clone(self))
    }

    /// One ended.
    pub fn ended(&self, status: u16) {
        *self.ended.lock().entry(status).or_default() += 1;
    }

    /// Bytes came from a client.
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes went to a client.
    pub fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A datagram of a new client was dropped.
    pub fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Writes the series of all ports.
pub(super) fn encode(ports: &[Arc<StreamMetrics>], text: &mut Text<'_>) {
    if ports.is_empty() {
        return;
    }
    let name = "genkan_stream_sessions_total";
    text.family(name, "TCP connections and UDP sessions that ended, by status as nginx logs it.", Kind::Counter);
    for port in ports {
        for (status, count) in &*port.ended.lock() {
            let own = format!("{},status=\"{status}\"", port.labels);
            text.rendered(name, "", &own, "", *count as f64);
        }
    }
    type Count = fn(&StreamMetrics) -> &AtomicU64;
    let families: [(&str, &str, Kind, Count); 4] = [
        ("genkan_stream_active_sessions", "TCP connections and UDP sessions under way.", Kind::Gauge, |port| {
            &port.active
        }),
        ("genkan_stream_received_bytes_total", "Bytes from clients.", Kind::Counter, |port| &port.received),
        ("genkan_stream_sent_bytes_total", "Bytes to clients.", Kind::Counter, |port| &port.sent),
        (
            "genkan_stream_dropped_datagrams_total",
            "Datagrams of new UDP clients for which there was no endpoint or no room.",
            Kind::Counter,
            |port| &port.dropped,
        ),
    ];
    for (name, help, kind, count) in families {
        text.family(name, help, kind);
        for port in ports {
            text.rendered(name, "", &port.labels, "", count(port).load(Ordering::Relaxed) as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_counted_by_protocol_port_and_object() {
        let labels = StreamLabels { protocol: "tcp", port: 9000, namespace: "ns".into(), name: "tcp".into() };
        let port = Arc::new(StreamMetrics::new(&labels));
        let under_way = port.begin();
        port.received(3);
        port.sent(5);
        port.ended(502);
        let mut out = String::new();
        encode(&[Arc::clone(&port)], &mut Text::new(&mut out, "c=\"1\""));
        let own = "c=\"1\",protocol=\"tcp\",port=\"9000\",namespace=\"ns\",name=\"tcp\"";
        for line in [
            format!("genkan_stream_sessions_total{{{own},status=\"502\"}} 1"),
            format!("genkan_stream_active_sessions{{{own}}} 1"),
            format!("genkan_stream_received_bytes_total{{{own}}} 3"),
            format!("genkan_stream_sent_bytes_total{{{own}}} 5"),
            format!("genkan_stream_dropped_datagrams_total{{{own}}} 0"),
        ] {
            assert!(out.lines().any(|found| found == line), "{line}\nis not in\n{out}");
        }
        drop(under_way);
        assert_eq!(port.active.load(Ordering::Relaxed), 0);
    }
}
