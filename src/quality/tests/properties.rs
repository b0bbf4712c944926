//! What must hold for any values.

use super::support::*;
use crate::model::{Coverage, DayValue, Metric, UploadKind};
use crate::quality::explain::{Which, explain, points};
use crate::quality::{
    DAILY_LOOKAHEAD_DAYS, DAILY_LOOKBACK_DAYS, LOOKAHEAD_DAYS, LOOKBACK_DAYS, Part, Parts, Registry, Reviews, Verdict, score_person,
};
use chrono::Days;
use proptest::prelude::*;

const METRICS: [Metric; 9] = [
    Metric::Steps,
    Metric::Distance,
    Metric::RestingHeartRate,
    Metric::HrvRmssd,
    Metric::HrvSdnn,
    Metric::SleepDuration,
    Metric::TimeInBed,
    Metric::Weight,
    Metric::RecoveryScore,
];

/// Any value of a handful of metrics from two sources over 200 days: mostly ordinary, sometimes absurd or repeated.
fn any_value() -> impl Strategy<Value = DayValue> {
    (0..METRICS.len(), any::<bool>(), 0u64..200, 0.0f64..1.0, 0u8..12, proptest::option::of(0.0f64..50_000.0), 0u8..4).prop_map(
        |(metric, second, day, at, odd, movement, upload)| {
            let metric = METRICS[metric];
            let usual = Registry::built_in().rule(metric).map_or(50.0, |r| r.usual);
            let number = match odd {
                0 => 0.0,
                1 => usual * 60.0,
                2 => usual / 1000.0,
                3 => usual,
                4 => -1.0,
                _ => usual * (0.8 + 0.4 * at),
            };
            let mut v = value(metric, if second { "whoop" } else { "garmin" }, day, number);
            v.coverage = Coverage {
                low_s: movement,
                inactive_s: movement,
                rest_s: movement.filter(|m| *m > 40_000.0),
                accounted_s: movement.map(|m| m + 30_000.0),
                heart_rate_samples: movement.map(|m| (m / 40.0) as u32),
                ..Coverage::default()
            };
            v.measured_at = (odd % 2 == 0).then(|| v.date.and_hms_opt(6, 0, 0)).flatten().map(|t| t.and_utc());
            v.origin.upload = [UploadKind::Automatic, UploadKind::Manual, UploadKind::Tentative, UploadKind::Pending][upload as usize];
            v.ordering.trace_id = format!("{at}");
            v
        },
    )
}

fn person() -> impl Strategy<Value = (Vec<DayValue>, Reviews)> {
    (proptest::collection::vec(any_value(), 1..400), proptest::collection::vec((any_value(), any::<bool>()), 0..5)).prop_map(
        |(mut values, reviewed)| {
            values.sort_by_key(|v| (v.metric, v.source.clone(), v.date));
            values.dedup_by_key(|v| (v.metric, v.source.clone(), v.date));
            let verdict = |c| if c { Verdict::Confirmed } else { Verdict::Dismissed };
            let reviews = reviewed.into_iter().map(|(v, c)| (v.metric, v.source, v.date, verdict(c))).collect();
            (values, reviews)
        },
    )
}

/// Whether the store loads the long past of a metric, as `crate::rescore` asks it to.
fn is_slow(metric: Metric) -> bool {
    Registry::built_in().rule(metric).is_some_and(|r| i64::from(r.baseline_days) > DAILY_LOOKBACK_DAYS)
}

/// What the store loads of days before the range: no coverage but the samples of day summaries, no origin, no findings.
fn lean(v: &DayValue) -> DayValue {
    DayValue {
        coverage: Coverage {
            heart_rate_samples: v.coverage.heart_rate_samples.filter(|_| v.model == crate::model::Model::Daily),
            ..Coverage::default()
        },
        model: crate::model::Model::Daily,
        origin: crate::model::Origin::default(),
        findings: Vec::new(),
        ..v.clone()
    }
}

