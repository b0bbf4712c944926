//! Lists for the administrator's pages: deliveries, logs, settings. Run in the caller's transaction; every list has a
//! limit and goes on before a given row, never by counting over rows.

use crate::model::Instant;
use sqlx::{PgConnection, PgExecutor, types::Json};
use uuid::Uuid;

/// A delivery in a list.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct DeliveryRow {
    /// Its id; sorts by time.
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
    /// Why it is not completed.
    pub error: Option<String>,
    /// Readings it gave.
    pub processed_count: i32,
    /// When it was processed.
    pub processed_at: Option<Instant>,
    /// What makes it the same delivery.
    pub trace_id: String,
}

/// Which deliveries; an empty word means any.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// In this state.
    pub status: String,
    /// Of this type.
    pub kind: String,
    /// From this provider.
    pub provider: String,
    /// Of this person.
    pub user_id: String,
    /// Older than this one.
    pub before: Option<Uuid>,
}

/// Deliveries, newest first.
pub async fn deliveries(conn: &mut PgConnection, filter: &DeliveryFilter, limit: i64) -> sqlx::Result<Vec<DeliveryRow>> {
    // The id carries its time, which finds the partition and bounds the index scan.
    let until = filter.before.and_then(|id| id.get_timestamp()).and_then(|t| {
        let (seconds, nanos) = t.to_unix();
        chrono::DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
    });
    sqlx::query_as(
        "SELECT id, created_at, type AS kind, provider, user_id, status, error, processed_count, processed_at, trace_id
           FROM terra_webhooks_raw
          WHERE ($1 = '' OR status = $1) AND ($2 = '' OR type = $2) AND ($3 = '' OR provider = $3) AND ($4 = '' OR user_id = $4)
            AND ($5::timestamptz IS NULL OR created_at <= $5 + interval '1 millisecond') AND ($6::uuid IS NULL OR id < $6)
          ORDER BY created_at DESC, id DESC LIMIT $7",
    )
    .bind(&filter.status)
    .bind(&filter.kind)
    .bind(&filter.provider)
    .bind(&filter.user_id)
    .bind(until)
    .bind(filter.before)
    .bind(limit)
    .fetch_all(conn)
    .await
}

/// A delivery as it came.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct DeliveryDetail {
    /// What the list shows.
    #[sqlx(flatten)]
    pub row: DeliveryRow,
    /// Headers that were kept.
    pub headers: Json<serde_json::Value>,
    /// The first 64 KiB of the exact bytes.
    pub body: Vec<u8>,
    /// How many there are.
    pub size: i32,
}

/// One delivery with its body.
pub async fn delivery(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<DeliveryDetail>> {
    sqlx::query_as(
        "SELECT id, created_at, type AS kind, provider, user_id, status, error, processed_count, processed_at, trace_id, headers,
                substr(body, 1, 65536) AS body, length(body) AS size
           FROM terra_webhooks_raw WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(conn)
    .await
}

/// Why deliveries were turned away in the last 24 hours: reason, address, count, newest minute; most first.
pub async fn refused(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<(String, String, i64, Instant)>> {
    sqlx::query_as(
        "SELECT reason, address, sum(count)::int8, max(minute) FROM refused_deliveries WHERE minute > now() - interval '24 hours'
          GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT $1",
    )
    .bind(limit)
    .fetch_all(conn)
    .await
}

/// A line of the functions' log.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct LogRow {
    /// Its id; sorts by time.
    pub id: Uuid,
    /// When.
    pub timestamp: Instant,
    /// debug, info, warn, error.
    pub level: String,
    /// Who wrote it.
    pub function_name: String,
    /// What happened.
    pub message: String,
    /// In which request.
    pub request_id: Option<String>,
    /// How long it took.
    pub duration_ms: Option<i32>,
}

/// Log lines before a moment, newest first; an empty word means any, `text` occurs in message or request id.
pub async fn logs(conn: &mut PgConnection, level: &str, function: &str, text: &str, before: Option<Instant>, limit: i64) -> sqlx::Result<Vec<LogRow>> {
    sqlx::query_as(
        "SELECT id, timestamp, level, function_name, message, request_id, duration_ms FROM edge_function_logs
          WHERE ($1 = '' OR level = $1) AND ($2 = '' OR function_name = $2)
            AND ($3 = '' OR position(lower($3) IN lower(message)) > 0 OR request_id = $3)
            AND ($4::timestamptz IS NULL OR timestamp < $4) AND timestamp > now() - interval '31 days'
          ORDER BY timestamp DESC, id DESC LIMIT $5",
    )
    .bind(level)
    .bind(function)
    .bind(text)
    .bind(before)
    .bind(limit)
    .fetch_all(conn)
    .await
}

/// Turns a setting on or off.
pub async fn set_switch<'e>(executor: impl PgExecutor<'e>, key: &str, on: bool, by: Uuid) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO settings (key, value, updated_by) VALUES ($1, to_jsonb($2), $3)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = now(), updated_by = excluded.updated_by",
    )
    .bind(key)
    .bind(on)
    .bind(by)
    .execute(executor)
    .await?;
    Ok(())
}

/// Closes all open dead letters of a group without running their jobs again; returns how many.
pub async fn discard_group<'e>(executor: impl PgExecutor<'e>, kind: &str, fingerprint: &str) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "UPDATE background_jobs_dlq SET discarded_at = now() WHERE type = $1 AND fingerprint = $2 AND retried = false AND discarded_at IS NULL",
    )
    .bind(kind)
    .bind(fingerprint)
    .execute(executor)
    .await?;
    Ok(done.rows_affected())
}
