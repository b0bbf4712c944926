//! The faults of earlier systems, each by its number in the list of weak points (36–49) or of holes (S1–S16), and the
//! promises of the specification that answer them.

use super::support::*;
use crate::model::{Coverage, FindingKind, Metric, UploadKind};
use crate::quality::currency::currency;
use crate::quality::registry::{Key, Overrides, Tolerance};
use crate::quality::{REGISTRY_VERSION, Registry, Reviews, SCORER_VERSION, score_person};

#[test]
fn flaw_36_one_new_day_is_scored_alone() {
    let values = series(Metric::RestingHeartRate, "oura", &around(52.0, 2.0, 60));
    let scores = score_person(&values, &Reviews::none(), Registry::built_in(), date(59)..=date(59));
    assert_eq!(scores.len(), 1);
    assert_eq!(scores[0].date, date(59));
}

#[test]
fn flaw_37_a_changed_day_changes_its_score_and_those_it_is_the_baseline_of() {
    let mut values = series(Metric::HrvRmssd, "oura", &[60.0, 63.0, 57.0, 61.0, 60.5]);
    let before = score_all(&values);
    values[2].value = 120.0;
    let after = score_all(&values);
    assert_ne!(of(&before, Metric::HrvRmssd, "oura", 2), of(&after, Metric::HrvRmssd, "oura", 2));
    assert_ne!(of(&before, Metric::HrvRmssd, "oura", 4), of(&after, Metric::HrvRmssd, "oura", 4));
    assert_eq!(of(&before, Metric::HrvRmssd, "oura", 1), of(&after, Metric::HrvRmssd, "oura", 1));
}

#[test]
fn flaw_38_recalculation_under_another_registry_gives_other_scores_and_says_so() {
    let values = series(Metric::HrvRmssd, "whoop", &around(60.0, 4.0, 30));
    let tolerances = [(Metric::HrvRmssd, Tolerance::Relative(0.05))].into();
    let strict = Registry::built_in().with(&Overrides { version: 77, tolerances, ..Overrides::default() });
    let old = score_all(&values);
    let new = score_person(&values, &Reviews::none(), &strict, date(0)..=date(29));
    assert_eq!(new.len(), old.len());
    assert!(new.iter().zip(&old).all(|(n, o)| n.probability < o.probability && n.registry_version == 77));
}

#[test]
fn flaw_39_and_s5_age_is_not_stored_but_worked_out_when_read() {
    let long_ago = series(Metric::RestingHeartRate, "oura", &around(52.0, 2.0, 40));
    let mut later = long_ago.clone();
    for v in &mut later {
        v.date = v.date.checked_add_days(chrono::Days::new(700)).unwrap();
    }
    let (a, b) = (score_all(&long_ago), score_all(&later));
    assert!(a.iter().zip(&b).all(|(x, y)| x.probability == y.probability));
    let registry = Registry::built_in();
    assert!(currency(registry, Metric::RestingHeartRate, 30.0 * 24.0).unwrap() < 0.001);
}

#[test]
fn flaw_40_a_good_old_scan_is_good() {
    let scan = after(Metric::Weight, "withings", &around(81.0, 0.4, 20), 81.2);
    assert!(scan.score >= 80, "{scan:?}");
}

#[test]
fn flaw_41_rare_metrics_are_not_punished_for_being_rare() {
    let monthly: Vec<_> = (0..5).map(|m| value(Metric::Vo2max, "garmin", m * 30, 48.0 + m as f64 * 0.3)).collect();
    let rare = of(&score_all(&monthly), Metric::Vo2max, "garmin", 120);
    let gadget = after(Metric::ActiveCalories, "garmin", &around(600.0, 100.0, 40), 610.0);
    assert!(rare.score > gadget.score + 20, "{} {}", rare.score, gadget.score);
}

