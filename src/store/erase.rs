//! Erasing a person: the one exception to "raw is never altered". Everything goes, in one transaction of the owner:
//! rows, exact bytes, the keys of deliveries, jobs and their history, dead letters, logs; the audit log keeps who did
//! what and when, without the identity, and keyed hashes (`tombstones`) keep what Terra still sends from making the
//! person anew. Job rows go first: a worker locks its jobs before it works, so it is either
//! waited for, or finds its job gone and writes nothing.

use super::{Db, audit, audit::Actor, tombstones};
use serde::Serialize;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

/// What was erased, by table. Serialises as the report shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Rows by table, in the order they went; tables without any are listed too.
    pub rows: Vec<(String, i64)>,
    /// Audit entries whose subject was taken out.
    pub anonymised_audit_entries: i64,
}

impl Report {
    /// Rows of all tables together.
    pub fn total(&self) -> i64 {
        self.rows.iter().map(|(_, n)| n).sum()
    }
}

/// A JSON document mentions the person when some string in it is exactly the `user_id`, or one of the row ids of
/// the deliveries; `$1` is the `user_id`, `$2` the ids as text.
const JOBS: &str = "user_id = $1 OR EXISTS (
     SELECT 1 FROM jsonb_path_query(payload, 'strict $.** ? (@.type() == \"string\")') AS s (v) WHERE s.v #>> '{}' = $1 OR s.v #>> '{}' = ANY($2))";
const LOGS: &str = "user_id = $1 OR (length($1) >= 8 AND position($1 IN message) > 0) OR EXISTS (
     SELECT 1 FROM jsonb_path_query(metadata, 'strict $.** ? (@.type() == \"string\")') AS s (v) WHERE s.v #>> '{}' = $1 OR s.v #>> '{}' = ANY($2))";
const OWN: &str = "user_id = $1 AND $2::text[] IS NOT NULL";

/// A job for many persons, not this one's own.
const SHARED: &str =
    "coalesce(jsonb_typeof(payload -> 'users') = 'array' AND payload -> 'users' ? $1 AND user_id IS DISTINCT FROM $1, false)";

const JOB_TABLES: [(&str, &str); 3] = [("background_jobs", JOBS), ("job_history", JOBS), ("background_jobs_dlq", JOBS)];
const OTHER_TABLES: [(&str, &str); 15] = [
    ("delivery_keys", "$1::text IS NOT NULL AND raw_id = ANY($2::text[]::uuid[])"),
    ("terra_webhooks_raw", "$1::text IS NOT NULL AND id = ANY($2::text[]::uuid[])"),
    ("edge_function_logs", LOGS),
    ("metric_confidence_cache", OWN),
    ("confidence_shadow", OWN),
    ("score_advice", OWN),
    ("unified_metrics", OWN),
    ("records", OWN),
    ("finding_reviews", OWN),
    ("source_choices", OWN),
    ("connections", OWN),
    ("trainer_clients", OWN),
    ("person_scores", OWN),
    ("roster", OWN),
    ("persons", OWN),
];

/// Deletes from a table, if it is there, and reports it.
async fn remove(
    tx: &mut PgConnection,
    report: &mut Report,
    table: &str,
    condition: &str,
    user_id: &str,
    ids: &[String],
) -> sqlx::Result<()> {
    if exists(tx, table).await? {
        report.rows.push((table.to_owned(), delete(tx, table, condition, user_id, ids).await?));
    }
    Ok(())
}

/// Deletes and counts. Jobs are taken out of the kept counts as well.
async fn delete(tx: &mut PgConnection, table: &str, condition: &str, user_id: &str, ids: &[String]) -> sqlx::Result<i64> {
    let sql = if matches!(table, "background_jobs" | "job_history") {
        format!(
            "WITH gone AS (DELETE FROM {table} WHERE {condition} RETURNING type, status),
                  counted AS (INSERT INTO job_count_deltas (type, status, delta) SELECT type, status, -count(*) FROM gone GROUP BY 1, 2)
             SELECT count(*) FROM gone"
        )
    } else {
        format!("WITH gone AS (DELETE FROM {table} WHERE {condition} RETURNING 1) SELECT count(*) FROM gone")
    };
    // The text comes from constants of this file; only the parameters vary.
    sqlx::query_scalar(AssertSqlSafe(sql)).bind(user_id).bind(ids).fetch_one(tx).await
}

/// A job may work on many persons (`users` in its payload): it stays, without this one.
async fn leave_shared_jobs(tx: &mut PgConnection, user_id: &str) -> sqlx::Result<()> {
    for table in ["background_jobs", "job_history", "background_jobs_dlq"] {
        if exists(tx, table).await? {
            let sql =
                format!("UPDATE {table} SET payload = payload || jsonb_build_object('users', (payload -> 'users') - $1) WHERE {SHARED}");
            sqlx::query(AssertSqlSafe(sql)).bind(user_id).execute(&mut *tx).await?;
        }
    }
    Ok(())
}

/// The checklist's rollback may have dropped a table or the view.
async fn exists(tx: &mut PgConnection, relation: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT to_regclass('public.' || $1) IS NOT NULL").bind(relation).fetch_one(tx).await
}

