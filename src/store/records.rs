//! `records`: what each night, nap, workout, weighing or day summary comes to after all its deliveries.
//!
//! Written only by the ingest, which holds the lock of the person's row, so nothing here needs a lock of its own.

use crate::model::{Coverage, Device, Finding, Instant, Metric, Model, Ordering, Origin, Record, Source, UploadKind};
use crate::terra::{Stamp, StoredRecord, StoredValue};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A person's record.
#[derive(Debug, Clone, PartialEq)]
pub struct PersonRecord {
    /// Whose.
    pub user_id: String,
    /// What.
    pub stored: StoredRecord,
}

/// What names a record: person, source, model and key.
pub type RecordKey = (String, Source, Model, String);
/// A day of a person at a source.
pub type Day = (String, Source, NaiveDate);

/// The records with these keys and those of these days, each once.
///
/// # Errors
/// The database's.
pub async fn load(conn: &mut PgConnection, keys: &[RecordKey], days: &[Day]) -> sqlx::Result<Vec<PersonRecord>> {
    // Looked up row by row: while the table is small its plan would be to read all of it, and stay so when it has grown.
    let rows: Vec<Row> = sqlx::query_as(
        r#"SELECT r.user_id, r.source, r.model, r.key, r.measurement_date, r.start_at, r.end_at, r.nap, r.deleted, r.ordering_ms,
                  r.trace_id, r.received_at, r.delivery_id, r."values" AS said, r.origin, r.coverage, r.findings,
                  r.deleted_ordering_ms, r.deleted_trace_id
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS k (user_id, source, model, key)
            CROSS JOIN LATERAL (SELECT * FROM records r
                                 WHERE r.user_id = k.user_id AND r.source = k.source AND r.model = k.model AND r.key = k.key OFFSET 0) r
           UNION ALL
           SELECT r.user_id, r.source, r.model, r.key, r.measurement_date, r.start_at, r.end_at, r.nap, r.deleted, r.ordering_ms,
                  r.trace_id, r.received_at, r.delivery_id, r."values", r.origin, r.coverage, r.findings,
                  r.deleted_ordering_ms, r.deleted_trace_id
             FROM unnest($5::text[], $6::text[], $7::date[]) AS d (user_id, source, measurement_date)
            CROSS JOIN LATERAL (SELECT * FROM records r
                                 WHERE r.user_id = d.user_id AND r.source = d.source AND r.measurement_date = d.measurement_date OFFSET 0) r
            WHERE (r.user_id, r.source, r.model, r.key) NOT IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]))"#,
    )
    .bind(keys.iter().map(|k| k.0.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.1.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.2.word()).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.3.as_str()).collect::<Vec<_>>())
    .bind(days.iter().map(|d| d.0.as_str()).collect::<Vec<_>>())
    .bind(days.iter().map(|d| d.1.as_str()).collect::<Vec<_>>())
    .bind(days.iter().map(|d| d.2).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

/// Writes records, over those of the same key.
///
/// # Errors
/// The database's.
pub async fn upsert(conn: &mut PgConnection, records: &[&PersonRecord]) -> sqlx::Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let rows: Vec<Row> = records.iter().map(|record| Row::write(record)).collect();
    fn column<'r, T>(rows: &'r [Row], take: impl Fn(&'r Row) -> T) -> Vec<T> {
        rows.iter().map(take).collect()
    }
    sqlx::query(
        r#"INSERT INTO records (user_id, source, model, key, measurement_date, start_at, end_at, nap, deleted, ordering_ms, trace_id,
                                received_at, delivery_id, "values", origin, coverage, findings, deleted_ordering_ms, deleted_trace_id)
           SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::date[], $6::timestamptz[], $7::timestamptz[],
                                $8::bool[], $9::bool[], $10::int8[], $11::text[], $12::timestamptz[], $13::uuid[], $14::jsonb[],
                                $15::jsonb[], $16::jsonb[], $17::jsonb[], $18::int8[], $19::text[])
           ON CONFLICT (user_id, source, model, key) DO UPDATE SET
             measurement_date = excluded.measurement_date, start_at = excluded.start_at, end_at = excluded.end_at, nap = excluded.nap,
             deleted = excluded.deleted, ordering_ms = excluded.ordering_ms, trace_id = excluded.trace_id,
             received_at = excluded.received_at, delivery_id = excluded.delivery_id, "values" = excluded."values",
             origin = excluded.origin, coverage = excluded.coverage, findings = excluded.findings,
             deleted_ordering_ms = excluded.deleted_ordering_ms, deleted_trace_id = excluded.deleted_trace_id"#,
    )
    .bind(column(&rows, |r| r.user_id.as_str()))
    .bind(column(&rows, |r| r.source.as_str()))
    .bind(column(&rows, |r| r.model.as_str()))
    .bind(column(&rows, |r| r.key.as_str()))
    .bind(column(&rows, |r| r.measurement_date))
    .bind(column(&rows, |r| r.start_at))
    .bind(column(&rows, |r| r.end_at))
    .bind(column(&rows, |r| r.nap))
    .bind(column(&rows, |r| r.deleted))
    .bind(column(&rows, |r| r.ordering_ms))
    .bind(column(&rows, |r| r.trace_id.as_str()))
    .bind(column(&rows, |r| r.received_at))
    .bind(column(&rows, |r| r.delivery_id))
    .bind(column(&rows, |r| &r.said))
    .bind(column(&rows, |r| &r.origin))
    .bind(column(&rows, |r| &r.coverage))
    .bind(column(&rows, |r| &r.findings))
    .bind(column(&rows, |r| r.deleted_ordering_ms))
    .bind(column(&rows, |r| r.deleted_trace_id.as_deref()))
    .execute(conn)
    .await?;
    Ok(())
}

