//! Sums up the log lines by day, which outlives the lines themselves.

use super::{Nothing, same, text};
use crate::jobs::{Claimed, Ctx, JobKind, Outcome};
use crate::store::maintenance;
use serde_json::json;
use std::time::Duration;

/// Sums up the log lines by day, which outlives the lines themselves.
pub struct LogRollup;

impl JobKind for LogRollup {
    const NAME: &'static str = "log_rollup";
    const PRIORITY: i16 = 6;
    const MAX_ATTEMPTS: i32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(600);
    const SLOW: bool = true;
    type Payload = Nothing;

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Nothing>]) -> Result<Vec<Outcome>, String> {
        let mut conn = ctx.db.service().acquire().await.map_err(text)?;
        let sums = maintenance::roll_up_logs(&mut conn).await.map_err(text)?;
        Ok(same(jobs, Outcome::DoneWith(json!({ "sums": sums }))))
    }
}
