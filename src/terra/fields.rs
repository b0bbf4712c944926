//! Which field of which model gives which metric. The normaliser reads by this table and by nothing else, and
//! `docs/NORMALISATION.md` shows it, so what is documented is what happens.
//!
//! Rows of one metric, model and part stand in order of preference: the first that has a value gives it.

use crate::model::{Metric, Model};

/// What of an element a row reads: most elements are one record, a body element is several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The element as a whole: a day, night, nap or workout.
    Whole,
    /// Each entry of `measurements_data.measurements`; paths start there.
    Measurement,
    /// The day's glucose.
    Glucose,
    /// The day's blood pressure.
    Pressure,
}

/// Where the number lies; paths are dotted and start at the element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Take {
    /// One number.
    Value(&'static str),
    /// The sum of those that are there.
    Sum(&'static [&'static str]),
    /// The mean over a list's entries of one of their fields.
    Mean {
        /// The list.
        list: &'static str,
        /// The number in each entry.
        item: &'static str,
    },
}

/// What turns Terra's unit into ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convert {
    /// The units are the same.
    AsIs,
    /// Grams to kilograms.
    GramsToKilograms,
    /// Seconds to minutes.
    SecondsToMinutes,
    /// A percentage that some providers send as a fraction: 1 and less is taken times 100, and a finding says so.
    FractionToPercent,
}

impl Convert {
    /// The value in our unit.
    pub fn apply(self, value: f64) -> f64 {
        let value = value + 0.0; // minus zero is zero
        match self {
            Convert::AsIs => value,
            Convert::GramsToKilograms => value / 1000.0,
            Convert::SecondsToMinutes => value / 60.0,
            Convert::FractionToPercent if value > 0.0 && value <= 1.0 => value * 100.0,
            Convert::FractionToPercent => value,
        }
    }

    /// The words of the documentation.
    pub const fn words(self) -> &'static str {
        match self {
            Convert::AsIs => "as it is",
            Convert::GramsToKilograms => "g ÷ 1000 → kg",
            Convert::SecondsToMinutes => "s ÷ 60 → min",
            Convert::FractionToPercent => "0–1 × 100 → %, marked",
        }
    }
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field {
    /// What it gives.
    pub metric: Metric,
    /// In which model.
    pub model: Model,
    /// In which part of the element.
    pub part: Part,
    /// From where.
    pub take: Take,
    /// Into our unit how.
    pub convert: Convert,
}

const fn row(model: Model, metric: Metric, path: &'static str) -> Field {
    Field { metric, model, part: Part::Whole, take: Take::Value(path), convert: Convert::AsIs }
}

impl Field {
    const fn part(mut self, part: Part) -> Self {
        self.part = part;
        self
    }
    const fn convert(mut self, convert: Convert) -> Self {
        self.convert = convert;
        self
    }
    const fn mean(mut self, list: &'static str, item: &'static str) -> Self {
        self.take = Take::Mean { list, item };
        self
    }
    const fn active_minutes(model: Model) -> Self {
        const PATHS: &[&str] = &["active_durations_data.moderate_intensity_seconds", "active_durations_data.vigorous_intensity_seconds"];
        Field { metric: Metric::ActiveMinutes, model, part: Part::Whole, take: Take::Sum(PATHS), convert: Convert::SecondsToMinutes }
    }

    /// The path as the documentation shows it.
    pub fn path(&self) -> String {
        match self.take {
            Take::Value(path) => path.to_owned(),
            Take::Sum(paths) => paths.join(" + "),
            Take::Mean { list, item } => format!("mean of {list}[].{item}"),
        }
    }
}

use Convert::{FractionToPercent, GramsToKilograms};
use Model::{Activity, Body, Daily, Nutrition, Sleep};
use Part::{Glucose, Measurement, Pressure};

const HR: &str = "heart_rate_data.summary.avg_hr_bpm";
const HR_MAX: &str = "heart_rate_data.summary.max_hr_bpm";
const HR_MIN: &str = "heart_rate_data.summary.min_hr_bpm";
const HR_REST: &str = "heart_rate_data.summary.resting_hr_bpm";
const RMSSD: &str = "heart_rate_data.summary.avg_hrv_rmssd";
const SDNN: &str = "heart_rate_data.summary.avg_hrv_sdnn";
const VO2MAX: &str = "oxygen_data.vo2max_ml_per_min_per_kg";
const DAY_VO2MAX: &str = "oxygen_data.day_avg_vo2max_ml_per_min_per_kg";

