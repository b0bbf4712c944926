//! The text format of Prometheus, version 0.0.4.

use crate::meter::{Histogram, Reading};
use std::fmt::Write;
use std::sync::Arc;

/// An exposition in the making. Names of counters are given without `_total`.
#[derive(Default)]
pub(super) struct Text(String);

/// A count as a sample.
#[expect(clippy::cast_precision_loss, reason = "counts as floating-point samples")]
pub(super) fn count(n: i64) -> f64 {
    n as f64
}

/// A label's value may hold anything but what ends it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl Text {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}"); // writing to a string cannot fail
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: [f64; 1]) {
        self.head(name, help, "gauge");
        let _ = writeln!(self.0, "{name} {}", value[0]);
    }

    /// A gauge with one label.
    pub(super) fn gauge_by<'a>(&mut self, name: &str, help: &str, label: &str, rows: impl IntoIterator<Item = (&'a str, f64)>) {
        self.head(name, help, "gauge");
        for (value, number) in rows {
            let _ = writeln!(self.0, "{name}{{{label}=\"{}\"}} {number}", escaped(value));
        }
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, n: u64) {
        self.head(&format!("{name}_total"), help, "counter");
        let _ = writeln!(self.0, "{name}_total {n}");
    }

    /// A counter with one label.
    pub(super) fn counter_by<'a>(&mut self, name: &str, help: &str, label: &str, rows: impl IntoIterator<Item = (&'a str, u64)>) {
        self.head(&format!("{name}_total"), help, "counter");
        for (value, n) in rows {
            let _ = writeln!(self.0, "{name}_total{{{label}=\"{}\"}} {n}", escaped(value));
        }
    }

    /// A histogram without labels.
    pub(super) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, help, "histogram");
        self.samples(name, "", &histogram.read());
    }

    /// Histograms with one label.
    pub(super) fn histograms(&mut self, name: &str, help: &str, label: &str, rows: &[(&'static str, Arc<Histogram>)]) {
        self.head(name, help, "histogram");
        for (value, histogram) in rows {
            self.samples(name, &format!("{label}=\"{}\",", escaped(value)), &histogram.read());
        }
    }

    fn samples(&mut self, name: &str, label: &str, r: &Reading) {
        for (bound, below) in &r.below {
            let _ = writeln!(self.0, "{name}_bucket{{{label}le=\"{bound}\"}} {below}");
        }
        let _ = writeln!(self.0, "{name}_bucket{{{label}le=\"+Inf\"}} {}", r.count);
        let plain = label.trim_end_matches(',');
        let braces = if plain.is_empty() { String::new() } else { format!("{{{plain}}}") };
        let _ = writeln!(self.0, "{name}_sum{braces} {}\n{name}_count{braces} {}", r.sum, r.count);
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_labels_cannot_break_out() {
        let mut text = Text::default();
        static H: Histogram = Histogram::new(&[1.0, 2.0]);
        H.observe(0.5);
        H.observe(9.0);
        text.histogram("h", "Help.", &H);
        text.gauge_by("g", "Help.", "provider", [("a\"b\\c\nd", 1.5)]);
        assert_eq!(
            text.finish(),
            "# HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 9.5\nh_count 2\n\
             # HELP g Help.\n# TYPE g gauge\ng{provider=\"a\\\"b\\\\c\\nd\"} 1.5\n"
        );
    }
}
