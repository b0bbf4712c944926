//! Erasing a person: the one exception to "raw is never altered". Everything goes, in one transaction of the owner:
//! rows, exact bytes, the keys of deliveries, jobs and their history, dead letters, logs; the audit log keeps who did
//! what and when, without the identity, and keyed hashes (`tombstones`) keep what Terra still sends from making the
//! person anew. Job rows go first: a worker locks its jobs before it works, so it is either
//! waited for, or finds its job gone and writes nothing. What came while that took its time is looked for once more, under
//! the locks of the connections and the person; whatever comes later waits for these and finds the tombstones.

use super::{Db, audit, audit::Actor, person_jobs::jobs_of_person, tombstones};
use crate::model::Instant;
use serde::Serialize;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::{BTreeMap, BTreeSet};

/// What was erased, by table. Serialises as the report shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Rows by table, in the order they went; tables without any are listed too.
    pub rows: Vec<(String, i64)>,
    /// Audit entries whose subject was taken out.
    pub anonymised_audit_entries: i64,
}

impl Report {
    fn add(&mut self, table: &str, n: i64) {
        match self.rows.iter_mut().find(|(t, _)| t == table) {
            Some((_, rows)) => *rows += n,
            None => self.rows.push((table.to_owned(), n)),
        }
    }

    /// Rows of all tables together.
    pub fn total(&self) -> i64 {
        self.rows.iter().map(|(_, n)| n).sum()
    }
}

/// A JSON column mentions the person: some string in it is exactly the `user_id`, or one of the row ids of the deliveries;
/// `$1` is the `user_id`, `$2` the ids as text.
macro_rules! mentions {
    ($column:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM jsonb_path_query(",
            $column,
            ", 'strict $.** ? (@.type() == \"string\")') AS s (v) WHERE s.v #>> '{}' = $1 OR s.v #>> '{}' = ANY($2))"
        )
    };
}
const JOBS: &str = concat!("user_id = $1 OR ", mentions!("payload"));
/// The same of finished jobs, of which there are millions: only those of nobody in particular are read one by one.
const HISTORY: &str = concat!("user_id = $1 OR (user_id IS NULL AND ", mentions!("payload"), ")");
const LOGS: &str = concat!("user_id = $1 OR (length($1) >= 8 AND position($1 IN message) > 0) OR ", mentions!("metadata"));
const OWN: &str = "user_id = $1 AND $2::text[] IS NOT NULL";

/// A job for many persons, not this one's own.
const SHARED: &str =
    "coalesce(jsonb_typeof(payload -> 'users') = 'array' AND payload -> 'users' ? $1 AND user_id IS DISTINCT FROM $1, false)";

const JOB_TABLES: [(&str, &str); 3] = [("background_jobs", JOBS), ("job_history", HISTORY), ("background_jobs_dlq", JOBS)];
/// A delivery that waits for a worker is the worker's: its job is left, and empties it.
const WAITING: &str = "type = 'webhook_processing' AND failed_at IS NULL";
const OTHER_TABLES: [(&str, &str); 15] = [
    ("delivery_keys", "$1::text IS NOT NULL AND raw_id = ANY($2::text[]::uuid[])"),
    ("terra_webhooks_raw", "$1::text IS NOT NULL AND (created_at, id) IN (SELECT * FROM unnest($3::timestamptz[], $2::text[]::uuid[]))"),
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
    theirs: &Theirs,
) -> sqlx::Result<()> {
    if exists(tx, table).await? {
        report.add(table, delete(tx, table, condition, user_id, theirs).await?);
    }
    Ok(())
}

/// Deletes and counts. Jobs are taken out of the kept counts as well.
async fn delete(tx: &mut PgConnection, table: &str, condition: &str, user_id: &str, theirs: &Theirs) -> sqlx::Result<i64> {
    let condition = format!("({condition}) AND $3::timestamptz[] IS NOT NULL");
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
    sqlx::query_scalar(AssertSqlSafe(sql)).bind(user_id).bind(&theirs.ids).bind(&theirs.times).fetch_one(tx).await
}

