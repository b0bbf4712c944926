//! A person's values over time as the pages draw them: each day's value of each source with its score, its device and
//! what it is suspected of. Read in the caller's transaction.

use super::metrics::Provenance;
use crate::model::{Instant, Metric, Origin};
use chrono::NaiveDate;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

/// No more values than this are read for one page.
const MOST: i64 = 5_000;

/// A day's value of one source.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Point {
    /// Which provider.
    pub source: String,
    /// Which day.
    pub day: NaiveDate,
    /// In the metric's unit.
    pub value: f64,
    /// When the measuring ended.
    pub measured_at: Option<Instant>,
    /// When the delivery came.
    pub received_at: Instant,
    /// What measured it, where the payload says so.
    pub device: Option<String>,
    /// Score, if it was scored.
    pub score: Option<i32>,
    /// The probability behind it.
    pub probability: Option<f64>,
    /// 10th percentile of the probability.
    pub low: Option<f64>,
    /// 90th.
    pub high: Option<f64>,
    /// Kinds of fault the value is suspected of.
    pub doubts: Vec<String>,
    /// What a person said about it: confirmed or dismissed.
    pub verdict: Option<String>,
}

/// Which delivery brought a value, and how it came to be, as far as its row says; `None`: there is no such value.
///
/// # Errors
/// The database's.
pub async fn origin(
    conn: &mut PgConnection,
    user_id: &str,
    metric: Metric,
    source: &str,
    day: NaiveDate,
) -> sqlx::Result<Option<(Uuid, Origin)>> {
    let found: Option<(Uuid, Json<serde_json::Value>)> = sqlx::query_as(
        "SELECT delivery_id, provenance FROM unified_metrics WHERE user_id = $1 AND metric_name = $2 AND source = $3 AND measurement_date = $4",
    )
    .bind(user_id)
    .bind(metric.key())
    .bind(source)
    .bind(day)
    .fetch_optional(conn)
    .await?;
    // A row made by hand may say nothing.
    Ok(found.map(|(delivery, p)| (delivery, serde_json::from_value::<Provenance>(p.0).map(|p| p.origin).unwrap_or_default())))
}

/// A metric's newest day; `None` without values.
///
/// # Errors
/// The database's.
pub async fn newest_day(conn: &mut PgConnection, user_id: &str, metric: Metric) -> sqlx::Result<Option<NaiveDate>> {
    sqlx::query_scalar("SELECT max(measurement_date) FROM unified_metrics WHERE user_id = $1 AND metric_name = $2")
        .bind(user_id)
        .bind(metric.key())
        .fetch_one(conn)
        .await
}

/// The values of all sources from one day to another, both included, by day; within a day the source that is taken first:
/// the chosen one, else that of the best evidence.
///
/// # Errors
/// The database's.
pub async fn points(conn: &mut PgConnection, user_id: &str, metric: Metric, from: NaiveDate, to: NaiveDate) -> sqlx::Result<Vec<Point>> {
    let points: Vec<Point> = sqlx::query_as(
        "SELECT m.source, m.measurement_date AS day, m.value, m.measured_at, m.received_at, m.provenance -> 'device' ->> 'name' AS device,
                c.confidence_score AS score, c.probability, c.low, c.high, v.verdict,
                ARRAY(SELECT DISTINCT f ->> 'kind' FROM jsonb_array_elements(coalesce(c.findings, '[]') || m.findings) AS f
                       WHERE f ->> 'kind' IS NOT NULL ORDER BY 1) AS doubts
           FROM unified_metrics m
           LEFT JOIN metric_confidence_cache c USING (user_id, metric_name, source, measurement_date)
           LEFT JOIN finding_reviews v USING (user_id, metric_name, source, measurement_date)
           LEFT JOIN source_choices s ON s.user_id = m.user_id AND s.metric_name = m.metric_name
           LEFT JOIN source_ranks r ON r.metric_name = m.metric_name AND r.source = m.source
          WHERE m.user_id = $1 AND m.metric_name = $2 AND m.measurement_date BETWEEN $3 AND $4
          ORDER BY m.measurement_date, (s.source IS NOT DISTINCT FROM m.source) DESC, coalesce(r.rank, 1000), m.source LIMIT $5",
    )
    .bind(user_id)
    .bind(metric.key())
    .bind(from)
    .bind(to)
    .bind(MOST)
    .fetch_all(conn)
    .await?;
    super::clients::count_reads(points.iter().map(|p| (metric.key(), p.score.is_some())));
    Ok(points)
}

/// A source of a person's metric.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct SourceRow {
    /// Which.
    pub source: String,
    /// Its newest day.
    pub newest: NaiveDate,
    /// Days with a value.
    pub days: i64,
    /// The evidence's rank, 1 best; `None`: no order known.
    pub rank: Option<i32>,
    /// Average score of its last 28 days.
    pub average: Option<f64>,
}

