//! How Terra words a record: bodies in the shape of its specification (version 2022-03-16).
//!
//! Fields keep the order they are written in, so that the same world gives the same bytes whatever features the
//! JSON library was built with.

use super::device::Kind;
use super::fault::Fault;
use super::observe::Report;
use super::rng::Rng;
use crate::model::Metric;
use chrono::{DateTime, FixedOffset, NaiveDate, TimeZone};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A JSON value whose objects keep their order.
#[derive(Debug, Clone)]
pub(crate) enum Json {
    Number(f64),
    Text(String),
    Flag(bool),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // Whole numbers without a point, as Terra sends counts.
            Json::Number(n) if n.fract() == 0.0 && n.abs() < 1e15 => serializer.serialize_i64(*n as i64),
            Json::Number(n) => serializer.serialize_f64(*n),
            Json::Text(text) => serializer.serialize_str(text),
            Json::Flag(flag) => serializer.serialize_bool(*flag),
            Json::List(list) => list.serialize(serializer),
            Json::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

pub(crate) fn text(value: impl Into<String>) -> Json {
    Json::Text(value.into())
}

/// An object of the fields that are there; `None` when none is.
pub(crate) fn object<const N: usize>(fields: [(&'static str, Option<Json>); N]) -> Option<Json> {
    let there: Vec<_> = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    (!there.is_empty()).then_some(Json::Object(there))
}

/// The version that Terra's bodies say they have.
pub(crate) const VERSION: &str = "2022-03-16";
/// What a simulated person allowed.
pub(crate) const SCOPES: &str = "ACTIVITY_EXPORT,HEALTH_EXPORT";

/// Whose body it is and from where.
#[derive(Debug, Clone)]
pub(crate) struct Sender<'a> {
    pub reference_id: &'a str,
    pub terra_id: String,
    pub provider: &'a str,
    pub kind: Kind,
    pub zone_h: i32,
}

impl Sender<'_> {
    pub(crate) fn user(&self, active: bool) -> Json {
        self.user_who_allowed(SCOPES, active)
    }

    /// As [`Sender::user`], of a person who allowed this.
    pub(crate) fn user_who_allowed(&self, scopes: &str, active: bool) -> Json {
        Json::Object(vec![
            ("user_id", text(self.terra_id.clone())),
            ("provider", text(self.provider)),
            ("reference_id", text(self.reference_id)),
            ("scopes", text(scopes)),
            ("active", Json::Flag(active)),
        ])
    }

    /// Text of a local time: the date's midnight and seconds from it, which may be negative or beyond the day.
    pub(crate) fn time(&self, date: NaiveDate, seconds: f64) -> Json {
        text(self.moment(date, seconds).map_or_else(String::new, |t| t.format("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string()))
    }

    fn moment(&self, date: NaiveDate, seconds: f64) -> Option<DateTime<FixedOffset>> {
        let zone = FixedOffset::east_opt(self.zone_h * 3_600)?;
        let midnight = zone.from_local_datetime(&date.and_hms_opt(0, 0, 0)?).single()?;
        midnight.checked_add_signed(chrono::Duration::try_seconds(seconds.round() as i64)?)
    }

    /// A delivery of one record.
    pub(crate) fn data(&self, kind: &'static str, record: Option<Json>) -> Json {
        Json::Object(vec![
            ("type", text(kind)),
            ("version", text(VERSION)),
            ("user", self.user(true)),
            ("data", Json::List(record.into_iter().collect())),
        ])
    }

    pub(crate) fn day_metadata(&self, date: NaiveDate, upload: Option<f64>) -> Option<Json> {
        object([
            ("start_time", Some(self.time(date, 0.0))),
            ("end_time", Some(self.time(date, 86_400.0))),
            ("upload_type", upload.map(Json::Number)),
            ("timestamp_localization", Some(Json::Number(1.0))),
        ])
    }

    fn device(&self) -> Option<Json> {
        let (name, manufacturer) = self.kind.label();
        // A provider the simulator has no device for keeps its own name.
        let foreign = Kind::of_provider(self.provider) != Some(self.kind);
        object([
            ("name", Some(text(if foreign { self.provider } else { name }))),
            ("manufacturer", Some(text(if foreign { self.provider } else { manufacturer }))),
        ])
    }

    /// A day's summary.
    pub(crate) fn daily(&self, report: &Report, date: NaiveDate) -> Json {
        let of = |metric| report.values.get(&metric).copied().map(Json::Number);
        let samples = if self.kind == Kind::Apple { self.pulse_samples(report, date) } else { None };
        self.data(
            "daily",
            object([
                ("metadata", self.day_metadata(date, Some(if report.manual { 2.0 } else { 1.0 }))),
                ("distance_data", object([("steps", of(Metric::Steps)), ("distance_meters", of(Metric::Distance))])),
                (
                    "calories_data",
                    object([("total_burned_calories", of(Metric::TotalCalories)), ("net_activity_calories", of(Metric::ActiveCalories))]),
                ),
                (
                    "heart_rate_data",
                    object([
                        (
                            "summary",
                            object([
                                ("resting_hr_bpm", of(Metric::RestingHeartRate)),
                                ("avg_hr_bpm", of(Metric::AverageHeartRate)),
                                ("max_hr_bpm", of(Metric::MaxHeartRate)),
                                ("min_hr_bpm", of(Metric::MinHeartRate)),
                                ("avg_hrv_rmssd", of(Metric::HrvRmssd)),
                                ("avg_hrv_sdnn", of(Metric::HrvSdnn)),
                            ]),
                        ),
                        ("detailed", object([("hr_samples", samples)])),
                    ]),
                ),
                ("active_durations_data", self.durations(report)),
                ("oxygen_data", object([("vo2max_ml_per_min_per_kg", of(Metric::Vo2max))])),
                ("stress_data", object([("avg_stress_level", of(Metric::StressLevel))])),
                ("strain_data", object([("strain_level", of(Metric::DayStrain))])),
                ("scores", object([("recovery", of(Metric::RecoveryScore))])),
                ("device_data", self.device()),
            ]),
        )
    }

    /// Where the seconds of the day went, in each provider's way: Fitbit and Garmin count time without the device as
    /// inactive, Oura leaves it out, Apple tells only the active part, WHOOP nothing.
    fn durations(&self, report: &Report) -> Option<Json> {
        let end = report.until.unwrap_or(86_400);
        let wear = report.wear.until(end);
        let active = match report.values.get(&Metric::ActiveMinutes) {
            Some(minutes) => minutes * 60.0,
            None => (report.day.moderate_s + report.day.vigorous_s) * wear.movement(),
        };
        let hard = report.day.vigorous_s / (report.day.vigorous_s + report.day.moderate_s).max(1.0);
        let low = (report.day.low_s * wear.movement() / 60.0).round() * 60.0;
        let night =
            if report.wear.night > 0.0 { (report.day.in_bed_s * report.wear.night).min(report.day.wake_s.max(0.0)).round() } else { 0.0 };
        let number = |seconds: f64| Some(Json::Number(seconds.max(0.0).round()));
        let (vigorous, moderate) = ((active * hard).round(), active - (active * hard).round());
        match self.kind {
            Kind::Fitbit | Kind::Garmin => object([
                ("low_intensity_seconds", number(low)),
                ("moderate_intensity_seconds", number(moderate)),
                ("vigorous_intensity_seconds", number(vigorous)),
                ("inactivity_seconds", number(f64::from(end) - night - low - active)),
            ]),
            Kind::Oura => object([
                ("low_intensity_seconds", number(low)),
                ("moderate_intensity_seconds", number(moderate)),
                ("vigorous_intensity_seconds", number(vigorous)),
                ("rest_seconds", number(night)),
                ("inactivity_seconds", number(f64::from(wear.minutes()) * 60.0 - night - low - active)),
            ]),
            Kind::Apple => object([("activity_seconds", number(active)), ("standing_seconds", number(low))]),
            Kind::Whoop | Kind::Withings => None,
        }
    }

    /// A heart rate for each half hour worn, around what the summary says.
    fn pulse_samples(&self, report: &Report, date: NaiveDate) -> Option<Json> {
        let mean = *report.values.get(&Metric::AverageHeartRate)?;
        let wear = report.wear.until(report.until.unwrap_or(86_400));
        let mut r = Rng::keyed(super::physiology::number(date) as u64, &[super::rng::word(self.reference_id)]);
        let samples: Vec<Json> = (0..48_u32)
            .filter_map(|slot| {
                let asleep = !(14..46).contains(&slot);
                let beats = (mean + if asleep { -15.0 } else { 7.0 } + 4.0 * r.normal()).round();
                let at = f64::from(slot) * 1_800.0 + 60.0;
                (wear.mask >> slot & 1 == 1)
                    .then(|| Json::Object(vec![("timestamp", self.time(date, at)), ("bpm", Json::Number(beats.max(35.0)))]))
            })
            .collect();
        (!samples.is_empty()).then_some(Json::List(samples))
    }

    /// A night; `tentative` when the provider may still change it.
    pub(crate) fn sleep(&self, report: &Report, date: NaiveDate, tentative: bool, summary_id: String) -> Json {
        let number = |metric| report.values.get(&metric).copied().map(Json::Number);
        let (start, end) = night_times(report);
        let upload = match (report.manual, tentative) {
            (true, _) => 1.0,
            (false, true) => 3.0,
            (false, false) => 2.0,
        };
        // The sleeping pulse lies a little above the lowest; where the beats were lost, it is lost too.
        let seen = !report.manual && report.values.get(&Metric::HrvRmssd) != Some(&0.0);
        let mean = seen.then(|| Json::Number((report.day.min_hr * 10.0 + 40.0).round() / 10.0));
        let metadata = object([
            ("start_time", Some(self.time(date, start))),
            ("end_time", Some(self.time(date, end))),
            ("is_nap", Some(Json::Flag(false))),
            ("upload_type", Some(Json::Number(upload))),
            ("summary_id", Some(text(summary_id))),
            ("timestamp_localization", Some(Json::Number(1.0))),
        ]);
        let heart = object([
            ("resting_hr_bpm", number(Metric::RestingHeartRate)),
            ("avg_hr_bpm", mean),
            ("avg_hrv_rmssd", number(Metric::HrvRmssd)),
        ]);
        let respiration = object([
            ("breaths_data", object([("avg_breaths_per_min", number(Metric::RespiratoryRate))])),
            ("oxygen_saturation_data", object([("avg_saturation_percentage", number(Metric::Spo2))])),
        ]);
        self.data(
            "sleep",
            object([
                ("metadata", metadata),
                ("sleep_durations_data", self.sleep_durations(report, date, start, end)),
                ("heart_rate_data", object([("summary", heart)])),
                ("respiration_data", respiration),
                ("temperature_data", object([("delta", number(Metric::SkinTemperatureDelta))])),
                ("readiness_data", object([("readiness", number(Metric::ReadinessScore))])),
                ("scores", object([("sleep", number(Metric::SleepScore))])),
                ("device_data", self.device()),
            ]),
        )
    }

    fn sleep_durations(&self, report: &Report, date: NaiveDate, start: f64, end: f64) -> Option<Json> {
        let of = |metric| report.values.get(&metric).copied();
        let number = |metric| of(metric).map(Json::Number);
        let awake = of(Metric::TimeInBed).zip(of(Metric::SleepDuration));
        let awake = awake.map(|(bed, asleep)| Json::Number(((bed - asleep) * 10_000.0).round() / 10_000.0));
        let asleep = object([
            ("duration_asleep_state_seconds", number(Metric::SleepDuration)),
            ("duration_deep_sleep_state_seconds", number(Metric::SleepDeep)),
            ("duration_light_sleep_state_seconds", number(Metric::SleepLight)),
            ("duration_REM_sleep_state_seconds", number(Metric::SleepRem)),
        ]);
        object([
            ("asleep", asleep),
            ("awake", object([("duration_awake_state_seconds", awake)])),
            ("other", object([("duration_in_bed_seconds", number(Metric::TimeInBed))])),
            ("sleep_efficiency", number(Metric::SleepEfficiency)),
            ("hypnogram_samples", if self.kind == Kind::Oura { self.hypnogram(report, date, start, end) } else { None }),
        ])
    }

    /// Four cycles of light, deep, light, REM and awake over the night.
    fn hypnogram(&self, report: &Report, date: NaiveDate, start: f64, end: f64) -> Option<Json> {
        let of = |metric| report.values.get(&metric).copied();
        let (asleep, deep, rem) = (of(Metric::SleepDuration)?, of(Metric::SleepDeep)?, of(Metric::SleepRem)?);
        let bed = of(Metric::TimeInBed)?.max(1.0);
        let stretch = (end - start) / bed / 4.0;
        let light = (asleep - deep - rem) / 2.0;
        let stages = [(4.0, light), (5.0, deep), (4.0, light), (6.0, rem), (1.0, bed - asleep)];
        let mut at = start;
        let mut samples = Vec::with_capacity(20);
        for (level, seconds) in stages.iter().cycle().take(20) {
            samples.push(Json::Object(vec![("timestamp", self.time(date, at)), ("level", Json::Number(*level))]));
            at += seconds * stretch;
        }
        Some(Json::List(samples))
    }

    /// A weighing at a local second of the day.
    pub(crate) fn body(&self, report: &Report, date: NaiveDate, second: f64, height_cm: f64) -> Json {
        let of = |metric| report.values.get(&metric).copied().map(Json::Number);
        let grams = report.values.get(&Metric::MuscleMass).map(|kg| Json::Number((kg * 10_000_000.0).round() / 10_000.0));
        let measurement = object([
            ("measurement_time", Some(self.time(date, second))),
            ("weight_kg", of(Metric::Weight)),
            ("BMI", of(Metric::Bmi)),
            ("bodyfat_percentage", of(Metric::BodyFat)),
            ("muscle_mass_g", grams),
            ("height_cm", Some(Json::Number(height_cm.round()))),
        ]);
        self.data(
            "body",
            object([
                ("metadata", self.day_metadata(date, None)),
                ("measurements_data", object([("measurements", Some(Json::List(measurement.into_iter().collect())))])),
                ("device_data", self.device()),
            ]),
        )
    }

    /// A workout that began at a local second of the day; `None` on a day without one.
    pub(crate) fn activity(&self, report: &Report, date: NaiveDate, start: f64, summary_id: String) -> Option<Json> {
        let session = report.day.session?;
        let tenth = |value: f64| Some(Json::Number((value * 10.0).round() / 10.0));
        let (minutes, hard) = (session.minutes, session.intensity);
        let steps = if session.kind == 8 { Some(Json::Number((155.0 * minutes).round())) } else { None };
        let metres = match session.kind {
            8 => tenth(155.0 * minutes * 0.78),
            1 => tenth(minutes * (280.0 + 220.0 * hard)),
            _ => None,
        };
        let name = match session.kind {
            8 => "Run",
            1 => "Ride",
            _ => "Strength",
        };
        let mean = report.day.resting_hr + 0.85 * (report.day.max_hr - report.day.resting_hr);
        Some(self.data(
            "activity",
            object([
                (
                    "metadata",
                    object([
                        ("name", Some(text(name))),
                        ("summary_id", Some(text(summary_id))),
                        ("start_time", Some(self.time(date, start))),
                        ("end_time", Some(self.time(date, start + minutes * 60.0))),
                        ("type", Some(Json::Number(f64::from(session.kind)))),
                        ("upload_type", Some(Json::Number(1.0))),
                        ("timestamp_localization", Some(Json::Number(1.0))),
                    ]),
                ),
                ("distance_data", object([("summary", object([("distance_meters", metres), ("steps", steps)]))])),
                ("calories_data", object([("net_activity_calories", tenth(minutes * hard * report.day.weight * 0.13))])),
                (
                    "heart_rate_data",
                    object([(
                        "summary",
                        object([("avg_hr_bpm", tenth(mean)), ("max_hr_bpm", Some(Json::Number(report.day.max_hr.round())))]),
                    )]),
                ),
                ("active_durations_data", object([("activity_seconds", Some(Json::Number((minutes * 60.0).round())))])),
                ("device_data", self.device()),
            ]),
        ))
    }
}

/// Local seconds at which the reported night began and ended. The times stay right when durations are in a wrong unit.
pub(crate) fn night_times(report: &Report) -> (f64, f64) {
    let true_bed = report.day.in_bed_s * report.wear.night;
    let reported = report.values.get(&Metric::TimeInBed).copied();
    let bed = reported.filter(|_| report.planted != Some(Fault::SecondsMinutes)).unwrap_or(true_bed);
    // Cut short by a flat battery, it ended early; but it belongs to the day of waking.
    let end = (report.day.wake_s - report.day.in_bed_s + true_bed).max(1_800.0);
    (end - bed, end)
}
