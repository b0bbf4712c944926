//! Jobs as the administrator looks through them: by page, counted, and acted on by the filter that is shown.
//!
//! Waiting and dead jobs are read in the order of their ids, finished ones in the order they ended; both orders lie in
//! an index. What no index narrows (a payload, a kind in history, an error's text among those that had one) is looked for
//! among the newest [`WINDOW`] only, so that no page reads a history of millions. Statements are planned for their values, not kept.

use super::{
    jobs::{cancelled, giving_up, into_history},
    person_jobs,
};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// How many of the newest jobs are looked through for what no index narrows.
pub const WINDOW: i64 = 25_000;
/// Counts are exact up to here.
pub const COUNTED: i64 = 10_000;

/// Which jobs. Empty fields do not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// A state's word.
    pub status: Option<String>,
    /// A kind.
    pub kind: Option<String>,
    /// A person.
    pub user_id: Option<String>,
    /// Occurs in the newest error, letters' case aside.
    pub error: Option<String>,
    /// The payload has this text at this path.
    pub payload: Option<(Vec<String>, String)>,
    /// These jobs only.
    pub ids: Option<Vec<Uuid>>,
    /// Only jobs that are not due yet.
    pub not_due: bool,
    /// Of the queue only what was enqueued, and if it is dead died, no later than this.
    pub until: Option<DateTime<Utc>>,
}

impl Filter {
    /// Whether a job in this state may match at all.
    fn wants(&self, words: &[&str]) -> bool {
        self.status.as_deref().is_none_or(|s| words.contains(&s))
    }

    /// Whether the counts by kind and state answer it, however many there are.
    pub fn is_counted(&self) -> bool {
        self.user_id.is_none() && !self.is_read() && self.ids.is_none() && !self.not_due
    }

    /// Whether rows must be read one by one, because no index narrows.
    pub fn is_read(&self) -> bool {
        self.error.is_some() || self.payload.is_some()
    }

    /// Whether of the finished jobs only a window is looked through: no index knows their states and kinds.
    pub fn looks_through_history(&self) -> bool {
        self.wants(&["completed", "cancelled"]) && !self.not_due && (self.status.is_some() || self.kind.is_some() || self.is_read())
    }

    fn path(&self) -> Option<&[String]> {
        self.payload.as_ref().map(|p| p.0.as_slice())
    }

    fn text(&self) -> Option<&str> {
        self.payload.as_ref().map(|p| p.1.as_str())
    }
}

/// Where the page before ended, in each of the two tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The last job shown that waits, runs or is dead.
    pub hot: Option<Uuid>,
    /// The last finished job shown, and when it ended.
    pub done: Option<(DateTime<Utc>, Uuid)>,
}

/// A page of jobs.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The jobs, newest first.
    pub rows: Vec<Row>,
    /// Where they ended, if more follow.
    pub next: Option<Cursor>,
    /// Where the windows ended, if nothing more was found in them and there are older jobs that were not looked through.
    pub further: Option<Cursor>,
}

/// One job in a list.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Row {
    /// The job.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// Its state's word.
    pub status: String,
    /// The beginning of its newest error.
    pub error: Option<String>,
    /// Attempts begun.
    pub attempts: i32,
    /// Attempts allowed; `None` for finished jobs.
    pub max_attempts: Option<i32>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it is or was due.
    pub scheduled_at: DateTime<Utc>,
    /// When its latest attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// Whose data it works on.
    pub user_id: Option<String>,
}

impl Row {
    fn is_done(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "cancelled")
    }

    /// How long it runs, or ran.
    pub fn ran(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let end = if self.status == "processing" { now } else { self.completed_at? };
        Some(end - run_since(&self.status, self.scheduled_at, self.started_at)?)
    }

    /// What lists are ordered by.
    fn at(&self) -> DateTime<Utc> {
        if self.is_done() { self.completed_at.unwrap_or(self.created_at) } else { self.created_at }
    }
}

/// When the attempt began that runs or ended the job. A job that was cancelled while it waited for its next attempt did not
/// run until then, though the attempt before left its beginning.
pub fn run_since(status: &str, scheduled_at: DateTime<Utc>, started_at: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    started_at.filter(|started| status != "cancelled" || *started >= scheduled_at)
}

/// No id made up to this moment lies behind it, and none made later before it: ids begin with their millisecond.
fn id_after(at: DateTime<Utc>) -> Uuid {
    let millisecond = at.timestamp_millis().saturating_add(1).max(0).unsigned_abs();
    Uuid::from_u128(u128::from(millisecond) << 80)
}

