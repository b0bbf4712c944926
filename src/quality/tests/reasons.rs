//! What is said of a score is true of it: why nothing would raise it, what limited a night, and what is no study.

use super::support::*;
use crate::model::{Coverage, DayValue, Metric, Model, UploadKind};
use crate::quality::explain::{Advice, Explanation, Which, explain};
use crate::quality::registry::{Basis, Grounds};
use crate::quality::{Part, Registry, Reviews, Verdict};

fn told(values: &[DayValue], reviews: &Reviews, metric: Metric, from: &str, day: u64) -> Explanation {
    let source = source(from);
    explain(values, reviews, Registry::built_in(), Which { metric, source: &source, date: date(day) }).unwrap()
}

fn reviewed(metric: Metric, from: &str, day: u64, verdict: Verdict) -> Reviews {
    let mut reviews = Reviews::none();
    reviews.add(metric, source(from), date(day), verdict);
    reviews
}

/// The one thing said where nothing helps.
fn only(told: &Explanation) -> &Advice {
    assert!(told.advice.len() == 1 && told.advice[0].points == 0, "{told:?}");
    assert!(told.advice[0].text.starts_with("nothing: "), "{told:?}");
    &told.advice[0]
}

fn numbers(told: &Explanation, part: Part) -> &str {
    &told.waterfall.bars.iter().find(|b| b.part == part).unwrap().numbers
}

/// Steps that stay the same to the last digit. So few days that a second source would not count yet.
fn stuck() -> Vec<DayValue> {
    series(Metric::Steps, "fitbit", &[8000.0, 7777.0, 7777.0, 7777.0])
}

/// A weight in pounds, after as few days.
fn pounds() -> Vec<DayValue> {
    series(Metric::Weight, "withings", &[80.0, 80.2, 79.9, 176.4])
}

#[test]
fn a_suspected_fault_is_not_blamed_on_studies() {
    let mixed_up = told(&pounds(), &Reviews::none(), Metric::Weight, "withings", 3);
    let why = only(&mixed_up);
    assert!(why.text.contains("suspected to be a fault (pounds and kilograms mixed up?"), "{}", why.text);
    assert!(mixed_up.score.score < 60 && !why.text.contains("stud"), "{}", why.text);
    let told = told(&stuck(), &Reviews::none(), Metric::Steps, "fitbit", 3);
    let why = only(&told);
    assert!(told.score.score <= 5, "{told:?}");
    assert!(why.text.contains("suspected to be a fault (exactly the same value 3 times in a row"), "{}", why.text);
    assert!(!why.text.contains("stud"), "{}", why.text);
    assert_eq!(why.part, Part::Consistency);
}

#[test]
fn a_confirmed_fault_is_called_one_with_what_was_found_and_without() {
    let confirmed = reviewed(Metric::Weight, "withings", 3, Verdict::Confirmed);
    let named = told(&pounds(), &confirmed, Metric::Weight, "withings", 3);
    assert!(only(&named).text.contains("a person confirmed that this value is a fault (pounds and kilograms mixed up?"), "{named:?}");
    let sound = [value(Metric::Weight, "withings", 0, 80.0)];
    let bare = told(&sound, &reviewed(Metric::Weight, "withings", 0, Verdict::Confirmed), Metric::Weight, "withings", 0);
    assert!(only(&bare).text.contains("a person confirmed that this value is a fault; the next one"), "{bare:?}");
}

#[test]
fn a_dismissed_doubt_is_no_reason() {
    let dismissed = reviewed(Metric::Steps, "fitbit", 3, Verdict::Dismissed);
    let told = told(&stuck(), &dismissed, Metric::Steps, "fitbit", 3);
    assert!(!only(&told).text.contains("suspected"), "{told:?}");
}

#[test]
fn where_the_device_is_not_what_costs_most_it_is_not_blamed() {
    let mut night = value(Metric::TimeInBed, "oura", 0, 28_000.0);
    night.origin.upload = UploadKind::Pending;
    let told = told(&[night], &Reviews::none(), Metric::TimeInBed, "oura", 0);
    let why = only(&told);
    assert!(why.text.contains("how it came to be holds it down (not final yet)"), "{}", why.text);
    assert_eq!(why.part, Part::Provenance);
}

