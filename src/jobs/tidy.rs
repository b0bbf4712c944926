//! When to take the dead rows out of the hot tables. The leader looks every few seconds.
//!
//! VACUUM does it otherwise; but not while some transaction is open that began before, and not more than once a minute.
//! Then the dead pile up, two a job, and cost space and time. They are taken out when they are many beside the living,
//! so that the moving of those costs little a job; and when somebody holds the table, ever more seldom.

use crate::store::{
    Db,
    jobs::compact::{Compacted, Hot, compact, dead_rows, living_jobs},
};
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// More jobs than these are not moved while everybody waits.
const MOST: i64 = 30_000;
/// So many dead rows are taken out for each living one that must be moved.
const DEAD_A_LIVING: i64 = 100;
/// How long one try waits for whoever uses the table, and everybody else behind it.
const WAIT: Duration = Duration::from_millis(100);
/// The pause after a try that failed, doubled each time.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(64));

/// How many dead rows there must be for it to be worth it.
const fn worth(table: Hot, living: i64) -> i64 {
    match table {
        Hot::Jobs => {
            let many = living * DEAD_A_LIVING;
            if many > 200_000 { many } else { 200_000 }
        }
        Hot::Leases | Hot::Counts => 30_000,
    }
}

/// One table's turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    table: Hot,
    pause: Duration,
    not_before: Option<Instant>,
}

impl Turn {
    fn failed(&mut self) {
        self.pause = (self.pause * 2).clamp(PAUSES.0, PAUSES.1);
        self.not_before = Some(Instant::now() + self.pause);
    }

    fn went_well(&mut self) {
        self.pause = Duration::ZERO;
        // The server's count of the dead lags behind by a second.
        self.not_before = Some(Instant::now() + PAUSES.0);
    }
}

/// What is remembered from one round to the next.
#[derive(Debug)]
pub(super) struct Tidy([Turn; 3]);

impl Default for Tidy {
    fn default() -> Self {
        Self(Hot::ALL.map(|table| Turn { table, pause: Duration::ZERO, not_before: None }))
    }
}

impl Tidy {
    /// Looks at each table and compacts what is worth it. Faults are logged: the next round tries again.
    pub async fn round(&mut self, db: &Db) {
        for turn in &mut self.0 {
            if turn.not_before.is_some_and(|t| t > Instant::now()) {
                continue;
            }
            if let Err(e) = one(db, turn).await {
                turn.failed();
                warn!(error = %e, table = turn.table.table(), "dead rows could not be taken out; it is tried again");
            }
        }
    }
}

async fn one(db: &Db, turn: &mut Turn) -> sqlx::Result<()> {
    let mut conn = db.service().acquire().await?;
    let dead = dead_rows(&mut conn, turn.table).await?;
    if dead < worth(turn.table, 0) {
        return Ok(());
    }
    let living = if turn.table == Hot::Jobs { living_jobs(&mut conn).await? } else { 0 };
    drop(conn);
    if living > MOST || dead < worth(turn.table, living) {
        return Ok(());
    }
    let begin = Instant::now();
    match compact(db.owner(), turn.table, MOST, WAIT).await? {
        Compacted::Kept(kept) => {
            turn.went_well();
            info!(table = turn.table.table(), dead, kept, took_ms = begin.elapsed().as_millis() as u64, "dead rows were taken out");
        }
        Compacted::InUse | Compacted::TooMany => {
            turn.failed();
            debug!(table = turn.table.table(), dead, "dead rows stay for now: the table is in use");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_must_be_moved_the_more_dead_there_must_be_and_a_failure_makes_patient() {
        assert_eq!(worth(Hot::Jobs, 0), 200_000);
        assert_eq!(worth(Hot::Jobs, 10_000), 1_000_000);
        let mut turn = Turn { table: Hot::Jobs, pause: Duration::ZERO, not_before: None };
        let pauses: Vec<u64> = (0..7)
            .map(|_| {
                turn.failed();
                turn.pause.as_secs()
            })
            .collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 64]);
        turn.went_well();
        assert_eq!(turn.pause, Duration::ZERO);
    }
}
