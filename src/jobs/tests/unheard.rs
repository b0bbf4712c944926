//! What a worker did not hear: the answer to its claim, and a merge into a job that it passed by.

use super::*;
use crate::jobs::{
    board::Board,
    engine::{Batch, Engine},
    kinds::{ConfidenceCalculation, ask_for_scores},
    worker::heartbeats,
};
use crate::store::workers;
use sqlx::postgres::PgListener;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

fn ids(batch: &Batch) -> Vec<Uuid> {
    batch.rows.iter().map(|row| row.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_answer_was_lost_is_given_back_though_its_worker_lives_and_keeps_what_it_knows_of() {
    let t = database().await;
    let lost = put(&t, vec![ask("", 1)]).await[0];
    let me = Uuid::now_v7();
    let settings = Settings { lease: Duration::from_secs(2), ..settings() };
    let board = Board::new(vec!["act".into()], settings.poll);
    let engine = Arc::new(Engine::new(t.db.clone(), kinds(), settings, me));
    sqlx::query("INSERT INTO workers (id, lock_key, node, role) VALUES ($1, 1, 'x', 'all')")
        .bind(me)
        .execute(t.db.service())
        .await
        .unwrap();
    let cancel = CancellationToken::new();
    let beats = tokio::spawn(heartbeats(Arc::clone(&engine), cancel.clone()));
    // The claim is so slow that nobody waits for its answer any more when it is committed.
    sqlx::raw_sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE INSERT ON job_leases FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let on_its_way = async || -> bool {
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')")
            .fetch_one(t.db.service())
            .await
            .unwrap()
    };
    let pick = board.peek(&engine.queue).await.unwrap().unwrap();
    tokio::select! {
        _ = engine.claim(&board, &pick) => panic!("it was answered too soon for this to say anything"),
        _ = until("the claim is on its way", Duration::from_secs(10), async || on_its_way().await) => {}
    }
    until("it is committed", Duration::from_secs(10), async || status(&t, lost).await == "processing").await;
    sqlx::raw_sql("DROP TRIGGER slow ON job_leases").execute(t.db.owner()).await.unwrap();

    let kept = put(&t, vec![ask("", 2)]).await[0];
    let pick = board.peek(&engine.queue).await.unwrap().unwrap();
    let batch = engine.claim(&board, &pick).await.unwrap().unwrap();
    assert_eq!((ids(&batch), engine.held()), (vec![kept], vec![batch.hold.epoch]));
    let rescued = async || workers::rescue(&mut t.db.service().acquire().await.unwrap(), &[], 10).await.unwrap().0;
    until("the lost one is given back", Duration::from_secs(8), async || rescued().await > 0).await;
    assert_eq!(status(&t, lost).await, "pending");
    tokio::time::sleep(Duration::from_secs(3)).await; // longer than a lease
    assert_eq!((rescued().await, status(&t, kept).await.as_str()), (0, "processing"));
    assert_eq!(engine.work(batch, &board, None).await.0.len(), 1);
    assert_eq!(status(&t, kept).await, "completed");
    assert!(engine.held().is_empty());
    cancel.cancel();
    beats.await.unwrap();
}

#[tokio::test]
async fn a_claim_that_gave_nothing_or_an_error_is_not_held() {
    let t = database().await;
    put(&t, vec![ask("", 1)]).await;
    let board = Board::new(vec!["act".into()], Duration::from_secs(1));
    let engine = Engine::new(t.db.clone(), kinds(), settings(), Uuid::now_v7());
    let pick = board.peek(&engine.queue).await.unwrap().unwrap();
    sqlx::raw_sql("ALTER TABLE job_leases RENAME TO away").execute(t.db.owner()).await.unwrap();
    assert!(engine.claim(&board, &pick).await.is_err());
    assert!(engine.held().is_empty(), "an error");
    sqlx::raw_sql("ALTER TABLE away RENAME TO job_leases").execute(t.db.owner()).await.unwrap();
    let batch = engine.claim(&board, &pick).await.unwrap().unwrap();
    assert!(engine.claim(&board, &pick).await.unwrap().is_none());
    assert_eq!(engine.held(), [batch.hold.epoch], "nothing was left for the second");
}

/// Hands the board what is said on the channel of the jobs, until it is quiet.
async fn hear(listener: &mut PgListener, board: &Board) -> Vec<String> {
    let mut words = Vec::new();
    while let Ok(Ok(news)) = tokio::time::timeout(Duration::from_secs(1), listener.recv()).await {
        board.hear(news.payload());
        words.push(news.payload().to_owned());
    }
    words
}

#[tokio::test]
async fn a_job_that_was_passed_by_while_a_wish_was_merged_into_it_is_heard_of_with_the_commit() {
    let t = database().await;
    let person = |id: &str| {
        let payload = serde_json::from_value(serde_json::json!({ "user_id": id })).unwrap();
        job::<ConfidenceCalculation>(&payload).unwrap()
    };
    let changed = |id: &str| BTreeMap::from([(id.to_owned(), chrono::NaiveDate::from_ymd_opt(2026, 7, 1).unwrap())]);
    let passed = put(&t, vec![person("p1")]).await[0];
    let mut listener = PgListener::connect_with(t.db.service()).await.unwrap();
    listener.listen("assay_jobs").await.unwrap();
    let board = Board::new(vec![ConfidenceCalculation::NAME.into()], Duration::from_secs(1));
    let engine = Engine::new(t.db.clone(), Kinds::default().with(ConfidenceCalculation), settings(), Uuid::now_v7());
    // A delivery of somebody who waits already: until it is committed, the job is locked.
    let mut ingest = t.db.begin_service().await.unwrap();
    ask_for_scores(&mut ingest, &changed("p1"), &[]).await.unwrap();
    let behind = put(&t, vec![person("p2")]).await[0];
    let pick = board.peek(&engine.queue).await.unwrap().unwrap();
    let batch = engine.claim(&board, &pick).await.unwrap().unwrap();
    assert_eq!(ids(&batch), [behind], "the one that is locked was passed by");
    ingest.commit().await.unwrap();
    hear(&mut listener, &board).await;
    let pick = board.peek(&engine.queue).await.unwrap().unwrap();
    let batch = engine.claim(&board, &pick).await.unwrap().expect("nobody said that the first one waits");
    assert_eq!(ids(&batch), [passed]);

    // One that was to be gathered for a while is moved ahead by news, into a lane in which nothing was inserted.
    let later = NewJob { scheduled_at: Some(chrono::Utc::now() + chrono::TimeDelta::seconds(20)), priority: 8, ..person("p3") };
    let gathered = put(&t, vec![later]).await[0];
    let mut ingest = t.db.begin_service().await.unwrap();
    ask_for_scores(&mut ingest, &changed("p3"), &[]).await.unwrap();
    ingest.commit().await.unwrap();
    let words = hear(&mut listener, &board).await;
    assert!(words.len() == 1 && words[0].ends_with("@6"), "{words:?}");
    let pick = board.peek(&engine.queue).await.unwrap().unwrap();
    let batch = engine.claim(&board, &pick).await.unwrap().unwrap();
    assert_eq!((ids(&batch), pick.priority), (vec![gathered], 6));
}
