//! The recorded events through the whole way, where they are at hand.
use super::*;
use std::io::{BufRead, BufReader};

pub(super) fn recorded() -> Option<Vec<RawDelivery>> {
    let folder = std::env::var_os("ASSAY_TEST_DATA")
        .map_or_else(|| std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), std::path::PathBuf::from)
        .join("events");
    if !folder.is_dir() {
        eprintln!("skipped: no recorded events at {} (set ASSAY_TEST_DATA)", folder.display());
        return None;
    }
    let mut out = Vec::new();
    for name in ["lifesnaps", "garmin_whoop", "furberg"] {
        let file = std::fs::File::open(folder.join(format!("{name}.events.jsonl.gz"))).unwrap();
        for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let mut one = delivery(u32::try_from(out.len()).unwrap(), line["ordering_ms"].as_i64().unwrap(), &line["body"]);
            line["trace_id"].as_str().unwrap().clone_into(&mut one.trace_id);
            out.push(one);
        }
    }
    Some(out)
}

#[tokio::test]
async fn recorded_deliveries_in_order_and_shuffled_with_repeats_leave_the_same_tables() {
    let Some(deliveries) = recorded() else { return };
    assert_eq!(deliveries.len(), 7_002);
    let straight = database().await;
    store(&straight.db, &deliveries).await;
    let begun = std::time::Instant::now();
    let mut readings = 0;
    for batch in deliveries.chunks(200) {
        for outcome in run(&straight.db, batch).await.outcomes {
            let Status::Completed { readings: n, note: None } = outcome.status else { panic!("{outcome:?}") };
            readings += n;
        }
    }
    eprintln!("{readings} readings in {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(readings, 34_550);
    let expected = tables(&straight.db).await;

    let mut dice = Dice(2026);
    let mut order = deliveries.clone();
    for _ in 0..1000 {
        order.push(deliveries[dice.below(deliveries.len())].clone());
    }
    dice.shuffle(&mut order);
    let shuffled = database().await;
    store(&shuffled.db, &deliveries).await;
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let (batch, more) = rest.split_at((1 + dice.below(400)).min(rest.len()));
        run(&shuffled.db, batch).await;
        rest = more;
    }
    let found = tables(&shuffled.db).await;
    assert_eq!(expected.len(), found.len());
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found);
    }

    // Twelve o'clock was delivered for 24 persons before the day was over; it ends whole.
    let cut: i64 =
        sqlx::query_scalar("SELECT count(*) FROM unified_metrics WHERE coverage ? 'cut_s'").fetch_one(shuffled.db.service()).await.unwrap();
    assert_eq!(cut, 0);
    let both: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT FROM unified_metrics WHERE user_id = 'gw-person-1' AND metric_name = 'sleep_duration'
                                GROUP BY measurement_date HAVING count(DISTINCT source) = 2) nights",
    )
    .fetch_one(shuffled.db.service())
    .await
    .unwrap();
    assert_eq!(both, 137);
}
