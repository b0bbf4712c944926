//! What is taken as given about each metric. One line a metric; the columns are those of [`MetricRule`].
//!
//! Tolerances and ranges with their sources: resting heart rate, HRV, respiration and weight from the studies named;
//! where no source sets a limit the line says "ours". Population figures are rough on purpose: they only speak until
//! a person has a baseline of their own.

use super::{MetricRule, Needs, Scale, Tolerance};
use crate::model::Metric as M;
use Needs::{Nothing, PartOfDay, PartOfNight, Rest, WholeDay, WholeNight};
use Scale::{Linear, Log};
use Tolerance::{Absolute as Abs, Relative as Rel};

/// Sources without a study of their own that are ranked all the same.
pub const OTHER_SOURCES: [&str; 8] = ["google", "suunto", "coros", "omron", "ultrahuman", "eight", "manual", "unknown"];

const FREE_LIVING: &str = "±10 % in free living (Evenson & Spade 2020)";
const TYPICAL_ERROR: &str = "±10 %: about the day-to-day typical error of lnRMSSD (Buchheit 2014)";
const HALF_HOUR: &str = "±30 min (ours)";
const HEART_RATE: &str = "±10 % (ANSI/AAMI EC13 allows ±10 % or ±5 bpm; not checked at its source)";
const OURS: &str = "ours";

/// The rules of all metrics that can be scored.
pub fn rules() -> Vec<MetricRule> {
    let mut all = activity();
    all.extend(heart());
    all.extend(sleep());
    all.extend(vital_and_body());
    all
}

