//! What hangs on a job ends with it: chunks of operations, and deliveries.

use super::*;
use crate::jobs::operations::{change_registry, promote_shadow, start_redrive};
use crate::model::Metric;
use crate::quality::{Tolerance, registry::Overrides};
use crate::store::{
    audit::Actor,
    job_lists::cancel_many,
    jobs::settle::{Class, DeadFilter, Setback, retry, set_back},
    operations, replay, shadow, workers,
};

/// Recalculate All of three persons, each a chunk, all claimed in batch 1.
async fn three_chunks(conn: &mut PgConnection) -> (Uuid, Vec<claim::ClaimedRow>) {
    sqlx::query(
        "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
         SELECT 'p' || n, 'steps', 'whoop', current_date, 1, 'count', 1, 't', now(), app.uuid_v7() FROM generate_series(1, 3) n ON CONFLICT DO NOTHING",
    )
    .execute(&mut *conn)
    .await
    .unwrap();
    let operation = operations::start_recalculate_all(conn, "anna", 1, 8).await.unwrap().0;
    let rows = take_chunks(conn, "recalculation", 8, 1).await;
    assert_eq!(rows.len(), 3);
    (operation.id, rows)
}

async fn take_chunks(conn: &mut PgConnection, kind: &str, priority: i16, epoch: i64) -> Vec<claim::ClaimedRow> {
    let worker = Uuid::now_v7();
    let claim = claim::Claim { kind, priority, floor: None, limit: 9, epoch, worker, lease: Duration::from_secs(30) };
    claim::claim(conn, &claim).await.unwrap()
}

fn dies(row: &claim::ClaimedRow) -> Setback {
    Setback { id: row.id, error: Some("torn".into()), class: Class::Permanent, again_at: None, refund: false }
}

/// A chunk is done: as its handler commits it.
async fn succeeds(conn: &mut PgConnection, operation: Uuid, epoch: i64, row: &claim::ClaimedRow) {
    let done = claim::Finished { epoch, ids: vec![row.id], ..claim::Finished::default() };
    assert_eq!(claim::finish(conn, &done).await.unwrap(), 1);
    operations::progress(conn, operation, 1, 0, 1).await.unwrap();
}

async fn stands(conn: &mut PgConnection, operation: Uuid) -> (String, i64, i64) {
    let o = operations::find(conn, operation).await.unwrap().unwrap();
    assert_eq!(o.finished_at.is_some(), o.state != "running", "{o:?}");
    (o.state, o.done, o.failed)
}

#[tokio::test]
async fn a_chunk_that_died_and_runs_again_counts_once() {
    let t = database().await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let (operation, rows) = three_chunks(&mut conn).await;
    set_back(&mut conn, 1, &[dies(&rows[0])]).await.unwrap();
    assert_eq!(stands(&mut conn, operation).await, ("running".into(), 0, 1));
    assert_eq!(retry(&mut conn, &DeadFilter::default(), 9).await.unwrap().retried, 1);
    assert_eq!(stands(&mut conn, operation).await, ("running".into(), 0, 0), "it waits again");
    let again = take_chunks(&mut conn, "recalculation", 8, 2).await;
    succeeds(&mut conn, operation, 2, &again[0]).await;
    succeeds(&mut conn, operation, 1, &rows[1]).await;
    assert_eq!(stands(&mut conn, operation).await, ("running".into(), 2, 0), "the third is still to be done");
    succeeds(&mut conn, operation, 1, &rows[2]).await;
    assert_eq!(stands(&mut conn, operation).await, ("completed".into(), 3, 0));
}

