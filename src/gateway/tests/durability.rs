//! A 200 is never false, and an answer never takes long: with PostgreSQL away, slow, failing or stopping.

use super::*;
use crate::gateway::CommitterSettings;
use crate::store::deliveries;
use std::time::{Duration, Instant};

fn quick() -> GatewaySettings {
    GatewaySettings {
        committer: CommitterSettings { flush_limit: Duration::from_millis(300), ..CommitterSettings::default() },
        ..settings()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_give_503_and_every_200_is_in_the_table() {
    let b = Arc::new(Bench::new().await);
    let killer = {
        let b = b.clone();
        tokio::spawn(async move {
            // A role may end its own connections; this one is not in the pool, so it lives.
            let mut conn = crate::store::deliveries::connect(b.t.db.service()).await.unwrap();
            let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()";
            let mut killed = 0_i64;
            for _ in 0..6 {
                killed += sqlx::query_scalar::<_, i64>(kill).fetch_one(&mut conn).await.unwrap();
                tokio::time::sleep(Duration::from_millis(70)).await;
            }
            killed
        })
    };
    let mut accepted = Vec::new();
    let mut n = 0;
    while (!killer.is_finished() || n < 400) && n < 2_000 {
        let round = (n..n + 20).map(|n| {
            let b = &b;
            async move { (n, b.deliver(&format!("t{n}"), &daily(n)).await) }
        });
        for (n, a) in futures::future::join_all(round).await {
            match a.status.as_u16() {
                200 => accepted.push(format!("t{n}")),
                503 => assert_eq!(a.headers.get("retry-after").unwrap(), "1"),
                other => panic!("{other}: {a:?}"),
            }
        }
        n += 20;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(killer.await.unwrap() > 0);
    assert!(accepted.len() >= 20, "{}", accepted.len());
    let lost: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM unnest($1::text[]) AS t (id)
          WHERE NOT EXISTS (SELECT 1 FROM terra_webhooks_raw r JOIN background_jobs j ON j.id = r.id WHERE r.trace_id = t.id)",
    )
    .bind(&accepted)
    .fetch_one(b.t.db.owner())
    .await
    .unwrap();
    assert_eq!(lost, 0);
    // What got a 503 is taken when it comes again, and nothing is there twice.
    let mut missing: Vec<u32> = (0..n).collect();
    for _ in 0..20 {
        let again = missing.iter().map(|n| {
            let b = &b;
            async move { (*n, b.deliver(&format!("t{n}"), &daily(*n)).await.status) }
        });
        missing = futures::future::join_all(again).await.into_iter().filter(|(_, status)| *status != 200).map(|(n, _)| n).collect();
        if missing.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(missing, [] as [u32; 0]);
    assert_eq!((b.count("terra_webhooks_raw").await, b.count("background_jobs").await), (i64::from(n), i64::from(n)));
}

#[tokio::test]
async fn without_a_server_the_answer_is_503_at_once() {
    let t = database().await;
    let away = crate::store::DatabaseUrl::parse("postgres://assay_owner:x@127.0.0.1:1/nothing").unwrap().pools(1, 1);
    let b = Bench { t, gateway: Gateway::new(away, settings()) };
    for _ in 0..3 {
        let started = Instant::now();
        let a = b.deliver("t1", &daily(1)).await;
        a.is(503, "reason", "unavailable");
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
    assert!(b.gateway.committer().away);
    tokio::time::timeout(Duration::from_secs(8), b.gateway.shutdown()).await.unwrap();
}

#[tokio::test]
async fn a_locked_table_gives_503_in_time_and_a_full_queue_at_once() {
    let mut settings = quick();
    settings.committer.max_queue = 2;
    settings.committer.flushers = 1;
    let b = Bench::with(settings).await;
    b.deliver("t0", &daily(0)).await.is(200, "status", "accepted");
    let mut lock = b.t.db.owner().begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE delivery_keys IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let started = Instant::now();
    let all = (1..=20).map(|n| {
        let b = &b;
        async move { (b.deliver(&format!("t{n}"), &daily(n)).await, started.elapsed()) }
    });
    let answers = futures::future::join_all(all).await;
    assert!(answers.iter().all(|(a, _)| a.status == 503));
    assert_eq!(b.counted(Outcome::Unavailable), 20);
    let at_once = answers.iter().filter(|(_, took)| *took < Duration::from_millis(250)).count();
    assert!(at_once >= 15, "{at_once}");
    assert!(started.elapsed() < Duration::from_secs(3));
    lock.rollback().await.unwrap();
    let mut last = b.deliver("t1", &daily(1)).await;
    for _ in 0..50 {
        if last.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        last = b.deliver("t1", &daily(1)).await;
    }
    assert_eq!(last.status, 200);
    assert_eq!(b.count("terra_webhooks_raw WHERE trace_id = 't1'").await, 1);
}

/// Terra gives up after eight seconds. With the limits as they are in use, a flush that hangs, the connecting after it
/// and the next flush that hangs again must not add up to more, whenever a delivery comes.
#[tokio::test]
async fn beside_a_locked_table_no_answer_takes_eight_seconds_with_the_limits_as_they_are_in_use() {
    let b = Bench::new().await;
    b.deliver("t0", &daily(0)).await.is(200, "status", "accepted");
    let mut lock = b.t.db.owner().begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE delivery_keys IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let all = (1..=40_u32).map(|n| {
        let b = &b;
        async move {
            tokio::time::sleep(Duration::from_millis(150) * n).await;
            let sent = Instant::now();
            (b.deliver(&format!("t{n}"), &daily(n)).await, sent.elapsed())
        }
    });
    let answers = futures::future::join_all(all).await;
    assert!(answers.iter().all(|(a, _)| a.status == 503 && a.headers.contains_key("retry-after")), "{answers:?}");
    let longest = |of: &[(Answer, Duration)]| of.iter().map(|(_, took)| *took).max().unwrap();
    assert!(longest(&answers) < Duration::from_millis(7_500), "{:?}", longest(&answers));
    // Both the first flushes and those after the reconnecting were waited for, else nothing was tested.
    assert!(longest(&answers[..10]) > Duration::from_secs(4) && longest(&answers[36..]) > Duration::from_secs(2), "{answers:?}");
    lock.rollback().await.unwrap();
}

#[tokio::test]
async fn too_many_bytes_at_once_are_refused() {
    let b = Bench::with(GatewaySettings { max_memory: 100, ..settings() }).await;
    b.deliver("t1", &daily(1)).await.is(503, "reason", "busy");
    b.deliver("t2", r#"{"type":"healthcheck"}"#).await.is(200, "status", "accepted");
    assert_eq!(b.gateway.memory(), 0);
    // Anybody can send large bodies: they say nothing about the database.
    assert_eq!((b.counted(Outcome::Refused), b.counted(Outcome::Unavailable)), (1, 0));
}

/// A row that the database refuses takes no other with it.
#[tokio::test]
async fn one_refused_row_does_not_fail_its_batch() {
    let mut settings = settings();
    settings.committer.flushers = 1;
    let b = Bench::with(settings).await;
    b.sql("ALTER TABLE terra_webhooks_raw ADD CONSTRAINT no_poison CHECK (trace_id NOT LIKE 'poison%')").await;
    let all = (0..40).map(|n| {
        let b = &b;
        async move { b.deliver(&if n % 10 == 3 { format!("poison{n}") } else { format!("t{n}") }, &daily(n)).await.status.as_u16() }
    });
    let answers = futures::future::join_all(all).await;
    assert_eq!((answers.iter().filter(|s| **s == 200).count(), answers.iter().filter(|s| **s == 503).count()), (36, 4));
    assert_eq!((b.count("terra_webhooks_raw").await, b.count("delivery_keys").await, b.count("background_jobs").await), (36, 36, 36));
}

/// Nothing can be stored until the lock is given back.
async fn locked(b: &Bench) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut lock = b.t.db.owner().begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE delivery_keys IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    lock
}

/// Looks again and again, for ten seconds at most.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < end, "not within ten seconds: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One flusher, which hangs on the lock with the first delivery; the others wait behind it.
async fn hanging(b: &Arc<Bench>, others: u32) -> Vec<tokio::task::JoinHandle<StatusCode>> {
    let send = |n: u32| {
        let b = Arc::clone(b);
        tokio::spawn(async move { b.deliver(&format!("t{n}"), &daily(n)).await.status })
    };
    let mut sends = vec![send(0)];
    let hang = "pg_locks WHERE NOT granted AND relation = 'delivery_keys'::regclass
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    until("the first delivery hangs on the lock", async || b.count(hang).await == 1).await;
    sends.extend((1..=others).map(send));
    until("the others wait", async || b.gateway.committer().waiting == u64::from(others)).await;
    sends
}

fn one_flusher() -> GatewaySettings {
    let mut settings = settings();
    settings.committer.flushers = 1;
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_stores_what_was_accepted_and_takes_nothing_more() {
    let b = Arc::new(Bench::with(one_flusher()).await);
    let lock = locked(&b).await;
    let sends = hanging(&b, 199).await;
    let mut stopping = Box::pin(b.gateway.shutdown());
    assert!(futures::poll!(&mut stopping).is_pending(), "it stopped with 199 deliveries waiting");
    b.deliver("late", &daily(1)).await.is(503, "reason", "unavailable");
    lock.rollback().await.unwrap();
    stopping.await;
    for send in sends {
        assert_eq!(send.await.unwrap(), 200, "it was taken before the stop");
    }
    assert_eq!(b.count("terra_webhooks_raw").await, 200);
    b.deliver("late", &daily(1)).await.is(503, "reason", "unavailable");
    b.gateway.shutdown().await; // harmless twice; writes what was counted since
    let counted: i64 = sqlx::query_scalar("SELECT coalesce(sum(count), 0)::int8 FROM gateway_counts WHERE outcome = 'accepted'")
        .fetch_one(b.t.db.owner())
        .await
        .unwrap();
    assert_eq!((counted, b.counted(Outcome::Accepted)), (200, 200));
}

#[tokio::test]
async fn a_sender_that_hung_up_is_not_stored_for_nothing_and_nothing_leaks() {
    let b = Arc::new(Bench::with(one_flusher()).await);
    let lock = locked(&b).await;
    for send in hanging(&b, 5).await {
        send.abort();
        assert!(send.await.unwrap_err().is_cancelled());
    }
    lock.rollback().await.unwrap();
    b.gateway.shutdown().await;
    // The first was on its way to the disk when its sender hung up; nobody can call it back.
    let stored: Vec<String> = sqlx::query_scalar("SELECT trace_id FROM terra_webhooks_raw").fetch_all(b.t.db.owner()).await.unwrap();
    assert_eq!(stored, ["t0"]);
    assert_eq!(b.gateway.memory(), 0);
    assert_eq!(b.gateway.committer().waiting, 0);
}

/// The gateway's connection counts its jobs itself, a worker's leaves it to the trigger; neither counts what was there before.
#[tokio::test]
async fn jobs_are_counted_once_however_deliveries_are_stored() {
    let t = database().await;
    let of = |n: u32| crate::gateway::admission::admit(daily(n).into(), &HeaderMap::new(), Utc::now()).delivery;
    let (mut ours, deliveries_of) = (deliveries::connect(t.db.service()).await.unwrap(), [of(1), of(2), of(3), of(4), of(5)]);
    let [one, two, three, four, five] = &deliveries_of;
    let ignored = crate::gateway::admission::admit("{}".into(), &HeaderMap::new(), Utc::now()).delivery;
    deliveries::insert_new(&mut ours, &[one, &ignored]).await.unwrap();
    deliveries::insert_new(&mut ours, &[one, two]).await.unwrap_err();
    assert_eq!(deliveries::insert(&mut ours, &[one, two]).await.unwrap(), [two.id]);
    assert!(deliveries::insert(&mut ours, &[one, two]).await.unwrap().is_empty());
    let mut workers = t.db.service().acquire().await.unwrap();
    deliveries::insert_new(&mut workers, &[three]).await.unwrap();
    assert_eq!(deliveries::insert(&mut workers, &[three, four, five]).await.unwrap().len(), 2);
    let counted: (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM background_jobs), (SELECT sum(delta)::bigint FROM job_count_deltas WHERE type = 'webhook_processing' AND status = 'pending')",
    )
    .fetch_one(t.db.owner())
    .await
    .unwrap();
    assert_eq!(counted, (5, 5));
}

#[tokio::test]
async fn partitions_of_this_and_the_next_months_are_made() {
    let t = database().await;
    let owner = t.db.owner();
    let drop_all = "DO $$ DECLARE p text; BEGIN FOR p IN SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'terra_webhooks_raw'::regclass
                    AND inhrelid <> 'terra_webhooks_raw_default'::regclass LOOP EXECUTE 'DROP TABLE ' || p; END LOOP; END $$";
    sqlx::raw_sql(drop_all).execute(owner).await.unwrap();
    // Without one, the default partition takes what comes.
    let delivery = crate::gateway::admission::admit("{}".into(), &HeaderMap::new(), Utc::now()).delivery;
    let mut conn = deliveries::connect(t.db.service()).await.unwrap();
    assert_eq!(deliveries::insert(&mut conn, &[&delivery]).await.unwrap(), [delivery.id]);
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM terra_webhooks_raw_default").fetch_one(owner).await.unwrap();
    assert_eq!(count, 1);
    sqlx::raw_sql("INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, ordering_ms, body) VALUES (app.uuid_v7(), '2020-05-31 23:59:59Z', 'old', 'daily', 1, '{}')")
        .execute(owner)
        .await
        .unwrap();
    deliveries::make_partitions(owner).await.unwrap();
    // It holds nothing any more: each row lies in its month, and is found as before.
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT tableoid::regclass::text, trace_id FROM terra_webhooks_raw ORDER BY created_at")
            .fetch_all(owner)
            .await
            .unwrap();
    let month = format!("terra_webhooks_raw_{}", delivery.received_at.format("%Y%m"));
    assert_eq!(rows, [("terra_webhooks_raw_202005".to_owned(), "old".to_owned()), (month, delivery.trace_id.clone())]);
    let right: bool = sqlx::query_scalar("SELECT has_table_privilege('service_role', 'terra_webhooks_raw_202005', 'SELECT')")
        .fetch_one(owner)
        .await
        .unwrap();
    assert!(!right, "a partition is reached through its parent only");
    let targets: Vec<i64> = sqlx::query_scalar(
        "SELECT DISTINCT attstattarget::int8 FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attrelid IN (
           SELECT inhrelid FROM pg_inherits WHERE inhparent = 'terra_webhooks_raw'::regclass
           UNION SELECT unnest(ARRAY['background_jobs', 'delivery_keys']::regclass[]))",
    )
    .fetch_all(owner)
    .await
    .unwrap();
    assert_eq!(targets, [20], "ANALYZE of a table that grows takes a small sample of it");
    deliveries::make_partitions(owner).await.unwrap();
    let names: Vec<String> =
        sqlx::query_scalar("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'terra_webhooks_raw'::regclass")
            .fetch_all(owner)
            .await
            .unwrap();
    assert_eq!(names.len(), 5, "{names:?}");
    assert!(names.contains(&format!("terra_webhooks_raw_{}", Utc::now().format("%Y%m"))), "{names:?}");
}

#[tokio::test]
async fn old_deliveries_and_keys_go_as_the_setting_says_and_nothing_that_waits() {
    use crate::store::retention::Retention;
    let t = database().await;
    let owner = t.db.owner();
    sqlx::raw_sql(
        "INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, status, ordering_ms, body)
         SELECT app.uuid_v7(), at, trace, 'daily', status, 1, '{}'
           FROM (VALUES ('2020-05-02'::timestamptz, 'old', 'completed'), ('2020-05-03', 'old-parked', 'parked'), ('2020-06-02', 'old-done', 'completed'),
                        ('2020-06-03', 'waits', 'pending'), (now() - interval '40 days', 'useless', 'ignored'), (now() - interval '40 days', 'clash', 'conflict'),
                        (now() - interval '40 days', 'good', 'completed'), (now() - interval '20 days', 'fresh', 'ignored')) AS v (at, trace, status);
         INSERT INTO delivery_keys (trace_id, body_hash, raw_id, created_at) SELECT trace_id, '\\x00', id, created_at FROM terra_webhooks_raw",
    )
    .execute(owner)
    .await
    .unwrap();
    deliveries::make_partitions(owner).await.unwrap();
    let mut conn = owner.acquire().await.unwrap();
    // By default nothing goes.
    assert_eq!(deliveries::forget(&mut conn, &Retention::default()).await.unwrap(), []);
    let kept = Retention { raw_days: Some(400), key_days: Some(400), useless_days: Some(30), ..Retention::default() };
    let removed = deliveries::forget(&mut conn, &kept).await.unwrap();
    assert_eq!(removed, [("terra_webhooks_raw", 2), ("terra_webhooks_raw of no use", 2), ("delivery_keys", 4)]);
    let left: Vec<String> = sqlx::query_scalar("SELECT trace_id FROM terra_webhooks_raw ORDER BY 1").fetch_all(owner).await.unwrap();
    assert_eq!(left, ["fresh", "good", "old-done", "waits"], "a month in which one waits stays whole");
    sqlx::query("UPDATE terra_webhooks_raw SET status = 'completed' WHERE trace_id = 'waits'").execute(owner).await.unwrap();
    // A month that somebody reads just now is left for the next run, and deliveries do not wait behind it.
    let mut reader = owner.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM terra_webhooks_raw").execute(&mut *reader).await.unwrap();
    assert!(!deliveries::forget(&mut conn, &kept).await.unwrap().iter().any(|(table, _)| *table == "terra_webhooks_raw"));
    reader.rollback().await.unwrap();
    assert!(deliveries::forget(&mut conn, &kept).await.unwrap().contains(&("terra_webhooks_raw", 2)));
    let left: Vec<String> = sqlx::query_scalar("SELECT trace_id FROM terra_webhooks_raw ORDER BY 1").fetch_all(owner).await.unwrap();
    assert_eq!(left, ["fresh", "good"]);
}

#[tokio::test]
async fn many_deliveries_of_no_use_go_in_several_commits() {
    use crate::store::retention::Retention;
    let t = database().await;
    let owner = t.db.owner();
    let mut conn = owner.acquire().await.unwrap();
    let kept = Retention { useless_days: Some(30), ..Retention::default() };
    sqlx::raw_sql(
        "CREATE TABLE commits (xid xid8, n bigint); GRANT ALL ON commits TO PUBLIC;
         CREATE FUNCTION count_commits() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO commits SELECT pg_current_xact_id(), count(*) FROM gone; RETURN NULL; END $$;
         CREATE TRIGGER count_commits AFTER DELETE ON terra_webhooks_raw REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION count_commits();
         INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, status, ordering_ms, body)
         SELECT app.uuid_v7(), now() - interval '40 days', 'useless-' || n, 'x', 'ignored', 1, '' FROM generate_series(1, 20005) n",
    )
    .execute(owner)
    .await
    .unwrap();
    assert!(deliveries::forget(&mut conn, &kept).await.unwrap().contains(&("terra_webhooks_raw of no use", 20_005)));
    let commits: Vec<i64> =
        sqlx::query_scalar("SELECT sum(n)::int8 FROM commits GROUP BY xid HAVING sum(n) > 0 ORDER BY 1").fetch_all(owner).await.unwrap();
    assert_eq!(commits, [5, 20_000]);
}

#[tokio::test]
async fn old_keys_go_wherever_they_lie() {
    use crate::store::retention::Retention;
    let t = database().await;
    let owner = t.db.owner();
    sqlx::query(
        "INSERT INTO delivery_keys (trace_id, body_hash, raw_id, created_at)
         SELECT 'k' || n, sha256(n::text::bytea), gen_random_uuid(), now() - make_interval(days => CASE WHEN n % 3 = 0 THEN 41 ELSE 39 END)
           FROM generate_series(1, 60000) n",
    )
    .execute(owner)
    .await
    .unwrap();
    let mut conn = owner.acquire().await.unwrap();
    let kept = Retention { key_days: Some(40), ..Retention::default() };
    assert!(deliveries::forget(&mut conn, &kept).await.unwrap().contains(&("delivery_keys", 20_000)));
    let left: (i64, i64) =
        sqlx::query_as("SELECT count(*), count(*) FILTER (WHERE created_at < now() - interval '40 days') FROM delivery_keys")
            .fetch_one(owner)
            .await
            .unwrap();
    assert_eq!(left, (40_000, 0));
}

#[tokio::test]
async fn a_column_that_got_another_type_costs_one_answer_and_a_new_connection() {
    let one = GatewaySettings { committer: CommitterSettings { flushers: 1, ..CommitterSettings::default() }, ..settings() };
    let b = Bench::with(one).await;
    for _ in 0..2 {
        assert_eq!(b.deliver("t1", &daily(1)).await.status, 200);
    }
    // A newer program migrates: what the flusher prepared to look a repetition up gives another type now.
    sqlx::query("ALTER TABLE delivery_keys ALTER COLUMN trace_id TYPE varchar(300)").execute(b.t.db.owner()).await.unwrap();
    assert_eq!(b.deliver("t1", &daily(1)).await.status, 503);
    let mut last = None;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        last = Some(b.deliver("t1", &daily(1)).await.status.as_u16());
        if last == Some(200) {
            break;
        }
    }
    assert_eq!(last, Some(200));
    assert_eq!(b.count("terra_webhooks_raw").await, 1);
}

/// A link lives for five minutes, a backlog may be longer: its delivery's job waits behind nothing that has more time.
#[tokio::test]
async fn a_link_that_expires_does_not_wait_behind_a_backlog() {
    let b = Bench::new().await;
    let ping = r#"{"type":"s3_payload","status":"success","url":"https://bucket.s3.amazonaws.com/x","expires_in":300}"#;
    for (trace, body) in [("t1", daily(1)), ("t2", ping.to_owned()), ("t3", daily(3))] {
        assert_eq!(b.deliver(trace, &body).await.status, 200);
    }
    until("the link's job goes ahead", async || b.count("background_jobs WHERE priority = 0").await == 1).await;
    // Also where a repetition makes the committer look each key up.
    for (trace, body) in [("t1", daily(1)), ("t4", ping.to_owned()), ("t2", ping.to_owned())] {
        assert_eq!(b.deliver(trace, &body).await.status, 200);
    }
    until("so does the next one's", async || b.count("background_jobs WHERE priority = 0").await == 2).await;
    let first: String = sqlx::query_scalar(
        "SELECT string_agg(r.trace_id, ' ' ORDER BY j.priority, j.scheduled_at, j.id) FROM background_jobs j JOIN terra_webhooks_raw r USING (id)",
    )
    .fetch_one(b.t.db.owner())
    .await
    .unwrap();
    assert_eq!(first, "t2 t4 t1 t3");
    let (counted, waiting): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT sum(delta)::bigint FROM job_count_deltas WHERE type = 'webhook_processing' AND status = 'pending'),
                (SELECT count(*) FROM background_jobs WHERE status = 'pending')",
    )
    .fetch_one(b.t.db.owner())
    .await
    .unwrap();
    assert_eq!((counted, waiting), (4, 4), "counted once");
}

#[tokio::test]
async fn whoever_puts_a_link_ahead_waits_for_no_lock() {
    let t = database().await;
    let of = |n: u32| crate::gateway::admission::admit(daily(n).into(), &HeaderMap::new(), Utc::now()).delivery;
    let (taken, free) = (of(1), of(2));
    let mut conn = deliveries::connect(t.db.service()).await.unwrap();
    deliveries::insert_new(&mut conn, &[&taken, &free]).await.unwrap();
    let mut claim = t.db.owner().begin().await.unwrap();
    sqlx::query("SELECT FROM background_jobs WHERE id = $1 FOR UPDATE").bind(taken.id).execute(&mut *claim).await.unwrap();
    let both = [taken.id, free.id];
    tokio::time::timeout(Duration::from_secs(3), deliveries::hasten(&mut conn, &both)).await.unwrap().unwrap();
    let ahead: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT id FROM background_jobs WHERE priority = 0").fetch_all(t.db.service()).await.unwrap();
    assert_eq!(ahead, [free.id]);
}
