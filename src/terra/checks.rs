//! Arithmetic inside one record: parts against wholes, zeros that cannot be. Findings only; no value is changed.
//!
//! Which of two numbers is wrong is not known here, so a contradiction is noted at each metric that takes part. Hard
//! limits of single values are the scorer's.

use super::coverage::seconds;
use super::reader::Reader;
use super::time::Moment;
use crate::model::{Coverage, Finding, FindingKind, Metric, Model};

/// Durations that differ by no more than this are equal: providers round to minutes.
const ROUNDING_S: f64 = 120.0;

/// Metrics that are never zero in a living person.
const NEVER_ZERO: &[Metric] = &[
    Metric::RestingHeartRate,
    Metric::AverageHeartRate,
    Metric::MaxHeartRate,
    Metric::MinHeartRate,
    Metric::HrvRmssd,
    Metric::HrvSdnn,
    Metric::RespiratoryRate,
    Metric::Spo2,
    Metric::Weight,
    Metric::BodyFat,
    Metric::MuscleMass,
    Metric::Bmi,
    Metric::Vo2max,
    Metric::BloodGlucose,
    Metric::SystolicBp,
    Metric::DiastolicBp,
];

struct Values<'v>(&'v [(Metric, f64)]);

impl Values<'_> {
    fn get(&self, metric: Metric) -> Option<f64> {
        self.0.iter().find(|(known, _)| *known == metric).map(|(_, value)| *value)
    }
}

fn inconsistent(reader: &mut Reader<'_>, metrics: &[Metric], detail: &str) {
    for metric in metrics {
        reader.note(FindingKind::Inconsistent, Some(*metric), detail.to_owned());
    }
}

/// Checks a whole record.
pub(super) fn record(
    reader: &mut Reader<'_>,
    model: Model,
    values: &[(Metric, f64)],
    seen: &Coverage,
    start: Option<Moment>,
    end: Option<Moment>,
) {
    zeros(reader, values);
    let values = Values(values);
    heart(reader, &values);
    if let (Some(active), Some(total)) = (values.get(Metric::ActiveCalories), values.get(Metric::TotalCalories))
        && active > total
    {
        inconsistent(
            reader,
            &[Metric::ActiveCalories, Metric::TotalCalories],
            &format!("active energy {active} kcal is more than the total of {total} kcal"),
        );
    }
    if let (Some(high), Some(low)) = (values.get(Metric::SystolicBp), values.get(Metric::DiastolicBp))
        && high <= low
    {
        inconsistent(
            reader,
            &[Metric::SystolicBp, Metric::DiastolicBp],
            &format!("systolic {high} mmHg is not above diastolic {low} mmHg"),
        );
    }
    if let Some(accounted) = seen.accounted_s.filter(|accounted| model == Model::Daily && *accounted > 86_400.0 + 3_600.0 + ROUNDING_S) {
        inconsistent(reader, &[Metric::ActiveMinutes], &format!("the activity durations add up to {accounted} s, more than a day"));
    }
    if let (Some(start), Some(end)) = (start, end)
        && end.instant < start.instant
    {
        reader.note(FindingKind::Inconsistent, None, "the end lies before the start".to_owned());
    }
    if model == Model::Sleep {
        sleep(reader, &values, seen, start, end);
    }
}

/// Checks a single measurement, whose weight, height and body mass index must agree.
pub(super) fn measurement(reader: &mut Reader<'_>, values: &[(Metric, f64)]) {
    zeros(reader, values);
    let values = Values(values);
    let height = reader.number("height_cm", None).filter(|cm| *cm > 0.0);
    if let (Some(weight), Some(bmi), Some(cm)) = (values.get(Metric::Weight), values.get(Metric::Bmi), height) {
        let expected = weight / (cm / 100.0).powi(2);
        if (expected - bmi).abs() > 0.05 * bmi.abs() {
            inconsistent(reader, &[Metric::Weight, Metric::Bmi], &format!("{weight} kg at {cm} cm is a BMI of {expected:.1}, not {bmi}"));
        }
    }
    if let (Some(weight), Some(muscle)) = (values.get(Metric::Weight), values.get(Metric::MuscleMass))
        && muscle > weight
    {
        inconsistent(
            reader,
            &[Metric::Weight, Metric::MuscleMass],
            &format!("muscle mass {muscle} kg is more than the weight of {weight} kg"),
        );
    }
}

