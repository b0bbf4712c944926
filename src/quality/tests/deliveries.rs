//! What only a whole delivery, or several sources of a day together, can say.

use super::support::*;
use crate::model::{Coverage, DayValue, FindingKind, Metric, Model};

/// Nights of a person: pulse, variability, breaths, oxygen, and how long.
const NIGHT: [(Metric, f64, f64); 5] = [
    (Metric::RestingHeartRate, 48.0, 2.0),
    (Metric::HrvRmssd, 75.0, 9.0),
    (Metric::RespiratoryRate, 13.0, 0.5),
    (Metric::Spo2, 96.5, 0.6),
    (Metric::SleepDuration, 26_000.0, 2000.0),
];

fn nights(days: u64) -> Vec<DayValue> {
    let mut all = Vec::new();
    for (i, (metric, usual, spread)) in NIGHT.into_iter().enumerate() {
        for (day, v) in around(usual, spread, days + i as u64).into_iter().skip(i).enumerate() {
            all.push(DayValue { model: Model::Sleep, ..value(metric, "oura", day as u64, v) });
        }
    }
    all
}

fn set(values: &mut [DayValue], metric: Metric, day: u64, to: f64) {
    values.iter_mut().find(|v| v.metric == metric && v.date == date(day)).unwrap().value = to;
}

#[test]
fn somebody_elses_night_is_seen_by_its_numbers_together() {
    let mut values = nights(40);
    for (metric, theirs) in [(Metric::RestingHeartRate, 60.0), (Metric::HrvRmssd, 42.0), (Metric::RespiratoryRate, 15.6)] {
        set(&mut values, metric, 39, theirs);
    }
    let night = of(&score_all(&values), Metric::SleepDuration, "oura", 39);
    assert!(night.findings.iter().any(|f| f.kind == FindingKind::OtherPerson), "{night:?}");
    // One of them alone is an unusual night.
    let mut one = nights(40);
    set(&mut one, Metric::RestingHeartRate, 39, 56.0);
    let unusual = of(&score_all(&one), Metric::SleepDuration, "oura", 39);
    assert!(!unusual.findings.iter().any(|f| f.kind == FindingKind::OtherPerson), "{unusual:?}");
}

#[test]
fn a_night_that_is_the_day_befores_to_the_last_digit_is_half_believed() {
    let mut values = nights(40);
    let sound = of(&score_all(&values), Metric::SleepDuration, "oura", 39);
    for (metric, ..) in NIGHT {
        let before = values.iter().find(|v| v.metric == metric && v.date == date(38)).unwrap().value;
        set(&mut values, metric, 39, before);
    }
    let copy = of(&score_all(&values), Metric::SleepDuration, "oura", 39);
    assert!(copy.findings.iter().any(|f| f.kind == FindingKind::Copied), "{copy:?}");
    assert!(copy.probability < 0.7 * sound.probability, "{copy:?} {sound:?}");
}

#[test]
fn of_three_sources_without_a_past_two_that_agree_speak_against_the_third() {
    let day = |watch: f64, strap: f64, ring: f64| {
        score_all(&[
            value(Metric::HrvSdnn, "watch", 0, watch),
            value(Metric::HrvSdnn, "strap", 0, strap),
            value(Metric::HrvSdnn, "ring", 0, ring),
        ])
    };
    let alone = of(&score_all(&[value(Metric::HrvSdnn, "watch", 0, 72.0)]), Metric::HrvSdnn, "watch", 0);
    let scores = day(72.0, 51.0, 50.0);
    assert!(of(&scores, Metric::HrvSdnn, "watch", 0).probability < alone.probability);
    assert!(of(&scores, Metric::HrvSdnn, "ring", 0).probability > of(&scores, Metric::HrvSdnn, "watch", 0).probability + 0.1);
    // Two alone say nothing yet.
    let two = score_all(&[value(Metric::HrvSdnn, "watch", 0, 72.0), value(Metric::HrvSdnn, "strap", 0, 51.0)]);
    assert_eq!(of(&two, Metric::HrvSdnn, "watch", 0).parts.concordance, 0.0);
}

#[test]
fn a_short_day_costs_steps_more_than_energy_and_the_pulse_hardly() {
    let short = Coverage {
        low_s: Some(1500.0),
        active_s: Some(300.0),
        inactive_s: Some(20_000.0),
        accounted_s: Some(86_400.0),
        ..Coverage::default()
    };
    let lost = |metric: Metric, usual: f64| {
        let mut values = series(metric, "apple", &around(usual, usual * 0.08, 30));
        let whole = of(&score_all(&values), metric, "apple", 29).probability;
        values[29].coverage = short.clone();
        let seen = of(&score_all(&values), metric, "apple", 29);
        seen.probability / whole
    };
    let (steps, energy, pulse) = (lost(Metric::Steps, 8000.0), lost(Metric::TotalCalories, 2400.0), lost(Metric::RestingHeartRate, 52.0));
    assert!(steps < energy && energy < pulse && steps < 0.4 && pulse == 1.0, "{steps} {energy} {pulse}");
}
