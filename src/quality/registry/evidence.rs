//! What published studies found, one row a study, device and metric. Figures as published; the probability is derived
//! from them (see [`super::prior`]). Heart-rate studies give limits of single readings; a day's mean averages them out, so
//! they count as words there. `Seen` rows were read at their source; the others count less and are never shown
//! as citations.

use super::Key::{Known, Secondary, Seen};
use super::{Basis, EvidenceRow, Figure, Key};
use crate::model::Metric as M;
use Figure::{BiasSd, Limits, Mape, Right, Words};

/// Study, year, participants, population, funder, how it was read.
#[derive(Clone, Copy)]
struct Study(&'static str, u16, Option<u32>, &'static str, Option<&'static str>, Key);

const DIAL: Study = Study("Dial et al. 2025, Physiol Rep", 2025, Some(13), "healthy adults, 536 nights", None, Secondary);
const OGRADY: Study = Study("O'Grady et al. 2024, Sensors 24:6220", 2024, Some(39), "adults at rest", None, Seen);
const KINNUNEN: Study = Study("Kinnunen et al. 2020", 2020, Some(49), "adults, nights", None, Seen);
const NUUTTILA: Study = Study("Nuuttila et al. 2021", 2021, None, "adults, nights", None, Seen);
const STONE: Study = Study("Stone et al. 2021, Front Sports Act Living", 2021, Some(5), "adults", None, Seen);
const CHOE: Study = Study("Choe & Kang 2025, meta-analysis of 56 studies", 2025, None, "pooled", None, Seen);
const FITBIT_META: Study = Study("Meta-analysis of 52 studies, PMC9047731", 2022, None, "pooled", None, Seen);
const VIVOSMART: Study = Study("PMC7218601", 2020, None, "adults", None, Seen);
const EVENSON: Study = Study("Evenson & Spade 2020, review", 2020, None, "review", None, Seen);
const FULLER: Study = Study("Fuller et al. 2020, JMIR e18694, 158 publications", 2020, None, "review", None, Seen);
const MILLER20: Study = Study("Miller et al. 2020", 2020, None, "adults, laboratory nights", None, Seen);
const MILLER22: Study = Study("Miller et al. 2022, Sensors 22:6317", 2022, Some(53), "adults, laboratory nights", None, Seen);
const KIM: Study = Study("Kim et al. 2023", 2023, Some(32), "adults, laboratory nights", None, Seen);
const CHINOY: Study = Study("Chinoy et al. 2021, PMC8120339", 2021, Some(34), "adults, seven devices", None, Seen);
const ROBBINS: Study = Study("Robbins et al. 2024, Sensors 24:6532", 2024, Some(35), "adults", Some("partly Oura"), Seen);
const SCHYVENS: Study = Study("Schyvens et al. 2025, Sleep Adv 6:zpaf021", 2025, Some(62), "adults", None, Seen);
const KIRSZENBLAT: Study =
    Study("Kirszenblat & Edouard 2021, JMIR e27503", 2021, Some(14), "adults, 70–100 %", Some("authors of Withings"), Seen);
const GALAXY: Study = Study("Galaxy Watch 4 oximetry study (index page)", 2023, None, "adults", None, Secondary);
const RAFL: Study = Study("Rafl et al. 2022", 2022, None, "adults, 90–100 %", None, Seen);
const LAMBE: Study = Study("Lambe et al. 2025", 2025, None, "adults", None, Seen);
const CASERMAN: Study = Study("Caserman et al. 2024", 2024, None, "adults", None, Seen);
const DUKING: Study = Study("Düking et al. 2022", 2022, None, "adults, running", None, Seen);
const FRIJA: Study = Study("Frija-Masson et al. 2021", 2021, None, "adults", None, Seen);
const NATARAJAN: Study = Study("Natarajan et al. 2021", 2021, None, "adults, nights", Some("authors of Fitbit"), Seen);
const ISO_GLUCOSE: Study = Study("ISO 15197:2013 requirement", 2013, None, "requirement, not a study", None, Known);
const ISO_CUFF: Study = Study("ISO 81060-2 requirement", 2018, None, "requirement, not a study", None, Known);

const DOHERTY: Study = Study("Doherty et al. 2024, Sports Med 54:2907", 2024, None, "review of 249 studies", None, Seen);
const MOLINA: Study = Study("Molina-Garcia et al. 2022, meta-analysis", 2022, None, "pooled", None, Seen);

/// What is assumed of devices that nobody studied: said openly, never shown as a citation, and worth four observations.
const ASSUMED: Study = Study("Assumption of this registry; no study with a figure found", 2026, None, "unstudied devices", None, Known);

/// Stands for every brand that has no study of its own.
pub const ANY: &str = "*";

fn row(metric: M, source: &str, device: &str, figure: Figure, published: &str, study: Study) -> EvidenceRow {
    let Study(name, year, n, population, funder, key) = study;
    EvidenceRow {
        metric,
        source: source.to_owned(),
        device: device.to_owned(),
        figure,
        published: published.to_owned(),
        n,
        population: population.to_owned(),
        funder: funder.map(str::to_owned),
        study: name.to_owned(),
        year,
        key,
        basis: Basis::Study,
    }
}

/// What a standard requires, where no study is known: no finding of anybody.
fn required(metric: M, source: &str, figure: Figure, published: &str, standard: Study) -> EvidenceRow {
    EvidenceRow { basis: Basis::Requirement, ..row(metric, source, "", figure, published, standard) }
}

/// What is assumed of every brand without a study of its own.
fn assumed(metric: M, figure: Figure, published: &str) -> EvidenceRow {
    EvidenceRow { basis: Basis::Assumed, ..row(metric, ANY, "", figure, published, ASSUMED) }
}

/// All rows.
pub fn rows() -> Vec<EvidenceRow> {
    let mut all = heart();
    all.extend(activity());
    all.extend(sleep());
    all.extend(vital_and_body());
    all
}

fn heart() -> Vec<EvidenceRow> {
    vec![
        row(M::RestingHeartRate, "oura", "Oura Gen3", Mape(1.67), "MAPE 1.67 ± 1.54 %, CCC .97", DIAL),
        row(M::RestingHeartRate, "oura", "Oura Gen4", Mape(1.94), "MAPE 1.94 ± 2.51 %, CCC .98", DIAL),
        row(M::RestingHeartRate, "whoop", "WHOOP 4.0", Mape(3.00), "MAPE 3.00 ± 2.15 %", DIAL),
        row(M::RestingHeartRate, "polar", "Polar Grit X Pro", Mape(2.71), "MAPE 2.71 ± 2.75 %", DIAL),
        row(M::RestingHeartRate, "apple", "Apple Watch Series 9", Mape(5.91), "bias −0.08 bpm, MAPE 5.91 %, MAE 3.73 bpm", OGRADY),
        row(M::RestingHeartRate, "oura", "Oura Gen2", Words, "bias −0.63 bpm, r² .996", KINNUNEN),
        row(M::RestingHeartRate, "polar", "Polar Vantage V2", Words, "bias −0.7 bpm, ICC .998", NUUTTILA),
        row(M::HrvRmssd, "oura", "Oura Gen4", Mape(5.96), "MAPE 5.96 %, CCC .99", DIAL),
        row(M::HrvRmssd, "oura", "Oura Gen3", Mape(7.15), "MAPE 7.15 %, CCC .97", DIAL),
        row(M::HrvRmssd, "oura", "Oura Gen2", Mape(6.84), "MAPE 6.84 %, CCC .91", STONE),
        row(M::HrvRmssd, "oura", "Oura Gen2", Words, "bias −1.2 ms, r² .980", KINNUNEN),
        row(M::HrvRmssd, "whoop", "WHOOP 4.0", Mape(8.17), "MAPE 8.17 %, CCC .94", DIAL),
        row(M::HrvRmssd, "garmin", "Garmin Fenix 6", Mape(10.52), "MAPE 10.52 %, CCC .87", DIAL),
        row(M::HrvRmssd, "polar", "Polar Grit X Pro", Mape(16.32), "MAPE 16.32 %, CCC .82", DIAL),
        row(M::HrvRmssd, "polar", "Polar Vantage V2", Words, "lnRMSSD bias +0.17, ICC .931", NUUTTILA),
        row(M::HrvSdnn, "apple", "Apple Watch Series 9", Mape(28.88), "bias −8.31 ms, MAPE 28.88 %, MAE 20.46 ms (SDNN)", OGRADY),
        row(
            M::AverageHeartRate,
            "apple",
            "Apple Watch",
            Words,
            "single readings: bias −0.12 bpm, limits −11.06 to 10.81, MAPE 4.43 %",
            CHOE,
        ),
        row(M::AverageHeartRate, "fitbit", "Fitbit", Words, "single readings: bias −2.99 bpm, limits −23.99 to 18.01", FITBIT_META),
        row(M::AverageHeartRate, "garmin", "Garmin Vivosmart HR+", Mape(4.25), "MAPE 3.77–4.73 %", VIVOSMART),
        row(M::AverageHeartRate, "xiaomi", "Mi Band", Mape(6.85), "MAPE 6–7.7 %", VIVOSMART),
        assumed(M::MaxHeartRate, Mape(4.3), "MAPE 4.3 %"),
        assumed(M::MinHeartRate, Mape(5.4), "MAPE 5.4 %"),
    ]
}

fn activity() -> Vec<EvidenceRow> {
    let none_accurate = "no brand's energy estimate was accurate";
    vec![
        row(M::Steps, "apple", "Apple Watch", Mape(8.17), "bias −1.83 a minute, MAPE 8.17 %", CHOE),
        row(M::Steps, "fitbit", "Fitbit", Words, "bias −3.11 a minute, limits −13.07 to 6.86", FITBIT_META),
        row(M::Steps, "garmin", "Garmin", Words, "good to excellent validity in free living, where 10 % is the limit", EVENSON),
        EvidenceRow { source: "garmin".to_owned(), ..assumed(M::Steps, Mape(10.0), "MAPE 10 %: the limit that a review found it to keep") },
        row(M::Steps, "samsung", "Samsung", Words, "accurate in the laboratory", FULLER),
        row(M::TotalCalories, "apple", "Apple Watch", Mape(27.96), "MAPE 27.96 %; all subgroups above 10 %", CHOE),
        row(M::TotalCalories, "fitbit", "Fitbit", Words, none_accurate, FULLER),
        row(M::TotalCalories, "garmin", "Garmin", Words, none_accurate, FULLER),
        row(M::TotalCalories, "samsung", "Samsung", Words, none_accurate, FULLER),
        row(M::ActiveCalories, "apple", "Apple Watch", Mape(27.96), "MAPE 27.96 %; all subgroups above 10 %", CHOE),
        row(M::ActiveCalories, "fitbit", "Fitbit", Words, none_accurate, FULLER),
        row(M::ActiveCalories, "garmin", "Garmin", Words, none_accurate, FULLER),
        assumed(M::TotalCalories, Mape(20.7), "MAPE 21 % (reviews give no figure: no brand was accurate)"),
        assumed(M::ActiveCalories, Mape(20.7), "MAPE 21 % (reviews give no figure: no brand was accurate)"),
        row(M::ActiveMinutes, ANY, "all brands", Mape(40.0), "intensity of activity: mean error 29–80 % (40 % is taken)", DOHERTY),
    ]
}

fn sleep() -> Vec<EvidenceRow> {
    vec![
        row(M::SleepDuration, "whoop", "WHOOP", BiasSd(492.0, 1974.0), "bias +8.2 ± 32.9 min", MILLER20),
        row(M::SleepDuration, "samsung", "Galaxy Watch 3", Words, "bias +9.5 min, ICC .640", KIM),
        row(M::SleepDuration, "garmin", "Garmin", Words, "sensitivity ≥ .93, specificity .18–.54; Garmin worse", CHINOY),
        row(M::SleepDuration, "fitbit", "Fitbit", Words, "sensitivity ≥ .93, specificity .18–.54", CHINOY),
        assumed(M::TimeInBed, BiasSd(0.0, 600.0), "±10 min standard deviation"),
        assumed(M::SleepLight, BiasSd(480.0, 3200.0), "what is left of asleep after deep and REM: their errors add up (53 min)"),
        assumed(M::SleepRem, BiasSd(0.0, 1600.0), "±27 min standard deviation"),
        assumed(M::SleepEfficiency, BiasSd(1.6, 6.7), "asleep over in bed: the error of asleep in a night of 8 h"),
        row(
            M::SleepDeep,
            "apple",
            "Apple Watch Series 8",
            BiasSd(-2580.0, 1500.0),
            "deep sleep −43 min (spread not read, 25 min taken)",
            ROBBINS,
        ),
        row(
            M::SleepDeep,
            "fitbit",
            "Fitbit Sense 2",
            BiasSd(-900.0, 1500.0),
            "deep sleep −15 min (spread not read, 25 min taken)",
            ROBBINS,
        ),
        row(M::SleepDeep, "apple", "Apple Watch Series 6", Right(0.53), "four stages right in 53 %, κ .20", MILLER22),
        row(M::SleepDeep, "garmin", "Garmin Forerunner 245", Right(0.50), "four stages right in 50 %, κ .25", MILLER22),
        row(M::SleepDeep, "polar", "Polar Vantage V", Right(0.51), "four stages right in 51 %, κ .28", MILLER22),
        row(M::SleepDeep, "oura", "Oura Gen2", Right(0.61), "four stages right in 61 %, κ .43", MILLER22),
        row(M::SleepDeep, "whoop", "WHOOP 3.0", Right(0.60), "four stages right in 60 %, κ .44", MILLER22),
        row(M::SleepDeep, "samsung", "Galaxy Watch 3", Right(0.65), "four stages right in 65 %", KIM),
        row(M::SleepDeep, "fitbit", "Fitbit Sense", Words, "κ .42 (Sense), .41 (Charge 5)", SCHYVENS),
        row(M::SleepDeep, "withings", "ScanWatch", Words, "κ .22", SCHYVENS),
        row(M::SleepDeep, "oura", "Oura Gen3", Words, "sensitivity 76–79.5 % by stage", ROBBINS),
    ]
}

fn vital_and_body() -> Vec<EvidenceRow> {
    vec![
        row(M::Spo2, "withings", "ScanWatch", BiasSd(0.0, 2.97), "RMSE 2.97 points, r .944", KIRSZENBLAT),
        row(M::Spo2, "samsung", "Galaxy Watch 4", BiasSd(-0.2, 2.3), "RMSE 2.3 points, bias −0.2", GALAXY),
        row(M::Spo2, "apple", "Apple Watch Series 6", Limits(-6.0, 6.0), "bias 0.0, limits ± 6 points at 90–100 %", RAFL),
        row(M::RespiratoryRate, "fitbit", "Fitbit", BiasSd(0.0, 0.648), "RMSE 0.648 a minute, MAPE 3 %", NATARAJAN),
        row(M::Vo2max, "apple", "Apple Watch", BiasSd(-6.07, 4.2), "MAPE 13.31 %, bias −6.07 (spread not read, 4.2 taken)", LAMBE),
        assumed(M::RespiratoryRate, BiasSd(0.0, 0.8), "±0.8 a minute standard deviation"),
        assumed(M::SkinTemperatureDelta, BiasSd(0.0, 0.15), "±0.15 °C standard deviation"),
        assumed(M::MuscleMass, BiasSd(3.5, 2.0), "what fat is too low by (3.7 kg), muscle is too high by"),
        row(M::Vo2max, "apple", "Apple Watch Series 7", Mape(15.79), "MAPE 15.79 %, ICC .47", CASERMAN),
        row(M::Vo2max, "garmin", "Garmin Forerunner 245", Mape(5.7), "MAPE 5.7 %", DUKING),
        row(M::Vo2max, ANY, "all brands, from exercise", Limits(-9.92, 9.74), "bias −0.09, limits −9.92 to 9.74 ml/kg/min", MOLINA),
        row(M::Weight, "withings", "Body Cardio", BiasSd(0.0, 0.25), "error 0–0.3 kg", FRIJA),
        row(
            M::BodyFat,
            "withings",
            "Body Cardio",
            BiasSd(-4.9, 2.5),
            "fat mass −3.7 kg, about −4.9 points (spread not published; the three scales lay between −2.2 and −4.4 kg, 2.5 points taken): follow the trend only",
            FRIJA,
        ),
        required(M::BloodGlucose, "freestylelibre", Right(0.95), "95 % within ±15 mg/dL or 15 %", ISO_GLUCOSE),
        required(M::SystolicBp, "omron", BiasSd(0.0, 8.0), "mean difference ≤ 5, standard deviation ≤ 8 mmHg", ISO_CUFF),
    ]
}