#[test]
fn only_a_studied_device_is_capped_by_studies() {
    let energy = |from: &str| {
        let told = told(&[value(Metric::ActiveCalories, from, 0, 600.0)], &Reviews::none(), Metric::ActiveCalories, from, 0);
        assert!(told.score.score < 60, "{told:?}");
        only(&told).clone()
    };
    let (studied, unstudied) = (energy("apple"), energy("nobody"));
    assert!(studied.text.contains("active energy from Apple is capped by what studies found"), "{}", studied.text);
    assert!(unstudied.text.contains("no study of the device exists that would allow more"), "{}", unstudied.text);
    assert_eq!((studied.part, unstudied.part), (Part::Evidence, Part::Evidence));
    let pulse = told(&[value(Metric::RestingHeartRate, "nobody", 0, 65.0)], &Reviews::none(), Metric::RestingHeartRate, "nobody", 0);
    assert!(pulse.score.score >= 60 && only(&pulse).text.contains("no study of the device exists"), "{pulse:?}");
}

/// What completeness takes of an ordinary value of a night with so much coverage.
fn taken(metric: Metric, coverage: Coverage) -> f64 {
    let usual = Registry::built_in().rule(metric).unwrap().usual;
    let night = DayValue { model: Model::Sleep, coverage, ..value(metric, "oura", 0, usual) };
    let bed = value(Metric::TimeInBed, "oura", 0, 28_000.0);
    of(&score_all(&[night, bed]), metric, "oura", 0).parts.completeness
}

#[test]
fn few_samples_only_cost_the_metric_that_was_made_from_them() {
    let variability = || Coverage { samples: Some(1), ..Coverage::default() };
    let oxygen = || Coverage { spo2_samples: Some(1), ..Coverage::default() };
    for metric in [Metric::HrvRmssd, Metric::HrvSdnn, Metric::Spo2, Metric::RespiratoryRate, Metric::SkinTemperatureDelta] {
        let whole = taken(metric, Coverage::default());
        let is_variability = matches!(metric, Metric::HrvRmssd | Metric::HrvSdnn);
        assert_eq!(taken(metric, variability()) < whole - 0.1, is_variability, "{}", metric.key());
        assert_eq!(taken(metric, oxygen()), whole, "a spot check is one sample: {}", metric.key());
        if !is_variability {
            assert_eq!(taken(metric, variability()), whole, "{}", metric.key());
        }
    }
}

/// What is said of how much was seen of a night in bed, with a day that was delivered at 14:00.
fn said(metric: Metric, coverage: Coverage) -> String {
    let amount = if metric == Metric::TimeInBed { 27_000.0 } else { Registry::built_in().rule(metric).unwrap().usual };
    let night = DayValue { model: Model::Sleep, coverage, ..value(metric, "oura", 0, amount) };
    let mut day = value(Metric::Steps, "oura", 0, 8000.0);
    day.coverage.cut_s = Some(50_400.0);
    let mut values = vec![night, day];
    if metric != Metric::TimeInBed {
        values.push(value(Metric::TimeInBed, "oura", 0, 27_000.0));
    }
    let steps = told(&values, &Reviews::none(), Metric::Steps, "oura", 0);
    assert!(numbers(&steps, Part::Completeness).contains("delivered 14.0 h into the day"), "{steps:?}");
    numbers(&told(&values, &Reviews::none(), metric, "oura", 0), Part::Completeness).to_owned()
}

