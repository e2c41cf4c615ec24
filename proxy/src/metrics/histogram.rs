//! Histograms of configured buckets, filled without locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::settings::Buckets;
use super::text::{self, Text};

/// The bounds of a histogram's buckets, and the unit of its values; shared by all series.
#[derive(Debug)]
pub(super) struct Shape {
    buckets: Buckets,
    /// The text of each bound.
    texts: Box<[String]>,
    /// How many of our units make one of the metric's.
    scale: f64,
}

/// Counts of values by bucket. A scrape during an observation may see the count before the sum.
#[derive(Debug)]
pub(super) struct Histogram {
    shape: Arc<Shape>,
    /// One more than bounds: the last is for what is over all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Shape {
    /// Seconds, counted in nanoseconds.
    pub(super) fn seconds(buckets: &Buckets) -> Arc<Self> {
        Self::new(buckets, 1e9)
    }

    /// Bytes.
    pub(super) fn bytes(buckets: &Buckets) -> Arc<Self> {
        Self::new(buckets, 1.0)
    }

    fn new(buckets: &Buckets, scale: f64) -> Arc<Self> {
        let texts = buckets.bounds().iter().copied().map(text::number).collect();
        Arc::new(Self { buckets: buckets.clone(), texts, scale })
    }
}

impl Histogram {
    pub(super) fn new(shape: &Arc<Shape>) -> Self {
        let counts = (0..=shape.buckets.bounds().len()).map(|_| AtomicU64::new(0)).collect();
        Self { shape: Arc::clone(shape), counts, sum: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, value: u64) {
        // Divided, not multiplied: the quotient nearest to 0.29 is the number that "0.29" is read as.
        let scaled = value as f64 / self.shape.scale;
        let at = self.shape.buckets.bounds().partition_point(|bound| *bound < scaled);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(value, Ordering::Relaxed);
        }
    }

    pub(super) fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Renders the buckets, sum and count; nothing while nothing was observed.
    pub(super) fn encode(&self, name: &str, labels: &str, text: &mut Text<'_>) {
        let counts: Vec<_> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return;
        }
        let mut below = 0;
        for (bound, count) in self.shape.texts.iter().zip(counts) {
            below += count;
            text.rendered(name, "_bucket", labels, bound, below as f64);
        }
        text.rendered(name, "_bucket", labels, "+Inf", total as f64);
        text.rendered(name, "_sum", labels, "", self.sum.load(Ordering::Relaxed) as f64 / self.shape.scale);
        text.rendered(name, "_count", labels, "", total as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(histogram: &Histogram, expected: &[&str]) {
        let mut out = String::new();
        histogram.encode("m", "a=\"b\"", &mut Text::new(&mut out, "c=\"d\""));
        assert_eq!(out.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn bounds_are_inclusive_and_buckets_cumulative() {
        let histogram = Histogram::new(&Shape::bytes(&"-1,10,20,2e6".parse().unwrap()));
        for value in [0, 10, 11, 2_000_000, 2_000_001] {
            histogram.observe(value);
        }
        let expected = [
            r#"m_bucket{c="d",a="b",le="-1"} 0"#,
            r#"m_bucket{c="d",a="b",le="10"} 2"#,
            r#"m_bucket{c="d",a="b",le="20"} 3"#,
            r#"m_bucket{c="d",a="b",le="2e+06"} 4"#,
            r#"m_bucket{c="d",a="b",le="+Inf"} 5"#,
            r#"m_sum{c="d",a="b"} 4000022"#,
            r#"m_count{c="d",a="b"} 5"#,
        ];
        check(&histogram, &expected);
    }

    #[test]
    fn a_time_that_is_written_like_a_bound_is_within_it() {
        for milliseconds in [1, 29, 57, 58, 113, 114, 1009] {
            let bound = text::number(milliseconds as f64 / 1e3);
            let histogram = Histogram::new(&Shape::seconds(&bound.parse().unwrap()));
            let time = Duration::from_millis(milliseconds);
            histogram.observe_time(time);
            histogram.observe_time(time + Duration::from_nanos(1));
            let counts: Vec<_> = histogram.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            assert_eq!(counts, [1, 1], "{bound}");
        }
    }

    #[test]
    fn without_bounds_values_are_counted_and_summed() {
        let histogram = Histogram::new(&Shape::seconds(&"+Inf".parse().unwrap()));
        histogram.observe_time(Duration::from_millis(1500));
        let expected =
            [r#"m_bucket{c="d",a="b",le="+Inf"} 1"#, r#"m_sum{c="d",a="b"} 1.5"#, r#"m_count{c="d",a="b"} 1"#];
        check(&histogram, &expected);
    }
}
