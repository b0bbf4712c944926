//! Tests of the room: small cases here, Terra's documents, the recorded events and the laws in files of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

mod documents;
mod laws;
mod recorded;

use super::*;
use crate::model::{Finding, FindingKind, Instant, Metric, Ordering, Record, Source, UploadKind};
use serde_json::{Value, json};
use std::path::PathBuf;
use uuid::Uuid;

/// The folder of test data that is not part of the project, or `None` with a word on standard error.
fn data() -> Option<PathBuf> {
    let path =
        std::env::var_os("ASSAY_TEST_DATA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no test data at {} (set ASSAY_TEST_DATA)", path.display());
    None
}

fn event(body: &Value) -> Event {
    parse(body.to_string().as_bytes()).unwrap()
}

fn normalised(kind: &str, element: &Value) -> Normalised {
    normalise(&event(&json!({"type": kind, "user": {"user_id": "u", "provider": "OURA"}, "data": [element]})), None)
}

fn one(kind: &str, element: &Value) -> Record {
    let mut out = normalised(kind, element);
    assert_eq!((out.records.len(), out.refused), (1, 0), "{out:?}");
    out.records.remove(0)
}

fn kinds(findings: &[Finding]) -> Vec<(FindingKind, Option<Metric>)> {
    findings.iter().map(|finding| (finding.kind, finding.metric)).collect()
}

fn stored(record: Record, ms: i64) -> StoredRecord {
    let ordering = Ordering { ms, trace_id: format!("t{ms}") };
    let received_at = Instant::from_timestamp_millis(ms).unwrap();
    StoredRecord::new(
        record,
        Source::from_provider("OURA"),
        Stamp { ordering, delivery_id: Uuid::from_u128(ms.unsigned_abs().into()), received_at },
    )
}

fn day() -> Value {
    json!({"start_time": "2026-07-01T00:00:00+01:00", "end_time": "2026-07-02T00:00:00+01:00", "upload_type": 1})
}

fn night(start: &str, end: &str, nap: bool, asleep: f64) -> Record {
    one(
        "sleep",
        &json!({
            "metadata": {"start_time": start, "end_time": end, "is_nap": nap},
            "sleep_durations_data": {"asleep": {"duration_asleep_state_seconds": asleep}}
        }),
    )
}

#[test]
fn zeros_are_values_and_null_absent_and_empty_are_nothing() {
    let record = one(
        "daily",
        &json!({"metadata": day(), "distance_data": {"steps": 0, "distance_meters": null}, "calories_data": {}, "oxygen_data": [], "scores": ""}),
    );
    assert_eq!(record.values, [(Metric::Steps, 0.0)]);
    assert_eq!(record.findings, []);
}

#[test]
fn a_wrong_type_costs_its_field_alone_and_is_named() {
    let record = one(
        "daily",
        &json!({"metadata": day(), "distance_data": {"steps": "many", "distance_meters": 12.5}, "calories_data": 7, "scores": {"recovery": true}}),
    );
    assert_eq!(record.values, [(Metric::Distance, 12.5)]);
    let details: Vec<&str> = record.findings.iter().map(|f| f.detail.as_str()).collect();
    assert_eq!(record.findings[0].metric, Some(Metric::Steps));
    assert!(details.contains(&"distance_data.steps is text, not a number; left out"), "{details:?}");
    assert!(details.contains(&"calories_data is a number, not an object; left out"), "{details:?}");
    assert!(details.contains(&"scores.recovery is true or false, not a number; left out"), "{details:?}");
}

#[test]
fn one_absurd_number_costs_its_field_alone() {
    let body = br#"{"type":"daily","data":[{"metadata":{"start_time":"2026-07-01"},"distance_data":{"steps":1e999,"distance_meters":5},"x":"1e999 \" 1e999"}]}"#;
    let event = parse(body).unwrap();
    assert_eq!(event.lost_numbers, 1);
    let out = normalise(&event, None);
    assert_eq!(out.records[0].values, [(Metric::Distance, 5.0)]);
    assert_eq!(kinds(&out.findings), [(FindingKind::BadField, None)]);
}

