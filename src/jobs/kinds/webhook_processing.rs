//! Turns stored deliveries into readings: a whole batch in one transaction, which also finishes the jobs and asks for
//! the scores of whoever's values changed. So each delivery takes effect once, whatever crashes in between.

use super::text;
use crate::ingest::{self, Status};
use crate::jobs::{Claimed, Ctx, JobKind, Outcome};
use crate::store::maintenance;
use chrono::{DateTime, Utc};
use std::{collections::HashMap, time::Duration};
use uuid::Uuid;

/// Turns stored deliveries into readings.
pub struct WebhookProcessing;

/// Which delivery.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Delivery {
    /// Its row.
    pub delivery_id: Uuid,
    /// When it was received: finds the partition.
    pub created_at: DateTime<Utc>,
}

impl JobKind for WebhookProcessing {
    const NAME: &'static str = "webhook_processing";
    // So many that a statement is worth it, so few that whoever is looked at does not wait long for a slot.
    const BATCH: i64 = 100;
    const TIMEOUT: Duration = Duration::from_secs(120);
    type Payload = Delivery;

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Delivery>]) -> Result<Vec<Outcome>, String> {
        let ids: Vec<Uuid> = jobs.iter().map(|j| j.id).collect();
        let mut tx = ctx.begin().await.map_err(text)?;
        let ours = ctx.lock_ours(&mut tx, &ids).await.map_err(text)?;
        let keys: Vec<(Uuid, DateTime<Utc>)> =
            jobs.iter().filter(|j| ours.contains(&j.id)).map(|j| (j.payload.delivery_id, j.payload.created_at)).collect();
        let batch = ingest::process_stored(&mut tx, &keys).await.map_err(text)?;
        let refused: HashMap<Uuid, &str> = batch
            .outcomes
            .iter()
            .filter_map(|o| if let Status::Failed(why) = &o.status { Some((o.id, why.as_str())) } else { None })
            .collect();
        super::confidence_calculation::ask(&mut tx, &batch.changed, &ctx.watched(&batch.changed)).await?;
        super::s3_fetch::ask(&mut tx, &batch.outcomes).await?;
        let done: Vec<Uuid> =
            jobs.iter().filter(|j| ours.contains(&j.id) && !refused.contains_key(&j.payload.delivery_id)).map(|j| j.id).collect();
        if ctx.complete_in(&mut tx, &done).await.map_err(text)? != done.len() as i64 {
            return Err("Jobs were lost while they were locked.".into()); // rolls back
        }
        let persons: Vec<&str> =
            batch.outcomes.iter().filter_map(|o| o.user_id.as_deref()).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        maintenance::announce(&mut tx, "deliveries", &persons, batch.outcomes.len() as i64).await.map_err(text)?;
        tx.commit().await.map_err(text)?;
        Ok(jobs
            .iter()
            .map(|j| match refused.get(&j.payload.delivery_id) {
                _ if !ours.contains(&j.id) => Outcome::Lost,
                // It can never be used, and its row says so already; the dead letter brings it before people's eyes.
                Some(why) => Outcome::Dead((*why).to_owned()),
                None => Outcome::Committed,
            })
            .collect())
    }
}
