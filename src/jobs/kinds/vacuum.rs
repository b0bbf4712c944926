//! VACUUM ANALYZE of the busiest tables, weekly, as the checklist asks.

use super::{Nothing, same, text};
use crate::jobs::{Claimed, Ctx, JobKind, Outcome};
use crate::store::maintenance;
use std::time::Duration;

/// VACUUM ANALYZE of the busiest tables, weekly, as the checklist asks.
pub struct Vacuum;

impl JobKind for Vacuum {
    const NAME: &'static str = "vacuum";
    const PRIORITY: i16 = 8;
    const MAX_ATTEMPTS: i32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(7200);
    const SLOW: bool = true;
    type Payload = Nothing;

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Nothing>]) -> Result<Vec<Outcome>, String> {
        maintenance::vacuum(ctx.db.owner()).await.map_err(text)?;
        Ok(same(jobs, Outcome::Done))
    }
}