/// Every field that is read as a value. Menstruation gives no metric; Athlete is personal and is not read at all.
pub const TABLE: &[Field] = &[
    row(Daily, Metric::Steps, "distance_data.steps"),
    row(Daily, Metric::Distance, "distance_data.distance_meters"),
    row(Daily, Metric::ActiveCalories, "calories_data.net_activity_calories"),
    row(Daily, Metric::TotalCalories, "calories_data.total_burned_calories"),
    Field::active_minutes(Daily),
    row(Daily, Metric::RestingHeartRate, HR_REST),
    row(Daily, Metric::AverageHeartRate, HR),
    row(Daily, Metric::MaxHeartRate, HR_MAX),
    row(Daily, Metric::MinHeartRate, HR_MIN),
    row(Daily, Metric::HrvRmssd, RMSSD),
    row(Daily, Metric::HrvSdnn, SDNN),
    row(Daily, Metric::Spo2, "oxygen_data.avg_saturation_percentage"),
    row(Daily, Metric::Vo2max, VO2MAX),
    row(Daily, Metric::Vo2max, DAY_VO2MAX),
    row(Daily, Metric::StressLevel, "stress_data.avg_stress_level"),
    row(Daily, Metric::RecoveryScore, "scores.recovery"),
    row(Daily, Metric::SleepScore, "scores.sleep"),
    row(Daily, Metric::DayStrain, "strain_data.strain_level"),
    row(Sleep, Metric::SleepDuration, "sleep_durations_data.asleep.duration_asleep_state_seconds"),
    row(Sleep, Metric::SleepDeep, "sleep_durations_data.asleep.duration_deep_sleep_state_seconds"),
    row(Sleep, Metric::SleepLight, "sleep_durations_data.asleep.duration_light_sleep_state_seconds"),
    row(Sleep, Metric::SleepRem, "sleep_durations_data.asleep.duration_REM_sleep_state_seconds"),
    row(Sleep, Metric::SleepEfficiency, "sleep_durations_data.sleep_efficiency").convert(FractionToPercent),
    row(Sleep, Metric::TimeInBed, "sleep_durations_data.other.duration_in_bed_seconds"),
    row(Sleep, Metric::RestingHeartRate, HR_REST),
    row(Sleep, Metric::AverageHeartRate, HR),
    row(Sleep, Metric::MaxHeartRate, HR_MAX),
    row(Sleep, Metric::MinHeartRate, HR_MIN),
    row(Sleep, Metric::HrvRmssd, RMSSD),
    row(Sleep, Metric::HrvSdnn, SDNN),
    row(Sleep, Metric::RespiratoryRate, "respiration_data.breaths_data.avg_breaths_per_min"),
    row(Sleep, Metric::Spo2, "respiration_data.oxygen_saturation_data.avg_saturation_percentage"),
    row(Sleep, Metric::SkinTemperatureDelta, "temperature_data.delta"),
    row(Sleep, Metric::SleepScore, "scores.sleep"),
    row(Sleep, Metric::ReadinessScore, "readiness_data.readiness"),
    row(Body, Metric::Weight, "weight_kg").part(Measurement),
    row(Body, Metric::BodyFat, "bodyfat_percentage").part(Measurement),
    row(Body, Metric::MuscleMass, "muscle_mass_g").part(Measurement).convert(GramsToKilograms),
    row(Body, Metric::Bmi, "BMI").part(Measurement),
    row(Body, Metric::Weight, "measurements_data.day_avg_weight_kg"),
    row(Body, Metric::BodyFat, "measurements_data.day_avg_bodyfat_percentage"),
    row(Body, Metric::MuscleMass, "measurements_data.day_avg_muscle_mass_g").convert(GramsToKilograms),
    row(Body, Metric::Bmi, "measurements_data.day_avg_bmi"),
    row(Body, Metric::RestingHeartRate, "heart_data.heart_rate_data.summary.resting_hr_bpm"),
    row(Body, Metric::Spo2, "oxygen_data.avg_saturation_percentage"),
    row(Body, Metric::Vo2max, VO2MAX),
    row(Body, Metric::Vo2max, DAY_VO2MAX),
    row(Body, Metric::WaterIntake, "hydration_data.day_total_water_consumption_ml"),
    row(Body, Metric::BloodGlucose, "glucose_data.day_avg_blood_glucose_mg_per_dL").part(Glucose),
    row(Body, Metric::BloodGlucose, "glucose_data.day_avg_blood_glucose_mg_per_dl").part(Glucose),
    row(Body, Metric::BloodGlucose, "glucose_data.day_avg_detailed_blood_glucose_mg_per_dL").part(Glucose),
    row(Body, Metric::BloodGlucose, "").part(Glucose).mean("glucose_data.blood_glucose_samples", "blood_glucose_mg_per_dL"),
    row(Body, Metric::BloodGlucose, "").part(Glucose).mean("glucose_data.detailed_blood_glucose_samples", "blood_glucose_mg_per_dL"),
    row(Body, Metric::SystolicBp, "blood_pressure_data.day_avg_systolic_bp").part(Pressure),
    row(Body, Metric::SystolicBp, "").part(Pressure).mean("blood_pressure_data.blood_pressure_samples", "systolic_bp"),
    row(Body, Metric::DiastolicBp, "blood_pressure_data.day_avg_diastolic_bp").part(Pressure),
    row(Body, Metric::DiastolicBp, "").part(Pressure).mean("blood_pressure_data.blood_pressure_samples", "diastolic_bp"),
    row(Activity, Metric::Steps, "distance_data.summary.steps"),
    row(Activity, Metric::Distance, "distance_data.summary.distance_meters"),
    row(Activity, Metric::ActiveCalories, "calories_data.net_activity_calories"),
    row(Activity, Metric::TotalCalories, "calories_data.total_burned_calories"),
    Field::active_minutes(Activity),
    row(Activity, Metric::AverageHeartRate, HR),
    row(Activity, Metric::MaxHeartRate, HR_MAX),
    row(Activity, Metric::MinHeartRate, HR_MIN),
    row(Activity, Metric::Vo2max, VO2MAX),
    row(Nutrition, Metric::WaterIntake, "summary.water_ml"),
];

