//! A chunk of a replay: stored deliveries through normalising and scoring once more. Where nothing has changed since,
//! this writes no value and no score; what it does write comes with the operation's progress in one commit.

use super::{confidence_calculation, s3_fetch, text};
use crate::ingest::{self, Status};
use crate::jobs::{Claimed, Ctx, JobKind, Outcome};
use crate::model::Instant;
use crate::store::replay::{self, Filter};
use crate::store::{maintenance, operations};
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

/// A chunk of a replay.
pub struct Replay;

/// Which deliveries, for which operation. Made by `store::replay`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Stretch {
    /// The operation; a single replayed delivery has none.
    #[serde(default)]
    pub operation: Option<Uuid>,
    /// Which of the stretch.
    #[serde(default)]
    pub filter: Filter,
    /// When the first was received.
    pub first: Instant,
    /// When the last was received.
    pub last: Instant,
    /// How many there were when the replay was started.
    pub deliveries: i64,
}

impl JobKind for Replay {
    const NAME: &'static str = replay::KIND;
    const PRIORITY: i16 = 8;
    const MAX_ATTEMPTS: i32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(600);
    const SLOW: bool = true;
    type Payload = Stretch;

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Stretch>]) -> Result<Vec<Outcome>, String> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(one(ctx, job).await?);
        }
        Ok(outcomes)
    }
}

async fn one(ctx: &Ctx, job: &Claimed<Stretch>) -> Result<Outcome, String> {
    let Stretch { operation, filter, first, last, deliveries } = &job.payload;
    let mut tx = ctx.begin().await.map_err(text)?;
    if ctx.lock_ours(&mut tx, &[job.id]).await.map_err(text)?.is_empty() {
        return Ok(Outcome::Lost);
    }
    if let Some(id) = operation {
        let found = operations::find(&mut tx, *id).await.map_err(text)?;
        if found.is_none_or(|o| o.state == "cancelled") {
            return Ok(Outcome::Done); // stopped by a person: nothing more is to be done
        }
    }
    let keys = replay::chunk(&mut tx, filter, *first, *last).await.map_err(text)?;
    let batch = ingest::process_stored(&mut tx, &keys).await.map_err(text)?;
    confidence_calculation::ask(&mut tx, &batch.changed, &ctx.watched(&batch.changed)).await?;
    // Also scores whose values stayed may differ, when the scorer changed since.
    confidence_calculation::ask_later(&mut tx, &batch.touched).await?;
    s3_fetch::ask(&mut tx, &batch.outcomes).await?;
    if ctx.complete_in(&mut tx, &[job.id]).await.map_err(text)? != 1 {
        return Err("The job was lost while it was locked.".into()); // rolls back
    }
    let users: Vec<&str> = batch.outcomes.iter().filter_map(|o| o.user_id.as_deref()).collect::<BTreeSet<_>>().into_iter().collect();
    maintenance::announce(&mut tx, "deliveries", &users, batch.outcomes.len() as i64).await.map_err(text)?;
    // Last, because all chunks write this one row: it is locked for the commit only.
    if let Some(id) = operation {
        let failed = batch.outcomes.iter().filter(|o| matches!(o.status, Status::Failed(_))).count() as i64;
        operations::progress(&mut tx, *id, (deliveries - failed).max(0), failed, 1).await.map_err(text)?;
        maintenance::announce(&mut tx, "operation", &[], *deliveries).await.map_err(text)?;
    }
    tx.commit().await.map_err(text)?;
    Ok(Outcome::Committed)
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
