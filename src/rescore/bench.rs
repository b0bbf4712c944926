//! Recalculate All against a plain upsert of as many rows. Run with `make bench`; `ASSAY_BENCH_VALUES` sets how many values
//! (1,000,000 unless told), and `ASSAY_BENCH_STRICT=1` fails it where the aim is missed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement")]

use super::*;
use crate::quality::registry::Overrides;
use crate::quality::{REGISTRY_VERSION, Tolerance};
use crate::store::testing::database;
use std::time::Instant;

/// Days of each person and metrics a day.
const DAYS: i64 = 200;
const METRICS: i64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, meant for an optimised build and a quiet machine"]
async fn recalculate_all_against_a_plain_upsert() {
    let values: i64 = std::env::var("ASSAY_BENCH_VALUES").ok().and_then(|v| v.parse().ok()).unwrap_or(1_000_000);
    let persons = values / DAYS / METRICS;
    let t = database().await;
    sqlx::query(
        "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, measured_at, ordering_ms, trace_id,
                                      received_at, delivery_id, provenance, coverage)
         SELECT 'p' || p, m.name, m.source, date '2026-01-01' + d, m.usual * (1 + 0.05 * sin(d * 7.3 + p)), 'u',
                (date '2026-01-01' + d)::timestamptz + interval '6 hours', d, 't' || d, now(), gen_random_uuid(),
                jsonb_build_object('model', m.model, 'upload', 'automatic'),
                CASE WHEN m.model = 'daily' THEN '{\"low_s\": 12000, \"active_s\": 2000, \"accounted_s\": 57000, \"inactive_s\": 43000}'::jsonb ELSE '{}' END
           FROM generate_series(1, $1) AS p, generate_series(0, $2 - 1) AS d
           CROSS JOIN (VALUES ('steps', 'garmin', 8000.0, 'daily'), ('distance', 'garmin', 6000, 'daily'), ('total_calories', 'garmin', 2400, 'daily'),
                              ('resting_heart_rate', 'garmin', 52, 'daily'), ('average_heart_rate', 'garmin', 70, 'daily'),
                              ('resting_heart_rate', 'whoop', 50, 'sleep'), ('hrv_rmssd', 'whoop', 65, 'sleep'),
                              ('sleep_duration', 'whoop', 27000, 'sleep'), ('time_in_bed', 'whoop', 29000, 'sleep'), ('respiratory_rate', 'whoop', 15, 'sleep'))
                AS m (name, source, usual, model)",
    )
    .bind(persons as i32)
    .bind(DAYS as i32)
    .execute(t.db.owner())
    .await
    .unwrap();
    sqlx::query("VACUUM ANALYZE unified_metrics").execute(t.db.owner()).await.unwrap();
    let users: Vec<String> = (1..=persons).map(|p| format!("p{p}")).collect();

    let first = all(&t.db, &users, Registry::built_in()).await;
    sqlx::query("VACUUM ANALYZE metric_confidence_cache").execute(t.db.owner()).await.unwrap();
    // Every row is written again as it is, in commits of as many rows as a chunk of Recalculate All has.
    sqlx::query("CREATE TABLE again AS SELECT * FROM metric_confidence_cache").execute(t.db.owner()).await.unwrap();
    sqlx::query("CREATE INDEX ON again (user_id)").execute(t.db.owner()).await.unwrap();
    sqlx::query("GRANT SELECT ON again TO service_role").execute(t.db.owner()).await.unwrap();
    let plain = two_at_a_time(&t.db, &users, |conn, chunk| {
        Box::pin(async move {
            sqlx::query(
                "INSERT INTO metric_confidence_cache SELECT * FROM again WHERE user_id = ANY($1)
                 ON CONFLICT (user_id, metric_name, source, measurement_date) DO UPDATE SET
                   confidence_score = excluded.confidence_score, probability = excluded.probability, low = excluded.low, high = excluded.high,
                   factors = excluded.factors, findings = excluded.findings, scorer_version = excluded.scorer_version,
                   registry_version = excluded.registry_version, updated_at = now()",
            )
            .bind(chunk)
            .execute(conn)
            .await
            .unwrap();
        })
    })
    .await;
    sqlx::query("VACUUM ANALYZE metric_confidence_cache").execute(t.db.owner()).await.unwrap();
    let overrides = Overrides {
        version: 1000 * REGISTRY_VERSION + 1,
        tolerances: Registry::built_in().rules().iter().map(|r| (r.metric, Tolerance::Relative(0.07))).collect(),
        ..Overrides::default()
    };
    let changed = all(&t.db, &users, &Registry::built_in().with(&overrides)).await;
    sqlx::query("VACUUM ANALYZE metric_confidence_cache").execute(t.db.owner()).await.unwrap();
    let same = all(&t.db, &users, &Registry::built_in().with(&overrides)).await;
    let n = users.len() as i64 * DAYS * METRICS;
    println!(
        "{n} values: first scoring {first:.1} s; plain upsert {plain:.1} s; Recalculate All with every score changed {changed:.1} s = {:.2} × plain; with none changed {same:.1} s = {:.2} ×",
        changed / plain,
        same / plain
    );
    if std::env::var_os("ASSAY_BENCH_STRICT").is_some_and(|s| s == "1") {
        assert!(changed <= 2.0 * plain, "Recalculate All took {:.2} times as long as a plain upsert; the aim is 2", changed / plain);
    }
    assert_eq!(sqlx::query_scalar::<_, i64>("SELECT count(*) FROM metric_confidence_cache").fetch_one(t.db.owner()).await.unwrap(), n);
}

type Work<'c> = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'c>>;

/// Seconds for all chunks, two at a time as two slow slots do, a commit a chunk. Both measurements go this way.
async fn two_at_a_time<F>(db: &crate::store::Db, users: &[String], work: F) -> f64
where
    F: for<'c> Fn(&'c mut PgConnection, &'c [String]) -> Work<'c> + Clone + Send + Sync + 'static,
{
    let begun = Instant::now();
    let half = |which: usize| {
        let (db, users, work) = (db.clone(), users.to_vec(), work.clone());
        tokio::spawn(async move {
            for chunk in users.chunks(PERSONS_AT_ONCE).skip(which).step_by(2) {
                let mut tx = db.begin_service().await.unwrap();
                work(&mut tx, chunk).await;
                tx.commit().await.unwrap();
            }
        })
    };
    let (a, b) = futures::join!(half(0), half(1));
    a.unwrap();
    b.unwrap();
    begun.elapsed().as_secs_f64()
}

/// Seconds to score everybody.
async fn all(db: &crate::store::Db, users: &[String], registry: &Registry) -> f64 {
    let registry = std::sync::Arc::new(registry.clone());
    two_at_a_time(db, users, move |conn, chunk| {
        let registry = registry.clone();
        Box::pin(async move {
            let persons: Vec<_> = chunk.iter().map(|u| (u.clone(), None)).collect();
            rescore_with(conn, &registry, &persons).await.unwrap();
        })
    })
    .await
}
