//! What the score has to beat: the earlier system's formula and two simple ideas. Higher means more trusted.

use crate::model::{Category, DayValue, Metric};
use crate::quality::{MetricRule, Registry};
use chrono::NaiveDate;
use std::collections::HashMap;

/// Their names, in the order of [`of_person`].
pub const NAMES: [&str; 3] = ["earlier formula", "metrics that came", "own 28-day median"];

/// The three baselines of each of a person's values, as fractions of 1, in the order of the values.
pub fn of_person(values: &[DayValue], registry: &Registry) -> Vec<[f64; 3]> {
    let mut days: HashMap<(&str, NaiveDate), u32> = HashMap::new();
    let mut series: HashMap<(Metric, &str), Vec<(NaiveDate, f64)>> = HashMap::new();
    let mut same_day: HashMap<(Metric, NaiveDate), Vec<(&str, f64)>> = HashMap::new();
    for v in values {
        *days.entry((v.source.as_str(), v.date)).or_default() += 1;
        series.entry((v.metric, v.source.as_str())).or_default().push((v.date, v.value));
        same_day.entry((v.metric, v.date)).or_default().push((v.source.as_str(), v.value));
    }
    for all in series.values_mut() {
        all.sort_by_key(|d| d.0);
    }
    let of = |v: &DayValue| {
        let own = series.get(&(v.metric, v.source.as_str())).map_or(&[][..], Vec::as_slice);
        let before: Vec<f64> = own.iter().filter(|(d, _)| *d < v.date && (v.date - *d).num_days() <= 28).map(|d| d.1).collect();
        let month = own.iter().filter(|(d, _)| *d <= v.date && (v.date - *d).num_days() < 30).count();
        let that_day = same_day.get(&(v.metric, v.date)).map_or(&[][..], Vec::as_slice);
        [
            earlier(v.metric, v.source.as_str(), month, that_day),
            f64::from(*days.get(&(v.source.as_str(), v.date)).unwrap_or(&0)) / 34.0,
            registry.rule(v.metric).map_or(0.5, |rule| against_median(rule, v.value, before)),
        ]
    };
    values.iter().map(of).collect()
}

/// The earlier system's sum of four hand-set scales, as it would have been the morning after (freshness 18 of 20):
/// reliability by a table, rows of the last 30 days, deviation from the mean of the day's sources.
fn earlier(metric: Metric, source: &str, month: usize, that_day: &[(&str, f64)]) -> f64 {
    let frequency = match month {
        28.. => 20.0,
        12.. => 15.0,
        4.. => 10.0,
        1.. => 5.0,
        0 => 0.0,
    };
    let agreement = if that_day.len() < 2 {
        10.0
    } else {
        let n = that_day.len() as f64;
        let mean = that_day.iter().map(|v| v.1).sum::<f64>() / n;
        let off = that_day.iter().map(|v| (v.1 - mean).abs()).sum::<f64>() / n / mean.abs().max(1e-9) * 100.0;
        match off {
            x if x < 2.0 => 20.0,
            x if x < 5.0 => 15.0,
            x if x < 10.0 => 10.0,
            x if x < 20.0 => 5.0,
            _ => 0.0,
        }
    };
    (reliability(metric, source) * 4.0 + 18.0 + frequency + agreement) / 100.0
}

/// Its table of sources, 1 to 10; unknown ones count 5.
fn reliability(metric: Metric, source: &str) -> f64 {
    let recovery = matches!(metric, Metric::HrvRmssd | Metric::HrvSdnn);
    match (metric.category(), source) {
        (Category::Body, "inbody") => 10.0,
        (Category::Body, "withings") => 8.0,
        (Category::Body, "manual") => 6.0,
        (Category::Activity, "whoop") => 9.0,
        (Category::Activity, "apple") => 8.0,
        (Category::Heart, "whoop") if recovery => 10.0,
        (Category::Heart, "apple") if recovery => 6.0,
        (Category::Heart, "whoop") => 9.0,
        (Category::Heart, "apple") => 8.0,
        (Category::Sleep, "whoop") => 9.0,
        (Category::Sleep, "apple") => 7.0,
        (Category::Vital, "apple") => 8.0,
        _ => 5.0,
    }
}

/// How near a value is to the person's own median, in robust spreads: 1 at the median, falling to 0.
fn against_median(rule: &MetricRule, value: f64, before: Vec<f64>) -> f64 {
    let mut scaled: Vec<f64> = before.into_iter().map(|v| rule.scaled(v)).collect();
    if scaled.len() < 3 {
        return 0.5;
    }
    scaled.sort_by(f64::total_cmp);
    let median = scaled[scaled.len() / 2];
    let mut off: Vec<f64> = scaled.iter().map(|v| (v - median).abs()).collect();
    off.sort_by(f64::total_cmp);
    let spread = (1.4826 * off[off.len() / 2]).max(rule.floor);
    1.0 / (1.0 + ((rule.scaled(value) - median) / spread).abs())
}
