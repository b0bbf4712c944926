//! Forgets rate limits that limit nobody any more.

use super::{Nothing, same, text};
use crate::jobs::{Claimed, Ctx, JobKind, Outcome};
use crate::store::maintenance;
use serde_json::json;
use std::time::Duration;

/// Forgets rate limits that limit nobody any more.
pub struct RateLimitCleanup;

impl JobKind for RateLimitCleanup {
    const NAME: &'static str = "rate_limit_cleanup";
    const PRIORITY: i16 = 6;
    const MAX_ATTEMPTS: i32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(120);
    const SLOW: bool = true;
    type Payload = Nothing;

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Nothing>]) -> Result<Vec<Outcome>, String> {
        let mut conn = ctx.db.service().acquire().await.map_err(text)?;
        let removed = maintenance::clean_rate_limits(&mut conn).await.map_err(text)?;
        Ok(same(jobs, Outcome::DoneWith(json!({ "removed": removed }))))
    }
}
