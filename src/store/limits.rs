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

/// Adds what was spent to the shared times and gives, in any order, each key with how far its time now lies ahead of
/// the database's clock, in microseconds (negative: behind). One statement; keys are locked in their order, so that
/// two nodes cannot block each other. Only differences of the database's own clock are used: node clocks may differ.
pub async fn settle(pool: &PgPool, spent: &[Spent]) -> sqlx::Result<Vec<(String, i64)>> {
    let mut sorted: Vec<&Spent> = spent.iter().collect();
    sorted.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let column = |f: fn(&Spent) -> i64| sorted.iter().map(|s| f(s)).collect::<Vec<i64>>();
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
    .bind(sorted.iter().map(|s| s.key.as_str()).collect::<Vec<_>>())
    .bind(column(|s| s.cost_us))
    .bind(column(|s| s.age_us))
    .bind(column(|s| s.admitted))
    .bind(column(|s| s.refused))
    .fetch_all(pool)
    .await
}
