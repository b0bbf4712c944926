//! Values to score.

use crate::model::{Coverage, DayValue, Metric, Model, Ordering, Origin, Source, UploadKind};
use crate::quality::{Registry, Reviews, Score, score_person};
use chrono::{DateTime, Days, NaiveDate};

pub fn date(day: u64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 1).unwrap().checked_add_days(Days::new(day)).unwrap()
}

pub fn source(name: &str) -> Source {
    Source::from_provider(name)
}

/// A value by the device, of a day that was worn whole.
pub fn value(metric: Metric, from: &str, day: u64, value: f64) -> DayValue {
    let model = match metric.category() {
        crate::model::Category::Sleep => Model::Sleep,
        crate::model::Category::Body => Model::Body,
        _ => Model::Daily,
    };
    let coverage = if model == Model::Daily {
        Coverage {
            low_s: Some(12_000.0),
            active_s: Some(2_400.0),
            inactive_s: Some(43_200.0),
            accounted_s: Some(57_600.0),
            ..Coverage::default()
        }
    } else {
        Coverage::default()
    };
    DayValue {
        metric,
        source: source(from),
        date: date(day),
        value,
        model,
        measured_at: None,
        ordering: Ordering { ms: day as i64, trace_id: format!("t{day}") },
        received_at: DateTime::UNIX_EPOCH,
        origin: Origin { upload: UploadKind::Automatic, ..Origin::default() },
        coverage,
        findings: Vec::new(),
    }
}

/// A series of days from 0 on.
pub fn series(metric: Metric, from: &str, values: &[f64]) -> Vec<DayValue> {
    values.iter().enumerate().map(|(day, v)| value(metric, from, day as u64, *v)).collect()
}

/// Days around a middle, deterministic, never the same twice in a row.
pub fn around(middle: f64, spread: f64, days: u64) -> Vec<f64> {
    (0..days).map(|d| middle + spread * (((d * 7919 + 13) % 101) as f64 / 50.0 - 1.0)).collect()
}

pub fn score_all(values: &[DayValue]) -> Vec<Score> {
    score_with(values, &Reviews::none())
}

pub fn score_with(values: &[DayValue], reviews: &Reviews) -> Vec<Score> {
    score_person(values, reviews, Registry::built_in(), NaiveDate::MIN..=NaiveDate::MAX)
}

pub fn of(scores: &[Score], metric: Metric, from: &str, day: u64) -> Score {
    let found = scores.iter().find(|s| s.metric == metric && s.source.as_str() == from && s.date == date(day));
    found.unwrap_or_else(|| panic!("no score of {} from {from} on day {day}", metric.key())).clone()
}

/// The score of the last day of a history followed by one more value.
pub fn after(metric: Metric, from: &str, history: &[f64], last: f64) -> Score {
    let mut values = history.to_vec();
    values.push(last);
    of(&score_all(&series(metric, from, &values)), metric, from, history.len() as u64)
}

/// Cases of a property that are the same in every run; nothing is written beside the sources.
pub fn always_the_same(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(20_260_101),
        ..proptest::test_runner::Config::default()
    }
}
