//! Memory for buffering: one bound for the process, whoever fills it.

use std::sync::Arc;

use crate::metrics::Metrics;

/// The memory of a process for what is held between clients and backends.
#[derive(Debug)]
pub(crate) struct Buffers {
    metrics: Arc<Metrics>,
    most: usize,
}

/// A share of it, which grows and shrinks with what is held; given back on drop.
#[derive(Debug)]
pub(crate) struct Memory {
    metrics: Arc<Metrics>,
    most: usize,
    bytes: usize,
}

impl Buffers {
    /// At most so many bytes in all.
    pub(crate) fn new(metrics: Arc<Metrics>, most: usize) -> Self {
        Self { metrics, most }
    }

    /// A share without a byte.
    pub(crate) fn share(&self) -> Memory {
        Memory { metrics: Arc::clone(&self.metrics), most: self.most, bytes: 0 }
    }
}

impl Memory {
    /// Makes room for so many bytes more. False, and nothing, where the process has no more.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let grown = self.metrics.buffering.hold(bytes, self.most);
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Gives back so many bytes, as far as they were taken.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.metrics.buffering.release(bytes);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}