#[test]
fn what_limited_a_night_is_said_and_a_cut_of_the_day_is_not() {
    for metric in [Metric::TimeInBed, Metric::HrvRmssd, Metric::RespiratoryRate, Metric::Spo2] {
        assert_eq!(said(metric, Coverage::default()), "seen: 7.5 h of the night", "{}", metric.key());
    }
    assert!(!said(Metric::RestingHeartRate, Coverage::default()).contains("into the day"));
    let few = Coverage { samples: Some(1), spo2_samples: Some(2), ..Coverage::default() };
    assert_eq!(said(Metric::HrvRmssd, few.clone()), "seen: 7.5 h of the night; limited by: only 1 sample");
    assert_eq!(said(Metric::Spo2, few), "seen: 7.5 h of the night");
    let night = |coverage: Coverage| said(Metric::TimeInBed, coverage);
    let drawn = Coverage { hypnogram_s: Some(7200.0), unmeasurable_s: Some(5400.0), ..Coverage::default() };
    let limits = "a hypnogram of 2.0 h, 1.5 h that could not be measured";
    assert_eq!(night(drawn), format!("seen: 7.5 h of the night; limited by: {limits}"));
    let whole = Coverage { hypnogram_s: Some(27_000.0), unmeasurable_s: Some(0.0), ..Coverage::default() };
    assert_eq!(night(whole), "seen: 7.5 h of the night");
    let cut = Coverage { cut_s: Some(18_000.0), ..Coverage::default() };
    assert_eq!(night(cut.clone()), "seen: 7.5 h of the night; limited by: a delivery 5.0 h into the night");
    assert_eq!(said(Metric::HrvRmssd, cut), "seen: 7.5 h of the night", "it costs a mean nothing");
}

#[test]
fn a_requirement_and_an_assumption_are_no_studies() {
    let registry = Registry::built_in();
    let prior = |metric, from: &str| registry.prior(metric, from, None);
    let glucose = prior(Metric::BloodGlucose, "freestylelibre");
    assert!(!glucose.studied && glucose.studies == 0 && (glucose.probability - 0.95).abs() < 1e-9, "{glucose:?}");
    for (metric, from) in [(Metric::BloodGlucose, "freestylelibre"), (Metric::SystolicBp, "nobody"), (Metric::DiastolicBp, "omron")] {
        assert!(matches!(prior(metric, from).grounds, Grounds::Required(_)), "{}", metric.key());
    }
    assert_eq!(prior(Metric::MaxHeartRate, "garmin").grounds, Grounds::Assumed);
    assert_eq!(prior(Metric::RestingHeartRate, "nobody").grounds, Grounds::Borrowed);
    assert_eq!(prior(Metric::TotalCalories, "nobody").grounds, Grounds::Mixed);
    let apple = prior(Metric::RestingHeartRate, "apple");
    assert!(apple.studied && apple.studies == 1 && apple.grounds == Grounds::Studied, "{apple:?}");
    assert!(registry.evidence().iter().all(|row| row.basis == Basis::Study || row.citation().is_none()));
}

#[test]
fn what_is_no_study_is_not_worded_as_one() {
    let evidence = |metric: Metric, from: &str| {
        let usual = Registry::built_in().rule(metric).unwrap().usual;
        numbers(&told(&[value(metric, from, 0, usual)], &Reviews::none(), metric, from, 0), Part::Evidence).to_owned()
    };
    for (metric, from, words) in [
        (Metric::BloodGlucose, "freestylelibre", "required by ISO 15197:2013, no study"),
        (Metric::SystolicBp, "omron", "required by ISO 81060-2, no study"),
        (Metric::DiastolicBp, "omron", "required by ISO 81060-2, no study"),
        (Metric::MaxHeartRate, "garmin", "assumed by this registry, no study"),
        (Metric::TimeInBed, "oura", "assumed by this registry, no study"),
    ] {
        let said = evidence(metric, from);
        assert!(said.contains(words) && !said.contains("from study") && !said.contains("borrowed"), "{}: {said}", metric.key());
    }
    assert!(evidence(Metric::TotalCalories, "nobody").contains("partly borrowed from other devices and partly assumed"));
    assert!(evidence(Metric::RestingHeartRate, "nobody").contains("borrowed from other devices"));
    assert!(evidence(Metric::RestingHeartRate, "apple").contains("from study worth"));
}
