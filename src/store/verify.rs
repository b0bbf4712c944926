//! What a deployment consists of, read from the catalogue, for `assay verify`. Nothing is changed.

use super::{Db, migrate};
use sqlx::{AssertSqlSafe, PgConnection, Row};

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// `server_version_num`.
    pub server_version: i32,
    /// Whether the schema is the one this program brings.
    pub schema_current: bool,
    /// Settings without which an acknowledged delivery may be lost.
    pub not_durable: Vec<String>,
    /// Extensions that are needed and not there.
    pub missing_extensions: Vec<String>,
    /// Tables, views and functions of the contract that are not there.
    pub missing_objects: Vec<String>,
    /// Whether the dead-letter trigger is there.
    pub trigger: bool,
    /// Tables of ours without forced row-level security.
    pub unforced_tables: Vec<String>,
    /// Tables of ours that lack the owner's or the service's policy.
    pub tables_without_policy: Vec<String>,
    /// Policies named `…admin_trainer…`.
    pub policies: i64,
    /// Roles that are not there, or may not become what they need.
    pub missing_roles: Vec<String>,
    /// Login roles that may do more than they should.
    pub mighty_roles: Vec<String>,
    /// Login roles that cannot log in, with PostgreSQL's word for it.
    pub locked_out: Vec<String>,
    /// Indexes of ours that PostgreSQL does not use.
    pub invalid_indexes: Vec<String>,
    /// Hot queries that no index can answer.
    pub queries_without_index: Vec<String>,
    /// Whether the latest-metrics query is answered by its index as things are.
    pub latest_uses_index: bool,
    /// Partitions of today and of the time to come that are not there.
    pub missing_partitions: Vec<String>,
    /// Whether there are values at all.
    pub values_exist: bool,
    /// Whether anything is scored.
    pub cache_rows: bool,
    /// Dead letters that wait for a decision; `None`: the table was dropped.
    pub dead_letters: Option<i64>,
    /// Workers seen within 15 seconds.
    pub workers_alive: i64,
    /// Whether one of them leads.
    pub leader: bool,
    /// Schedules more than five minutes late.
    pub schedules_overdue: i64,
    /// Schedules there are.
    pub schedules: i64,
    /// This machine's clock minus the database's, in seconds.
    pub clock_skew_s: f64,
}

const RELATIONS: &str = "ARRAY['background_jobs', 'background_jobs_dlq', 'rate_limits', 'metric_confidence_cache', 'terra_webhooks_raw',
    'edge_function_logs', 'unified_metrics', 'latest_unified_metrics', 'job_processing_stats', 'data_quality_trends',
    'webhook_processing_stats', 'edge_function_performance']";

/// The queries that must stay quick, and what people call them.
const HOT: [(&str, &str, &str); 5] = [
    ("latest metrics of a person", "latest_unified_metrics", "SELECT * FROM latest_unified_metrics WHERE user_id = 'test-user-id'"),
    ("scores of a person", "metric_confidence_cache", "SELECT * FROM metric_confidence_cache WHERE user_id = 'test-user-id'"),
    (
        "the next due job",
        "background_jobs",
        "SELECT ctid FROM background_jobs WHERE failed_at IS NULL AND type = 'x' AND priority = 5 AND status = 'pending' AND scheduled_at <= now() ORDER BY scheduled_at, id LIMIT 1",
    ),
    (
        "deliveries of a person",
        "terra_webhooks_raw",
        "SELECT id FROM terra_webhooks_raw WHERE user_id = 'x' ORDER BY created_at DESC LIMIT 50",
    ),
    ("the newest log lines", "edge_function_logs", "SELECT id FROM edge_function_logs ORDER BY timestamp DESC LIMIT 100"),
];

/// Looks with the owner's eyes.
///
/// # Errors
/// The database's.
pub async fn look(db: &Db) -> sqlx::Result<Found> {
    let mut conn = db.owner().acquire().await?;
    let mut found = catalogue(&mut conn).await?;
    if found.missing_objects.iter().any(|m| m == "background_jobs" || m == "unified_metrics" || m == "edge_function_logs") {
        return Ok(found); // nothing of ours is here: there is nothing more to ask
    }
    found.schema_current = migrate::is_current(&mut conn).await?;
    running(&mut conn, &mut found).await?;
    indexes(&mut conn, &mut found).await?;
    drop(conn);
    for (role, pool) in [("assay_web", &db.web), ("assay_worker", &db.service)] {
        if let Err(e) = sqlx::query("SELECT 1").execute(pool).await {
            found.locked_out.push(format!("{role} ({})", super::connect::plain(&e)));
        }
    }
    Ok(found)
}

