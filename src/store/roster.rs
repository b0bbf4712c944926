//! The list of clients: who is trusted least, by all metrics or by one, whose device fell silent, whose connection is
//! broken. One statement a page, in the caller's transaction, of a table (`roster`) in which the leader keeps the order.

use crate::model::{Instant, Metric, Role};
use chrono::NaiveDate;
use sqlx::{AssertSqlSafe, PgConnection};

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
    /// Only who has a newest value without a score: of the metric, or of any.
    pub unknown: bool,
    /// Only whose newest value is of a day before this one: it hardly speaks for today.
    pub before: Option<NaiveDate>,
    /// Only whose newest value is of this day or later.
    pub since: Option<NaiveDate>,
    /// Order.
    pub sort: Sort,
}

/// A client in the list.
#[derive(Debug, Clone, Default, PartialEq, sqlx::FromRow)]
pub struct RosterRow {
    /// Who.
    pub user_id: String,
    /// What pages call this person.
    pub label: Option<String>,
    /// Made up.
    pub simulated: bool,
    /// Average score of the last seven days of data, as last added up.
    pub average: Option<f64>,
}

/// What the connections of a client say.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct LinkRow {
    /// Whose.
    pub user_id: String,
    /// The newest data of any connection.
    pub last_data_at: Option<Instant>,
    /// Providers that are silent.
    pub silent: Vec<String>,
    /// Providers whose connection is broken.
    pub broken: Vec<String>,
}

/// Badges in the table's set, by the lowest score of each. Beside them 16 stands for a newest value without a score.
const TIERS: [(i32, i16); 4] = [(80, 1), (60, 2), (40, 4), (0, 8)];

/// The badges between two scores as the table's set.
fn tiers((low, high): (i32, i32)) -> i16 {
    TIERS.iter().filter(|(from, _)| (low..=high).contains(from)).map(|(_, bit)| bit).sum()
}

/// A page of clients. The order is the added-up one; who has few clients is found by them, who sees all by the order's index.
///
/// # Errors
/// The database's.
pub async fn page(conn: &mut PgConnection, role: Role, wish: &Wish, now: Instant, limit: i64, offset: i64) -> sqlx::Result<Vec<RosterRow>> {
    let mine = if role == Role::Trainer { "AND r.user_id = ANY(ARRAY(SELECT app.caller_clients()))" } else { "" };
    let sought = match wish.search.as_str() {
        "" => None,
        text => sought(&mut *conn, mine, text).await?,
    };
    let found = match (wish.search.as_str(), &sought) {
        ("", _) => "AND $2 = '' AND $7::text[] IS NULL".to_owned(),
        (_, Some(_)) => "AND r.user_id = ANY($7) AND $2 <> ''".to_owned(),
        (_, None) => format!("AND {HAS_TEXT} AND $7::text[] IS NULL"),
    };
    let of_tier = match (wish.tier, wish.metric) {
        // A metric's badge is a range of the index; a person's are those of seven days.
        (Some((low, high)), Some(_)) => format!("AND r.score BETWEEN {low} AND {high} AND $3 > 0"),
        (Some(_), None) => "AND r.tiers & $3 <> 0".to_owned(),
        (None, _) => "AND $3 = 0".to_owned(),
    };
    let unknown = if wish.unknown { "AND r.tiers & 16 <> 0" } else { "" };
    let of_day = if wish.before.is_some() { "AND r.day < $6" } else { "AND $6::date IS NULL" };
    let of_week = if wish.since.is_some() { "AND r.day >= $8" } else { "AND $8::date IS NULL" };
    let links = match wish.links {
        Links::Any => "AND $4::timestamptz IS NOT NULL",
        Links::Silent => "AND a.quiet_at < $4",
        Links::Broken => "AND a.broken AND $4::timestamptz IS NOT NULL",
    };
    // Of the person as a whole the row is the same one.
    let (whole, links, age) = match wish.metric {
        Some(_) => ("JOIN roster a ON a.metric_name = '' AND a.user_id = r.user_id", links.to_owned(), "a.last_data_at"),
        None => ("", links.replace("a.", "r."), "r.last_data_at"),
    };
    let order = match wish.sort {
        Sort::Trust => "r.score NULLS LAST, r.user_id".to_owned(),
        Sort::Gain => "r.gain DESC, r.score NULLS LAST, r.user_id".to_owned(),
        Sort::Age => format!("{age} NULLS FIRST, r.user_id"),
        Sort::Name => "lower(coalesce(p.label, p.user_id)), p.user_id".to_owned(),
    };
    // The text comes from constants of this file; what was asked for are parameters. The metric is written out, so that
    // a plan knows how many have it: its key is a word of ours.
    let metric = wish.metric.map_or("", Metric::key);
    let wanted = format!("r.metric_name = '{metric}' {mine} {found} {of_tier} {unknown} {of_day} {of_week} {links}");
    // Names are joined to the page's rows only, unless they say which rows those are: what is skipped costs an index entry.
    let named = wish.sort == Sort::Name || !wish.search.is_empty() && sought.is_none();
    let sql = match named {
        true => format!(
            "SELECT p.user_id, p.label, p.simulated, r.score AS average
               FROM roster r JOIN persons p ON p.user_id = r.user_id {whole}
              WHERE {wanted} ORDER BY {order} LIMIT $1 OFFSET $5"
        ),
        false => {
            // The page's rows are ordered once more when they have names.
            let (also, again) = match wish.sort {
                Sort::Gain => (", r.gain".to_owned(), order.as_str()),
                Sort::Age => (format!(", {age} AS last_data_at"), "r.last_data_at NULLS FIRST, r.user_id"),
                _ => (String::new(), order.as_str()),
            };
            format!(
                "SELECT p.user_id, p.label, p.simulated, r.score AS average
                   FROM (SELECT r.user_id, r.score{also} FROM roster r {whole} WHERE {wanted} ORDER BY {order} LIMIT $1 OFFSET $5) r
                   JOIN persons p ON p.user_id = r.user_id ORDER BY {again}"
            )
        }
    };
    sqlx::query_as(AssertSqlSafe(sql))
        .bind(limit)
        .bind(&wish.search)
        .bind(wish.tier.map_or(0_i16, tiers))
        .bind(now - chrono::TimeDelta::hours(SILENT_HOURS as i64))
        .bind(offset)
        .bind(wish.before)
        .bind(sought)
        .bind(wish.since)
        .fetch_all(conn)
        .await
}

