//! Independent truth: minutes of wear that the deliveries do not contain, and a second device.
//!
//! The data lie beside the project, never in it: `ASSAY_TEST_DATA`, or `../shared/data`. Without them these tests say
//! that they were skipped.

use crate::calibration::figures::{Sample, auroc};
use crate::calibration::recorded;
use crate::model::Metric;
use crate::quality::{Registry, Reviews, Score, score_person};
use chrono::NaiveDate;
use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("ASSAY_TEST_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data")), PathBuf::from);
    let there = folder.join("events").is_dir();
    if !there {
        println!("skipped: no data at {} (set ASSAY_TEST_DATA)", folder.display());
    }
    there.then_some(folder)
}

fn events(file: &str) -> Option<recorded::Persons> {
    let packed = std::fs::File::open(data()?.join("events").join(file)).expect("the file opens");
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).expect("the file unpacks");
    let (persons, unread) = recorded::persons(&text);
    assert_eq!(unread, 0);
    Some(persons)
}

fn score(persons: &recorded::Persons) -> Vec<(String, Score)> {
    let everything = NaiveDate::MIN..=NaiveDate::MAX;
    let mut all = Vec::new();
    for (person, values) in persons {
        let scores = score_person(values, &Reviews::none(), Registry::built_in(), everything.clone());
        all.extend(scores.into_iter().map(|s| (person.clone(), s)));
    }
    all
}

fn area(forecasts: &[(f64, bool)]) -> f64 {
    auroc(&Sample::of_one(forecasts), None).unwrap()
}

