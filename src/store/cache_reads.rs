//! How many values were read with a score ready, and how many without, of all processes, by day.
//!
//! Counting costs a read nothing: each process counts in memory ([`super::clients::cache_reads`]) and adds the difference
//! every few seconds. What a killed process had not added yet is lost, which is a few seconds of a figure.

use super::clients;
use sqlx::{PgConnection, PgPool};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a process adds what it counted.
const EVERY: Duration = Duration::from_secs(5);
/// A database that takes longer is asked again the next time.
const LIMIT: Duration = Duration::from_secs(5);
/// Days that are kept.
const KEPT: i32 = 90;

/// Hits and misses.
pub type Reads = (i64, i64);

/// Adds what this process counts until it is told to stop, and the rest then.
pub async fn keep_adding(pool: PgPool, stop: CancellationToken) {
    let mut added = (0, 0);
    loop {
        let last = tokio::time::timeout(EVERY, stop.cancelled()).await.is_ok();
        let counted = clients::cache_reads();
        match tokio::time::timeout(LIMIT, add(&pool, since(counted, added))).await {
            Ok(Err(error)) => tracing::warn!(%error, "reads of scores could not be counted; the next time adds them"),
            // What took too long may have been written all the same: rather a few too few than the same ones twice.
            Ok(Ok(())) | Err(_) => added = counted,
        }
        if last {
            return;
        }
    }
}

fn since(counted: Reads, added: Reads) -> Reads {
    (counted.0 - added.0, counted.1 - added.1)
}

/// Adds to today's counts; nothing to add costs nothing. The figure may lose its last moment in a crash of the server,
/// so nobody waits for the disk.
///
/// # Errors
/// The database's; then nothing was added.
pub async fn add(pool: &PgPool, (hits, misses): Reads) -> sqlx::Result<()> {
    if hits == 0 && misses == 0 {
        return Ok(());
    }
    sqlx::query(
        "WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
              old AS (DELETE FROM cache_reads WHERE day <= current_date - $3)
         INSERT INTO cache_reads AS c (day, hits, misses) SELECT current_date, $1, $2 FROM lazily
         ON CONFLICT (day) DO UPDATE SET hits = c.hits + excluded.hits, misses = c.misses + excluded.misses",
    )
    .bind(hits)
    .bind(misses)
    .bind(KEPT)
    .execute(pool)
    .await
    .map(drop)
}

/// Hits and misses of the last seven days, today included.
///
/// # Errors
/// The database's.
pub async fn week(conn: &mut PgConnection) -> sqlx::Result<Reads> {
    sqlx::query_as("SELECT coalesce(sum(hits), 0)::bigint, coalesce(sum(misses), 0)::bigint FROM cache_reads WHERE day > current_date - 7")
        .fetch_one(conn)
        .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
mod tests {
    use super::*;
    use crate::store::testing::database;

    #[tokio::test]
    async fn what_two_processes_read_is_one_sum_of_seven_days() {
        let t = database().await;
        let other = t.url.pools(1, 1);
        sqlx::raw_sql(
            "INSERT INTO cache_reads (day, hits, misses) VALUES (current_date - 6, 100, 1), (current_date - 7, 1000, 0), (current_date - 90, 5, 5)",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        add(t.db.service(), (5, 1)).await.unwrap();
        add(other.service(), (2, 2)).await.unwrap();
        add(t.db.service(), (0, 0)).await.unwrap();
        assert_eq!(week(&mut t.db.service().acquire().await.unwrap()).await.unwrap(), (107, 4));
        let days: i64 = sqlx::query_scalar("SELECT count(*) FROM cache_reads").fetch_one(t.db.owner()).await.unwrap();
        assert_eq!(days, 3, "old days go");
        other.close().await;
    }

    #[tokio::test]
    async fn a_process_that_stops_adds_what_is_left() {
        let t = database().await;
        let before = clients::cache_reads();
        clients::count_reads([("steps", true), ("steps", false)]);
        let stop = CancellationToken::new();
        stop.cancel();
        keep_adding(t.db.service().clone(), stop).await;
        let (hits, misses) = week(&mut t.db.service().acquire().await.unwrap()).await.unwrap();
        // Other tests of this process may read at the same time.
        assert!(hits > before.0 && misses > before.1, "{hits} {misses}, before {before:?}");
    }
}