proptest! {
    #![proptest_config(always_the_same(48))]

    /// Scoring some days with their context alone (28 days of what is measured daily, 90 of the rest) gives, bit for bit, what
    /// scoring everything gives; so does any order of the values.
    #[test]
    fn incremental_equals_full_bit_for_bit((values, reviews) in person(), from in 0u64..200, days in 0u64..20, turn in 0usize..400) {
        let registry = Registry::built_in();
        let full = score_person(&values, &reviews, registry, date(0)..=date(400));
        let range = date(from)..=date(from + days);
        let back = |days: i64| range.start().checked_sub_days(Days::new(days as u64)).unwrap();
        let earliest = |m: Metric| back(if is_slow(m) { LOOKBACK_DAYS } else { DAILY_LOOKBACK_DAYS });
        let mut context: Vec<DayValue> = values
            .iter()
            .filter(|v| v.date >= earliest(v.metric) && v.date <= *range.end())
            .map(|v| if v.date < *range.start() { lean(v) } else { v.clone() })
            .collect();
        if !context.is_empty() {
            let turn = turn % context.len();
            context.rotate_left(turn);
        }
        let part = score_person(&context, &reviews, registry, range.clone());
        let expected: Vec<_> = full.iter().filter(|s| range.contains(&s.date)).cloned().collect();
        prop_assert_eq!(bits(&part), bits(&expected));
        prop_assert_eq!(part, expected);
    }

    /// Changing one value changes no score before it and none later than the days it can influence.
    #[test]
    fn a_value_reaches_no_further_than_stated((values, reviews) in person(), which in 0usize..400) {
        let which = which % values.len();
        let mut changed = values.clone();
        changed[which].value *= 1.37;
        let day = values[which].date;
        let ahead = if is_slow(values[which].metric) { LOOKAHEAD_DAYS } else { DAILY_LOOKAHEAD_DAYS };
        let last = day.checked_add_days(Days::new(ahead as u64)).unwrap();
        let outside = |all: &[DayValue]| -> Vec<_> {
            let all = score_person(all, &reviews, Registry::built_in(), date(0)..=date(400));
            all.into_iter().filter(|s| s.date < day || s.date > last).collect()
        };
        prop_assert_eq!(outside(&values), outside(&changed));
    }

    /// Scores are scores, intervals hold them, and the parts add up to the log-odds.
    #[test]
    fn every_score_is_sound((values, reviews) in person()) {
        for s in score_person(&values, &reviews, Registry::built_in(), date(0)..=date(400)) {
            prop_assert!((0..=100).contains(&s.score));
            prop_assert!(s.low <= s.probability && s.probability <= s.high, "{:?}", s);
            let sum: f64 = s.parts.in_order().iter().map(|p| p.1).sum();
            prop_assert!((1.0 / (1.0 + (-sum).exp()) - s.probability).abs() < 1e-9, "{:?}", s);
            prop_assert!(!s.metric.is_vendor_score());
        }
    }

    /// The bars of the waterfall add up to the score exactly.
    #[test]
    fn the_bars_add_up((values, reviews) in person()) {
        for s in score_person(&values, &reviews, Registry::built_in(), date(0)..=date(400)) {
            let bars = points(&s.parts, s.score);
            prop_assert_eq!(bars.iter().map(|b| b.1).sum::<i32>(), s.score);
        }
    }

    /// What consistency takes is never explained by "nothing found".
    #[test]
    fn what_is_taken_is_named((values, reviews) in person(), which in 0usize..400) {
        let v = &values[which % values.len()];
        let told = explain(&values, &reviews, Registry::built_in(), Which { metric: v.metric, source: &v.source, date: v.date });
        let Some(told) = told.filter(|t| t.score.parts.consistency < -1.0) else { return Ok(()) };
        let bar = told.waterfall.bars.iter().find(|b| b.part == Part::Consistency).unwrap();
        prop_assert_ne!(bar.numbers.as_str(), "nothing found");
    }

    /// Whoever follows an advice gains the points it promised: the whole person is scored anew with that one thing changed.
    #[test]
    fn advice_gains_what_it_promises((values, reviews) in person(), which in 0usize..400) {
        let at = which % values.len();
        let v = &values[at];
        let registry = Registry::built_in();
        let asked = Which { metric: v.metric, source: &v.source, date: v.date };
        let Some(told) = explain(&values, &reviews, registry, asked) else { return Ok(()) };
        let after = |changed: &[DayValue]| {
            let all = score_person(changed, &reviews, registry, v.date..=v.date);
            all.iter().find(|s| s.metric == v.metric && s.source == v.source).map(|s| s.score)
        };
        for advice in &told.advice {
            let mut changed = values.clone();
            if advice.text.contains("second source") {
                let week = v.date.checked_sub_days(Days::new(7)).unwrap()..=v.date;
                let own = values.iter().filter(|o| o.metric == v.metric && o.source == v.source && week.contains(&o.date));
                changed.extend(own.map(|o| DayValue { source: crate::model::Source::from_provider("second-source"), value: o.value * (1.0 + 1e-6), ..o.clone() }));
            } else if advice.text.contains("by hand") {
                let own = changed.iter_mut().find(|o| o.metric == v.metric && o.source == v.source && o.date == v.date);
                own.unwrap().origin.upload = crate::model::UploadKind::Automatic;
            } else {
                continue;
            }
            prop_assert_eq!(after(&changed), Some(told.score.score + advice.points), "{}", advice.text);
        }
    }

    /// They do so for any parts, and no bar is more than a point from its true size.
    #[test]
    fn the_bars_add_up_for_any_parts(p in proptest::array::uniform6(-8.0f64..8.0)) {
        let parts = Parts { evidence: p[0], plausibility: p[1], completeness: p[2], concordance: p[3], provenance: p[4], consistency: p[5] };
        let sigma = |x: f64| 100.0 / (1.0 + (-x).exp());
        let score = sigma(p.iter().sum()).round() as i32;
        let bars = points(&parts, score);
        prop_assert_eq!(bars.iter().map(|b| b.1).sum::<i32>(), score);
        let (mut sum, mut before) = (0.0, 0.0);
        for (bar, x) in bars.iter().zip(p) {
            sum += x;
            prop_assert!((f64::from(bar.1) - (sigma(sum) - before)).abs() <= 1.0 + 1e-9);
            before = sigma(sum);
        }
    }
}

