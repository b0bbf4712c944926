//! Pages of jobs: complete, in order, exact in their counts, and quick plans where it matters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

use super::*;
use crate::store::testing;

const FILL: &str = r#"
  INSERT INTO background_jobs (type, status, payload, user_id, error, failed_at, completed_at, attempts)
  SELECT CASE WHEN n % 3 = 0 THEN 'a' ELSE 'b' END, 'failed', '{}', 'u' || n % 7, 'Broken at ' || n, now(), now(), 5 FROM generate_series(1, 40) n;
  INSERT INTO background_jobs (type, payload, user_id, scheduled_at)
  SELECT 'a', '{}', 'u' || n % 7, now() + make_interval(mins => n % 2) FROM generate_series(1, 60) n;
  INSERT INTO job_history (id, type, status, priority, payload, attempts, created_at, scheduled_at, completed_at, user_id)
  SELECT app.uuid_v7(), 'a', CASE WHEN n % 10 = 0 THEN 'cancelled' ELSE 'completed' END, 5, '{}', 1, now(), now(), now() - make_interval(mins => n % 5), 'u' || n % 7
    FROM generate_series(1, 100) n;
  UPDATE background_jobs SET payload = '{"a": {"b": "c"}}' WHERE error = 'Broken at 7';
  UPDATE job_history SET payload = '{"a": {"b": "c"}}' WHERE id = (SELECT id FROM job_history ORDER BY completed_at, id LIMIT 1);
  ANALYZE background_jobs, job_history;"#;

async fn walk(conn: &mut PgConnection, filter: &Filter) -> Vec<Row> {
    let (mut all, mut cursor) = (Vec::new(), Cursor::default());
    loop {
        let (rows, next) = page(conn, filter, cursor, 7).await.unwrap();
        assert!(rows.len() <= 7);
        all.extend(rows);
        match next {
            Some(next) => cursor = next,
            None => return all,
        }
    }
}

#[tokio::test]
async fn pages_show_every_match_once_and_counts_agree() {
    let t = testing::database().await;
    sqlx::raw_sql(FILL).execute(t.db.owner()).await.unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    let text = |s: &str| Some(s.to_owned());
    for (filter, expected) in [
        (Filter::default(), 200),
        (Filter { status: text("failed"), ..Filter::default() }, 40),
        (Filter { status: text("pending"), ..Filter::default() }, 60),
        (Filter { status: text("pending"), not_due: true, ..Filter::default() }, 30),
        (Filter { status: text("processing"), ..Filter::default() }, 0),
        (Filter { status: text("completed"), ..Filter::default() }, 90),
        (Filter { status: text("cancelled"), ..Filter::default() }, 10),
        (Filter { kind: text("b"), ..Filter::default() }, 27),
        (Filter { error: text("BROKEN AT 4"), ..Filter::default() }, 2),
        (Filter { payload: Some((vec!["a".into(), "b".into()], "c".into())), ..Filter::default() }, 2),
        (Filter { payload: Some((vec!["a".into()], "c".into())), ..Filter::default() }, 0),
        (Filter { user_id: text("u3"), ..Filter::default() }, 6 + 9 + 14),
        (Filter { user_id: text("'; DROP TABLE"), ..Filter::default() }, 0),
    ] {
        let rows = walk(&mut conn, &filter).await;
        let ids: std::collections::BTreeSet<Uuid> = rows.iter().map(|r| r.id).collect();
        assert_eq!((rows.len(), ids.len()), (expected, expected), "{filter:?}");
        assert_eq!(count(&mut conn, &filter).await.unwrap(), expected as i64, "{filter:?}");
    }
}

