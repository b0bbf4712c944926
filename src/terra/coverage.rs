//! How much of the day or night a payload really saw. Samples are counted, not kept.

use super::reader::Reader;
use super::time::{Moment, moment};
use crate::model::{Coverage, Instant, Model};
use chrono::TimeDelta;
use serde_json::Value;

/// A day is over when its record reaches to within this of 24 hours.
const DAY: TimeDelta = TimeDelta::hours(24);
const SLACK: TimeDelta = TimeDelta::minutes(1);

/// The coverage of a whole element.
pub(super) fn of(reader: &mut Reader<'_>, model: Model, end: Option<Moment>) -> Coverage {
    let mut coverage = Coverage::default();
    let detailed = if model == Model::Body { "heart_data.heart_rate_data.detailed" } else { "heart_rate_data.detailed" };
    heart_rate(&mut coverage, reader.list(&format!("{detailed}.hr_samples")));
    let variability =
        reader.list(&format!("{detailed}.hrv_samples_rmssd")).len() + reader.list(&format!("{detailed}.hrv_samples_sdnn")).len();
    coverage.samples = counted(variability);
    match model {
        Model::Daily | Model::Activity => {
            durations(&mut coverage, reader);
            coverage.spo2_samples = counted(reader.list("oxygen_data.saturation_samples").len());
        }
        Model::Sleep => {
            let hypnogram = reader.list("sleep_durations_data.hypnogram_samples");
            coverage.hypnogram_s = drawn(hypnogram, end);
            coverage.unmeasurable_s = reader.number("sleep_durations_data.other.duration_unmeasurable_sleep_seconds", None);
            coverage.awake_s = reader.number("sleep_durations_data.awake.duration_awake_state_seconds", None);
            coverage.spo2_samples = counted(reader.list("respiration_data.oxygen_saturation_data.samples").len());
        }
        Model::Body => coverage.spo2_samples = counted(reader.list("oxygen_data.saturation_samples").len()),
        Model::Nutrition | Model::Menstruation | Model::Athlete => {}
    }
    coverage
}

fn counted(count: usize) -> Option<u32> {
    u32::try_from(count).ok().filter(|count| *count > 0)
}

fn heart_rate(coverage: &mut Coverage, samples: &[Value]) {
    let beats = samples.iter().filter(|sample| sample.get("bpm").and_then(Value::as_f64).is_some_and(|bpm| bpm > 0.0));
    coverage.heart_rate_samples = counted(beats.clone().count());
    coverage.heart_rate_span_s = span_of(beats);
}

fn times<'a>(samples: impl Iterator<Item = &'a Value>) -> impl Iterator<Item = Instant> {
    samples.filter_map(|sample| Some(moment(sample.get("timestamp")?.as_str()?)?.instant))
}

/// Seconds a hypnogram draws. A timestamp may begin a stage rather than end one: the last stage lasts to the night's end then, but
/// is not believed to be longer than the longest of the others.
fn drawn(samples: &[Value], end: Option<Moment>) -> Option<f64> {
    let mut times: Vec<Instant> = times(samples.iter()).collect();
    times.sort_unstable();
    let (first, last) = (*times.first()?, *times.last()?);
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    let rest = end.map_or_else(TimeDelta::zero, |end| end.instant - last).clamp(TimeDelta::zero(), longest);
    Some(seconds(last - first + rest))
}

/// Seconds between the earliest and the latest timestamp; `None` when none can be read.
fn span_of<'a>(samples: impl Iterator<Item = &'a Value>) -> Option<f64> {
    let mut ends: Option<(Instant, Instant)> = None;
    for at in times(samples) {
        let (first, last) = ends.unwrap_or((at, at));
        ends = Some((first.min(at), last.max(at)));
    }
    ends.map(|(first, last)| seconds(last - first))
}

fn durations(coverage: &mut Coverage, reader: &mut Reader<'_>) {
    let mut read = |name: &str| reader.number(&format!("active_durations_data.{name}"), None);
    coverage.inactive_s = read("inactivity_seconds");
    coverage.low_s = read("low_intensity_seconds");
    coverage.rest_s = read("rest_seconds");
    let parts = [read("moderate_intensity_seconds"), read("vigorous_intensity_seconds")];
    let whole = read("activity_seconds");
    let sum = |parts: &[Option<f64>]| parts.iter().flatten().copied().reduce(|sum, part| sum + part);
    coverage.active_s = sum(&parts);
    // Low, moderate and vigorous make up the activity; where only some of them are given, the total is more.
    let active = [sum(&[coverage.low_s, coverage.active_s]), whole].into_iter().flatten().reduce(f64::max);
    coverage.accounted_s = sum(&[active, coverage.inactive_s, coverage.rest_s]);
}

/// Where a day was delivered before it was over, the seconds it had lasted: either Terra produced the payload before the
/// day's end, or the record's own end lies before midnight. A text without offset does not tell when the day ended.
pub(super) fn day_cut(start: Moment, end: Option<Moment>, produced: Option<Instant>) -> Option<f64> {
    // An end that is not after the start says nothing. Local texts are compared, so that a day of 23 hours is whole.
    let end = end.filter(|end| end.local > start.local);
    let whole = end.filter(|end| end.local - start.local >= DAY - SLACK);
    let full = whole.map_or(start.instant + DAY, |end| end.instant.min(start.instant + TimeDelta::hours(26)));
    let mut last = end.map_or(full, |end| end.instant.min(full));
    if let Some(produced) = produced.filter(|produced| start.zoned && *produced > start.instant) {
        last = last.min(produced);
    }
    (last < full - SLACK && last > start.instant).then(|| seconds(last - start.instant))
}

/// The same for a session with an end of its own.
pub(super) fn session_cut(start: Option<Moment>, end: Option<Moment>, produced: Option<Instant>) -> Option<f64> {
    let (start, end, produced) = (start?, end?, produced?);
    (start.zoned && end.zoned && produced < end.instant - SLACK && produced > start.instant).then(|| seconds(produced - start.instant))
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds between two dates of this era are far below 2^53")]
pub(super) fn seconds(delta: TimeDelta) -> f64 {
    delta.num_milliseconds() as f64 / 1000.0
}
