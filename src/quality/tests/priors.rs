//! What is known of a device beforehand, what two sources say of each other, and what would raise a score.

use super::support::*;
use crate::model::{Coverage, DayValue, FindingKind, Metric};
use crate::quality::explain::{Which, explain};
use crate::quality::math::sigmoid;
use crate::quality::registry::{Basis, Figure, Overrides, Tolerance};
use crate::quality::{Registry, Reviews, score_person};

fn prior(metric: Metric, source: &str, device: &str) -> f64 {
    Registry::built_in().prior(metric, source, Some(device)).probability
}

#[test]
fn a_study_is_of_a_model_by_whole_words_and_numbers() {
    let same = |metric, source, one, other| prior(metric, source, one) == prior(metric, source, other);
    // The model studied counts more than its sisters, however it is written.
    assert!(!same(Metric::Spo2, "samsung", "Galaxy Watch 4", "another"));
    assert!(same(Metric::Spo2, "samsung", "Galaxy Watch 4", "Samsung Galaxy Watch4 (A3F2)"));
    // Digits that only occur in a name are no model's number.
    assert!(same(Metric::Spo2, "samsung", "Galaxy Watch5 (44mm)", "another"));
    assert!(same(Metric::SleepDeep, "samsung", "Galaxy Watch4 (A3F2)", "another"));
    assert!(same(Metric::Spo2, "apple", "Apple Watch Series 10 46mm", "another"));
    assert!(!same(Metric::Spo2, "apple", "Apple Watch Series 6 44mm", "another"));
}

#[test]
fn a_brand_with_many_studied_models_has_one_voice_among_brands() {
    let registry = Registry::built_in();
    let rule = registry.rule(Metric::HrvRmssd).unwrap();
    let mean = |source: &str| {
        let of: Vec<f64> = registry
            .evidence()
            .iter()
            .filter(|r| r.metric == Metric::HrvRmssd && r.source == source)
            .filter_map(|r| r.figure.within(rule))
            .collect();
        of.iter().sum::<f64>() / of.len() as f64
    };
    let brands = ["oura", "whoop", "garmin", "polar"];
    let expected = brands.map(mean).iter().sum::<f64>() / brands.len() as f64;
    let unstudied = registry.prior(Metric::HrvRmssd, "nobody", None).probability;
    assert!((unstudied - expected).abs() < 1e-12, "{unstudied} {expected}");
}

#[test]
fn a_stricter_tolerance_lowers_every_prior_that_rests_on_a_figure() {
    let built_in = Registry::built_in();
    let tolerances = [(Metric::SleepDeep, Tolerance::Absolute(60.0))].into();
    let strict = built_in.with(&Overrides { version: 5001, tolerances, ..Overrides::default() });
    for source in ["apple", "garmin", "polar", "oura", "whoop", "samsung", "fitbit", "nobody"] {
        let (before, after) =
            (built_in.prior(Metric::SleepDeep, source, None).probability, strict.prior(Metric::SleepDeep, source, None).probability);
        assert!(after < before / 3.0, "{source}: {before} {after}");
    }
}

#[test]
fn what_a_review_only_allows_is_no_finding_of_a_study() {
    let taken = |r: &&crate::quality::registry::EvidenceRow| r.metric == Metric::Steps && r.source == "garmin";
    let rows: Vec<_> = Registry::built_in().evidence().iter().filter(taken).collect();
    assert!(rows.iter().any(|r| r.basis == Basis::Assumed) && rows.len() == 2);
    assert!(rows.iter().all(|r| (r.basis == Basis::Study) == (r.figure == Figure::Words)));
    assert!(!Registry::built_in().prior(Metric::Steps, "garmin", None).studied);
}

/// Two sources of one metric for four weeks, the second `apart` above the first, and one more day of each.
fn pair(metric: Metric, first: &[f64], apart: f64, last: (f64, f64)) -> Vec<DayValue> {
    let mut values = series(metric, "oura", first);
    let second: Vec<f64> = first.iter().enumerate().map(|(d, v)| v + apart + ((d * 37 % 11) as f64 - 5.0) / 10.0).collect();
    values.extend(series(metric, "whoop", &second));
    let day = first.len() as u64;
    values.extend([value(metric, "oura", day, last.0), value(metric, "whoop", day, last.1)]);
    values
}

