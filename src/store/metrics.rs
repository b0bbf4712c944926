//! `unified_metrics`: one value a person, metric, source and day.

use super::records::Day;
use crate::model::{Coverage, DayValue, Finding, Instant, Metric, Model, Ordering, Origin, Source};
use crate::terra::DayReading;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;
use std::collections::HashMap;

/// Where a day value comes from, as stored in `provenance`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The model it was taken from.
    pub model: Model,
    /// How it came to be, and by which device.
    #[serde(flatten)]
    pub origin: Origin,
}

/// Makes the stored values of these days equal to `readings`: writes what is new or different, deletes what is no longer
/// there, with its score. What is the same already is not touched, so a replay leaves no trace. Returns each person and
/// day where something changed, once.
///
/// # Errors
/// The database's.
pub async fn replace(conn: &mut PgConnection, days: &[Day], readings: &[(&str, DayReading)]) -> sqlx::Result<Vec<(String, NaiveDate)>> {
    let mut changed = delete_others(conn, days, readings).await?;
    changed.extend(write_changed(conn, readings).await?);
    changed.sort_unstable();
    changed.dedup();
    Ok(changed)
}

/// Each day brings the metrics that stay, in one text: looking each stored value up among all readings would compare
/// everything with everything.
async fn delete_others(conn: &mut PgConnection, days: &[Day], readings: &[(&str, DayReading)]) -> sqlx::Result<Vec<(String, NaiveDate)>> {
    let mut kept: HashMap<(&str, &str, NaiveDate), String> = HashMap::new();
    for (user, r) in readings {
        let metrics = kept.entry((user, r.value.source.as_str(), r.value.date)).or_default();
        metrics.push_str(r.value.metric.key());
        metrics.push(' ');
    }
    let stays = |d: &Day| kept.get(&(d.0.as_str(), d.1.as_str(), d.2)).map_or("", String::as_str).to_owned();
    sqlx::query_as(
        "WITH gone AS (
           DELETE FROM unified_metrics m
            USING unnest($1::text[], $2::text[], $3::date[], $4::text[]) AS d (user_id, source, date, stays)
            WHERE m.user_id = d.user_id AND m.source = d.source AND m.measurement_date = d.date
              AND m.metric_name <> ALL (string_to_array(d.stays, ' '))
           RETURNING m.user_id, m.metric_name, m.source, m.measurement_date
         ), scores AS (
           DELETE FROM metric_confidence_cache c USING gone g
            WHERE c.user_id = g.user_id AND c.metric_name = g.metric_name AND c.source = g.source AND c.measurement_date = g.measurement_date
         )
         SELECT user_id, measurement_date FROM gone",
    )
    .bind(days.iter().map(|d| d.0.as_str()).collect::<Vec<_>>())
    .bind(days.iter().map(|d| d.1.as_str()).collect::<Vec<_>>())
    .bind(days.iter().map(|d| d.2).collect::<Vec<_>>())
    .bind(days.iter().map(stays).collect::<Vec<_>>())
    .fetch_all(conn)
    .await
}

