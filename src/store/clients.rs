//! What the pages about people read. Every statement runs in the caller's transaction, so a trainer sees the assigned
//! clients and nobody else, in rows as well as in counts.

use crate::model::{Instant, Metric};
use chrono::NaiveDate;
use sqlx::PgConnection;
use std::sync::atomic::{AtomicI64, Ordering};

/// Values read with a score ready, and without, since the process started: the true hit rate of the cache. What reads scores
/// value by value counts them here itself, so no page can forget to.
static HITS: AtomicI64 = AtomicI64::new(0);
static MISSES: AtomicI64 = AtomicI64::new(0);

/// Counts values read, each with its metric's key and whether its score was there. A vendor's own score never gets one: no miss.
pub(super) fn count_reads<'r>(reads: impl IntoIterator<Item = (&'r str, bool)>) {
    let (hits, misses) = tally(reads);
    HITS.fetch_add(hits, Ordering::Relaxed);
    MISSES.fetch_add(misses, Ordering::Relaxed);
}

fn tally<'r>(reads: impl IntoIterator<Item = (&'r str, bool)>) -> (i64, i64) {
    let scorable = reads.into_iter().filter(|(key, _)| Metric::from_key(key).is_some_and(|m| !m.is_vendor_score()));
    scorable.fold((0, 0), |(hits, misses), (_, hit)| if hit { (hits + 1, misses) } else { (hits, misses + 1) })
}

/// Reads answered from the cache, and not, since the process started; of all processes see [`super::cache_reads`].
pub fn cache_reads() -> (i64, i64) {
    (HITS.load(Ordering::Relaxed), MISSES.load(Ordering::Relaxed))
}

/// A person in a list.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct PersonRow {
    /// Who.
    pub user_id: String,
    /// What pages call this person.
    pub label: Option<String>,
    /// Made up.
    pub simulated: bool,
    /// Average score of the last seven days of data: old is not wrong, its age is shown beside it.
    pub average: Option<f64>,
    /// Values with a score in these days.
    pub scored: i64,
    /// Values below 40 among them.
    pub poor: i64,
    /// The newest data of any connection.
    pub last_data_at: Option<Instant>,
}

/// The named persons, lowest average first.
pub async fn some(conn: &mut PgConnection, users: &[String]) -> sqlx::Result<Vec<PersonRow>> {
    sqlx::query_as(
        "SELECT p.user_id, p.label, p.simulated, r.average, r.scored, r.poor,
                (SELECT max(c.last_data_at) FROM connections c WHERE c.user_id = p.user_id) AS last_data_at
           FROM persons p, LATERAL (
             SELECT avg(confidence_score)::float8 AS average, count(*) AS scored, count(*) FILTER (WHERE confidence_score < 40) AS poor
               FROM metric_confidence_cache c
              WHERE c.user_id = p.user_id
                AND c.measurement_date > (SELECT max(m.measurement_date) FROM unified_metrics m WHERE m.user_id = p.user_id) - 7) AS r
          WHERE p.user_id = ANY($1) ORDER BY r.average NULLS LAST, p.user_id",
    )
    .bind(users)
    .fetch_all(conn)
    .await
}

/// The newest value of a metric of a person, with its score.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct LatestRow {
    /// Whose.
    pub user_id: String,
    /// Which metric.
    pub metric_name: String,
    /// From which provider.
    pub source: String,
    /// Which day.
    pub measurement_date: NaiveDate,
    /// In the metric's unit.
    pub value: f64,
    /// When the measuring ended.
    pub measured_at: Option<Instant>,
    /// When the delivery came.
    pub received_at: Instant,
    /// Score, if it was scored.
    pub confidence_score: Option<i32>,
    /// 10th percentile of the probability.
    pub low: Option<f64>,
    /// 90th.
    pub high: Option<f64>,
    /// What each part of the score does to its log-odds, in the order of the parts; without a score all are absent.
    pub factors: Vec<Option<f64>>,
    /// Kinds of fault the value is suspected of; of a value that a person called right only what that does not free it from.
    pub doubts: Vec<String>,
    /// Providers with a value on that day.
    pub sources: i64,
    /// The source somebody chose for this person and metric, whether or not it has a value of that day.
    pub choice: Option<String>,
    /// What measured it, where the payload says so.
    pub device: Option<String>,
    /// The probability behind the score.
    pub probability: Option<f64>,
}

