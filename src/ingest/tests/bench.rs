//! How fast deliveries become rows, and how fast one person's newest values are found among a million. Ignored by
//! default; `make bench` runs them on an optimised build.
use super::*;
use crate::store::{maintenance, read_api};
use std::time::Instant as Clock;

/// One stream of batches: the program waits while the server works and the other way round, so the two together keep one
/// core busy at most, and readings by second are readings by second and core.
#[tokio::test]
#[ignore = "a measurement: make bench"]
async fn bench_recorded_deliveries_normalised_and_stored_on_one_core() {
    let Some(deliveries) = recorded::recorded() else { return };
    for size in [100, 500, 1000] {
        let t = database().await;
        store(&t.db, &deliveries).await;
        sqlx::query("ANALYZE").execute(t.db.owner()).await.unwrap();
        let keys: Vec<(Uuid, Instant)> = deliveries.iter().map(|d| (d.id, d.created_at)).collect();
        let begun = Clock::now();
        let mut readings = 0;
        for batch in keys.chunks(size) {
            let mut tx = t.db.begin_service().await.unwrap();
            for outcome in process_stored(&mut tx, batch).await.unwrap().outcomes {
                if let Status::Completed { readings: n, .. } = outcome.status {
                    readings += n;
                }
            }
            tx.commit().await.unwrap();
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{readings} readings of {} deliveries in batches of {size}: {seconds:.2} s, {:.0} readings/s on one core",
            deliveries.len(),
            f64::from(readings) / seconds
        );
        assert_eq!(readings, 34_550);
    }
    let begun = Clock::now();
    let readings: usize = deliveries
        .iter()
        .map(|d| terra::normalise(&terra::parse(&d.body).unwrap(), None).records.iter().map(|r| r.values.len()).sum::<usize>())
        .sum();
    println!("{readings} readings normalised alone: {:.0} readings/s", readings as f64 / begun.elapsed().as_secs_f64());
}

#[tokio::test]
#[ignore = "a measurement: make bench"]
async fn bench_newest_values_of_one_person_among_a_million() {
    let t = database().await;
    sqlx::raw_sql(
        "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, provenance)
         SELECT 'person-' || p, 'metric_' || m, 'garmin', current_date, p, 'count', 1, 't', now(), gen_random_uuid(), '{\"model\": \"daily\"}'
           FROM generate_series(1, 31250) p, generate_series(1, 32) m;
         ANALYZE unified_metrics",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let begun = Clock::now();
    maintenance::refresh_latest(t.db.owner()).await.unwrap();
    println!("refresh of {} rows: {:.1} s", 31_250 * 32, begun.elapsed().as_secs_f64());
    let plan: Vec<String> =
        sqlx::query_scalar("EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM latest_unified_metrics WHERE user_id = 'person-777'")
            .fetch_all(t.db.service())
            .await
            .unwrap();
    println!("{}", plan.join("\n"));
    assert!(plan[0].contains("Index Scan") || plan.iter().any(|l| l.contains("Bitmap Index Scan")), "{plan:?}");
    let mut conn = t.db.service().acquire().await.unwrap();
    for (what, live) in [("view", false), ("live query", true)] {
        let mut times = Vec::new();
        for n in 0..400 {
            let user = format!("person-{}", 1 + (n * 7919) % 31_250);
            let begun = Clock::now();
            let rows = if live {
                read_api::newest(&mut conn, &user, &[]).await.unwrap().len()
            } else {
                sqlx::query("SELECT * FROM latest_unified_metrics WHERE user_id = $1")
                    .bind(&user)
                    .fetch_all(&mut *conn)
                    .await
                    .unwrap()
                    .len()
            };
            assert_eq!(rows, 32);
            times.push(begun.elapsed());
        }
        times.sort();
        println!("{what}: 32 values, p50 {:?}, p99 {:?}", times[200], times[396]);
    }
}
