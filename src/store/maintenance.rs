//! Housekeeping: the materialized view, partitions, retention, roll-ups, VACUUM. What needs ownership runs on the
//! owner's pool. Each statement may run at any time and again.

use sqlx::{Acquire, AssertSqlSafe, PgConnection, PgPool};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// What the view was last made from: how many rows of its tables were ever written, as the server counts.
const WRITTEN: &str = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_all_tables
     WHERE relid IN (to_regclass('public.unified_metrics'), to_regclass('public.source_choices'), to_regclass('public.source_ranks'))";

/// Puts the view's schedule off by its beat when nothing was written since the last refresh, so that no job is made
/// for nothing. Returns whether it was put off.
pub async fn skip_refresh_without_news(conn: &mut PgConnection) -> sqlx::Result<bool> {
    let written: i64 = sqlx::query_scalar(WRITTEN).fetch_one(&mut *conn).await?;
    let done = sqlx::query(
        "UPDATE schedules SET last_run_at = now(), next_run_at = now() + make_interval(secs => every_s),
                payload = payload || jsonb_build_object('current_at', now())
          WHERE name = 'matview_refresh' AND NOT paused AND next_run_at <= now() AND (payload ->> 'written')::bigint = $1",
    )
    .bind(written)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// When the view's schedule runs next, at the earliest: in $1 seconds.
const PUT_OFF: &str =
    "UPDATE schedules SET next_run_at = now() + make_interval(secs => greatest($1, every_s)) WHERE name = 'matview_refresh'";
/// No refresh begins beside one that runs: it would wait for the other's lock, on a thread and a connection that others need.
const WHILE_IT_RUNS: f64 = 1800.0;

/// How long to rest after a refresh of so many seconds: refreshing takes a thirtieth of the time, for the program itself reads
/// newest values live; where that would be more than five minutes, up to a tenth, so that health does not call a large
/// view stale for resting.
pub(super) fn rest(seconds: f64) -> f64 {
    (seconds * 9.0).max((seconds * 29.0).min(300.0))
}

/// Refreshes `latest_unified_metrics` without locking readers out, and analyses it. Notes what it was made from, and
/// puts the next refresh off ([`rest`]). `None`: the view was dropped.
///
/// # Errors
/// The database's.
pub async fn refresh_latest(owner: &PgPool) -> sqlx::Result<Option<f64>> {
    let mut conn = owner.acquire().await?;
    let there: bool = sqlx::query_scalar("SELECT to_regclass('public.latest_unified_metrics') IS NOT NULL").fetch_one(&mut *conn).await?;
    if !there {
        return Ok(None);
    }
    sqlx::query(PUT_OFF).bind(WHILE_IT_RUNS).execute(&mut *conn).await?;
    let refreshed = refresh(&mut conn).await;
    sqlx::query(PUT_OFF).bind(refreshed.as_ref().map_or(0.0, |seconds| rest(*seconds))).execute(&mut *conn).await?;
    refreshed.map(Some)
}

/// How many seconds it took.
async fn refresh(conn: &mut PgConnection) -> sqlx::Result<f64> {
    let sql = format!("SELECT ({WRITTEN}), now()");
    let (written, current_at): (i64, crate::model::Instant) = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut *conn).await?;
    let begin = Instant::now();
    sqlx::query("REFRESH MATERIALIZED VIEW CONCURRENTLY latest_unified_metrics").execute(&mut *conn).await?;
    sqlx::query("ANALYZE latest_unified_metrics").execute(&mut *conn).await?;
    let seconds = begin.elapsed().as_secs_f64();
    sqlx::query(
        "UPDATE schedules SET payload = payload || jsonb_build_object('written', $1::bigint, 'current_at', $2::timestamptz) WHERE name = 'matview_refresh'",
    )
    .bind(written)
    .bind(current_at)
    .execute(conn)
    .await?;
    Ok(seconds)
}

/// Whether a statement was given up because somebody held a lock for longer than it may wait.
pub fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|e| e.code()).as_deref() == Some("55P03")
}

/// Makes the partitions of the days and months to come. None waits long for a lock: those of one table that could not be made
/// do not keep the other's from being made.
///
/// # Errors
/// The database's; what was made before stays.
pub async fn make_partitions(owner: &PgPool) -> sqlx::Result<()> {
    let history = make_history_partitions(owner).await;
    super::deliveries::make_partitions(owner).await?;
    history
}

