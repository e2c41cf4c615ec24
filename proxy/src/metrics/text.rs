//! Prometheus's text format, version 0.0.4.

use std::fmt::Write;

/// What a metric is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Renders families and their samples.
#[derive(Debug)]
pub(super) struct Text<'o> {
    out: &'o mut String,
    /// Labels of every sample, as [`labels`] renders them.
    constant: &'o str,
}

impl<'o> Text<'o> {
    pub(super) fn new(out: &'o mut String, constant: &'o str) -> Self {
        Self { out, constant }
    }

    /// Begins a family; its samples must follow at once.
    pub(super) fn family(&mut self, name: &str, help: &str, kind: Kind) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample.
    pub(super) fn sample(&mut self, name: &str, own: &[(&str, &str)], value: f64) {
        self.rendered(name, "", &labels(own), "", value);
    }

    /// One sample of the series `name` + `suffix` whose own labels are rendered already; `le` is a bucket's bound.
    pub(super) fn rendered(&mut self, name: &str, suffix: &str, own: &str, le: &str, value: f64) {
        let comma = if own.is_empty() { "" } else { "," };
        let _ = write!(self.out, "{name}{suffix}{{{}{comma}{own}", self.constant);
        if !le.is_empty() {
            let _ = write!(self.out, ",le=\"{le}\"");
        }
        let _ = writeln!(self.out, "}} {value}");
    }
}

/// `name="value",...`, values escaped.
pub(super) fn labels(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(name);
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out
}

/// A number as Go's clients write it in labels: `0.005`, `10`, `1e+06`. Dashboards name buckets so.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        }
        .to_owned();
    }
    // The shortest digits that are this number, as in 1.5e-7; small exponents are written out.
    let short = format!("{value:e}");
    match short.split_once('e').and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?))) {
        Some((digits, exponent)) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_in_go() {
        for (value, written) in [
            (0.0, "0"),
            (10.0, "10"),
            (0.005, "0.005"),
            (-2.5, "-2.5"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (100_000.0, "100000"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (1e100, "1e+100"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(number(value), written);
        }
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(labels(&[("a", "x\"y\\z\n"), ("b", "")]), r#"a="x\"y\\z\n",b="""#);
    }
}