/// A delivery's own job is in no index by person (person_jobs): waiting, running and dead ones are found all the same, those of
/// deliveries that were woken, and those of other kinds.
#[tokio::test]
async fn a_persons_jobs_are_those_of_the_deliveries_and_all_others() {
    let t = testing::database().await;
    sqlx::raw_sql(
        "CREATE TABLE d AS SELECT n, app.uuid_v7() AS id, CASE WHEN n < 5 THEN 'anna' WHEN n < 9 THEN 'ben' END AS who FROM generate_series(1, 9) n;
         INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, ordering_ms, body, user_id)
         SELECT id, app.received_at(id), 't' || n, 'daily', 1, '{}', who FROM d;
         INSERT INTO background_jobs (id, type, payload, user_id, status, failed_at)
         SELECT id, 'webhook_processing', '{}', who, CASE n WHEN 1 THEN 'processing' WHEN 2 THEN 'failed' ELSE 'pending' END, CASE n WHEN 2 THEN now() END
           FROM d WHERE n <> 4;
         INSERT INTO background_jobs (type, payload, user_id, unique_key, pending_key)
         SELECT 'webhook_processing', jsonb_build_object('delivery_id', id), who, 'delivery:' || id, 'delivery:' || id FROM d WHERE n = 4;
         INSERT INTO background_jobs (type, payload, user_id) VALUES ('replay', '{}', 'anna'), ('replay', '{}', NULL);
         INSERT INTO job_history (id, type, status, priority, payload, attempts, created_at, scheduled_at, completed_at, user_id)
         SELECT app.uuid_v7(), 'webhook_processing', 'completed', 5, '{}', 1, now(), now(), now(), who FROM d WHERE n < 3",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    for (who, status, expected) in [
        ("anna", None, 7),
        ("anna", Some("pending"), 3),
        ("anna", Some("processing"), 0), // no lease names it
        ("anna", Some("failed"), 1),
        ("anna", Some("completed"), 2),
        ("ben", None, 4),
        ("carl", None, 0),
    ] {
        let filter = Filter { user_id: Some(who.into()), status: status.map(str::to_owned), ..Filter::default() };
        let rows = walk(&mut conn, &filter).await;
        assert!(rows.iter().all(|r| r.user_id.as_deref() == Some(who)));
        assert_eq!((rows.len(), count(&mut conn, &filter).await.unwrap()), (expected, expected as i64), "{who} {status:?}");
    }
    // Nothing waits any more: what is dead is found still.
    sqlx::query("DELETE FROM background_jobs WHERE failed_at IS NULL").execute(&mut *conn).await.unwrap();
    assert_eq!(walk(&mut conn, &Filter { user_id: Some("anna".into()), ..Filter::default() }).await.len(), 3);
}

#[tokio::test]
async fn acting_on_a_filter_moves_each_job_once_and_keeps_the_counts() {
    let t = testing::database().await;
    sqlx::raw_sql(FILL).execute(t.db.owner()).await.unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    let waiting = Filter { status: Some("pending".into()), not_due: true, ..Filter::default() };
    let ids = matching(&mut conn, &waiting, None, 1000).await.unwrap();
    assert_eq!(run_now_many(&mut conn, &ids).await.unwrap(), 30);
    assert_eq!(run_now_many(&mut conn, &ids).await.unwrap(), 0, "they are due already");
    let dead = matching(&mut conn, &Filter { status: Some("failed".into()), kind: Some("b".into()), ..Filter::default() }, None, 1000)
        .await
        .unwrap();
    assert_eq!(cancel_many(&mut conn, &dead).await.unwrap(), (27, 0));
    assert_eq!(cancel_many(&mut conn, &dead).await.unwrap(), (0, 0));
    let counts = crate::store::jobs::counts::counts(&mut conn).await.unwrap();
    let of = |kind: &str, status: &str| counts.iter().filter(|c| c.kind == kind && c.status == status).map(|c| c.count).sum::<i64>();
    assert_eq!((of("b", "failed"), of("b", "cancelled"), of("a", "failed")), (0, 27, 13));
}

#[tokio::test]
async fn a_page_of_a_big_queue_is_read_by_index() {
    let t = testing::database().await;
    sqlx::raw_sql(
        "INSERT INTO background_jobs (type, status, payload, failed_at) SELECT 'a', 'failed', '{}', now() FROM generate_series(1, 30);
         INSERT INTO background_jobs (type, payload) SELECT 'a', '{}' FROM generate_series(1, 20000);
         ANALYZE background_jobs",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    for (status, index) in
        [(Some("failed"), "background_jobs_failed"), (Some("pending"), "background_jobs_pkey"), (None, "background_jobs_pkey")]
    {
        const SQL: &str = concat!("EXPLAIN ", columns!("max_attempts"), hot!(), " ORDER BY id DESC LIMIT $9");
        let filter = Filter { status: status.map(str::to_owned), ..Filter::default() };
        let plan: Vec<String> =
            bind_hot!(sqlx::query_scalar(SQL), filter, None::<Uuid>, 51_i64, 51_i64).fetch_all(&mut *conn).await.unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains(index) && !plan.contains("Seq Scan"), "{status:?}\n{plan}");
    }
}

