//! No page reads a big table as a whole: what the administrator's pages ask, asked as an administrator (so with the
//! policies in the plans) of tables of some size, while the server counts the rows that sequential scans read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

use super::{
    Caller, Token, accounts, clients, dashboard, job_lists,
    jobs::counts,
    letter_lists, log_lists,
    rollups::{self, Window},
    roster::{self, Links, Sort, Wish},
    sessions, system_lists, testing, webhook_lists,
};
use crate::model::{Metric, Role};
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
  INSERT INTO edge_function_logs (timestamp, level, function_name, message) SELECT now() - make_interval(secs => n), 'info', 'f', 'm' FROM generate_series(1, 30000) n;
  INSERT INTO person_scores SELECT user_id, current_date, 70, 0, 7, 0, 0 FROM persons;";
const BIG: &str = "relname ~ '^(connections|unified_metrics|metric_confidence_cache|job_history.*|background_jobs|terra_webhooks_raw.*|edge_function_logs|person_scores|roster|score_advice)$'";

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
    asks!("unsettled", dashboard::unsettled(&mut tx).await);
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
    asks!("letters", letter_lists::groups(&mut tx, None, None, 100).await);
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
