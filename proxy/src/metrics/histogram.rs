//! Histograms of a fixed shape, filled without locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::text::Text;

/// The bounds of a histogram's buckets, and the unit of its values.
#[derive(Debug)]
pub(super) struct Shape {
    /// Upper bounds, inclusive, ascending, each with its text.
    bounds: &'static [(u64, &'static str)],
    /// How many of our units make one of the metric's.
    scale: f64,
}

/// Seconds, counted in nanoseconds: the default buckets of Prometheus clients (`--time-buckets`).
pub(super) const TIME: Shape = Shape {
    bounds: &[
        (5_000_000, "0.005"),
        (10_000_000, "0.01"),
        (25_000_000, "0.025"),
        (50_000_000, "0.05"),
        (100_000_000, "0.1"),
        (250_000_000, "0.25"),
        (500_000_000, "0.5"),
        (1_000_000_000, "1"),
        (2_500_000_000, "2.5"),
        (5_000_000_000, "5"),
        (10_000_000_000, "10"),
    ],
    scale: 1e9,
};

/// Bytes of requests and responses: 10 to 100 in steps of 10 (`--length-buckets`).
pub(super) const LENGTH: Shape = Shape {
    bounds: &[
        (10, "10"),
        (20, "20"),
        (30, "30"),
        (40, "40"),
        (50, "50"),
        (60, "60"),
        (70, "70"),
        (80, "80"),
        (90, "90"),
        (100, "100"),
    ],
    scale: 1.0,
};

/// Bytes sent: powers of ten (`--size-buckets`).
pub(super) const SIZE: Shape = Shape {
    bounds: &[
        (10, "10"),
        (100, "100"),
        (1_000, "1000"),
        (10_000, "10000"),
        (100_000, "100000"),
        (1_000_000, "1e+06"),
        (10_000_000, "1e+07"),
    ],
    scale: 1.0,
};

/// The most bounds that a shape has.
const MAX_BOUNDS: usize = 11;

/// Counts of values by bucket. A scrape during an observation may see the count before the sum.
#[derive(Debug)]
pub(super) struct Histogram {
    shape: &'static Shape,
    /// One more than bounds: the last is for what is over all of them.
    buckets: [AtomicU64; MAX_BOUNDS + 1],
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn new(shape: &'static Shape) -> Self {
        Self { shape, buckets: Default::default(), sum: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, value: u64) {
        let at = self.shape.bounds.iter().position(|(bound, _)| value <= *bound).unwrap_or(self.shape.bounds.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(value, Ordering::Relaxed);
        }
    }

    pub(super) fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Renders the buckets, sum and count; nothing while nothing was observed.
    pub(super) fn encode(&self, name: &str, labels: &str, text: &mut Text<'_>) {
        let counts = self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return;
        }
        let mut below = 0;
        for ((_, bound), count) in self.shape.bounds.iter().zip(counts) {
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

    #[test]
    fn every_shape_fits_and_ascends() {
        for shape in [&TIME, &LENGTH, &SIZE] {
            assert!(shape.bounds.len() <= MAX_BOUNDS);
            assert!(shape.bounds.is_sorted_by(|one, other| one.0 < other.0));
            for (bound, text) in shape.bounds {
                assert!((text.parse::<f64>().unwrap() - *bound as f64 / shape.scale).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn bounds_are_inclusive_and_buckets_cumulative() {
        let histogram = Histogram::new(&LENGTH);
        for value in [10, 11, 100, 101] {
            histogram.observe(value);
        }
        let mut out = String::new();
        histogram.encode("m", "a=\"b\"", &mut Text::new(&mut out, "c=\"d\""));
        for line in [
            r#"m_bucket{c="d",a="b",le="10"} 1"#,
            r#"m_bucket{c="d",a="b",le="20"} 2"#,
            r#"m_bucket{c="d",a="b",le="100"} 3"#,
            r#"m_bucket{c="d",a="b",le="+Inf"} 4"#,
            r#"m_sum{c="d",a="b"} 222"#,
            r#"m_count{c="d",a="b"} 4"#,
        ] {
            assert!(out.lines().any(|found| found == line), "{line}\n{out}");
        }
    }
}
