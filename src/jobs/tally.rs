//! What the handlers did, for `edge_function_logs` and `edge_function_performance`: gathered in memory, written as one
//! line a kind every few seconds, so that a run costs nothing and a busy minute is not a million lines. What a killed
//! process had not written yet is lost; the jobs' own history has it.

use super::kind::Outcome;
use crate::store::{
    Db,
    maintenance::{self, Runs},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Runs by kind since the last line.
#[derive(Default)]
pub(super) struct Tally(Mutex<BTreeMap<&'static str, Runs>>);

impl Tally {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<&'static str, Runs>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One batch was run.
    pub fn note<'a>(&self, kind: &'static str, took: Duration, outcomes: impl Iterator<Item = &'a Outcome>) {
        let mut one = Runs { calls: 1, total: took, longest: took, ..Runs::default() };
        for outcome in outcomes {
            one.jobs += 1;
            match outcome {
                Outcome::Retry(_) => one.retried += 1,
                Outcome::Dead(_) => one.dead += 1,
                _ => {}
            }
        }
        self.runs().entry(kind).or_default().add(&one);
    }

    /// Writes the lines. What cannot be written now is in the next ones.
    pub async fn write(&self, db: &Db, node: &str) -> sqlx::Result<()> {
        let taken = std::mem::take(&mut *self.runs());
        if taken.is_empty() {
            return Ok(());
        }
        let written = async { maintenance::log_runs(&mut *db.service().acquire().await?, node, &taken).await };
        let result = written.await;
        if result.is_err() {
            let mut runs = self.runs();
            for (kind, lost) in &taken {
                runs.entry(kind).or_default().add(lost);
            }
        }
        result
    }
}
