//! How each planted fault changes the reported values.

use super::device::Kind;
use super::fault::Fault;
use super::observe::{Report, Values, days_on, elsewhere, rounded};
use super::person::Person;
use super::physiology::number;
use super::rng::Rng;
use crate::model::{Metric, Model};
use chrono::NaiveDate;

/// Changes the values of a report and labels what it changed. Faults of the delivery (duplicate, order) change none.
pub(crate) fn apply(report: &mut Report, fault: Fault, r: &mut Rng, of: (&Person, Kind, Model, NaiveDate)) {
    let before = report.values.clone();
    match fault {
        Fault::PoundsKilograms => scale(&mut report.values, &[Metric::Weight], 2.204_62),
        Fault::SecondsMinutes => {
            let factor = if r.chance(0.5) { 60.0 } else { 1.0 / 60.0 };
            let durations = [Metric::SleepDuration, Metric::SleepDeep, Metric::SleepLight, Metric::SleepRem, Metric::TimeInBed];
            scale(&mut report.values, &durations, factor);
        }
        Fault::Thousandth => scale(&mut report.values, &[Metric::Distance, Metric::MuscleMass], 0.001),
        Fault::PercentFraction => {
            let metric = choose(&report.values, r, &[Metric::SleepEfficiency, Metric::Spo2, Metric::BodyFat]);
            scale(&mut report.values, metric.as_slice(), 0.01);
        }
        Fault::RmssdSdnn => exchange_variability(report),
        Fault::Spike => {
            let metric = choose(
                &report.values,
                r,
                &[Metric::Steps, Metric::RestingHeartRate, Metric::HrvRmssd, Metric::TotalCalories, Metric::RespiratoryRate],
            );
            scale(&mut report.values, metric.as_slice(), 3.0);
        }
        Fault::Stuck => stick(report, r, of),
        Fault::OtherPerson => {
            let (person, kind, model, date) = of;
            let other = Person::new(person.seed, person.index ^ (0x4000 + r.below(64) as u32));
            replace(&mut report.values, &elsewhere(&other, kind, model, date));
        }
        Fault::DayShift => {
            let (person, kind, model, date) = of;
            replace(&mut report.values, &elsewhere(person, kind, model, days_on(date, if r.chance(0.5) { 1 } else { -1 })));
        }
        Fault::ZeroForMissing => {
            let metric = choose(
                &report.values,
                r,
                &[
                    Metric::RestingHeartRate,
                    Metric::HrvRmssd,
                    Metric::HrvSdnn,
                    Metric::Spo2,
                    Metric::RespiratoryRate,
                    Metric::AverageHeartRate,
                ],
            );
            scale(&mut report.values, metric.as_slice(), 0.0);
        }
        Fault::Manual => by_hand(report, r, of.2),
        Fault::CutDay | Fault::Duplicate | Fault::OlderAfterNewer | Fault::SilentSource | Fault::ShortWear | Fault::NotWorn => {}
    }
    let cut = fault == Fault::CutDay;
    for (metric, value) in &report.values {
        let spoiled = if cut { cut_spoils(*metric) } else { before.get(metric).is_none_or(|was| was != value) };
        if spoiled && !metric.is_vendor_score() {
            report.labels.insert(*metric, fault);
        }
    }
}

/// What a day that was seen only in part gets wrong; the resting heart rate is known by noon.
pub(crate) fn cut_spoils(metric: Metric) -> bool {
    matches!(
        metric,
        Metric::Steps
            | Metric::Distance
            | Metric::ActiveCalories
            | Metric::TotalCalories
            | Metric::ActiveMinutes
            | Metric::AverageHeartRate
            | Metric::MaxHeartRate
    )
}

/// One of the metrics that the record has, if any.
fn choose(values: &Values, r: &mut Rng, among: &[Metric]) -> Option<Metric> {
    let there: Vec<Metric> = among.iter().copied().filter(|metric| values.contains_key(metric)).collect();
    there.get(r.below(there.len() as u64) as usize).copied()
}

fn scale(values: &mut Values, metrics: &[Metric], factor: f64) {
    for metric in metrics {
        if let Some(value) = values.get_mut(metric) {
            // Two digits more than usual: a wrong unit keeps its digits.
            *value = (*value * factor * 10_000.0).round() / 10_000.0;
        }
    }
}

fn replace(values: &mut Values, by: &Values) {
    for (metric, value) in values {
        if let Some(other) = by.get(metric) {
            *value = *other;
        }
    }
}

/// RMSSD's field carries SDNN, or the other way round.
fn exchange_variability(report: &mut Report) {
    let (rmssd, sdnn) = (report.day.rmssd, report.day.sdnn);
    for (metric, factor) in [(Metric::HrvRmssd, sdnn / rmssd), (Metric::HrvSdnn, rmssd / sdnn)] {
        if let Some(value) = report.values.get_mut(&metric) {
            *value = rounded(metric, *value * factor);
        }
    }
}

/// One metric keeps the value it had on the first day of the week of days.
fn stick(report: &mut Report, r: &mut Rng, (person, kind, model, date): (&Person, Kind, Model, NaiveDate)) {
    let metric = choose(
        &report.values,
        r,
        &[Metric::RestingHeartRate, Metric::HrvRmssd, Metric::HrvSdnn, Metric::RespiratoryRate, Metric::TotalCalories, Metric::Steps],
    );
    let first = days_on(date, -number(date).rem_euclid(7));
    let held = elsewhere(person, kind, model, first);
    if let Some((metric, value)) = metric.and_then(|metric| Some((metric, *held.get(&metric)?))) {
        report.values.insert(metric, value);
    }
}

/// Somebody typed a rounder, usually rosier number.
fn by_hand(report: &mut Report, r: &mut Rng, model: Model) {
    report.manual = true;
    if model == Model::Daily {
        let rosier = r.between(1.0, 1.6);
        if let Some(steps) = report.values.get_mut(&Metric::Steps) {
            *steps = (*steps * rosier / 500.0).ceil() * 500.0;
        }
        return;
    }
    let half_hours = |seconds: f64| (seconds / 1_800.0).round() * 1_800.0;
    let bed = report.values.get(&Metric::TimeInBed).copied().unwrap_or_default();
    let asleep = half_hours(bed * r.between(0.9, 1.0)).min(half_hours(bed));
    report.values.insert(Metric::SleepDuration, asleep);
    report.values.insert(Metric::TimeInBed, half_hours(bed).max(asleep));
    // A night typed in has no stages and no physiology.
    report.values.retain(|metric, _| matches!(metric, Metric::SleepDuration | Metric::TimeInBed));
}
