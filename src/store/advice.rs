//! `score_advice`: what would raise the newest score of a key metric most.

use super::clients::LatestRow;
use chrono::NaiveDate;
use sqlx::PgConnection;

/// Advice on one value. Without words: none, so that what was said of that metric and source before is taken back.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AdviceRow {
    /// Whose.
    pub user_id: String,
    /// Which metric.
    pub metric_name: String,
    /// From which source.
    pub source: String,
    /// The day it speaks of.
    pub measurement_date: NaiveDate,
    /// Points it would bring; 0: nothing would.
    pub points: i32,
    /// What to do.
    pub advice: String,
}

impl AdviceRow {
    /// Whether it is about this very value: advice on another day's says nothing of it.
    pub fn speaks_of(&self, l: &LatestRow) -> bool {
        self.user_id == l.user_id
            && self.metric_name == l.metric_name
            && self.source == l.source
            && self.measurement_date == l.measurement_date
    }
}

/// Writes what is new or different, and takes back what is said no longer.
///
/// # Errors
/// The database's.
pub async fn put(conn: &mut PgConnection, rows: Vec<AdviceRow>) -> sqlx::Result<()> {
    fn column<'r, T>(rows: &'r [AdviceRow], take: impl Fn(&'r AdviceRow) -> T) -> Vec<T> {
        rows.iter().map(take).collect()
    }
    let (none, rows): (Vec<AdviceRow>, Vec<AdviceRow>) = rows.into_iter().partition(|r| r.advice.is_empty());
    if !none.is_empty() {
        sqlx::query(
            "DELETE FROM score_advice a USING unnest($1::text[], $2::text[], $3::text[]) AS n (user_id, metric_name, source)
              WHERE a.user_id = n.user_id AND a.metric_name = n.metric_name AND a.source = n.source",
        )
        .bind(column(&none, |r| r.user_id.as_str()))
        .bind(column(&none, |r| r.metric_name.as_str()))
        .bind(column(&none, |r| r.source.as_str()))
        .execute(&mut *conn)
        .await?;
    }
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO score_advice AS a
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::int4[], $6::text[])
         ON CONFLICT (user_id, metric_name, source) DO UPDATE
            SET measurement_date = excluded.measurement_date, points = excluded.points, advice = excluded.advice
          WHERE (a.measurement_date, a.points, a.advice) IS DISTINCT FROM (excluded.measurement_date, excluded.points, excluded.advice)",
    )
    .bind(column(&rows, |r| r.user_id.as_str()))
    .bind(column(&rows, |r| r.metric_name.as_str()))
    .bind(column(&rows, |r| r.source.as_str()))
    .bind(column(&rows, |r| r.measurement_date))
    .bind(column(&rows, |r| r.points))
    .bind(column(&rows, |r| r.advice.as_str()))
    .execute(conn)
    .await
    .map(drop)
}

/// The advice on some persons' values.
///
/// # Errors
/// The database's.
pub async fn of(conn: &mut PgConnection, users: &[String]) -> sqlx::Result<Vec<AdviceRow>> {
    sqlx::query_as("SELECT * FROM score_advice WHERE user_id = ANY($1)").bind(users).fetch_all(conn).await
}
