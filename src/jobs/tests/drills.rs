//! The rollback drills of the checklist, while it runs.

use super::*;
use crate::jobs::Worker;
use crate::store::{
    dead_letters,
    jobs::settle::{DeadFilter, retry},
    repair,
};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_goes_on_without_trigger_and_without_the_dead_letter_table() {
    let t = database().await;
    let cancel = CancellationToken::new();
    let worker = Worker::spawn(t.url.pools(1, 8), kinds(), settings(), cancel.clone());
    let dies = async |n| {
        let id = put(&t, vec![ask("dead", n)]).await[0];
        until("it died", Duration::from_secs(10), async || status(&t, id).await == "failed").await;
        id
    };
    let letters =
        async || dead_letters::list(&mut t.db.service().acquire().await.unwrap(), &DeadFilter::default(), true, 100).await.unwrap().len();
    dies(1).await;
    assert_eq!(letters().await, 1);
    sqlx::query("DROP TRIGGER IF EXISTS on_max_retries_exceeded ON background_jobs").execute(t.db.owner()).await.unwrap();
    dies(2).await;
    assert_eq!(letters().await, 1);
    repair(&t.url).await.unwrap();
    dies(3).await;
    assert_eq!(letters().await, 2);
    sqlx::raw_sql("DROP TABLE IF EXISTS background_jobs_dlq CASCADE; DROP TABLE IF EXISTS rate_limits CASCADE; DROP MATERIALIZED VIEW IF EXISTS latest_unified_metrics CASCADE")
        .execute(t.db.owner())
        .await
        .unwrap();
    dies(4).await;
    assert_eq!(letters().await, 0);
    let mut conn = t.db.service().acquire().await.unwrap();
    assert!(dead_letters::groups(&mut conn, 10).await.unwrap().is_empty());
    assert_eq!(retry(&mut conn, &DeadFilter::default(), 100).await.unwrap().retried, 4, "the retry does not need the letters");
    drop(conn);
    until("all died again", Duration::from_secs(10), async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM background_jobs WHERE status = 'failed'")
            .fetch_one(t.db.service())
            .await
            .unwrap()
            == 4
    })
    .await;
    repair(&t.url).await.unwrap();
    dies(5).await;
    assert_eq!(letters().await, 1, "put back, and in use");
    cancel.cancel();
    worker.stopped().await;
}