/// One commit each.
async fn make_history_partitions(owner: &PgPool) -> sqlx::Result<()> {
    for n in 0..=7 {
        let mut tx = owner.begin().await?;
        sqlx::query("SELECT set_config('lock_timeout', '2s', true)").execute(&mut *tx).await?;
        sqlx::query("SELECT app.make_job_history_partition((now() AT TIME ZONE 'UTC')::date + $1)").bind(n).execute(&mut *tx).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Drops days of finished jobs. Every worker that finishes jobs waits while this waits, so it gives up soon: `None`.
async fn drop_history(conn: &mut PgConnection, days: i32) -> sqlx::Result<Option<i64>> {
    let mut tx = conn.begin().await?;
    sqlx::query("SELECT set_config('lock_timeout', '500ms', true)").execute(&mut *tx).await?;
    let dropped =
        sqlx::query_scalar("SELECT app.drop_job_history_before((now() AT TIME ZONE 'UTC')::date - $1)").bind(days).fetch_one(&mut *tx);
    match dropped.await {
        Ok(n) => {
            tx.commit().await?;
            Ok(Some(n))
        }
        Err(e) if is_lock_timeout(&e) => Ok(None), // rolls back
        Err(e) => Err(e),
    }
}

/// How long tables that are in use are waited for: with pauses, because others wait behind each try.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Between two tries.
    pub pause: Duration,
    /// Altogether.
    pub whole: Duration,
}

impl Patience {
    /// Within the time of the job that does it.
    pub const NIGHT: Self = Self { pause: Duration::from_secs(60), whole: Duration::from_secs(1200) };
}

/// [`retention`], and whole days and months that were in use are tried again as long as there is patience: a dump or a report
/// that runs every night at the same time must not keep them for ever.
///
/// # Errors
/// The database's; what was removed before stays removed.
pub async fn retention_with(owner: &PgPool, patience: Patience) -> sqlx::Result<Removed> {
    let begin = Instant::now();
    let mut removed = retention(owner).await?;
    loop {
        let there = |removed: &Removed, name: &str| removed.iter().any(|(table, _)| *table == name);
        let mut conn = owner.acquire().await?;
        let kept = super::retention::read(&mut *conn).await?;
        let raw_days = kept.raw_days.filter(|_| !there(&removed, "terra_webhooks_raw"));
        if there(&removed, "job_history") && raw_days.is_none() {
            return Ok(removed);
        }
        drop(conn); // nobody lacks it while we wait
        if begin.elapsed() + patience.pause > patience.whole {
            tracing::warn!("old days of the history or of deliveries were in use all the time; they are dropped at the next run");
            return Ok(removed);
        }
        tokio::time::sleep(patience.pause).await;
        let mut conn = owner.acquire().await?;
        if !there(&removed, "job_history")
            && let Some(n) = drop_history(&mut conn, kept.history_days).await?
        {
            removed.push(("job_history", n));
        }
        if let Some(days) = raw_days
            && let Some(n) = super::deliveries::drop_months(&mut conn, days).await?
        {
            removed.push(("terra_webhooks_raw", n));
        }
    }
}

/// What retention took away: the table and its rows.
pub type Removed = Vec<(&'static str, i64)>;

/// Removes what is older than its time, as [`super::retention`] says. The audit log goes too where a time is set for it:
/// only the owner may do that.
///
/// # Errors
/// The database's; what was removed before stays removed.
pub async fn retention(owner: &PgPool) -> sqlx::Result<Removed> {
    let mut conn = owner.acquire().await?;
    let kept = super::retention::read(&mut *conn).await?;
    let (history, logs, letters, figures) = (kept.history_days, kept.log_days, kept.letter_days, kept.figure_days);
    let mut removed = Removed::new();
    roll_up_logs(&mut conn).await?; // after this the lines may go
    match drop_history(&mut conn, history).await? {
        Some(n) => removed.push(("job_history", n)),
        None => tracing::info!("the history of finished jobs is in use"),
    }
    let plain = [
        ("edge_function_logs", "DELETE FROM edge_function_logs WHERE timestamp < now() - make_interval(days => $1)", logs),
        ("health_snapshots", "DELETE FROM health_snapshots WHERE at < now() - make_interval(days => $1)", letters),
        ("refused_deliveries", "DELETE FROM refused_deliveries WHERE minute < now() - make_interval(days => $1)", letters),
        ("gateway_counts", "DELETE FROM gateway_counts WHERE minute < now() - make_interval(days => $1)", letters),
        ("operations", "DELETE FROM operations WHERE finished_at < now() - make_interval(days => $1)", figures),
        ("job_days", "DELETE FROM job_days WHERE day < current_date - $1", figures),
    ];
    for (table, sql, days) in plain {
        removed.push((table, sqlx::query(sql).bind(days).execute(&mut *conn).await?.rows_affected() as i64));
    }
    if super::dead_letters::exists(&mut conn).await? {
        let n = sqlx::query(
            "DELETE FROM background_jobs_dlq WHERE (retried OR discarded_at IS NOT NULL) AND failed_at < now() - make_interval(days => $1)",
        )
        .bind(letters)
        .execute(&mut *conn)
        .await?
        .rows_affected();
        removed.push(("background_jobs_dlq", n as i64));
    }
    removed.extend(super::deliveries::forget(&mut conn, &kept).await?);
    removed.push(("names of erased persons", super::tombstones::sweep(&mut conn).await?));
    if let Some(days) = kept.audit_days {
        removed.push(("audit_log", super::audit::forget(&mut conn, days).await?));
    }
    removed.push(("login_sessions", super::sessions::clean_up(&mut *conn).await? as i64));
    removed.push(("invitations", super::accounts::clean_up_invitations(&mut *conn).await? as i64));
    Ok(removed)
}

/// Calls the checklist's function; returns how many rows went.
pub async fn clean_rate_limits(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT cleanup_rate_limits()").fetch_one(conn).await
}

/// Sums up the log lines by day, function and level, from the last day that was summed up on: it was not over then, and days
/// on which nobody did this are made up for. A sum that retention has taken lines from is not made anew. Returns how many
/// sums were written.
///
/// # Errors
/// The database's; then the next run begins where this one did.
pub async fn roll_up_logs(conn: &mut PgConnection) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "INSERT INTO log_rollups AS r (date, function_name, level, count, avg_duration_ms, max_duration_ms)
         SELECT (timestamp AT TIME ZONE 'UTC')::date, function_name, level, sum(c.calls), (sum(duration_ms * c.calls) / nullif(sum(c.calls) FILTER (WHERE duration_ms IS NOT NULL), 0))::float8, max(c.longest)
           FROM edge_function_logs l CROSS JOIN LATERAL (SELECT
                  CASE jsonb_typeof(metadata -> 'calls') WHEN 'number' THEN (metadata ->> 'calls')::numeric::bigint ELSE 1 END AS calls,
                  CASE jsonb_typeof(metadata -> 'max_ms') WHEN 'number' THEN (metadata ->> 'max_ms')::numeric::int ELSE duration_ms END AS longest) c
          WHERE timestamp >= coalesce((SELECT max(date) FROM log_rollups)::timestamp AT TIME ZONE 'UTC', '-infinity') GROUP BY 1, 2, 3
         ON CONFLICT (date, function_name, level) DO UPDATE
            SET count = excluded.count, avg_duration_ms = excluded.avg_duration_ms, max_duration_ms = excluded.max_duration_ms
          WHERE excluded.count >= r.count",
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// The tables that change most.
const BUSY: [&str; 7] =
    ["background_jobs", "job_leases", "job_count_deltas", "unified_metrics", "records", "metric_confidence_cache", "edge_function_logs"];

/// VACUUM ANALYZE of the tables that change most. Autovacuum does it daily; this is the checklist's weekly one.
pub async fn vacuum(owner: &PgPool) -> sqlx::Result<()> {
    let mut conn = owner.acquire().await?;
    for table in BUSY {
        sqlx::query(AssertSqlSafe(format!("VACUUM (ANALYZE, SKIP_LOCKED) {table}"))).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Announces what changed on the channel of live events, when the transaction commits. `users`: whom it concerns. A
/// notification holds 8,000 bytes, so many are named in several; of more than [`NAMED`] it is said that it concerns
/// everybody.
///
/// # Errors
/// The database's.
pub async fn announce(conn: &mut PgConnection, topic: &str, users: &[&str], n: i64) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_notify('assay_live', news) FROM unnest($1::text[]) AS news").bind(news(topic, users, n)).execute(conn).await?;
    Ok(())
}

/// Persons that are named one by one, at most.
const NAMED: usize = 1_000;

/// The payloads of an announcement; the first one tells how many things changed.
fn news(topic: &str, users: &[&str], n: i64) -> Vec<String> {
    let payload = |users: &[&str], everybody: bool, n: i64| {
        serde_json::json!({ "topic": topic, "users": users, "everybody": everybody, "n": n }).to_string()
    };
    if users.len() > NAMED || users.iter().any(|user| user.len() > 1_000) {
        return vec![payload(&[], true, n)];
    }
    let (mut all, mut some, mut bytes) = (Vec::new(), Vec::new(), 0);
    for user in users {
        let size = serde_json::Value::from(*user).to_string().len() + 1;
        if bytes + size > 7_000 {
            all.push(payload(&std::mem::take(&mut some), false, if all.is_empty() { n } else { 0 }));
            bytes = 0;
        }
        some.push(*user);
        bytes += size;
    }
    all.push(payload(&some, false, if all.is_empty() { n } else { 0 }));
    all
}

/// A line of `edge_function_logs`.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// debug, info, warn or error.
    pub level: &'static str,
    /// The endpoint, or `job-worker`.
    pub function: &'static str,
    /// For people.
    pub message: String,
    /// JSON text.
    pub metadata: String,
    /// The request at the edge.
    pub request_id: Option<String>,
    /// The person.
    pub user_id: Option<String>,
    /// How long it took.
    pub duration_ms: i32,
}

/// Writes lines in one statement. Lines that are lost with the server are no loss, so it does not wait for the disk. Nobody who
/// was erased is named: Terra goes on sending for a while.
pub async fn write_log(pool: &PgPool, lines: &[LogLine]) -> sqlx::Result<()> {
    fn column<'a, T>(lines: &'a [LogLine], f: impl Fn(&'a LogLine) -> T) -> Vec<T> {
        lines.iter().map(f).collect()
    }
    // PostgreSQL's text takes no NUL.
    let plain = |text: &str| text.replace('\0', "");
    sqlx::query(
        "WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
         INSERT INTO edge_function_logs (level, function_name, message, metadata, request_id, user_id, duration_ms)
         SELECT l.level, l.function, l.message, l.metadata::jsonb, l.request_id, CASE WHEN NOT app.is_erased(l.user_id) THEN l.user_id END, l.ms FROM lazily,
                unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int4[])
                  AS l(level, function, message, metadata, request_id, user_id, ms)",
    )
    .bind(column(lines, |l| l.level))
    .bind(column(lines, |l| l.function))
    .bind(column(lines, |l| plain(&l.message)))
    .bind(column(lines, |l| l.metadata.replace("\\u0000", "")))
    .bind(column(lines, |l| l.request_id.as_deref()))
    .bind(column(lines, |l| l.user_id.as_deref().map(plain)))
    .bind(column(lines, |l| l.duration_ms))
    .execute(pool)
    .await?;
    Ok(())
}

/// What a kind's handler did in some seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Runs {
    /// Batches.
    pub calls: u32,
    /// Jobs in them.
    pub jobs: u64,
    /// Jobs that are to be tried again.
    pub retried: u64,
    /// Jobs that cannot succeed.
    pub dead: u64,
    /// Time of all batches.
    pub total: Duration,
    /// Time of the longest.
    pub longest: Duration,
}

