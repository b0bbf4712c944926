//! Deliveries as the administrator looks through them, what came of one, and having one processed again.
//!
//! Newest first, by the index on the time of receipt. What no index narrows is looked for among the newest [`WINDOW`]
//! only. Statements are planned for their values, not kept.
//!
//! That a worker has a delivery in hand is never written to its row, which would cost each delivery a write more: it is read off
//! the leases of the workers' batches, a few rows, of which a hash table is made once a statement.

use crate::model::Instant;
use chrono::NaiveDate;
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

/// How many of the newest deliveries are looked through for what no index narrows.
pub const WINDOW: i64 = 25_000;
/// Counts are exact up to here.
pub const COUNTED: i64 = 10_000;
/// How many of the newest deliveries have their headers and bodies looked through.
pub const READ: i64 = 10_000;
/// Deliveries to replay are counted exactly up to here.
pub const REPLAY_COUNTED: i64 = 1_000_000;

/// Which deliveries. Empty fields do not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// A state's word.
    pub status: Option<String>,
    /// Terra's word for the event.
    pub kind: Option<String>,
    /// In lower case.
    pub provider: Option<String>,
    /// A person.
    pub user_id: Option<String>,
    /// Received at or after.
    pub since: Option<Instant>,
    /// This trace id, with the ids that [`by_trace`] gave for it.
    pub trace: Option<(String, Vec<Uuid>)>,
    /// Occurs in the body, exactly so.
    pub body: Option<String>,
    /// Occurs in the kept headers, letters' case aside.
    pub header: Option<String>,
}

/// A delivery in a list.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Row {
    /// Its id.
    pub id: Uuid,
    /// When it came.
    pub created_at: Instant,
    /// Terra's word.
    pub kind: String,
    /// In lower case.
    pub provider: Option<String>,
    /// Whose.
    pub user_id: Option<String>,
    /// Its state's word.
    pub status: String,
    /// The beginning of why it is not completed.
    pub error: Option<String>,
    /// Readings it gave.
    pub processed_count: i32,
    /// When it was processed.
    pub processed_at: Option<Instant>,
    /// The fingerprint of the key it was signed with, where that was noted.
    pub signed_by: Option<String>,
    /// Findings about it and its records when it was last processed.
    pub findings: i32,
}

/// The state as it is shown. A delivery's job has its id; that of one which was parked first has another, so it says pending
/// until it is done.
macro_rules! state {
    () => {
        "CASE WHEN status = 'pending' AND id IN (SELECT unnest(ids) FROM job_leases WHERE type = 'webhook_processing')
              THEN 'processing' ELSE status END AS status"
    };
}

// $1 state, $2 type, $3 provider, $4 person, $5 since, $6 trace id, $7 its ids, $8 and $9 after this one, $10 window,
// $12 in the body, $13 in the headers
macro_rules! by_index {
    () => {
        " FROM terra_webhooks_raw
           WHERE ($1::text IS NULL OR $1 IN ('completed', 'ignored', 'pending', 'processing') OR status = $1)
             AND ($4::text IS NULL OR user_id = $4) AND ($5::timestamptz IS NULL OR created_at >= $5)
             AND ($6::text IS NULL OR (status = 'conflict' AND trace_id = $6)
                  OR (id = ANY ($7::uuid[]) AND created_at = ANY (ARRAY(SELECT app.received_at(unnest($7::uuid[]))))))
             AND ($8::timestamptz IS NULL OR (created_at <= $8 AND (created_at, id) < ($8, $9)))
           ORDER BY created_at DESC, id DESC "
    };
}

macro_rules! found {
    () => {
        concat!(
            "(SELECT id, created_at, type, provider, user_id, ",
            state!(),
            ", error, processed_count, processed_at, signed_by, findings, headers, body",
            by_index!(),
            "LIMIT $10) d
         WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR type = $2) AND ($3::text IS NULL OR provider = $3)
           AND ($12::text IS NULL OR position(convert_to($12, 'UTF8') IN body) > 0)
           AND ($13::text IS NULL OR position(lower($13) IN lower(headers::text)) > 0)"
        )
    };
}

macro_rules! bind {
    ($query:expr, $f:expr, $after:expr, $window:expr, $limit:expr) => {
        $query
            .persistent(false)
            .bind(&$f.status)
            .bind(&$f.kind)
            .bind(&$f.provider)
            .bind(&$f.user_id)
            .bind($f.since)
            .bind($f.trace.as_ref().map(|t| t.0.as_str()))
            .bind($f.trace.as_ref().map(|t| t.1.as_slice()))
            .bind($after.map(|(at, _): (Instant, Uuid)| at))
            .bind($after.map(|(_, id)| id))
            .bind($window)
            .bind($limit)
            .bind(&$f.body)
            .bind(&$f.header)
    };
}

