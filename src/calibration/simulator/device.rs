//! What a device measures and how wrong it is.
//!
//! Errors are those of published studies where one exists. A mean absolute percentage error becomes a standard
//! deviation by σ = MAPE·√(π/2), limits of agreement by σ = (high − low)/3.92. Where no study of the device was
//! found, `study` is `None` and the error is that of its class, taken wider. A part of the error stays with the
//! person (fit of the strap, skin, gait): that part makes the usual offset between two devices.

use super::person::Person;
use super::rng::{Rng, word};
use crate::model::{Metric, Source};
use libm::sqrt;

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Fitbit Sense.
    Fitbit,
    /// Garmin Forerunner.
    Garmin,
    /// WHOOP 4.0: no step counter.
    Whoop,
    /// Oura Gen3.
    Oura,
    /// Apple Watch: variability as SDNN.
    Apple,
    /// Withings scale.
    Withings,
}

/// The error of one metric on one device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Error {
    /// Mean error: a share of the true value, or in the metric's unit when `absolute`.
    pub bias: f64,
    /// Standard deviation of the whole error, likewise.
    pub sigma: f64,
    /// Whether both are in the metric's unit.
    pub absolute: bool,
    /// Share of the variance that stays with the person instead of changing daily.
    pub steady: f64,
    /// Author and year; `None`: no study of this device found, error of its class.
    pub study: Option<&'static str>,
}

const fn share(bias: f64, sigma: f64, steady: f64, study: Option<&'static str>) -> Option<Error> {
    Some(Error { bias, sigma, absolute: false, steady, study })
}