#[test]
fn flaw_42_a_second_source_that_agrees_never_lowers() {
    let own = around(52.0, 3.0, 30);
    for off in [-1.0, -0.5, 0.0, 0.3, 0.8] {
        let alone = series(Metric::RestingHeartRate, "garmin", &own);
        let mut both = alone.clone();
        let mut other: Vec<f64> = own.iter().zip(around(2.0, 1.5, 30)).map(|(v, d)| v + d).collect();
        other[29] = own[29] + 2.0 + off;
        both.extend(series(Metric::RestingHeartRate, "whoop", &other));
        let (a, b) = (score_all(&alone), score_all(&both));
        let (a, b) = (of(&a, Metric::RestingHeartRate, "garmin", 29), of(&b, Metric::RestingHeartRate, "garmin", 29));
        assert!(b.probability >= a.probability, "{off}: {} {}", a.probability, b.probability);
    }
}

#[test]
fn flaw_42_a_missing_second_source_adds_nothing_and_a_new_one_waits() {
    let own = around(52.0, 3.0, 30);
    let mut values = series(Metric::RestingHeartRate, "garmin", &own);
    assert!(score_all(&values).iter().all(|s| s.parts.concordance == 0.0));
    for day in 26..30 {
        values.push(value(Metric::RestingHeartRate, "whoop", day, own[day as usize] + 8.0));
    }
    assert!(score_all(&values).iter().all(|s| s.parts.concordance == 0.0));
}

#[test]
fn flaw_43_and_s3_each_metric_has_its_own_measure() {
    let weight = after(Metric::Weight, "withings", &around(80.0, 0.3, 30), 84.0);
    let hrv = after(Metric::HrvRmssd, "withings", &around(60.0, 5.0, 30), 63.0);
    assert!(weight.parts.plausibility < -0.3 && hrv.parts.plausibility > -0.03, "{weight:?} {hrv:?}");
    let zeros = series(Metric::SkinTemperatureDelta, "oura", &[0.0, -0.1, 0.1, 0.0, -0.2]);
    assert!(score_all(&zeros).iter().all(|s| s.probability.is_finite() && s.probability > 0.3));
}

#[test]
fn flaw_44_and_s4_one_registry_with_evidence_for_every_rank() {
    let registry = Registry::built_in();
    let ranks = registry.source_ranks();
    for brand in ["oura", "fitbit", "polar", "samsung", "whoop", "garmin", "apple", "withings"] {
        assert!(ranks.iter().any(|(_, source, _)| source == brand), "{brand}");
    }
    let rank = |metric, brand: &str| ranks.iter().find(|(m, s, _)| *m == metric && s == brand).unwrap().2;
    assert!(rank(Metric::HrvRmssd, "oura") < rank(Metric::HrvRmssd, "garmin"));
    assert!(rank(Metric::Steps, "apple") < rank(Metric::Steps, "whoop"), "WHOOP has no step counter");
    assert!(registry.evidence().iter().all(|row| !row.study.is_empty() && !row.published.is_empty()));
    assert!(registry.evidence().iter().all(|row| row.citation().is_some() == (row.key == Key::Seen)));
}

#[test]
fn flaw_45_categories_are_the_metrics_own() {
    assert_eq!(Metric::from_key("fatigue"), None);
    assert_eq!(Metric::HrvRmssd.category(), Metric::HrvSdnn.category());
}

#[test]
fn flaw_46_the_score_sees_all_sources_of_the_day() {
    let own = around(52.0, 3.0, 30);
    let mut values = series(Metric::RestingHeartRate, "garmin", &own);
    let other: Vec<f64> = own.iter().zip(around(0.0, 0.8, 30)).map(|(v, d)| v + d).collect();
    values.extend(series(Metric::RestingHeartRate, "whoop", &other));
    let agreed = of(&score_all(&values), Metric::RestingHeartRate, "garmin", 29);
    assert!(agreed.parts.concordance > 0.1, "{agreed:?}");
    values.last_mut().unwrap().value += 14.0;
    let disputed = of(&score_all(&values), Metric::RestingHeartRate, "whoop", 29);
    assert!(disputed.parts.concordance < -0.5, "{disputed:?}");
    assert!(disputed.findings.iter().any(|f| f.kind == FindingKind::Disagreement));
}

