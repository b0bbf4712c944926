//! Removes what is older than its time: finished jobs, log lines, settled dead letters, figures.

use super::{Nothing, same, text};
use crate::jobs::{Claimed, Ctx, JobKind, Outcome};
use crate::store::maintenance;
use serde_json::json;
use std::time::Duration;

/// Removes what is older than its time: finished jobs, log lines, settled dead letters, figures.
pub struct Retention;

impl JobKind for Retention {
    const NAME: &'static str = "retention";
    const PRIORITY: i16 = 6;
    const MAX_ATTEMPTS: i32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(1800);
    const SLOW: bool = true;
    type Payload = Nothing;

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Nothing>]) -> Result<Vec<Outcome>, String> {
        let removed = maintenance::retention_with(ctx.db.owner(), maintenance::Patience::NIGHT).await.map_err(text)?;
        let removed: serde_json::Map<String, serde_json::Value> =
            removed.into_iter().map(|(table, n)| (table.to_owned(), n.into())).collect();
        Ok(same(jobs, Outcome::DoneWith(json!({ "removed": removed }))))
    }
}