const fn absolute(bias: f64, sigma: f64, steady: f64, study: Option<&'static str>) -> Option<Error> {
    Some(Error { bias, sigma, absolute: true, steady, study })
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] = [Kind::Fitbit, Kind::Garmin, Kind::Whoop, Kind::Oura, Kind::Apple, Kind::Withings];

    /// Terra's provider name.
    pub const fn provider(self) -> &'static str {
        match self {
            Kind::Fitbit => "FITBIT",
            Kind::Garmin => "GARMIN",
            Kind::Whoop => "WHOOP",
            Kind::Oura => "OURA",
            Kind::Apple => "APPLE",
            Kind::Withings => "WITHINGS",
        }
    }

    /// The kind that speaks for a provider; `None` for providers the simulator does not know.
    pub fn of_provider(provider: &str) -> Option<Self> {
        let source = Source::from_provider(provider);
        Self::ALL.into_iter().find(|kind| kind.source() == source)
    }

    /// Our word for the provider.
    pub fn source(self) -> Source {
        Source::from_provider(self.provider())
    }

    /// Name and manufacturer as `device_data` gives them.
    pub const fn label(self) -> (&'static str, &'static str) {
        match self {
            Kind::Fitbit => ("Fitbit Sense", "Fitbit"),
            Kind::Garmin => ("Garmin Forerunner 255", "Garmin"),
            Kind::Whoop => ("WHOOP 4.0", "WHOOP"),
            Kind::Oura => ("Oura Ring Gen3", "Oura"),
            Kind::Apple => ("Apple Watch Series 9", "Apple"),
            Kind::Withings => ("Withings Body+", "Withings"),
        }
    }

    /// Metrics that come with the day's summary.
    pub const fn daily(self) -> &'static [Metric] {
        use Metric as M;
        match self {
            Kind::Fitbit => &[
                M::Steps,
                M::Distance,
                M::ActiveCalories,
                M::TotalCalories,
                M::ActiveMinutes,
                M::RestingHeartRate,
                M::AverageHeartRate,
                M::MaxHeartRate,
                M::MinHeartRate,
            ],
            Kind::Garmin => &[
                M::Steps,
                M::Distance,
                M::ActiveCalories,
                M::TotalCalories,
                M::ActiveMinutes,
                M::RestingHeartRate,
                M::AverageHeartRate,
                M::MaxHeartRate,
                M::MinHeartRate,
                M::StressLevel,
                M::Vo2max,
            ],
            Kind::Whoop => {
                &[M::TotalCalories, M::RestingHeartRate, M::AverageHeartRate, M::MaxHeartRate, M::HrvRmssd, M::DayStrain, M::RecoveryScore]
            }
            Kind::Oura => &[M::Steps, M::Distance, M::ActiveCalories, M::TotalCalories, M::ActiveMinutes],
            Kind::Apple => &[
                M::Steps,
                M::Distance,
                M::ActiveCalories,
                M::TotalCalories,
                M::RestingHeartRate,
                M::AverageHeartRate,
                M::MaxHeartRate,
                M::MinHeartRate,
                M::HrvSdnn,
                M::Vo2max,
            ],
            Kind::Withings => &[],
        }
    }

    /// Metrics that come with the night.
    pub const fn nightly(self) -> &'static [Metric] {
        use Metric as M;
        match self {
            Kind::Fitbit => &[
                M::SleepDuration,
                M::SleepDeep,
                M::SleepRem,
                M::SleepLight,
                M::TimeInBed,
                M::SleepEfficiency,
                M::HrvRmssd,
                M::RespiratoryRate,
                M::Spo2,
                M::SkinTemperatureDelta,
            ],
            Kind::Garmin => {
                &[M::SleepDuration, M::SleepDeep, M::SleepRem, M::SleepLight, M::TimeInBed, M::HrvRmssd, M::RespiratoryRate, M::Spo2]
            }
            Kind::Whoop => &[
                M::SleepDuration,
                M::SleepDeep,
                M::SleepRem,
                M::SleepLight,
                M::TimeInBed,
                M::SleepEfficiency,
                M::RespiratoryRate,
                M::Spo2,
                M::SleepScore,
            ],
            Kind::Oura => &[
                M::SleepDuration,
                M::SleepDeep,
                M::SleepRem,
                M::SleepLight,
                M::TimeInBed,
                M::SleepEfficiency,
                M::RestingHeartRate,
                M::HrvRmssd,
                M::RespiratoryRate,
                M::Spo2,
                M::SkinTemperatureDelta,
                M::ReadinessScore,
                M::SleepScore,
            ],
            Kind::Apple => &[M::SleepDuration, M::SleepDeep, M::SleepRem, M::SleepLight, M::TimeInBed, M::RespiratoryRate, M::Spo2],
            Kind::Withings => &[],
        }
    }

    /// Metrics that come with a weighing.
    pub const fn body(self) -> &'static [Metric] {
        match self {
            Kind::Withings => &[Metric::Weight, Metric::BodyFat, Metric::MuscleMass, Metric::Bmi],
            _ => &[],
        }
    }

    /// Whether a day without the device still comes, full of zeros, instead of not at all.
    pub const fn sends_empty_days(self) -> bool {
        matches!(self, Kind::Fitbit | Kind::Garmin)
    }

    /// How wrong this device is about a metric; `None` for what is not measured against a truth.
    pub const fn error(self, metric: Metric) -> Option<Error> {
        match metric {
            Metric::RestingHeartRate => match self {
                Kind::Oura => share(0.0, 0.0209, 0.4, Some("Dial 2025")),
                Kind::Whoop => share(0.0, 0.0376, 0.4, Some("Dial 2025")),
                Kind::Apple => share(-0.001, 0.0741, 0.4, Some("O'Grady 2024")),
                _ => share(0.0, 0.04, 0.4, None),
            },
            Metric::HrvRmssd => match self {
                Kind::Oura => share(0.0, 0.0896, 0.35, Some("Dial 2025")),
                Kind::Whoop => share(0.0, 0.1024, 0.35, Some("Dial 2025")),
                Kind::Garmin => share(0.0, 0.1318, 0.35, Some("Dial 2025")),
                _ => share(0.0, 0.12, 0.35, None),
            },
            Metric::HrvSdnn => share(-0.12, 0.33, 0.35, Some("O'Grady 2024")),
            Metric::AverageHeartRate | Metric::MaxHeartRate | Metric::MinHeartRate => match self {
                Kind::Apple => absolute(-0.12, 5.58, 0.3, Some("Choe & Kang 2025")),
                _ => share(-0.01, 0.055, 0.3, None),
            },
            Metric::Steps | Metric::Distance => match self {
                Kind::Apple => share(-0.018, 0.1024, 0.4, Some("Choe & Kang 2025")),
                Kind::Garmin => share(0.0, 0.10, 0.4, None),
                Kind::Fitbit => share(-0.03, 0.10, 0.4, None),
                _ => share(0.02, 0.14, 0.4, None),
            },
            Metric::ActiveCalories | Metric::TotalCalories => match self {
                Kind::Apple => share(0.0, 0.35, 0.8, Some("Choe & Kang 2025")),
                // Reviews found no brand accurate and give no figure.
                _ => share(0.0, 0.26, 0.8, None),
            },
            Metric::ActiveMinutes => share(0.0, 0.45, 0.6, Some("Doherty 2024")),
            Metric::SleepDuration => match self {
                Kind::Whoop => absolute(492.0, 1_974.0, 0.3, Some("Miller 2020")),
                Kind::Garmin => absolute(1_200.0, 2_600.0, 0.3, None),
                _ => absolute(480.0, 2_100.0, 0.3, None),
            },
            Metric::SleepDeep => match self {
                Kind::Apple => absolute(-2_580.0, 1_500.0, 0.3, Some("Robbins 2024")),
                Kind::Fitbit => absolute(-900.0, 1_500.0, 0.3, Some("Robbins 2024")),
                _ => absolute(0.0, 1_700.0, 0.3, None),
            },
            Metric::SleepRem => absolute(0.0, 1_600.0, 0.3, None),
            Metric::TimeInBed => absolute(0.0, 600.0, 0.2, None),
            Metric::RespiratoryRate => match self {
                Kind::Fitbit => absolute(0.0, 0.648, 0.4, Some("Natarajan 2021")),
                _ => absolute(0.0, 0.8, 0.4, None),
            },
            Metric::Spo2 => match self {
                Kind::Apple => absolute(0.0, 3.06, 0.4, Some("Rafl 2022")),
                _ => absolute(-0.2, 2.3, 0.4, None),
            },
            Metric::SkinTemperatureDelta => absolute(0.0, 0.15, 0.1, None),
            Metric::Vo2max => match self {
                Kind::Garmin => share(0.0, 0.0714, 0.9, Some("Düking 2022")),
                _ => share(-0.12, 0.10, 0.9, Some("Lambe 2025")),
            },
            Metric::Weight => absolute(0.05, 0.15, 0.3, Some("Frija-Masson 2021")),
            // −3.7 kg of fat, of a person of 75 kg.
            Metric::BodyFat => absolute(-4.9, 2.5, 0.9, Some("Frija-Masson 2021")),
            _ => None,
        }
    }

    /// What the device makes of a true value on a day (`day`: see `physiology::number`). Without an error model the
    /// value itself.
    pub(crate) fn measure(self, person: &Person, metric: Metric, day: i64, truth: f64) -> f64 {
        let Some(error) = self.error(metric) else { return truth };
        let keys = [word("device"), word(self.provider()), word(metric.key()), u64::from(person.index)];
        let own = Rng::keyed(person.seed, &keys).normal().clamp(-2.5, 2.5);
        let daily = Rng::keyed(person.seed, &[keys[0], keys[1], keys[2], keys[3], day as u64]).normal();
        let wrong = error.bias + error.sigma * (sqrt(error.steady) * own + sqrt(1.0 - error.steady) * daily);
        if error.absolute { truth + wrong } else { truth * (1.0 + wrong).max(0.3) }
    }
}
