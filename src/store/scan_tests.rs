//! No page reads a big table as a whole: what the administrator's pages ask, asked as an administrator (so with the
//! policies in the plans) of tables of some size, while the server counts the rows that sequential scans read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

use super::{
    Caller, Token, accounts, audit, clients, confidence, dashboard, dead_letters, erase, findings, job_lists,
    jobs::{counts, settle::DeadFilter},
    letter_lists, log_lists, person_jobs, read_api,
    rollups::{self, Window},
    roster::{self, Links, Sort, Wish},
    series, sessions, source_choice, system_lists, testing, webhook_lists,
};
use crate::model::{Metric, Role, Source};
use sqlx::PgPool;

const FILL: &str = "
  INSERT INTO persons (user_id) SELECT 'p' || n FROM generate_series(1, 3000) n;
  INSERT INTO connections (terra_user_id, user_id, provider) SELECT 't' || n, 'p' || n, 'oura' FROM generate_series(1, 20000) n;
  INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
  SELECT 'p' || n, 'steps', 'oura', current_date - d, 1, '', 1, 't', now(), gen_random_uuid() FROM generate_series(1, 3000) n, generate_series(0, 9) d;
  INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, scorer_version, registry_version)
  SELECT user_id, metric_name, source, measurement_date, 70, 0.7, 0.6, 0.8, '{}', 1, 1 FROM unified_metrics;
  INSERT INTO job_history (id, type, status, priority, payload, attempts, created_at, scheduled_at, completed_at, user_id)
  SELECT app.uuid_v7(), 'a', 'completed', 5, '{}', 1, now(), now(), now() + make_interval(secs => n), 'p' || n % 3000 FROM generate_series(1, 30000) n;
  INSERT INTO background_jobs (type, payload) SELECT 'a', '{}' FROM generate_series(1, 30000) n;
  INSERT INTO terra_webhooks_raw (id, trace_id, type, provider, user_id, status, ordering_ms, body, created_at)
  SELECT app.uuid_v7(), 't' || n, 'daily', 'oura', 'p' || n % 3000, 'completed', n, '{}', now() - make_interval(secs => n) FROM generate_series(1, 30000) n;
  INSERT INTO terra_webhooks_raw (id, trace_id, type, provider, user_id, ordering_ms, body, created_at)
  SELECT id, 'w' || n, 'daily', 'oura', 'p' || n % 3000, n, '{}', app.received_at(id) FROM (SELECT n, app.uuid_v7() AS id FROM generate_series(1, 6000) n OFFSET 0) w;
  INSERT INTO background_jobs (id, type, payload, user_id) SELECT id, 'webhook_processing', '{}', user_id FROM terra_webhooks_raw WHERE status = 'pending';
  INSERT INTO edge_function_logs (timestamp, level, function_name, message) SELECT now() - make_interval(secs => n), 'info', 'f', 'm' FROM generate_series(1, 30000) n;
  INSERT INTO person_scores SELECT user_id, current_date, 70, 0, 7, 0, 0 FROM persons;";
const BIG: &str = "relname ~ '^(connections|unified_metrics|metric_confidence_cache|job_history.*|background_jobs|terra_webhooks_raw.*|edge_function_logs|person_scores|roster|score_advice|background_jobs_dlq|audit_log|refused_deliveries|delivery_keys|records)$'";

/// A caller with a session of its own.
async fn caller(t: &testing::TestDb, email: &str, role: Role, seed: u8) -> Caller {
    let id = accounts::add(t.db.service(), email, "", role, Some("x")).await.unwrap().unwrap();
    let token = Token::from_bytes([seed; 32]);
    sessions::add(t.db.service(), &token, id, 3600, 7200, None, None).await.unwrap();
    Caller::new(id, role, email.into(), String::new(), token)
}

/// What filling read is told now, not later.
async fn tell(t: &testing::TestDb) {
    let (mut one, mut two) = (t.db.owner().acquire().await.unwrap(), t.db.owner().acquire().await.unwrap());
    for conn in [&mut one, &mut two] {
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut **conn).await.unwrap();
    }
}