/// The row as it lies in the table.
#[derive(sqlx::FromRow)]
struct Row {
    user_id: String,
    source: String,
    model: String,
    key: String,
    measurement_date: NaiveDate,
    start_at: Option<Instant>,
    end_at: Option<Instant>,
    nap: bool,
    deleted: bool,
    ordering_ms: i64,
    trace_id: String,
    received_at: Instant,
    delivery_id: Uuid,
    said: Json<BTreeMap<String, Said>>,
    origin: Json<StoredOrigin>,
    coverage: Json<Coverage>,
    findings: Json<Vec<Finding>>,
    deleted_ordering_ms: Option<i64>,
    deleted_trace_id: Option<String>,
}

/// One value: bare where the record's latest delivery said it and nothing is suspicious.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Said {
    Bare(f64),
    Full {
        value: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<By>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        findings: Vec<Finding>,
    },
}

/// The delivery that said it, where it is not the record's latest.
#[derive(Serialize, Deserialize)]
struct By {
    ordering_ms: i64,
    trace_id: String,
    delivery_id: Uuid,
    received_at: Instant,
}

#[derive(Serialize, Deserialize)]
struct StoredOrigin {
    #[serde(default)]
    upload: UploadKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
    /// The delivery that named the device, where it is not the record's latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_by: Option<Ordering>,
    /// The delivery that said whether it is a nap, where it is not the record's latest, and wherever it said no: the column
    /// `nap` alone cannot tell that from nothing said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nap_by: Option<Ordering>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    flags: Vec<String>,
}

