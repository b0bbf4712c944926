//! The day's values from the day's records: which model is believed first, what is summed, what is the last word.
//!
//! Main sleeps are summed or averaged by their length, naps stay apart; the last weighing counts; a workout never gives a
//! day's value. Two sleeps of one provider that overlap are two tellings of one night, and the later telling counts.

use super::merge::{Stamp, StoredRecord, StoredValue};
use crate::model::{Coverage, DayValue, Finding, FindingKind, Instant, Metric, Model, Origin, Source, UploadKind};
use chrono::NaiveDate;
use uuid::Uuid;

/// A day's value and the delivery it last came from.
#[derive(Debug, Clone, PartialEq)]
pub struct DayReading {
    /// The value.
    pub value: DayValue,
    /// The latest delivery that contributed.
    pub delivery_id: Uuid,
}

/// How a metric's day value is made from several records of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// One record a day gives it; the latest delivery's, should there be several.
    Single,
    /// Main sleeps are added up.
    Sum,
    /// Main sleeps are averaged, weighted by their length.
    Mean,
    /// The latest measurement of the day.
    Last,
}

/// The models a metric's day value is taken from, in order of preference.
pub const fn preference(metric: Metric) -> &'static [(Model, Rule)] {
    use Metric as M;
    const DAILY: (Model, Rule) = (Model::Daily, Rule::Single);
    const NIGHT: (Model, Rule) = (Model::Sleep, Rule::Mean);
    const NIGHTS: (Model, Rule) = (Model::Sleep, Rule::Sum);
    const BODY: (Model, Rule) = (Model::Body, Rule::Last);
    match metric {
        M::Steps
        | M::Distance
        | M::ActiveCalories
        | M::TotalCalories
        | M::ActiveMinutes
        | M::AverageHeartRate
        | M::MaxHeartRate
        | M::MinHeartRate
        | M::StressLevel
        | M::RecoveryScore
        | M::DayStrain => &[DAILY],
        M::RestingHeartRate | M::Spo2 => &[NIGHT, DAILY, BODY],
        M::HrvRmssd | M::HrvSdnn | M::RespiratoryRate | M::SkinTemperatureDelta | M::SleepScore | M::ReadinessScore => &[NIGHT, DAILY],
        M::SleepDuration | M::SleepDeep | M::SleepLight | M::SleepRem | M::TimeInBed => &[NIGHTS],
        M::SleepEfficiency => &[NIGHT],
        M::Weight | M::BodyFat | M::MuscleMass | M::Bmi | M::BloodGlucose | M::SystolicBp | M::DiastolicBp => &[BODY],
        M::Vo2max => &[DAILY, BODY],
        M::WaterIntake => &[(Model::Nutrition, Rule::Single), BODY],
    }
}

/// The day's values of one source, without the deliveries' ids.
pub fn day_values<'r>(records: impl IntoIterator<Item = &'r StoredRecord>, source: &Source, date: NaiveDate) -> Vec<DayValue> {
    day_readings(records, source, date).into_iter().map(|reading| reading.value).collect()
}

/// The day's values of one source, at most one a metric, in the order of [`Metric::ALL`]. Records of other sources and
/// days are passed over.
pub fn day_readings<'r>(records: impl IntoIterator<Item = &'r StoredRecord>, source: &Source, date: NaiveDate) -> Vec<DayReading> {
    let mut live: Vec<&StoredRecord> =
        records.into_iter().filter(|r| !r.record.deleted && r.record.date == date && r.source == *source && !r.record.nap).collect();
    live.sort_by(|a, b| (a.record.end, &a.record.key).cmp(&(b.record.end, &b.record.key)));
    let overtold = overtold(&live);
    Metric::ALL
        .iter()
        .filter_map(|metric| {
            preference(*metric).iter().find_map(|(model, rule)| {
                let parts: Vec<Part<'_>> = live
                    .iter()
                    .filter(|r| r.record.model == *model && !overtold.contains(&r.record.key.as_str()))
                    .filter_map(|r| r.get(*metric).map(|value| Part { record: r, value }))
                    .collect();
                let nights = live.iter().filter(|r| r.record.model == Model::Sleep && !overtold.contains(&r.record.key.as_str())).count();
                let mut reading = combine(*metric, *rule, &parts, source, date)?;
                finish(&mut reading, *model, nights, parts.len(), !overtold.is_empty());
                Some(reading)
            })
        })
        .collect()
}

struct Part<'r> {
    record: &'r StoredRecord,
    value: &'r StoredValue,
}

