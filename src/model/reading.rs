//! Records (what one element of a delivery said) and day values (what the day comes to).

use super::{Finding, Metric, Source};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

/// A moment in UTC.
pub type Instant = DateTime<Utc>;

/// Terra's data models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// One workout.
    Activity,
    /// Measurements of the body: weighings, glucose, blood pressure.
    Body,
    /// A day's summary.
    Daily,
    /// One night or nap.
    Sleep,
    /// A day's food and drink.
    Nutrition,
    /// The cycle.
    Menstruation,
    /// Who the person is at the provider; gives no metric.
    Athlete,
}

impl Model {
    /// The word as stored.
    pub const fn word(self) -> &'static str {
        match self {
            Model::Activity => "activity",
            Model::Body => "body",
            Model::Daily => "daily",
            Model::Sleep => "sleep",
            Model::Nutrition => "nutrition",
            Model::Menstruation => "menstruation",
            Model::Athlete => "athlete",
        }
    }

    /// The model of a delivery's `type`; `None` for events that carry no data.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "activity" => Model::Activity,
            "body" => Model::Body,
            "daily" => Model::Daily,
            "sleep" => Model::Sleep,
            "nutrition" => Model::Nutrition,
            "menstruation" => Model::Menstruation,
            "athlete" => Model::Athlete,
            _ => return None,
        })
    }
}

/// The total order of deliveries: Terra's ordering timestamp (Unix ms; absent: time of receipt), then trace id.
/// A later delivery replaces what an earlier one said, whatever order they arrive in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ordering {
    /// Unix milliseconds.
    pub ms: i64,
    /// The trace id, which breaks ties.
    pub trace_id: String,
}

/// How the data came to be, in one vocabulary for Terra's two numberings (sleep and the rest differ).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadKind {
    /// Terra does not say.
    #[default]
    Unknown,
    /// By the device.
    Automatic,
    /// Entered or altered by hand.
    Manual,
    /// A correction by the provider.
    Update,
    /// A deletion.
    Delete,
    /// Not final yet.
    Pending,
    /// From another app behind an aggregator.
    ThirdParty,
    /// Sleep: may still change.
    Tentative,
    /// Sleep: the provider could not tell.
    Indeterminate,
}

/// What measured it. Serial numbers are personal and never read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Device {
    /// Model or app name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    /// Firmware or software version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
}

/// Where a record comes from, apart from source and time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// How it came to be.
    #[serde(default)]
    pub upload: UploadKind,
    /// What measured it, where the payload says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// The provider's own quality flags, as `name=value`, at most eight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

/// What a payload tells of how much of the day or night was really seen. Absent is unknown, not zero.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// Heart-rate samples delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heart_rate_samples: Option<u32>,
    /// Seconds between the first and the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heart_rate_span_s: Option<f64>,
    /// Seconds of the day that the activity durations account for (active, inactive, resting).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounted_s: Option<f64>,
    /// Seconds without movement among them (Terra's inactivity_seconds).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactive_s: Option<f64>,
    /// Low-intensity seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_s: Option<f64>,
    /// Moderate and vigorous seconds together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_s: Option<f64>,
    /// Rest seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_s: Option<f64>,
    /// Seconds the hypnogram spans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypnogram_s: Option<f64>,
    /// Seconds in bed that could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmeasurable_s: Option<f64>,
    /// Seconds awake during the night.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awake_s: Option<f64>,
    /// Samples behind the value: HRV samples of a day, night or workout, glucose or blood pressure samples of theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u32>,
    /// Oxygen saturation samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spo2_samples: Option<u32>,
    /// Seconds from the record's start to the moment Terra produced the payload, where that is before the record's end:
    /// a day delivered before it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_s: Option<f64>,
}

/// What one element of a delivery's `data` says: one night, nap, workout, weighing or day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Terra's model.
    pub model: Model,
    /// What makes it the same record in a later delivery: `summary_id`; else start and end; a day's date for day summaries.
    pub key: String,
    /// The local day it belongs to: the text's date before any zone conversion; for sleep the day of waking.
    pub date: NaiveDate,
    /// Start, where the text has an offset (or, without one, taken as UTC; see `terra::time`).
    pub start: Option<Instant>,
    /// End, likewise.
    pub end: Option<Instant>,
    /// A nap: apart from the night. `None`: not said.
    pub nap: Option<bool>,
    /// A tombstone: the provider deleted it.
    pub deleted: bool,
    /// How it came to be.
    pub origin: Origin,
    /// How much was seen.
    pub coverage: Coverage,
    /// Values in [`Metric::unit`], each metric at most once. Zeros are values; nulls are not here.
    pub values: Vec<(Metric, f64)>,
    /// What is suspicious.
    pub findings: Vec<Finding>,
}

/// One value a metric, source and day, made from the day's records by the registry's rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DayValue {
    /// Which metric.
    pub metric: Metric,
    /// Which provider.
    pub source: Source,
    /// The local day.
    pub date: NaiveDate,
    /// In [`Metric::unit`].
    pub value: f64,
    /// The model the value was taken from.
    pub model: Model,
    /// When the measuring ended, where known.
    pub measured_at: Option<Instant>,
    /// The latest delivery that contributed.
    pub ordering: Ordering,
    /// When that delivery was received.
    pub received_at: Instant,
    /// Where it comes from.
    pub origin: Origin,
    /// How much was seen.
    pub coverage: Coverage,
    /// What is suspicious.
    pub findings: Vec<Finding>,
}
