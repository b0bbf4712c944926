#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

use super::device::Kind;
use super::rng::{Rng, drift, word};
use super::*;
use crate::model::{Metric, Source};
use chrono::{Days, NaiveDate, TimeZone, Utc};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn small() -> World {
    World::new(7, 10, 30, day("2026-06-30"))
}

fn fingerprint(world: &World) -> u64 {
    world.deliveries().fold(0, |hash, d| {
        let line = format!("{hash:x} {} {} {} {}", d.trace_id, d.ordering_ms, d.at.timestamp_millis(), String::from_utf8_lossy(&d.body));
        word(&line)
    })
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let world = small();
    assert_eq!(fingerprint(&world), fingerprint(&small()));
    assert_ne!(fingerprint(&world), fingerprint(&World::new(8, 10, 30, day("2026-06-30"))));
    // Fixed for every machine: whoever changes the world on purpose changes this number with it.
    assert_eq!(fingerprint(&world), FINGERPRINT, "the world of seed 7 has changed");
}

const FINGERPRINT: u64 = 9813935369853695316;

#[test]
fn a_later_window_shows_the_same_days_under_the_same_trace_ids() {
    let early = small();
    let late = World::new(7, 10, 30, day("2026-07-05"));
    let shared = |world: &World| -> BTreeMap<String, Vec<u8>> {
        world
            .deliveries()
            .filter(|d| {
                d.at >= Utc.with_ymd_and_hms(2026, 6, 10, 0, 0, 0).unwrap() && d.at < Utc.with_ymd_and_hms(2026, 6, 29, 0, 0, 0).unwrap()
            })
            .map(|d| (d.trace_id, d.body))
            .collect()
    };
    let (a, b) = (shared(&early), shared(&late));
    assert!(a.len() > 400, "{}", a.len());
    assert_eq!(a, b);

    // Over years connections are renewed; wherever a window begins, one trace id never has two bodies.
    let mut seen = BTreeMap::<String, Vec<u8>>::new();
    for end in ["2025-12-01", "2026-02-01", "2026-04-01", "2026-06-01"] {
        for delivery in World::new(7, 8, 70, day(end)).deliveries() {
            let known = seen.entry(delivery.trace_id).or_insert_with(|| delivery.body.clone());
            assert_eq!(*known, delivery.body);
        }
    }
}

#[test]
fn every_delivery_has_terras_envelope_and_is_marked_as_simulated() {
    let world = small();
    let mut kinds = BTreeMap::<String, usize>::new();
    let mut last = i64::MIN;
    let mut trace_ids = BTreeMap::<String, Vec<u8>>::new();
    for delivery in world.deliveries() {
        assert!(delivery.at.timestamp_millis() >= last, "in order of sending");
        last = delivery.at.timestamp_millis();
        assert!(delivery.ordering_ms <= last, "nothing is sent before it was produced");
        let body: Value = serde_json::from_slice(&delivery.body).unwrap();
        let kind = body["type"].as_str().unwrap().to_owned();
        let user = if kind == "user_reauth" { &body["new_user"] } else { &body["user"] };
        assert!(user["reference_id"].as_str().unwrap().starts_with(PREFIX));
        assert_eq!(user["user_id"].as_str().unwrap().len(), 36);
        assert_eq!(body["version"], "2022-03-16");
        if ["daily", "sleep", "body", "activity"].contains(&kind.as_str()) {
            let record = &body["data"][0];
            let start = record["metadata"]["start_time"].as_str().unwrap();
            let end = record["metadata"]["end_time"].as_str().unwrap();
            assert!(
                chrono::DateTime::parse_from_rfc3339(start).unwrap() < chrono::DateTime::parse_from_rfc3339(end).unwrap(),
                "{start} {end}"
            );
            if user["provider"] == "WHOOP" {
                assert!(record["distance_data"]["steps"].is_null(), "WHOOP counts no steps");
            }
        }
        // The same trace id only with the same body: a duplicate, not a conflict.
        let known = trace_ids.entry(delivery.trace_id).or_insert_with(|| delivery.body.clone());
        assert_eq!(*known, delivery.body);
        *kinds.entry(kind).or_default() += 1;
    }
    for kind in ["daily", "sleep", "body", "activity", "auth"] {
        assert!(kinds.get(kind).is_some_and(|n| *n >= 10), "{kinds:?}");
    }
}