#[tokio::test]
async fn a_search_goes_on_behind_its_window_and_shows_every_match_once() {
    let t = testing::database().await;
    // Ten end in each moment, so that the window's end lies among such; the cancelled ones lie on both sides of it.
    sqlx::raw_sql(
        "INSERT INTO job_history (id, type, status, priority, payload, attempts, created_at, scheduled_at, completed_at)
         SELECT app.uuid_v7(), 'a', CASE WHEN n >= 25000 THEN 'cancelled' ELSE 'completed' END, 5, '{}', 1, now(), now(),
                now() - (n + 4) / 10 * interval '1 millisecond'
           FROM generate_series(1, 25025) n;
         ANALYZE job_history",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    let cancelled = Filter { status: Some("cancelled".into()), ..Filter::default() };
    let first = search(&mut conn, &cancelled, Cursor::default(), 50).await.unwrap();
    assert_eq!((first.rows.len(), first.next, count(&mut conn, &cancelled).await.unwrap()), (6, None, 6));
    let second = search(&mut conn, &cancelled, first.further.expect("history goes on"), 50).await.unwrap();
    assert_eq!((second.rows.len(), second.next, second.further), (20, None, None));
    let ids: std::collections::BTreeSet<Uuid> = first.rows.iter().chain(&second.rows).map(|r| r.id).collect();
    assert_eq!(ids.len(), 26);
    // A full page goes on by itself; what an index narrows has no window.
    let all = Filter { kind: Some("a".into()), ..Filter::default() };
    let page = search(&mut conn, &all, Cursor::default(), 50).await.unwrap();
    assert!(page.next.is_some() && page.further.is_none());
    let nobody = Filter { user_id: Some("nobody".into()), ..Filter::default() };
    assert_eq!(search(&mut conn, &nobody, Cursor::default(), 50).await.unwrap().further, None);
}

#[test]
fn a_job_that_waits_does_not_run() {
    let at = |minute: i64| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::minutes(minute);
    let of = |status: &str, scheduled: i64, started: Option<i64>, ended: Option<i64>| Row {
        id: Uuid::nil(),
        kind: "a".into(),
        status: status.into(),
        error: None,
        attempts: 1,
        max_attempts: Some(5),
        created_at: at(0),
        scheduled_at: at(scheduled),
        started_at: started.map(at),
        completed_at: ended.map(at),
        user_id: None,
    };
    let ran = |row: Row| row.ran(at(60)).map(|d| d.num_minutes());
    assert_eq!(ran(of("pending", 90, Some(15), None)), None, "it waits for its next attempt");
    assert_eq!(ran(of("processing", 10, Some(15), None)), Some(45));
    assert_eq!(ran(of("completed", 10, Some(15), Some(17))), Some(2));
    assert_eq!(ran(of("failed", 10, Some(15), Some(18))), Some(3));
    assert_eq!(ran(of("cancelled", 10, Some(15), Some(16))), Some(1), "it was asked to stop");
    assert_eq!(ran(of("cancelled", 90, Some(15), Some(50))), None, "it waited for its next attempt");
    assert_eq!(ran(of("pending", 10, None, None)), None);
}

#[test]
fn ids_lie_before_or_behind_a_moment() {
    let at = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::milliseconds(1_763_900_000_123);
    let made = |ms: u128, rest: u128| Uuid::from_u128((ms << 80) | rest);
    assert!(made(1_763_900_000_123, (1 << 80) - 1) < id_after(at) && made(1_763_900_000_124, 7 << 76) > id_after(at));
    assert_eq!(id_after(DateTime::<Utc>::MIN_UTC), Uuid::nil());
}
