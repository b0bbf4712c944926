//! What the provider reports of a day: truth, seen through wear, device and fault.

use super::device::Kind;
use super::fault::{Fault, planted};
use super::habit::Wear;
use super::person::Person;
use super::physiology::{Day, number};
use super::rng::{Rng, word};
use crate::model::{Metric, Model};
use chrono::{Days, NaiveDate};
use std::collections::BTreeMap;

/// Reported values by metric, in the metric's unit, rounded as the provider rounds.
pub(crate) type Values = BTreeMap<Metric, f64>;

/// One record as reported.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub values: Values,
    /// The fault and the metrics it spoils. Natural wear or planted, never both on one metric.
    pub labels: BTreeMap<Metric, Fault>,
    /// What was planted in the record, whether or not it altered a value.
    pub planted: Option<Fault>,
    pub wear: Wear,
    pub day: Day,
    /// Local second until which the day was seen; `None`: to its end.
    pub until: Option<i32>,
    pub manual: bool,
}

/// Fourteen o'clock, when a cut day ends.
pub(crate) const CUT_S: i32 = 14 * 3_600;

pub(crate) fn rounded(metric: Metric, value: f64) -> f64 {
    let to = |digits: f64| (value * digits).round() / digits;
    match metric {
        Metric::Steps
        | Metric::RestingHeartRate
        | Metric::MaxHeartRate
        | Metric::MinHeartRate
        | Metric::StressLevel
        | Metric::RecoveryScore
        | Metric::ReadinessScore
        | Metric::SleepScore => value.round(),
        Metric::SleepDuration | Metric::SleepDeep | Metric::SleepLight | Metric::SleepRem | Metric::TimeInBed => {
            (value / 30.0).round() * 30.0
        }
        Metric::Weight | Metric::SkinTemperatureDelta => to(100.0),
        Metric::MuscleMass => to(1_000.0),
        Metric::ActiveMinutes => value.round(),
        _ => to(10.0),
    }
}

/// The fault planted in this record of this world; none in a record that wear has already spoiled.
pub(crate) fn fault_of(person: &Person, kind: Kind, model: Model, date: NaiveDate, share: f64) -> Option<(Fault, Rng)> {
    let spoiled = match model {
        Model::Daily => person.wear(kind, date).movement() < 0.9,
        Model::Sleep => person.wear(kind, date).night < 1.0,
        _ => false,
    };
    if spoiled { None } else { planted(person.seed, share, person.index, kind, model, number(date)) }
}

fn measured(person: &Person, kind: Kind, day: &Day, n: i64, metrics: &[Metric]) -> Values {
    metrics
        .iter()
        .filter_map(|&metric| {
            let value = match day.get(metric) {
                Some(truth) => kind.measure(person, metric, n, truth),
                None => vendor_score(person, day, metric, n)?,
            };
            Some((metric, value))
        })
        .collect()
}

/// Vendors' own scores follow the state of the person; there is no truth to be near.
fn vendor_score(person: &Person, day: &Day, metric: Metric, n: i64) -> Option<f64> {
    let mut r = Rng::keyed(person.seed, &[word("score"), word(metric.key()), u64::from(person.index), n as u64]);
    let freshness = (libm::log(day.rmssd) - person.ln_rmssd) / 0.15 - (day.resting_hr - person.resting_hr) / 3.0;
    let rest = (day.asleep_s / 3_600.0 - person.sleep_h) * 9.0;
    let load = day.session.map_or(0.0, |s| s.minutes * s.intensity);
    Some(match metric {
        Metric::RecoveryScore => (60.0 + 10.0 * freshness + 3.0 * r.normal()).clamp(1.0, 99.0),
        Metric::ReadinessScore => (78.0 + 4.0 * freshness + 0.5 * rest + 2.0 * r.normal()).clamp(30.0, 99.0),
        Metric::SleepScore => (80.0 + rest + 2.0 * r.normal()).clamp(20.0, 99.0),
        Metric::StressLevel => (32.0 - 3.0 * freshness + 3.0 * r.normal()).clamp(5.0, 90.0),
        Metric::DayStrain => (7.0 + 0.14 * load + 0.0002 * day.steps + r.normal()).clamp(0.5, 20.9),
        _ => return None,
    })
}

