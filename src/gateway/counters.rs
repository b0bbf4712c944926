//! What the gateway answered: counters for `/metrics`, and counts a minute for the dashboard.
//!
//! Counting never waits: a task writes what gathered every few seconds. What the database did not take is kept and
//! tried again, up to a bound.

use crate::store::deliveries::{Answered, Refused, add_counts};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use sqlx::PgPool;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often counts are written.
const EVERY: Duration = Duration::from_secs(5);
/// Addresses told apart until the next write; further ones are counted together.
const MAX_ADDRESSES: usize = 5_000;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        /// What became of a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Outcome { $($(#[$doc])* $variant),+ }

        impl Outcome {
            /// Every outcome.
            pub const ALL: &'static [Outcome] = &[$(Outcome::$variant),+];
            /// The word in `gateway_counts` and in metrics.
            pub const fn word(self) -> &'static str {
                match self { $(Outcome::$variant => $word),+ }
            }
        }
    };
}

outcomes! {
    /// Stored, with a job.
    Accepted = "accepted",
    /// Stored before.
    Duplicate = "duplicate",
    /// Stored beside another body of the same trace id.
    Conflict = "conflict",
    /// Stored, of no use to us.
    Ignored = "ignored",
    /// Stored, but not JSON: 400.
    Invalid = "invalid",
    /// The checklist's test body.
    Test = "test",
    /// Turned away: signature, address, size, form; and 503 while there is no secret to verify with, or no memory.
    Refused = "refused",
    /// Over a limit: 429.
    RateLimited = "rate_limited",
    /// Believed, and the database did not store it: 503.
    Unavailable = "unavailable",
}

#[derive(Default)]
struct Gathered {
    minute: Option<DateTime<Utc>>,
    refused: HashMap<(&'static str, String), i64>,
    answered: [i64; Outcome::ALL.len()],
    /// Earlier minutes that are not written yet.
    full: (Vec<Answered>, Vec<Refused>),
}

impl Gathered {
    /// Closes the gathered minute when `now` lies in another one.
    fn turn(&mut self, now: DateTime<Utc>) {
        let now = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
        if self.minute.is_some_and(|m| m != now) {
            self.close();
        }
        self.minute = Some(now);
    }

    fn close(&mut self) {
        let Some(minute) = self.minute.take() else { return };
        for (outcome, count) in Outcome::ALL.iter().zip(std::mem::take(&mut self.answered)) {
            if count > 0 {
                self.full.0.push(Answered { minute, outcome: outcome.word(), count });
            }
        }
        let refused = std::mem::take(&mut self.refused);
        self.full.1.extend(refused.into_iter().map(|((reason, address), count)| Refused { minute, reason, address, count }));
    }
}

/// The counters of one process.
pub struct Counters {
    total: [AtomicU64; Outcome::ALL.len()],
    gathered: Mutex<Gathered>,
    node: String,
    stop: CancellationToken,
}

impl Counters {
    /// Starts counting and writing. `node` tells this process from others in `gateway_counts`.
    pub fn start(pool: PgPool, node: String) -> Arc<Self> {
        let counters = Arc::new(Self { total: Default::default(), gathered: Mutex::default(), node, stop: CancellationToken::new() });
        tokio::spawn(counters.clone().write_for_ever(pool));
        counters
    }

    /// Counts one answer.
    pub fn count(&self, outcome: Outcome) {
        self.add(outcome, None);
    }

    /// Counts one refusal with its reason code and the caller's address.
    pub fn refuse(&self, outcome: Outcome, reason: &'static str, address: &str) {
        self.add(outcome, Some((reason, address)));
    }

    fn add(&self, outcome: Outcome, refused: Option<(&'static str, &str)>) {
        let number = outcome as usize;
        if let Some(total) = self.total.get(number) {
            total.fetch_add(1, Ordering::Relaxed);
        }
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.turn(Utc::now());
        if let Some(n) = gathered.answered.get_mut(number) {
            *n += 1;
        }
        if let Some((reason, address)) = refused {
            let crowded = gathered.refused.len() >= MAX_ADDRESSES;
            *gathered.refused.entry((reason, if crowded { "others".into() } else { address.to_owned() })).or_default() += 1;
        }
    }

    /// Answers since the start, by outcome.
    pub fn totals(&self) -> Vec<(Outcome, u64)> {
        Outcome::ALL.iter().zip(&self.total).map(|(o, n)| (*o, n.load(Ordering::Relaxed))).collect()
    }

    /// Stops the writing task; [`Counters::write`] writes the rest.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    async fn write_for_ever(self: Arc<Self>, pool: PgPool) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            self.write(&pool).await;
        }
    }