async fn scanned(pool: &PgPool) -> Vec<(String, i64)> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT relname::text, seq_tup_read FROM pg_stat_user_tables WHERE {BIG} AND seq_tup_read > 0 ORDER BY 1"
    )))
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn no_page_of_the_administrator_reads_a_big_table_as_a_whole() {
    let t = testing::database().await;
    sqlx::raw_sql(FILL).execute(t.db.owner()).await.unwrap();
    sqlx::raw_sql("VACUUM ANALYZE").execute(t.db.owner()).await.unwrap();
    let admin = caller(&t, "a@example.com", Role::Admin, 7).await;
    tell(&t).await;
    let before = scanned(t.db.owner()).await;

    let mut tx = t.db.begin_as(&admin).await.unwrap();
    let mut page = String::new();
    macro_rules! asks {
        ($name:literal, $call:expr) => {
            $call.unwrap_or_else(|e| panic!("{}: {e}", $name));
            page.push_str($name);
            page.push(' ');
        };
    }
    asks!("quality", dashboard::quality(&mut tx, 7).await);
    asks!("trend", dashboard::trend(&mut tx, 90, "").await);
    asks!("least trusted", dashboard::least_trusted(&mut tx, 8).await);
    asks!("providers", dashboard::providers(&mut tx).await);
    asks!("unwell", dashboard::unwell(&mut tx).await);
    asks!("counts", counts::counts(&mut tx).await);
    asks!("presence", dashboard::presence(&mut tx).await);
    let kinds = |status: &str| job_lists::Filter { status: Some(status.into()), ..Default::default() };
    for filter in [job_lists::Filter::default(), kinds("completed"), kinds("pending"), kinds("failed"), kinds("processing")] {
        asks!("jobs", job_lists::page(&mut tx, &filter, job_lists::Cursor::default(), 50).await);
    }
    let of = job_lists::Filter { user_id: Some("p7".into()), ..Default::default() };
    asks!(
        "jobs of a person",
        job_lists::page(&mut tx, &job_lists::Filter { status: Some("completed".into()), ..of }, job_lists::Cursor::default(), 50).await
    );
    for filter in [webhook_lists::Filter::default(), webhook_lists::Filter { user_id: Some("p7".into()), ..Default::default() }] {
        asks!("webhooks", webhook_lists::page(&mut tx, &filter, None, 50).await);
        asks!("webhooks counted", webhook_lists::count(&mut tx, &filter).await);
    }
    asks!("logs", log_lists::page(&mut tx, &log_lists::Filter::default(), None, 50).await);
    asks!("logs counted", log_lists::count(&mut tx, &log_lists::Filter::default()).await);
    asks!("letters", letter_lists::groups(&mut tx, &letter_lists::Filter::default(), 100, 0).await);
    asks!("connections", system_lists::connections(&mut tx, &system_lists::ConnectionFilter::default(), None, 50).await);
    // The server's counters are told at the end of a transaction.
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    nothing_whole(&before, &scanned(t.db.owner()).await, &page);
}

/// Whether there is any row at all is asked by reading the first.
fn nothing_whole(before: &[(String, i64)], after: &[(String, i64)], asked: &str) {
    for (table, after) in after {
        let more = after - before.iter().find(|(t, _)| t == table).map_or(0, |(_, n)| *n);
        assert!(more <= 5, "{more} rows of {table} were read by sequential scans; asked: {asked}");
    }
}

