//! A chunk of Recalculate All: some persons scored from their first day. The operation's progress is written in the
//! same commit, so it is never ahead of the scores nor behind them. A shadow operation has the same chunks; their scores go
//! beside those in force.

use super::text;
use crate::jobs::{Claimed, Ctx, JobKind, Outcome};
use crate::quality::Registry;
use crate::rescore::{registry, rescore_persons, rescore_shadow};
use crate::store::{maintenance, operations, shadow};
use chrono::NaiveDate;
use std::borrow::Cow;
use std::time::Duration;
use uuid::Uuid;

/// A chunk of Recalculate All.
pub struct Recalculation;

/// Which persons, for which operation.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Chunk {
    /// The operation; a chunk made by hand has none.
    #[serde(default)]
    pub operation: Option<Uuid>,
    /// The persons.
    pub users: Vec<String>,
}

impl JobKind for Recalculation {
    const NAME: &'static str = "recalculation";
    const PRIORITY: i16 = 8;
    const MAX_ATTEMPTS: i32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(600);
    const SLOW: bool = true;
    type Payload = Chunk;

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Chunk>]) -> Result<Vec<Outcome>, String> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(self.one(ctx, job).await?);
        }
        Ok(outcomes)
    }
}

/// After the commit of the last chunk, because it reads all scores.
async fn keep_difference(ctx: &Ctx, ended: &operations::Operation) -> sqlx::Result<()> {
    let mut tx = ctx.begin().await?;
    shadow::keep_difference(&mut tx, ended).await?;
    tx.commit().await
}

impl Recalculation {
    async fn one(&self, ctx: &Ctx, job: &Claimed<Chunk>) -> Result<Outcome, String> {
        let mut tx = ctx.begin().await.map_err(text)?;
        if ctx.lock_ours(&mut tx, &[job.id]).await.map_err(text)?.is_empty() {
            return Ok(Outcome::Lost);
        }
        let operation = match job.payload.operation {
            Some(id) => {
                let operation = operations::find(&mut tx, id).await.map_err(text)?;
                let Some(operation) = operation.filter(|o| o.state != "cancelled") else {
                    return Ok(Outcome::Done); // stopped by a person: nothing more is to be done
                };
                Some(operation)
            }
            None => None,
        };
        let beside = operation.as_ref().filter(|o| o.kind == "shadow");
        let scores = match beside {
            Some(operation) => {
                let registry = match shadow::overrides_of(operation) {
                    Some(overrides) => Cow::Owned(Registry::built_in().with(&overrides)),
                    None => registry(&mut tx).await.map_err(text)?,
                };
                rescore_shadow(&mut tx, &registry, &job.payload.users).await.map_err(text)?.changed
            }
            None => {
                let persons: Vec<(String, Option<NaiveDate>)> = job.payload.users.iter().map(|u| (u.clone(), None)).collect();
                rescore_persons(&mut tx, &persons).await.map_err(text)?
            }
        };
        if ctx.complete_in(&mut tx, &[job.id]).await.map_err(text)? != 1 {
            return Err("The job was lost while it was locked.".into()); // rolls back
        }
        let users: Vec<&str> = job.payload.users.iter().map(String::as_str).collect();
        if beside.is_none() {
            maintenance::announce(&mut tx, "scores", &users, scores as i64).await.map_err(text)?;
        }
        let mut ended = None;
        // Last, because all chunks write this one row: it is locked for the commit only.
        if let Some(id) = job.payload.operation {
            let now = operations::progress(&mut tx, id, users.len() as i64, 0, 1).await.map_err(text)?;
            ended = now.filter(|o| o.kind == "shadow" && o.state == "completed");
            maintenance::announce(&mut tx, "operation", &[], users.len() as i64).await.map_err(text)?;
        }
        tx.commit().await.map_err(text)?;
        if let Some(ended) = ended
            && let Err(error) = keep_difference(ctx, &ended).await
        {
            tracing::warn!(%error, "what a registry tried beside would change was not kept; its page works it out");
        }
        Ok(Outcome::Committed)
    }
}
