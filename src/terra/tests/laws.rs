//! Laws that hold for any input.
use super::*;
use proptest::prelude::*;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("2026-07-01T00:00:00+01:00")),
        Just(json!("\0"))
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..5).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Names that the normaliser looks for, so that the wrong values get where they hurt.
fn key() -> impl Strategy<Value = String> {
    let mut names: Vec<String> =
        fields::TABLE.iter().flat_map(|field| field.path().split(['.', ' ', '[', ']']).map(str::to_owned).collect::<Vec<_>>()).collect();
    names.extend(
        [
            "metadata",
            "start_time",
            "end_time",
            "upload_type",
            "summary_id",
            "is_nap",
            "timestamp",
            "bpm",
            "data",
            "user",
            "hr_samples",
            "detailed",
        ]
        .map(str::to_owned),
    );
    names.sort();
    names.dedup();
    prop_oneof![9 => prop::sample::select(names), 1 => "\\PC{0,8}"]
}

fn element() -> impl Strategy<Value = Value> {
    // A good skeleton with random parts put over it.
    (value(), prop::collection::vec((prop::sample::select(fields::TABLE), value()), 0..12), any::<u8>()).prop_map(|(over, parts, upload)| {
        let mut element = json!({"metadata": {"start_time": "2026-07-01T00:00:00+01:00", "end_time": "2026-07-01T08:00:00+01:00", "upload_type": upload % 8}});
        for (field, part) in parts {
            if let fields::Take::Value(path) = field.take {
                let mut at = &mut element;
                for step in path.split('.') {
                    if !at.is_object() { *at = json!({}); }
                    at = &mut at[step];
                }
                *at = part;
            }
        }
        if let (Value::Object(element), Value::Object(over)) = (&mut element, over) {
            element.extend(over);
        }
        element
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = envelope(&body);
        if let Ok(event) = parse(&body) {
            let _ = normalise(&event, None);
        }
    }

    #[test]
    fn any_element_is_read_without_panic_and_gives_storable_records(kind in prop::sample::select(vec!["daily", "sleep", "body", "activity", "nutrition", "menstruation", "athlete"]), elements in prop::collection::vec(element(), 0..3)) {
        let body = json!({"type": kind, "data": elements}).to_string();
        let event = parse(body.as_bytes()).unwrap();
        let out = normalise(&event, Some(Instant::UNIX_EPOCH));
        for record in &out.records {
            prop_assert!(!record.key.is_empty() && record.key.len() <= 800 && !record.key.contains('\0'));
            let mut metrics: Vec<_> = record.values.iter().map(|(metric, _)| *metric).collect();
            metrics.dedup();
            prop_assert_eq!(metrics.len(), record.values.len());
            prop_assert!(record.values.iter().all(|(_, value)| value.is_finite()));
            prop_assert!(record.findings.iter().all(|finding| !finding.detail.contains('\0')));
        }
        let stored: Vec<_> = out.records.iter().cloned().map(|record| stored(record, 1)).collect();
        if let Some(first) = stored.first() {
            let values = day_values(&stored, &first.source, first.record.date);
            prop_assert!(values.iter().all(|value| value.value.is_finite()));
        }
    }

    #[test]
    fn the_envelope_says_what_the_whole_says(mut body in value(), kind in "[a-z_]{0,10}", user in value()) {
        if let Value::Object(fields) = &mut body {
            fields.insert("type".into(), json!(kind));
            fields.insert("user".into(), user);
        }
        let text = body.to_string();
        match (envelope(text.as_bytes()), parse(text.as_bytes())) {
            (Ok(quick), Ok(whole)) => {
                prop_assert_eq!(&quick.kind, &kind);
                if let Some(user) = whole.user {
                    prop_assert_eq!(quick.terra_user_id, user.user_id);
                }
            }
            (quick, whole) => prop_assert_eq!(quick.is_err(), whole.is_err()),
        }
    }

    /// Any permutation of a stream, with any of it delivered twice, leaves the same records and the same days.
    #[test]
    fn the_order_of_arrival_does_not_matter(
        stream in prop::collection::vec((0_u8..3, 0_u8..4, prop::option::of(0_u16..50), prop::option::of(0_u16..50), any::<bool>()), 1..9),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let deliveries: Vec<StoredRecord> = stream.iter().zip(1..).map(|((key, kind, steps, bpm, device), ms)| {
            let upload = if *kind == 0 { 4 } else { 1 };
            let mut element = json!({
                "metadata": {"summary_id": format!("k{key}"), "start_time": format!("2026-07-0{}T10:00:00Z", 1 + kind % 2), "end_time": "2026-07-02T11:00:00Z", "upload_type": upload},
                "distance_data": {"summary": {"steps": steps}}, "heart_rate_data": {"summary": {"avg_hr_bpm": bpm}}});
            if *device { element["device_data"] = json!({"name": format!("d{ms}")}); }
            stored(one("activity", &element), ms)
        }).collect();
        let table = |arrivals: Vec<&StoredRecord>| {
            let mut table = std::collections::BTreeMap::<String, StoredRecord>::new();
            for incoming in arrivals {
                let key = incoming.record.key.clone();
                let merged = merge(table.remove(&key), incoming.clone());
                table.insert(key, merged);
            }
            table
        };
        let inorder = table(deliveries.iter().collect());
        let mut shuffled: Vec<&StoredRecord> = order.iter().map(|index| index.get(&deliveries)).collect();
        shuffled.extend(deliveries.iter().rev());
        prop_assert_eq!(inorder, table(shuffled));
        // Grouping does not matter either.
        if deliveries.len() >= 3 && deliveries.iter().take(3).all(|d| d.record.key == deliveries[0].record.key) {
            let [a, b, c] = [&deliveries[0], &deliveries[1], &deliveries[2]].map(Clone::clone);
            let left = merge(Some(merge(Some(a.clone()), b.clone())), c.clone());
            prop_assert_eq!(left, merge(Some(a), merge(Some(b), c)));
        }
    }
}