#[tokio::test]
async fn an_operation_that_is_over_stays_so_when_a_dead_chunk_of_it_runs_again() {
    let t = database().await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let (operation, rows) = three_chunks(&mut conn).await;
    succeeds(&mut conn, operation, 1, &rows[0]).await;
    succeeds(&mut conn, operation, 1, &rows[1]).await;
    set_back(&mut conn, 1, &[dies(&rows[2])]).await.unwrap();
    assert_eq!(stands(&mut conn, operation).await, ("completed".into(), 2, 1));
    assert_eq!(retry(&mut conn, &DeadFilter::default(), 9).await.unwrap().retried, 1);
    assert_eq!(stands(&mut conn, operation).await, ("completed".into(), 2, 0));
    let next = operations::start_recalculate_all(&mut conn, "anna", 3, 8).await.unwrap().0;
    assert!(next.id != operation && next.total == 3, "a press begins with everybody, and does not join the one chunk");
    let again = take_chunks(&mut conn, "recalculation", 8, 2).await;
    succeeds(&mut conn, operation, 2, again.iter().find(|r| r.id == rows[2].id).unwrap()).await;
    assert_eq!(stands(&mut conn, operation).await, ("completed".into(), 3, 0));
}

#[tokio::test]
async fn a_cancelled_chunk_is_over_whether_it_waited_or_ran_and_a_dead_one_is_not_counted_again() {
    let t = database().await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let (operation, rows) = three_chunks(&mut conn).await;
    // The first ran when it was cancelled; the second goes back and waits; the third dies.
    assert_eq!(cancel_many(&mut conn, &[rows[0].id]).await.unwrap(), (0, 1));
    let back = |row: &claim::ClaimedRow| Setback { class: Class::Error, error: None, refund: true, ..dies(row) };
    set_back(&mut conn, 1, &[back(&rows[0]), back(&rows[1]), dies(&rows[2])]).await.unwrap();
    assert_eq!(stands(&mut conn, operation).await, ("running".into(), 0, 2));
    assert_eq!(cancel_many(&mut conn, &[rows[2].id]).await.unwrap(), (1, 0));
    assert_eq!(stands(&mut conn, operation).await, ("running".into(), 0, 2));
    assert_eq!(cancel_many(&mut conn, &[rows[1].id]).await.unwrap(), (1, 0));
    assert_eq!(stands(&mut conn, operation).await, ("completed".into(), 0, 3));
    let next = operations::start_recalculate_all(&mut conn, "anna", 3, 8).await.unwrap().0;
    assert_ne!(next.id, operation, "a press does not join what is over");
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
}

/// Whom the waiting chunks of an operation will score.
async fn waits_for(conn: &mut PgConnection, operation: Uuid) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT jsonb_array_elements_text(payload -> 'users') FROM background_jobs WHERE status = 'pending' AND payload ->> 'operation' = $1 ORDER BY 1",
    )
    .bind(operation.to_string())
    .fetch_all(conn)
    .await
    .unwrap()
}

fn steps(tolerance: f64) -> Overrides {
    Overrides { tolerances: [(Metric::Steps, Tolerance::Relative(tolerance))].into(), ..Overrides::default() }
}

/// The change, committed; the operation that scores everybody under it.
async fn changes(t: &TestDb, overrides: Option<&Overrides>) -> Uuid {
    let mut tx = t.db.begin_service().await.unwrap();
    let operation = change_registry(&mut tx, overrides, &Actor::system()).await.unwrap();
    tx.commit().await.unwrap();
    operation.id
}