/// The newest values of some persons, however old, all metrics when none are named. Within a day the chosen source counts, else the
/// evidence's rank: what the roster takes too. It jumps along the primary key to the newest day of each source of a metric, from the last
/// source to the first, so a long history costs nothing, and a list of people reads no more than what it shows.
pub async fn latest(conn: &mut PgConnection, users: &[String], metrics: &[String]) -> sqlx::Result<Vec<LatestRow>> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let all: Vec<String>;
    let metrics: &[String] = if metrics.is_empty() {
        all = Metric::ALL.iter().map(|m| m.key().to_owned()).collect();
        &all
    } else {
        metrics
    };
    let rows: Vec<LatestRow> = sqlx::query_as(
        // The newest row is picked first: its score and what was decided about it are looked up (row by row, never by reading a
        // table), and what is unpacked from JSON is unpacked, for it alone. A dismissed doubt is none.
        "WITH RECURSIVE newest AS (
           SELECT f.* FROM (SELECT DISTINCT unnest($1::text[]) AS user_id) u CROSS JOIN (SELECT DISTINCT unnest($2::text[]) AS metric_name) k
             CROSS JOIN LATERAL (
               SELECT m.user_id, m.metric_name, m.source, m.measurement_date, m.value, m.measured_at, m.received_at, m.provenance, m.findings
                 FROM unified_metrics m WHERE m.user_id = u.user_id AND m.metric_name = k.metric_name
                ORDER BY m.source DESC, m.measurement_date DESC LIMIT 1) f
           UNION ALL
           SELECT f.* FROM newest p
             CROSS JOIN LATERAL (
               SELECT m.user_id, m.metric_name, m.source, m.measurement_date, m.value, m.measured_at, m.received_at, m.provenance, m.findings
                 FROM unified_metrics m WHERE m.user_id = p.user_id AND m.metric_name = p.metric_name AND m.source < p.source
                ORDER BY m.source DESC, m.measurement_date DESC LIMIT 1) f
         )
         SELECT n.user_id, n.metric_name, n.source, n.measurement_date, n.value, n.measured_at, n.received_at, c.confidence_score, c.low, c.high,
                ARRAY(SELECT (c.factors ->> part)::float8
                        FROM unnest(ARRAY['evidence', 'plausibility', 'completeness', 'concordance', 'provenance', 'consistency']) AS part) AS factors,
                ARRAY(SELECT DISTINCT f ->> 'kind' FROM jsonb_array_elements(coalesce(c.findings, '[]') || n.found) AS f
                       WHERE f ->> 'kind' IS NOT NULL AND (v.verdict IS DISTINCT FROM 'dismissed' OR f ->> 'kind' = ANY($3)) ORDER BY 1) AS doubts,
                n.sources, n.choice, n.provenance -> 'device' ->> 'name' AS device, c.probability
           FROM (
             SELECT DISTINCT ON (m.user_id, m.metric_name)
                    m.user_id, m.metric_name, m.source, m.measurement_date, m.value, m.measured_at, m.received_at, m.provenance, m.findings AS found,
                    s.source AS choice,
                    count(*) OVER (PARTITION BY m.user_id, m.metric_name, m.measurement_date) AS sources
               FROM newest m
               LEFT JOIN source_choices s ON s.user_id = m.user_id AND s.metric_name = m.metric_name
               LEFT JOIN source_ranks r ON r.metric_name = m.metric_name AND r.source = m.source
              ORDER BY m.user_id, m.metric_name, m.measurement_date DESC, (s.source IS NOT DISTINCT FROM m.source) DESC,
                       coalesce(r.rank, 1000), m.source) AS n
           LEFT JOIN LATERAL (
             SELECT c.confidence_score, c.low, c.high, c.probability, c.factors, c.findings FROM metric_confidence_cache c
              WHERE c.user_id = n.user_id AND c.metric_name = n.metric_name AND c.source = n.source AND c.measurement_date = n.measurement_date
              LIMIT 1) c ON true
           LEFT JOIN LATERAL (
             SELECT v.verdict FROM finding_reviews v
              WHERE v.user_id = n.user_id AND v.metric_name = n.metric_name AND v.source = n.source AND v.measurement_date = n.measurement_date
              LIMIT 1) v ON true
          ORDER BY n.user_id, n.metric_name",
    )
    .bind(users)
    .bind(metrics)
    .bind(super::findings::STANDS)
    .fetch_all(conn)
    .await?;
    count_reads(rows.iter().map(|r| (r.metric_name.as_str(), r.confidence_score.is_some())));
    Ok(rows)
}

