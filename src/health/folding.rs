//! The counts of jobs, made short in small turns between two looks.

use super::monitor::STEP;
use crate::store::{Db, jobs::counts};
use std::time::{Duration, Instant};

/// Counts are folded so many at once, which takes about a millisecond, until the next look: with a short pause while there are more, with
/// a long one where that was all. Where fewer than a few come in a pause, they are left until after the look. What so many turns
/// one after the other did not work off gathered for long, and is taken in large ones.
const A_LITTLE: u64 = 250;
const SHORT_PAUSE: Duration = Duration::from_millis(25);
const PAUSE: Duration = Duration::from_millis(100);
const FEW: u64 = 50;
const LITTLE_TURNS: u32 = 40;

/// Makes the counts short where no worker does it, until `end` or until only a few are left. In one go every two seconds, what a busy
/// gateway appends kept a core for up to 34 ms, and every delivery of that moment waited: that alone was one in a hundred. So
/// it is done in small turns, which grow only where many of them were not enough.
pub(super) async fn fold_until(db: &Db, end: Instant) {
    let mut full_turns = 0;
    while Instant::now() + PAUSE < end {
        let most = if full_turns < LITTLE_TURNS { A_LITTLE } else { counts::A_TURN };
        let pause = match fold_some(db, most).await {
            Ok(n) if n < FEW => return,
            Ok(n) if n < most => {
                full_turns = 0;
                PAUSE
            }
            Ok(_) => {
                full_turns += 1;
                SHORT_PAUSE
            }
            Err(e) => return tracing::debug!(error = %e, "the counts of jobs could not be folded; after the next look once more"),
        };
        tokio::time::sleep(pause).await;
    }
}

async fn fold_some(db: &Db, most: u64) -> sqlx::Result<u64> {
    let mut tx = db.begin_service_within(STEP).await?;
    let folded = counts::fold_unled(&mut tx, most).await?;
    tx.commit().await?;
    Ok(folded)
}