/// The day's summary as the device would report it without any planted fault, seen until a local second.
fn plain_daily(person: &Person, kind: Kind, date: NaiveDate, until: Option<i32>, wear: Wear) -> (Values, Day) {
    let n = number(date);
    let day = person.day(date);
    let mut values = measured(person, kind, &day, n, kind.daily());
    let wear = wear.until(until.unwrap_or(86_400));
    let seen = wear.movement();
    for metric in [Metric::Steps, Metric::Distance, Metric::ActiveCalories, Metric::ActiveMinutes] {
        if let Some(value) = values.get_mut(&metric) {
            *value *= seen;
        }
    }
    let active = values.get(&Metric::ActiveCalories).copied().unwrap_or(0.0);
    if let Some(total) = values.get_mut(&Metric::TotalCalories) {
        // The device adds the basal part for every hour, worn or not.
        let scale = *total / day.total_calories;
        let hours = f64::from(until.unwrap_or(86_400)) / 86_400.0;
        let basal = day.basal_calories / 0.9;
        *total = (scale * (basal * hours + (day.total_calories - basal) * seen)).max(active + 0.6 * basal * hours);
    }
    match wear.awake_share() {
        None => values.retain(|metric, _| {
            matches!(metric, Metric::Steps | Metric::Distance | Metric::ActiveCalories | Metric::TotalCalories | Metric::ActiveMinutes)
        }),
        Some(awake) => {
            // A day seen only while awake has a higher mean: the pulse awake lies some 22 beats above that asleep.
            if let Some(mean) = values.get_mut(&Metric::AverageHeartRate) {
                *mean += 22.0 * (awake - 16.0 / 24.0);
            }
            agree(&mut values);
            if wear.night == 0.0 && wear.minutes() < 360 {
                values.remove(&Metric::RestingHeartRate);
            }
            if wear.night == 0.0 {
                values.remove(&Metric::RecoveryScore);
                if kind == Kind::Whoop {
                    values.remove(&Metric::RestingHeartRate);
                    values.remove(&Metric::HrvRmssd);
                }
            }
        }
    }
    (values, day)
}

/// However wrong, a device's lowest pulse is below its mean and its highest above.
fn agree(values: &mut Values) {
    let Some(mean) = values.get(&Metric::AverageHeartRate).copied() else { return };
    if let Some(low) = values.get_mut(&Metric::MinHeartRate) {
        *low = low.min(mean - 4.0);
    }
    if let Some(high) = values.get_mut(&Metric::MaxHeartRate) {
        *high = high.max(mean + 8.0);
    }
}

fn plain_night(person: &Person, kind: Kind, date: NaiveDate, seen: f64) -> (Values, Day) {
    let day = person.day(date);
    let mut values = measured(person, kind, &day, number(date), kind.nightly());
    let bed = values.get(&Metric::TimeInBed).copied().unwrap_or(day.in_bed_s) * seen;
    let asleep = (values.get(&Metric::SleepDuration).copied().unwrap_or(day.asleep_s) * seen).clamp(1_800.0 * seen, bed.max(600.0) - 60.0);
    // Stages share what was scored as sleep: light is what is left.
    let deep = (values.get(&Metric::SleepDeep).copied().unwrap_or(day.deep_s) * seen).clamp(0.02 * asleep, 0.45 * asleep);
    let rem = (values.get(&Metric::SleepRem).copied().unwrap_or(day.rem_s) * seen).clamp(0.02 * asleep, 0.45 * asleep);
    for (metric, value) in [(Metric::TimeInBed, bed), (Metric::SleepDuration, asleep), (Metric::SleepDeep, deep), (Metric::SleepRem, rem)] {
        values.insert(metric, rounded(metric, value));
    }
    let of = |metric| values.get(&metric).copied().unwrap_or_default();
    let light = of(Metric::SleepDuration) - of(Metric::SleepDeep) - of(Metric::SleepRem);
    let efficiency = 100.0 * of(Metric::SleepDuration) / of(Metric::TimeInBed);
    values.insert(Metric::SleepLight, light);
    if let Some(value) = values.get_mut(&Metric::SleepEfficiency) {
        *value = efficiency;
    }
    if let Some(value) = values.get_mut(&Metric::Spo2) {
        *value = value.min(100.0);
    }
    (values, day)
}

