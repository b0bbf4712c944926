//! What the functions wrote down, newest first, by the index on time, on trouble, on the person or on the request. What no
//! index narrows is looked for among the newest [`WINDOW`] lines only.

use crate::model::Instant;
use sqlx::PgConnection;
use uuid::Uuid;

/// How many of the newest lines are looked through.
pub const WINDOW: i64 = 25_000;
/// Counts are exact up to here.
pub const COUNTED: i64 = 10_000;

/// Which lines. Empty fields do not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// debug, info, warn or error.
    pub level: Option<String>,
    /// A function's name.
    pub function: Option<String>,
    /// A request's id.
    pub request_id: Option<String>,
    /// A person.
    pub user_id: Option<String>,
    /// Occurs in the message, letters' case aside.
    pub text: Option<String>,
    /// Written at or after.
    pub since: Option<Instant>,
}

impl Filter {
    /// Whether lines must be read one by one, because no index narrows.
    pub fn is_read(&self) -> bool {
        let by_index = matches!(self.level.as_deref(), None | Some("error" | "warn"));
        !by_index || self.function.is_some() || self.text.is_some()
    }
}

/// One line.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Row {
    /// Its id.
    pub id: Uuid,
    /// When.
    pub timestamp: Instant,
    /// debug, info, warn, error.
    pub level: String,
    /// Who wrote it.
    pub function_name: String,
    /// What happened.
    pub message: String,
    /// In which request.
    pub request_id: Option<String>,
    /// How long it took.
    pub duration_ms: Option<i32>,
}

// $1 level, $2 function, $3 request, $4 person, $5 text, $6 since, $7 and $8 after this one, $9 window
macro_rules! by_index {
    () => {
        " FROM edge_function_logs
           WHERE ($1::text IS NULL OR $1 NOT IN ('error', 'warn') OR level = $1) AND ($3::text IS NULL OR request_id = $3)
             AND ($4::text IS NULL OR user_id = $4) AND ($6::timestamptz IS NULL OR timestamp >= $6)
             AND ($7::timestamptz IS NULL OR (timestamp <= $7 AND (timestamp, id) < ($7, $8)))
           ORDER BY timestamp DESC, id DESC "
    };
}

macro_rules! found {
    () => {
        concat!(
            "(SELECT *",
            by_index!(),
            "LIMIT $9) l
         WHERE ($1::text IS NULL OR level = $1) AND ($2::text IS NULL OR function_name = $2) AND ($3::text IS NULL OR request_id = $3)
           AND ($5::text IS NULL OR position(lower($5) IN lower(message)) > 0)"
        )
    };
}

macro_rules! bind {
    ($query:expr, $f:expr, $after:expr, $window:expr, $limit:expr) => {
        $query
            .persistent(false)
            .bind(&$f.level)
            .bind(&$f.function)
            .bind(&$f.request_id)
            .bind(&$f.user_id)
            .bind(&$f.text)
            .bind($f.since)
            .bind($after.map(|(at, _): (Instant, Uuid)| at))
            .bind($after.map(|(_, id)| id))
            .bind($window)
            .bind($limit)
    };
}

fn window(f: &Filter, limit: i64) -> i64 {
    if f.level.is_some() || f.function.is_some() || f.request_id.is_some() || f.text.is_some() { WINDOW } else { limit }
}

/// Lines after the given one, newest first.
///
/// # Errors
/// The database's.
pub async fn page(conn: &mut PgConnection, filter: &Filter, after: Option<(Instant, Uuid)>, limit: i64) -> sqlx::Result<Vec<Row>> {
    const SQL: &str = concat!(
        "SELECT id, timestamp, level, function_name, left(message, 2000) AS message, request_id, duration_ms FROM ",
        found!(),
        " ORDER BY timestamp DESC, id DESC LIMIT $10"
    );
    bind!(sqlx::query_as(SQL), filter, after, window(filter, limit), limit).fetch_all(conn).await
}

/// Where the lines end that [`page`] looked through, if there are older ones that it did not.
///
/// # Errors
/// The database's.
pub async fn window_end(conn: &mut PgConnection, filter: &Filter, after: Option<(Instant, Uuid)>) -> sqlx::Result<Option<(Instant, Uuid)>> {
    const SQL: &str = concat!("SELECT timestamp, id", by_index!(), "OFFSET $9 - 1 LIMIT $10");
    if !filter.is_read() {
        return Ok(None);
    }
    let ends: Vec<(Instant, Uuid)> = bind!(sqlx::query_as(SQL), filter, after, WINDOW, 2_i64).fetch_all(conn).await?;
    Ok(if let [last, _] = ends.as_slice() { Some(*last) } else { None })
}

/// How many match, counted up to [`COUNTED`] + 1.
///
/// # Errors
/// The database's.
pub async fn count(conn: &mut PgConnection, filter: &Filter) -> sqlx::Result<i64> {
    const SQL: &str = concat!("SELECT count(*) FROM (SELECT 1 FROM ", found!(), " LIMIT $10) c");
    let most = COUNTED + 1;
    bind!(sqlx::query_scalar(SQL), filter, None::<(Instant, Uuid)>, window(filter, most), most).fetch_one(conn).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::testing;

    #[tokio::test]
    async fn pages_show_every_line_once_and_counts_agree() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO edge_function_logs (timestamp, level, function_name, message, request_id, user_id)
             SELECT now() - make_interval(mins => n / 3), CASE WHEN n % 4 = 0 THEN 'error' ELSE 'info' END, 'f' || n % 3, 'Line ' || n, 'r' || n / 10, 'u' || n % 2 FROM generate_series(1, 60) n",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let text = |s: &str| Some(s.to_owned());
        for (filter, expected) in [
            (Filter::default(), 60),
            (Filter { level: text("error"), ..Filter::default() }, 15),
            (Filter { function: text("f0"), user_id: text("u0"), ..Filter::default() }, 10),
            (Filter { request_id: text("r2"), ..Filter::default() }, 10),
            (Filter { text: text("LINE 5"), ..Filter::default() }, 11),
            (Filter { text: text("%"), ..Filter::default() }, 0),
        ] {
            let (mut ids, mut after) = (std::collections::BTreeSet::new(), None);
            loop {
                let rows = page(&mut conn, &filter, after, 7).await.unwrap();
                let Some(last) = rows.last() else { break };
                after = Some((last.timestamp, last.id));
                for row in &rows {
                    assert!(ids.insert(row.id), "twice: {filter:?}");
                }
            }
            assert_eq!((ids.len(), count(&mut conn, &filter).await.unwrap()), (expected, expected as i64), "{filter:?}");
        }
    }
}
