//! The recorded events, where they are at hand: real values of 70 persons.
use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};

type Key = (String, Source, crate::model::Model, String);

/// Each recorded delivery's user, source and records.
fn recorded() -> Option<Vec<(String, Source, i64, Normalised, String)>> {
    let folder = data()?.join("events");
    let mut out = Vec::new();
    for name in ["lifesnaps", "garmin_whoop", "furberg"] {
        let file = std::fs::File::open(folder.join(format!("{name}.events.jsonl.gz"))).unwrap();
        for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let ms = line["ordering_ms"].as_i64().unwrap();
            let body = line["body"].to_string();
            let quick = envelope(body.as_bytes()).unwrap();
            let event = parse(body.as_bytes()).unwrap();
            let user = event.user.clone().unwrap();
            assert_eq!((quick.source.as_ref(), &quick.reference_id), (Some(&user.provider), &user.reference_id));
            let out_of = normalise(&event, Instant::from_timestamp_millis(ms));
            out.push((user.reference_id.unwrap(), user.provider, ms, out_of, line["trace_id"].as_str().unwrap().to_owned()));
        }
    }
    Some(out)
}

fn table() -> Option<BTreeMap<Key, StoredRecord>> {
    let mut table = BTreeMap::new();
    for (user, source, ms, normalised, trace_id) in recorded()? {
        for record in normalised.records {
            let key = (user.clone(), source.clone(), record.model, record.key.clone());
            let received_at = Instant::from_timestamp_millis(ms).unwrap();
            let stamp = Stamp { ordering: Ordering { ms, trace_id: trace_id.clone() }, delivery_id: Uuid::nil(), received_at };
            let incoming = StoredRecord::new(record, source.clone(), stamp);
            let merged = merge(table.remove(&key), incoming);
            table.insert(key, merged);
        }
    }
    Some(table)
}

#[test]
fn every_recorded_delivery_gives_a_record_and_none_is_refused() {
    let Some(deliveries) = recorded() else { return };
    assert_eq!(deliveries.len(), 7_002);
    let mut values = 0;
    for (_, _, _, normalised, trace) in &deliveries {
        assert_eq!((normalised.refused, normalised.findings.len()), (0, 0), "{trace}: {normalised:?}");
        assert_eq!(normalised.records.len(), 1, "{trace}");
        values += normalised.records.iter().map(|record| record.values.len()).sum::<usize>();
        for record in &normalised.records {
            assert!(record.findings.iter().all(|f| f.kind != FindingKind::BadField), "{trace}: {:?}", record.findings);
        }
    }
    // Counted apart from this code: the non-null fields of the files that the table names.
    assert_eq!(values, 34_550);
    let zero = deliveries
        .iter()
        .flat_map(|d| &d.3.records)
        .flat_map(|r| &r.findings)
        .filter(|f| (f.kind, f.metric) == (FindingKind::ZeroForMissing, Some(Metric::HrvRmssd)))
        .count();
    assert_eq!(zero, 14);
}

#[test]
fn two_devices_stay_two_sources_on_137_nights() {
    let Some(table) = table() else { return };
    let nights = |source: &str| -> BTreeSet<_> {
        let records: Vec<_> =
            table.iter().filter(|(key, _)| key.0 == "gw-person-1" && key.1.as_str() == source).map(|(_, r)| r.clone()).collect();
        let dates: BTreeSet<_> = records.iter().map(|r| r.record.date).collect();
        dates
            .into_iter()
            .filter(|date| day_values(&records, &Source::from_provider(source), *date).iter().any(|v| v.metric == Metric::SleepDuration))
            .collect()
    };
    assert_eq!(nights("garmin").intersection(&nights("whoop")).count(), 137);
}

#[test]
fn the_half_days_end_whole() {
    let Some(deliveries) = recorded() else { return };
    let half: BTreeMap<String, f64> = deliveries
        .iter()
        .filter_map(|(user, _, _, n, _)| Some((user, n.records.first()?)))
        .filter(|(user, r)| user.starts_with("fb-") && r.model == crate::model::Model::Daily && r.coverage.cut_s.is_some())
        .map(|(user, r)| (user.clone(), r.values.iter().find(|(m, _)| *m == Metric::Steps).unwrap().1))
        .collect();
    assert_eq!(half.len(), 24);
    let table = table().unwrap();
    for (user, steps) in half {
        let key = (user, Source::from_provider("FITBIT"), crate::model::Model::Daily, "2016-04-12".to_owned());
        let whole = &table[&key];
        assert_eq!(whole.record.coverage.cut_s, None);
        assert!(whole.get(Metric::Steps).unwrap().value >= steps);
    }
}

#[test]
fn the_matrix_of_providers_is_what_the_recorded_deliveries_carry() {
    let Some(deliveries) = recorded() else { return };
    let mut seen: BTreeMap<(String, crate::model::Model), BTreeSet<Metric>> = BTreeMap::new();
    for (_, source, _, normalised, _) in &deliveries {
        for record in &normalised.records {
            let metrics = record.values.iter().map(|(metric, _)| *metric);
            seen.entry((source.as_str().to_owned(), record.model)).or_default().extend(metrics);
        }
    }
    seen.retain(|_, metrics| !metrics.is_empty());
    let written: BTreeMap<(String, crate::model::Model), BTreeSet<Metric>> = providers::PROVIDERS
        .iter()
        .flat_map(|p| p.recorded.iter().map(|(model, metrics)| ((p.source.to_owned(), *model), metrics.iter().copied().collect())))
        .collect();
    assert_eq!(seen, written);
}