impl Row {
    fn write(record: &PersonRecord) -> Self {
        let StoredRecord { record: r, source, stamp, values, device, nap, deletion } = &record.stored;
        let said = |value: &StoredValue| {
            let by = (value.stamp != *stamp).then(|| By {
                ordering_ms: value.stamp.ordering.ms,
                trace_id: value.stamp.ordering.trace_id.clone(),
                delivery_id: value.stamp.delivery_id,
                received_at: value.stamp.received_at,
            });
            match (by, value.findings.is_empty()) {
                (None, true) => Said::Bare(value.value),
                (by, _) => Said::Full { value: value.value, by, findings: value.findings.clone() },
            }
        };
        Self {
            user_id: record.user_id.clone(),
            source: source.as_str().to_owned(),
            model: r.model.word().to_owned(),
            key: r.key.clone(),
            measurement_date: r.date,
            start_at: r.start,
            end_at: r.end,
            nap: record.stored.is_nap(),
            deleted: r.deleted,
            ordering_ms: stamp.ordering.ms,
            trace_id: stamp.ordering.trace_id.clone(),
            received_at: stamp.received_at,
            delivery_id: stamp.delivery_id,
            said: Json(values.iter().map(|value| (value.metric.key().to_owned(), said(value))).collect()),
            origin: Json(StoredOrigin {
                upload: r.origin.upload,
                device: device.as_ref().map(|(device, _)| device.clone()),
                device_by: device.as_ref().map(|(_, by)| by.clone()).filter(|by| *by != stamp.ordering),
                nap_by: nap.as_ref().filter(|(nap, by)| !*nap || *by != stamp.ordering).map(|(_, by)| by.clone()),
                flags: r.origin.flags.clone(),
            }),
            coverage: Json(r.coverage.clone()),
            findings: Json(r.findings.clone()),
            deleted_ordering_ms: deletion.as_ref().map(|deletion| deletion.ms),
            deleted_trace_id: deletion.as_ref().map(|deletion| deletion.trace_id.clone()),
        }
    }

    fn read(self) -> sqlx::Result<PersonRecord> {
        let model = Model::from_word(&self.model)
            .ok_or_else(|| sqlx::Error::Decode(format!("records.model '{}' is not known", self.model).into()))?;
        let ordering = Ordering { ms: self.ordering_ms, trace_id: self.trace_id };
        let stamp = Stamp { ordering, delivery_id: self.delivery_id, received_at: self.received_at };
        // A metric of a newer version is passed over: it can be read again from the raw deliveries.
        let mut values: Vec<StoredValue> =
            self.said.0.into_iter().filter_map(|(key, said)| Some(stored_value(Metric::from_key(&key)?, said, &stamp))).collect();
        values.sort_by_key(|value| value.metric);
        let StoredOrigin { upload, device, device_by, nap_by, flags } = self.origin.0;
        let nap = nap_by.or_else(|| self.nap.then(|| stamp.ordering.clone())).map(|by| (self.nap, by));
        let record = Record {
            model,
            key: self.key,
            date: self.measurement_date,
            start: self.start_at,
            end: self.end_at,
            nap: nap.as_ref().map(|(nap, _)| *nap),
            deleted: self.deleted,
            origin: Origin { upload, device: device.clone(), flags },
            coverage: self.coverage.0,
            values: Vec::new(),
            findings: self.findings.0,
        };
        let deletion = self.deleted_ordering_ms.zip(self.deleted_trace_id).map(|(ms, trace_id)| Ordering { ms, trace_id });
        let device = device.map(|device| (device, device_by.unwrap_or_else(|| stamp.ordering.clone())));
        let source = Source::from_provider(&self.source);
        Ok(PersonRecord { user_id: self.user_id, stored: StoredRecord { record, source, stamp, values, device, nap, deletion } })
    }
}

fn stored_value(metric: Metric, said: Said, latest: &Stamp) -> StoredValue {
    let (value, by, findings) = match said {
        Said::Bare(value) => (value, None, Vec::new()),
        Said::Full { value, by, findings } => (value, by, findings),
    };
    let stamp = by.map_or_else(
        || latest.clone(),
        |by| Stamp {
            ordering: Ordering { ms: by.ordering_ms, trace_id: by.trace_id },
            delivery_id: by.delivery_id,
            received_at: by.received_at,
        },
    );
    StoredValue { metric, value, stamp, findings }
}