/// The sources a person's metric came from, best evidence first.
///
/// # Errors
/// The database's.
pub async fn sources(conn: &mut PgConnection, user_id: &str, metric: Metric) -> sqlx::Result<Vec<SourceRow>> {
    sqlx::query_as(
        "SELECT m.source, m.newest, m.days, r.rank,
                (SELECT avg(c.confidence_score)::float8 FROM metric_confidence_cache c
                  WHERE c.user_id = $1 AND c.metric_name = $2 AND c.source = m.source AND c.measurement_date > m.newest - 28) AS average
           FROM (SELECT source, max(measurement_date) AS newest, count(*) AS days FROM unified_metrics
                  WHERE user_id = $1 AND metric_name = $2 GROUP BY source) m
           LEFT JOIN source_ranks r ON r.metric_name = $2 AND r.source = m.source
          ORDER BY coalesce(r.rank, 1000), m.source LIMIT 50",
    )
    .bind(user_id)
    .bind(metric.key())
    .fetch_all(conn)
    .await
}

/// One field of the strip: a metric on a day.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct StripCell {
    /// Which metric.
    pub metric_name: String,
    /// Which day.
    pub day: NaiveDate,
    /// Score of the value that is taken; `None`: a value without a score.
    pub score: Option<i32>,
}

/// What came of each metric on each day from `from` on: the score of the source that is taken.
///
/// # Errors
/// The database's.
pub async fn strip(conn: &mut PgConnection, user_id: &str, from: NaiveDate) -> sqlx::Result<Vec<StripCell>> {
    let cells: Vec<StripCell> = sqlx::query_as(
        "SELECT DISTINCT ON (m.metric_name, m.measurement_date) m.metric_name, m.measurement_date AS day, c.confidence_score AS score
           FROM unified_metrics m
           LEFT JOIN metric_confidence_cache c USING (user_id, metric_name, source, measurement_date)
           LEFT JOIN source_choices s ON s.user_id = m.user_id AND s.metric_name = m.metric_name
           LEFT JOIN source_ranks r ON r.metric_name = m.metric_name AND r.source = m.source
          WHERE m.user_id = $1 AND m.measurement_date >= $2
          ORDER BY m.metric_name, m.measurement_date, (s.source IS NOT DISTINCT FROM m.source) DESC, coalesce(r.rank, 1000), m.source LIMIT $3",
    )
    .bind(user_id)
    .bind(from)
    .bind(MOST)
    .fetch_all(conn)
    .await?;
    super::clients::count_reads(cells.iter().map(|c| (c.metric_name.as_str(), c.score.is_some())));
    Ok(cells)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::testing;

    #[tokio::test]
    async fn the_taken_source_comes_first_and_the_others_stay() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO source_ranks VALUES ('steps', 'garmin', 1), ('steps', 'apple', 2);
             INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, provenance)
             SELECT 'p', 'steps', s, DATE '2026-01-01' + n, 100 + n, 'count', 1, 't', now(), gen_random_uuid(),
                    '{\"model\": \"daily\", \"device\": {\"name\": \"Watch 1\"}}'
               FROM generate_series(0, 4) n, (VALUES ('apple'), ('garmin')) AS v (s);
             INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, scorer_version, registry_version)
             SELECT user_id, metric_name, source, measurement_date, CASE source WHEN 'apple' THEN 30 ELSE 90 END, 0.5, 0.2, 0.8, '{}', 1, 1 FROM unified_metrics;",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let day = |d: u32| NaiveDate::from_ymd_opt(2026, 1, d).unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        assert_eq!(newest_day(&mut conn, "p", Metric::Steps).await.unwrap(), Some(day(5)));
        assert_eq!(newest_day(&mut conn, "p", Metric::Weight).await.unwrap(), None);
        let found = points(&mut conn, "p", Metric::Steps, day(2), day(3)).await.unwrap();
        assert_eq!(
            found.iter().map(|p| (p.day, p.source.as_str())).collect::<Vec<_>>(),
            [(day(2), "garmin"), (day(2), "apple"), (day(3), "garmin"), (day(3), "apple")]
        );
        assert_eq!(found[0].device.as_deref(), Some("Watch 1"));
        assert_eq!(strip(&mut conn, "p", day(4)).await.unwrap().iter().map(|c| c.score).collect::<Vec<_>>(), [Some(90), Some(90)]);
        sqlx::raw_sql("INSERT INTO source_choices (user_id, metric_name, source) VALUES ('p', 'steps', 'apple')")
            .execute(t.db.owner())
            .await
            .unwrap();
        assert_eq!(points(&mut conn, "p", Metric::Steps, day(2), day(2)).await.unwrap()[0].source, "apple");
        assert_eq!(strip(&mut conn, "p", day(4)).await.unwrap()[0].score, Some(30));
        let all = sources(&mut conn, "p", Metric::Steps).await.unwrap();
        assert_eq!(
            all.iter().map(|s| (s.source.as_str(), s.days, s.average)).collect::<Vec<_>>(),
            [("garmin", 5, Some(90.0)), ("apple", 5, Some(30.0))]
        );
    }
}