const HAS_TEXT: &str = "position(lower($2) IN p.sought) > 0";

/// Whose name or id holds a text, by reading the names once; `None`: so many that one need not seek them.
async fn sought(conn: &mut PgConnection, mine: &str, text: &str) -> sqlx::Result<Option<Vec<String>>> {
    let sql = format!("SELECT p.user_id FROM persons p WHERE {HAS_TEXT} {} LIMIT $1", mine.replace("r.", "p."));
    let users: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).bind(COUNTED + 1).bind(text).fetch_all(conn).await?;
    Ok(Some(users).filter(|u| u.len() as i64 <= COUNTED))
}

/// No count goes on beyond this.
pub const COUNTED: i64 = 1000;

/// How many clients need a look, each at most one more than [`COUNTED`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Counts {
    /// All whom the caller may see.
    pub people: i64,
    /// With a value of the metric; without one named, all.
    pub with: i64,
    /// With a value below 40: the newest of the metric, or any of seven days.
    pub poor: i64,
    /// Whose newest value of the metric is of a day before the one asked for.
    pub old: i64,
    /// With a silent connection.
    pub silent: i64,
    /// With a broken connection.
    pub broken: i64,
}

/// Counts the clients the caller may see, as last added up.
///
/// # Errors
/// The database's.
pub async fn counts(conn: &mut PgConnection, role: Role, metric: Option<Metric>, before: NaiveDate, now: Instant) -> sqlx::Result<Counts> {
    let mine = if role == Role::Trainer { "AND user_id = ANY(ARRAY(SELECT app.caller_clients()))" } else { "" };
    let key = metric.map_or("", Metric::key);
    let poor = if metric.is_some() { "score < 40" } else { "tiers & 8 <> 0" };
    let count = |metric: &str, which: &str| {
        format!("(SELECT count(*) FROM (SELECT FROM roster WHERE metric_name = '{metric}' AND {which} {mine} LIMIT {}) AS c)", COUNTED + 1)
    };
    let sql = format!(
        "SELECT {} AS people, {} AS \"with\", {} AS poor, {} AS old, {} AS silent, {} AS broken",
        count("", "true"),
        count(key, "true"),
        count(key, poor),
        count(key, "day < $1"),
        count("", "quiet_at < $2"),
        count("", "broken"),
    );
    sqlx::query_as(AssertSqlSafe(sql)).bind(before).bind(now - chrono::TimeDelta::hours(SILENT_HOURS as i64)).fetch_one(conn).await
}

/// What the connections of some clients say, as they are now.
///
/// # Errors
/// The database's.
pub async fn links(conn: &mut PgConnection, users: &[String], now: Instant) -> sqlx::Result<Vec<LinkRow>> {
    sqlx::query_as(
        "SELECT user_id, max(last_data_at) AS last_data_at,
                coalesce(array_agg(DISTINCT provider) FILTER (WHERE state IN ('active', 'reauthorised') AND coalesce(last_data_at, created_at) < $2), '{}') AS silent,
                coalesce(array_agg(DISTINCT provider) FILTER (WHERE state IN ('revoked', 'error', 'deauthorised')), '{}') AS broken
           FROM connections WHERE user_id = ANY($1) GROUP BY user_id",
    )
    .bind(users)
    .bind(now - chrono::TimeDelta::hours(SILENT_HOURS as i64))
    .fetch_all(conn)
    .await
}