fn bits(scores: &[crate::quality::Score]) -> Vec<[u64; 9]> {
    let of = |s: &crate::quality::Score| {
        let p = s.parts.in_order().map(|p| p.1.to_bits());
        [s.probability.to_bits(), s.low.to_bits(), s.high.to_bits(), p[0], p[1], p[2], p[3], p[4], p[5]]
    };
    scores.iter().map(of).collect()
}

fn explained(values: &[DayValue], metric: Metric, from: &str, day: u64) -> crate::quality::explain::Explanation {
    let source = source(from);
    explain(values, &Reviews::none(), Registry::built_in(), Which { metric, source: &source, date: date(day) }).unwrap()
}

#[test]
fn an_explanation_is_of_the_stored_score_and_shows_only_studies_that_were_read() {
    let mut values = series(Metric::RestingHeartRate, "apple", &around(52.0, 3.0, 30));
    values.extend(series(Metric::HrvRmssd, "whoop", &around(60.0, 5.0, 30)));
    let stored = of(&score_all(&values), Metric::RestingHeartRate, "apple", 29);
    let apple = explained(&values, Metric::RestingHeartRate, "apple", 29);
    assert_eq!(apple.score, stored);
    assert_eq!(apple.waterfall.bars.iter().map(|b| b.points).sum::<i32>(), stored.score);
    assert!(apple.waterfall.bars[0].study.as_ref().unwrap().study.starts_with("O'Grady"));
    let whoop = explained(&values, Metric::HrvRmssd, "whoop", 29);
    assert_eq!(whoop.waterfall.bars[0].study, None, "read only in a page quoting it");
    assert!(whoop.waterfall.bars[0].numbers.contains("from study worth"));
}

#[test]
fn advice_on_wear_gains_what_it_promises() {
    let mut values = series(Metric::Steps, "apple", &around(8000.0, 2000.0, 30));
    values[29].coverage = Coverage {
        low_s: Some(7200.0),
        active_s: Some(7200.0),
        inactive_s: Some(72_000.0),
        accounted_s: Some(86_400.0),
        ..Coverage::default()
    };
    let told = explained(&values, Metric::Steps, "apple", 29);
    let night = told.advice.iter().find(|a| a.text.contains("night worn as well")).unwrap_or_else(|| panic!("{told:?}"));
    values[29].coverage.accounted_s = Some(86_400.0 - 5.0 * 3600.0);
    let done = of(&score_all(&values), Metric::Steps, "apple", 29);
    assert_eq!(done.score - told.score.score, night.points);
}

#[test]
fn advice_on_a_second_source_gains_what_it_promises() {
    let own = around(52.0, 3.0, 30);
    let mut values = series(Metric::RestingHeartRate, "garmin", &own);
    let told = explained(&values, Metric::RestingHeartRate, "garmin", 29);
    let second = told.advice.iter().find(|a| a.text.contains("second source")).unwrap_or_else(|| panic!("{told:?}"));
    for day in 22..30 {
        values.push(value(Metric::RestingHeartRate, "oura", day, own[day as usize] * 1.000_001));
    }
    let done = of(&score_all(&values), Metric::RestingHeartRate, "garmin", 29);
    assert_eq!(done.score - told.score.score, second.points);
}

#[test]
fn advice_on_an_entry_by_hand_gains_what_it_promises() {
    let mut values = series(Metric::Weight, "withings", &around(80.0, 0.4, 30));
    values[29].origin.upload = UploadKind::Manual;
    let told = explained(&values, Metric::Weight, "withings", 29);
    let device = told.advice.iter().find(|a| a.text.contains("by hand")).unwrap();
    values[29].origin.upload = UploadKind::Automatic;
    assert_eq!(of(&score_all(&values), Metric::Weight, "withings", 29).score - told.score.score, device.points);
}

#[test]
fn where_nothing_helps_it_says_so() {
    let mut days = around(60.0, 3.0, 28);
    days.push(0.0);
    let told = explained(&series(Metric::HrvRmssd, "oura", &days), Metric::HrvRmssd, "oura", 28);
    assert_eq!(told.advice.len(), 1);
    assert!(told.advice[0].points == 0 && told.advice[0].text.starts_with("nothing"));
}