#[test]
fn half_a_character_costs_neither_its_delivery_nor_the_text_around_it() {
    let said = |name: &str, steps: &str| {
        let body = format!(
            r#"{{"type":"activity","user":{{"user_id":"u","provider":"OURA"}},"data":[{{"metadata":{{"summary_id":"a","start_time":"2026-07-01T10:00:00Z",
            "end_time":"2026-07-01T11:00:00Z","name":"{name}"}},"distance_data":{{"summary":{{"steps":{steps},"distance_meters":5}}}}}}]}}"#
        );
        assert!(envelope(body.as_bytes()).is_ok(), "the gateway takes it");
        let event = parse(body.as_bytes()).unwrap_or_else(|why| panic!("{name}: {why}"));
        let values = normalise(&event, None).records.remove(0).values;
        (event.body["data"][0]["metadata"]["name"].as_str().unwrap().to_owned(), values, event.lost_numbers)
    };
    let walked = vec![(Metric::Steps, 900.0), (Metric::Distance, 5.0)];
    for (name, read) in [
        (r"Morning run \ud83c", "Morning run \u{fffd}"),
        (r"\udf05 Morning", "\u{fffd} Morning"),
        (r"\ud83c\ud83c\udf05\uDF05\n", "\u{fffd}\u{1f305}\u{fffd}\n"),
        // An escaped backslash begins no escape, and breaks a pair.
        (r"\\ud83c \ud83c\\udf05", "\\ud83c \u{fffd}\\udf05"),
        (r#"\"\ud83c\""#, "\"\u{fffd}\""),
    ] {
        assert_eq!(said(name, "900"), (read.to_owned(), walked.clone(), 0), "{name}");
    }
    // Both kinds of damage in one body.
    assert_eq!(said(r"\ud83c", "1e999"), ("\u{fffd}".to_owned(), vec![(Metric::Distance, 5.0)], 1));
    // Two persons' ids could differ in the half that was lost, so nothing is guessed.
    let id = br#"{"type":"daily","user":{"user_id":"u","provider":"OURA","reference_id":"me\ud83c"}}"#;
    assert!(parse(id).unwrap().problem.unwrap().contains("half a character"));
    assert!(envelope(id).is_err());
}

