//! The list of clients: who is trusted least, by all metrics or by one, whose device fell silent, whose connection is
//! broken. One statement a page, in the caller's transaction.

use crate::model::{Instant, Metric};
use chrono::NaiveDate;
use sqlx::PgConnection;

/// Hours without data after which an intact connection counts as silent.
pub const SILENT_HOURS: f64 = 48.0;

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// Lowest confidence first, of the chosen metric or on average.
    #[default]
    Trust,
    /// By name.
    Name,
    /// Longest without data first.
    Age,
    /// Most achievable points first.
    Gain,
}

impl Sort {
    /// The word in URLs.
    pub const fn word(self) -> &'static str {
        match self {
            Sort::Trust => "trust",
            Sort::Name => "name",
            Sort::Age => "age",
            Sort::Gain => "gain",
        }
    }

    /// The order of a word; an unknown word is the usual order.
    pub fn of(word: &str) -> Self {
        [Sort::Name, Sort::Age, Sort::Gain].into_iter().find(|s| s.word() == word).unwrap_or_default()
    }
}

/// Whose connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// Whatever they are.
    #[default]
    Any,
    /// One is silent.
    Silent,
    /// One is broken or was withdrawn.
    Broken,
}

impl Links {
    /// The word in URLs.
    pub const fn word(self) -> &'static str {
        match self {
            Links::Any => "",
            Links::Silent => "silent",
            Links::Broken => "broken",
        }
    }

    /// What a word means; an unknown word is any.
    pub fn of(word: &str) -> Self {
        [Links::Silent, Links::Broken].into_iter().find(|s| s.word() == word).unwrap_or_default()
    }
}

/// Which clients, and in which order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wish {
    /// Part of a name or id; empty: all.
    pub search: String,
    /// The metric whose newest value counts; `None`: all of seven days.
    pub metric: Option<Metric>,
    /// Scores from and to: of the metric's newest value, or of any value of seven days.
    pub tier: Option<(i32, i32)>,
    /// Connections.
    pub links: Links,
    /// Order.
    pub sort: Sort,
}

/// A client in the list.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct RosterRow {
    /// Who.
    pub user_id: String,
    /// What pages call this person.
    pub label: Option<String>,
    /// Made up.
    pub simulated: bool,
    /// The newest day of any value.
    pub newest: Option<NaiveDate>,
    /// Average score of the last seven days of data.
    pub average: Option<f64>,
    /// The newest data of any connection.
    pub last_data_at: Option<Instant>,
    /// Providers that are silent.
    pub silent: Vec<String>,
    /// Providers whose connection is broken.
    pub broken: Vec<String>,
}

