//! Calibration reports as they were made, newest first.

use crate::calibration::report::Report;
use crate::model::Instant;
use sqlx::PgConnection;
use sqlx::types::Json;

/// Reports kept.
const KEPT: i64 = 50;

/// A stored report.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Stored {
    /// When it was made.
    pub created_at: Instant,
    /// By whom.
    pub made_by: String,
    /// The report; one of another shape cannot be read any more.
    pub report: Json<serde_json::Value>,
}

impl Stored {
    /// The report, where this program can read it.
    pub fn read(&self) -> Option<Report> {
        serde_json::from_value(self.report.0.clone()).ok()
    }
}

/// Keeps a report; the oldest beyond fifty go.
///
/// # Errors
/// The database's.
pub async fn put(conn: &mut PgConnection, made_by: &str, report: &Report) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO calibration_reports (made_by, scorer_version, registry_version, report) VALUES ($1, $2, $3, $4)")
        .bind(made_by)
        .bind(report.scorer_version)
        .bind(report.registry_version)
        .bind(Json(report))
        .execute(&mut *conn)
        .await?;
    sqlx::query("DELETE FROM calibration_reports WHERE id IN (SELECT id FROM calibration_reports ORDER BY created_at DESC OFFSET $1)")
        .bind(KEPT)
        .execute(conn)
        .await?;
    Ok(())
}

/// The newest reports.
///
/// # Errors
/// The database's.
pub async fn newest(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Stored>> {
    sqlx::query_as("SELECT created_at, made_by, report FROM calibration_reports ORDER BY created_at DESC, id DESC LIMIT $1")
        .bind(limit)
        .fetch_all(conn)
        .await
}

/// The state of the calibration job that waits, runs or failed last, with its error; `None`: there is none, or a report was
/// made since it failed.
///
/// # Errors
/// The database's.
pub async fn under_way(conn: &mut PgConnection) -> sqlx::Result<Option<(String, Option<String>)>> {
    sqlx::query_as(
        "SELECT status, error FROM background_jobs j
          WHERE type = 'calibration'
            AND (status <> 'failed' OR NOT EXISTS (SELECT FROM calibration_reports r WHERE r.created_at > j.created_at))
          ORDER BY status = 'failed', created_at DESC LIMIT 1",
    )
    .fetch_optional(conn)
    .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::calibration::{judge, report, simulator::World};
    use crate::quality::Registry;
    use crate::store::testing::database;

    #[tokio::test]
    async fn a_report_comes_back_as_it_was_and_old_ones_go() {
        let t = database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        let end = chrono::NaiveDate::from_ymd_opt(2026, 3, 31).unwrap();
        let world = World::with(1, 2, 30, end, 0.05, 2);
        let made = report::report(&judge::world(&world, Registry::built_in()), Registry::built_in(), 3, 1);
        for _ in 0..KEPT + 2 {
            put(&mut conn, "somebody", &made).await.unwrap();
        }
        let kept = newest(&mut conn, 100).await.unwrap();
        assert_eq!(kept.len() as i64, KEPT);
        assert_eq!(kept[0].read().unwrap(), made);
        assert_eq!(under_way(&mut conn).await.unwrap(), None);
    }
}