#[test]
fn the_whole_demo_world_is_as_large_as_promised_and_shows_every_fault_and_event() {
    let world = World::new(1, 40, 90, day("2026-11-22"));
    assert!((9_000..22_000).contains(&world.len()), "{}", world.len());
    let clients = world.clients();
    assert_eq!(clients.len(), 40);
    assert_eq!(clients[6].user_id, "sim-007");
    assert_eq!(clients[6].name, "Client 07");
    assert_eq!(clients[6].trainer, 2);
    let mut found = BTreeMap::new();
    for planted in world.planted() {
        *found.entry(planted.fault).or_insert(0_usize) += 1;
    }
    let truths = world.truths();
    for truth in &truths {
        if let Some(fault) = truth.fault {
            *found.entry(fault).or_default() += 1;
        }
    }
    for fault in Fault::ALL {
        assert!(found.get(fault).is_some_and(|n| *n >= 3), "{fault}: {found:?}");
    }
    let sources: BTreeSet<_> = truths.iter().map(|t| t.source.as_str()).collect();
    assert_eq!(sources.into_iter().collect::<Vec<_>>(), ["apple", "fitbit", "garmin", "oura", "whoop", "withings"]);
}

#[test]
fn planted_faults_keep_to_their_share_and_none_is_planted_when_none_is_asked_for() {
    let world = World::new(3, 40, 60, day("2026-05-30"));
    let records = world
        .truths()
        .iter()
        .map(|t| (t.user_id.clone(), t.source.clone(), t.date, t.wear_minutes.is_none()))
        .collect::<BTreeSet<_>>()
        .len();
    let planted = world.planted().iter().filter(|p| p.fault != Fault::SilentSource).count();
    let share = planted as f64 / records as f64;
    assert!((0.02..0.10).contains(&share), "{share}");

    let clean = World::with(3, 40, 60, day("2026-05-30"), 0.0, 4);
    assert!(clean.planted().iter().all(|p| p.fault == Fault::SilentSource));
    let only_habits = clean.truths().iter().all(|t| matches!(t.fault, None | Some(Fault::ShortWear | Fault::NotWorn | Fault::CutDay)));
    assert!(only_habits);
}

#[test]
fn values_without_a_fault_lie_within_the_published_error_of_their_device() {
    let world = World::new(5, 40, 60, day("2026-05-30"));
    let mut sums: BTreeMap<(Source, Metric), (f64, f64)> = BTreeMap::new();
    for truth in world.truths().iter().filter(|t| t.fault.is_none() && t.wear_minutes.is_none_or(|m| m >= 1_200)) {
        let Some(kind) = Kind::of_provider(truth.source.as_str()) else { panic!("{}", truth.source) };
        let Some(error) = kind.error(truth.metric) else { continue };
        let wrong = if error.absolute { truth.reported - truth.truth } else { truth.reported / truth.truth - 1.0 };
        let far = (wrong - error.bias).abs() / error.sigma;
        // Charging takes up to a tenth of the movement, sleep stages share what was scored, rounding takes its part.
        assert!(far < 6.5, "{truth:?} {error:?}");
        let sum = sums.entry((truth.source.clone(), truth.metric)).or_default();
        sum.0 += wrong * wrong;
        sum.1 += 1.0;
    }
    for (kind, metric) in [
        (Kind::Oura, Metric::RestingHeartRate),
        (Kind::Whoop, Metric::RestingHeartRate),
        (Kind::Oura, Metric::HrvRmssd),
        (Kind::Garmin, Metric::HrvRmssd),
        (Kind::Fitbit, Metric::RespiratoryRate),
        (Kind::Withings, Metric::Weight),
    ] {
        let error = kind.error(metric).unwrap();
        let (squares, count) = sums[&(kind.source(), metric)];
        let ratio = (squares / count).sqrt() / (error.sigma * error.sigma + error.bias * error.bias).sqrt();
        assert!((0.6..1.5).contains(&ratio), "{kind:?} {metric:?}: {ratio} of the published error over {count}");
    }
}