/// Makes the rows of the persons after `$1`, up to `$2`, anew, writing what differs. For the leader, after the persons'
/// scores were added up. Who has values and no score in the last seven days of them has no sum, but a newest day all the same.
pub(super) const ROLL_UP: &str = "
  WITH latest AS (
    SELECT user_id, metric_name, source, max(measurement_date) AS day, max(measurement_date) FILTER (WHERE measurement_date <= current_date) AS past
      FROM unified_metrics WHERE user_id > $1 AND user_id <= $2 GROUP BY 1, 2, 3),
  taken AS (
    SELECT DISTINCT ON (m.user_id, m.metric_name) m.*
      FROM latest m
      LEFT JOIN source_choices w ON w.user_id = m.user_id AND w.metric_name = m.metric_name
      LEFT JOIN source_ranks k ON k.metric_name = m.metric_name AND k.source = m.source
     ORDER BY m.user_id, m.metric_name, m.day DESC, (w.source IS NOT DISTINCT FROM m.source) DESC, coalesce(k.rank, 1000), m.source),
  one AS (
    SELECT t.user_id, t.metric_name, t.day, c.confidence_score::float8 AS score,
           CASE WHEN c.confidence_score >= 80 THEN 1 WHEN c.confidence_score >= 60 THEN 2 WHEN c.confidence_score >= 40 THEN 4 WHEN c.confidence_score >= 0 THEN 8 ELSE 16 END::int2 AS tiers,
           coalesce(a.points, 0) AS gain
      FROM taken t
      LEFT JOIN metric_confidence_cache c ON c.user_id = t.user_id AND c.metric_name = t.metric_name AND c.source = t.source AND c.measurement_date = t.day
      LEFT JOIN score_advice a ON a.user_id = t.user_id AND a.metric_name = t.metric_name AND a.source = t.source AND a.measurement_date = t.day),
  gains AS (SELECT user_id, max(gain) AS gain, bool_or(score IS NULL) AS unknown FROM one GROUP BY 1),
  seen AS (SELECT user_id, max(past) AS day FROM latest GROUP BY 1),
  linked AS (
    SELECT user_id, max(last_data_at) AS last_data_at, min(coalesce(last_data_at, created_at)) FILTER (WHERE state IN ('active', 'reauthorised')) AS quiet_at,
           bool_or(state IN ('revoked', 'error', 'deauthorised')) AS broken
      FROM connections WHERE user_id > $1 AND user_id <= $2 GROUP BY 1),
  fresh AS (
    SELECT user_id, metric_name, score, tiers, gain, day, NULL::timestamptz AS last_data_at, NULL::timestamptz AS quiet_at, false AS broken FROM one
    UNION ALL
    SELECT p.user_id, '', s.average,
           (coalesce((s.excellent > 0)::int + 2 * (s.good > 0)::int + 4 * (s.fair > 0)::int + 8 * (s.poor > 0)::int, 0) + 16 * coalesce(g.unknown, false)::int)::int2,
           g.gain, coalesce(s.newest, n.day), l.last_data_at, l.quiet_at, l.broken
      FROM persons p LEFT JOIN person_scores s USING (user_id) LEFT JOIN gains g USING (user_id) LEFT JOIN seen n USING (user_id)
      LEFT JOIN linked l USING (user_id)
     WHERE p.user_id > $1 AND p.user_id <= $2),
  gone AS (DELETE FROM roster r WHERE r.user_id > $1 AND r.user_id <= $2 AND NOT EXISTS (SELECT FROM fresh f WHERE f.user_id = r.user_id AND f.metric_name = r.metric_name) RETURNING 1),
  written AS (
    INSERT INTO roster AS r (user_id, metric_name, score, tiers, gain, day, last_data_at, quiet_at, broken)
    SELECT f.user_id, f.metric_name, f.score, coalesce(f.tiers, 0), coalesce(f.gain, 0), f.day, f.last_data_at, f.quiet_at, coalesce(f.broken, false)
      FROM fresh f LEFT JOIN roster o USING (metric_name, user_id)
     WHERE o.user_id IS NULL OR (o.score, o.tiers, o.gain, o.day, o.last_data_at, o.quiet_at, o.broken)
           IS DISTINCT FROM (f.score, coalesce(f.tiers, 0), coalesce(f.gain, 0), f.day, f.last_data_at, f.quiet_at, coalesce(f.broken, false))
    ON CONFLICT (metric_name, user_id) DO UPDATE SET (score, tiers, gain, day, last_data_at, quiet_at, broken)
      = (excluded.score, excluded.tiers, excluded.gain, excluded.day, excluded.last_data_at, excluded.quiet_at, excluded.broken)
    RETURNING 1)
  SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM written)";

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
