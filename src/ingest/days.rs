//! The records of a batch into the tables, and the days they touch made anew.

use crate::model::Source;
use crate::store::metrics;
use crate::store::records::{self, Day, PersonRecord, RecordKey};
use crate::terra::{DayReading, StoredRecord, day_readings, merge};
use chrono::NaiveDate;
use sqlx::PgConnection;
use std::collections::{BTreeSet, HashMap};

/// Merges the records in, writes those that changed, and makes the day values of every touched day right. Returns the
/// persons and days whose values changed. The caller holds the persons' locks.
pub(super) async fn store(tx: &mut PgConnection, incoming: Vec<(String, StoredRecord)>) -> sqlx::Result<Vec<(String, NaiveDate)>> {
    if incoming.is_empty() {
        return Ok(Vec::new());
    }
    let mut touched: BTreeSet<Day> = incoming.iter().map(|(user, stored)| day_of(user, stored)).collect();
    let keys: BTreeSet<RecordKey> = incoming.iter().map(|(user, stored)| key_of(user, stored)).collect();
    let first: Vec<Day> = touched.iter().cloned().collect();
    let loaded = records::load(tx, &keys.into_iter().collect::<Vec<_>>(), &first).await?;
    let mut table: HashMap<RecordKey, (PersonRecord, bool)> = loaded.into_iter().map(keyed).collect();
    for (user, stored) in incoming {
        put(&mut table, &mut touched, user, stored);
    }
    // A session that moved to another day, or came from one, needs that day's other records as well.
    let more: Vec<Day> = touched.iter().filter(|day| !first.contains(day)).cloned().collect();
    if !more.is_empty() {
        for (key, entry) in records::load(tx, &[], &more).await?.into_iter().map(keyed) {
            table.entry(key).or_insert(entry);
        }
    }
    let written: Vec<&PersonRecord> = table.values().filter(|(_, changed)| *changed).map(|(record, _)| record).collect();
    records::upsert(tx, &written).await?;
    let touched: Vec<Day> = touched.into_iter().collect();
    let readings = readings(&table, &touched);
    metrics::replace(tx, &touched, &readings).await
}

fn keyed(record: PersonRecord) -> (RecordKey, (PersonRecord, bool)) {
    (key_of(&record.user_id, &record.stored), (record, false))
}

fn key_of(user: &str, stored: &StoredRecord) -> RecordKey {
    (user.to_owned(), stored.source.clone(), stored.record.model, stored.record.key.clone())
}

fn day_of(user: &str, stored: &StoredRecord) -> Day {
    (user.to_owned(), stored.source.clone(), stored.record.date)
}

/// Merges one record into the table, and notes the days it leaves and enters.
fn put(table: &mut HashMap<RecordKey, (PersonRecord, bool)>, touched: &mut BTreeSet<Day>, user: String, stored: StoredRecord) {
    let key = key_of(&user, &stored);
    let (known, was_changed) = match table.remove(&key) {
        Some((known, changed)) => (Some(known.stored), changed),
        None => (None, false),
    };
    if let Some(known) = &known {
        touched.insert(day_of(&user, known));
    }
    let merged = merge(known.clone(), stored);
    touched.insert(day_of(&user, &merged));
    let changed = was_changed || known.as_ref() != Some(&merged);
    table.insert(key, (PersonRecord { user_id: user, stored: merged }, changed));
}

fn readings<'t>(table: &'t HashMap<RecordKey, (PersonRecord, bool)>, touched: &'t [Day]) -> Vec<(&'t str, DayReading)> {
    let mut by_day: HashMap<(&str, &Source, NaiveDate), Vec<&StoredRecord>> = HashMap::new();
    for (record, _) in table.values() {
        let day = (record.user_id.as_str(), &record.stored.source, record.stored.record.date);
        by_day.entry(day).or_default().push(&record.stored);
    }
    touched
        .iter()
        .filter_map(|(user, source, date)| by_day.get(&(user.as_str(), source, *date)).map(|records| (user, source, date, records)))
        .flat_map(|(user, source, date, records)| {
            day_readings(records.iter().copied(), source, *date).into_iter().map(move |reading| (user.as_str(), reading))
        })
        .collect()
}