#[test]
fn a_fault_that_alters_values_makes_them_wrong_and_others_leave_them() {
    let truths = World::with(11, 60, 60, day("2026-05-30"), 0.15, 4).truths();
    let error = |fault: Fault, metric: Metric| -> Vec<f64> {
        truths.iter().filter(|t| t.fault == Some(fault) && t.metric == metric).map(|t| t.reported / t.truth).collect()
    };
    let near = |ratios: &[f64], factor: f64, slack: f64| !ratios.is_empty() && ratios.iter().all(|r| (r / factor - 1.0).abs() < slack);
    assert!(near(&error(Fault::PoundsKilograms, Metric::Weight), 2.2046, 0.02));
    assert!(near(&error(Fault::Thousandth, Metric::Distance), 0.001, 0.7));
    assert!(near(&error(Fault::PercentFraction, Metric::SleepEfficiency), 0.01, 0.5));
    assert!(near(&error(Fault::Spike, Metric::RestingHeartRate), 3.0, 0.25));
    assert!(error(Fault::ZeroForMissing, Metric::RestingHeartRate).iter().all(|r| *r == 0.0));
    assert!(error(Fault::SecondsMinutes, Metric::SleepDuration).iter().all(|r| *r > 20.0 || *r < 0.05));
    let cut = error(Fault::CutDay, Metric::Steps);
    assert!(cut.iter().sum::<f64>() / (cut.len() as f64) < 0.7, "{cut:?}");
    assert!(truths.iter().all(|t| !matches!(t.fault, Some(f) if !f.alters_value())));
    let stuck: Vec<_> = truths.iter().filter(|t| t.fault == Some(Fault::Stuck)).collect();
    let next_alike = stuck
        .iter()
        .filter(|a| {
            stuck.iter().any(|b| {
                b.user_id == a.user_id
                    && b.metric == a.metric
                    && b.source == a.source
                    && b.date == a.date + Days::new(1)
                    && b.reported == a.reported
            })
        })
        .count();
    assert!(next_alike * 2 > stuck.len(), "{next_alike} of {}", stuck.len());
}

#[test]
fn short_wear_spoils_steps_and_hardly_the_resting_heart_rate() {
    let truths = World::with(2, 60, 90, day("2026-05-30"), 0.0, 4).truths();
    let mean = |metric: Metric, low: u32, high: u32| {
        let ratios: Vec<f64> = truths
            .iter()
            .filter(|t| t.metric == metric && t.wear_minutes.is_some_and(|m| (low..high).contains(&m)))
            .map(|t| (t.reported / t.truth - 1.0).abs())
            .collect();
        assert!(ratios.len() > 20, "{metric:?} {low}..{high}: {}", ratios.len());
        ratios.iter().sum::<f64>() / ratios.len() as f64
    };
    assert!(mean(Metric::Steps, 1, 720) > 2.0 * mean(Metric::Steps, 1_300, 1_441));
    assert!(mean(Metric::RestingHeartRate, 1, 720) < 1.4 * mean(Metric::RestingHeartRate, 1_300, 1_441));
}

#[test]
fn the_body_goes_together() {
    // Over many person-days: illness raises the pulse and lowers variability; trained hearts beat slower.
    let (mut well, mut ill) = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0));
    let mut hearts = Vec::new();
    for index in 0..60 {
        let person = person::Person::new(9, index);
        hearts.push((person.fitness, person.resting_hr));
        for back in 0..90 {
            let day = person.day(day("2026-05-30") - Days::new(back));
            let group = if day.illness > 0.4 { &mut ill } else { &mut well };
            *group = (group.0 + day.resting_hr - person.resting_hr, group.1 + libm::log(day.rmssd) - person.ln_rmssd, group.2 + 1.0);
            assert!(day.deep_s + day.rem_s < day.asleep_s && day.asleep_s < day.in_bed_s && day.total_calories > day.basal_calories);
            assert!((28.0..110.0).contains(&day.resting_hr) && (5.0..300.0).contains(&day.rmssd), "{day:?}");
        }
    }
    assert!(ill.0 / ill.2 - well.0 / well.2 > 3.0);
    assert!(ill.1 / ill.2 - well.1 / well.2 < -0.12);
    let mean = |fit: bool| {
        let group: Vec<f64> = hearts.iter().filter(|(fitness, _)| (*fitness > 0.45) == fit).map(|(_, hr)| *hr).collect();
        group.iter().sum::<f64>() / group.len() as f64
    };
    assert!(mean(true) + 3.0 < mean(false));
}