/// Tolerance and its source, hard range, population mean and spread, scale, floor of the personal spread.
struct Limits(Tolerance, &'static str, (f64, f64), (f64, f64), Scale, f64);
/// Baseline days, cadence in days, half-life in hours.
struct Pace(i32, f64, f64);

const DAILY: Pace = Pace(28, 1.0, 24.0);
const NIGHTLY: Pace = Pace(28, 1.0, 36.0);
const SLOW: Pace = Pace(90, 7.0, 336.0);

fn line(metric: M, limits: Limits, pace: Pace, needs: Needs, repeats: f64, manual: f64, borrows: Option<M>) -> MetricRule {
    let Limits(tolerance, source, hard, (usual, usual_spread), scale, floor) = limits;
    MetricRule {
        metric,
        tolerance,
        tolerance_source: source.to_owned(),
        studied: tolerance,
        hard,
        usual,
        usual_spread,
        scale,
        floor,
        baseline_days: pace.0,
        cadence_days: pace.1,
        half_life_hours: pace.2,
        needs,
        repeats,
        manual,
        borrows,
    }
}

fn activity() -> Vec<MetricRule> {
    let l = Limits;
    vec![
        line(M::Steps, l(Rel(0.10), FREE_LIVING, (0.0, 100_000.0), (7500.0, 0.7), Log(500.0), 0.25), DAILY, WholeDay, 0.002, 0.6, None),
        line(
            M::Distance,
            l(Rel(0.10), FREE_LIVING, (0.0, 150_000.0), (5500.0, 0.75), Log(400.0), 0.25),
            DAILY,
            WholeDay,
            0.002,
            0.6,
            Some(M::Steps),
        ),
        line(
            M::ActiveCalories,
            l(Rel(0.10), "±10 % (Choe & Kang 2025)", (0.0, 12_000.0), (600.0, 0.8), Log(100.0), 0.25),
            DAILY,
            WholeDay,
            0.004,
            0.5,
            Some(M::TotalCalories),
        ),
        line(
            M::TotalCalories,
            l(Rel(0.10), "±10 % (Choe & Kang 2025)", (300.0, 15_000.0), (2400.0, 0.28), Log(0.0), 0.06),
            DAILY,
            WholeDay,
            0.004,
            0.5,
            None,
        ),
        line(M::ActiveMinutes, l(Rel(0.20), OURS, (0.0, 1440.0), (35.0, 1.0), Log(15.0), 0.3), DAILY, WholeDay, 0.08, 0.6, Some(M::Steps)),
    ]
}

fn heart() -> Vec<MetricRule> {
    let l = Limits;
    vec![
        line(
            M::RestingHeartRate,
            l(Rel(0.05), "±5 %, about 3 bpm (ours; range of Quer 2020, n = 92,457)", (25.0, 130.0), (65.5, 7.7), Linear, 1.2),
            NIGHTLY,
            Rest,
            0.25,
            0.7,
            None,
        ),
        line(M::AverageHeartRate, l(Rel(0.10), HEART_RATE, (25.0, 200.0), (75.0, 9.0), Linear, 2.0), DAILY, PartOfDay, 0.10, 0.6, None),
        line(
            M::MaxHeartRate,
            l(Rel(0.10), HEART_RATE, (40.0, 240.0), (140.0, 22.0), Linear, 6.0),
            DAILY,
            PartOfDay,
            0.04,
            0.6,
            Some(M::AverageHeartRate),
        ),
        line(
            M::MinHeartRate,
            l(Rel(0.10), HEART_RATE, (25.0, 130.0), (54.0, 8.0), Linear, 1.5),
            DAILY,
            PartOfDay,
            0.20,
            0.6,
            Some(M::AverageHeartRate),
        ),
        line(M::HrvRmssd, l(Rel(0.10), TYPICAL_ERROR, (5.0, 300.0), (42.0, 0.5), Log(0.0), 0.10), NIGHTLY, PartOfNight, 0.04, 0.7, None),
        line(M::HrvSdnn, l(Rel(0.10), TYPICAL_ERROR, (5.0, 400.0), (50.0, 0.5), Log(0.0), 0.12), NIGHTLY, PartOfNight, 0.04, 0.7, None),
    ]
}

fn sleep() -> Vec<MetricRule> {
    let l = Limits;
    vec![
        line(
            M::SleepDuration,
            l(Abs(1800.0), HALF_HOUR, (0.0, 72_000.0), (25_200.0, 0.22), Log(3600.0), 0.07),
            NIGHTLY,
            WholeNight,
            0.01,
            0.6,
            None,
        ),
        line(
            M::SleepDeep,
            l(Abs(1200.0), "±20 min (ours)", (0.0, 36_000.0), (4500.0, 0.45), Log(1200.0), 0.12),
            NIGHTLY,
            WholeNight,
            0.02,
            0.4,
            None,
        ),
        line(
            M::SleepLight,
            l(Abs(1800.0), HALF_HOUR, (0.0, 54_000.0), (14_400.0, 0.35), Log(1200.0), 0.10),
            NIGHTLY,
            WholeNight,
            0.01,
            0.4,
            Some(M::SleepDeep),
        ),
        line(
            M::SleepRem,
            l(Abs(1200.0), "±20 min (ours)", (0.0, 36_000.0), (5400.0, 0.45), Log(1200.0), 0.12),
            NIGHTLY,
            WholeNight,
            0.02,
            0.4,
            Some(M::SleepDeep),
        ),
        line(
            M::SleepEfficiency,
            l(Abs(5.0), "±5 points (ours)", (5.0, 100.0), (90.0, 6.0), Linear, 2.0),
            NIGHTLY,
            WholeNight,
            0.15,
            0.5,
            Some(M::SleepDuration),
        ),
        line(
            M::TimeInBed,
            l(Abs(1800.0), HALF_HOUR, (0.0, 79_200.0), (27_900.0, 0.22), Log(3600.0), 0.07),
            NIGHTLY,
            WholeNight,
            0.01,
            0.7,
            Some(M::SleepDuration),
        ),
    ]
}

fn vital_and_body() -> Vec<MetricRule> {
    let l = Limits;
    vec![
        line(
            M::RespiratoryRate,
            l(Abs(1.0), "±1 a minute (ours; range of Natarajan 2021)", (4.0, 60.0), (15.5, 2.3), Linear, 0.4),
            NIGHTLY,
            PartOfNight,
            0.15,
            0.6,
            None,
        ),
        line(
            M::Spo2,
            l(Abs(3.0), "±3 points (ISO 80601-2-61 allows 4 % root mean square)", (50.0, 100.0), (96.0, 1.8), Linear, 0.7),
            NIGHTLY,
            PartOfNight,
            0.20,
            0.7,
            None,
        ),
        line(
            M::SkinTemperatureDelta,
            l(Abs(0.3), "±0.3 °C (ours)", (-8.0, 8.0), (0.0, 0.6), Linear, 0.2),
            NIGHTLY,
            PartOfNight,
            0.10,
            0.5,
            None,
        ),
        line(
            M::Weight,
            l(Abs(0.5), "±0.5 kg (smart scales err by 0–0.3 kg: Frija-Masson 2021)", (20.0, 350.0), (75.0, 0.22), Log(0.0), 0.010),
            SLOW,
            Nothing,
            0.10,
            0.93,
            None,
        ),
        line(M::BodyFat, l(Abs(2.0), "±2 points (ours)", (2.0, 70.0), (25.0, 8.0), Linear, 0.8), SLOW, Nothing, 0.12, 0.7, None),
        line(
            M::MuscleMass,
            l(Abs(1.0), "±1 kg (ours)", (10.0, 150.0), (50.0, 0.25), Log(0.0), 0.012),
            SLOW,
            Nothing,
            0.10,
            0.7,
            Some(M::BodyFat),
        ),
        line(
            M::Bmi,
            l(Abs(0.3), "±0.3 kg/m² (ours: half a kilogram)", (8.0, 90.0), (25.0, 0.2), Log(0.0), 0.012),
            SLOW,
            Nothing,
            0.12,
            0.93,
            Some(M::Weight),
        ),
        line(
            M::Vo2max,
            l(Rel(0.10), "±10 % (ours; studies report percentage errors)", (10.0, 95.0), (42.0, 9.0), Linear, 0.8),
            SLOW,
            Nothing,
            0.60,
            0.8,
            None,
        ),
        line(
            M::BloodGlucose,
            l(Rel(0.15), "±15 % (ISO 15197:2013)", (20.0, 600.0), (105.0, 0.25), Log(0.0), 0.10),
            DAILY,
            Nothing,
            0.05,
            0.9,
            None,
        ),
        line(
            M::SystolicBp,
            l(Abs(10.0), "±10 mmHg (ours)", (50.0, 260.0), (122.0, 15.0), Linear, 5.0),
            Pace(90, 3.0, 72.0),
            Nothing,
            0.06,
            0.9,
            None,
        ),
        line(
            M::DiastolicBp,
            l(Abs(10.0), "±10 mmHg (ours)", (25.0, 180.0), (76.0, 10.0), Linear, 4.0),
            Pace(90, 3.0, 72.0),
            Nothing,
            0.08,
            0.9,
            Some(M::SystolicBp),
        ),
        line(M::WaterIntake, l(Rel(0.20), OURS, (0.0, 20_000.0), (1800.0, 0.6), Log(250.0), 0.2), DAILY, Nothing, 0.20, 1.0, None),
    ]
}
