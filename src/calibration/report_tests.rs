//! The guard against regression: a small world, the same each time. The bounds are what was reached, with a little room; the
//! aims are higher and `assay calibrate` shows both.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::super::{baselines, judge};
use super::*;
use chrono::NaiveDate;

/// Fault kind, the AUROC it must keep, and which baselines it must beat: where one of them is without fault too, or better, it
/// need not.
const FAULTS: [(&str, f64, [bool; 3]); 14] = [
    ("short_wear", 0.76, [true, true, true]),
    ("not_worn", 0.99, [true, false, true]),
    ("pounds_kilograms", 0.97, [true, true, false]),
    ("seconds_minutes", 0.99, [true, true, true]),
    ("thousandth", 0.98, [true, true, false]),
    ("percent_fraction", 0.98, [true, true, false]),
    ("rmssd_sdnn", 0.82, [true, true, false]),
    ("spike", 0.98, [true, true, true]),
    ("stuck", 0.92, [true, true, true]),
    ("other_person", 0.69, [true, true, true]),
    ("day_shift", 0.58, [true, true, true]),
    ("cut_day", 0.93, [true, true, true]),
    ("zero_for_missing", 0.98, [true, true, false]),
    ("manual", 0.97, [true, true, true]),
];

/// The same of short wear by minutes.
const WEAR: [(&str, f64, [bool; 3]); 2] =
    [("worn 600–1199 min, steps", 0.83, [true, true, true]), ("worn 600–1199 min, total_calories", 0.74, [true, false, true])];

#[test]
fn the_score_keeps_what_it_reached_on_planted_truth() {
    let end = NaiveDate::from_ymd_opt(2026, 3, 31).unwrap();
    let world = World::with(17, 10, 80, end, 0.06, 2);
    let registry = Registry::built_in();
    let report = report(&judge::world(&world, registry), registry, 20, 1);
    println!("{}", report.markdown());
    assert!(report.calibration_error.unwrap().value <= 0.045);
    assert!(report.overall.ours.unwrap().value >= 0.80);
    for (i, name) in baselines::NAMES.iter().enumerate() {
        assert!(report.overall.ours.unwrap().value > report.overall.baselines[i].unwrap().value + 0.1, "{name}");
    }
    assert!(report.spearman.unwrap().value <= -0.57);
    let deciles = &report.error_by_decile;
    assert!(deciles.first().unwrap().value > 3.0 * deciles.last().unwrap().value, "{deciles:?}");
    assert_eq!(report.faults.len(), FAULTS.len(), "a fault kind without a bound");
    let lines: Vec<&Line> = report.faults.iter().chain(&report.wear).collect();
    for (name, least, beaten) in FAULTS.iter().chain(&WEAR) {
        let line = lines.iter().find(|l| l.name == *name).unwrap_or_else(|| panic!("{name} is not planted"));
        let ours = line.ours.unwrap().value;
        assert!(ours >= *least, "{line:?}");
        for i in (0..3).filter(|i| beaten[*i]) {
            assert!(ours > line.baselines[i].unwrap().value, "{}: {line:?}", baselines::NAMES[i]);
        }
    }
}

/// What has no interval has a reason, and every figure that has one is inside of it.
#[test]
fn every_figure_of_a_report_has_its_interval() {
    let world = World::with(3, 8, 40, NaiveDate::from_ymd_opt(2026, 3, 31).unwrap(), 0.08, 2);
    let registry = Registry::built_in();
    let report = report(&judge::world(&world, registry), registry, 60, 1);
    let b = report.brier.unwrap();
    let figures = [report.calibration_error, report.calibration_error_studied, report.calibration_error_assumed, report.spearman]
        .into_iter()
        .chain([b.score, b.miscalibration, b.discrimination, b.uncertainty].map(Some))
        .chain(report.error_by_decile.iter().copied().map(Some))
        .chain([report.overall.ours, report.precision.ours])
        .chain(report.overall.baselines)
        .chain(report.metrics.iter().filter(|m| m.metric == Metric::RestingHeartRate).flat_map(|m| [Some(m.calibration_error), m.auroc]));
    for figure in figures {
        let figure = figure.unwrap();
        let (low, high) = figure.interval.unwrap();
        assert!(low <= figure.value && figure.value <= high && low < high, "{figure}");
    }
    assert!((b.score.value - (b.miscalibration.value - b.discrimination.value + b.uncertainty.value)).abs() < 1e-12);
    assert!(report.not_seen.iter().all(|u| !u.why.is_empty()), "what is not seen says why");
    let text = report.markdown();
    assert!(text.contains("| good against bad |") && text.contains("Expected calibration error 0."), "{text}");
}

#[test]
fn every_fault_kind_has_a_sentence_why_it_may_not_be_seen() {
    for fault in Fault::ALL {
        assert!(!fault.hidden_because().is_empty(), "{fault}");
    }
}
