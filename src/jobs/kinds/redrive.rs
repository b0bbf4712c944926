//! Brings dead letters back, or throws them away: a chunk a commit, as an operation that can be watched and cancelled.

use super::{same, text};
use crate::jobs::{Claimed, Ctx, JobKind, Outcome};
use crate::store::{
    audit::{self, Actor},
    dead_letters,
    jobs::settle::DeadFilter,
    letter_lists, maintenance,
    operations::{self, Operation},
};
use sqlx::PgConnection;
use std::time::Duration;
use uuid::Uuid;

/// Letters a commit.
const CHUNK: i64 = 500;

/// Does an operation's work on dead letters.
pub struct Redrive;

/// Which operation; its filter lies in its row.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Which {
    /// The operation.
    pub operation: Uuid,
}

impl JobKind for Redrive {
    const NAME: &'static str = "redrive";
    const PRIORITY: i16 = 4;
    const TIMEOUT: Duration = Duration::from_secs(1800);
    const SLOW: bool = true;
    type Payload = Which;

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Which>]) -> Result<Vec<Outcome>, String> {
        let Some(job) = jobs.first() else { return Ok(Vec::new()) };
        let id = job.payload.operation;
        loop {
            let mut tx = ctx.begin().await.map_err(text)?;
            let Some(operation) = operations::find(&mut tx, id).await.map_err(text)? else {
                return Ok(same(jobs, Outcome::Dead("This operation does not exist.".into())));
            };
            let filter: DeadFilter = match serde_json::from_value(operation.filter.0.clone()) {
                Ok(filter) => filter,
                Err(e) => return Ok(same(jobs, Outcome::Dead(format!("The operation's filter cannot be read: {e}.")))),
            };
            if operation.state != "running" {
                return Ok(same(jobs, Outcome::Done)); // stopped by a person: nothing more is to be done
            }
            if ctx.lock_ours(&mut tx, &[job.id]).await.map_err(text)?.is_empty() {
                return Ok(same(jobs, Outcome::Lost));
            }
            // Letters that come in while this runs belong to the next redrive, else it might never end.
            let until = Some(filter.until.map_or(operation.started_at, |until| until.min(operation.started_at)));
            let n = chunk(&mut tx, &operation, &DeadFilter { until, ..filter }).await.map_err(text)?;
            operations::progress(&mut tx, id, n, 0, i32::from(n == 0)).await.map_err(text)?;
            maintenance::announce(&mut tx, "operation", &[], n).await.map_err(text)?;
            tx.commit().await.map_err(text)?;
            if n == 0 {
                return Ok(same(jobs, Outcome::Done));
            }
            if ctx.stop.is_cancelled() {
                return Ok(same(jobs, Outcome::Snooze(Duration::ZERO))); // another worker goes on where we stopped
            }
        }
    }
}

/// The next letters of the operation, with the audit entry of whoever started it; how many they were.
async fn chunk(tx: &mut PgConnection, operation: &Operation, filter: &DeadFilter) -> sqlx::Result<i64> {
    let (action, n) = if operation.kind == "discard" {
        let note = operation.filter.0.get("note").and_then(serde_json::Value::as_str).unwrap_or_default();
        ("dead_letters.discard", letter_lists::discard(tx, filter, CHUNK, note).await?)
    } else {
        let one = dead_letters::redrive(tx, filter, CHUNK).await?;
        ("dead_letters.redrive", (one.retried + one.merged + one.recreated) as i64)
    };
    if n > 0 {
        let actor = Actor { name: operation.started_by.clone(), ..Actor::system() };
        let detail = serde_json::json!({ "operation": operation.id, "kind": filter.kind, "count": n });
        audit::write(&mut *tx, &actor, action, filter.fingerprint.as_deref(), &detail).await?;
    }
    Ok(n)
}

#[cfg(test)]
#[path = "redrive_tests.rs"]
mod tests;