impl Filter {
    /// How many of the newest are looked through for what no index narrows; `None` where indexes narrow all of it.
    pub fn window(&self) -> Option<i64> {
        let by_index = !matches!(self.status.as_deref(), Some("completed" | "ignored" | "pending" | "processing"));
        match self {
            Filter { body: None, header: None, kind: None, provider: None, .. } if by_index => None,
            Filter { body: None, header: None, .. } => Some(WINDOW),
            _ => Some(READ),
        }
    }
}

/// Deliveries after the given one, newest first.
///
/// # Errors
/// The database's.
pub async fn page(conn: &mut PgConnection, filter: &Filter, after: Option<(Instant, Uuid)>, limit: i64) -> sqlx::Result<Vec<Row>> {
    const SQL: &str = concat!(
        "SELECT id, created_at, type AS kind, provider, user_id, status, left(error, 400) AS error, processed_count, processed_at, signed_by, findings FROM ",
        found!(),
        " ORDER BY created_at DESC, id DESC LIMIT $11"
    );
    bind!(sqlx::query_as(SQL), filter, after, filter.window().unwrap_or(limit), limit).fetch_all(conn).await
}

/// Where the deliveries end that [`page`] looked through, if there are older ones that it did not.
///
/// # Errors
/// The database's.
pub async fn window_end(conn: &mut PgConnection, filter: &Filter, after: Option<(Instant, Uuid)>) -> sqlx::Result<Option<(Instant, Uuid)>> {
    const SQL: &str = concat!("SELECT created_at, id", by_index!(), "OFFSET $10 - 1 LIMIT $11");
    let Some(window) = filter.window() else { return Ok(None) };
    let ends: Vec<(Instant, Uuid)> = bind!(sqlx::query_as(SQL), filter, after, window, 2_i64).fetch_all(conn).await?;
    Ok(if let [last, _] = ends.as_slice() { Some(*last) } else { None })
}

/// How many match, counted up to [`COUNTED`] + 1.
///
/// # Errors
/// The database's.
pub async fn count(conn: &mut PgConnection, filter: &Filter) -> sqlx::Result<i64> {
    const SQL: &str = concat!("SELECT count(*) FROM (SELECT 1 FROM ", found!(), " LIMIT $11) c");
    let most = COUNTED + 1;
    bind!(sqlx::query_scalar(SQL), filter, None::<(Instant, Uuid)>, filter.window().unwrap_or(most), most).fetch_one(conn).await
}

/// The delivery stored under a trace id. The keys are the program's own table: ask for administrators only.
///
/// # Errors
/// The database's.
pub async fn by_trace(pool: &PgPool, trace: &str) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar("SELECT raw_id FROM delivery_keys WHERE trace_id = $1 LIMIT 1").bind(trace).fetch_all(pool).await
}

/// A delivery as it came.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Detail {
    /// What the list shows.
    #[sqlx(flatten)]
    pub row: Row,
    /// What makes it the same delivery.
    pub trace_id: String,
    /// Terra's id of the connection.
    pub terra_user_id: Option<String>,
    /// Terra's ordering time, Unix ms.
    pub ordering_ms: i64,
    /// Headers that were kept.
    pub headers: Json<serde_json::Value>,
    /// The first 64 KiB of the exact bytes.
    pub body: Vec<u8>,
    /// How many there are.
    pub size: i32,
}

/// One delivery with its body.
///
/// # Errors
/// The database's.
pub async fn one(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Detail>> {
    sqlx::query_as(concat!(
        "SELECT id, created_at, type AS kind, provider, user_id, ",
        state!(),
        ", error, processed_count, processed_at, signed_by, findings, trace_id, terra_user_id, ordering_ms,
                headers, substr(body, 1, 65536) AS body, length(body) AS size
           FROM terra_webhooks_raw WHERE id = $1 AND created_at = app.received_at($1)",
    ))
    .bind(id)
    .fetch_optional(conn)
    .await
}

/// A record that a delivery was the last to write.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Record {
    /// activity, sleep, daily …
    pub model: String,
    /// Names it within its person and source.
    pub key: String,
    /// The day it counts for.
    pub measurement_date: NaiveDate,
    /// Whether the delivery took it away.
    pub deleted: bool,
    /// Values in it.
    pub values: i32,
    /// Findings about it.
    pub findings: i32,
}

