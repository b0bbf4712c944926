//! What the rhythm of arrivals is learned from, and what it says now: for the pages about people and for the dashboard.

use crate::model::{Instant, Metric, Source};
use crate::quality::Registry;
use crate::quality::arrival::{self, Arrival, Known, Pulse, Rhythm};
use chrono::{NaiveDate, Timelike};
use sqlx::PgConnection;
use std::collections::{BTreeMap, HashMap};

/// Days of values looked at, back from today.
const BACK: i32 = 84;
/// Days within which a provider's data make it one that is in use, and hours within which it should talk.
const IN_USE: i32 = 7;
const LATELY: i32 = 12;

/// One metric of one source of a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Arriving {
    /// Whose.
    pub user_id: String,
    /// Which metric.
    pub metric: Metric,
    /// From which provider.
    pub source: Source,
    /// The last day with a value.
    pub last_day: NaiveDate,
    /// What was found.
    pub rhythm: Rhythm,
}

#[derive(sqlx::FromRow)]
struct Row {
    user_id: String,
    metric_name: String,
    source: String,
    days: Vec<i32>,
    waits: Vec<f64>,
    last_day: NaiveDate,
    broken: bool,
}

/// How each provider does with everybody it serves: counts only. For the service's eyes; a trainer's would count own
/// clients alone.
///
/// # Errors
/// The database's.
pub async fn pulses(service: &mut PgConnection, now: Instant) -> sqlx::Result<HashMap<String, Pulse>> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT provider, count(DISTINCT user_id), count(DISTINCT user_id) FILTER (WHERE last_data_at > $1 - make_interval(hours => $3))
           FROM connections WHERE state IN ('active', 'reauthorised') AND last_data_at > $1 - make_interval(days => $2) GROUP BY provider",
    )
    .bind(now)
    .bind(IN_USE)
    .bind(LATELY)
    .fetch_all(service)
    .await?;
    Ok(rows.into_iter().map(|(provider, usual, lately)| (provider, Pulse { usual, lately })).collect())
}

/// How the values of some persons arrive, as the caller may see them; by person, metric and source. Metrics that are not
/// scored are left out. Read `pulses` with the service's eyes first.
///
/// # Errors
/// The database's.
pub async fn arrivals(
    conn: &mut PgConnection,
    pulses: &HashMap<String, Pulse>,
    users: &[String],
    now: Instant,
) -> sqlx::Result<Vec<Arriving>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT m.user_id, m.metric_name, m.source,
                array_agg((m.measurement_date - date '0001-01-01') + 1 ORDER BY m.measurement_date) AS days,
                array_agg(extract(epoch FROM m.created_at - ((m.measurement_date + 1)::timestamp AT TIME ZONE 'UTC'))::float8 / 3600
                          ORDER BY m.measurement_date) AS waits,
                max(m.measurement_date) AS last_day,
                EXISTS (SELECT FROM connections c WHERE c.user_id = m.user_id AND c.provider = m.source)
                  AND NOT EXISTS (SELECT FROM connections c WHERE c.user_id = m.user_id AND c.provider = m.source
                                     AND c.state IN ('active', 'reauthorised')) AS broken
           FROM unified_metrics m
          WHERE m.user_id = ANY($1) AND m.measurement_date > $2::date - $3::int4 AND m.measurement_date <= $2
          GROUP BY m.user_id, m.metric_name, m.source ORDER BY m.user_id, m.metric_name, m.source",
    )
    .bind(users)
    .bind(now.date_naive())
    .bind(BACK)
    .fetch_all(conn)
    .await?;
    let mut source_days: BTreeMap<(&str, &str), Vec<i32>> = BTreeMap::new();
    for r in &rows {
        source_days.entry((&r.user_id, &r.source)).or_default().extend(&r.days);
    }
    for days in source_days.values_mut() {
        days.sort_unstable();
        days.dedup();
    }
    let registry = Registry::built_in(); // cadences are nobody's to change
    let today = chrono::Datelike::num_days_from_ce(&now.date_naive());
    let hour = f64::from(now.num_seconds_from_midnight()) / 3600.0;
    let judge = |r: &Row| {
        let metric = Metric::from_key(&r.metric_name)?;
        let rule = registry.rule(metric)?;
        let rhythm = arrival::judge(&Known {
            days: &r.days,
            waits: &r.waits,
            source_days: source_days.get(&(r.user_id.as_str(), r.source.as_str())).map_or(&[][..], Vec::as_slice),
            cadence_days: rule.cadence_days,
            broken: r.broken,
            pulse: pulses.get(&r.source).copied().unwrap_or_default(),
            today,
            hour,
        })?;
        Some(Arriving { user_id: r.user_id.clone(), metric, source: Source::from_provider(&r.source), last_day: r.last_day, rhythm })
    };
    Ok(rows.iter().filter_map(judge).collect())
}