async fn catalogue(conn: &mut PgConnection) -> sqlx::Result<Found> {
    let sent = chrono::Utc::now();
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT current_setting('server_version_num')::int AS version,
                ARRAY(SELECT name || ' = ' || setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER BY 1) AS not_durable,
                ARRAY(SELECT 'plpgsql' WHERE NOT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'plpgsql')) AS extensions,
                ARRAY(SELECT n FROM unnest({RELATIONS}) n WHERE to_regclass('public.' || n) IS NULL
                      UNION ALL SELECT 'cleanup_rate_limits()' WHERE to_regprocedure('public.cleanup_rate_limits()') IS NULL) AS missing,
                EXISTS (SELECT 1 FROM pg_trigger WHERE tgname = 'on_max_retries_exceeded' AND tgrelid = to_regclass('public.background_jobs')) AS trigger,
                ARRAY(SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
                        AND relname <> '_sqlx_migrations' AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY 1) AS unforced,
                ARRAY(SELECT relname::text FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> '_sqlx_migrations'
                        AND 2 > (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname IN (c.relname || '_owner', c.relname || '_service')) ORDER BY 1) AS unguarded,
                (SELECT count(*) FROM pg_policies WHERE policyname LIKE '%admin\\_trainer%') AS policies,
                ARRAY(SELECT n FROM unnest(ARRAY['anon', 'authenticated', 'service_role', 'assay_web', 'assay_worker']) n
                       WHERE NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = n)
                      UNION ALL
                      SELECT m.role || ' in ' || m.of FROM (VALUES ('assay_web', 'anon'), ('assay_web', 'authenticated'), ('assay_worker', 'service_role')) AS m(role, of)
                       WHERE NOT EXISTS (SELECT 1 FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
                                          WHERE r.rolname = m.role AND g.rolname = m.of)) AS missing_roles,
                ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role', 'assay_web', 'assay_worker')
                        AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)
                      UNION ALL
                      SELECT 'assay_web in service_role' WHERE EXISTS (SELECT 1 FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
                                                                        WHERE r.rolname = 'assay_web' AND g.rolname = 'service_role')) AS mighty,
                clock_timestamp() AS now"
    )))
    .fetch_one(&mut *conn)
    .await?;
    let theirs: chrono::DateTime<chrono::Utc> = row.try_get("now")?;
    let round_trip = chrono::Utc::now() - sent;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a clock difference")]
    let clock_skew_s = (sent + round_trip / 2 - theirs).num_milliseconds() as f64 / 1000.0;
    Ok(Found {
        server_version: row.try_get("version")?,
        not_durable: row.try_get("not_durable")?,
        missing_extensions: row.try_get("extensions")?,
        missing_objects: row.try_get("missing")?,
        trigger: row.try_get("trigger")?,
        unforced_tables: row.try_get("unforced")?,
        tables_without_policy: row.try_get("unguarded")?,
        policies: row.try_get("policies")?,
        missing_roles: row.try_get("missing_roles")?,
        mighty_roles: row.try_get("mighty")?,
        clock_skew_s,
        ..Found::default()
    })
}

async fn running(conn: &mut PgConnection, found: &mut Found) -> sqlx::Result<()> {
    let row = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM unified_metrics) AS exist,
                EXISTS (SELECT 1 FROM metric_confidence_cache) AS cache_rows,
                (SELECT count(*) FROM workers WHERE seen_at > now() - interval '15 seconds') AS workers,
                EXISTS (SELECT 1 FROM leases WHERE name = 'jobs' AND expires_at > now() - interval '5 seconds') AS leader,
                (SELECT count(*) FROM schedules WHERE NOT paused AND next_run_at < now() - interval '5 minutes') AS overdue,
                (SELECT count(*) FROM schedules) AS schedules,
                ARRAY(SELECT n FROM (
                        SELECT 'terra_webhooks_raw_' || to_char((now() AT TIME ZONE 'UTC') + make_interval(months => m), 'YYYYMM') FROM generate_series(0, 1) AS m
                        UNION ALL SELECT 'job_history_' || to_char((now() AT TIME ZONE 'UTC')::date + d, 'YYYYMMDD') FROM generate_series(0, 1) AS d) AS p(n)
                       WHERE to_regclass('public.' || n) IS NULL ORDER BY 1) AS partitions",
    )
    .fetch_one(&mut *conn)
    .await?;
    found.values_exist = row.try_get("exist")?;
    found.cache_rows = row.try_get("cache_rows")?;
    found.workers_alive = row.try_get("workers")?;
    found.leader = row.try_get("leader")?;
    found.schedules_overdue = row.try_get("overdue")?;
    found.schedules = row.try_get("schedules")?;
    found.missing_partitions = row.try_get("partitions")?;
    found.dead_letters = super::dashboard::open_dead_letters(conn).await?;
    Ok(())
}

/// Whether the hot queries have an index to use: small tables are scanned for good reasons, so scans are forbidden for
/// the question, in a transaction of its own.
async fn indexes(conn: &mut PgConnection, found: &mut Found) -> sqlx::Result<()> {
    found.invalid_indexes = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
          WHERE c.relnamespace = 'public'::regnamespace AND NOT (i.indisvalid AND i.indisready) ORDER BY 1",
    )
    .fetch_all(&mut *conn)
    .await?;
    let here = |name: &str| !found.missing_objects.iter().any(|m| m == name);
    let explain = |query: &str| AssertSqlSafe(format!("EXPLAIN {query}"));
    let by_index = |plan: Vec<String>| plan.iter().any(|line| line.contains("Index")) && !plan.iter().any(|line| line.contains("Seq Scan"));
    if let Some((_, _, query)) = HOT.first().filter(|(_, table, _)| here(table)) {
        found.latest_uses_index = by_index(sqlx::query_scalar(explain(query)).fetch_all(&mut *conn).await?);
    }
    let mut tx = sqlx::Connection::begin(&mut *conn).await?;
    sqlx::query("SELECT set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true)").execute(&mut *tx).await?;
    for (name, _, query) in HOT.into_iter().filter(|(_, table, _)| here(table)) {
        if !by_index(sqlx::query_scalar(explain(query)).fetch_all(&mut *tx).await?) {
            found.queries_without_index.push(name.to_owned());
        }
    }
    tx.rollback().await
}
