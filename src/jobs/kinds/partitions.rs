//! Makes the partitions of the days and months to come.

use super::{Nothing, same, text};
use crate::jobs::{Claimed, Ctx, JobKind, Outcome};
use crate::store::maintenance;
use std::time::Duration;

/// Makes the partitions of the days and months to come.
pub struct Partitions;

impl JobKind for Partitions {
    const NAME: &'static str = "partitions";
    const PRIORITY: i16 = 4;
    const MAX_ATTEMPTS: i32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(120);
    const SLOW: bool = true;
    type Payload = Nothing;

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Nothing>]) -> Result<Vec<Outcome>, String> {
        maintenance::make_partitions(ctx.db.owner()).await.map_err(text)?;
        Ok(same(jobs, Outcome::Done))
    }
}
