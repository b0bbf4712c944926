//! How fast the pure scorer is. Run with `make bench`, or alone with `scripts/bench.sh bench_scorer`; `ASSAY_BENCH_STRICT=1`
//! fails it where the aim is missed.

use super::support::{around, series};
use crate::model::{DayValue, Metric};
use crate::quality::{Registry, Reviews, score_person};
use std::time::Instant;

/// Two devices, fifteen metrics, two years.
fn person() -> Vec<DayValue> {
    let mut values = Vec::new();
    for (i, metric) in Metric::ALL.iter().filter(|m| Registry::built_in().rule(**m).is_some()).take(15).enumerate() {
        let rule = Registry::built_in().rule(*metric).unwrap();
        for (j, source) in ["whoop", "garmin"].into_iter().enumerate() {
            let days = around(rule.usual * (1.0 + 0.03 * j as f64), rule.usual * 0.1, 730);
            let shifted: Vec<f64> = days.iter().enumerate().map(|(d, v)| v + rule.usual * 0.01 * (((d + i) % 7) as f64)).collect();
            values.extend(series(*metric, source, &shifted));
        }
    }
    values
}

/// The aim: values scored a second on one core.
const AIM: f64 = 300_000.0;

#[test]
#[ignore = "a measurement, meant for an optimised build"]
fn bench_scorer_speed() {
    let values = person();
    let (first, last) = (values.iter().map(|v| v.date).min().unwrap(), values.iter().map(|v| v.date).max().unwrap());
    let mut best = f64::INFINITY;
    let mut scored = 0;
    for _ in 0..10 {
        let start = Instant::now();
        scored = score_person(&values, &Reviews::none(), Registry::built_in(), first..=last).len();
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{scored} values: {:.0} a second on one core", scored as f64 / best);
    if std::env::var_os("ASSAY_BENCH_STRICT").is_some_and(|s| s == "1") {
        assert!(scored as f64 / best >= AIM, "{:.0} a second; the aim is {AIM}", scored as f64 / best);
    }
    let start = Instant::now();
    let mut n = 0;
    for _ in 0..200 {
        n += score_person(&values[..], &Reviews::none(), Registry::built_in(), last..=last).len();
    }
    println!("one day of a person with two years loaded: {:.0} µs for {} values", start.elapsed().as_secs_f64() * 1e6 / 200.0, n / 200);
    assert_eq!(scored, values.len());
}
