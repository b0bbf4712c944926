//! The world against the pipeline: what normalisation and merging read out of the deliveries must be what the world
//! says it reported, whatever order they came in. If either changes its mind about a field, this is where it shows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

use super::rng::Rng;
use super::{Fault, World};
use crate::calibration::recorded::{Persons, persons};
use crate::model::{DayValue, Metric, Source};
use chrono::NaiveDate;
use std::collections::BTreeMap;

type Key = (String, Source, NaiveDate, Metric);

fn recorded_lines(world: &World) -> Vec<String> {
    world
        .deliveries()
        .map(|d| {
            format!("{{\"trace_id\":\"{}\",\"ordering_ms\":{},\"body\":{}}}", d.trace_id, d.ordering_ms, String::from_utf8(d.body).unwrap())
        })
        .collect()
}

fn by_key(persons: &Persons) -> BTreeMap<Key, &DayValue> {
    persons.iter().flat_map(|(user, values)| values.iter().map(|v| ((user.clone(), v.source.clone(), v.date, v.metric), v))).collect()
}

#[test]
fn the_pipeline_reads_what_the_world_reported() {
    let world = World::with(1, 20, 40, "2026-11-22".parse().unwrap(), 0.08, 4);
    let (read, unread) = persons(&recorded_lines(&world).join("\n"));
    assert_eq!(unread, 0);
    let mut values = by_key(&read);
    let truths = world.truths();
    assert!(truths.len() > 10_000, "{}", truths.len());
    for truth in &truths {
        let key = (truth.user_id.clone(), truth.source.clone(), truth.date, truth.metric);
        let value = values.remove(&key).unwrap_or_else(|| panic!("not read: {truth:?}"));
        let mended = truth.fault == Some(Fault::PercentFraction) && truth.metric == Metric::SleepEfficiency;
        let expected = if mended { truth.reported * 100.0 } else { truth.reported };
        assert!((value.value - expected).abs() < 1e-6 * (1.0 + expected.abs()), "read {} of {truth:?}", value.value);
        if truth.planted.is_none() && truth.fault.is_none() {
            assert!(value.findings.is_empty(), "a clean value is suspected: {truth:?} {:?}", value.findings);
        }
    }
    // What is left has no truth to be near: vendors' scores.
    assert!(values.keys().all(|(_, _, _, metric)| metric.is_vendor_score()), "{:?}", values.keys().next());
    assert!(!values.is_empty());
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    let world = World::with(4, 10, 20, "2026-11-22".parse().unwrap(), 0.08, 4);
    let mut lines = recorded_lines(&world);
    let (expected, _) = persons(&lines.join("\n"));
    let mut r = Rng::keyed(1, &[1]);
    for at in (1..lines.len()).rev() {
        lines.swap(at, r.below(at as u64 + 1) as usize);
    }
    let (shuffled, _) = persons(&lines.join("\n"));
    let (expected, shuffled) = (by_key(&expected), by_key(&shuffled));
    assert_eq!(expected.len(), shuffled.len());
    for (key, value) in expected {
        assert_eq!(Some(value.value), shuffled.get(&key).map(|v| v.value), "{key:?}");
    }
}