#[test]
fn life_goes_on_after_the_history_without_gap_or_repetition() {
    let end = day("2026-06-30");
    let world = World::new(7, 10, 30, end);
    let now = Utc.with_ymd_and_hms(2026, 7, 1, 19, 0, 0).unwrap();
    let before = world.deliveries().filter(|d| d.at <= now).map(|d| d.trace_id).collect::<BTreeSet<_>>();
    let mut last = i64::MIN;
    let mut soon = 0;
    for delivery in world.live(now).take_while(|d| d.at < now + chrono::Duration::days(2)) {
        assert!(delivery.at.timestamp_millis() >= last);
        last = delivery.at.timestamp_millis();
        let duplicate = before.contains(&delivery.trace_id);
        assert!(!duplicate, "sent again: {}", delivery.trace_id);
        soon += usize::from(delivery.at > now && delivery.at <= now + chrono::Duration::minutes(30));
    }
    // Ten persons, an update every few minutes each.
    assert!(soon >= 10, "{soon} in half an hour");
    // The whole world keeps on for weeks.
    assert_eq!(world.live(now).take(5_000).count(), 5_000);
}

#[test]
fn the_test_endpoint_gets_any_type_for_any_provider() {
    let at = Utc.with_ymd_and_hms(2026, 7, 1, 19, 0, 0).unwrap();
    for kind in TEST_KINDS {
        for provider in ["FITBIT", "GARMIN", "WHOOP", "OURA", "APPLE", "WITHINGS", "POLAR"] {
            for seed in 0..4 {
                let delivery = one_delivery(kind, provider, "test-user-id", "id", day("2026-06-30"), at, seed).expect(kind);
                let body: Value = serde_json::from_slice(&delivery.body).unwrap();
                assert_eq!(body["type"], kind);
                let user = body.get("old_user").unwrap_or(&body["user"]);
                assert_eq!(
                    (&user["user_id"], &user["reference_id"], &user["provider"]),
                    (&"id".into(), &"test-user-id".into(), &provider.into())
                );
                assert_eq!(delivery.ordering_ms, at.timestamp_millis());
            }
        }
    }
    let today = one_delivery("daily", "FITBIT", "test-user-id", "id", day("2026-07-01"), at, 1).unwrap();
    let body: Value = serde_json::from_slice(&today.body).unwrap();
    assert!(body["data"][0]["distance_data"]["steps"].as_i64().unwrap() > 0);
    assert!(one_delivery("dance", "FITBIT", "x", "id", day("2026-06-30"), at, 1).is_none());
}

#[test]
fn chance_is_even_normal_and_remembers_as_asked() {
    let mut r = Rng::keyed(1, &[2]);
    let draws: Vec<f64> = (0..20_000).map(|_| r.normal()).collect();
    let mean = draws.iter().sum::<f64>() / 20_000.0;
    let spread = (draws.iter().map(|d| d * d).sum::<f64>() / 20_000.0).sqrt();
    assert!(mean.abs() < 0.03 && (spread - 1.0).abs() < 0.03, "{mean} {spread}");
    let series: Vec<f64> = (0..4_000).map(|n| drift(1, [1, 2], n, 0.6)).collect();
    let variance = series.iter().map(|v| v * v).sum::<f64>() / 4_000.0;
    let together = series.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / 3_999.0 / variance;
    assert!((variance - 1.0).abs() < 0.15 && (together - 0.6).abs() < 0.08, "{variance} {together}");
    assert!((0..1_000).all(|_| r.below(3) < 3));
    assert_eq!(Rng::keyed(1, &[2]).uuid().len(), 36);
    assert_eq!(r.below(0), 0);
}