fn wear() -> HashMap<(String, NaiveDate), u32> {
    let text = std::fs::read_to_string(data().unwrap().join("events/lifesnaps.truth.csv")).unwrap();
    let line = |l: &str| {
        let mut f = l.split(',');
        Some(((f.next()?.to_owned(), f.next()?.parse().ok()?), f.next()?.parse().ok()?))
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// The score tells short wear from whole days on persons the three numbers of the completeness curve were not fitted on
/// (they were fitted on every other person, by the order of their ids), and leaves resting heart rate alone.
#[test]
fn wear_is_seen_in_totals_and_not_in_resting_heart_rate() {
    let Some(persons) = events("lifesnaps.events.jsonl.gz") else { return };
    let wear = wear();
    let mut ids: Vec<&String> = wear.keys().map(|k| &k.0).collect();
    ids.sort();
    ids.dedup();
    let fitted = |person: &String| ids.iter().position(|id| *id == person).is_some_and(|i| i % 2 == 0);
    let scores = score(&persons);
    for (metric, low_target, mid_target) in
        [(Metric::Steps, 0.985, 0.88), (Metric::TotalCalories, 0.985, 0.88), (Metric::RestingHeartRate, 0.0, 0.0)]
    {
        let figure = |held_out: bool, low: u32, high: u32| {
            let forecasts: Vec<(f64, bool)> = scores
                .iter()
                .filter(|(person, s)| s.metric == metric && (!held_out || !fitted(person)))
                .filter_map(|(person, s)| Some((s.probability, *wear.get(&(person.clone(), s.date))?)))
                .filter(|(_, w)| (*w >= low && *w < high) || *w >= 1200)
                .map(|(p, w)| (p, w >= 1200))
                .collect();
            area(&forecasts)
        };
        let (low, mid) = (figure(true, 0, 600), figure(true, 600, 1200));
        println!("{}: held-out {low:.4} {mid:.4}, all {:.4} {:.4}", metric.key(), figure(false, 0, 600), figure(false, 600, 1200));
        assert!(low >= low_target && mid >= mid_target, "{}: {low} {mid}", metric.key());
    }
}

/// Mean score of resting heart rate hardly moves with wear.
#[test]
fn resting_heart_rate_is_flat_in_wear() {
    let Some(persons) = events("lifesnaps.events.jsonl.gz") else { return };
    let wear = wear();
    let scores = score(&persons);
    let mean = |low: u32, high: u32| {
        let found: Vec<f64> = scores
            .iter()
            .filter(|(p, s)| s.metric == Metric::RestingHeartRate && wear.get(&(p.clone(), s.date)).is_some_and(|w| *w >= low && *w < high))
            .map(|(_, s)| 100.0 * s.probability)
            .collect();
        (found.iter().sum::<f64>() / found.len() as f64, found.len())
    };
    let (short, middle, whole) = (mean(0, 600), mean(600, 1200), mean(1200, 1441));
    println!("resting heart rate, mean score: {short:?} {middle:?} {whole:?}");
    assert!((short.0 - whole.0).abs() < 3.0 && (middle.0 - whole.0).abs() < 2.0);
}

/// The day that was delivered half and then whole scores low while it is half.
#[test]
fn a_half_delivered_day_scores_low_until_it_is_whole() {
    let Some(folder) = data() else { return };
    let packed = std::fs::File::open(folder.join("events/furberg.events.jsonl.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    let day = NaiveDate::from_ymd_opt(2016, 4, 12).unwrap();
    let noon_cut: String = text
        .lines()
        .filter(|l| {
            serde_json::from_str::<serde_json::Value>(l).is_ok_and(|v| v["ordering_ms"].as_i64().is_some_and(|ms| ms < 1_460_500_000_000))
        })
        .fold(String::new(), |all, l| all + l + "\n");
    let of_day = |text: &str| -> HashMap<String, f64> {
        let (persons, _) = recorded::persons(text);
        score(&persons).into_iter().filter(|(_, s)| s.metric == Metric::Steps && s.date == day).map(|(p, s)| (p, s.probability)).collect()
    };
    let (half, whole) = (of_day(&noon_cut), of_day(&text));
    let both: Vec<(f64, bool)> =
        half.values().map(|p| (*p, false)).chain(half.keys().filter_map(|k| Some((*whole.get(k)?, true)))).collect();
    let area = area(&both);
    println!("half days {}: AUROC half against whole {area:.3}", half.len());
    assert!(half.len() >= 20 && area >= 0.95);
}

/// One fault at a time, planted in days that were worn whole: a faulty value scores below sound ones.
#[test]
fn planted_faults_on_clean_real_days_score_below_sound_values() {
    use crate::model::{DayValue, Model};
    let Some(persons) = events("lifesnaps.events.jsonl.gz") else { return };
    let wear = wear();
    type Fault = fn(&mut DayValue);
    let faults: [(&str, Fault, &[Metric]); 5] = [
        (
            "three times the value",
            |v| v.value *= 3.0,
            &[Metric::RestingHeartRate, Metric::HrvRmssd, Metric::Steps, Metric::RespiratoryRate],
        ),
        ("minutes for seconds", |v| v.value /= 60.0, &[Metric::SleepDuration, Metric::TimeInBed]),
        ("a thousandth", |v| v.value /= 1000.0, &[Metric::Distance, Metric::TotalCalories]),
        ("a fraction for a percentage", |v| v.value /= 100.0, &[Metric::Spo2, Metric::SleepEfficiency]),
        ("zero for missing", |v| v.value = 0.0, &[Metric::HrvRmssd, Metric::RestingHeartRate, Metric::SleepDuration]),
    ];
    for (name, plant, metrics) in faults {
        for metric in metrics {
            let mut forecasts: Vec<(f64, bool)> = Vec::new();
            for (person, values) in &persons {
                let clean = |v: &DayValue| v.metric == *metric && wear.get(&(person.clone(), v.date)).is_some_and(|w| *w >= 1200);
                let mut changed = values.clone();
                let mut faulty: Vec<NaiveDate> = Vec::new();
                // Every twentieth clean day, once there is some history.
                for v in changed.iter_mut().filter(|v| clean(v)).skip(7).step_by(20) {
                    plant(v);
                    faulty.push(v.date);
                }
                let scores = score_person(&changed, &Reviews::none(), Registry::built_in(), NaiveDate::MIN..=NaiveDate::MAX);
                let seen = values.iter().filter(|v| clean(v)).map(|v| v.date).collect::<Vec<_>>();
                let scored = scores.iter().filter(|s| s.metric == *metric && seen.contains(&s.date));
                forecasts.extend(scored.map(|s| (s.probability, !faulty.contains(&s.date))));
            }
            let area = area(&forecasts);
            println!("{name}, {}: AUROC {area:.3}, {} faulty", metric.key(), forecasts.iter().filter(|f| !f.1).count());
            assert!(area >= 0.95, "{name}, {}: {area}", metric.key());
        }
    }
    // A day cut at 14:00, as its durations show it.
    let mut forecasts: Vec<(f64, bool)> = Vec::new();
    for (person, values) in &persons {
        let clean: Vec<NaiveDate> = values
            .iter()
            .filter(|v| v.metric == Metric::Steps && wear.get(&(person.clone(), v.date)).is_some_and(|w| *w >= 1200))
            .map(|v| v.date)
            .collect();
        let cut: Vec<NaiveDate> = clean.iter().skip(7).step_by(20).copied().collect();
        let mut changed = values.clone();
        for v in changed.iter_mut().filter(|v| v.model == Model::Daily && cut.contains(&v.date)) {
            let c = &mut v.coverage;
            for part in [&mut c.low_s, &mut c.active_s, &mut c.inactive_s] {
                *part = part.map(|s| s * 0.5);
            }
            c.accounted_s = c.accounted_s.map(|s| s * 0.5);
            if v.metric == Metric::Steps {
                v.value *= 0.55;
            }
        }
        let scores = score_person(&changed, &Reviews::none(), Registry::built_in(), NaiveDate::MIN..=NaiveDate::MAX);
        forecasts.extend(
            scores.iter().filter(|s| s.metric == Metric::Steps && clean.contains(&s.date)).map(|s| (s.probability, !cut.contains(&s.date))),
        );
    }
    let area = area(&forecasts);
    println!("cut at 14:00, steps: AUROC {area:.3}");
    assert!(area >= 0.95);
}
