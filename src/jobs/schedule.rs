//! What the program does by itself, and how often. Rows of `schedules` are made from this once; what an
//! administrator changes there stays.

use crate::store::schedules::Seed;

const MINUTE: i32 = 60;
const HOUR: i32 = 60 * MINUTE;
const DAY: i32 = 24 * HOUR;

/// The schedules of the program.
pub(super) fn seeds() -> Vec<Seed> {
    let seed = |name, job_type, payload, every_s, offset_s| Seed { name, job_type, payload, every_s, offset_s };
    let v1 = || serde_json::json!({ "v": 1 });
    vec![
        seed("refresh latest metrics", "matview_refresh", v1(), 10, 0),
        seed("clean rate limits", "rate_limit_cleanup", v1(), DAY, 2 * HOUR),
        seed("roll up logs", "log_rollup", v1(), DAY, 15 * MINUTE),
        seed("retention", "retention", v1(), DAY, 3 * HOUR),
        seed("partitions", "partitions", v1(), DAY, 12 * HOUR),
        // The epoch was a Thursday: four days on is Monday, at 4 o'clock.
        seed("vacuum and analyse", "maintenance", v1(), 7 * DAY, 4 * DAY + 4 * HOUR),
    ]
}