/// A day's value that rests on a delivery.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Value {
    /// Which metric.
    pub metric_name: String,
    /// In the metric's unit.
    pub value: f64,
    /// Which day.
    pub measurement_date: NaiveDate,
    /// How far it can be trusted, once scored.
    pub confidence_score: Option<i32>,
}

/// What still stands as a delivery left it: records and day values of its person, at most 200 of each.
///
/// # Errors
/// The database's.
pub async fn outcome(conn: &mut PgConnection, id: Uuid, user_id: &str) -> sqlx::Result<(Vec<Record>, Vec<Value>)> {
    let records = sqlx::query_as(
        "SELECT model, key, measurement_date, deleted, (SELECT count(*)::int4 FROM jsonb_object_keys(\"values\")) AS values, jsonb_array_length(findings) AS findings
           FROM records WHERE user_id = $1 AND delivery_id = $2 ORDER BY measurement_date DESC, model, key LIMIT 200",
    )
    .bind(user_id)
    .bind(id)
    .fetch_all(&mut *conn)
    .await?;
    let values: Vec<Value> = sqlx::query_as(
        "SELECT m.metric_name, m.value, m.measurement_date, c.confidence_score
           FROM unified_metrics m LEFT JOIN metric_confidence_cache c USING (user_id, metric_name, source, measurement_date)
          WHERE m.user_id = $1 AND m.delivery_id = $2 ORDER BY m.measurement_date DESC, m.metric_name LIMIT 200",
    )
    .bind(user_id)
    .bind(id)
    .fetch_all(conn)
    .await?;
    super::clients::count_reads(values.iter().map(|v| (v.metric_name.as_str(), v.confidence_score.is_some())));
    Ok((records, values))
}

/// How many deliveries a replay would reach, up to [`REPLAY_COUNTED`] + 1.
///
/// # Errors
/// The database's.
pub async fn count_replay(conn: &mut PgConnection, filter: &super::replay::Filter) -> sqlx::Result<i64> {
    super::replay::count(conn, filter).await
}

/// Deliveries turned away, added up.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Refused {
    /// The reason code.
    pub reason: String,
    /// Where they came from.
    pub address: String,
    /// How many.
    pub count: i64,
    /// The first minute of it.
    pub first_at: Instant,
    /// The newest.
    pub last_at: Instant,
    /// How many rows of reason and address there are, this page's and the others.
    pub rows: i64,
    /// How many were turned away in all of them.
    pub total: i64,
    /// Minutes they were added up from: [`WINDOW`] are not all.
    pub read: i64,
}