// $1 state, $2 kind, $3 person, $4 part of the error, $5 ids, $6 not due yet, $7 after this id, $8 window, $9 rows,
// $10 path in the payload, $11 its text, $12 dead no later than this
macro_rules! in_queue {
    () => {
        " FROM background_jobs
           WHERE ($1::text IS NULL OR status = $1)
             AND ($1::text IS DISTINCT FROM 'failed' OR failed_at IS NOT NULL)
             AND ($1::text IS NULL OR $1 = 'failed' OR failed_at IS NULL)
             AND ($2::text IS NULL OR type = $2) AND ($3::text IS NULL OR user_id = $3)
             AND ($5::uuid[] IS NULL OR id = ANY ($5)) AND (NOT $6 OR scheduled_at > now())
             AND ($7::uuid IS NULL OR id < $7) AND ($12::timestamptz IS NULL OR failed_at IS NULL OR failed_at <= $12)
           ORDER BY id DESC "
    };
}

macro_rules! hot {
    () => {
        concat!(
            "(SELECT *",
            in_queue!(),
            "LIMIT $8) j
         WHERE ($4::text IS NULL OR position(lower($4) IN lower(error)) > 0) AND ($10::text[] IS NULL OR
               CASE cardinality($10) WHEN 1 THEN payload ->> ($10)[1] ELSE payload #>> $10 END = $11)"
        )
    };
}

// $1 state, $2 kind, $3 person, $4 part of the error, $5 ids, $6 and $7 after this one, $8 window, $9 rows,
// $10 path in the payload, $11 its text
macro_rules! in_history {
    () => {
        " FROM job_history
           WHERE ($3::text IS NULL OR user_id = $3) AND ($5::uuid[] IS NULL OR id = ANY ($5)) AND ($4::text IS NULL OR error IS NOT NULL)
             AND ($6::timestamptz IS NULL OR (completed_at <= $6 AND (completed_at, id) < ($6, $7)))
           ORDER BY completed_at DESC"
    };
}

// Whoever looks through a window needs no order among jobs that ended together, and sorting them would take longer than reading
// them. The window has all that ended together or none, so that a search can go on behind that moment.
macro_rules! done {
    (page) => {
        done!(", id DESC LIMIT $8")
    };
    (window) => {
        done!(" FETCH FIRST ($8) ROWS WITH TIES")
    };
    ($then:literal) => {
        concat!(
            "(SELECT *",
            in_history!(),
            $then,
            ") j
         WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR type = $2)
           AND ($4::text IS NULL OR position(lower($4) IN lower(error)) > 0) AND ($10::text[] IS NULL OR
               CASE cardinality($10) WHEN 1 THEN payload ->> ($10)[1] ELSE payload #>> $10 END = $11)"
        )
    };
}

macro_rules! columns {
    ($max_attempts:literal) => {
        concat!(
            "SELECT id, type AS kind, status, left(error, 400) AS error, attempts, ",
            $max_attempts,
            " AS max_attempts, created_at, scheduled_at, started_at, completed_at, user_id FROM "
        )
    };
}

macro_rules! bind_hot {
    ($query:expr, $f:expr, $after:expr, $window:expr, $rows:expr) => {
        $query
            .persistent(false)
            .bind(&$f.status)
            .bind(&$f.kind)
            .bind(&$f.user_id)
            .bind(&$f.error)
            .bind(&$f.ids)
            .bind($f.not_due)
            .bind($after.or($f.until.map(id_after)))
            .bind($window)
            .bind($rows)
            .bind($f.path())
            .bind($f.text())
            .bind($f.until)
    };
}

macro_rules! bind_done {
    ($query:expr, $f:expr, $after:expr, $window:expr, $rows:expr) => {
        $query
            .persistent(false)
            .bind(&$f.status)
            .bind(&$f.kind)
            .bind(&$f.user_id)
            .bind(&$f.error)
            .bind(&$f.ids)
            .bind($after.map(|(at, _): (DateTime<Utc>, Uuid)| at))
            .bind($after.map(|(_, id)| id))
            .bind($window)
            .bind($rows)
            .bind($f.path())
            .bind($f.text())
    };
}

/// The filter for the queue, which may hold millions: what runs is named by the leases, a handful of rows, and a person's jobs
/// by [`person_jobs`].
async fn narrowed(conn: &mut PgConnection, filter: &Filter) -> sqlx::Result<Filter> {
    let mut filter = filter.clone();
    if !filter.wants(&["pending", "processing", "failed"]) {
        return Ok(filter); // finished jobs are not in the queue
    }
    if filter.ids.is_none() && filter.status.as_deref() == Some("processing") {
        filter.ids = Some(sqlx::query_scalar("SELECT unnest(ids) FROM job_leases LIMIT $1").bind(WINDOW).fetch_all(conn).await?);
    } else if let (None, Some(user)) = (&filter.ids, &filter.user_id) {
        filter.ids = Some(person_jobs::of_person(conn, user).await?);
    }
    Ok(filter)
}

fn window(narrowed_outside: bool, limit: i64) -> i64 {
    if narrowed_outside { WINDOW } else { limit }
}

/// The next page: at most `limit` jobs, newest first, and where it ended if more follow.
///
/// # Errors
/// The database's.
pub async fn page(conn: &mut PgConnection, filter: &Filter, after: Cursor, limit: i64) -> sqlx::Result<(Vec<Row>, Option<Cursor>)> {
    let queue = narrowed(conn, filter).await?;
    let (rows, end, more) = read(conn, filter, &queue, after, limit).await?;
    Ok((rows, more.then_some(end)))
}

/// The same page; where it is the last one it says how a search goes on behind the windows.
///
/// # Errors
/// The database's.
pub async fn search(conn: &mut PgConnection, filter: &Filter, after: Cursor, limit: i64) -> sqlx::Result<Page> {
    let queue = narrowed(conn, filter).await?;
    let (rows, end, more) = read(conn, filter, &queue, after, limit).await?;
    let further = if more { None } else { behind(conn, filter, &queue, after, end).await? };
    Ok(Page { rows, next: more.then_some(end), further })
}

/// A page, where it ended, and whether more was found. `queue` is the filter, [`narrowed`].
async fn read(
    conn: &mut PgConnection,
    filter: &Filter,
    queue: &Filter,
    after: Cursor,
    limit: i64,
) -> sqlx::Result<(Vec<Row>, Cursor, bool)> {
    let ask = limit + 1;
    let mut rows: Vec<Row> = Vec::new();
    if filter.wants(&["pending", "processing", "failed"]) {
        const SQL: &str = concat!(columns!("max_attempts"), hot!(), " ORDER BY id DESC LIMIT $9");
        let query = bind_hot!(sqlx::query_as(SQL), queue, after.hot, window(filter.is_read(), ask), ask);
        rows.extend(query.fetch_all(&mut *conn).await?);
    }
    if filter.wants(&["completed", "cancelled"]) && !filter.not_due {
        const PAGE: &str = concat!(columns!("NULL::int4"), done!(page), " ORDER BY completed_at DESC, id DESC LIMIT $9");
        const FOUND: &str = concat!(columns!("NULL::int4"), done!(window), " ORDER BY completed_at DESC, id DESC LIMIT $9");
        let outside = filter.looks_through_history();
        let query = bind_done!(sqlx::query_as(if outside { FOUND } else { PAGE }), filter, after.done, window(outside, ask), ask);
        rows.extend(query.fetch_all(&mut *conn).await?);
    }
    Ok(merged(rows, after, limit))
}

/// Where the windows behind `after` end, if there are older jobs; where none was used, where the rows ended.
async fn behind(conn: &mut PgConnection, filter: &Filter, queue: &Filter, after: Cursor, end: Cursor) -> sqlx::Result<Option<Cursor>> {
    let (mut further, mut goes_on) = (end, false);
    if filter.is_read() && filter.wants(&["pending", "processing", "failed"]) {
        const SQL: &str = concat!("SELECT id", in_queue!(), "OFFSET $8 - 1 LIMIT 2");
        let query = bind_hot!(sqlx::query_scalar::<_, Uuid>(SQL), queue, after.hot, WINDOW, 2_i64);
        if let [last, _] = query.fetch_all(&mut *conn).await?.as_slice() {
            (further.hot, goes_on) = (Some(*last), true);
        }
    }
    if filter.looks_through_history() {
        const SQL: &str = concat!("SELECT completed_at", in_history!(), " OFFSET $8 - 1 LIMIT 2");
        let query = bind_done!(sqlx::query_scalar::<_, DateTime<Utc>>(SQL), filter, after.done, WINDOW, 2_i64);
        if let [last, _] = query.fetch_all(&mut *conn).await?.as_slice() {
            // What ended at this moment was in the window.
            (further.done, goes_on) = (Some((*last, Uuid::nil())), true);
        }
    }
    Ok(goes_on.then_some(further))
}

/// Both tables' rows by time. Within a table the order they came in stays, so that each cursor skips nothing.
fn merged(rows: Vec<Row>, after: Cursor, limit: i64) -> (Vec<Row>, Cursor, bool) {
    let (done, hot): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(Row::is_done);
    let (mut done, mut hot) = (done.into_iter().peekable(), hot.into_iter().peekable());
    let mut page = Vec::new();
    let mut cursor = after;
    while (page.len() as i64) < limit {
        let from_hot = match (hot.peek(), done.peek()) {
            (Some(h), Some(d)) => h.at() >= d.at(),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => break,
        };
        let Some(row) = (if from_hot { hot.next() } else { done.next() }) else { break };
        if from_hot {
            cursor.hot = Some(row.id);
        } else {
            cursor.done = Some((row.at(), row.id));
        }
        page.push(row);
    }
    let more = hot.peek().is_some() || done.peek().is_some();
    (page, cursor, more)
}

/// How many jobs match, counted up to [`COUNTED`] + 1.
///
/// # Errors
/// The database's.
pub async fn count(conn: &mut PgConnection, filter: &Filter) -> sqlx::Result<i64> {
    let queue = narrowed(conn, filter).await?;
    let most = COUNTED + 1;
    let mut n = 0;
    if filter.wants(&["pending", "processing", "failed"]) {
        const SQL: &str = concat!("SELECT count(*) FROM (SELECT 1 FROM ", hot!(), " LIMIT $9) c");
        let query = bind_hot!(sqlx::query_scalar::<_, i64>(SQL), queue, None::<Uuid>, window(filter.is_read(), most), most);
        n += query.fetch_one(&mut *conn).await?;
    }
    if filter.wants(&["completed", "cancelled"]) && !filter.not_due {
        const SQL: &str = concat!("SELECT count(*) FROM (SELECT 1 FROM ", done!(window), " LIMIT $9) c");
        let window = window(filter.looks_through_history(), most);
        let query = bind_done!(sqlx::query_scalar::<_, i64>(SQL), filter, None::<(DateTime<Utc>, Uuid)>, window, most);
        n += query.fetch_one(&mut *conn).await?;
    }
    Ok(n.min(most))
}

/// How many jobs of these kinds wait for a later time, counted up to [`COUNTED`] + 1: by the index that claims use, so that
/// a queue of due jobs costs nothing.
///
/// # Errors
/// The database's.
pub async fn count_later(conn: &mut PgConnection, kinds: &[String]) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM (
           SELECT FROM unnest($1::text[]) AS k (kind) CROSS JOIN generate_series(0, 9) AS p (priority)
            CROSS JOIN LATERAL (SELECT FROM background_jobs
                                 WHERE failed_at IS NULL AND status = 'pending' AND type = k.kind AND priority = p.priority AND scheduled_at > now()
                                 LIMIT $2) j LIMIT $2) c",
    )
    .bind(kinds)
    .bind(COUNTED + 1)
    .fetch_one(conn)
    .await
}

