//! The statements by themselves.

use super::*;
use crate::store::{
    dead_letters,
    job_lists::{cancel_many, put_off_many, run_now_many},
    jobs::settle::{Class, DeadFilter, Setback, retry, set_back},
    operations, schedules, workers,
};

fn fail(id: Uuid, why: &str) -> Setback {
    Setback { id, error: Some(why.into()), class: Class::Error, again_at: None, refund: false }
}

#[tokio::test]
async fn a_claim_takes_what_it_asked_for_and_a_stale_worker_changes_nothing() {
    let t = database().await;
    let ids = put(&t, (0..20).map(|n| ask("", n)).collect()).await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let (old, new) = (Uuid::now_v7(), Uuid::now_v7());
    let first = take(&mut conn, "act", 5, 1, old).await;
    assert_eq!(first.iter().map(|r| r.id).collect::<Vec<_>>(), ids[..5]);
    let rest = take(&mut conn, "act", 100, 2, old).await;
    assert_eq!(rest.len(), 15, "what is taken is not taken again");
    // The worker is thought dead: nobody registered it, so its batches are given back; another one takes them.
    assert_eq!(workers::rescue(&mut conn, &[], 10).await.unwrap().0, 2);
    let again = take(&mut conn, "act", 5, 3, new).await;
    assert_eq!(again.iter().map(|r| (r.id, r.attempt)).collect::<Vec<_>>(), ids[..5].iter().map(|id| (*id, 2)).collect::<Vec<_>>());
    // It was not dead. Whatever it says now is void.
    assert_eq!(claim::finish(&mut conn, &done(1, &first)).await.unwrap(), 0);
    assert_eq!(set_back(&mut conn, 1, &[fail(ids[0], "late")]).await.unwrap(), Default::default());
    assert!(claim::lock_ours(&mut conn, &ids, 1).await.unwrap().is_empty());
    assert_eq!(claim::finish(&mut conn, &done(3, &again)).await.unwrap(), 5);
    assert_eq!(claim::finish(&mut conn, &done(3, &again)).await.unwrap(), 0, "once is once");
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
    assert_eq!(kept[&("act".into(), "completed".into())], 5);
}