/// What is missing from one source of a person for one reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Gap {
    /// Whose.
    pub user_id: String,
    /// From which provider.
    pub source: Source,
    /// Why.
    pub arrival: Arrival,
    /// Which metrics.
    pub metrics: Vec<Metric>,
    /// The last day with any of them.
    pub last_day: NaiveDate,
}

/// The gaps: one a source and reason, by person. What is on time is left out.
pub fn gaps(arriving: &[Arriving]) -> Vec<Gap> {
    let mut by: BTreeMap<(&str, &Source, Arrival), Gap> = BTreeMap::new();
    for a in arriving.iter().filter(|a| a.rhythm.arrival != Arrival::OnTime) {
        let gap = by.entry((&a.user_id, &a.source, a.rhythm.arrival)).or_insert_with(|| Gap {
            user_id: a.user_id.clone(),
            source: a.source.clone(),
            arrival: a.rhythm.arrival,
            metrics: Vec::new(),
            last_day: a.last_day,
        });
        gap.metrics.push(a.metric);
        gap.last_day = gap.last_day.max(a.last_day);
    }
    by.into_values().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::store::testing::database;
    use chrono::DateTime;

    const WORLD: &str = "
        INSERT INTO persons (user_id) VALUES ('a'), ('b'), ('c');
        INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, created_at)
        SELECT u, m, 'oura', d::date, 50, 'ms', 1, 't', d + interval '1 day 7 hours', gen_random_uuid(), d + interval '1 day 7 hours'
          FROM (VALUES ('a', 'hrv_rmssd', '2026-03-27'), ('a', 'steps', '2026-03-30'), ('b', 'steps', '2026-03-26'), ('c', 'steps', '2026-03-26')) AS v (u, m, until),
               generate_series(timestamptz '2026-03-01 00:00Z', until::timestamptz, interval '1 day') AS d;
        INSERT INTO connections (user_id, provider, terra_user_id, state, last_data_at)
        VALUES ('b', 'oura', 'tb', 'revoked', '2026-03-27Z'), ('c', 'oura', 'tc', 'active', '2026-03-27Z');";

    #[tokio::test]
    async fn a_gap_is_named_from_what_is_stored() {
        let t = database().await;
        sqlx::raw_sql(WORLD).execute(t.db.owner()).await.unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let now: Instant = DateTime::parse_from_rfc3339("2026-03-31T12:00:00Z").unwrap().to_utc();
        let pulses = pulses(&mut conn, now).await.unwrap();
        assert_eq!(pulses.get("oura").map(|p| (p.usual, p.lately)), Some((1, 0)));
        let users = ["a", "b", "c"].map(String::from);
        let found = arrivals(&mut conn, &pulses, &users, now).await.unwrap();
        let said: Vec<_> = found.iter().map(|a| (a.user_id.as_str(), a.metric, a.rhythm.arrival)).collect();
        assert_eq!(
            said,
            [
                ("a", Metric::HrvRmssd, Arrival::NotWorn),
                ("a", Metric::Steps, Arrival::OnTime),
                ("b", Metric::Steps, Arrival::ConnectionBroken),
                ("c", Metric::Steps, Arrival::NotSynced),
            ]
        );
        assert!((found[0].rhythm.wait_hours - 7.0).abs() < 1e-9);
        assert_eq!(gaps(&found).len(), 3);
    }
}