/// A job may work on many persons (`users` in its payload): it stays, without this one.
async fn leave_shared_jobs(tx: &mut PgConnection, tables: &[&str], user_id: &str) -> sqlx::Result<()> {
    for table in tables {
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

/// Deliveries of a person, by name and by the person's connections: each by its own index.
macro_rules! of_person_by_index {
    ($columns:literal) => {
        concat!(
            "SELECT ", $columns, " FROM terra_webhooks_raw t WHERE t.user_id = $1
             UNION SELECT ", $columns, " FROM terra_webhooks_raw t
                    WHERE t.user_id IS NULL AND t.terra_user_id = ANY (ARRAY(SELECT c.terra_user_id FROM connections c WHERE c.user_id = $1))"
        )
    };
}

/// Ids and times of the deliveries of a person: as above, or parked with the name in the body. What is erased and what is
/// exported. Of the parked ones the bodies are read.
macro_rules! of_person {
    () => {
        concat!(
            $crate::store::erase::of_person_by_index!("t.id, t.created_at"),
            " UNION SELECT t.id, t.created_at FROM terra_webhooks_raw t
                WHERE t.user_id IS NULL AND (payload(t) #>> '{user,reference_id}' = $1 OR payload(t) ->> 'reference_id' = $1)"
        )
    };
}
pub(super) use {of_person, of_person_by_index};

/// A person's deliveries: their ids, as texts, and in the same order when they came.
struct Theirs {
    ids: Vec<String>,
    times: Vec<Instant>,
}

impl FromIterator<(String, Instant)> for Theirs {
    fn from_iter<T: IntoIterator<Item = (String, Instant)>>(found: T) -> Self {
        let (ids, times) = found.into_iter().unzip();
        Self { ids, times }
    }
}

async fn deliveries(conn: &mut PgConnection, user_id: &str) -> sqlx::Result<BTreeMap<String, Instant>> {
    const SQL: &str = concat!("SELECT id::text, created_at FROM (", of_person!(), ") found");
    let found: Vec<(String, Instant)> = sqlx::query_as(SQL).bind(user_id).fetch_all(conn).await?;
    Ok(found.into_iter().collect())
}

/// How many rows [`erase_person`] would remove now, at least; nothing is changed and nobody is waited for. Found by indexes
/// alone, so that a page may ask: rows that only mention the person somewhere in them are found by the erasure itself.
///
/// # Errors
/// Any of the database's.
pub async fn counts(db: &Db, user_id: &str) -> sqlx::Result<Report> {
    let mut tx = db.begin_service().await?;
    let report = at_least(&mut tx, user_id).await?;
    tx.commit().await?;
    Ok(report)
}

/// The same on a connection of the service.
///
/// # Errors
/// Any of the database's.
pub(super) async fn at_least(conn: &mut PgConnection, user_id: &str) -> sqlx::Result<Report> {
    const DELIVERIES: &str = of_person_by_index!("t.id, t.trace_id");
    let mut report = Report::default();
    for (table, _) in JOB_TABLES.into_iter().chain(OTHER_TABLES) {
        if !exists(conn, table).await? {
            continue;
        }
        let rows = match table {
            "terra_webhooks_raw" => format!("({DELIVERIES}) d"),
            "delivery_keys" => format!("delivery_keys k JOIN ({DELIVERIES}) d ON d.trace_id = k.trace_id AND d.id = k.raw_id"),
            "background_jobs" => concat!("(", jobs_of_person!(), ") j").to_owned(),
            _ => format!("{table} WHERE user_id = $1"),
        };
        let n = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {rows}"))).bind(user_id).fetch_one(&mut *conn).await?;
        report.add(table, n);
    }
    Ok(report)
}

/// Erases a person and says what went. Administrators only: the caller of this function has checked that.
///
/// # Errors
/// Any of the database's; then nothing was erased.
pub async fn erase_person(db: &Db, actor: &Actor, user_id: &str) -> sqlx::Result<Report> {
    let mut tries = 0;
    loop {
        match attempt(db, actor, user_id).await {
            // A connection that was made in this very moment can be waited for by both sides: once more, then.
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("40P01") && tries < 4 => tries += 1,
            other => return other,
        }
    }
}

async fn attempt(db: &Db, actor: &Actor, user_id: &str) -> sqlx::Result<Report> {
    let mut tx = db.owner().begin().await?;
    let mut report = Report::default();
    let known: Theirs = deliveries(&mut tx, user_id).await?.into_iter().collect();
    // Jobs, then connections, then the person's row, then the rest: the order in which a worker locks them. Whoever works on
    // this person now is waited for; whoever comes later finds the job gone, or its list without this person.
    leave_shared_jobs(&mut tx, &JOB_TABLES.map(|(table, _)| table), user_id).await?;
    for (table, condition) in JOB_TABLES {
        remove(&mut tx, &mut report, table, condition, user_id, &known).await?;
    }
    lock(&mut tx, user_id).await?;
    if let Some((terra_ids, simulated)) = connected(&mut tx, user_id).await? {
        tombstones::bury(&mut tx, user_id, &terra_ids, simulated).await?;
    }
    let theirs = meanwhile(&mut tx, &mut report, known, user_id).await?;
    for (table, condition) in OTHER_TABLES {
        remove(&mut tx, &mut report, table, condition, user_id, &theirs).await?;
    }
    report.anonymised_audit_entries = anonymise(&mut tx, user_id).await?;
    let detail = json!({ "rows": report.rows.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(), "total": report.total() });
    audit::write(&mut *tx, actor, "person.erase", None, &detail).await?;
    refresh_view(&mut tx).await?;
    tx.commit().await?;
    Ok(report)
}

/// Connections before the person, each in the ingest's order: two that took them otherwise would wait for each other.
async fn lock(tx: &mut PgConnection, user_id: &str) -> sqlx::Result<()> {
    for sql in [
        "SELECT FROM connections WHERE user_id = $1 ORDER BY terra_user_id FOR UPDATE",
        "SELECT FROM persons WHERE user_id = $1 FOR UPDATE",
    ] {
        sqlx::query(sql).bind(user_id).execute(&mut *tx).await?;
    }
    Ok(())
}

/// Under the locks: what came since the first look and was processed, or lost its job to us, goes too. Returns all
/// deliveries that go. Those that wait for a worker do not: it empties them when it finds the tombstones.
async fn meanwhile(tx: &mut PgConnection, report: &mut Report, known: Theirs, user_id: &str) -> sqlx::Result<Theirs> {
    let mut found = deliveries(tx, user_id).await?;
    found.extend(known.ids.into_iter().zip(known.times));
    let ids: Vec<&String> = found.keys().collect();
    let waiting = format!(
        "SELECT coalesce(payload ->> 'delivery_id', id::text) FROM background_jobs WHERE {WAITING} AND (id::text = ANY($1) OR payload ->> 'delivery_id' = ANY($1))"
    );
    let waiting: BTreeSet<String> = sqlx::query_scalar(AssertSqlSafe(waiting)).bind(&ids).fetch_all(&mut *tx).await?.into_iter().collect();
    let theirs: Theirs = found.into_iter().filter(|(id, _)| !waiting.contains(id)).collect();
    leave_shared_jobs(tx, &["background_jobs"], user_id).await?;
    let late = [
        ("background_jobs", format!("({JOBS}) AND NOT ({WAITING})")),
        ("job_history", OWN.to_owned()),
        ("background_jobs_dlq", JOBS.to_owned()),
    ];
    for (table, condition) in late {
        remove(tx, report, table, &condition, user_id, &theirs).await?;
    }
    Ok(theirs)
}

/// Terra's ids of all the person's connections, present and former, and whether the person is simulated. `None`: was never here.
async fn connected(tx: &mut PgConnection, user_id: &str) -> sqlx::Result<Option<(Vec<String>, bool)>> {
    sqlx::query_as(
        "SELECT ARRAY(SELECT unnest(c.terra_user_id || c.former_ids) FROM connections c WHERE c.user_id = p.user_id), p.simulated
           FROM persons p WHERE p.user_id = $1",
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
    tombstones::leave_out_of_comparisons(&mut *tx, Some(user_id)).await?;
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

#[cfg(test)]
#[path = "erase_tests.rs"]
mod tests;