/// Names of the 2021 format, which Terra no longer sends. They are not read, because their meaning was never
/// specified for today's models (`avg_hr_variability` does not say which variability); each is named in a finding.
pub const RETIRED: &[(Model, &str)] = &[
    (Daily, "heart_rate_data.summary.resting_hr"),
    (Daily, "heart_rate_data.summary.avg_hr"),
    (Daily, "heart_rate_data.summary.max_hr"),
    (Daily, "heart_rate_data.summary.min_hr"),
    (Daily, "heart_rate_data.summary.avg_hr_variability"),
    (Daily, "distance_data.distance_metres"),
    (Daily, "oxygen_data.saturation_percentage"),
    (Sleep, "heart_rate_data.summary.resting_hr"),
    (Sleep, "heart_rate_data.summary.avg_hr"),
    (Sleep, "heart_rate_data.summary.max_hr"),
    (Sleep, "heart_rate_data.summary.min_hr"),
    (Sleep, "heart_rate_data.summary.avg_hr_variability"),
    (Sleep, "metadata.sleep_efficiency"),
    (Sleep, "sleep_durations_data.asleep.duration_asleep_state"),
    (Sleep, "sleep_durations_data.asleep.duration_deep_sleep_state"),
    (Sleep, "sleep_durations_data.asleep.duration_light_sleep_state"),
    (Sleep, "sleep_durations_data.asleep.duration_REM_sleep_state"),
    (Sleep, "sleep_durations_data.awake.duration_awake_state"),
    (Sleep, "sleep_durations_data.other.duration_in_bed"),
    (Body, "measurements_data.weight_kg"),
    (Body, "measurements_data.fat_percentage"),
    (Body, "measurements_data.BMI"),
    (Body, "measurements_data.muscle_mass_g"),
    (Body, "blood_pressure_data.systolic_bp"),
    (Body, "blood_pressure_data.diastolic_bp"),
    (Body, "insulin_data.day_avg_blood_glucose_mg_per_dL"),
    (Body, "hydration_data.water_consumption_ml"),
    (Body, "oxygen_data.saturation_percentage"),
    (Body, "oxygen_data.max_volume_ml_per_min_per_kg"),
    (Body, "heart_data.hr_variability"),
    (Activity, "heart_rate_data.summary.avg_hr"),
    (Activity, "heart_rate_data.summary.max_hr"),
    (Activity, "heart_rate_data.summary.min_hr"),
    (Activity, "distance_data.summary.distance_metres"),
    (Activity, "distance_data.steps"),
];

/// The rows of a model's part, in order.
pub fn of(model: Model, part: Part) -> impl Iterator<Item = &'static Field> {
    TABLE.iter().filter(move |field| field.model == model && field.part == part)
}
