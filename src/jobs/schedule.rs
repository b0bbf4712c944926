//! What the program does by itself, and how often. Rows of `schedules` are made from this once; what an
//! administrator changes there stays. A schedule is called by the name of the kind it enqueues.

use super::{
    JobKind,
    kinds::{LogRollup, MatviewRefresh, Partitions, RateLimitCleanup, Reconcile, Retention, Vacuum},
};
use crate::store::schedules::Seed;

const MINUTE: i32 = 60;
const HOUR: i32 = 60 * MINUTE;
const DAY: i32 = 24 * HOUR;

/// The schedules of the program.
pub(super) fn seeds() -> Vec<Seed> {
    let seed = |name, every_s, offset_s| Seed { name, job_type: name, payload: serde_json::json!({ "v": 1 }), every_s, offset_s };
    vec![
        seed(MatviewRefresh::NAME, 10, 0),
        seed(RateLimitCleanup::NAME, DAY, 2 * HOUR),
        seed(LogRollup::NAME, DAY, 15 * MINUTE),
        seed(Reconcile::NAME, 6 * HOUR, HOUR),
        seed(Retention::NAME, DAY, 3 * HOUR),
        seed(Partitions::NAME, DAY, 12 * HOUR),
        // The epoch was a Thursday: four days on is Monday, at 4 o'clock.
        seed(Vacuum::NAME, 7 * DAY, 4 * DAY + 4 * HOUR),
    ]
}
