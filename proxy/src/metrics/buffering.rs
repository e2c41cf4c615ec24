//! Metrics of buffering: how many bytes are held, and how often there was no memory for more.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::text::{Kind, Text};

/// What is held between clients and backends.
#[derive(Debug, Default)]
pub struct BufferMetrics {
    held: AtomicUsize,
    exhausted: AtomicU64,
}

/// Holds so many bytes more, unless they would be more than `most` in all.
pub(crate) fn hold(held: &AtomicUsize, bytes: usize, most: usize) -> bool {
    let more = |held: usize| held.checked_add(bytes).filter(|held| *held <= most);
    held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

impl BufferMetrics {
    /// Holds so many bytes more, unless they would be more than `most` in all.
    pub(crate) fn hold(&self, bytes: usize, most: usize) -> bool {
        let held = hold(&self.held, bytes, most);
        if !held {
            self.exhaust();
        }
        held
    }

    /// Somebody has no memory to hold more.
    pub(crate) fn exhaust(&self) {
        self.exhausted.fetch_add(1, Ordering::Relaxed);
    }

    /// Holds so many bytes less.
    pub(crate) fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    pub(super) fn encode(&self, text: &mut Text<'_>) {
        let name = "genkan_buffered_bytes";
        text.family(name, "Bytes of requests and responses that are held in memory.", Kind::Gauge);
        text.sample(name, &[], self.held() as f64);
        let name = "genkan_buffers_exhausted_total";
        text.family(name, "How often there was no memory to hold more.", Kind::Counter);
        text.sample(name, &[], self.exhausted.load(Ordering::Relaxed) as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_never_more_than_may_be() {
        let metrics = BufferMetrics::default();
        assert!(metrics.hold(6, 10) && !metrics.hold(5, 10) && metrics.hold(4, 10));
        assert!(!metrics.hold(usize::MAX, usize::MAX), "no overflow");
        metrics.release(10);
        assert!(metrics.hold(10, 10));
        let mut out = String::new();
        metrics.encode(&mut Text::new(&mut out, "c=\"d\""));
        assert!(out.contains("genkan_buffered_bytes{c=\"d\"} 10\n"), "{out}");
        assert!(out.contains("genkan_buffers_exhausted_total{c=\"d\"} 2\n"), "{out}");
    }
}
