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

/// Persons, days and draws of a run in the server: small enough for its memory. `assay calibrate` makes a larger world, a test a
/// smaller one.
const WORLD: (u32, u32, u32) = if cfg!(test) { (3, 30, 5) } else { (16, 90, 200) };

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
        let (persons, days, draws) = WORLD;
        let made = tokio::task::spawn_blocking(move || planted(seed, persons, days, draws, &registry));
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops where its expectation fails")]
mod tests {
    use super::*;
    use crate::jobs::kinds::{self, rig::Rig};

    #[tokio::test]
    async fn a_report_that_is_asked_for_is_worked_out_once_and_kept_under_the_name_of_who_asked() {
        let mut rig = Rig::idle().await;
        let mut conn = rig.t.db.service().acquire().await.unwrap();
        for _ in 0..2 {
            ask_for_calibration(&mut conn, "admin@example.test").await.unwrap();
        }
        assert_eq!(calibration::under_way(&mut conn).await.unwrap(), Some(("pending".to_owned(), None)));
        rig.work(kinds::all());
        rig.quiet(true).await;
        let kept = calibration::newest(&mut conn, 10).await.unwrap();
        assert_eq!(kept.iter().map(|k| k.made_by.as_str()).collect::<Vec<_>>(), ["admin@example.test"]);
        let report = kept[0].read().unwrap();
        assert_eq!((report.persons, report.draws, report.registry_version), (3, 5, crate::quality::REGISTRY_VERSION));
        assert!(report.values > 1_000 && report.calibration_error.is_some(), "{report:?}");
        assert_eq!(calibration::under_way(&mut conn).await.unwrap(), None);
        rig.stop().await;
    }
}
