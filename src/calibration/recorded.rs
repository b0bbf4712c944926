//! Recorded deliveries as day values: the way real data comes into the report.
//!
//! Reads JSON lines of `{"trace_id", "ordering_ms", "body"}` as Terra's webhooks would have carried them, and takes them
//! through the same normalisation and merging as live ones. Text in, values out: opening files is the caller's.

use crate::model::{DayValue, Instant, Model, Ordering, Source};
use crate::terra;
use chrono::{DateTime, NaiveDate};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Values by person.
pub type Persons = BTreeMap<String, Vec<DayValue>>;

/// Deliveries on their way to day values.
#[derive(Debug, Default)]
pub struct Collector {
    records: BTreeMap<(String, Source, Model, String), terra::StoredRecord>,
}

impl Collector {
    /// Takes in one delivery. `None`: it says nothing that could become a value.
    pub fn add(&mut self, body: &[u8], ordering_ms: i64, trace_id: &str) -> Option<()> {
        let produced: Instant = DateTime::from_timestamp_millis(ordering_ms)?;
        let event = terra::parse(body).ok()?;
        let user = event.user.as_ref()?;
        let (person, source) = (user.reference_id.clone()?, user.provider.clone());
        let ordering = Ordering { ms: ordering_ms, trace_id: trace_id.to_owned() };
        let stamp = terra::Stamp { ordering, delivery_id: Uuid::nil(), received_at: produced };
        for record in terra::normalise(&event, Some(produced)).records {
            let key = (person.clone(), source.clone(), record.model, record.key.clone());
            let incoming = terra::StoredRecord::new(record, source.clone(), stamp.clone());
            let merged = terra::merge(self.records.remove(&key), incoming);
            self.records.insert(key, merged);
        }
        Some(())
    }

    /// The day values of everything taken in, by person.
    pub fn persons(self) -> Persons {
        let mut days: BTreeMap<(String, Source, NaiveDate), Vec<terra::StoredRecord>> = BTreeMap::new();
        for ((user, source, _, _), record) in self.records {
            days.entry((user, source, record.record.date)).or_default().push(record);
        }
        let mut persons = Persons::new();
        for ((user, source, date), records) in days {
            persons.entry(user).or_default().extend(terra::day_values(&records, &source, date));
        }
        persons
    }
}

/// The day values of recorded deliveries, by person. Lines that are no delivery are passed over and counted.
pub fn persons(lines: &str) -> (Persons, u32) {
    let mut collector = Collector::default();
    let mut unread = 0;
    for line in lines.lines().filter(|l| !l.trim().is_empty()) {
        if read(line, &mut collector).is_none() {
            unread += 1;
        }
    }
    (collector.persons(), unread)
}

fn read(line: &str, collector: &mut Collector) -> Option<()> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let ms = line.get("ordering_ms")?.as_i64()?;
    collector.add(line.get("body")?.to_string().as_bytes(), ms, line.get("trace_id")?.as_str()?)
}