/// One person; `None` when absent or not the caller's to see.
pub async fn person(conn: &mut PgConnection, user_id: &str) -> sqlx::Result<Option<PersonRow>> {
    Ok(some(conn, &[user_id.to_owned()]).await?.into_iter().next())
}

/// Average score of a metric by day, over all its sources.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ScoreDay {
    /// Which metric.
    pub metric_name: String,
    /// Days before the person's newest day.
    pub age: i32,
    /// Average score.
    pub score: f64,
}

/// The scores of the last `days` days of a person's data.
pub async fn scores(conn: &mut PgConnection, user_id: &str, days: i32) -> sqlx::Result<Vec<ScoreDay>> {
    sqlx::query_as(
        "SELECT c.metric_name, (n.day - c.measurement_date)::int4 AS age, avg(c.confidence_score)::float8 AS score
           FROM (SELECT max(measurement_date) AS day FROM unified_metrics WHERE user_id = $1) AS n
           JOIN metric_confidence_cache c ON c.user_id = $1 AND c.measurement_date > n.day - $2
          GROUP BY 1, 2 ORDER BY 1, 2",
    )
    .bind(user_id)
    .bind(days)
    .fetch_all(conn)
    .await
}

/// A person's connection to a provider.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ConnectionRow {
    /// In lower case.
    pub provider: String,
    /// Its state's word.
    pub state: String,
    /// Why, in Terra's words.
    pub reason: Option<String>,
    /// When data last came.
    pub last_data_at: Option<Instant>,
}

