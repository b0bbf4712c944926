//! Works the calibration report out anew: a simulated world whose truth is known, sent through normalisation and scorer.

use super::{same, text};
use crate::calibration::report::planted;
use crate::jobs::{Claimed, Ctx, JobKind, Outcome};
use crate::store::calibration;
use std::time::Duration;

/// Works the calibration report out anew.
pub struct Calibration;

/// For whom.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Wish {
    /// The account's e-mail.
    pub by: String,
}

/// The world of a run in the server: small enough for its memory. `assay calibrate` makes a larger one.
const PERSONS: u32 = 16;
const DAYS: u32 = 90;
const DRAWS: u32 = 50;

impl JobKind for Calibration {
    const NAME: &'static str = "calibration";
    const PRIORITY: i16 = 8;
    const MAX_ATTEMPTS: i32 = 1;
    const TIMEOUT: Duration = Duration::from_secs(600);
    const SLOW: bool = true;
    type Payload = Wish;

    fn unique_key(_: &Wish) -> Option<String> {
        Some("calibration".into())
    }

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Wish>]) -> Result<Vec<Outcome>, String> {
        let Some(job) = jobs.first() else { return Ok(Vec::new()) };
        let mut conn = ctx.db.service().acquire().await.map_err(text)?;
        let registry = crate::rescore::registry(&mut conn).await.map_err(text)?;
        // A seed of its own each time: a report that always asks the same persons would say the same.
        let seed = job.created_at.timestamp().unsigned_abs();
        let made = tokio::task::spawn_blocking(move || planted(seed, PERSONS, DAYS, DRAWS, &registry));
        let made = made.await.map_err(|e| format!("The report could not be worked out: {e}."))?;
        calibration::put(&mut conn, &job.payload.by, &made).await.map_err(text)?;
        Ok(same(jobs, Outcome::Done))
    }
}

/// Asks for a report; one that waits already is joined.
///
/// # Errors
/// A sentence, when the database refuses.
pub async fn ask_for_calibration(conn: &mut sqlx::PgConnection, by: &str) -> Result<(), String> {
    let wish = crate::jobs::job::<Calibration>(&Wish { by: by.to_owned() })?;
    crate::store::jobs::enqueue(conn, vec![wish]).await.map_err(text)?;
    Ok(())
}