#[test]
fn flaw_47_last_year_does_not_decide_today() {
    let recent = series(Metric::Weight, "withings", &around(80.0, 0.3, 30));
    let mut values: Vec<_> = recent
        .iter()
        .cloned()
        .map(|mut v| {
            v.date = v.date.checked_add_days(chrono::Days::new(400)).unwrap();
            v
        })
        .collect();
    let without = score_all(&values);
    values.insert(0, value(Metric::Weight, "withings", 0, 200.0));
    let with = score_all(&values);
    assert_eq!(without, with[1..].to_vec());
}

#[test]
fn flaw_48_every_date_has_its_own_score() {
    let scores = score_all(&series(Metric::Steps, "fitbit", &around(8000.0, 3000.0, 20)));
    let mut dates: Vec<_> = scores.iter().map(|s| s.date).collect();
    dates.dedup();
    assert_eq!(dates.len(), 20);
}

#[test]
fn flaw_49_and_s6_interval_provenance_reasons_and_versions_are_kept() {
    let mut values = series(Metric::Weight, "withings", &around(80.0, 0.3, 30));
    let by_device = of(&score_all(&values), Metric::Weight, "withings", 29);
    values[29].origin.upload = UploadKind::Manual;
    let by_hand = of(&score_all(&values), Metric::Weight, "withings", 29);
    assert!(by_hand.probability < by_device.probability && by_hand.parts.provenance < 0.0);
    assert!(by_device.low < by_device.probability && by_device.probability < by_device.high);
    assert_eq!((by_device.scorer_version, by_device.registry_version), (SCORER_VERSION, REGISTRY_VERSION));
}

#[test]
fn hole_s1_the_impossible_never_scores() {
    for (metric, bad) in [
        (Metric::HrvRmssd, 0.0),
        (Metric::Spo2, 140.0),
        (Metric::Weight, 900.0),
        (Metric::RestingHeartRate, 255.0),
        (Metric::BodyFat, 97.0),
    ] {
        let rule = Registry::built_in().rule(metric).unwrap();
        let score = after(metric, "oura", &around(rule.usual, rule.usual * 0.03, 30), bad);
        assert!(score.score <= 1 && score.high < 0.05, "{} {score:?}", metric.key());
        assert!(score.findings.iter().any(|f| matches!(f.kind, FindingKind::Impossible | FindingKind::ZeroForMissing)));
    }
}

#[test]
fn hole_s2_forty_minutes_are_not_a_day() {
    let mut values = series(Metric::Steps, "apple", &around(8000.0, 2000.0, 30));
    let whole = of(&score_all(&values), Metric::Steps, "apple", 29);
    values[29].value = 900.0;
    values[29].coverage = Coverage {
        low_s: Some(1200.0),
        active_s: Some(0.0),
        inactive_s: Some(80_000.0),
        accounted_s: Some(86_400.0),
        ..Coverage::default()
    };
    let short = of(&score_all(&values), Metric::Steps, "apple", 29);
    assert!(whole.score >= 60 && short.score <= 10, "{whole:?} {short:?}");
    assert!(short.findings.iter().any(|f| f.kind == FindingKind::Incomplete));
}

#[test]
fn hole_s2_zero_steps_that_nobody_walked_are_not_zero() {
    let mut values = series(Metric::Steps, "fitbit", &around(8000.0, 2000.0, 30));
    values[29].value = 0.0;
    values[29].coverage =
        Coverage { low_s: Some(0.0), active_s: Some(0.0), inactive_s: Some(80_000.0), accounted_s: Some(86_400.0), ..Coverage::default() };
    let unworn = of(&score_all(&values), Metric::Steps, "fitbit", 29);
    assert!(unworn.score <= 2);
    assert!(unworn.findings.iter().any(|f| f.kind == FindingKind::ZeroForMissing));
}

#[test]
fn hole_s7_providers_keep_their_identity() {
    let mut values = series(Metric::RestingHeartRate, "garmin", &around(50.0, 2.0, 10));
    values.extend(series(Metric::RestingHeartRate, "oura", &around(54.0, 2.0, 10)));
    let scores = score_all(&values);
    assert_eq!(scores.len(), 20);
    assert!(of(&scores, Metric::RestingHeartRate, "oura", 9).probability > of(&scores, Metric::RestingHeartRate, "garmin", 9).probability);
}

