//! Brings dead letters back, a chunk a commit, as an operation that can be watched and cancelled.

use super::{same, text};
use crate::jobs::{Claimed, Ctx, JobKind, Outcome};
use crate::store::{dead_letters, jobs::settle::DeadFilter, maintenance, operations};
use std::time::Duration;
use uuid::Uuid;

/// Letters a commit.
const CHUNK: i64 = 500;

/// Brings dead letters back, a chunk a commit, as an operation that can be watched and cancelled.
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
            let mut tx = ctx.db.begin_service().await.map_err(text)?;
            let Some(operation) = operations::find(&mut tx, id).await.map_err(text)? else {
                return Ok(same(jobs, Outcome::Dead("This operation does not exist.".into())));
            };
            let filter: DeadFilter = match serde_json::from_value(operation.filter.0) {
                Ok(filter) => filter,
                Err(e) => return Ok(same(jobs, Outcome::Dead(format!("The operation's filter cannot be read: {e}.")))),
            };
            if operation.state != "running" || ctx.lock_ours(&mut tx, &[job.id]).await.map_err(text)?.is_empty() {
                return Ok(same(jobs, Outcome::Done)); // cancelled, or not ours any more: then this says nothing
            }
            // Letters that come in while this runs belong to the next redrive, else it might never end.
            let until = Some(filter.until.map_or(operation.started_at, |until| until.min(operation.started_at)));
            let one = dead_letters::redrive(&mut tx, &DeadFilter { until, ..filter }, CHUNK).await.map_err(text)?;
            let n = (one.retried + one.merged + one.recreated) as i64;
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
