//! The shared state of the rate limiter, table `rate_limits`: one theoretical arrival time a key.
//!
//! UNLOGGED, and it may be truncated or dropped at any time: the limiter then goes on with what it knows itself.

use sqlx::PgPool;

/// What one node admitted and refused for one key since it last said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// `<policy>:<address, account or sender>`.
    pub key: String,
    /// What the admitted requests cost, in microseconds.
    pub cost_us: i64,
    /// How long ago the first of them was admitted, in microseconds.
    pub age_us: i64,
    /// Requests admitted.
    pub admitted: i64,
    /// Requests refused.
    pub refused: i64,
}

impl Spent {
    /// Adds what was spent for the same key elsewhere: the first admitted of both was the older one.
    fn add(&mut self, other: &Self) {
        self.cost_us = self.cost_us.saturating_add(other.cost_us);
        self.age_us = self.age_us.max(other.age_us);
        self.admitted = self.admitted.saturating_add(other.admitted);
        self.refused = self.refused.saturating_add(other.refused);
    }
}

/// Adds what was spent to the shared times and gives, in any order, each key with how far its time now lies ahead of
/// the database's clock, in microseconds (negative: behind). A key may come several times and is given once. One
/// statement; keys are locked in their order, so that two nodes cannot block each other. Only differences of the
/// database's own clock are used: node clocks may differ.
pub async fn settle(pool: &PgPool, spent: &[Spent]) -> sqlx::Result<Vec<(String, i64)>> {
    let rows = summed(spent);
    let column = |f: fn(&Spent) -> i64| rows.iter().map(f).collect::<Vec<i64>>();
    sqlx::query_as(
        "INSERT INTO rate_limits AS r (key, window_start, tat, count, refused)
         SELECT key, now() - age * interval '1 microsecond', now() + (cost - age) * interval '1 microsecond', admitted, refused
           FROM unnest($1::text[], $2::int8[], $3::int8[], $4::int8[], $5::int8[]) AS s (key, cost, age, admitted, refused)
         ON CONFLICT (key) DO UPDATE SET
           tat = greatest(r.tat, EXCLUDED.window_start) + (EXCLUDED.tat - EXCLUDED.window_start),
           count = EXCLUDED.count + CASE WHEN r.tat < EXCLUDED.window_start THEN 0 ELSE r.count END,
           refused = EXCLUDED.refused + CASE WHEN r.tat < EXCLUDED.window_start THEN 0 ELSE r.refused END,
           window_start = CASE WHEN r.tat < EXCLUDED.window_start THEN EXCLUDED.window_start ELSE r.window_start END,
           updated_at = now()
         RETURNING key, (extract(epoch FROM tat - now()) * 1000000)::int8",
    )
    .bind(rows.iter().map(|s| s.key.as_str()).collect::<Vec<_>>())
    .bind(column(|s| s.cost_us))
    .bind(column(|s| s.age_us))
    .bind(column(|s| s.admitted))
    .bind(column(|s| s.refused))
    .fetch_all(pool)
    .await
}

/// One row a key, in the order of keys: a statement may touch a row only once.
fn summed(spent: &[Spent]) -> Vec<Spent> {
    let mut rows = spent.to_vec();
    rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    rows.dedup_by(|next, row| {
        let same = next.key == row.key;
        if same {
            row.add(next);
        }
        same
    });
    rows
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;
    use crate::store::testing::database;

    fn spent(key: &str, admitted: i64, refused: i64, age_us: i64) -> Spent {
        Spent { key: key.into(), cost_us: admitted * 3_600_000_000, age_us, admitted, refused }
    }

    #[test]
    fn a_key_that_comes_twice_is_one_row() {
        let all = [spent("b", 1, 0, 5), spent("a", 1, 2, 3), spent("b", 2, 1, 9), spent("b", 0, 4, 0)];
        assert_eq!(summed(&all), [spent("a", 1, 2, 3), spent("b", 3, 5, 9)]);
        assert!(summed(&[]).is_empty());
    }

    /// PostgreSQL refuses a statement that would update a row twice, and nothing of it is settled then.
    #[tokio::test]
    async fn a_key_that_comes_twice_does_not_fail_the_settlement() {
        let t = database().await;
        for round in 1..=2_i64 {
            let times = settle(t.db.service(), &[spent("b", 1, 0, 0), spent("a", 1, 0, 0), spent("b", 2, 1, 0)]).await.unwrap();
            let mut keys: Vec<&str> = times.iter().map(|(key, _)| key.as_str()).collect();
            keys.sort_unstable();
            assert_eq!(keys, ["a", "b"]);
            let counts: Vec<(String, i64, i64)> =
                sqlx::query_as("SELECT key, count, refused FROM rate_limits ORDER BY key").fetch_all(t.db.owner()).await.unwrap();
            assert_eq!(counts, [("a".to_owned(), round, 0), ("b".to_owned(), 3 * round, round)]);
        }
    }
}