#[test]
fn hole_s8_every_metric_but_vendor_scores_has_a_rule() {
    for metric in Metric::ALL {
        assert_eq!(Registry::built_in().rule(*metric).is_none(), metric.is_vendor_score(), "{}", metric.key());
    }
}

#[test]
fn hole_s12_of_two_tellings_of_a_day_the_later_counts() {
    let mut values = series(Metric::Steps, "fitbit", &around(8000.0, 2000.0, 20));
    let mut older = values[19].clone();
    older.value = 20.0;
    older.ordering.ms = -1;
    let expected = score_all(&values);
    values.insert(0, older);
    assert_eq!(score_all(&values), expected);
}

#[test]
fn hole_s16_unknown_is_absent_and_unstudied_is_wide() {
    let vendor = series(Metric::RecoveryScore, "whoop", &[55.0, 60.0]);
    assert!(score_all(&vendor).is_empty());
    let history = around(52.0, 2.0, 30);
    let studied = after(Metric::RestingHeartRate, "apple", &history, 52.0);
    let unstudied = after(Metric::RestingHeartRate, "nobody", &history, 52.0);
    assert!(unstudied.high - unstudied.low > 1.5 * (studied.high - studied.low), "{studied:?} {unstudied:?}");
}

#[test]
fn an_athletes_34_is_fine_when_the_median_is_36() {
    let athlete = after(Metric::RestingHeartRate, "oura", &around(36.0, 1.5, 28), 34.0);
    let other = after(Metric::RestingHeartRate, "oura", &around(62.0, 2.0, 28), 34.0);
    assert!(athlete.score >= 75 && other.score <= 25, "{athlete:?} {other:?}");
}

#[test]
fn one_255_does_not_hide_the_next() {
    let mut values = around(60.0, 6.0, 28);
    values.extend([255.0, 61.0, 255.0]);
    let scores = score_all(&series(Metric::HrvRmssd, "oura", &values));
    for day in [28, 30] {
        let s = of(&scores, Metric::HrvRmssd, "oura", day);
        assert!(s.score <= 10 && s.findings.iter().any(|f| f.kind == FindingKind::Implausible), "{s:?}");
    }
    assert!(of(&scores, Metric::HrvRmssd, "oura", 29).score >= 60);
}

#[test]
fn a_swing_alone_is_doubted_a_little_and_believed_when_a_second_device_saw_it() {
    let mut own = around(52.0, 2.0, 30);
    own[29] = 64.0;
    let alone = of(&score_all(&series(Metric::RestingHeartRate, "whoop", &own)), Metric::RestingHeartRate, "whoop", 29);
    let mut values = series(Metric::RestingHeartRate, "whoop", &own);
    let other: Vec<f64> = own.iter().zip(around(1.0, 0.8, 30)).map(|(v, d)| v + d).collect();
    values.extend(series(Metric::RestingHeartRate, "oura", &other));
    let confirmed = of(&score_all(&values), Metric::RestingHeartRate, "whoop", 29);
    assert!(alone.score < confirmed.score && confirmed.score >= 70, "{alone:?} {confirmed:?}");
}

#[test]
fn only_a_person_or_a_hard_limit_takes_a_value_out_of_the_baseline() {
    let mut values = series(Metric::HrvRmssd, "oura", &[60.0, 61.5, 59.0, 150.0, 150.5, 151.0, 60.5]);
    let believed = of(&score_all(&values), Metric::HrvRmssd, "oura", 6);
    let reviews: Reviews = (3..6).map(|d| (Metric::HrvRmssd, source("oura"), date(d), crate::quality::Verdict::Confirmed)).collect();
    let scores = score_with(&values, &reviews);
    let cleared = of(&scores, Metric::HrvRmssd, "oura", 6);
    assert!(cleared.parts.plausibility > believed.parts.plausibility);
    assert!(of(&scores, Metric::HrvRmssd, "oura", 4).score <= 1);
    values[3].value = 0.0;
    values[4].value = 0.0;
    values[5].value = 0.0;
    let hard = of(&score_all(&values), Metric::HrvRmssd, "oura", 6);
    assert_eq!(hard.parts.plausibility, cleared.parts.plausibility);
}