impl Runs {
    /// Adds further runs.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.jobs += other.jobs;
        self.retried += other.retried;
        self.dead += other.dead;
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }
}

/// One line of `edge_function_logs` a kind. Losing it with the server costs nothing else, so it does not wait for the disk.
pub async fn log_runs(conn: &mut PgConnection, node: &str, runs: &BTreeMap<&'static str, Runs>) -> sqlx::Result<()> {
    let (mut kinds, mut messages, mut figures, mut millis) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (kind, r) in runs {
        kinds.push(*kind);
        messages.push(format!("{} jobs in {} batches; {} to be tried again, {} dead", r.jobs, r.calls, r.retried, r.dead));
        figures.push(serde_json::json!({
            "calls": r.calls, "jobs": r.jobs, "retried": r.retried, "dead": r.dead, "max_ms": r.longest.as_millis() as u64, "node": node
        }));
        millis.push(i32::try_from((r.total / r.calls.max(1)).as_millis()).unwrap_or(i32::MAX));
    }
    sqlx::query(
        "WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
         INSERT INTO edge_function_logs (level, function_name, message, metadata, duration_ms)
         SELECT 'info', r.* FROM lazily, unnest($1::text[], $2::text[], $3::jsonb[], $4::int4[]) AS r",
    )
    .bind(kinds)
    .bind(messages)
    .bind(figures)
    .bind(millis)
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
#[path = "maintenance_tests.rs"]
mod tests;