fn zeros(reader: &mut Reader<'_>, values: &[(Metric, f64)]) {
    for (metric, value) in values {
        if *value == 0.0 && NEVER_ZERO.contains(metric) {
            reader.note(
                FindingKind::ZeroForMissing,
                Some(*metric),
                format!("{} is exactly 0, which usually stands for \"not measured\"", metric.name()),
            );
        }
        // A percentage of a body or of blood is never below 1; a fraction is the likely reading.
        if matches!(metric, Metric::Spo2 | Metric::BodyFat) && *value > 0.0 && *value <= 1.0 {
            reader.propose(Finding {
                kind: FindingKind::FractionPercent,
                metric: Some(*metric),
                detail: format!("{} is {value} %; it may be a fraction", metric.name()),
                proposed: Some(value * 100.0),
            });
        }
    }
}

fn heart(reader: &mut Reader<'_>, values: &Values<'_>) {
    let (low, mean, high) = (values.get(Metric::MinHeartRate), values.get(Metric::AverageHeartRate), values.get(Metric::MaxHeartRate));
    for (small, small_metric, large, large_metric) in [
        (low, Metric::MinHeartRate, mean, Metric::AverageHeartRate),
        (mean, Metric::AverageHeartRate, high, Metric::MaxHeartRate),
        (low, Metric::MinHeartRate, high, Metric::MaxHeartRate),
        (values.get(Metric::RestingHeartRate), Metric::RestingHeartRate, high, Metric::MaxHeartRate),
    ] {
        if let (Some(small), Some(large)) = (small, large)
            && small > large
        {
            let detail = format!("{} {small} bpm is above {} {large} bpm", small_metric.name(), large_metric.name());
            inconsistent(reader, &[small_metric, large_metric], &detail);
        }
    }
}

fn sleep(reader: &mut Reader<'_>, values: &Values<'_>, seen: &Coverage, start: Option<Moment>, end: Option<Moment>) {
    use Metric::{SleepDeep, SleepDuration, SleepEfficiency, SleepLight, SleepRem, TimeInBed};
    let (asleep, bed) = (values.get(SleepDuration), values.get(TimeInBed));
    let stages = [SleepDeep, SleepLight, SleepRem].map(|stage| values.get(stage));
    let sum: f64 = stages.iter().flatten().sum();
    if let Some(asleep) = asleep {
        let complete = stages.iter().all(Option::is_some);
        let slack = ROUNDING_S.max(0.02 * asleep);
        if stages.iter().any(Option::is_some) && (sum > asleep + slack || (complete && sum < asleep - slack)) {
            inconsistent(
                reader,
                &[SleepDuration, SleepDeep, SleepLight, SleepRem],
                &format!("the stages add up to {sum} s, asleep is {asleep} s"),
            );
        }
    }
    if let (Some(asleep), Some(bed)) = (asleep, bed) {
        let awake = seen.awake_s.unwrap_or(0.0);
        if asleep > bed + ROUNDING_S {
            inconsistent(reader, &[SleepDuration, TimeInBed], &format!("asleep {asleep} s is more than the {bed} s in bed"));
        } else if asleep + awake > bed + ROUNDING_S.max(0.02 * bed) {
            inconsistent(
                reader,
                &[SleepDuration, TimeInBed],
                &format!("asleep {asleep} s and awake {awake} s are more than the {bed} s in bed"),
            );
        }
        if let Some(efficiency) = values.get(SleepEfficiency)
            && bed > 0.0
            && (efficiency - 100.0 * asleep / bed).abs() > 15.0
        {
            inconsistent(
                reader,
                &[SleepEfficiency],
                &format!("efficiency {efficiency} % does not fit {asleep} s asleep of {bed} s in bed"),
            );
        }
    }
    if let (Some(start), Some(end)) = (start, end) {
        let span = seconds(end.instant - start.instant);
        for (metric, value) in [(SleepDuration, asleep), (TimeInBed, bed)] {
            if let Some(value) = value.filter(|value| span > 0.0 && *value > span + ROUNDING_S.max(0.02 * span)) {
                inconsistent(reader, &[metric], &format!("{} {value} s is longer than the {span} s from start to end", metric.name()));
            }
        }
    }
}