#[tokio::test]
async fn finishing_and_claiming_are_one_statement_and_keep_results() {
    let t = database().await;
    put(&t, (0..10).map(|n| ask("", n)).collect()).await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let me = Uuid::now_v7();
    let first = take(&mut conn, "act", 4, 1, me).await;
    let mut finished = done(1, &first);
    finished.results.push((first[0].id, r#"{"found":1}"#.into()));
    let next = claim::Claim { kind: "act", priority: 5, floor: None, limit: 100, epoch: 2, worker: me, lease: Duration::from_secs(30) };
    let cycle = claim::cycle(&mut conn, &finished, &next).await.unwrap();
    assert_eq!((cycle.finished, cycle.claimed.len()), (4, 6));
    let job = crate::store::jobs::list::find(&mut conn, first[0].id).await.unwrap().unwrap();
    assert_eq!((job.status.as_str(), job.result.map(|r| r.0)), ("completed", Some(serde_json::json!({ "found": 1 }))));
    let nothing = claim::cycle(&mut conn, &done(2, &cycle.claimed), &claim::Claim { epoch: 3, ..next }).await.unwrap();
    assert_eq!((nothing.finished, nothing.claimed.len()), (6, 0));
    let leases: i64 = sqlx::query_scalar("SELECT count(*) FROM job_leases").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(leases, 0);
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
}

#[tokio::test]
async fn failures_end_in_a_dead_letter_a_second_death_in_a_second_and_retry_really_retries() {
    let t = database().await;
    let id = put(&t, vec![ask("", 7)]).await[0];
    let other = put(&t, vec![ask("", 8)]).await[0];
    let mut conn = t.db.service().acquire().await.unwrap();
    for round in 0..2_i64 {
        for attempt in 0..2_i64 {
            let epoch = round * 10 + attempt;
            let rows = take(&mut conn, "act", 10, epoch, Uuid::now_v7()).await;
            let back: Vec<Setback> = rows.iter().map(|r| fail(r.id, &format!("no answer from {} after {epoch} s", r.id))).collect();
            let settled = set_back(&mut conn, epoch, &back).await.unwrap();
            assert_eq!((settled.pending, settled.failed), if attempt == 0 { (2, 0) } else { (0, 2) });
            workers::release(&mut conn, epoch).await.unwrap();
        }
        let letters = dead_letters::list(&mut conn, &DeadFilter { ids: Some(vec![id]), ..Default::default() }, true, 10).await.unwrap();
        assert_eq!(letters.len(), 1, "one open letter a death");
        assert_eq!((letters[0].reason_class.as_str(), letters[0].attempts), ("exhausted", 2));
        let groups = dead_letters::groups(&mut conn, 10).await.unwrap();
        assert_eq!(groups.iter().map(|g| g.open).collect::<Vec<_>>(), [2], "ids and numbers do not make another error");
        let mut tx = sqlx::Acquire::begin(&mut *conn).await.unwrap();
        let retried =
            retry(&mut tx, &DeadFilter { fingerprint: Some(letters[0].fingerprint.clone()), ..Default::default() }, 1000).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(retried.retried, 2);
        assert!(dead_letters::list(&mut conn, &DeadFilter::default(), true, 10).await.unwrap().is_empty(), "marked as retried");
    }
    let rows = take(&mut conn, "act", 10, 99, Uuid::now_v7()).await;
    assert_eq!(rows.iter().map(|r| (r.id, r.attempt)).collect::<Vec<_>>(), [(id, 1), (other, 1)], "the same rows, all attempts");
    assert_eq!(claim::finish(&mut conn, &done(99, &rows)).await.unwrap(), 2);
    assert_eq!(dead_letters::list(&mut conn, &DeadFilter::default(), false, 10).await.unwrap().len(), 4, "history is kept");
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
}

#[tokio::test]
async fn a_permanent_error_dies_at_once_and_a_redrive_recreates_what_was_deleted() {
    let t = database().await;
    let ids = put(&t, vec![ask("", 1), ask("", 2)]).await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let rows = take(&mut conn, "act", 10, 1, Uuid::now_v7()).await;
    let back: Vec<Setback> = rows.iter().map(|r| Setback { class: Class::Permanent, ..fail(r.id, "bad\0payload") }).collect();
    assert_eq!(set_back(&mut conn, 1, &back).await.unwrap().failed, 2);
    assert_eq!(dead_letters::list(&mut conn, &DeadFilter::default(), true, 9).await.unwrap()[0].reason_class, "permanent");
    sqlx::query("DELETE FROM background_jobs WHERE id = $1").bind(ids[0]).execute(&mut *conn).await.unwrap();
    assert_eq!(dead_letters::count_open(&mut conn, &DeadFilter::default()).await.unwrap(), 2, "no foreign key takes the letter with it");
    let redriven = dead_letters::redrive(&mut conn, &DeadFilter::default(), 100).await.unwrap();
    assert_eq!((redriven.retried, redriven.recreated), (1, 1));
    assert_eq!(dead_letters::count_open(&mut conn, &DeadFilter::default()).await.unwrap(), 0);
    let n: i64 = sqlx::query_scalar("SELECT count(*) FROM background_jobs WHERE status = 'pending'").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(n, 2);
    // The DELETE by hand went past the counts; the sweep puts that right.
    assert_ne!(both_counts(&t).await.0, both_counts(&t).await.1);
    counts::recount(&mut conn).await.unwrap();
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
}

/// It is not the delivery's own job any more, which had its id, so it carries a key: by that the index by person has it.
#[tokio::test]
async fn a_recreated_job_of_a_delivery_is_found_by_person_and_nonsense_in_a_payload_stops_nobody() {
    let t = database().await;
    let mut conn = t.db.service().acquire().await.unwrap();
    sqlx::query(
        "INSERT INTO background_jobs_dlq (original_job_id, type, payload, error, fingerprint, user_id)
         SELECT app.uuid_v7(), 'webhook_processing', jsonb_build_object('delivery_id', id), 'x', 'f', 'anna'
           FROM (VALUES (app.uuid_v7()::text), ((SELECT string_agg(md5(n::text), '') FROM generate_series(1, 200) n))) d (id)",
    )
    .execute(&mut *conn)
    .await
    .unwrap();
    let redriven = dead_letters::redrive(&mut conn, &DeadFilter::default(), 100).await.unwrap();
    assert_eq!(redriven.recreated, 2);
    assert_eq!(crate::store::person_jobs::of_person(&mut conn, "anna").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_redrive_leaves_the_letter_of_a_job_that_somebody_else_has_locked() {
    let t = database().await;
    let ids = put(&t, vec![ask("", 1), ask("", 2)]).await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let rows = take(&mut conn, "act", 10, 1, Uuid::now_v7()).await;
    let back: Vec<Setback> = rows.iter().map(|r| Setback { class: Class::Permanent, ..fail(r.id, "x") }).collect();
    assert_eq!(set_back(&mut conn, 1, &back).await.unwrap().failed, 2);
    // Somebody is about to bring the first back, and then does not.
    let mut other = t.db.begin_service().await.unwrap();
    sqlx::query("SELECT FROM background_jobs WHERE id = $1 FOR UPDATE").bind(ids[0]).execute(&mut *other).await.unwrap();
    let first = dead_letters::redrive(&mut conn, &DeadFilter::default(), 100).await.unwrap();
    assert_eq!((first.retried, first.merged, first.recreated), (1, 0, 0));
    other.rollback().await.unwrap();
    assert_eq!((status(&t, ids[0]).await, status(&t, ids[1]).await), ("failed".into(), "pending".into()));
    let open = dead_letters::list(&mut conn, &DeadFilter::default(), true, 9).await.unwrap();
    assert_eq!(open.iter().map(|l| l.original_job_id).collect::<Vec<_>>(), ids[..1]);
    let second = dead_letters::redrive(&mut conn, &DeadFilter::default(), 100).await.unwrap();
    assert_eq!((second.retried, second.merged, second.recreated), (1, 0, 0));
    assert_eq!(dead_letters::count_open(&mut conn, &DeadFilter::default()).await.unwrap(), 0);
    assert_eq!(status(&t, ids[0]).await, "pending");
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
}

#[tokio::test]
async fn a_thousand_wishes_under_one_key_are_one_job_and_a_returning_one_merges() {
    let t = database().await;
    let wish = |since: &str| job::<Act>(&Ask { key: Some("p1".into()), since: Some(since.into()), ..Ask::default() }).unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    let put = enqueue(&mut conn, (1..=500).map(|d| wish(&format!("2026-01-{:02}", d % 28 + 1))).collect()).await.unwrap();
    assert_eq!((put.inserted, put.merged, put.ids.len()), (1, 499, 1));
    let put = enqueue(&mut conn, vec![wish("2025-12-01"), wish("2026-03-01")]).await.unwrap();
    assert_eq!((put.inserted, put.merged), (0, 2));
    let rows = take(&mut conn, "act", 10, 1, Uuid::now_v7()).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(serde_json::from_str::<Ask>(&rows[0].payload).unwrap().since.as_deref(), Some("2025-12-01"));
    // While it runs, a new wish is a new job; when the running one comes back, it is merged into that.
    assert_eq!(enqueue(&mut conn, vec![wish("2026-02-02")]).await.unwrap().inserted, 1);
    let settled = set_back(&mut conn, 1, &[fail(rows[0].id, "later")]).await.unwrap();
    assert_eq!((settled.closed, settled.pending), (1, 0));
    assert_eq!(status(&t, rows[0].id).await, "cancelled");
    let rows = take(&mut conn, "act", 10, 2, Uuid::now_v7()).await;
    assert_eq!(serde_json::from_str::<Ask>(&rows[0].payload).unwrap().since.as_deref(), Some("2025-12-01"));
    // Two dead ones of a key come back as one.
    set_back(&mut conn, 2, &[Setback { class: Class::Permanent, ..fail(rows[0].id, "x") }]).await.unwrap();
    enqueue(&mut conn, vec![wish("2026-02-03")]).await.unwrap();
    let rows = take(&mut conn, "act", 10, 3, Uuid::now_v7()).await;
    set_back(&mut conn, 3, &[Setback { class: Class::Permanent, ..fail(rows[0].id, "x") }]).await.unwrap();
    let retried = retry(&mut conn, &DeadFilter::default(), 100).await.unwrap();
    assert_eq!((retried.retried, retried.merged), (1, 1));
    let rows = take(&mut conn, "act", 10, 4, Uuid::now_v7()).await;
    let since = |payload: &str| serde_json::from_str::<Ask>(payload).unwrap().since;
    assert_eq!(since(&rows[0].payload).as_deref(), Some("2025-12-01"), "and does what both were to do");
    // A dead one that meets a pending one of its key: that one does both, at once.
    set_back(&mut conn, 4, &[Setback { class: Class::Permanent, ..fail(rows[0].id, "x") }]).await.unwrap();
    let later = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    enqueue(&mut conn, vec![NewJob { scheduled_at: Some(later), ..wish("2026-02-04") }]).await.unwrap();
    let retried = retry(&mut conn, &DeadFilter::default(), 100).await.unwrap();
    assert_eq!((retried.retried, retried.merged), (0, 1));
    let rows = take(&mut conn, "act", 10, 5, Uuid::now_v7()).await;
    assert_eq!(rows.iter().map(|r| since(&r.payload)).collect::<Vec<_>>(), [Some("2025-12-01".to_owned())]);
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
}

#[tokio::test]
async fn a_wish_that_is_merged_while_a_dead_job_of_its_key_is_retried_is_not_lost() {
    let t = database().await;
    let wish = |since: &str| job::<Act>(&Ask { key: Some("p1".into()), since: Some(since.into()), ..Ask::default() }).unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    enqueue(&mut conn, vec![wish("2026-02-01")]).await.unwrap();
    let rows = take(&mut conn, "act", 10, 1, Uuid::now_v7()).await;
    set_back(&mut conn, 1, &[Setback { class: Class::Permanent, ..fail(rows[0].id, "x") }]).await.unwrap();
    enqueue(&mut conn, vec![wish("2026-03-01")]).await.unwrap();
    // Somebody's wish has reached the waiting job, but is not committed.
    let mut ingest = t.db.begin_service().await.unwrap();
    assert_eq!(enqueue(&mut ingest, vec![wish("2026-01-01")]).await.unwrap().merged, 1);
    let db = t.db.clone();
    let retrying = tokio::spawn(async move {
        let mut tx = db.begin_service().await.unwrap();
        let retried = retry(&mut tx, &DeadFilter::default(), 100).await.unwrap();
        tx.commit().await.unwrap();
        retried
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!retrying.is_finished(), "it waits for the one who has the job");
    ingest.commit().await.unwrap();
    let retried = retrying.await.unwrap();
    assert_eq!((retried.retried, retried.merged), (0, 1));
    let rows = take(&mut conn, "act", 10, 2, Uuid::now_v7()).await;
    assert_eq!(serde_json::from_str::<Ask>(&rows[0].payload).unwrap().since.as_deref(), Some("2026-01-01"));
}

#[tokio::test]
async fn jobs_are_cancelled_put_off_and_brought_forward() {
    let t = database().await;
    let ids = put(&t, vec![ask("", 1), ask("", 2), ask("", 3)]).await;
    let mut conn = t.db.service().acquire().await.unwrap();
    assert_eq!(cancel_many(&mut conn, &ids[..1]).await.unwrap(), (1, 0));
    assert_eq!(cancel_many(&mut conn, &ids[..1]).await.unwrap(), (0, 0), "it is gone");
    assert_eq!(status(&t, ids[0]).await, "cancelled");
    assert_eq!(put_off_many(&mut conn, &ids[..2]).await.unwrap(), 1);
    let rows = take(&mut conn, "act", 10, 1, Uuid::now_v7()).await;
    assert_eq!(rows.iter().map(|r| r.id).collect::<Vec<_>>(), [ids[2]]);
    assert_eq!(run_now_many(&mut conn, &ids).await.unwrap(), 1);
    assert_eq!(take(&mut conn, "act", 10, 2, Uuid::now_v7()).await.len(), 1);
    // One that runs is asked; if it comes back, it is closed instead of run again.
    assert_eq!(cancel_many(&mut conn, &ids[2..]).await.unwrap(), (0, 1));
    assert_eq!(set_back(&mut conn, 1, &[fail(ids[2], "stopped")]).await.unwrap().closed, 1);
    assert_eq!(status(&t, ids[2]).await, "cancelled");
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
}

#[tokio::test]
async fn limits_of_a_kind_hold_for_all_nodes_together() {
    let t = database().await;
    put(&t, (0..10).map(|n| ask("", n)).collect()).await;
    let mut conn = t.db.service().acquire().await.unwrap();
    assert_eq!(claim::allowance(&mut conn, "act").await.unwrap(), None);
    sqlx::query("INSERT INTO job_kinds (type, max_running) VALUES ('act', 3)").execute(&mut *conn).await.unwrap();
    assert_eq!(claim::allowance(&mut conn, "act").await.unwrap(), Some(3));
    let rows = take(&mut conn, "act", 2, 1, Uuid::now_v7()).await;
    assert_eq!(claim::allowance(&mut conn, "act").await.unwrap(), Some(1));
    claim::finish(&mut conn, &done(1, &rows)).await.unwrap();
    assert_eq!(claim::allowance(&mut conn, "act").await.unwrap(), Some(3));
    sqlx::query("UPDATE job_kinds SET max_running = NULL, per_minute = 60").execute(&mut *conn).await.unwrap();
    assert_eq!(claim::allowance(&mut conn, "act").await.unwrap(), Some(6), "six seconds' worth at once");
    claim::spend_allowance(&mut conn, "act", 6).await.unwrap();
    assert_eq!(claim::allowance(&mut conn, "act").await.unwrap(), Some(0));
    sqlx::query("UPDATE job_kinds SET paused = true").execute(&mut *conn).await.unwrap();
    assert!(claim::due_lanes(&mut conn, &[claim::Ask { kind: "act".into(), priority: 5, floor: None }]).await.unwrap().1[0].paused);
}

#[tokio::test]
async fn a_schedule_fires_once_however_many_lead_and_catches_up_once() {
    let t = database().await;
    let seed = |name, every_s| schedules::Seed { name, job_type: "act", payload: serde_json::json!({ "v": 1 }), every_s, offset_s: 0 };
    let mut conn = t.db.service().acquire().await.unwrap();
    schedules::seed(&mut conn, &[seed("a", 60), seed("b", 60)]).await.unwrap();
    schedules::seed(&mut conn, &[seed("a", 30)]).await.unwrap();
    assert_eq!(schedules::list(&mut conn).await.unwrap()[0].every_s, 60, "what is there stays");
    assert!(schedules::fire_due(&mut conn).await.unwrap().is_empty(), "not due yet");
    sqlx::query("UPDATE schedules SET next_run_at = now() - interval '10 minutes 5 seconds'").execute(&mut *conn).await.unwrap();
    schedules::set_paused(&mut conn, "b", true).await.unwrap();
    let fire = async || schedules::fire_due(&mut t.db.service().acquire().await.unwrap()).await.unwrap().len();
    let (x, y, z) = futures::join!(fire(), fire(), fire());
    assert_eq!(x + y + z, 1);
    let rows = schedules::list(&mut conn).await.unwrap();
    assert_eq!((rows[0].runs, rows[0].missed, rows[1].runs), (1, 10, 0));
    assert!(rows[0].next_run_at > chrono::Utc::now() && rows[0].next_run_at < chrono::Utc::now() + chrono::TimeDelta::seconds(60));
    assert!(schedules::run_now(&mut conn, "b").await.unwrap());
    assert!(schedules::run_now(&mut conn, "a").await.unwrap(), "a run that still waits is not doubled");
    let n: i64 = sqlx::query_scalar("SELECT count(*) FROM background_jobs").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(n, 2);
}

#[tokio::test]
async fn a_schedule_that_cannot_be_fired_says_why_and_keeps_no_other_from_its_run() {
    let t = database().await;
    let seed = |name| schedules::Seed { name, job_type: "act", payload: serde_json::json!({ "v": 1 }), every_s: 86_400, offset_s: 0 };
    let mut conn = t.db.service().acquire().await.unwrap();
    schedules::seed(&mut conn, &[seed("a"), seed("b")]).await.unwrap();
    let due = "UPDATE schedules SET next_run_at = CASE name WHEN 'a' THEN '-infinity' ELSE now() - interval '1 second' END";
    sqlx::query(due).execute(&mut *conn).await.unwrap(); // since when a run is late by it cannot be said
    assert_eq!(schedules::fire_due(&mut conn).await.unwrap(), ["b"]);
    let rows = schedules::list(&mut conn).await.unwrap();
    assert!(rows[0].last_error.as_deref().is_some_and(|why| why.contains("infinite")), "{:?}", rows[0].last_error);
    assert!(rows[1].last_error.is_none());
    let wait = rows[0].next_run_at - chrono::Utc::now();
    assert!(rows[0].runs == 0 && wait > chrono::TimeDelta::seconds(50) && wait <= chrono::TimeDelta::seconds(60), "{wait:?}");
    sqlx::query("UPDATE schedules SET next_run_at = now() WHERE name = 'a'").execute(&mut *conn).await.unwrap();
    assert_eq!(schedules::fire_due(&mut conn).await.unwrap(), ["a"]);
    let rows = schedules::list(&mut conn).await.unwrap();
    assert_eq!((rows[0].runs, rows[0].last_error.as_deref()), (1, None));
}

#[tokio::test]
async fn recalculate_all_is_one_operation_that_a_second_press_joins() {
    let t = database().await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let empty = operations::start_recalculate_all(&mut conn, "anna", 25, 8).await.unwrap().0;
    assert_eq!((empty.total, empty.state.as_str()), (0, "completed"));
    sqlx::query(
        "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
         SELECT 'p' || n, 'steps', 'whoop', current_date, 1, 'count', 1, 't', now(), app.uuid_v7() FROM generate_series(1, 60) n",
    )
    .execute(&mut *conn)
    .await
    .unwrap();
    let one = operations::start_recalculate_all(&mut conn, "anna", 25, 8).await.unwrap().0;
    let two = operations::start_recalculate_all(&mut conn, "berta", 25, 8).await.unwrap().0;
    assert_eq!((one.id, one.total, one.started_by.as_str()), (two.id, 60, "anna"));
    let users: Vec<String> = sqlx::query_scalar("SELECT jsonb_array_elements_text(payload -> 'users') FROM background_jobs ORDER BY 1")
        .fetch_all(&mut *conn)
        .await
        .unwrap();
    assert_eq!(users.len(), 60);
    let claim = claim::Claim {
        kind: "recalculation",
        priority: 8,
        floor: None,
        limit: 2,
        epoch: 1,
        worker: Uuid::now_v7(),
        lease: Duration::from_secs(9),
    };
    let rows = claim::claim(&mut conn, &claim).await.unwrap();
    // One chunk dies: its persons are counted as failed. One is done.
    let lost = serde_json::from_str::<serde_json::Value>(&rows[0].payload).unwrap()["users"].as_array().unwrap().len() as i64;
    set_back(&mut conn, 1, &[Setback { class: Class::Permanent, ..fail(rows[0].id, "x") }]).await.unwrap();
    let now = operations::progress(&mut conn, one.id, 25, 0, 1).await.unwrap().unwrap();
    assert_eq!((now.done, now.failed, now.state.as_str()), (25, lost, "running"));
    assert!(now.remaining_seconds(chrono::Utc::now()).is_some());
    assert!(operations::cancel(&mut conn, one.id).await.unwrap());
    assert!(!operations::cancel(&mut conn, one.id).await.unwrap());
    let waiting: i64 =
        sqlx::query_scalar("SELECT count(*) FROM background_jobs WHERE status = 'pending'").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(waiting, 0);
    let three = operations::start_recalculate_all(&mut conn, "anna", 25, 8).await.unwrap().0;
    assert_ne!(three.id, one.id);
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
}