#[test]
fn a_dismissed_doubt_is_no_doubt() {
    let mut days = around(60.0, 3.0, 28);
    days.push(110.0);
    let values = series(Metric::HrvRmssd, "oura", &days);
    let doubted = of(&score_all(&values), Metric::HrvRmssd, "oura", 28);
    let mut reviews = Reviews::none();
    reviews.add(Metric::HrvRmssd, source("oura"), date(28), crate::quality::Verdict::Dismissed);
    let settled = of(&score_with(&values, &reviews), Metric::HrvRmssd, "oura", 28);
    assert!(doubted.score < 40 && settled.score >= 60, "{doubted:?} {settled:?}");
}

#[test]
fn a_dismissed_disagreement_takes_nothing_any_more_and_the_impossible_stays_so() {
    let own = around(52.0, 3.0, 30);
    let mut values = series(Metric::RestingHeartRate, "garmin", &own);
    let other: Vec<f64> = own.iter().zip(around(0.0, 0.8, 30)).map(|(v, d)| v + d).collect();
    values.extend(series(Metric::RestingHeartRate, "whoop", &other));
    values.last_mut().unwrap().value += 14.0;
    let disputed = of(&score_all(&values), Metric::RestingHeartRate, "whoop", 29);
    let mut reviews = Reviews::none();
    reviews.add(Metric::RestingHeartRate, source("whoop"), date(29), crate::quality::Verdict::Dismissed);
    let settled = of(&score_with(&values, &reviews), Metric::RestingHeartRate, "whoop", 29);
    assert!(disputed.parts.concordance < -0.5 && settled.parts.concordance == 0.0, "{disputed:?} {settled:?}");
    assert!(settled.score > disputed.score, "{disputed:?} {settled:?}");
    assert!(settled.findings.iter().any(|f| f.kind == FindingKind::Disagreement), "what was dismissed stays named: {settled:?}");
    values.last_mut().unwrap().value = 255.0;
    let impossible = of(&score_with(&values, &reviews), Metric::RestingHeartRate, "whoop", 29);
    assert!(impossible.score <= 1, "{impossible:?}");
}

/// The fault is named, the reading proposed, the value left alone.
#[track_caller]
fn proposes(metric: Metric, usual: f64, spread: f64, given: f64, kind: FindingKind, reading: f64) {
    let score = after(metric, "withings", &around(usual, spread, 30), given);
    let finding = score.findings.iter().find(|f| f.kind == kind).unwrap_or_else(|| panic!("{kind:?} not in {score:?}"));
    let proposed = finding.proposed.expect("a reading");
    assert!((proposed - reading).abs() < 0.02 * reading.abs(), "{proposed} for {reading}");
    assert!(score.score <= 15, "{score:?}");
}

#[test]
fn units_mixed_up_are_named_with_the_reading_that_fits() {
    proposes(Metric::Weight, 80.0, 0.4, 176.4, FindingKind::PoundsKilograms, 80.0);
    proposes(Metric::Weight, 80.0, 0.4, 36.3, FindingKind::PoundsKilograms, 80.0);
    proposes(Metric::SleepDuration, 26_000.0, 2000.0, 440.0, FindingKind::SecondsMinutes, 26_400.0);
    proposes(Metric::Distance, 6000.0, 1500.0, 6.2, FindingKind::Thousandfold, 6200.0);
    proposes(Metric::Spo2, 96.0, 1.0, 0.965, FindingKind::FractionPercent, 96.5);
    proposes(Metric::BodyFat, 22.0, 0.6, 0.221, FindingKind::FractionPercent, 22.1);
}

