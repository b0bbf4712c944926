//! Taking the dead rows out of the hot tables while an old transaction keeps VACUUM from it.
//!
//! The living rows are few. They are written anew into emptied tables, in one short transaction that waits for nobody
//! for long: everybody else would wait behind it.

use super::counts;
use sqlx::{PgConnection, PgPool};
use std::time::Duration;

/// The tables that every job leaves dead rows in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hot {
    /// `background_jobs`
    Jobs,
    /// `job_leases`
    Leases,
    /// `job_count_deltas`
    Counts,
}

impl Hot {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Jobs, Self::Leases, Self::Counts];

    /// The table's name.
    pub const fn table(self) -> &'static str {
        match self {
            Self::Jobs => "background_jobs",
            Self::Leases => "job_leases",
            Self::Counts => "job_count_deltas",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compacted {
    /// The table holds these rows and no dead ones.
    Kept(i64),
    /// Somebody used the table for longer than we wait.
    InUse,
    /// There are more living rows than may be moved.
    TooMany,
}

/// The dead rows of a hot table, as the server last counted them.
pub async fn dead_rows(conn: &mut PgConnection, table: Hot) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT coalesce((SELECT n_dead_tup FROM pg_stat_user_tables WHERE schemaname = 'public' AND relname = $1), 0)")
        .bind(table.table())
        .fetch_one(conn)
        .await
}

/// How many jobs are in the hot part.
pub async fn living_jobs(conn: &mut PgConnection) -> sqlx::Result<i64> {
    let all = counts::counts(conn).await?;
    Ok(all.iter().filter(|c| matches!(c.status.as_str(), "pending" | "processing" | "failed")).map(|c| c.count).sum())
}

/// Compacts a table, as the owner. `most`: how many jobs may be moved; `wait`: for whoever uses the table.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn compact(owner: &PgPool, table: Hot, most: i64, wait: Duration) -> sqlx::Result<Compacted> {
    match try_compact(owner, table, most, wait).await {
        Ok(Some(kept)) => Ok(Compacted::Kept(kept)),
        Ok(None) => Ok(Compacted::TooMany),
        // lock_not_available, deadlock_detected
        Err(sqlx::Error::Database(e)) if matches!(e.code().as_deref(), Some("55P03" | "40P01")) => Ok(Compacted::InUse),
        Err(e) => Err(e),
    }
}

async fn try_compact(owner: &PgPool, table: Hot, most: i64, wait: Duration) -> sqlx::Result<Option<i64>> {
    let mut tx = owner.begin().await?;
    let wait = format!("{}ms", wait.as_millis().max(1));
    sqlx::query("SELECT set_config('lock_timeout', $1, true)").bind(wait).execute(&mut *tx).await?;
    let kept = match table {
        Hot::Jobs => sqlx::query_scalar("SELECT app.compact_jobs($1)").bind(most).fetch_one(&mut *tx).await?,
        Hot::Leases => sqlx::query_scalar("SELECT app.compact_leases()").fetch_one(&mut *tx).await?,
        Hot::Counts => {
            sqlx::query("LOCK TABLE job_count_deltas IN ACCESS EXCLUSIVE MODE").execute(&mut *tx).await?;
            counts::fold(&mut tx, None).await?;
            sqlx::query("TRUNCATE job_count_deltas").execute(&mut *tx).await?;
            Some(0)
        }
    };
    // Else the server would learn only seconds later that the dead are gone, and we would do it again.
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(kept)
}
