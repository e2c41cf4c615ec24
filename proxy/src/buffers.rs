//! Memory for buffering: one bound for the process, whoever fills it, and a share of it for each namespace, so that one
//! whose clients or backends are slow leaves memory to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::metrics::{Metrics, hold};

/// The memory of a process for what is held between clients and backends.
#[derive(Debug)]
pub(crate) struct Buffers {
    metrics: Arc<Metrics>,
    most: usize,
    /// Bytes that are held for the rules of each namespace.
    namespaces: Mutex<FxHashMap<Arc<str>, Arc<AtomicUsize>>>,
}

/// What is held of it for one message, which grows and shrinks; given back on drop.
#[derive(Debug)]
pub(crate) struct Memory {
    metrics: Arc<Metrics>,
    most: usize,
    /// Bytes of the whole namespace.
    of_namespace: Arc<AtomicUsize>,
    bytes: usize,
}

impl Buffers {
    /// At most so many bytes in all.
    pub(crate) fn new(metrics: Arc<Metrics>, most: usize) -> Self {
        Self { metrics, most, namespaces: Mutex::default() }
    }

    /// Memory without a byte, for a rule of this namespace.
    pub(crate) fn begin(&self, namespace: &Arc<str>) -> Memory {
        let mut namespaces = self.namespaces.lock();
        if !namespaces.contains_key(namespace) {
            // Those for which nothing is held.
            namespaces.retain(|_, held| Arc::strong_count(held) > 1);
        }
        let of_namespace = Arc::clone(namespaces.entry(Arc::clone(namespace)).or_default());
        Memory { metrics: Arc::clone(&self.metrics), most: self.most, of_namespace, bytes: 0 }
    }
}

impl Memory {
    /// Makes room for so many bytes more. False, and nothing, where the process has no more, or the namespace would have
    /// more than it leaves free. So one alone has half of the memory, and whoever comes later half of what is left: it
    /// is never all taken by those who came first.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let buffering = &self.metrics.buffering;
        let of_others = buffering.held().saturating_sub(self.of_namespace.load(Ordering::Relaxed));
        if !hold(&self.of_namespace, bytes, self.most.saturating_sub(of_others) / 2) {
            buffering.exhaust();
            return false;
        }
        let grown = buffering.hold(bytes, self.most);
        if grown {
            self.bytes += bytes;
        } else {
            self.of_namespace.fetch_sub(bytes, Ordering::Relaxed);
        }
        grown
    }

    /// Gives back so many bytes, as far as they were taken.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.of_namespace.fetch_sub(bytes, Ordering::Relaxed);
        self.metrics.buffering.release(bytes);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ConstantLabels;

    fn buffers(most: usize) -> Buffers {
        Buffers::new(Arc::new(Metrics::new(&ConstantLabels::default(), None)), most)
    }

    #[test]
    fn a_namespace_has_as_much_as_it_leaves_free() {
        let buffers = buffers(400);
        let begin = |number: usize| buffers.begin(&format!("tenant-{number}").into());
        let (mut first, mut again) = (begin(0), begin(0));
        assert!(first.grow(120) && again.grow(80) && !first.grow(1) && !again.grow(1));
        let mut others: Vec<_> = (1..4).map(begin).collect();
        for (memory, share) in others.iter_mut().zip([100, 50, 25]) {
            assert!(!memory.grow(share + 1) && memory.grow(share) && !memory.grow(1));
        }
        let mut late = begin(4);
        assert!(late.grow(12), "there is always something for whoever comes");
        drop(others.pop());
        assert!(late.grow(7) && !again.grow(1));
        first.shrink(1000);
        assert!(late.grow(60) && again.grow(1));
        drop((first, again, others, late));
        assert_eq!(buffers.metrics.buffering.held(), 0);
    }

    #[test]
    fn namespaces_for_which_nothing_is_held_are_forgotten() {
        let buffers = buffers(400);
        let kept = buffers.begin(&"kept".into());
        (0..100).for_each(|number| drop(buffers.begin(&format!("tenant-{number}").into())));
        assert!(buffers.namespaces.lock().len() <= 2);
        assert!(buffers.namespaces.lock().contains_key("kept"));
        drop(kept);
    }
}