#[test]
fn rmssd_and_sdnn_exchanged_are_named() {
    let mut values = series(Metric::HrvRmssd, "garmin", &around(45.0, 5.0, 30));
    let sdnn: Vec<f64> = around(45.0, 5.0, 30).iter().zip(around(1.6, 0.08, 30)).map(|(v, f)| v * f).collect();
    values.extend(series(Metric::HrvSdnn, "garmin", &sdnn));
    let (a, b) = (values[29].value, values[59].value);
    values[29].value = b;
    values[59].value = a;
    let score = of(&score_all(&values), Metric::HrvRmssd, "garmin", 29);
    let finding = score.findings.iter().find(|f| f.kind == FindingKind::RmssdSdnn).unwrap_or_else(|| panic!("{score:?}"));
    assert_eq!(finding.proposed, Some(a));
}

#[test]
fn a_stuck_value_is_seen_where_chance_cannot_repeat_it() {
    let mut steps = around(8000.0, 2500.0, 20);
    steps.extend([7777.0, 7777.0, 7777.0]);
    let scores = score_all(&series(Metric::Steps, "fitbit", &steps));
    let first = of(&scores, Metric::Steps, "fitbit", 20);
    let third = of(&scores, Metric::Steps, "fitbit", 22);
    assert!(first.findings.is_empty());
    assert!(third.score <= 5 && third.findings.iter().any(|f| f.kind == FindingKind::Stuck), "{third:?}");
    let whole_beats: Vec<f64> = (0..20).map(|d| if d % 4 == 3 { 52.0 } else { 51.0 }).collect();
    let beats = of(&score_all(&series(Metric::RestingHeartRate, "fitbit", &whole_beats)), Metric::RestingHeartRate, "fitbit", 18);
    assert!(beats.findings.is_empty(), "{beats:?}");
}

#[test]
fn a_copy_from_another_source_is_no_second_measurement() {
    let steps = around(8000.0, 2500.0, 30);
    let mut values = series(Metric::Steps, "garmin", &steps);
    values.extend(series(Metric::Steps, "apple", &steps));
    let score = of(&score_all(&values), Metric::Steps, "garmin", 29);
    assert_eq!(score.parts.concordance, 0.0);
    assert!(score.findings.iter().any(|f| f.kind == FindingKind::Copied));
}

#[test]
fn a_day_under_its_neighbours_date_is_seen_by_the_hour() {
    let mut values = series(Metric::SleepDuration, "garmin", &around(26_000.0, 2500.0, 20));
    for v in &mut values {
        v.measured_at = v.date.and_hms_opt(6, 40, 0).map(|t| t.and_utc());
    }
    values[19].measured_at = values[19].measured_at.map(|t| t + chrono::TimeDelta::hours(24));
    let score = of(&score_all(&values), Metric::SleepDuration, "garmin", 19);
    assert!(score.findings.iter().any(|f| f.kind == FindingKind::ShiftedDay), "{score:?}");
}

#[test]
fn somebody_else_on_the_scale_is_seen() {
    let score = after(Metric::Weight, "withings", &around(92.0, 0.5, 30), 61.0);
    assert!(score.score <= 15 && score.findings.iter().any(|f| f.kind == FindingKind::OtherPerson), "{score:?}");
}

#[test]
fn parts_that_do_not_add_up_are_seen() {
    let mut values = series(Metric::SleepDuration, "whoop", &around(26_000.0, 1500.0, 20));
    values.extend(series(Metric::TimeInBed, "whoop", &around(29_000.0, 1500.0, 20)));
    values[39].value = 20_000.0;
    let score = of(&score_all(&values), Metric::SleepDuration, "whoop", 19);
    assert!(score.findings.iter().any(|f| f.kind == FindingKind::Inconsistent), "{score:?}");
}

#[test]
fn a_tentative_night_costs_next_to_nothing() {
    let mut values = series(Metric::SleepDuration, "garmin", &around(26_000.0, 1500.0, 20));
    let last = of(&score_all(&values), Metric::SleepDuration, "garmin", 19);
    values[19].origin.upload = UploadKind::Tentative;
    let tentative = of(&score_all(&values), Metric::SleepDuration, "garmin", 19);
    assert!(last.score - tentative.score <= 1);
}