/// Nor does the list of clients, whatever it is sorted and filtered by; and what it reads is the page, not everybody.
#[tokio::test]
async fn no_list_of_clients_reads_a_big_table_as_a_whole() {
    let t = testing::database().await;
    sqlx::raw_sql(FILL).execute(t.db.owner()).await.unwrap();
    sqlx::raw_sql("INSERT INTO score_advice SELECT user_id, metric_name, source, measurement_date, 5, 'x' FROM unified_metrics WHERE measurement_date = current_date")
        .execute(t.db.owner()).await.unwrap();
    rollups::roll_up(t.db.service(), Window::Roster, 0).await.unwrap();
    let (admin, trainer) = (caller(&t, "a@example.com", Role::Admin, 7).await, caller(&t, "t@example.com", Role::Trainer, 8).await);
    sqlx::query("INSERT INTO trainer_clients (trainer_id, user_id) SELECT $1, 'p' || n * 70 FROM generate_series(1, 40) n")
        .bind(trainer.account_id)
        .execute(t.db.owner())
        .await
        .unwrap();
    sqlx::raw_sql("VACUUM ANALYZE").execute(t.db.owner()).await.unwrap();
    let now = chrono::Utc::now();
    let mut wishes = Vec::new();
    for metric in [None, Some(Metric::Steps)] {
        for sort in [Sort::Trust, Sort::Gain, Sort::Age, Sort::Name] {
            wishes.push(Wish { metric, sort, ..Wish::default() });
        }
        for (tier, links) in [(Some((60, 79)), Links::Any), (Some((0, 39)), Links::Any), (None, Links::Silent), (None, Links::Broken)] {
            wishes.push(Wish { metric, tier, links, ..Wish::default() });
        }
        wishes.push(Wish { metric, search: "p77".into(), ..Wish::default() });
        wishes.push(Wish { metric, unknown: true, ..Wish::default() });
        wishes.push(Wish { metric, before: Some(now.date_naive()), ..Wish::default() });
    }
    for (who, all) in [(&admin, 3000), (&trainer, 40)] {
        // A count ends at a thousand, whichever way it finds them.
        let mut tx = t.db.begin_as(who).await.unwrap();
        for metric in [None, Some(Metric::Steps)] {
            let counts = roster::counts(&mut tx, who.role, metric, now.date_naive(), now).await.unwrap();
            assert_eq!((counts.people, counts.with, counts.poor), (all.min(roster::COUNTED + 1), all.min(roster::COUNTED + 1), 0));
        }
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        tell(&t).await;
        let before = scanned(t.db.owner()).await;
        let mut asked = String::new();
        let mut tx = t.db.begin_as(who).await.unwrap();
        for wish in &wishes {
            let rows = roster::page(&mut tx, who.role, wish, now, 26, 0).await.unwrap();
            let users: Vec<String> = rows.iter().map(|r| r.user_id.clone()).collect();
            roster::links(&mut tx, &users, now).await.unwrap();
            roster::came(&mut tx, &users, now.date_naive()).await.unwrap();
            clients::latest(&mut tx, &users, &["steps".to_owned()]).await.unwrap();
            let everybody = Wish { sort: wish.sort, metric: wish.metric, ..Wish::default() };
            assert!(rows.len() == 26 || *wish != everybody, "{wish:?}: {}", rows.len());
            asked.push_str(&format!("{wish:?} "));
        }
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        nothing_whole(&before, &scanned(t.db.owner()).await, &asked);
    }
}

const MORE: &str = "
  UPDATE metric_confidence_cache SET factors = '{\"evidence\": 1, \"plausibility\": 0, \"completeness\": 0, \"concordance\": 0, \"provenance\": 0, \"consistency\": 0}';
  INSERT INTO background_jobs_dlq (original_job_id, type, payload, error, fingerprint, failed_at, retried, retried_at)
  SELECT gen_random_uuid(), 'a', '{}', 'e', 'f' || n % 50, now() - make_interval(secs => n), n > 500, CASE WHEN n > 500 THEN now() - make_interval(secs => n) END
    FROM generate_series(1, 30000) n;
  INSERT INTO audit_log (at, actor, action, subject) SELECT now() - make_interval(secs => n), 'a', 'jobs.retry', 's' || n FROM generate_series(1, 30000) n;
  INSERT INTO refused_deliveries SELECT date_trunc('minute', now()) - make_interval(mins => n), 'signature_missing', '10.0.0.1', 1 FROM generate_series(1, 30000) n;
  INSERT INTO delivery_keys (trace_id, body_hash, raw_id) SELECT trace_id, '', id FROM terra_webhooks_raw;
  INSERT INTO records (user_id, source, model, key, measurement_date, ordering_ms, trace_id, received_at, delivery_id)
  SELECT 'p' || n % 3000, 'oura', 'daily', n::text, current_date - n % 10, 1, 't', now(), gen_random_uuid() FROM generate_series(1, 30000) n";

