//! The metrics Assay knows, with the unit each is stored in.

use serde::{Deserialize, Serialize};

/// What a metric is about; groups the pages and the source choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Moving: steps, distance, energy, active minutes.
    Activity,
    /// Heart rate and its variability.
    Heart,
    /// Nights.
    Sleep,
    /// Breathing, oxygen, temperature, stress.
    Vital,
    /// Weight and what it is made of.
    Body,
    /// Glucose, blood pressure, water.
    Clinical,
    /// A vendor's own score: no truth to be near, so never scored and never compared across vendors.
    VendorScore,
}

macro_rules! metrics {
    ($($variant:ident $key:literal $name:literal $unit:literal $category:ident),+ $(,)?) => {
        /// A metric. Its key is the `metric_name` of the database, its unit the one values are stored in.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Metric {
            $(#[doc = $name] #[serde(rename = $key)] $variant,)+
        }

        impl Metric {
            /// Every metric, in the order pages show them.
            pub const ALL: &'static [Metric] = &[$(Metric::$variant),+];

            /// The `metric_name` in the database and in URLs.
            pub const fn key(self) -> &'static str {
                match self { $(Metric::$variant => $key),+ }
            }

            /// What people call it.
            pub const fn name(self) -> &'static str {
                match self { $(Metric::$variant => $name),+ }
            }

            /// The unit of stored values; `count` for plain numbers, `s` for durations, empty for vendor scales.
            pub const fn unit(self) -> &'static str {
                match self { $(Metric::$variant => $unit),+ }
            }

            /// What it is about.
            pub const fn category(self) -> Category {
                match self { $(Metric::$variant => Category::$category),+ }
            }

            /// The metric of a key; `None` for a key we do not know.
            pub fn from_key(key: &str) -> Option<Metric> {
                match key { $($key => Some(Metric::$variant),)+ _ => None }
            }
        }
    };
}

metrics! {
    Steps "steps" "Steps" "count" Activity,
    Distance "distance" "Distance" "m" Activity,
    ActiveCalories "active_calories" "Active energy" "kcal" Activity,
    TotalCalories "total_calories" "Total energy" "kcal" Activity,
    ActiveMinutes "active_minutes" "Active minutes" "min" Activity,
    RestingHeartRate "resting_heart_rate" "Resting heart rate" "bpm" Heart,
    AverageHeartRate "average_heart_rate" "Average heart rate" "bpm" Heart,
    MaxHeartRate "max_heart_rate" "Maximum heart rate" "bpm" Heart,
    MinHeartRate "min_heart_rate" "Minimum heart rate" "bpm" Heart,
    HrvRmssd "hrv_rmssd" "HRV (RMSSD)" "ms" Heart,
    HrvSdnn "hrv_sdnn" "HRV (SDNN)" "ms" Heart,
    SleepDuration "sleep_duration" "Sleep" "s" Sleep,
    SleepDeep "sleep_deep" "Deep sleep" "s" Sleep,
    SleepLight "sleep_light" "Light sleep" "s" Sleep,
    SleepRem "sleep_rem" "REM sleep" "s" Sleep,
    SleepEfficiency "sleep_efficiency" "Sleep efficiency" "%" Sleep,
    TimeInBed "time_in_bed" "Time in bed" "s" Sleep,
    RespiratoryRate "respiratory_rate" "Respiratory rate" "breaths/min" Vital,
    Spo2 "spo2" "Oxygen saturation" "%" Vital,
    SkinTemperatureDelta "skin_temperature_delta" "Skin temperature deviation" "°C" Vital,
    StressLevel "stress_level" "Stress level" "" Vital,
    Weight "weight" "Weight" "kg" Body,
    BodyFat "body_fat" "Body fat" "%" Body,
    MuscleMass "muscle_mass" "Muscle mass" "kg" Body,
    Bmi "bmi" "Body mass index" "kg/m²" Body,
    Vo2max "vo2max" "VO₂max" "ml/kg/min" Body,
    BloodGlucose "blood_glucose" "Blood glucose" "mg/dL" Clinical,
    SystolicBp "systolic_bp" "Systolic blood pressure" "mmHg" Clinical,
    DiastolicBp "diastolic_bp" "Diastolic blood pressure" "mmHg" Clinical,
    WaterIntake "water_intake" "Water intake" "ml" Clinical,
    RecoveryScore "recovery_score" "Recovery score" "" VendorScore,
    ReadinessScore "readiness_score" "Readiness score" "" VendorScore,
    SleepScore "sleep_score" "Sleep score" "" VendorScore,
    DayStrain "day_strain" "Day strain" "" VendorScore,
}

impl Metric {
    /// What a trainer decides by.
    pub const KEY: [Metric; 6] =
        [Metric::HrvRmssd, Metric::RestingHeartRate, Metric::SleepDuration, Metric::Steps, Metric::ActiveCalories, Metric::Weight];

    /// Whether it is a vendor's own score (stress levels are one too): kept and shown, its confidence always Unknown.
    pub const fn is_vendor_score(self) -> bool {
        matches!(self.category(), Category::VendorScore) || matches!(self, Metric::StressLevel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_finds_its_metric_and_no_key_is_used_twice() {
        for m in Metric::ALL {
            assert_eq!(Metric::from_key(m.key()), Some(*m));
        }
        let mut keys: Vec<_> = Metric::ALL.iter().map(|m| m.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), Metric::ALL.len());
        assert_eq!(Metric::from_key("hr"), None);
    }
}