#[test]
fn a_record_is_made_of_the_days_before_and_not_of_todays_value() {
    let steps = around(8000.0, 2500.0, 28);
    let record = |today: f64| {
        let values = pair(Metric::Steps, &steps, 60.0, (today, today + 60.0));
        let source = source("oura");
        let which = Which { metric: Metric::Steps, source: &source, date: date(28) };
        let told = explain(&values, &Reviews::none(), Registry::built_in(), which).unwrap();
        let bar = told.waterfall.bars.iter().find(|b| b.part == crate::quality::Part::Evidence).unwrap().clone();
        bar.numbers.split_once("with this person").unwrap().1.to_owned()
    };
    let ordinary = record(8000.0);
    assert!(ordinary.contains("on 28 of the last 28 common days"), "{ordinary}");
    assert_eq!(record(0.0), ordinary);
    assert_eq!(record(300.0), ordinary);
}

#[test]
fn two_that_differ_share_one_suspicion_also_with_few_days() {
    for days in [6, 12, 28] {
        let past = around(60.0, 2.0, days);
        // Each as far from its own past as the other, one up and one down.
        let values = pair(Metric::RestingHeartRate, &past, 0.0, (90.0, 30.0));
        let scores = score_all(&values);
        let blamed = |from: &str| {
            let parts = of(&scores, Metric::RestingHeartRate, from, days).parts;
            let before = parts.evidence + parts.plausibility + parts.completeness;
            1.0 - sigmoid(before + parts.concordance) / sigmoid(before)
        };
        let (one, other) = (blamed("oura"), blamed("whoop"));
        assert!((0.9..1.05).contains(&(one + other)), "{days} days: {one} {other}");
    }
}

#[test]
fn the_source_that_disagrees_is_the_one_that_is_named() {
    let past = around(60.0, 1.0, 20);
    let mut values = pair(Metric::RestingHeartRate, &past, 0.0, (90.0, 90.2));
    let third: Vec<f64> = past.iter().enumerate().map(|(d, v)| v + ((d * 31 % 13) as f64 - 6.0) / 12.0).collect();
    values.extend(series(Metric::RestingHeartRate, "garmin", &third));
    values.push(value(Metric::RestingHeartRate, "garmin", 20, 60.0));
    // Two agree on what is unusual for both, the third says the ordinary.
    for from in ["oura", "whoop"] {
        let backed = of(&score_all(&values), Metric::RestingHeartRate, from, 20);
        let named: Vec<_> = backed.findings.iter().filter(|f| f.kind == FindingKind::Disagreement).collect();
        assert!(named.len() == 1 && named[0].detail.contains("60.0"), "{named:?}");
    }
}

fn advice(v: DayValue) -> Vec<String> {
    let source = v.source.clone();
    let which = Which { metric: v.metric, source: &source, date: v.date };
    let told = explain(&[v], &Reviews::none(), Registry::built_in(), which).unwrap();
    told.advice.into_iter().filter(|a| a.points > 0).map(|a| a.text).collect()
}

#[test]
fn wearing_it_longer_helps_also_where_wear_is_told_directly_and_a_night_is_drawn() {
    // Seconds of rest are counted: nine hours worn.
    let mut day = value(Metric::Steps, "oura", 0, 3000.0);
    day.coverage = Coverage {
        low_s: Some(6_000.0),
        active_s: Some(1_200.0),
        inactive_s: Some(10_800.0),
        rest_s: Some(14_400.0),
        accounted_s: Some(32_400.0),
        ..Coverage::default()
    };
    assert!(advice(day).iter().any(|a| a.contains("day and night worn throughout")));
    // A night of two hours, and a hypnogram of as many.
    let mut night = value(Metric::SleepDuration, "oura", 0, 7_200.0);
    night.coverage = Coverage { hypnogram_s: Some(7_200.0), ..Coverage::default() };
    assert!(advice(night).iter().any(|a| a.contains("five hours or more of the night")));
}

#[test]
fn a_link_that_cannot_be_checked_and_one_that_holds_cost_the_same() {
    let with_partner = |partner: bool| {
        let hearts = around(60.0, 2.0, 30);
        let mut values = series(Metric::RestingHeartRate, "oura", &hearts);
        if partner {
            values.extend(series(Metric::AverageHeartRate, "oura", &hearts.iter().map(|v| v * 1.3).collect::<Vec<_>>()));
        }
        let all = score_person(&values, &Reviews::none(), Registry::built_in(), date(29)..=date(29));
        of(&all, Metric::RestingHeartRate, "oura", 29).parts.consistency
    };
    assert!((with_partner(true) - with_partner(false)).abs() < 0.01, "{} {}", with_partner(true), with_partner(false));
}
