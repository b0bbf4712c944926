//! What is known of single providers. Terra gives all of them the same fields in the same units, so there is one table of
//! fields ([`super::fields::TABLE`]); here stands what a provider's devices cannot measure, and what the recorded
//! deliveries were seen to carry.
//!
//! A number that a provider cannot have measured is kept like any other, and marked.

use crate::model::{Finding, FindingKind, Metric, Model, Record, Source};

/// What a provider is known for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Provider {
    /// Its source.
    pub source: &'static str,
    /// What its devices cannot measure, and why.
    pub never: &'static [(Metric, &'static str)],
    /// What recorded deliveries of real devices carried, by model.
    pub recorded: &'static [(Model, &'static [Metric])],
}

const NO_PEDOMETER: &str = "WHOOP has no step counter";
const SDNN_ONLY: &str = "Apple Health holds SDNN, not RMSSD";
const GLUCOSE_ONLY: &str = "a glucose sensor measures nothing else";

use Metric::{
    ActiveMinutes, AverageHeartRate, Bmi, BodyFat, Distance, HrvRmssd, MaxHeartRate, MinHeartRate, RespiratoryRate, RestingHeartRate,
    SkinTemperatureDelta, SleepDeep, SleepDuration, SleepEfficiency, SleepLight, SleepRem, Spo2, Steps, TimeInBed, TotalCalories, Weight,
};

/// Providers of whom something is known beyond the table of fields. All others are read by the table alone.
pub const PROVIDERS: &[Provider] = &[
    Provider {
        source: "fitbit",
        never: &[],
        recorded: &[
            (
                Model::Daily,
                &[Steps, Distance, TotalCalories, ActiveMinutes, RestingHeartRate, AverageHeartRate, MaxHeartRate, MinHeartRate],
            ),
            (
                Model::Sleep,
                &[SleepDuration, SleepEfficiency, TimeInBed, AverageHeartRate, HrvRmssd, RespiratoryRate, Spo2, SkinTemperatureDelta],
            ),
            (Model::Body, &[Weight, BodyFat, Bmi]),
        ],
    },
    Provider { source: "garmin", never: &[], recorded: &[(Model::Sleep, &[SleepDuration, SleepDeep, SleepLight, SleepRem, TimeInBed])] },
    Provider {
        source: "whoop",
        never: &[(Steps, NO_PEDOMETER), (Distance, NO_PEDOMETER)],
        recorded: &[(Model::Sleep, &[SleepDuration, SleepDeep, SleepLight, SleepRem, SleepEfficiency, TimeInBed, RespiratoryRate])],
    },
    Provider { source: "apple", never: &[(HrvRmssd, SDNN_ONLY)], recorded: &[] },
    Provider { source: "dexcom", never: &[(Steps, GLUCOSE_ONLY), (AverageHeartRate, GLUCOSE_ONLY)], recorded: &[] },
    Provider { source: "freestylelibre", never: &[(Steps, GLUCOSE_ONLY), (AverageHeartRate, GLUCOSE_ONLY)], recorded: &[] },
];

/// Marks a day's or night's numbers that the provider's devices cannot have measured. A workout may bring along what a
/// phone counted, so its numbers are left alone.
pub(super) fn mark(source: &Source, record: &mut Record) {
    let Some(provider) = PROVIDERS.iter().find(|p| p.source == source.as_str()) else { return };
    if record.model == Model::Activity {
        return;
    }
    for (metric, why) in provider.never {
        if record.values.iter().any(|(known, _)| known == metric) {
            let detail = format!("{why}; the number came from elsewhere");
            record.findings.push(Finding { kind: FindingKind::Implausible, metric: Some(*metric), detail, proposed: None });
        }
    }
}
