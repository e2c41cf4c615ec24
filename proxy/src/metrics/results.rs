//! Counts by result: how often something came to each of a few ends.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use super::text::{Kind, Text};

/// The ends that something may come to.
pub trait Results: Copy + Eq + 'static {
    /// All, each with its label.
    const ALL: &'static [(Self, &'static str)];
}

/// Counts by result.
#[derive(Debug)]
pub struct Counts<R> {
    counts: Box<[AtomicU64]>,
    results: PhantomData<R>,
}

impl<R: Results> Default for Counts<R> {
    fn default() -> Self {
        Self { counts: R::ALL.iter().map(|_| AtomicU64::new(0)).collect(), results: PhantomData }
    }
}

impl<R: Results> Counts<R> {
    /// Counts one.
    pub fn count(&self, result: R) {
        for (_, count) in R::ALL.iter().zip(&self.counts).filter(|((known, _), _)| *known == result) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Nothing before the first: most installations have no use for what is counted.
    pub(super) fn encode(&self, text: &mut Text<'_>, name: &str, help: &str) {
        let counts: Vec<_> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        if counts.iter().all(|count| *count == 0) {
            return;
        }
        text.family(name, help, Kind::Counter);
        for ((_, result), count) in R::ALL.iter().zip(counts) {
            text.sample(name, &[("result", result)], count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AuthResult, MirrorResult};
    use super::*;

    fn each_has_its_label<R: Results>() {
        for (counted, own) in R::ALL {
            let counts = Counts::<R>::default();
            let encode = || {
                let mut out = String::new();
                counts.encode(&mut Text::new(&mut out, "c=\"d\""), "x_total", "X.");
                out
            };
            assert_eq!(encode(), "");
            (0..2).for_each(|_| counts.count(*counted));
            for (_, label) in R::ALL {
                let count = if label == own { 2 } else { 0 };
                assert!(encode().contains(&format!("x_total{{c=\"d\",result=\"{label}\"}} {count}\n")), "{}", encode());
            }
        }
    }

    #[test]
    fn what_is_counted_is_told_by_result_and_not_mentioned_before_the_first() {
        each_has_its_label::<MirrorResult>();
        each_has_its_label::<AuthResult>();
    }
}