#[test]
fn numbers_keep_their_last_bit() {
    // Needs serde_json's `float_roundtrip`: without it the last bit of about one long number in forty is wrong, these among them.
    for text in ["51.462777511321676", "56.661833747646284", "30.185497391932238", "44.098850209430836", "25.6800003051758", "0.1"] {
        let Value::Number(read) = serde_json::from_str(text).unwrap() else { panic!("{text} is no number") };
        assert_eq!(read.as_f64().unwrap().to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
    }
}

#[test]
fn units_are_converted_and_a_fraction_is_marked() {
    let body = json!({"metadata": day(), "measurements_data": {"measurements": [{"measurement_time": "2026-07-01T07:00:00+01:00", "muscle_mass_g": 31500.0}]}});
    assert_eq!(one("body", &body).values, [(Metric::MuscleMass, 31.5)]);
    let active = json!({"metadata": day(), "active_durations_data": {"moderate_intensity_seconds": 600, "vigorous_intensity_seconds": 90, "activity_seconds": 5000}});
    assert_eq!(one("daily", &active).values, [(Metric::ActiveMinutes, 11.5)]);
    let mut sleep = json!({"metadata": {"start_time": "2026-06-30T23:00:00Z", "end_time": "2026-07-01T07:00:00Z"}, "sleep_durations_data": {"sleep_efficiency": 0.81}});
    let record = one("sleep", &sleep);
    assert_eq!(
        (record.values.as_slice(), kinds(&record.findings)),
        (&[(Metric::SleepEfficiency, 81.0)][..], vec![(FindingKind::FractionPercent, Some(Metric::SleepEfficiency))])
    );
    sleep["sleep_durations_data"]["sleep_efficiency"] = json!(91.5);
    let record = one("sleep", &sleep);
    assert_eq!((record.values[0].1, record.findings.len()), (91.5, 0));
}

#[test]
fn energy_is_active_energy_and_the_variabilities_are_never_mixed() {
    let record = one(
        "daily",
        &json!({"metadata": day(),
        "calories_data": {"total_burned_calories": 2400, "net_activity_calories": 500, "BMR_calories": 1900},
        "heart_rate_data": {"summary": {"avg_hrv_sdnn": 55.0}}}),
    );
    assert_eq!(record.values, [(Metric::ActiveCalories, 500.0), (Metric::TotalCalories, 2400.0), (Metric::HrvSdnn, 55.0)]);
}

#[test]
fn upload_type_means_something_else_in_sleep() {
    let kind = |model: &str, code: Value| {
        one(model, &json!({"metadata": {"start_time": "2026-07-01T01:00:00Z", "end_time": "2026-07-01T07:00:00Z", "upload_type": code}}))
            .origin
            .upload
    };
    for (code, sleep, other) in [
        (0, UploadKind::Unknown, UploadKind::Unknown),
        (1, UploadKind::Manual, UploadKind::Automatic),
        (2, UploadKind::Automatic, UploadKind::Manual),
        (3, UploadKind::Tentative, UploadKind::Update),
        (4, UploadKind::Indeterminate, UploadKind::Delete),
        (5, UploadKind::Unknown, UploadKind::Pending),
        (6, UploadKind::Unknown, UploadKind::ThirdParty),
    ] {
        assert_eq!((kind("sleep", json!(code)), kind("daily", json!(f64::from(code)))), (sleep, other), "{code}");
    }
    assert_eq!(kind("activity", json!(1.1)), UploadKind::Unknown);
}

#[test]
fn the_day_is_the_written_one_and_without_a_day_the_element_is_refused() {
    // 00:30 in Auckland is the day before in UTC; the wearer's day counts.
    let record = one(
        "daily",
        &json!({"metadata": {"start_time": "2026-07-01T00:00:00+12:00", "end_time": "2026-07-02T00:00:00+12:00"}, "distance_data": {"steps": 1}}),
    );
    assert_eq!((record.date.to_string(), record.key.as_str()), ("2026-07-01".into(), "2026-07-01"));
    let sleep = night("2026-06-30T23:10:00+12:00", "2026-07-01T06:50:00+12:00", false, 1.0);
    assert_eq!((sleep.date.to_string(), sleep.key.as_str()), ("2026-07-01".into(), "2026-06-30T11:10:00Z/2026-06-30T18:50:00Z"));
    for (kind, metadata) in [
        ("daily", json!({"end_time": "2026-07-02"})),
        ("sleep", json!({"start_time": "2026-07-01T23:00:00Z"})),
        ("daily", json!({"start_time": "soon"})),
        ("daily", json!(null)),
    ] {
        let out = normalised(kind, &json!({"metadata": metadata, "distance_data": {"steps": 1}}));
        assert_eq!(
            (out.records.len(), out.refused, kinds(&out.findings)),
            (0, 1, vec![(FindingKind::BadField, None)]),
            "{kind} {metadata}"
        );
    }
}

#[test]
fn elements_of_one_key_in_one_delivery_become_one_record() {
    let element = |data: Value| {
        let mut e = json!({"metadata": day()});
        e["distance_data"] = data;
        e
    };
    let body = json!({"type": "daily", "data": [element(json!({"steps": 5, "distance_meters": 9})), element(json!({"steps": 7}))]});
    let out = normalise(&event(&body), None);
    assert_eq!(out.records.len(), 1);
    assert_eq!(out.records[0].values, [(Metric::Steps, 7.0), (Metric::Distance, 9.0)]);
}

#[test]
fn contradictions_and_zeros_for_missing_are_found_and_nothing_is_changed() {
    // The shape of Terra's own test generator: random numbers.
    let record = one(
        "sleep",
        &json!({
        "metadata": {"start_time": "2026-07-01T01:00:00Z", "end_time": "2026-07-01T07:00:00Z"},
        "heart_rate_data": {"summary": {"min_hr_bpm": 78, "max_hr_bpm": 49, "avg_hrv_rmssd": 0}},
        "sleep_durations_data": {"sleep_efficiency": 1.99, "other": {"duration_in_bed_seconds": 55},
            "asleep": {"duration_asleep_state_seconds": 377, "duration_deep_sleep_state_seconds": 400, "duration_light_sleep_state_seconds": 400, "duration_REM_sleep_state_seconds": 368}}}),
    );
    let found = kinds(&record.findings);
    for expected in [
        (FindingKind::Inconsistent, Some(Metric::MinHeartRate)),
        (FindingKind::Inconsistent, Some(Metric::MaxHeartRate)),
        (FindingKind::ZeroForMissing, Some(Metric::HrvRmssd)),
        (FindingKind::Inconsistent, Some(Metric::SleepDeep)),
        (FindingKind::Inconsistent, Some(Metric::TimeInBed)),
        (FindingKind::Inconsistent, Some(Metric::SleepEfficiency)),
    ] {
        assert!(found.contains(&expected), "{expected:?} in {found:?}");
    }
    assert!(record.values.contains(&(Metric::SleepEfficiency, 1.99)) && record.values.contains(&(Metric::MaxHeartRate, 49.0)));
}

#[test]
fn coverage_tells_what_was_seen() {
    let sample = |minute: u32, bpm: Value| json!({"timestamp": format!("2026-07-01T02:{minute:02}:00Z"), "bpm": bpm});
    let record = one(
        "sleep",
        &json!({
        "metadata": {"start_time": "2026-07-01T01:00:00Z", "end_time": "2026-07-01T07:00:00Z"},
        "heart_rate_data": {"detailed": {"hr_samples": [sample(30, json!(50)), sample(10, json!(51)), sample(40, json!(null)), sample(50, json!(0))], "hrv_samples_rmssd": [{}, {}]}},
        "sleep_durations_data": {"awake": {"duration_awake_state_seconds": 60}, "other": {"duration_unmeasurable_sleep_seconds": 30},
            "hypnogram_samples": [{"timestamp": "2026-07-01T01:00:00Z", "level": 4}, {"timestamp": "2026-07-01T06:30:00Z", "level": 1}]},
        "respiration_data": {"oxygen_saturation_data": {"samples": [{}]}}}),
    );
    let seen = record.coverage;
    assert_eq!((seen.heart_rate_samples, seen.heart_rate_span_s, seen.hypnogram_s), (Some(2), Some(1200.0), Some(21600.0)));
    assert_eq!(
        (seen.samples, seen.spo2_samples, seen.awake_s, seen.unmeasurable_s, seen.cut_s),
        (Some(2), Some(1), Some(60.0), Some(30.0), None)
    );
}

#[test]
fn the_last_stage_of_a_hypnogram_lasts_to_the_nights_end_but_no_longer_than_the_others() {
    let drawn = |times: &[&str]| {
        let samples: Vec<Value> = times.iter().map(|t| json!({"timestamp": format!("2026-07-01T{t}:00Z"), "level": 4})).collect();
        let night = json!({"metadata": {"start_time": "2026-07-01T01:00:00Z", "end_time": "2026-07-01T07:00:00Z"},
            "sleep_durations_data": {"hypnogram_samples": samples}});
        one("sleep", &night).coverage.hypnogram_s.map(|s| s / 3600.0)
    };
    assert_eq!(drawn(&["01:00", "03:00", "05:00", "06:00"]), Some(6.0));
    assert_eq!(drawn(&["01:00", "01:05", "01:10", "03:00"]), Some(13_800.0 / 3600.0), "hours without a stage were not drawn");
    assert_eq!(drawn(&["01:00"]), Some(0.0));
    assert_eq!(drawn(&[]), None);
}

#[test]
fn the_total_of_a_days_activity_counts_where_only_some_intensities_are_given() {
    let accounted = |durations: Value| one("daily", &json!({"metadata": day(), "active_durations_data": durations})).coverage.accounted_s;
    assert_eq!(
        accounted(json!({"vigorous_intensity_seconds": 600, "activity_seconds": 20000, "inactivity_seconds": 60000})),
        Some(80000.0)
    );
    assert_eq!(
        accounted(json!({"low_intensity_seconds": 9000, "moderate_intensity_seconds": 2000, "activity_seconds": 2000})),
        Some(11000.0)
    );
    assert_eq!(accounted(json!({"activity_seconds": 5340})), Some(5340.0));
}

#[test]
fn a_day_delivered_before_it_was_over_is_cut() {
    let cut = |metadata: Value, produced: &str| {
        let event = event(&json!({"type": "daily", "data": [{"metadata": metadata}]}));
        normalise(&event, time::moment(produced).map(|m| m.instant)).records[0].coverage.cut_s
    };
    assert_eq!(cut(day(), "2026-07-01T14:00:00+01:00"), Some(14.0 * 3600.0));
    assert_eq!(cut(day(), "2026-07-02T03:00:00+01:00"), None);
    // The record's own end lies in the middle of the day.
    assert_eq!(cut(json!({"start_time": "2026-07-01T00:00:00Z", "end_time": "2026-07-01T14:00:00Z"}), "2026-07-03"), Some(14.0 * 3600.0));
    // Without an offset nobody knows when the day ended.
    assert_eq!(cut(json!({"start_time": "2026-07-01T00:00:00", "end_time": "2026-07-02T00:00:00"}), "2026-07-01T14:00:00Z"), None);
    // The day the clocks go forward has 23 hours and is whole.
    assert_eq!(
        cut(json!({"start_time": "2026-03-29T00:00:00+01:00", "end_time": "2026-03-30T00:00:00+02:00"}), "2026-03-29T23:10:00+01:00"),
        None
    );
}

#[test]
fn naps_stay_apart_and_the_nights_of_a_day_are_one_value() {
    let mut first = night("2026-06-30T22:00:00Z", "2026-07-01T01:00:00Z", false, 9000.0);
    first.values.push((Metric::HrvRmssd, 30.0));
    let mut second = night("2026-07-01T02:00:00Z", "2026-07-01T07:00:00Z", false, 18000.0);
    second.values.push((Metric::HrvRmssd, 60.0));
    let nap = night("2026-07-01T13:00:00Z", "2026-07-01T14:00:00Z", true, 3600.0);
    let records: Vec<_> = [first, second, nap].into_iter().zip(1..).map(|(r, ms)| stored(r, ms)).collect();
    let values = day_values(&records, &records[0].source, records[0].record.date);
    let value = |metric| values.iter().find(|v| v.metric == metric).unwrap();
    assert_eq!(value(Metric::SleepDuration).value, 27000.0);
    assert_eq!(value(Metric::HrvRmssd).value, 50.0);
    assert_eq!(value(Metric::SleepDuration).ordering.ms, 2);
    assert_eq!(value(Metric::SleepDuration).measured_at, records[1].record.end);
}

#[test]
fn a_night_told_twice_counts_once_and_the_later_telling_counts() {
    let early = stored(night("2026-06-30T22:00:00Z", "2026-07-01T06:00:00Z", false, 100.0), 1);
    let late = stored(night("2026-06-30T22:05:00Z", "2026-07-01T06:30:00Z", false, 200.0), 2);
    for records in [[early.clone(), late.clone()], [late, early]] {
        let values = day_values(&records, &records[0].source, records[0].record.date);
        assert_eq!((values.len(), values[0].value), (1, 200.0));
        assert_eq!(kinds(&values[0].findings), [(FindingKind::Copied, Some(Metric::SleepDuration))]);
    }
}

/// The day's sleep duration and its findings' kinds, in whichever order the records are given.
fn slept(records: &[StoredRecord]) -> Option<(f64, Vec<FindingKind>)> {
    let told = |records: &[StoredRecord]| {
        let values = day_values(records, &records[0].source, records[0].record.date);
        let slept = values.into_iter().find(|value| value.metric == Metric::SleepDuration);
        slept.map(|value| (value.value, value.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>()))
    };
    let backwards: Vec<StoredRecord> = records.iter().rev().cloned().collect();
    assert_eq!(told(records), told(backwards.as_slice()));
    told(records)
}

#[test]
fn a_fragment_inside_a_night_never_stands_for_the_night() {
    let whole = |ms| stored(night("2026-06-30T22:00:00Z", "2026-07-01T06:00:00Z", false, 28000.0), ms);
    let fragment = |ms| stored(night("2026-07-01T02:00:00Z", "2026-07-01T02:40:00Z", false, 2400.0), ms);
    let copied = vec![FindingKind::Copied];
    for (first, second) in [(1, 2), (2, 1), (1, 1)] {
        assert_eq!(slept(&[whole(first), fragment(second)]), Some((28000.0, copied.clone())), "{first} {second}");
    }
    // A night that grows is replaced, and so is one that was told too long, as long as it is the same night.
    let early = stored(night("2026-06-30T22:00:00Z", "2026-07-01T01:00:00Z", false, 10000.0), 1);
    assert_eq!(slept(&[early, whole(2)]), Some((28000.0, copied.clone())));
    let shorter = stored(night("2026-06-30T22:00:00Z", "2026-07-01T04:00:00Z", false, 20000.0), 2);
    assert_eq!(slept(&[whole(1), shorter.clone()]), Some((20000.0, copied.clone())));
    // Told by one delivery, the longer counts.
    let beside = stored(night("2026-06-30T22:00:00Z", "2026-07-01T04:00:00Z", false, 20000.0), 1);
    assert_eq!(slept(&[whole(1), beside]), Some((28000.0, copied.clone())));
    // A fragment does not save the telling that replaced its night, nor the one that was replaced.
    assert_eq!(slept(&[whole(1), shorter.clone(), fragment(3)]), Some((20000.0, copied.clone())));
    // Three that beat each other in a ring leave one: the longest.
    let later = stored(night("2026-06-30T22:30:00Z", "2026-07-01T01:54:00Z", false, 12000.0), 3);
    assert_eq!(slept(&[whole(1), shorter, later]), Some((28000.0, copied)));
    // Sleeps that hardly overlap are two.
    let next = stored(night("2026-07-01T05:30:00Z", "2026-07-01T08:00:00Z", false, 8000.0), 2);
    assert_eq!(slept(&[whole(1), next]), Some((36000.0, vec![])));
}

#[test]
fn a_main_sleep_that_turns_out_to_be_a_nap_is_no_night() {
    let taken_for_night = stored(night("2026-07-01T13:00:00Z", "2026-07-01T14:10:00Z", false, 4000.0), 1);
    let nap = stored(night("2026-07-01T13:05:00Z", "2026-07-01T14:10:00Z", true, 3800.0), 2);
    let main = stored(night("2026-06-30T22:00:00Z", "2026-07-01T06:00:00Z", false, 28000.0), 1);
    assert_eq!(slept(&[taken_for_night.clone(), nap.clone()]), None);
    assert_eq!(slept(&[main.clone(), taken_for_night, nap.clone()]), Some((28000.0, vec![FindingKind::Copied])));
    // A nap that only lies in a night, or apart from it, is nothing to be told about the night.
    let inside = stored(night("2026-07-01T03:00:00Z", "2026-07-01T04:00:00Z", true, 3000.0), 2);
    assert_eq!(slept(&[main, inside, nap]), Some((28000.0, vec![])));
}

#[test]
fn a_later_null_makes_no_nap_a_night() {
    let told = |nap: Value, ms| {
        let metadata = json!({"summary_id": "s", "start_time": "2026-07-01T13:00:00Z", "end_time": "2026-07-01T14:00:00Z", "is_nap": nap});
        stored(one("sleep", &json!({"metadata": metadata})), ms)
    };
    for (first, second, third, nap) in [
        (json!(true), Value::Null, Value::Null, Some(true)),
        (json!(true), json!(false), Value::Null, Some(false)),
        (json!(false), Value::Null, json!(true), Some(true)),
        (Value::Null, Value::Null, Value::Null, None),
    ] {
        let [a, b, c] = [told(first, 1), told(second, 2), told(third, 3)];
        for [x, y, z] in [[&a, &b, &c], [&c, &b, &a], [&b, &c, &a]] {
            let merged = merge(Some(merge(Some(x.clone()), y.clone())), z.clone());
            assert_eq!((merged.record.nap, merged.is_nap()), (nap, nap == Some(true)));
            assert_eq!(merge(Some(merged.clone()), x.clone()), merged);
        }
    }
}

#[test]
fn a_replaced_sleep_hides_no_record_of_another_model_with_its_key() {
    let mut early = night("2026-06-30T22:00:00Z", "2026-07-01T06:00:00Z", false, 100.0);
    early.key = "2026-07-01".to_owned();
    let late = night("2026-06-30T22:05:00Z", "2026-07-01T06:30:00Z", false, 200.0);
    let whole = one("daily", &json!({"metadata": day(), "distance_data": {"steps": 12000}}));
    assert_eq!(whole.key, early.key);
    let records = [stored(early, 1), stored(late, 2), stored(whole, 1)];
    let values = day_values(&records, &records[0].source, records[0].record.date);
    let said: Vec<(Metric, f64)> = values.iter().map(|value| (value.metric, value.value)).collect();
    assert_eq!(said, [(Metric::Steps, 12000.0), (Metric::SleepDuration, 200.0)]);
}

#[test]
fn what_only_one_of_two_sleeps_drew_or_counted_says_nothing_of_both() {
    let sleeps = |second_drawn: Option<f64>, second_samples: Option<u32>| {
        let mut first = night("2026-06-30T22:00:00Z", "2026-07-01T01:00:00Z", false, 9000.0);
        (first.coverage.hypnogram_s, first.coverage.samples, first.coverage.awake_s) = (Some(10000.0), Some(2), Some(60.0));
        let mut second = night("2026-07-01T02:00:00Z", "2026-07-01T07:00:00Z", false, 18000.0);
        (second.coverage.hypnogram_s, second.coverage.samples) = (second_drawn, second_samples);
        let records = [stored(first, 1), stored(second, 2)];
        let coverage = day_values(&records, &records[0].source, records[0].record.date).remove(0).coverage;
        (coverage.hypnogram_s, coverage.samples, coverage.awake_s)
    };
    assert_eq!(sleeps(None, None), (None, None, Some(60.0)));
    assert_eq!(sleeps(Some(17000.0), Some(60)), (Some(27000.0), Some(62), Some(60.0)));
}

#[test]
fn a_workout_never_gives_the_days_steps() {
    let walk = one(
        "activity",
        &json!({"metadata": {"start_time": "2026-07-01T10:00:00Z", "end_time": "2026-07-01T10:30:00Z", "type": 0, "summary_id": "w"}, "distance_data": {"summary": {"steps": 900}}}),
    );
    let whole = one("daily", &json!({"metadata": day(), "distance_data": {"steps": 12000}}));
    assert_eq!(walk.values, [(Metric::Steps, 900.0)]);
    let records = [stored(whole, 1), stored(walk.clone(), 2)];
    assert_eq!(day_values(&records, &records[0].source, records[0].record.date)[0].value, 12000.0);
    assert_eq!(day_values(&[stored(walk.clone(), 2)], &records[0].source, walk.date), []);
}

#[test]
fn the_last_weighing_counts_and_sleep_comes_before_daily() {
    let body = json!({"metadata": day(), "measurements_data": {"day_avg_weight_kg": 71.0, "day_avg_bmi": 22.0, "measurements": [
        {"measurement_time": "2026-07-01T20:00:00+01:00", "weight_kg": 72.0}, {"measurement_time": "2026-07-01T07:00:00+01:00", "weight_kg": 70.0}]}});
    let mut records: Vec<_> = normalised("body", &body).records.into_iter().map(|r| stored(r, 1)).collect();
    assert_eq!(records.len(), 3);
    let mut sleep = night("2026-06-30T22:00:00Z", "2026-07-01T06:00:00Z", false, 1.0);
    sleep.values.push((Metric::RestingHeartRate, 48.0));
    records.push(stored(sleep, 1));
    records.push(stored(
        one("daily", &json!({"metadata": day(), "heart_rate_data": {"summary": {"resting_hr_bpm": 55, "avg_hr_bpm": 70}}})),
        2,
    ));
    let values = day_values(&records, &records[0].source, records[0].record.date);
    let of = |metric| values.iter().find(|v| v.metric == metric).map(|v| (v.value, v.model));
    use crate::model::Model;
    assert_eq!(of(Metric::Weight), Some((72.0, Model::Body)));
    assert_eq!(of(Metric::Bmi), Some((22.0, Model::Body)));
    assert_eq!(of(Metric::RestingHeartRate), Some((48.0, Model::Sleep)));
    assert_eq!(of(Metric::AverageHeartRate), Some((70.0, Model::Daily)));
}

#[test]
fn a_deletion_stays_a_deletion_whatever_arrives_late() {
    let metadata = |kind: u8| json!({"summary_id": "a", "start_time": "2026-07-01T10:00:00Z", "end_time": "2026-07-01T11:00:00Z", "upload_type": kind});
    let steps =
        |kind: u8, steps: u32| one("activity", &json!({"metadata": metadata(kind), "distance_data": {"summary": {"steps": steps}}}));
    let (old, deletion) = (stored(steps(1, 900), 1), stored(steps(4, 900), 2));
    assert_eq!(deletion.values, []);
    let gone = merge(Some(deletion.clone()), old.clone());
    assert!(gone.record.deleted && gone.values.is_empty());
    // A later delivery brings the record back, but never what was said before the deletion.
    let again = stored(one("activity", &json!({"metadata": metadata(1), "calories_data": {"net_activity_calories": 50}})), 3);
    let back = merge(Some(merge(Some(deletion), again)), old);
    assert!(!back.record.deleted);
    assert_eq!(back.values.iter().map(|v| v.metric).collect::<Vec<_>>(), [Metric::ActiveCalories]);
    // A deletion may come without any time.
    let bare = one("activity", &json!({"metadata": {"summary_id": "a", "upload_type": 4}}));
    assert_eq!((bare.key.as_str(), bare.deleted), ("a", true));
}

#[test]
fn events_of_every_kind_are_told_apart() {
    let kind = |body: Value| event(&body).kind;
    assert_eq!(kind(json!({"type": "auth", "status": "success"})), EventKind::Auth);
    assert_eq!(kind(json!({"type": "auth", "status": "error"})), EventKind::AuthCancelled);
    for word in EventKind::WORDS {
        assert!(!matches!(EventKind::from_word(word), EventKind::Unknown(_)), "{word}");
    }
    assert_eq!(kind(json!({"type": "hormone"})), EventKind::Unknown("hormone".into()));
    assert_eq!(kind(json!({"type": null})), EventKind::Unknown(String::new()));
    let reauth = event(
        &json!({"type": "user_reauth", "old_user": null, "new_user": {"user_id": 7, "provider": "GARMIN", "reference_id": ""}, "reference_id": "me"}),
    );
    let user = reauth.user.unwrap();
    assert_eq!((user.user_id.as_deref(), user.reference_id.as_deref(), reauth.old_user), (Some("7"), Some("me"), None));
    for (body, why) in [(&b"[]"[..], Invalid::NotAnObject), (b"7", Invalid::NotAnObject), (&[b'['; 10_000], Invalid::TooDeep)] {
        assert_eq!(parse(body), Err(why));
    }
    assert!(matches!(parse(b"{\"a\":\"\xff\"}"), Err(Invalid::NotJson(_))));
    assert!(matches!(parse(b""), Err(Invalid::NotJson(_))));
}

#[test]
fn ids_that_cannot_be_stored_are_refused_by_name() {
    for (id, why) in [
        (json!("a\0b"), "reference_id contains a NUL"),
        (json!("x".repeat(513)), "longer than 512"),
        (json!({}), "neither text nor a number"),
    ] {
        let body = json!({"type": "daily", "user": {"user_id": "u", "reference_id": id}});
        let problem = event(&body).problem.unwrap();
        assert!(problem.contains(why), "{problem}");
        if !id.is_object() {
            assert!(envelope(body.to_string().as_bytes()).unwrap().problem.unwrap().contains(why));
        }
    }
    let envelope = envelope(
        br#"{"type":"daily","type":"sleep","x":[1e999,{"type":1}],"user":{"provider":"WHOOP","user_id":"u","reference_id":"me"}}"#,
    )
    .unwrap();
    assert_eq!((envelope.kind.as_str(), envelope.reference_id.as_deref()), ("sleep", Some("me")));
    assert_eq!(envelope.source, Some(Source::from_provider("whoop")));
}
