//! Metrics of mirrored requests: what became of the copies.

use std::sync::atomic::{AtomicU64, Ordering};

use super::text::{Kind, Text};

/// What became of a copy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorResult {
    /// It was sent and answered, whatever the answer.
    Answered,
    /// There was no endpoint, or the connection could not be made or broke.
    Failed,
    /// The answer did not come in time.
    Timeout,
    /// The endpoint took the body more slowly than the client sent it.
    Behind,
    /// The request itself ended before its body did.
    Incomplete,
    /// It was not sent, because too many are under way.
    TooMany,
}

/// Counts of copies by result.
#[derive(Debug, Default)]
pub struct MirrorMetrics {
    counts: [AtomicU64; ALL.len()],
}

const ALL: [(MirrorResult, &str); 6] = [
    (MirrorResult::Answered, "answered"),
    (MirrorResult::Failed, "failed"),
    (MirrorResult::Timeout, "timeout"),
    (MirrorResult::Behind, "behind"),
    (MirrorResult::Incomplete, "incomplete"),
    (MirrorResult::TooMany, "too_many"),
];

impl MirrorMetrics {
    /// Counts a copy.
    pub fn count(&self, result: MirrorResult) {
        for (_, count) in ALL.iter().zip(&self.counts).filter(|((known, _), _)| *known == result) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Nothing before the first copy: most installations have no mirror.
    pub(super) fn encode(&self, text: &mut Text<'_>) {
        let counts = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        if counts.iter().all(|count| *count == 0) {
            return;
        }
        let name = "genkan_mirrored_requests_total";
        text.family(name, "Copies of requests by what became of them.", Kind::Counter);
        for ((_, result), count) in ALL.iter().zip(counts) {
            text.sample(name, &[("result", result)], count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_counted_by_result_and_not_mentioned_before_the_first() {
        let metrics = MirrorMetrics::default();
        let encode = || {
            let mut out = String::new();
            metrics.encode(&mut Text::new(&mut out, "c=\"d\""));
            out
        };
        assert_eq!(encode(), "");
        for (result, _) in ALL {
            metrics.count(result);
        }
        metrics.count(MirrorResult::Behind);
        for (result, name) in ALL {
            let count = if result == MirrorResult::Behind { 2 } else { 1 };
            assert!(encode().contains(&format!("result=\"{name}\"}} {count}\n")), "{}", encode());
        }
    }
}
