//! No page reads a big table as a whole: what the administrator's pages ask, asked as an administrator (so with the
//! policies in the plans) of tables of some size, while the server counts the rows that sequential scans read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

use super::{
    Caller, Token, accounts, dashboard, job_lists, jobs::counts, letter_lists, log_lists, sessions, system_lists, testing, webhook_lists,
};
use crate::model::Role;
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
const BIG: &str = "relname ~ '^(connections|unified_metrics|metric_confidence_cache|job_history.*|background_jobs|terra_webhooks_raw.*|edge_function_logs|person_scores)$'";

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
    let id = accounts::add(t.db.service(), "a@example.com", "", Role::Admin, Some("x")).await.unwrap().unwrap();
    let token = Token::from_bytes([7; 32]);
    sessions::add(t.db.service(), &token, id, 3600, 7200, None, None).await.unwrap();
    let admin = Caller::new(id, Role::Admin, "a@example.com".into(), String::new(), token);
    // What filling read is told now, not later.
    let (mut one, mut two) = (t.db.owner().acquire().await.unwrap(), t.db.owner().acquire().await.unwrap());
    for conn in [&mut one, &mut two] {
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut **conn).await.unwrap();
    }
    drop((one, two));
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
    // Whether there is any row at all is asked by reading the first.
    let read = |rows: &[(String, i64)], table: &str| rows.iter().find(|(t, _)| t == table).map_or(0, |(_, n)| *n);
    for (table, after) in scanned(t.db.owner()).await {
        let more = after - read(&before, &table);
        assert!(more <= 5, "{more} rows of {table} were read by sequential scans; asked: {page}");
    }
}
