//! The hot part stays small and quick: dead rows are taken out under a pinned transaction, and plans made while the
//! queue was empty do not read it as a whole when it is full.

use super::*;
use crate::jobs::{Worker, tidy::Tidy};
use crate::store::jobs::compact::{Compacted, Hot, compact, dead_rows};
use sqlx::Connection;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};
use tokio_util::sync::CancellationToken;

const WAIT: Duration = Duration::from_secs(2);

/// A transaction that was open before, as a report or a backup holds one.
async fn pin(t: &TestDb) -> PgConnection {
    let mut pin = PgConnection::connect_with(&t.db.service().connect_options()).await.unwrap();
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM settings").execute(&mut pin).await.unwrap();
    pin
}

async fn rows(t: &TestDb) -> Vec<String> {
    sqlx::query_scalar("SELECT j::text FROM background_jobs j ORDER BY id").fetch_all(t.db.service()).await.unwrap()
}

/// Bytes of the table without its indexes.
async fn bytes(t: &TestDb, table: &str) -> i64 {
    sqlx::query_scalar("SELECT pg_relation_size($1::regclass)").bind(table).fetch_one(t.db.service()).await.unwrap()
}

#[tokio::test]
async fn dead_rows_go_under_an_old_transaction_and_every_living_one_stays_as_it_was() {
    let t = database().await;
    let pinned = pin(&t).await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let keyed = || job::<Act>(&Ask { key: Some("k".into()), ..Ask::default() }).unwrap();
    put(&t, vec![keyed()]).await;
    put(&t, vec![NewJob { scheduled_at: Some(chrono::Utc::now() + chrono::TimeDelta::hours(1)), ..ask("", 1) }]).await;
    put(&t, (0..2000).map(|n| job::<Effect>(&Ask { n, ..Ask::default() }).unwrap()).collect()).await;
    for epoch in 1..=20 {
        let claimed = take(&mut conn, "effect", 100, epoch, Uuid::now_v7()).await;
        if epoch < 20 {
            assert_eq!(claim::finish(&mut conn, &done(epoch, &claimed)).await.unwrap(), 100);
        } else {
            let no = |r: &claim::ClaimedRow| crate::store::jobs::settle::Setback {
                id: r.id,
                error: Some("no".into()),
                class: crate::store::jobs::settle::Class::Permanent,
                again_at: None,
                refund: false,
            };
            let back: Vec<_> = claimed[..10].iter().map(no).collect();
            crate::store::jobs::settle::set_back(&mut conn, epoch, &back).await.unwrap();
        }
    }
    sqlx::query("VACUUM background_jobs").execute(t.db.owner()).await.unwrap();
    let (before, size) = (rows(&t).await, bytes(&t, "background_jobs").await);
    assert_eq!(before.len(), 102);
    assert!(size > 500_000, "VACUUM may not remove them: {size} bytes");
    let letters =
        async || -> i64 { sqlx::query_scalar("SELECT count(*) FROM background_jobs_dlq").fetch_one(t.db.service()).await.unwrap() };
    let died = letters().await;

    assert_eq!(compact(t.db.owner(), Hot::Jobs, 101, WAIT).await.unwrap(), Compacted::TooMany);
    assert_eq!(bytes(&t, "background_jobs").await, size, "too many to be moved: nothing was");
    for table in Hot::ALL {
        assert!(matches!(compact(t.db.owner(), table, 102, WAIT).await.unwrap(), Compacted::Kept(0 | 1 | 102)));
    }
    assert_eq!(rows(&t).await, before);
    assert!(bytes(&t, "background_jobs").await < 150_000);
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted, "moving counts nothing");
    assert_eq!(letters().await, died, "and nobody dies of it");
    // Who holds what still holds it, and a waiting key is still one.
    assert_eq!(enqueue(&mut conn, vec![keyed()]).await.unwrap().merged, 1);
    let held: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM background_jobs WHERE status = 'processing'").fetch_all(&mut *conn).await.unwrap();
    assert_eq!(held.len(), 90);
    let said = claim::Finished { epoch: 20, ids: held, results: vec![], last: true };
    assert_eq!(claim::finish(&mut conn, &said).await.unwrap(), 90);
    pinned.close().await.unwrap();
}

