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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(labels(&[("a", "x\"y\\z\n"), ("b", "")]), r#"a="x\"y\\z\n",b="""#);
    }
}