    /// Writes what gathered. What cannot be written is kept for the next time, ten thousand rows at most.
    pub async fn write(&self, pool: &PgPool) {
        let (answered, refused) = {
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            gathered.close();
            std::mem::take(&mut gathered.full)
        };
        if answered.is_empty() && refused.is_empty() {
            return;
        }
        let (answered, refused) = (merged(answered), merged_refusals(refused));
        if let Err(error) = add_counts(pool, &self.node, &answered, &refused).await {
            tracing::warn!(%error, "the gateway's counts could not be written; they are kept for the next try");
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            gathered.full.0.extend(answered);
            gathered.full.1.extend(refused);
            gathered.full.0.truncate(2 * MAX_ADDRESSES);
            gathered.full.1.truncate(2 * MAX_ADDRESSES);
        }
    }
}

/// One row a minute and outcome: a statement may touch a row only once.
fn merged(rows: Vec<Answered>) -> Vec<Answered> {
    let mut sums: HashMap<(DateTime<Utc>, &'static str), i64> = HashMap::new();
    for r in rows {
        *sums.entry((r.minute, r.outcome)).or_default() += r.count;
    }
    sums.into_iter().map(|((minute, outcome), count)| Answered { minute, outcome, count }).collect()
}

fn merged_refusals(rows: Vec<Refused>) -> Vec<Refused> {
    let mut sums: HashMap<(DateTime<Utc>, &'static str, String), i64> = HashMap::new();
    for r in rows {
        *sums.entry((r.minute, r.reason, r.address)).or_default() += r.count;
    }
    sums.into_iter().map(|((minute, reason, address), count)| Refused { minute, reason, address, count }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;
    use crate::store::testing::database;

    #[tokio::test]
    async fn counts_reach_the_tables_and_survive_a_database_that_does_not_take_them() {
        let t = database().await;
        let counters = Counters::start(t.db.service().clone(), "node-1".into());
        counters.stop();
        counters.count(Outcome::Accepted);
        sqlx::query("ALTER TABLE gateway_counts RENAME TO away").execute(t.db.owner()).await.unwrap();
        counters.write(t.db.service()).await;
        sqlx::query("ALTER TABLE away RENAME TO gateway_counts").execute(t.db.owner()).await.unwrap();
        counters.count(Outcome::Accepted);
        for _ in 0..3 {
            counters.refuse(Outcome::Refused, "signature_missing", "192.0.2.1");
        }
        counters.write(t.db.service()).await;
        counters.count(Outcome::Accepted);
        counters.write(t.db.service()).await;
        let sum = "SELECT sum(count)::int8 FROM gateway_counts WHERE outcome = 'accepted' AND node = 'node-1'";
        assert_eq!(sqlx::query_scalar::<_, i64>(sum).fetch_one(t.db.owner()).await.unwrap(), 3);
        let refused: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT reason, address, sum(count)::int8 FROM refused_deliveries GROUP BY 1, 2")
                .fetch_all(t.db.owner())
                .await
                .unwrap();
        assert_eq!(refused, [("signature_missing".to_owned(), "192.0.2.1".to_owned(), 3)]);
        assert_eq!(counters.totals().first(), Some(&(Outcome::Accepted, 3)));
    }

    #[tokio::test]
    async fn a_flood_of_addresses_is_counted_together() {
        let t = database().await;
        let counters = Counters::start(t.db.service().clone(), "node-1".into());
        for n in 0..MAX_ADDRESSES + 50 {
            counters.refuse(Outcome::RateLimited, "rate_limited", &n.to_string());
        }
        assert!(counters.gathered.lock().unwrap().refused.len() <= 2 * MAX_ADDRESSES);
        counters.write(t.db.service()).await;
        let total: i64 = sqlx::query_scalar("SELECT sum(count)::int8 FROM refused_deliveries").fetch_one(t.db.owner()).await.unwrap();
        assert_eq!(total, MAX_ADDRESSES as i64 + 50);
    }
}
