//! What an administrator starts and watches: Recalculate All, Retry Failed Jobs, a redrive.

use crate::quality::registry::Overrides;
pub use crate::store::operations::Operation;
use crate::store::{
    Db,
    jobs::settle::{self, DeadFilter, Retried},
    maintenance, operations, shadow,
};
use sqlx::Acquire;
use uuid::Uuid;

/// Persons a chunk: a commit of some tenths of a second.
const PERSONS: i32 = 25;
/// Chunks wait behind everything else.
const PRIORITY: i16 = 8;

/// Starts to score everything again, or joins the operation that does. `started_by` is the account's e-mail.
///
/// # Errors
/// The database's; then nothing was started.
pub async fn start_recalculate_all(db: &Db, started_by: &str) -> sqlx::Result<Operation> {
    let mut conn = db.service().acquire().await?;
    let operation = operations::start_recalculate_all(&mut conn, started_by, PERSONS, PRIORITY).await?;
    maintenance::announce(&mut conn, "operation", &[], 1).await?;
    Ok(operation)
}

/// Starts to score everybody beside what is in force: under the registry given, or under the one in force by the program as
/// it is now.
///
/// # Errors
/// The database's; then nothing was started.
pub async fn start_shadow(db: &Db, overrides: Option<&Overrides>, started_by: &str) -> sqlx::Result<Operation> {
    let mut conn = db.service().acquire().await?;
    let operation = shadow::start(&mut conn, overrides, started_by, PERSONS, PRIORITY).await?;
    maintenance::announce(&mut conn, "operation", &[], 1).await?;
    Ok(operation)
}

/// Starts to bring dead letters back, as an operation.
///
/// # Errors
/// The database's.
pub async fn start_redrive(db: &Db, filter: &DeadFilter, started_by: &str) -> sqlx::Result<Operation> {
    operations::start_redrive(&mut *db.service().acquire().await?, filter, started_by).await
}

/// Cancels a running operation; `false`: it does not run.
///
/// # Errors
/// The database's.
pub async fn cancel(db: &Db, id: Uuid) -> sqlx::Result<bool> {
    let mut conn = db.service().acquire().await?;
    let cancelled = operations::cancel(&mut conn, id).await?;
    maintenance::announce(&mut conn, "operation", &[], 1).await?;
    Ok(cancelled)
}

/// Brings every dead job back with all its attempts and marks its dead letters; one statement a step, one commit.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn retry_failed(db: &Db, filter: &DeadFilter) -> sqlx::Result<Retried> {
    let mut conn = db.service().acquire().await?;
    let mut tries = 0;
    loop {
        let mut tx = conn.begin().await?;
        match settle::retry(&mut tx, filter, i64::MAX).await {
            Ok(retried) => {
                maintenance::announce(&mut tx, "jobs", &[], retried.retried as i64).await?;
                tx.commit().await?;
                return Ok(retried);
            }
            // A job of the same key was enqueued just now: the next try merges with it.
            Err(sqlx::Error::Database(e)) if e.is_unique_violation() && tries < 5 => tries += 1,
            Err(e) => return Err(e),
        }
    }
}
