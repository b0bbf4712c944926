//! Figures of known cases.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use proptest::prelude::*;

fn area(forecasts: &[Forecast]) -> Option<f64> {
    auroc(&Sample::of_one(forecasts), None)
}

#[test]
fn auroc_of_known_cases() {
    assert_eq!(area(&[(0.9, true), (0.1, false)]), Some(1.0));
    assert_eq!(area(&[(0.1, true), (0.9, false)]), Some(0.0));
    assert_eq!(area(&[(0.5, true), (0.5, false)]), Some(0.5));
    assert_eq!(area(&[(0.5, true)]), None);
    assert_eq!(area(&[(0.1, false), (0.4, true), (0.35, false), (0.8, true)]), Some(1.0));
    assert_eq!(area(&[(0.1, false), (0.35, true), (0.4, false), (0.8, true)]), Some(0.75));
}

#[test]
fn average_precision_of_known_cases() {
    let precision = |forecasts: &[Forecast]| auprc_of_bad(&Sample::of_one(forecasts), None);
    assert_eq!(precision(&[(0.1, false), (0.9, true)]), Some(1.0));
    assert_eq!(precision(&[(0.1, true), (0.9, false)]), Some(0.5));
    assert_eq!(precision(&[(0.1, true)]), None);
}

#[test]
fn calibrated_forecasts_have_no_calibration_error_and_shifted_ones_do() {
    let honest: Vec<Forecast> =
        (0..1000).map(|i| (if i % 2 == 0 { 0.2 } else { 0.8 }, (i / 2) % 10 < if i % 2 == 0 { 2 } else { 8 })).collect();
    let sample = Sample::of_one(&honest);
    assert!(calibration_error(&sample, None).unwrap() < 0.01);
    let [score, miscalibration, discrimination, uncertainty] = brier(&sample, None).unwrap();
    assert!(miscalibration < 1e-9 && (score - 0.16).abs() < 1e-9);
    assert!((miscalibration - discrimination + uncertainty - score).abs() < 1e-12);
    let vain = Sample::of_one(&honest.iter().map(|f| (f.0 + 0.1, f.1)).collect::<Vec<_>>());
    assert!(calibration_error(&vain, None).unwrap() > 0.09);
    assert!(brier(&vain, None).unwrap()[1] > 0.009);
    assert_eq!((brier(&Sample::of_one(&[]), None), calibration_error(&Sample::of_one(&[]), None)), (None, None));
}

#[test]
fn the_reliability_curve_never_falls() {
    let forecasts: Vec<Forecast> = (0..500).map(|i| (f64::from(i % 50) / 50.0, (i * 7919) % 13 > 6)).collect();
    let curve = corp(&Sample::of_one(&forecasts), None);
    assert!(curve.windows(2).all(|w| w[0].observed < w[1].observed && w[0].high < w[1].low));
    assert_eq!(curve.iter().map(|s| s.count).sum::<u64>(), 500);
}

#[test]
fn rank_correlation_of_known_cases() {
    let correlation = |pairs: &[(f64, f64)]| {
        Errors::new(pairs.iter().map(|(forecast, outcome)| Case { forecast: *forecast, outcome: *outcome, person: 0 })).spearman(None)
    };
    assert_eq!(correlation(&[(1.0, 10.0), (2.0, 20.0), (3.0, 90.0)]), Some(1.0));
    assert_eq!(correlation(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]), Some(-1.0));
    assert_eq!(correlation(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
}

#[test]
fn a_figure_within_samples_counts_each_by_its_bad_cases() {
    let (right, wrong) = ([(0.9, true), (0.1, false)], [(0.1, true), (0.9, false), (0.9, false), (0.9, false)]);
    let samples = [Sample::of_one(&right), Sample::of_one(&wrong), Sample::of_one(&[(0.5, true)])];
    assert_eq!(within(&samples, None, auroc), Some(0.25));
    assert_eq!(within(&samples[2..], None, auroc), None);
}

/// Small differences of the order in which numbers are added up.
fn near(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9)
}

proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 256,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(20_260_101),
        ..proptest::test_runner::Config::default()
    })]

    /// Counting a person's cases as often as drawn is writing them down as often.
    #[test]
    fn counting_a_person_twice_is_having_the_cases_twice(
        cases in proptest::collection::vec((0u8..20, any::<bool>(), 0u8..9, 0usize..4), 1..60),
        drawn in proptest::collection::vec(0u32..3, 4),
    ) {
        let said = |repeated: bool, person: usize| if repeated { drawn[person] } else { 1 };
        let of = |repeated: bool| {
            let copies = move |c: &(u8, bool, u8, usize)| std::iter::repeat_n(*c, said(repeated, c.3) as usize);
            cases.iter().flat_map(copies).collect::<Vec<_>>()
        };
        let sample = |cases: &[(u8, bool, u8, usize)]| {
            Sample::new(cases.iter().map(|c| Case { forecast: f64::from(c.0) / 20.0, outcome: c.1, person: c.3 }))
        };
        let errors = |cases: &[(u8, bool, u8, usize)]| {
            Errors::new(cases.iter().map(|c| Case { forecast: f64::from(c.0) / 20.0, outcome: f64::from(c.2), person: c.3 }))
        };
        let (counted, written) = (sample(&of(false)), sample(&of(true)));
        let drawn = Some(drawn.as_slice());
        prop_assert_eq!(auroc(&counted, drawn), auroc(&written, None));
        prop_assert_eq!(auprc_of_bad(&counted, drawn), auprc_of_bad(&written, None));
        let (a, b) = (brier(&counted, drawn), brier(&written, None));
        prop_assert!(a.is_some() == b.is_some() && near(&a.unwrap_or_default(), &b.unwrap_or_default()), "{:?} {:?}", a, b);
        let (a, b) = (calibration_error(&counted, drawn), calibration_error(&written, None));
        prop_assert!(near(a.as_slice(), b.as_slice()), "{:?} {:?}", a, b);
        let (counted, written) = (errors(&of(false)), errors(&of(true)));
        let (a, b) = (counted.spearman(drawn), written.spearman(None));
        prop_assert!(near(a.as_slice(), b.as_slice()), "{:?} {:?}", a, b);
        prop_assert!(near(&counted.by_decile(drawn), &written.by_decile(None)));
    }
}