/// Refusals since a time by reason and address, most first; of many minutes the newest [`WINDOW`] are added up.
///
/// # Errors
/// The database's.
pub async fn refused(conn: &mut PgConnection, since: Instant, limit: i64, offset: i64) -> sqlx::Result<Vec<Refused>> {
    sqlx::query_as(
        "SELECT reason, address, sum(count)::int8 AS count, min(minute) AS first_at, max(minute) AS last_at,
                count(*) OVER () AS rows, (sum(sum(count)) OVER ())::int8 AS total, (sum(count(*)) OVER ())::int8 AS read
           FROM (SELECT * FROM refused_deliveries WHERE minute >= $1 ORDER BY minute DESC LIMIT $2) r
          GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT $3 OFFSET $4",
    )
    .bind(since)
    .bind(WINDOW)
    .bind(limit)
    .bind(offset)
    .fetch_all(conn)
    .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::gateway::admission::admit;
    use crate::store::{deliveries, jobs::claim, testing};
    use axum::http::HeaderMap;
    use std::time::Duration;

    const FILL: &str = "
      INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, provider, user_id, status, ordering_ms, body)
      SELECT id, app.received_at(id), 't' || n, CASE WHEN n % 2 = 0 THEN 'daily' ELSE 'sleep' END, CASE WHEN n % 5 = 0 THEN 'oura' ELSE 'whoop' END,
             'u' || n % 4, CASE WHEN n % 10 = 0 THEN 'failed' WHEN n = 33 THEN 'conflict' ELSE 'completed' END, n, '{}'
        FROM (SELECT n, (lpad(to_hex((extract(epoch FROM now() - make_interval(mins => n / 3)) * 1000)::bigint), 12, '0') || left('7' || md5(n::text), 20))::uuid AS id
                FROM generate_series(1, 120) n) made;
      INSERT INTO delivery_keys (trace_id, body_hash, raw_id) SELECT trace_id, '', id FROM terra_webhooks_raw;
      ANALYZE terra_webhooks_raw";

    #[tokio::test]
    async fn pages_show_every_match_once_and_counts_agree() {
        let t = testing::database().await;
        sqlx::raw_sql(FILL).execute(t.db.owner()).await.unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let text = |s: &str| Some(s.to_owned());
        let trace = by_trace(t.db.service(), "t7").await.unwrap();
        for (filter, expected) in [
            (Filter::default(), 120),
            (Filter { status: text("failed"), ..Filter::default() }, 12),
            (Filter { status: text("completed"), kind: text("sleep"), ..Filter::default() }, 59),
            (Filter { provider: text("oura"), ..Filter::default() }, 24),
            (Filter { user_id: text("u1"), ..Filter::default() }, 30),
            (Filter { body: text("\"steps\": 1"), ..Filter::default() }, 0),
            (Filter { body: text("{}"), user_id: text("u1"), ..Filter::default() }, 30),
            (Filter { header: text("%"), ..Filter::default() }, 0),
            (Filter { since: Some(chrono::Utc::now() - chrono::TimeDelta::seconds(630)), ..Filter::default() }, 32),
            (Filter { trace: Some(("t7".into(), trace)), ..Filter::default() }, 1),
            (Filter { trace: Some(("t33".into(), Vec::new())), ..Filter::default() }, 1),
            (Filter { trace: Some(("nobody".into(), Vec::new())), ..Filter::default() }, 0),
        ] {
            let (mut ids, mut after) = (std::collections::BTreeSet::new(), None);
            loop {
                let rows = page(&mut conn, &filter, after, 7).await.unwrap();
                let Some(last) = rows.last() else { break };
                after = Some((last.created_at, last.id));
                for row in &rows {
                    assert!(ids.insert(row.id), "twice: {filter:?}");
                }
            }
            assert_eq!((ids.len(), count(&mut conn, &filter).await.unwrap()), (expected, expected as i64), "{filter:?}");
        }
    }

    #[tokio::test]
    async fn a_delivery_that_a_worker_has_in_hand_says_processing() {
        let t = testing::database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        for n in 0..3 {
            let body = format!(r#"{{"type":"daily","user":{{"user_id":"t{n}","provider":"OURA"}},"data":[]}}"#);
            let delivery = admit(body.into(), &HeaderMap::new(), chrono::Utc::now()).delivery;
            deliveries::insert(&mut conn, &[&delivery]).await.unwrap();
        }
        let lease = Duration::from_secs(30);
        let ask = claim::Claim { kind: "webhook_processing", priority: 5, floor: None, limit: 2, epoch: 1, worker: Uuid::now_v7(), lease };
        let held: Vec<Uuid> = claim::claim(&mut conn, &ask).await.unwrap().iter().map(|job| job.id).collect();
        assert_eq!(held.len(), 2);
        for (status, expected) in [(None, 3), (Some("processing"), 2), (Some("pending"), 1), (Some("completed"), 0)] {
            let filter = Filter { status: status.map(str::to_owned), ..Filter::default() };
            let rows = page(&mut conn, &filter, None, 10).await.unwrap();
            assert_eq!((rows.len(), count(&mut conn, &filter).await.unwrap()), (expected, expected as i64), "{status:?}");
            for row in rows {
                let word = if held.contains(&row.id) { "processing" } else { "pending" };
                let alone = one(&mut conn, row.id).await.unwrap().unwrap().row.status;
                assert_eq!((row.status.as_str(), alone.as_str()), (word, word), "{status:?}");
            }
        }
    }

    #[tokio::test]
    async fn refusals_are_added_up_by_reason_and_address() {
        let t = testing::database().await;
        sqlx::raw_sql("INSERT INTO refused_deliveries SELECT now() - make_interval(mins => n), 'signature_missing', '10.0.0.' || n % 2, 2 FROM generate_series(1, 6) n")
            .execute(t.db.owner())
            .await
            .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let rows = refused(&mut conn, chrono::Utc::now() - chrono::TimeDelta::hours(1), 10, 0).await.unwrap();
        assert_eq!(rows.iter().map(|r| (r.address.as_str(), r.count)).collect::<Vec<_>>(), [("10.0.0.0", 6), ("10.0.0.1", 6)]);
        let second = refused(&mut conn, chrono::Utc::now() - chrono::TimeDelta::hours(1), 1, 1).await.unwrap();
        let said: Vec<_> = second.iter().map(|r| (r.address.as_str(), r.rows, r.total, r.read)).collect();
        assert_eq!(said, [("10.0.0.1", 2, 12, 6)], "a page of them still says how many there are");
    }
}