/// Deliveries of a person: by name, by the person's connections, or parked with the name in the body.
async fn deliveries(conn: &mut PgConnection, user_id: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT r.id::text FROM terra_webhooks_raw r
          WHERE r.user_id = $1
             OR (r.user_id IS NULL AND (r.terra_user_id IN (SELECT c.terra_user_id FROM connections c WHERE c.user_id = $1)
                 OR payload(r) #>> '{user,reference_id}' = $1 OR payload(r) ->> 'reference_id' = $1))",
    )
    .bind(user_id)
    .fetch_all(conn)
    .await
}

/// What [`erase_person`] would remove now; nothing is changed and nobody is waited for.
///
/// # Errors
/// Any of the database's.
pub async fn counts(db: &Db, user_id: &str) -> sqlx::Result<Report> {
    let mut tx = db.begin_service().await?;
    let ids = deliveries(&mut tx, user_id).await?;
    let mut report = Report::default();
    for (table, condition) in JOB_TABLES.into_iter().chain(OTHER_TABLES) {
        if exists(&mut tx, table).await? {
            let shared = if JOB_TABLES.iter().any(|(t, _)| *t == table) { SHARED } else { "false" };
            let sql = format!("SELECT count(*) FROM {table} WHERE ({condition}) AND NOT ({shared})");
            let n = sqlx::query_scalar(AssertSqlSafe(sql)).bind(user_id).bind(&ids).fetch_one(&mut *tx).await?;
            report.rows.push((table.to_owned(), n));
        }
    }
    tx.commit().await?;
    Ok(report)
}

/// Erases a person and says what went. Administrators only: the caller of this function has checked that.
///
/// # Errors
/// Any of the database's; then nothing was erased.
pub async fn erase_person(db: &Db, actor: &Actor, user_id: &str) -> sqlx::Result<Report> {
    let mut tx = db.owner().begin().await?;
    let mut report = Report::default();
    let ids = deliveries(&mut tx, user_id).await?;
    // Jobs, then the person's row, then the rest: the order in which a worker locks them. Whoever works on this person
    // now is waited for; whoever comes later finds the job gone, or its list without this person.
    leave_shared_jobs(&mut tx, user_id).await?;
    for (table, condition) in JOB_TABLES {
        remove(&mut tx, &mut report, table, condition, user_id, &ids).await?;
    }
    sqlx::query("SELECT FROM persons WHERE user_id = $1 FOR UPDATE").bind(user_id).execute(&mut *tx).await?;
    if let Some(terra_ids) = known_at_terra(&mut tx, user_id).await? {
        tombstones::bury(&mut tx, user_id, &terra_ids).await?;
    }
    for (table, condition) in OTHER_TABLES {
        remove(&mut tx, &mut report, table, condition, user_id, &ids).await?;
    }
    report.anonymised_audit_entries = anonymise(&mut tx, user_id).await?;
    let detail = json!({ "rows": report.rows.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(), "total": report.total() });
    audit::write(&mut *tx, actor, "person.erase", None, &detail).await?;
    refresh_view(&mut tx).await?;
    tx.commit().await?;
    Ok(report)
}

/// Terra's ids of all the person's connections, present and former. `None`: the person is simulated, or was never here;
/// the simulator may make them again.
async fn known_at_terra(tx: &mut PgConnection, user_id: &str) -> sqlx::Result<Option<Vec<String>>> {
    sqlx::query_scalar(
        "SELECT ARRAY(SELECT unnest(c.terra_user_id || c.former_ids) FROM connections c WHERE c.user_id = p.user_id)
           FROM persons p WHERE p.user_id = $1 AND NOT p.simulated",
    )
    .bind(user_id)
    .fetch_optional(tx)
    .await
}

/// Takes the person out of entries that stay: the audit log and the filters of old operations.
async fn anonymise(tx: &mut PgConnection, user_id: &str) -> sqlx::Result<i64> {
    sqlx::query(
        // One that still runs has lost its chunks, which named the person too.
        "UPDATE operations SET filter = '{}', finished_at = coalesce(finished_at, now()),
                state = CASE state WHEN 'running' THEN 'cancelled' ELSE state END
          WHERE jsonb_path_exists(filter, 'strict $.** ? (@ == $id)', jsonb_build_object('id', $1::text), true)",
    )
    .bind(user_id)
    .execute(&mut *tx)
    .await?;
    let done = sqlx::query(
        "UPDATE audit_log SET subject = NULL, detail = '{\"erased\": true}'
          WHERE subject = $1 OR jsonb_path_exists(detail, 'strict $.** ? (@ == $id)', jsonb_build_object('id', $1::text), true)",
    )
    .bind(user_id)
    .execute(tx)
    .await?;
    Ok(i64::try_from(done.rows_affected()).unwrap_or(i64::MAX))
}

/// The view is a copy: it forgets only when it is refreshed.
async fn refresh_view(tx: &mut PgConnection) -> sqlx::Result<()> {
    if exists(tx, "latest_unified_metrics").await? {
        sqlx::query("REFRESH MATERIALIZED VIEW CONCURRENTLY latest_unified_metrics").execute(tx).await?;
    }
    Ok(())
}