/// A page of clients.
///
/// # Errors
/// The database's.
pub async fn page(conn: &mut PgConnection, wish: &Wish, now: Instant, limit: i64, offset: i64) -> sqlx::Result<Vec<RosterRow>> {
    let (lowest, highest) = wish.tier.unwrap_or((-1, -1));
    sqlx::query_as(
        "WITH shown AS (
           SELECT p.user_id, p.label, p.simulated, (SELECT max(m.measurement_date) FROM unified_metrics m WHERE m.user_id = p.user_id) AS newest,
                  k.last_data_at, coalesce(k.silent, '{}') AS silent, coalesce(k.broken, '{}') AS broken
             FROM persons p
             LEFT JOIN (SELECT user_id, max(last_data_at) AS last_data_at,
                               array_agg(provider ORDER BY provider) FILTER (WHERE state IN ('active', 'reauthorised')
                                 AND coalesce(last_data_at, created_at) < $6 - make_interval(hours => $7::int4)) AS silent,
                               array_agg(provider ORDER BY provider) FILTER (WHERE state IN ('revoked', 'error', 'deauthorised')) AS broken
                          FROM connections GROUP BY user_id) k USING (user_id)
            WHERE $1 = '' OR position(lower($1) IN lower(coalesce(p.label, '') || ' ' || p.user_id)) > 0),
         asked AS (
           SELECT * FROM shown
            WHERE $5 = '' OR ($5 = 'silent' AND cardinality(silent) > 0) OR ($5 = 'broken' AND cardinality(broken) > 0)),
         recent AS (
           SELECT s.user_id, avg(c.confidence_score)::float8 AS average, bool_or(c.confidence_score BETWEEN $2 AND $3) AS in_tier
             FROM asked s JOIN metric_confidence_cache c ON c.user_id = s.user_id AND c.measurement_date > s.newest - 7
            GROUP BY s.user_id),
         one AS (
           SELECT DISTINCT ON (m.user_id) m.user_id, c.confidence_score
             FROM asked s JOIN unified_metrics m ON m.user_id = s.user_id AND m.measurement_date > s.newest - 90 AND m.metric_name = $4
             LEFT JOIN metric_confidence_cache c ON c.user_id = m.user_id AND c.metric_name = m.metric_name AND c.source = m.source
                                                AND c.measurement_date = m.measurement_date
             LEFT JOIN source_choices w ON w.user_id = m.user_id AND w.metric_name = m.metric_name
             LEFT JOIN source_ranks r ON r.metric_name = m.metric_name AND r.source = m.source
            WHERE $4 <> ''
            ORDER BY m.user_id, m.measurement_date DESC, (w.source IS NOT DISTINCT FROM m.source) DESC, coalesce(r.rank, 1000), m.source),
         gain AS (
           SELECT a.user_id, max(a.points) AS points FROM asked s JOIN score_advice a ON a.user_id = s.user_id AND ($4 = '' OR a.metric_name = $4)
            WHERE $8 = 'gain' GROUP BY a.user_id)
         SELECT p.user_id, p.label, p.simulated, p.newest, r.average, p.last_data_at, p.silent, p.broken
           FROM asked p LEFT JOIN recent r USING (user_id) LEFT JOIN one o USING (user_id) LEFT JOIN gain g USING (user_id)
          WHERE ($4 = '' OR o.user_id IS NOT NULL)
            AND ($2 < 0 OR CASE WHEN $4 = '' THEN r.in_tier ELSE o.confidence_score BETWEEN $2 AND $3 END)
          ORDER BY CASE $8 WHEN 'name' THEN lower(coalesce(p.label, p.user_id)) END,
                   CASE $8 WHEN 'age' THEN coalesce(p.last_data_at, '-infinity') END,
                   CASE $8 WHEN 'gain' THEN -coalesce(g.points, 0) END,
                   CASE WHEN $4 = '' THEN r.average ELSE o.confidence_score END NULLS LAST, p.user_id
          LIMIT $9 OFFSET $10",
    )
    .bind(&wish.search)
    .bind(lowest)
    .bind(highest)
    .bind(wish.metric.map_or("", Metric::key))
    .bind(wish.links.word())
    .bind(now)
    .bind(SILENT_HOURS as i32)
    .bind(wish.sort.word())
    .bind(limit)
    .bind(offset)
    .fetch_all(conn)
    .await
}

/// From here on the transaction sees the database as it is now. Before its first statement only.
///
/// # Errors
/// The database's.
pub async fn one_snapshot(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(conn).await.map(drop)
}

/// How many metrics came from some persons on each day from `from` on.
///
/// # Errors
/// The database's.
pub async fn came(conn: &mut PgConnection, users: &[String], from: NaiveDate) -> sqlx::Result<Vec<(String, NaiveDate, i64)>> {
    sqlx::query_as(
        "SELECT user_id, measurement_date, count(DISTINCT metric_name) FROM unified_metrics
          WHERE user_id = ANY($1) AND measurement_date >= $2 GROUP BY 1, 2",
    )
    .bind(users)
    .bind(from)
    .fetch_all(conn)
    .await
}