#[tokio::test]
async fn whoever_was_scored_before_the_registry_changed_is_scored_again() {
    let t = database().await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let (first, rows) = three_chunks(&mut conn).await;
    succeeds(&mut conn, first, 1, &rows[0]).await;
    // Not committed: neither the registry nor its recalculation is there, and the one that runs goes on.
    let mut tx = t.db.begin_service().await.unwrap();
    change_registry(&mut tx, Some(&steps(0.2)), &Actor::system()).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(stands(&mut conn, first).await, ("running".into(), 1, 0));
    let everybody = ["p1", "p2", "p3"];
    let second = changes(&t, Some(&steps(0.2))).await;
    assert_eq!(stands(&mut conn, first).await, ("cancelled".into(), 1, 0));
    assert_eq!(waits_for(&mut conn, second).await, everybody);
    let joined = crate::jobs::operations::start_recalculate_all(&t.db, &Actor::system()).await.unwrap().0;
    assert_eq!(joined.id, second, "the button still joins");
    // A promotion and the way back to the built-in registry are changes like any other.
    let beside = shadow::start(&mut conn, Some(&steps(0.3)), "anna", 25, 8).await.unwrap();
    operations::progress(&mut conn, beside.id, 3, 0, 1).await.unwrap();
    let mut tx = t.db.begin_service().await.unwrap();
    assert_eq!(promote_shadow(&mut tx, &Actor::system()).await.unwrap(), Some(0));
    tx.commit().await.unwrap();
    let third = operations::newest(&mut conn, "recalculate_all").await.unwrap().unwrap().id;
    assert_eq!(stands(&mut conn, second).await, ("cancelled".into(), 0, 0));
    assert!(waits_for(&mut conn, second).await.is_empty());
    assert_eq!(waits_for(&mut conn, third).await, everybody);
    let fourth = changes(&t, None).await;
    assert_eq!(stands(&mut conn, third).await, ("cancelled".into(), 0, 0));
    assert_eq!(waits_for(&mut conn, fourth).await, everybody);
    let stopped: Vec<String> = sqlx::query_scalar("SELECT subject FROM audit_log WHERE action = 'operation.cancel' ORDER BY at")
        .fetch_all(&mut *conn)
        .await
        .unwrap();
    assert_eq!(stopped, [first, second, third].map(|id| id.to_string()));
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
}

