//! Pairs of metrics of one source that move together: distance with steps, asleep with time in bed, body mass index
//! with weight. Their ratio is nearly constant in a person, so it shows a fault that each alone would hide.

use crate::model::Metric;

/// A pair and what its ratio usually is.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// One of the two.
    pub a: Metric,
    /// The other.
    pub b: Metric,
    /// Median of ln(a / b) over people.
    pub usual: f64,
    /// Its spread over people.
    pub people: f64,
    /// Smallest believable spread in one person.
    pub floor: f64,
    /// Below these values the ratio says nothing.
    pub least: (f64, f64),
}

/// All pairs.
pub const LINKS: [Link; 5] = [
    Link { a: Metric::Distance, b: Metric::Steps, usual: -0.33, people: 0.18, floor: 0.05, least: (300.0, 400.0) },
    Link { a: Metric::SleepDuration, b: Metric::TimeInBed, usual: -0.10, people: 0.08, floor: 0.025, least: (3600.0, 3600.0) },
    Link { a: Metric::Bmi, b: Metric::Weight, usual: -1.09, people: 0.12, floor: 0.004, least: (8.0, 20.0) },
    Link { a: Metric::HrvSdnn, b: Metric::HrvRmssd, usual: 0.15, people: 0.35, floor: 0.08, least: (5.0, 5.0) },
    Link { a: Metric::AverageHeartRate, b: Metric::RestingHeartRate, usual: 0.17, people: 0.09, floor: 0.04, least: (25.0, 25.0) },
];

impl Link {
    /// The link a metric takes part in, and its partner there.
    pub fn of(metric: Metric) -> Option<(&'static Link, Metric)> {
        LINKS.iter().find_map(|l| match metric {
            m if m == l.a => Some((l, l.b)),
            m if m == l.b => Some((l, l.a)),
            _ => None,
        })
    }

    /// ln(a / b), where both are large enough to say something. `value` belongs to `metric`, `partner` to the other.
    pub fn ratio(&self, metric: Metric, value: f64, partner: f64) -> Option<f64> {
        let (a, b) = if metric == self.a { (value, partner) } else { (partner, value) };
        (a >= self.least.0 && b >= self.least.1).then(|| super::math::ln(a / b))
    }
}