/// The next jobs of the queue (not of history) that match, for acting on them: at most `limit` ids after `after`.
///
/// # Errors
/// The database's.
pub async fn matching(conn: &mut PgConnection, filter: &Filter, after: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    const SQL: &str = concat!("SELECT id FROM ", hot!(), " ORDER BY id DESC LIMIT $9");
    let queue = narrowed(conn, filter).await?;
    bind_hot!(sqlx::query_scalar(SQL), queue, after, window(filter.is_read(), limit), limit).fetch_all(conn).await
}

const CANCEL: &str = concat!(
    "WITH gone AS (DELETE FROM background_jobs WHERE id = ANY ($1) AND status IN ('pending', 'failed') RETURNING *),
     given_up AS (SELECT type, payload, '",
    cancelled!(),
    "' AS error FROM gone WHERE status = 'pending'), ",
    giving_up!(),
    ", ",
    into_history!("gone", "cancelled", "coalesce(error, 'cancelled')"),
    ", asked AS (UPDATE background_jobs SET cancel_requested = true WHERE id = ANY ($1) AND status = 'processing' RETURNING id)
     SELECT (SELECT count(*) FROM gone), (SELECT count(pg_notify('assay_jobs', 'cancel:' || id)) FROM asked)"
);

/// Cancels these jobs: waiting and dead ones at once, running ones by asking their workers. Returns how many of each. What
/// hung on them ends too (`giving_up`); with the dead ones it did when they died.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn cancel_many(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<(i64, i64)> {
    sqlx::query_as(CANCEL).bind(ids).fetch_one(conn).await
}

/// Makes these jobs due now, where they wait for a later time, and wakes the workers; returns how many.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn run_now_many(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "WITH due AS (UPDATE background_jobs SET scheduled_at = now() WHERE id = ANY ($1) AND status = 'pending' AND scheduled_at > now() RETURNING type),
              woken AS (SELECT count(pg_notify('assay_jobs', type)) FROM (SELECT DISTINCT type FROM due) t)
         SELECT (SELECT count(*) FROM due) FROM woken",
    )
    .bind(ids)
    .fetch_one(conn)
    .await
}

/// Puts these jobs off by an hour from now, where they wait for less; returns how many.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn put_off_many(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<i64> {
    let done = sqlx::query(
        "UPDATE background_jobs SET scheduled_at = now() + interval '1 hour'
          WHERE id = ANY ($1) AND status = 'pending' AND scheduled_at < now() + interval '1 hour'",
    )
    .bind(ids)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() as i64)
}

#[cfg(test)]
#[path = "job_lists_tests.rs"]
mod tests;