/// Nor do the pages of one person and of one metric, the reasons, the read API, and what the administrator searches.
#[tokio::test]
async fn no_page_of_a_person_no_search_and_no_api_reads_a_big_table_as_a_whole() {
    let t = testing::database().await;
    sqlx::raw_sql(FILL).execute(t.db.owner()).await.unwrap();
    sqlx::raw_sql(MORE).execute(t.db.owner()).await.unwrap();
    let (admin, trainer) = (caller(&t, "a@example.com", Role::Admin, 7).await, caller(&t, "t@example.com", Role::Trainer, 8).await);
    sqlx::query("INSERT INTO trainer_clients (trainer_id, user_id) SELECT $1, 'p' || n FROM generate_series(1, 40) n")
        .bind(trainer.account_id)
        .execute(t.db.owner())
        .await
        .unwrap();
    sqlx::raw_sql("VACUUM ANALYZE").execute(t.db.owner()).await.unwrap();
    let now = chrono::Utc::now();
    let (today, user, someone) = (now.date_naive(), "p7".to_owned(), Some("p7".to_owned()));
    let span = read_api::Filter { from: today - chrono::Days::new(90), to: today, metrics: Vec::new(), source: None };
    // What is asked, where it is asked: each alone, so that the message says which it was.
    macro_rules! alone {
        ($who:expr, $($name:literal: |$tx:ident| $call:expr),+ $(,)?) => {$(
            tell(&t).await;
            let before = scanned(t.db.owner()).await;
            let mut tx = t.db.begin_as($who).await.unwrap();
            let $tx = &mut *tx;
            $call.unwrap_or_else(|e| panic!("{}: {e}", $name));
            sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *tx).await.unwrap();
            tx.commit().await.unwrap();
            nothing_whole(&before, &scanned(t.db.owner()).await, $name);
        )+};
    }
    for who in [&admin, &trainer] {
        alone!(who,
            "a person": |tx| clients::person(tx, &user).await,
            "a person's newest values": |tx| clients::latest(tx, std::slice::from_ref(&user), &[]).await,
            "a person's scores": |tx| clients::scores(tx, &user, 30).await,
            "a person's connections": |tx| clients::connections(tx, &user).await,
            "a person's strip": |tx| series::strip(tx, &user, today - chrono::Days::new(29)).await,
            "a person's newest value of a metric": |tx| clients::latest(tx, std::slice::from_ref(&user), &["weight".to_owned()]).await,
            "a person's doubts": |tx| findings::doubts(tx, &user, 30, 50).await,
            "a value's doubt": |tx| findings::doubt(tx, findings::Subject { user_id: &user, metric: Metric::Steps, source: &Source::from_provider("oura"), date: today }).await,
            "a metric's newest day": |tx| series::newest_day(tx, &user, Metric::Steps).await,
            "a metric's values": |tx| series::points(tx, &user, Metric::Steps, today - chrono::Days::new(400), today).await,
            "a metric's sources": |tx| series::sources(tx, &user, Metric::Steps).await,
            "a metric's choice": |tx| source_choice::of(tx, &user, Metric::Steps).await,
            "a value's origin": |tx| series::origin(tx, &user, Metric::Steps, "oura", today).await,
            "a value's score": |tx| confidence::score_of(tx, &user, Metric::Steps, &Source::from_provider("oura"), today).await,
            "what a score is made of": |tx| crate::rescore::context(tx, crate::quality::Registry::built_in(), &user, today).await,
            "a person's deliveries": |tx| webhook_lists::page(tx, &webhook_lists::Filter { user_id: someone.clone(), ..Default::default() }, None, 20).await,
            "a person's jobs": |tx| job_lists::page(tx, &job_lists::Filter { user_id: someone.clone(), ..Default::default() }, Default::default(), 20).await,
            "a person's log": |tx| log_lists::page(tx, &log_lists::Filter { user_id: someone.clone(), ..Default::default() }, None, 20).await,
            "the API's clients": |tx| read_api::clients(tx, None, None, 50).await,
            "the API's next clients": |tx| read_api::clients(tx, None, Some("p2"), 50).await,
            "the API's client": |tx| read_api::clients(tx, Some(&user), None, 1).await,
            "whether the API knows somebody": |tx| read_api::exists(tx, &user).await,
            "the API's history": |tx| read_api::history(tx, &user, &span, None, 100).await,
            "the API's newest values": |tx| read_api::newest(tx, &user, &[]).await,
            "the API's scores": |tx| read_api::scores(tx, &user, &span, None, 100).await,
            "the API's deliveries": |tx| read_api::deliveries(tx, &user, None, 100).await,
        );
    }
    // What an erasure would remove is asked as the service, at every look at the person's page.
    tell(&t).await;
    let before = scanned(t.db.owner()).await;
    let mut tx = t.db.begin_service().await.unwrap();
    assert!(erase::at_least(&mut tx, &user).await.unwrap().total() > 40);
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    nothing_whole(&before, &scanned(t.db.owner()).await, "what an erasure would remove");
    let letters = letter_lists::Filter::default();
    let one = letter_lists::Filter { fingerprint: Some("f7"), kind: Some("a"), ..letters.clone() };
    let dead = DeadFilter { fingerprint: Some("f7".into()), ..DeadFilter::default() };
    let text = |s: &str| Some(s.to_owned());
    let deliveries = webhook_lists::Filter::default();
    let logs = log_lists::Filter::default();
    let (id, page) = (uuid::Uuid::from_u128(7), Some((now, uuid::Uuid::max())));
    alone!(&admin,
        "groups of dead letters": |tx| letter_lists::groups(tx, &letters, 100, 0).await,
        "a group of dead letters": |tx| letter_lists::groups(tx, &one, 1, 0).await,
        "the letters of a group": |tx| letter_lists::of_group(tx, "f7", "a", None, None, 50).await,
        "letters to be brought back": |tx| dead_letters::count_open(tx, &dead).await,
        "letters dealt with": |tx| letter_lists::dealt_with(tx, None, 50).await,
        "more letters dealt with": |tx| letter_lists::dealt_with(tx, page, 50).await,
        "a job's letters": |tx| letter_lists::moments_of(tx, id).await,
        "a job's last deed": |tx| audit::last_deed(tx, id, &[now]).await,
        "who changed something": |tx| audit::newest_about(tx, &["s7".to_owned()], "jobs.").await,
        "finished jobs": |tx| job_lists::page(tx, &job_lists::Filter { status: text("completed"), ..Default::default() }, Default::default(), 50).await,
        "finished jobs, older": |tx| job_lists::page(tx, &job_lists::Filter { status: text("completed"), ..Default::default() }, job_lists::Cursor { done: page, hot: None }, 50).await,
        "jobs that wait for later": |tx| job_lists::count_later(tx, &["a".to_owned(), "b".to_owned()]).await,
        "failed deliveries": |tx| webhook_lists::page(tx, &webhook_lists::Filter { status: text("failed"), ..deliveries.clone() }, None, 50).await,
        "deliveries by body": |tx| webhook_lists::page(tx, &webhook_lists::Filter { body: text("zz"), ..deliveries.clone() }, None, 50).await,
        "deliveries by header": |tx| webhook_lists::page(tx, &webhook_lists::Filter { header: text("zz"), ..deliveries.clone() }, None, 50).await,
        "a delivery by its trace": |tx| webhook_lists::page(tx, &webhook_lists::Filter { trace: Some(("t7".into(), vec![id])), ..deliveries.clone() }, None, 50).await,
        "deliveries, older": |tx| webhook_lists::page(tx, &deliveries, page, 50).await,
        "a delivery": |tx| webhook_lists::one(tx, id).await,
        "what came of a delivery": |tx| webhook_lists::outcome(tx, id, &user).await,
        "the jobs of a delivery": |tx| person_jobs::of_delivery(tx, id, now, Some(&user)).await,
        "what was turned away": |tx| webhook_lists::refused(tx, now - chrono::TimeDelta::hours(24), 200, 0).await,
        "errors in the log": |tx| log_lists::page(tx, &log_lists::Filter { level: text("error"), ..logs.clone() }, None, 50).await,
        "a request's log": |tx| log_lists::page(tx, &log_lists::Filter { request_id: text("r7"), ..logs.clone() }, None, 50).await,
        "the log, older": |tx| log_lists::page(tx, &logs, page, 50).await,
    );
}