/// Keys of main sleeps that another sleep of the same provider tells again, by a later delivery: they overlap by more than
/// half of the shorter one. Without this a night whose end was corrected, and that has no id, would count twice.
fn overtold<'r>(live: &[&'r StoredRecord]) -> Vec<&'r str> {
    let sleeps: Vec<(&'r StoredRecord, Instant, Instant)> = live
        .iter()
        .filter(|r| r.record.model == Model::Sleep)
        .filter_map(|r| Some((*r, r.record.start?, r.record.end?)))
        .filter(|(_, start, end)| end > start)
        .collect();
    let mut kept: Vec<(&'r StoredRecord, Instant, Instant)> = Vec::new();
    let mut dropped = Vec::new();
    let mut by_age = sleeps;
    by_age.sort_by(|a, b| (&b.0.stamp.ordering, &b.0.record.key).cmp(&(&a.0.stamp.ordering, &a.0.record.key)));
    for (record, start, end) in by_age {
        let told = kept.iter().any(|(_, other_start, other_end)| {
            let common = end.min(*other_end) - start.max(*other_start);
            common * 2 > (end - start).min(*other_end - *other_start)
        });
        if told {
            dropped.push(record.record.key.as_str());
        } else {
            kept.push((record, start, end));
        }
    }
    dropped
}

fn combine(metric: Metric, rule: Rule, parts: &[Part<'_>], source: &Source, date: NaiveDate) -> Option<DayReading> {
    let used: Vec<&Part<'_>> = match rule {
        Rule::Sum | Rule::Mean => parts.iter().collect(),
        Rule::Single => parts.iter().max_by(|a, b| a.value.stamp.ordering.cmp(&b.value.stamp.ordering)).into_iter().collect(),
        // A record with a time of its own before a day's average; they are sorted by end.
        Rule::Last => parts.iter().max_by_key(|part| is_measurement(part.record)).into_iter().collect(),
    };
    let newest = used.iter().max_by(|a, b| a.value.stamp.ordering.cmp(&b.value.stamp.ordering))?;
    let Stamp { ordering, delivery_id, received_at } = newest.value.stamp.clone();
    let value = match rule {
        Rule::Sum => used.iter().map(|part| part.value.value).sum(),
        Rule::Mean if used.len() > 1 => weighted_mean(&used),
        Rule::Mean | Rule::Single | Rule::Last => used.last()?.value.value,
    };
    let mut findings: Vec<Finding> = Vec::new();
    for finding in used.iter().flat_map(|part| part.record.record.findings.iter().chain(&part.value.findings)) {
        if finding.metric.is_none_or(|about| about == metric) && !findings.contains(finding) {
            findings.push(finding.clone());
        }
    }
    let reading = DayValue {
        metric,
        source: source.clone(),
        date,
        value,
        model: newest.record.record.model,
        measured_at: used.iter().filter_map(|part| part.record.record.end).max(),
        ordering,
        received_at,
        origin: origin(&used, newest.record),
        coverage: used.iter().map(|part| part.record.record.coverage.clone()).reduce(together).unwrap_or_default(),
        findings,
    };
    reading.value.is_finite().then_some(DayReading { value: reading, delivery_id })
}

fn is_measurement(record: &StoredRecord) -> bool {
    record.record.start.is_some() && record.record.start == record.record.end
}

/// Weighted by time in bed, else time asleep, else start to end; a length that is unknown counts as the mean of the others.
fn weighted_mean(parts: &[&Part<'_>]) -> f64 {
    let lengths: Vec<Option<f64>> = parts.iter().map(|part| length(part.record).filter(|length| *length > 0.0)).collect();
    let known: Vec<f64> = lengths.iter().flatten().copied().collect();
    let count = |n: usize| u32::try_from(n).map_or(f64::INFINITY, f64::from);
    let usual = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / count(known.len()) };
    let weights: Vec<f64> = lengths.iter().map(|length| length.unwrap_or(usual)).collect();
    parts.iter().zip(&weights).map(|(part, weight)| part.value.value * weight).sum::<f64>() / weights.iter().sum::<f64>()
}

fn length(record: &StoredRecord) -> Option<f64> {
    let value = |metric| record.get(metric).map(|value| value.value);
    value(Metric::TimeInBed)
        .or_else(|| value(Metric::SleepDuration))
        .or_else(|| Some(super::coverage::seconds(record.record.end? - record.record.start?)))
}

/// The newest record's origin; by hand, tentative or third-party when any part of the value was.
fn origin(used: &[&Part<'_>], newest: &StoredRecord) -> Origin {
    let mut origin = newest.record.origin.clone();
    for doubtful in [UploadKind::Manual, UploadKind::ThirdParty, UploadKind::Tentative] {
        if used.iter().any(|part| part.record.record.origin.upload == doubtful) {
            origin.upload = doubtful;
            break;
        }
    }
    origin
}

/// The coverage of two sessions together: seconds and counts add up.
fn together(a: Coverage, b: Coverage) -> Coverage {
    let s = |x: Option<f64>, y: Option<f64>| x.into_iter().chain(y).reduce(|x, y| x + y);
    let n = |x: Option<u32>, y: Option<u32>| x.into_iter().chain(y).reduce(u32::saturating_add);
    Coverage {
        heart_rate_samples: n(a.heart_rate_samples, b.heart_rate_samples),
        heart_rate_span_s: s(a.heart_rate_span_s, b.heart_rate_span_s),
        accounted_s: s(a.accounted_s, b.accounted_s),
        inactive_s: s(a.inactive_s, b.inactive_s),
        low_s: s(a.low_s, b.low_s),
        active_s: s(a.active_s, b.active_s),
        rest_s: s(a.rest_s, b.rest_s),
        hypnogram_s: s(a.hypnogram_s, b.hypnogram_s),
        unmeasurable_s: s(a.unmeasurable_s, b.unmeasurable_s),
        awake_s: s(a.awake_s, b.awake_s),
        samples: n(a.samples, b.samples),
        spo2_samples: n(a.spo2_samples, b.spo2_samples),
        cut_s: s(a.cut_s, b.cut_s),
    }
}

/// Adds what only the day as a whole shows.
fn finish(reading: &mut DayReading, model: Model, nights: usize, used: usize, overtold: bool) {
    if model != Model::Sleep {
        return;
    }
    let metric = Some(reading.value.metric);
    let mut note = |kind, detail: String| reading.value.findings.push(Finding { kind, metric, detail, proposed: None });
    if used < nights {
        note(FindingKind::MissingPart, format!("{used} of the day's {nights} sleeps gave it"));
    }
    if overtold {
        note(FindingKind::Copied, "the provider sent overlapping sleeps; the latest one counts".to_owned());
    }
}