/// A person's connections.
pub async fn connections(conn: &mut PgConnection, user_id: &str) -> sqlx::Result<Vec<ConnectionRow>> {
    sqlx::query_as("SELECT provider, state, reason, last_data_at FROM connections WHERE user_id = $1 ORDER BY provider, id LIMIT 50")
        .bind(user_id)
        .fetch_all(conn)
        .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::{
        model::{Metric, Role},
        store::{
            Caller, Token, advice,
            rollups::{Window, roll_up},
            roster::{self, Links, Sort, Wish},
        },
    };

    const WORLD: &str = "
        INSERT INTO accounts (email, role) VALUES ('t@example.test', 'trainer');
        INSERT INTO persons (user_id, label) VALUES ('mine', 'Mara'), ('also-mine', NULL), ('not-mine', 'Mara too');
        INSERT INTO trainer_clients (trainer_id, user_id) SELECT id, u FROM accounts, (VALUES ('mine'), ('also-mine')) AS v (u);
        INSERT INTO source_ranks VALUES ('steps', 'garmin', 1), ('steps', 'apple', 2);
        INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, findings)
        SELECT u, 'steps', s, current_date, 100, 'count', 1, 't', now(), gen_random_uuid(), '[{\"kind\": \"manual\", \"detail\": \"\"}]'
          FROM (VALUES ('mine'), ('not-mine')) AS p (u), (VALUES ('apple'), ('garmin')) AS n (s);
        INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, scorer_version, registry_version)
        SELECT user_id, metric_name, source, measurement_date, 35, 0.35, 0.2, 0.5, '{}', 1, 1 FROM unified_metrics;
        INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
        VALUES ('also-mine', 'spo2', 'garmin', current_date, 96, '%', 1, 't', now(), gen_random_uuid());
        INSERT INTO score_advice VALUES ('also-mine', 'spo2', 'garmin', current_date, 9, 'wear it'), ('not-mine', 'steps', 'garmin', current_date, 9, 'wear it');
        INSERT INTO connections (terra_user_id, user_id, provider, state, last_data_at) VALUES
          ('1', 'mine', 'garmin', 'active', now() - interval '3 days'), ('2', 'mine', 'whoop', 'active', now()),
          ('3', 'also-mine', 'oura', 'error', NULL), ('4', 'not-mine', 'oura', 'error', NULL);";

    #[test]
    fn a_value_without_a_score_is_a_miss_and_a_vendors_own_score_is_neither() {
        let reads = [("steps", true), ("steps", false), ("weight", true), ("recovery_score", false), ("no_metric", false)];
        assert_eq!(tally(reads), (2, 1));
    }

    #[tokio::test]
    async fn what_is_measured_seldom_has_its_newest_value_of_all_history_whether_metrics_are_named_or_not() {
        let t = crate::store::testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO persons (user_id) VALUES ('u'), ('v');
             INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
             SELECT u, m, s, current_date - d, d, '', 1, 't', now(), gen_random_uuid()
               FROM (VALUES ('u', 'steps', 'garmin', 0), ('u', 'steps', 'garmin', 1), ('u', 'weight', 'garmin', 130), ('u', 'weight', 'withings', 120),
                            ('u', 'weight', 'withings', 500), ('u', 'hrv_rmssd', 'garmin', 89), ('u', 'spo2', 'oura', 3000),
                            ('v', 'weight', 'apple', 400), ('v', 'weight', 'garmin', 400), ('v', 'weight', 'withings', 401)) AS w (u, m, s, d)",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let named = ["hrv_rmssd", "spo2", "steps", "weight"].map(str::to_owned);
        for metrics in [&named[..], &[]] {
            let rows = latest(&mut conn, &["u".to_owned(), "v".to_owned(), "u".to_owned()], metrics).await.unwrap();
            let found: Vec<_> =
                rows.iter().map(|r| (r.user_id.as_str(), r.metric_name.as_str(), r.source.as_str(), r.value, r.sources)).collect();
            let expected = [
                ("u", "hrv_rmssd", "garmin", 89.0, 1),
                ("u", "spo2", "oura", 3000.0, 1),
                ("u", "steps", "garmin", 0.0, 1),
                ("u", "weight", "withings", 120.0, 1),
                ("v", "weight", "apple", 400.0, 2),
            ];
            assert_eq!(found, expected, "{metrics:?}");
        }
    }

    /// Whoever is counted as out of date has a value to show: the roster and the newest values take the same one.
    #[tokio::test]
    async fn the_roster_and_the_newest_values_take_the_same_value_however_old() {
        let t = crate::store::testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO persons (user_id) VALUES ('u');
             INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
             SELECT 'u', m, s, current_date - d, d, '', 1, 't', now(), gen_random_uuid()
               FROM (VALUES ('steps', 'garmin', 0), ('weight', 'withings', 120), ('weight', 'garmin', 121)) AS w (m, s, d)",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        roll_up(t.db.service(), Window::Roster, 0).await.unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let taken: Vec<(String, NaiveDate)> =
            sqlx::query_as("SELECT metric_name, day FROM roster WHERE metric_name <> '' ORDER BY 1").fetch_all(&mut *conn).await.unwrap();
        let shown: Vec<(String, NaiveDate)> =
            latest(&mut conn, &["u".to_owned()], &[]).await.unwrap().into_iter().map(|r| (r.metric_name, r.measurement_date)).collect();
        assert_eq!(taken.len(), 2);
        assert_eq!(shown, taken);
    }

    #[tokio::test]
    async fn a_dismissed_doubt_is_none_and_what_no_word_can_change_stays() {
        let t = crate::store::testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO persons (user_id) VALUES ('u');
             INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, findings)
             SELECT 'u', m, 'garmin', current_date, 1, '', 1, 't', now(), gen_random_uuid(), '[{\"kind\": \"manual\", \"detail\": \"\"}]'
               FROM (VALUES ('spo2'), ('steps'), ('weight')) AS v (m);
             INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, findings, scorer_version, registry_version)
             SELECT 'u', metric_name, 'garmin', current_date, 35, 0.35, 0.2, 0.5, '{}',
                    CASE metric_name WHEN 'spo2' THEN '[{\"kind\": \"impossible\", \"detail\": \"\"}]'
                                     ELSE '[{\"kind\": \"disagreement\", \"detail\": \"\"}]' END::jsonb, 1, 1 FROM unified_metrics;
             INSERT INTO finding_reviews (user_id, metric_name, source, measurement_date, verdict)
             SELECT 'u', metric_name, 'garmin', current_date, CASE metric_name WHEN 'weight' THEN 'confirmed' ELSE 'dismissed' END FROM unified_metrics",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let rows = latest(&mut conn, &["u".to_owned()], &[]).await.unwrap();
        let doubts: Vec<_> = rows.iter().map(|r| (r.metric_name.as_str(), r.doubts.join(" "))).collect();
        let expected = [("spo2", "impossible manual"), ("steps", "manual"), ("weight", "disagreement manual")];
        assert_eq!(doubts, expected.map(|(metric, kinds)| (metric, kinds.to_owned())));
    }

    #[tokio::test]
    async fn a_trainer_sees_own_clients_only_in_rows_and_in_one_persons_page() {
        let t = crate::store::testing::database().await;
        sqlx::raw_sql(WORLD).execute(t.db.owner()).await.unwrap();
        let token = Token::parse(&"c".repeat(64)).unwrap();
        sqlx::query("INSERT INTO login_sessions (token_hash, account_id, idle_until, expires_at) SELECT $1, id, now() + interval '1 hour', now() + interval '1 hour' FROM accounts")
            .bind(token.hash().to_vec())
            .execute(t.db.owner())
            .await
            .unwrap();
        let caller = Caller::new(uuid::Uuid::nil(), Role::Trainer, String::new(), String::new(), token);
        for window in [Window::Week, Window::Roster] {
            roll_up(t.db.service(), window, 0).await.unwrap();
        }
        let mut tx = t.db.begin_as(&caller).await.unwrap();
        let now = chrono::Utc::now();
        let wish = |search: &str, metric, tier| Wish { search: search.to_owned(), metric, tier, ..Wish::default() };
        let mut names = async |wish: Wish| {
            roster::page(&mut tx, Role::Trainer, &wish, now, 10, 0).await.unwrap().into_iter().map(|r| r.user_id).collect::<Vec<_>>()
        };
        assert_eq!(names(Wish::default()).await, ["mine", "also-mine"], "scored first, then those without a score");
        assert_eq!(names(wish("mar", None, None)).await, ["mine"]);
        assert_eq!(names(wish("", None, Some((0, 39)))).await, ["mine"]);
        assert!(names(wish("", None, Some((80, 100)))).await.is_empty());
        assert_eq!(names(wish("", Some(Metric::Steps), Some((0, 59)))).await, ["mine"], "of one metric");
        let today = now.date_naive();
        let since = |since| Wish { since: Some(since), tier: Some((0, 39)), ..Wish::default() };
        assert_eq!(names(since(today)).await, ["mine"]);
        assert!(names(since(today + chrono::Days::new(1))).await.is_empty(), "whose newest data is older is not of this week");
        assert!(names(wish("", Some(Metric::Weight), None)).await.is_empty(), "who has no value of the metric is not in its list");
        assert_eq!(names(Wish { sort: Sort::Gain, ..Wish::default() }).await, ["also-mine", "mine"], "the one with most to gain first");
        let unknown = |metric| Wish { metric, unknown: true, ..Wish::default() };
        assert_eq!(names(unknown(None)).await, ["also-mine"], "the one with a value that was never scored");
        assert_eq!(names(unknown(Some(Metric::Spo2))).await, ["also-mine"]);
        assert!(names(unknown(Some(Metric::Steps))).await.is_empty());
        let of_week = |unknown| Wish { unknown, since: Some(today), ..Wish::default() };
        assert_eq!(names(of_week(true)).await, ["also-mine"], "whom the dashboard counts has a newest day without any score");
        assert_eq!(names(of_week(false)).await, ["mine", "also-mine"]);
        assert_eq!(names(Wish { links: Links::Silent, ..Wish::default() }).await, ["mine"]);
        assert_eq!(names(Wish { links: Links::Broken, ..Wish::default() }).await, ["also-mine"]);
        assert_eq!(names(Wish { sort: Sort::Age, ..Wish::default() }).await, ["also-mine", "mine"], "never any data first");
        let links = roster::links(&mut tx, &["mine".to_owned(), "also-mine".to_owned(), "not-mine".to_owned()], now).await.unwrap();
        let said: Vec<_> = links.iter().map(|l| (l.user_id.as_str(), l.silent.join(","), l.broken.join(","))).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said.contains(&("mine", "garmin".into(), String::new())) && said.contains(&("also-mine", String::new(), "oura".into())));
        let came =
            roster::came(&mut tx, &["mine".to_owned(), "not-mine".to_owned()], now.date_naive() - chrono::Days::new(3)).await.unwrap();
        assert_eq!(came.iter().map(|c| (c.0.as_str(), c.2)).collect::<Vec<_>>(), [("mine", 1)]);
        assert_eq!(advice::of(&mut tx, &["also-mine".to_owned(), "not-mine".to_owned()]).await.unwrap().len(), 1);
        assert!(person(&mut tx, "not-mine").await.unwrap().is_none());
        let users = ["mine".to_owned(), "not-mine".to_owned()];
        let rows = latest(&mut tx, &users, &[]).await.unwrap();
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!((row.user_id.as_str(), row.source.as_str(), row.sources, row.confidence_score), ("mine", "garmin", 2, Some(35)));
        assert_eq!(row.doubts, ["manual"]);
        assert_eq!(scores(&mut tx, "mine", 30).await.unwrap().len(), 1);
        assert!(scores(&mut tx, "not-mine", 30).await.unwrap().is_empty());
    }
}
