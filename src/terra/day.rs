//! The day's values from the day's records: which model is believed first, what is summed, what is the last word.
//!
//! Main sleeps are summed or averaged by their length, naps stay apart; the last weighing counts; a workout never gives a
//! day's value. Two sleeps of one provider that overlap are two tellings of one sleep, of which one counts.

use super::merge::{Stamp, StoredRecord, StoredValue};
use crate::model::{Coverage, DayValue, Finding, FindingKind, Instant, Metric, Model, Origin, Source, UploadKind};
use chrono::{NaiveDate, TimeDelta};
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
        records.into_iter().filter(|r| !r.record.deleted && r.record.date == date && r.source == *source).collect();
    live.sort_by(|a, b| (a.record.end, &a.record.key).cmp(&(b.record.end, &b.record.key)));
    // Naps go only afterwards: a nap can be the later telling of what was called a main sleep before.
    let overtold = overtold(&live);
    let told_again = overtold.iter().any(|lost| !lost.is_nap());
    live.retain(|r| !r.is_nap() && !overtold.iter().any(|lost| std::ptr::eq(*lost, *r)));
    let nights = live.iter().filter(|r| r.record.model == Model::Sleep).count();
    Metric::ALL
        .iter()
        .filter_map(|metric| {
            preference(*metric).iter().find_map(|(model, rule)| {
                let parts: Vec<Part<'_>> = live
                    .iter()
                    .filter(|r| r.record.model == *model)
                    .filter_map(|r| r.get(*metric).map(|value| Part { record: r, value }))
                    .collect();
                let mut reading = combine(*metric, *rule, &parts, source, date)?;
                finish(&mut reading, *model, nights, parts.len(), told_again);
                Some(reading)
            })
        })
        .collect()
}

struct Part<'r> {
    record: &'r StoredRecord,
    value: &'r StoredValue,
}

/// A sleep with the times that tell it from others.
struct Told<'r> {
    record: &'r StoredRecord,
    start: Instant,
    end: Instant,
}

impl<'r> Told<'r> {
    /// `None` for what is no sleep, or has no length.
    fn of(record: &'r StoredRecord) -> Option<Self> {
        let told = Self { record, start: record.record.start?, end: record.record.end? };
        (record.record.model == Model::Sleep && told.end > told.start).then_some(told)
    }

    fn length(&self) -> TimeDelta {
        self.end - self.start
    }

    fn overlap(&self, other: &Told<'_>) -> TimeDelta {
        self.end.min(other.end) - self.start.max(other.start)
    }

    /// Whether both tell the same sleep: they overlap by more than half of the shorter one.
    fn is(&self, other: &Told<'_>) -> bool {
        self.overlap(other) * 2 > self.length().min(other.length())
    }

    /// Whether this telling counts and the other does not. Two tellings of the whole sleep share more than half of the
    /// longer one, and the later counts; else the shorter one is a fragment, and no fragment replaces a night.
    fn beats(&self, other: &Told<'_>) -> bool {
        let (mine, theirs) = (self.length(), other.length());
        if !self.is(other) {
            false
        } else if self.overlap(other) * 2 > mine.max(theirs) {
            (&self.record.stamp.ordering, mine, &self.record.record.key) > (&other.record.stamp.ordering, theirs, &other.record.record.key)
        } else {
            mine > theirs
        }
    }
}

/// The sleeps that another sleep of the same provider tells again or contains. Without this a night whose end was
/// corrected, and that has no id, would count twice.
fn overtold<'r>(live: &[&'r StoredRecord]) -> Vec<&'r StoredRecord> {
    let mut open: Vec<Told<'r>> = live.iter().copied().filter_map(Told::of).collect();
    open.sort_by(|a, b| {
        (b.length(), &b.record.stamp.ordering, &b.record.record.key).cmp(&(a.length(), &a.record.stamp.ordering, &a.record.record.key))
    });
    let mut lost = Vec::new();
    while !open.is_empty() {
        // One that none of the rest beats; should they beat each other in a ring, the longest.
        let first = open.iter().position(|one| !open.iter().any(|other| other.beats(one))).unwrap_or(0);
        let kept = open.remove(first);
        let (again, rest): (Vec<_>, Vec<_>) = open.into_iter().partition(|other| kept.is(other));
        lost.extend(again.into_iter().map(|other| other.record));
        open = rest;
    }
    lost
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

/// The coverage of two sessions together: seconds and counts add up. How much of the sleep was drawn or sampled is known
/// of both only where both say it: the part of one against the time in bed of both would look like a gap.
fn together(a: Coverage, b: Coverage) -> Coverage {
    let s = |x: Option<f64>, y: Option<f64>| x.into_iter().chain(y).reduce(|x, y| x + y);
    let n = |x: Option<u32>, y: Option<u32>| x.into_iter().chain(y).reduce(u32::saturating_add);
    let drawn = a.hypnogram_s.zip(b.hypnogram_s).map(|(x, y)| x + y);
    let sampled = a.samples.zip(b.samples).map(|(x, y)| x.saturating_add(y));
    Coverage {
        heart_rate_samples: n(a.heart_rate_samples, b.heart_rate_samples),
        heart_rate_span_s: s(a.heart_rate_span_s, b.heart_rate_span_s),
        accounted_s: s(a.accounted_s, b.accounted_s),
        inactive_s: s(a.inactive_s, b.inactive_s),
        low_s: s(a.low_s, b.low_s),
        active_s: s(a.active_s, b.active_s),
        rest_s: s(a.rest_s, b.rest_s),
        hypnogram_s: drawn,
        unmeasurable_s: s(a.unmeasurable_s, b.unmeasurable_s),
        awake_s: s(a.awake_s, b.awake_s),
        samples: sampled,
        spo2_samples: n(a.spo2_samples, b.spo2_samples),
        cut_s: s(a.cut_s, b.cut_s),
    }
}

/// Adds what only the day as a whole shows.
fn finish(reading: &mut DayReading, model: Model, nights: usize, used: usize, told_again: bool) {
    if model != Model::Sleep {
        return;
    }
    let metric = Some(reading.value.metric);
    let mut note = |kind, detail: String| reading.value.findings.push(Finding { kind, metric, detail, proposed: None });
    if used < nights {
        note(FindingKind::MissingPart, format!("{used} of the day's {nights} sleeps gave it"));
    }
    if told_again {
        note(FindingKind::Copied, "the provider sent overlapping sleeps; one telling of them counts".to_owned());
    }
}