/// A weighing. BMI and muscle follow from the weight and fat the scale saw.
fn plain_body(person: &Person, kind: Kind, date: NaiveDate) -> (Values, Day) {
    let day = person.day(date);
    let mut values = measured(person, kind, &day, number(date), kind.body());
    let weight = values.get(&Metric::Weight).copied().unwrap_or(day.weight);
    let fat = values.entry(Metric::BodyFat).or_insert(day.body_fat);
    *fat = fat.max(3.0);
    let muscle = weight * (1.0 - *fat / 100.0) * 0.95;
    values.insert(Metric::MuscleMass, muscle);
    values.insert(Metric::Bmi, weight / (person.height_cm / 100.0) / (person.height_cm / 100.0));
    (values, day)
}

fn plain(person: &Person, kind: Kind, model: Model, date: NaiveDate, until: Option<i32>, wear: Wear) -> (Values, Day) {
    let (mut values, day) = match model {
        Model::Daily => plain_daily(person, kind, date, until, wear),
        Model::Sleep => plain_night(person, kind, date, wear.night),
        _ => plain_body(person, kind, date),
    };
    for (metric, value) in &mut values {
        *value = rounded(*metric, *value);
    }
    (values, day)
}

/// What is reported of a record; `None` when nothing comes (not worn, no night, no weighing).
pub(crate) fn report(person: &Person, kind: Kind, model: Model, date: NaiveDate, until: Option<i32>, share: f64) -> Option<Report> {
    let wear = if model == Model::Body { Wear::WHOLE } else { person.wear(kind, date) };
    match model {
        Model::Daily if kind.daily().is_empty() || (wear.mask == 0 && !kind.sends_empty_days()) => return None,
        Model::Sleep if kind.nightly().is_empty() || wear.night == 0.0 => return None,
        Model::Body if kind.body().is_empty() || person.weighs(date).is_none() => return None,
        _ => {}
    }
    let fault = fault_of(person, kind, model, date, share);
    let until = if matches!(fault, Some((Fault::CutDay, _))) { Some(until.unwrap_or(CUT_S).min(CUT_S)) } else { until };
    let (values, day) = plain(person, kind, model, date, until, wear);
    let mut report = Report { values, labels: BTreeMap::new(), planted: None, wear, day, until, manual: false };
    if model != Model::Body {
        label_wear(&mut report, model, &plain(person, kind, model, date, until, Wear::WHOLE).0);
    }
    if let Some((fault, mut r)) = fault {
        report.planted = Some(fault);
        super::fault_values::apply(&mut report, fault, &mut r, (person, kind, model, date));
    }
    Some(report)
}

/// Short wear spoils what it altered: of `whole`, as the same day worn throughout would have been reported.
fn label_wear(report: &mut Report, model: Model, whole: &Values) {
    use Metric as M;
    let (fault, spoiled): (Fault, &[Metric]) = match model {
        Model::Daily if report.wear.mask == 0 => {
            (Fault::NotWorn, &[M::Steps, M::Distance, M::ActiveCalories, M::TotalCalories, M::ActiveMinutes])
        }
        Model::Daily if report.wear.movement() < 0.9 => (
            Fault::ShortWear,
            &[
                M::Steps,
                M::Distance,
                M::ActiveCalories,
                M::TotalCalories,
                M::ActiveMinutes,
                M::AverageHeartRate,
                M::MaxHeartRate,
                M::MinHeartRate,
            ],
        ),
        Model::Sleep if report.wear.night < 1.0 => {
            // Efficiency is a ratio of two that both lost.
            (Fault::ShortWear, &[M::SleepDuration, M::SleepDeep, M::SleepLight, M::SleepRem, M::TimeInBed])
        }
        _ => return,
    };
    for metric in spoiled {
        if report.values.get(metric).is_some_and(|value| whole.get(metric) != Some(value)) {
            report.labels.insert(*metric, fault);
        }
    }
}

/// The values of another day or person, for faults that put them in the wrong place.
pub(crate) fn elsewhere(person: &Person, kind: Kind, model: Model, date: NaiveDate) -> Values {
    plain(person, kind, model, date, None, Wear::WHOLE).0
}

/// A date some days on; the date itself at the end of the calendar.
pub(crate) fn days_on(date: NaiveDate, days: i64) -> NaiveDate {
    let by = Days::new(days.unsigned_abs());
    if days < 0 { date.checked_sub_days(by) } else { date.checked_add_days(by) }.unwrap_or(date)
}