#[tokio::test]
async fn a_recalculation_begun_while_the_registry_changes_is_begun_anew_too() {
    let t = database().await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let (first, _) = three_chunks(&mut conn).await;
    assert!(operations::cancel(&mut conn, first).await.unwrap());
    let mut press = t.db.begin_service().await.unwrap();
    let pressed = operations::start_recalculate_all(&mut press, "berta", 25, 8).await.unwrap().0;
    let db = t.db.clone();
    let change = tokio::spawn(async move {
        let mut tx = db.begin_service().await.unwrap();
        let operation = change_registry(&mut tx, Some(&steps(0.2)), &Actor::system()).await.unwrap();
        tx.commit().await.unwrap();
        operation
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!change.is_finished(), "it waits for the press");
    press.commit().await.unwrap();
    let operation = change.await.unwrap();
    assert!(operation.id != pressed.id && operation.total == 3, "{operation:?}");
    assert_eq!(stands(&mut conn, pressed.id).await.0, "cancelled");
    assert_eq!(waits_for(&mut conn, operation.id).await, ["p1", "p2", "p3"]);
}

#[tokio::test]
async fn chunks_of_a_replay_count_their_deliveries_and_what_was_deleted_comes_back_from_its_letter() {
    let t = database().await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let operation: Uuid = sqlx::query_scalar(
        "WITH o AS (INSERT INTO operations (kind, total, chunks_total, started_by) VALUES ('replay', 12, 2, 'anna') RETURNING id),
              j AS (INSERT INTO background_jobs (type, priority, payload)
                    SELECT 'replay', 5, jsonb_build_object('operation', id, 'deliveries', n) FROM o, (VALUES (5), (7)) v(n))
         SELECT id FROM o",
    )
    .fetch_one(&mut *conn)
    .await
    .unwrap();
    let rows = take_chunks(&mut conn, "replay", 5, 1).await;
    set_back(&mut conn, 1, &[dies(&rows[0])]).await.unwrap();
    let failed = stands(&mut conn, operation).await.2;
    assert!(failed == 5 || failed == 7, "{failed}");
    sqlx::query("DELETE FROM background_jobs WHERE id = $1").bind(rows[0].id).execute(&mut *conn).await.unwrap();
    let redriven = crate::store::dead_letters::redrive(&mut conn, &DeadFilter::default(), 9).await.unwrap();
    assert_eq!((redriven.recreated, stands(&mut conn, operation).await), (1, ("running".into(), 0, 0)));
    set_back(&mut conn, 1, &[dies(&rows[1])]).await.unwrap();
    assert_eq!(stands(&mut conn, operation).await, ("running".into(), 0, 12 - failed), "the recreated one waits");
}

#[tokio::test]
async fn a_redrive_ends_with_its_one_job_and_runs_again_with_it() {
    let t = database().await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let operation = start_redrive(&t.db, &DeadFilter::default(), &Actor::system()).await.unwrap().id;
    let rows = take_chunks(&mut conn, "redrive", 4, 1).await;
    set_back(&mut conn, 1, &[dies(&rows[0])]).await.unwrap();
    workers::release(&mut conn, 1).await.unwrap();
    let found = operations::find(&mut conn, operation).await.unwrap().unwrap();
    assert_eq!((found.state.as_str(), found.error.as_deref()), ("failed", Some("torn")));
    retry(&mut conn, &DeadFilter::default(), 9).await.unwrap();
    let found = operations::find(&mut conn, operation).await.unwrap().unwrap();
    assert_eq!((found.state.as_str(), found.error, found.finished_at), ("running", None, None));
    cancel_many(&mut conn, &[rows[0].id]).await.unwrap();
    let found = operations::find(&mut conn, operation).await.unwrap().unwrap();
    assert_eq!((found.state.as_str(), found.error.as_deref()), ("failed", Some("Its job was cancelled. It can be started again.")));
}

#[tokio::test]
async fn an_operation_whose_jobs_were_deleted_by_hand_ends() {
    let t = database().await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let (operation, rows) = three_chunks(&mut conn).await;
    succeeds(&mut conn, operation, 1, &rows[0]).await;
    let long_ago = "UPDATE operations SET started_at = now() - interval '2 minutes'";
    sqlx::query(long_ago).execute(&mut *conn).await.unwrap();
    assert_eq!(operations::end_abandoned(&mut conn).await.unwrap(), 0, "two chunks are in work");
    sqlx::query("DELETE FROM background_jobs").execute(&mut *conn).await.unwrap();
    assert_eq!(operations::end_abandoned(&mut conn).await.unwrap(), 1);
    assert_eq!(stands(&mut conn, operation).await, ("failed".into(), 1, 2));
    assert_ne!(operations::start_recalculate_all(&mut conn, "anna", 3, 8).await.unwrap().0.id, operation);
}

#[tokio::test]
async fn a_delivery_whose_job_is_cancelled_says_so_can_be_replayed_and_holds_no_month_back() {
    let t = database().await;
    sqlx::raw_sql(
        "SELECT app.make_raw_partition('2020-01-01');
         WITH raw AS (
           INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, ordering_ms, body, status)
           SELECT id, app.received_at(id), 'trace-' || n, 'daily', n, '{}', CASE n WHEN 3 THEN 'processing' ELSE 'pending' END
             FROM (SELECT n, ('016fa677-84' || n || '0-7000-8000-000000000000')::uuid AS id FROM generate_series(1, 3) n) january RETURNING id, created_at, ordering_ms)
         INSERT INTO background_jobs (id, type, payload)
         SELECT id, CASE ordering_ms WHEN 3 THEN 's3_fetch' ELSE 'webhook_processing' END, jsonb_build_object('delivery_id', id, 'created_at', created_at) FROM raw",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let drop_month =
        async || -> i64 { sqlx::query_scalar("SELECT app.drop_raw_before('2020-03-01')").fetch_one(t.db.owner()).await.unwrap() };
    let mut conn = t.db.service().acquire().await.unwrap();
    let running = take(&mut conn, "webhook_processing", 1, 1, Uuid::now_v7()).await;
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM background_jobs ORDER BY id").fetch_all(&mut *conn).await.unwrap();
    assert_eq!(cancel_many(&mut conn, &ids).await.unwrap(), (2, 1));
    assert_eq!(drop_month().await, 0, "one is still in work");
    let back = Setback { class: Class::Error, error: None, refund: true, ..dies(&running[0]) };
    assert_eq!(set_back(&mut conn, 1, &[back]).await.unwrap().closed, 1);
    let said: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT status, error FROM terra_webhooks_raw").fetch_all(&mut *conn).await.unwrap();
    assert_eq!(said, vec![("failed".to_owned(), Some("Its job was cancelled. It can be started again.".to_owned())); 3]);
    assert!(replay::one(&t.db, &Actor::system(), running[0].id).await.unwrap().is_some());
    assert_eq!(drop_month().await, 3);
}
