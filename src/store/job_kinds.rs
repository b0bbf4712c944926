//! What a person sets for a whole kind of job, for all nodes together: paused, how many at a time, how many a minute.
//!
//! A kind without limits has no row. Workers look at the limits in the moment they claim, so a change holds from the
//! next claim on; they are woken, so that it is soon.

use super::audit::{self, Actor};
use sqlx::{Acquire, PgConnection};
use std::collections::BTreeMap;

/// A kind with its limits and its jobs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct KindRow {
    /// Its name.
    pub kind: String,
    /// Whether no worker starts a job of it.
    pub paused: bool,
    /// At most so many at the same time; `None`: no limit.
    pub max_running: Option<i32>,
    /// At most so many started in a minute; `None`: no limit.
    pub per_minute: Option<i32>,
    /// Jobs that wait, also those that are not due yet.
    #[sqlx(default)]
    pub pending: i64,
    /// Jobs in work.
    #[sqlx(default)]
    pub running: i64,
    /// Dead jobs.
    #[sqlx(default)]
    pub failed: i64,
}

/// Limits of a kind as a person asks for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Limits {
    /// At most so many at the same time.
    pub max_running: Option<i32>,
    /// At most so many started in a minute.
    pub per_minute: Option<i32>,
}

impl Limits {
    /// The greatest limit that means something.
    pub const MOST: i32 = 1_000_000;

    /// Checks what a person typed; the error is a sentence for them.
    ///
    /// # Errors
    /// A number that is not between 1 and a million.
    pub fn checked(self) -> Result<Self, String> {
        for (what, n) in [("at the same time", self.max_running), ("a minute", self.per_minute)] {
            if n.is_some_and(|n| !(1..=Self::MOST).contains(&n)) {
                return Err(format!("Jobs {what} must be between 1 and {}, or empty for no limit. To stop a kind, pause it.", Self::MOST));
            }
        }
        Ok(self)
    }
}

/// The given kinds and every other that has limits or jobs, by name.
pub async fn list(conn: &mut PgConnection, known: &[String]) -> sqlx::Result<Vec<KindRow>> {
    let mut kinds: BTreeMap<String, KindRow> = BTreeMap::new();
    let none = |kind: &str| KindRow {
        kind: kind.to_owned(),
        paused: false,
        max_running: None,
        per_minute: None,
        pending: 0,
        running: 0,
        failed: 0,
    };
    for kind in known {
        kinds.insert(kind.clone(), none(kind));
    }
    let limited: Vec<KindRow> =
        sqlx::query_as("SELECT type AS kind, paused, max_running, per_minute FROM job_kinds").fetch_all(&mut *conn).await?;
    kinds.extend(limited.into_iter().map(|k| (k.kind.clone(), k)));
    for count in super::jobs::counts::counts(conn).await? {
        if matches!(count.status.as_str(), "pending" | "processing" | "failed") {
            let row = kinds.entry(count.kind.clone()).or_insert_with(|| none(&count.kind));
            match count.status.as_str() {
                "pending" => row.pending = count.count,
                "processing" => row.running = count.count,
                _ => row.failed = count.count,
            }
        }
    }
    Ok(kinds.into_values().collect())
}

/// The kinds that are paused, by name; at most a hundred.
///
/// # Errors
/// The database's.
pub async fn paused(conn: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT type FROM job_kinds WHERE paused ORDER BY type LIMIT 100").fetch_all(conn).await
}

/// Sets or (with no number) lifts the limits of a kind, and writes the audit entry in the same commit.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn set_limits(conn: &mut PgConnection, actor: &Actor, kind: &str, limits: Limits) -> sqlx::Result<()> {
    let mut tx = conn.begin().await?;
    let before: Option<(Option<i32>, Option<i32>)> =
        sqlx::query_as("SELECT max_running, per_minute FROM job_kinds WHERE type = $1 FOR UPDATE")
            .bind(kind)
            .fetch_optional(&mut *tx)
            .await?;
    let before = before.map_or_else(Limits::default, |(max_running, per_minute)| Limits { max_running, per_minute });
    sqlx::query(
        "INSERT INTO job_kinds (type, max_running, per_minute) VALUES ($1, $2, $3)
         ON CONFLICT (type) DO UPDATE SET max_running = excluded.max_running, per_minute = excluded.per_minute",
    )
    .bind(kind)
    .bind(limits.max_running)
    .bind(limits.per_minute)
    .execute(&mut *tx)
    .await?;
    audit::write(&mut *tx, actor, "kind.limit", Some(kind), &serde_json::json!({ "before": before, "after": limits })).await?;
    settled(&mut tx, kind).await?;
    tx.commit().await
}

/// Pauses or resumes a kind, and writes the audit entry in the same commit. Jobs in work are finished; others wait.
/// `false`: it was so already.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn set_paused(conn: &mut PgConnection, actor: &Actor, kind: &str, paused: bool) -> sqlx::Result<bool> {
    let mut tx = conn.begin().await?;
    let changed = sqlx::query(
        "INSERT INTO job_kinds AS k (type, paused) SELECT $1, true WHERE $2
         ON CONFLICT (type) DO UPDATE SET paused = true WHERE NOT k.paused",
    )
    .bind(kind)
    .bind(paused)
    .execute(&mut *tx)
    .await?
    .rows_affected()
        + sqlx::query("UPDATE job_kinds SET paused = false WHERE type = $1 AND paused AND NOT $2")
            .bind(kind)
            .bind(paused)
            .execute(&mut *tx)
            .await?
            .rows_affected();
    if changed > 0 {
        let action = if paused { "kind.pause" } else { "kind.resume" };
        audit::write(&mut *tx, actor, action, Some(kind), &serde_json::Value::Null).await?;
        settled(&mut tx, kind).await?;
    }
    tx.commit().await?;
    Ok(changed > 0)
}

/// A row that says nothing goes, and the workers look again.
async fn settled(tx: &mut PgConnection, kind: &str) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM job_kinds WHERE type = $1 AND NOT paused AND max_running IS NULL AND per_minute IS NULL")
        .bind(kind)
        .execute(&mut *tx)
        .await?;
    sqlx::query("SELECT pg_notify('assay_jobs', $1)").bind(kind).execute(&mut *tx).await?;
    Ok(())
}
