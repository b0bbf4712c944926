//! What the gateway answered: counters for `/metrics`, and counts a minute for the dashboard.
//!
//! Counting never waits: a task writes what gathered every few seconds. What the database did not take is kept and
//! tried again, up to a bound.

use super::address;
use crate::store::deliveries::{Answered, Refused, add_counts};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use sqlx::PgPool;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often counts are written.
const EVERY: Duration = Duration::from_secs(5);
/// Reasons and addresses told apart in a minute; of further addresses a reason's refusals are counted together.
const MAX_ADDRESSES: usize = 500;
/// Rows that wait while the database is away.
const MAX_KEPT: usize = 10_000;
/// The address of those that are counted together.
const OTHERS: &str = "others";

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
    /// By reason and address. A key stays for its whole minute: the bound is one of rows a minute, not of rows a write.
    refused: HashMap<(&'static str, String), i64>,
    answered: [i64; Outcome::ALL.len()],
    /// Earlier minutes that are not written yet.
    full: (Vec<Answered>, Vec<Refused>),
}

impl Gathered {
    /// Closes the gathered minute when `now` lies in another one.
    fn turn(&mut self, now: DateTime<Utc>) {
        let now = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
        if self.minute != Some(now) {
            self.close();
            self.refused = HashMap::new();
            self.minute = Some(now);
        }
    }

    /// Counts one answer given at `now`, with the reason and the address of a refusal.
    fn add(&mut self, now: DateTime<Utc>, outcome: Outcome, refused: Option<(&'static str, String)>) {
        self.turn(now);
        if let Some(n) = self.answered.get_mut(outcome as usize) {
            *n += 1;
        }
        if let Some((reason, address)) = refused {
            self.add_refused(reason, address);
        }
    }

    fn add_refused(&mut self, reason: &'static str, address: String) {
        let mut key = (reason, address);
        if self.refused.len() >= MAX_ADDRESSES && !self.refused.contains_key(&key) {
            key.1 = OTHERS.to_owned();
        }
        *self.refused.entry(key).or_default() += 1;
    }

    /// Makes rows of what gathered. The minute goes on, and so does its bound.
    fn close(&mut self) {
        let Some(minute) = self.minute else { return };
        for (outcome, count) in Outcome::ALL.iter().zip(std::mem::take(&mut self.answered)) {
            if count > 0 {
                self.full.0.push(Answered { minute, outcome: outcome.word(), count });
            }
        }
        for (&(reason, ref address), count) in &mut self.refused {
            if *count > 0 {
                self.full.1.push(Refused { minute, reason, address: address.clone(), count: std::mem::take(count) });
            }
        }
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

    /// Counts one refusal with its reason code and the caller's address: the one limits are counted by, so that one
    /// customer of IPv6 is one address here as well, written `2001:db8:1:2::/64`.
    pub fn refuse(&self, outcome: Outcome, reason: &'static str, caller: IpAddr) {
        self.add(outcome, Some((reason, address::limited_as(caller))));
    }

    fn add(&self, outcome: Outcome, refused: Option<(&'static str, String)>) {
        if let Some(total) = self.total.get(outcome as usize) {
            total.fetch_add(1, Ordering::Relaxed);
        }
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner).add(Utc::now(), outcome, refused);
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

    /// Writes what gathered. What cannot be written is kept for the next time, [`MAX_KEPT`] rows at most.
    pub async fn write(&self, pool: &PgPool) {
        let (answered, refused) = {
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            gathered.close();
            // Here too, so that a quiet hour does not hold a minute's addresses.
            gathered.turn(Utc::now());
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
            gathered.full.0.truncate(MAX_KEPT);
            gathered.full.1.truncate(MAX_KEPT);
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
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn refuse(gathered: &mut Gathered, reason: &'static str, n: usize, at: &str) {
        gathered.add(time(at), Outcome::Refused, Some((reason, n.to_string())));
    }

    fn rows(gathered: &mut Gathered) -> Vec<Refused> {
        gathered.close();
        std::mem::take(&mut gathered.full.1)
    }

    #[test]
    fn the_bound_on_addresses_holds_for_the_minute_however_often_it_is_written() {
        let mut gathered = Gathered::default();
        let (mut known, mut count) = (std::collections::HashSet::new(), 0);
        for (write, at) in ["2026-11-22T10:00:01Z", "2026-11-22T10:00:06Z", "2026-11-22T10:00:59Z"].into_iter().enumerate() {
            for n in 0..MAX_ADDRESSES {
                refuse(&mut gathered, "rate_limited", write * MAX_ADDRESSES + n, at);
            }
            // Whoever has a row keeps it, and what is counted together still says why it was refused.
            refuse(&mut gathered, "rate_limited", 7, at);
            refuse(&mut gathered, "signature_mismatch", 1_000_000, at);
            for row in rows(&mut gathered) {
                count += row.count;
                known.insert((row.minute, row.reason, row.address));
            }
        }
        assert_eq!((known.len(), count), (MAX_ADDRESSES + 2, 3 * (MAX_ADDRESSES as i64 + 2)));
        let minute = time("2026-11-22T10:00:00Z");
        for (reason, address) in [("rate_limited", "7"), ("rate_limited", OTHERS), ("signature_mismatch", OTHERS)] {
            assert!(known.contains(&(minute, reason, address.to_owned())), "{reason} {address}");
        }
        assert!(gathered.refused.len() <= MAX_ADDRESSES + 2);
        // The next minute has room again, and nothing of the last is left in memory.
        refuse(&mut gathered, "signature_mismatch", 1_000_000, "2026-11-22T10:01:00Z");
        let next = Refused { minute: time("2026-11-22T10:01:00Z"), reason: "signature_mismatch", address: "1000000".into(), count: 1 };
        assert_eq!(rows(&mut gathered), [next]);
        assert_eq!(gathered.refused.len(), 1);
    }

    #[tokio::test]
    async fn one_customer_of_ipv6_is_one_row() {
        let t = database().await;
        let counters = Counters::start(t.db.service().clone(), "node-1".into());
        counters.stop();
        let network = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, 0).to_bits();
        for n in 0..100 {
            counters.refuse(Outcome::Refused, "signature_missing", Ipv6Addr::from_bits(network + n).into());
        }
        counters.write(t.db.service()).await;
        let refused: Vec<(String, i64)> =
            sqlx::query_as("SELECT address, sum(count)::int8 FROM refused_deliveries GROUP BY 1").fetch_all(t.db.owner()).await.unwrap();
        assert_eq!(refused, [("2001:db8:1:2::/64".to_owned(), 100)]);
    }

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
            counters.refuse(Outcome::Refused, "signature_missing", Ipv4Addr::new(192, 0, 2, 1).into());
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
        for n in 0..MAX_ADDRESSES as u32 + 50 {
            counters.refuse(Outcome::RateLimited, "rate_limited", Ipv4Addr::from_bits(n).into());
        }
        assert!(counters.gathered.lock().unwrap().refused.len() <= MAX_ADDRESSES + 1);
        counters.write(t.db.service()).await;
        let total: i64 = sqlx::query_scalar("SELECT sum(count)::int8 FROM refused_deliveries").fetch_one(t.db.owner()).await.unwrap();
        assert_eq!(total, MAX_ADDRESSES as i64 + 50);
    }
}