async fn write_changed(conn: &mut PgConnection, readings: &[(&str, DayReading)]) -> sqlx::Result<Vec<(String, NaiveDate)>> {
    if readings.is_empty() {
        return Ok(Vec::new());
    }
    fn column<'r, T>(readings: &'r [(&str, DayReading)], take: impl Fn(&'r DayReading) -> T) -> Vec<T> {
        readings.iter().map(|(_, reading)| take(reading)).collect()
    }
    let provenance = |r: &DayReading| Json(Provenance { model: r.value.model, origin: r.value.origin.clone() });
    sqlx::query_as(
        "INSERT INTO unified_metrics AS m (user_id, metric_name, source, measurement_date, value, unit, measured_at, ordering_ms, trace_id,
                                           received_at, delivery_id, provenance, coverage, findings)
         SELECT n.*
           FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::float8[], $6::text[], $7::timestamptz[], $8::int8[], $9::text[],
                       $10::timestamptz[], $11::uuid[], $12::jsonb[], $13::jsonb[], $14::jsonb[])
             AS n (user_id, metric_name, source, measurement_date, value, unit, measured_at, ordering_ms, trace_id,
                   received_at, delivery_id, provenance, coverage, findings)
           LEFT JOIN unified_metrics o USING (user_id, metric_name, source, measurement_date)
          WHERE (o.value, o.unit, o.measured_at, o.ordering_ms, o.trace_id, o.received_at, o.delivery_id, o.provenance, o.coverage, o.findings)
                IS DISTINCT FROM
                (n.value, n.unit, n.measured_at, n.ordering_ms, n.trace_id, n.received_at, n.delivery_id, n.provenance, n.coverage, n.findings)
         ON CONFLICT (user_id, metric_name, source, measurement_date) DO UPDATE SET
           value = excluded.value, unit = excluded.unit, measured_at = excluded.measured_at, ordering_ms = excluded.ordering_ms,
           trace_id = excluded.trace_id, received_at = excluded.received_at, delivery_id = excluded.delivery_id,
           provenance = excluded.provenance, coverage = excluded.coverage, findings = excluded.findings, updated_at = now()
         RETURNING m.user_id, m.measurement_date",
    )
    .bind(readings.iter().map(|(user, _)| *user).collect::<Vec<_>>())
    .bind(column(readings, |r| r.value.metric.key()))
    .bind(column(readings, |r| r.value.source.as_str()))
    .bind(column(readings, |r| r.value.date))
    .bind(column(readings, |r| r.value.value))
    .bind(column(readings, |r| r.value.metric.unit()))
    .bind(column(readings, |r| r.value.measured_at))
    .bind(column(readings, |r| r.value.ordering.ms))
    .bind(column(readings, |r| r.value.ordering.trace_id.as_str()))
    .bind(column(readings, |r| r.value.received_at))
    .bind(column(readings, |r| r.delivery_id))
    .bind(column(readings, provenance))
    .bind(column(readings, |r| Json(&r.value.coverage)))
    .bind(column(readings, |r| Json(&r.value.findings)))
    .fetch_all(conn)
    .await
}

/// A row as it lies in the table.
#[derive(sqlx::FromRow)]
struct Row {
    metric_name: String,
    source: String,
    measurement_date: NaiveDate,
    value: f64,
    measured_at: Option<Instant>,
    ordering_ms: i64,
    trace_id: String,
    received_at: Instant,
    provenance: Json<Provenance>,
    coverage: Json<Coverage>,
    findings: Json<Vec<Finding>>,
}

impl Row {
    /// `None` for a metric that this version does not know.
    fn read(self) -> Option<DayValue> {
        Some(DayValue {
            metric: Metric::from_key(&self.metric_name)?,
            source: Source::from_provider(&self.source),
            date: self.measurement_date,
            value: self.value,
            model: self.provenance.0.model,
            measured_at: self.measured_at,
            ordering: Ordering { ms: self.ordering_ms, trace_id: self.trace_id },
            received_at: self.received_at,
            origin: self.provenance.0.origin,
            coverage: self.coverage.0,
            findings: self.findings.0,
        })
    }
}

/// A person's values of all sources from one day to another, both included; by day, metric and source.
///
/// # Errors
/// The database's.
pub async fn person_values(conn: &mut PgConnection, user_id: &str, from: NaiveDate, to: NaiveDate) -> sqlx::Result<Vec<DayValue>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT metric_name, source, measurement_date, value, measured_at, ordering_ms, trace_id, received_at, provenance, coverage, findings
           FROM unified_metrics WHERE user_id = $1 AND measurement_date BETWEEN $2 AND $3
          ORDER BY measurement_date, metric_name, source",
    )
    .bind(user_id)
    .bind(from)
    .bind(to)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter_map(Row::read).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
mod tests {
    use sqlx::Executor;

    /// Others read these names; a statement that names them all can be prepared and says the same as our own.
    #[tokio::test]
    async fn every_column_that_others_read_is_there_under_its_name() {
        let t = crate::store::testing::database().await;
        t.db.owner()
            .execute(
                "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
                 VALUES ('u', 'steps', 'oura', current_date, 1, 'count', 7, 't', now(), gen_random_uuid());
                 UPDATE unified_metrics SET ordering_ms = 8",
            )
            .await
            .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        for names in [
            "user_id, metric_name, source, measurement_date, value, unit, measured_at, ordering, provenance, findings FROM unified_metrics",
            "user_id, metric_name, source, measurement_date, confidence_score, factors, scorer_version, updated_at FROM metric_confidence_cache",
        ] {
            sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {names}"))).fetch_all(&mut *conn).await.unwrap();
        }
        let same: (i64, i64) = sqlx::query_as("SELECT ordering, ordering_ms FROM unified_metrics").fetch_one(&mut *conn).await.unwrap();
        assert_eq!(same, (8, 8));
    }
}
