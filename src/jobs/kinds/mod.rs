//! The kinds of this program, one file each.

pub mod backfill;
mod calibration;
mod confidence_calculation;
mod log_rollup;
mod matview_refresh;
mod partitions;
mod rate_limit_cleanup;
mod recalculation;
mod reconcile;
mod redrive;
mod replay;
mod retention;
mod s3_fetch;
mod vacuum;
mod webhook_processing;

pub use backfill::Backfill;
pub use calibration::{Calibration, ask_for_calibration};
pub use confidence_calculation::{ConfidenceCalculation, ask as ask_for_scores};
pub use log_rollup::LogRollup;
pub use matview_refresh::MatviewRefresh;
pub use partitions::Partitions;
pub use rate_limit_cleanup::RateLimitCleanup;
pub use recalculation::Recalculation;
pub use reconcile::Reconcile;
pub use redrive::Redrive;
pub use replay::Replay;
pub use retention::Retention;
pub use s3_fetch::S3Fetch;
pub use vacuum::Vacuum;
pub use webhook_processing::WebhookProcessing;

use super::{Kinds, Outcome};

/// Every kind, without Terra's REST side.
pub fn all() -> Kinds {
    with_terra(None)
}

/// Every kind. `terra`: the client of Terra's REST side, where it is configured.
pub fn with_terra(terra: Option<crate::outbound::Client>) -> Kinds {
    Kinds::default()
        .with(WebhookProcessing)
        .with(ConfidenceCalculation)
        .with(Recalculation)
        .with(Calibration)
        .with(Redrive)
        .with(Replay)
        .with(S3Fetch::default())
        .with(Backfill::new(terra.clone()))
        .with(Reconcile::new(terra))
        .with(MatviewRefresh)
        .with(RateLimitCleanup)
        .with(LogRollup)
        .with(Retention)
        .with(Partitions)
        .with(Vacuum)
}

#[cfg(test)]
mod rig;

/// The payload of what needs none.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Nothing {}

/// A database error as a job's error: the message without the library's wrapping.
fn text(e: sqlx::Error) -> String {
    match e {
        sqlx::Error::Database(e) => format!("The database says: {}.", e.message().trim_end_matches('.')),
        other => format!("The database cannot be used: {other}."),
    }
}

/// One thing done for all jobs of the batch, which ask for the same.
fn same<T>(jobs: &[T], outcome: Outcome) -> Vec<Outcome> {
    vec![outcome; jobs.len()]
}
