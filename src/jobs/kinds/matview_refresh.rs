//! Makes the view of latest values anew, where something was written since.

use super::{Nothing, same, text};
use crate::jobs::{Claimed, Ctx, JobKind, Outcome};
use crate::store::maintenance;
use serde_json::json;
use std::time::Duration;

/// Makes the view of latest values anew, where something was written since.
pub struct MatviewRefresh;

impl JobKind for MatviewRefresh {
    const NAME: &'static str = "matview_refresh";
    const PRIORITY: i16 = 6;
    const MAX_ATTEMPTS: i32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(1800);
    const SLOW: bool = true;
    type Payload = Nothing;

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Nothing>]) -> Result<Vec<Outcome>, String> {
        Ok(match maintenance::refresh_latest(ctx.db.owner()).await.map_err(text)? {
            Some(seconds) => same(jobs, Outcome::DoneWith(json!({ "seconds": seconds }))),
            // Dropped by the rollback: health says so, `assay migrate --repair` puts it back.
            None => same(jobs, Outcome::DoneWith(json!({ "missing": "latest_unified_metrics" }))),
        })
    }
}
