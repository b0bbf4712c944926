//! A stream of everything that can happen to records, in any order and with repeats.
use super::*;

fn data(kind: &str, provider: &str, element: &Value) -> Value {
    json!({"type": kind, "user": {"user_id": format!("t-{provider}"), "provider": provider, "reference_id": "me"}, "data": [element]})
}

fn night(end: &str, upload: u8, asleep: Value, rmssd: Value) -> Value {
    json!({"metadata": {"summary_id": "night", "start_time": "2026-06-30T20:00:00Z", "end_time": end, "upload_type": upload},
        "sleep_durations_data": {"asleep": {"duration_asleep_state_seconds": asleep}, "sleep_efficiency": 0.875},
        "heart_rate_data": {"summary": {"avg_hrv_rmssd": rmssd}}})
}

fn day(upload: u8, steps: Value, metres: Value) -> Value {
    json!({"metadata": {"start_time": "2026-07-01T00:00:00+01:00", "end_time": "2026-07-02T00:00:00+01:00", "upload_type": upload},
        "distance_data": {"steps": steps, "distance_meters": metres}, "device_data": if upload == 1 { json!({"name": "watch"}) } else { Value::Null }})
}

fn weighing(time: &str, kg: f64) -> Value {
    json!({"metadata": {"start_time": "2026-07-01T00:00:00+01:00", "end_time": "2026-07-02T00:00:00+01:00"},
        "measurements_data": {"measurements": [{"measurement_time": time, "weight_kg": kg}]}, "glucose_data": {"day_avg_blood_glucose_mg_per_dL": kg + 0.1}})
}

fn stream() -> Vec<RawDelivery> {
    let bodies = [
        data("sleep", "OURA", &night("2026-07-01T05:00:00Z", 3, json!(20000), json!(41.3))),
        data("sleep", "OURA", &night("2026-06-30T23:50:00Z", 2, json!(9000), Value::Null)),
        data("sleep", "OURA", &night("2026-07-01T06:00:00Z", 2, Value::Null, json!(0))),
        data("sleep", "WHOOP", &night("2026-07-01T06:10:00Z", 2, json!(21000.7), json!(66.6))),
        data("daily", "OURA", &day(1, json!(100), json!(80.1))),
        data("daily", "OURA", &day(4, json!(100), json!(80.1))),
        data("daily", "OURA", &day(3, json!(300), Value::Null)),
        data("daily", "OURA", &day(1, Value::Null, json!(0))),
        data("daily", "WHOOP", &day(1, json!(5), json!("far"))),
        data("daily", "WHOOP", &day(4, Value::Null, Value::Null)),
        data("body", "OURA", &weighing("2026-07-01T07:00:00+01:00", 70.1)),
        data("body", "OURA", &weighing("2026-07-01T21:00:00+01:00", 71.3)),
        data("body", "OURA", &weighing("2026-07-02T07:00:00+01:00", 69.9)),
        data(
            "activity",
            "OURA",
            &json!({"metadata": {"summary_id": "run", "start_time": "2026-07-01T10:00:00Z", "end_time": "2026-07-01T11:00:00Z", "type": 0}, "distance_data": {"summary": {"steps": 9000}}}),
        ),
    ];
    // Two share an ordering timestamp; then the trace id decides.
    bodies.iter().zip(1_u32..).map(|(body, n)| delivery(n, 1_782_900_000_000 + i64::from(n / 2) * 1000, body)).collect()
}

#[tokio::test]
async fn any_order_with_repeats_leaves_the_same_tables() {
    let deliveries = stream();
    let mut expected: Option<Vec<String>> = None;
    let mut dice = Dice(11);
    for round in 0..6 {
        let t = database().await;
        store(&t.db, &deliveries).await;
        let mut order = deliveries.clone();
        if round > 0 {
            order.extend((0..10).map(|_| deliveries[dice.below(deliveries.len())].clone()));
            dice.shuffle(&mut order);
        }
        for chunk in order.chunks([1, 2, 5, 24][round % 4]) {
            run(&t.db, chunk).await;
        }
        let found = tables(&t.db).await;
        match &expected {
            None => {
                let mut tx = t.db.begin_service().await.unwrap();
                let day = NaiveDate::from_ymd_opt(2026, 7, 1).unwrap();
                let values = metrics::person_values(&mut tx, "me", day, day).await.unwrap();
                let said: Vec<String> = values.iter().map(|v| format!("{} {} {}", v.metric.key(), v.source, v.value)).collect();
                assert_eq!(
                    said,
                    [
                        "blood_glucose oura 70",
                        "distance oura 0",
                        "hrv_rmssd oura 0",
                        "hrv_rmssd whoop 66.6",
                        "sleep_duration oura 9000",
                        "sleep_duration whoop 21000.7",
                        "sleep_efficiency oura 87.5",
                        "sleep_efficiency whoop 87.5",
                        "steps oura 300",
                        "weight oura 71.3",
                    ]
                );
                expected = Some(found);
            }
            Some(expected) => assert_eq!(expected, &found, "round {round}"),
        }
    }
}

#[tokio::test]
async fn what_parks_while_its_owner_is_being_learned_is_not_forgotten() {
    let t = database().await;
    let early = [delivery(1, 1, &super::daily("t1", None, 900))];
    store(&t.db, &early).await;
    // The worker with the data has not committed that it parks them when the worker with the authorisation begins.
    let mut slow = t.db.begin_service().await.unwrap();
    process(&mut slow, &early).await.unwrap();
    let db = t.db.clone();
    let other = tokio::spawn(async move { run(&db, &[delivery(2, 2, &json!({"type": "auth", "user": user("t1", Some("me"))}))]).await });
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    assert!(!other.is_finished(), "the second waits for the first");
    slow.commit().await.unwrap();
    assert_eq!(other.await.unwrap().released, 1);
}