#[tokio::test]
async fn whoever_uses_the_table_is_not_waited_for_long() {
    let t = database().await;
    put(&t, vec![ask("", 1)]).await;
    let mut reader = t.db.begin_service().await.unwrap();
    sqlx::query("SELECT count(*) FROM background_jobs").execute(&mut *reader).await.unwrap();
    let begin = std::time::Instant::now();
    assert_eq!(compact(t.db.owner(), Hot::Jobs, 10, Duration::from_millis(100)).await.unwrap(), Compacted::InUse);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    reader.commit().await.unwrap();
    assert_eq!(compact(t.db.owner(), Hot::Jobs, 10, WAIT).await.unwrap(), Compacted::Kept(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_effect_happens_once_though_the_table_is_emptied_again_and_again_beneath_the_workers() {
    let t = database().await;
    effects_table(&t).await;
    let cancel = CancellationToken::new();
    let node = || Worker::spawn(t.url.pools(1, 8), kinds(), settings(), cancel.clone());
    let workers = [node(), node()];
    let (stop, times) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let compacting = tokio::spawn({
        let (owner, stop, times) = (t.db.owner().clone(), Arc::clone(&stop), Arc::clone(&times));
        async move {
            while !stop.load(Ordering::Relaxed) {
                for table in Hot::ALL {
                    if let Compacted::Kept(_) = compact(&owner, table, 20_000, Duration::from_millis(200)).await.unwrap() {
                        times.fetch_add(1, Ordering::Relaxed);
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    for round in 0..20 {
        put(&t, (0..250).map(|n| job::<Effect>(&Ask { n: round * 250 + n, ..Ask::default() }).unwrap()).collect()).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let effects = async || -> i64 { sqlx::query_scalar("SELECT count(*) FROM effects").fetch_one(t.db.service()).await.unwrap() };
    until("all of it", Duration::from_secs(60), async || effects().await >= 5000).await;
    stop.store(true, Ordering::Relaxed);
    compacting.await.unwrap();
    assert!(times.load(Ordering::Relaxed) > 5, "it was hardly ever emptied");
    cancel.cancel();
    futures::future::join_all(workers.map(crate::jobs::WorkerHandle::stopped)).await;
    let (n, distinct): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT n) FROM effects").fetch_one(t.db.service()).await.unwrap();
    assert_eq!((n, distinct), (5000, 5000));
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
    assert_eq!(kept, BTreeMap::from([(("effect".into(), "completed".into()), 5000)]));
}

#[tokio::test]
async fn the_leader_takes_them_out_when_there_are_many() {
    let t = database().await;
    let pinned = pin(&t).await;
    // Rows that are updated to the same values die by the hundred thousand, and no count changes.
    sqlx::raw_sql(
        "INSERT INTO background_jobs (type, scheduled_at) SELECT 'act', now() + interval '1 day' FROM generate_series(1, 1000);
         DO $$ BEGIN FOR n IN 1..210 LOOP UPDATE background_jobs SET attempts = 0; END LOOP; END $$",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let dead = async || dead_rows(&mut t.db.service().acquire().await.unwrap(), Hot::Jobs).await.unwrap();
    until("the server has counted", Duration::from_secs(10), async || dead().await > 200_000).await;
    let mut tidy = Tidy::default();
    tidy.round(&t.db).await;
    until("taken out", Duration::from_secs(5), async || dead().await == 0).await;
    assert_eq!(rows(&t).await.len(), 1000);
    pinned.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_after_an_idle_time_is_not_read_as_a_whole_by_each_statement() {
    const BURST: i64 = 8000;
    let t = database().await;
    effects_table(&t).await;
    let cancel = CancellationToken::new();
    let mut worker = Worker::spawn(t.url.pools(1, 8), kinds(), settings(), cancel.clone());
    worker.arrived().await;
    let effects = async || -> i64 { sqlx::query_scalar("SELECT count(*) FROM effects").fetch_one(t.db.service()).await.unwrap() };
    let finished = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM job_history WHERE type = 'act'").fetch_one(t.db.service()).await.unwrap()
    };
    // Work by work, so that every plan is made and kept while the server knows the queue to be empty.
    for n in 0..16 {
        if n == 4 {
            sqlx::query("VACUUM (ANALYZE) background_jobs").execute(t.db.owner()).await.unwrap();
        }
        put(&t, vec![job::<Effect>(&Ask { n: -1, ..Ask::default() }).unwrap(), ask("", n)]).await;
        until("done", Duration::from_secs(10), async || effects().await > n && finished().await > n).await;
    }
    let read = async || -> i64 {
        tokio::time::sleep(Duration::from_millis(1300)).await; // the server's statistics lag a second
        sqlx::query_scalar("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'background_jobs'")
            .fetch_one(t.db.service())
            .await
            .unwrap()
    };
    let before = read().await;
    put(&t, (0..BURST).map(|n| job::<Effect>(&Ask { n, ..Ask::default() }).unwrap()).collect()).await;
    put(&t, (0..BURST / 4).map(|n| ask("", n)).collect()).await;
    until("the burst is done", Duration::from_secs(60), async || effects().await == BURST + 16 && finished().await == BURST / 4 + 16).await;
    let after = read().await;
    assert!(after - before < BURST, "{} rows were read one by one for {BURST} jobs", after - before);
    cancel.cancel();
    worker.stopped().await;
}
