//! What the rhythm of arrivals is learned from, and what it says now: for the pages about people and for the dashboard.

use crate::model::{Instant, Metric, Source};
use crate::quality::Registry;
use crate::quality::arrival::{self, Arrival, Known, Pulse, Rhythm, STILL_TALKS};
use crate::store::Db;
use chrono::{NaiveDate, TimeDelta, Timelike};
use sqlx::PgConnection;
use std::collections::{BTreeMap, HashMap};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tracing::warn;

/// Days of values looked at, back from today.
const BACK: i32 = 84;
/// Days before a provider's newest data within which somebody's data make them one of its persons.
const IN_USE: i32 = 14;
/// The share of a provider's persons at either end of the spread of their newest data.
const OUTER: f64 = STILL_TALKS;

/// For so long what is known of the providers counts as new: it changes over hours, and reading it looks at each connection.
const FRESH: TimeDelta = TimeDelta::minutes(1);
/// For so long a page is shown what was known rather than waiting for it to be read anew.
const USABLE: TimeDelta = TimeDelta::minutes(10);

/// How the providers do, as one process last read it.
#[derive(Debug, Default)]
pub(crate) struct Lately {
    known: Mutex<Option<(Instant, Arc<HashMap<String, Pulse>>)>>,
    reading: AtomicBool,
}

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
    let rows: Vec<(String, i64, f64, f64)> = sqlx::query_as(
        "WITH newest AS (SELECT provider, user_id, max(last_data_at) AS at FROM connections
                          WHERE state IN ('active', 'reauthorised') AND user_id IS NOT NULL
                            AND last_data_at <= $1 AND last_data_at > $1 - make_interval(days => $2) GROUP BY 1, 2),
              known AS (SELECT provider, at, max(at) OVER (PARTITION BY provider) AS heard_at FROM newest),
              share AS (SELECT provider, count(*) AS usual, percentile_disc(ARRAY[$4::float8, 1 - $4::float8]) WITHIN GROUP (ORDER BY at) AS ends
                          FROM known WHERE at > heard_at - make_interval(days => $3) GROUP BY 1)
         SELECT provider, usual, extract(epoch FROM $1 - ends[2])::float8 / 3600, extract(epoch FROM ends[2] - ends[1])::float8 / 3600 FROM share",
    )
    .bind(now)
    .bind(BACK)
    .bind(IN_USE)
    .bind(OUTER)
    .fetch_all(service)
    .await?;
    let pulse = |(provider, usual, quiet_hours, spread_hours)| (provider, Pulse { usual, quiet_hours, spread_hours });
    Ok(rows.into_iter().map(pulse).collect())
}

/// The same for pages, at most ten minutes old: read once a minute by one of those who ask, beside the page that asked.
///
/// # Errors
/// The database's.
pub async fn pulses_lately(db: &Db, now: Instant) -> sqlx::Result<Arc<HashMap<String, Pulse>>> {
    let known = db.pulses.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match known.map(|(at, pulses)| ((now - at).abs(), pulses)) {
        Some((age, pulses)) if age < FRESH => Ok(pulses),
        Some((age, pulses)) if age < USABLE => {
            if !db.pulses.reading.swap(true, Ordering::AcqRel) {
                let db = db.clone();
                tokio::spawn(async move {
                    if let Err(e) = read_pulses(&db, now).await {
                        warn!(error = %e, "how the providers do was not read anew; pages show what was known");
                    }
                    db.pulses.reading.store(false, Ordering::Release);
                });
            }
            Ok(pulses)
        }
        _ => read_pulses(db, now).await,
    }
}

async fn read_pulses(db: &Db, now: Instant) -> sqlx::Result<Arc<HashMap<String, Pulse>>> {
    let read = Arc::new(pulses(&mut *db.service().acquire().await?, now).await?);
    *db.pulses.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&read)));
    Ok(read)
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
        "WITH known AS MATERIALIZED (SELECT user_id, provider, bool_or(state IN ('active', 'reauthorised')) AS alive FROM connections
                                      WHERE user_id = ANY($1) GROUP BY 1, 2)
         SELECT m.user_id, m.metric_name, m.source,
                array_agg((m.measurement_date - date '0001-01-01') + 1 ORDER BY m.measurement_date) AS days,
                array_agg(extract(epoch FROM m.created_at - ((m.measurement_date + 1)::timestamp AT TIME ZONE 'UTC'))::float8 / 3600
                          ORDER BY m.measurement_date) AS waits,
                max(m.measurement_date) AS last_day,
                coalesce(bool_and(NOT k.alive), false) AS broken
           FROM unified_metrics m LEFT JOIN known k ON k.user_id = m.user_id AND k.provider = m.source
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
        assert_eq!(pulses.get("oura"), Some(&Pulse { usual: 1, quiet_hours: 108.0, spread_hours: 0.0 }));
        // What pages are shown is the same; read again only when it is old.
        assert_eq!(*pulses_lately(&t.db, now).await.unwrap(), pulses);
        sqlx::raw_sql("UPDATE connections SET last_data_at = '2026-03-28Z' WHERE user_id = 'c'").execute(t.db.owner()).await.unwrap();
        assert_eq!(*pulses_lately(&t.db, now + TimeDelta::seconds(59)).await.unwrap(), pulses);
        assert_eq!(*pulses_lately(&t.db, now + TimeDelta::seconds(61)).await.unwrap(), pulses, "shown at once, and read beside it");
        for _ in 0..100 {
            if !t.db.pulses.reading.load(Ordering::Acquire) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let newer = pulses_lately(&t.db, now + TimeDelta::seconds(62)).await.unwrap();
        assert!((newer["oura"].quiet_hours - 84.0).abs() < 0.1, "{newer:?}");
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

    /// Six weigh once a week, on different days, and one of them stopped weeks ago; six are measured daily and synchronise at
    /// seven in the morning, and one of them stopped days ago.
    const PROVIDERS: &str = "
        CREATE TEMP TABLE world AS
          SELECT 'scale-' || n AS u, 'withings' AS source, 'weight' AS m, date '2026-03-23' + n - CASE n WHEN 1 THEN 14 ELSE 0 END AS until, 7 AS every FROM generate_series(1, 6) n
          UNION ALL
          SELECT 'ring-' || n, 'oura', 'steps', date '2026-03-30' - CASE n WHEN 1 THEN 3 ELSE 0 END, 1 FROM generate_series(1, 6) n;
        INSERT INTO persons (user_id) SELECT u FROM world;
        INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, created_at)
        SELECT u, m, source, until - n * every, 50, '', 1, 't', now(), gen_random_uuid(), (until - n * every + 1)::timestamp AT TIME ZONE 'UTC' + interval '7 hours'
          FROM world, generate_series(0, 27) n;
        INSERT INTO connections (user_id, provider, terra_user_id, last_data_at)
        SELECT u, source, 't-' || u, (until + 1)::timestamp AT TIME ZONE 'UTC' + interval '7 hours' FROM world;
        DROP TABLE world;";

    #[tokio::test]
    async fn a_provider_is_out_only_when_it_is_silent_for_longer_than_its_persons_ordinarily_are() {
        let t = database().await;
        sqlx::raw_sql(PROVIDERS).execute(t.db.owner()).await.unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let mut said = async |now: &str| {
            let now = DateTime::parse_from_rfc3339(now).unwrap().to_utc();
            let pulses = pulses(&mut conn, now).await.unwrap();
            let users = ["scale-1", "scale-6", "ring-1", "ring-6"].map(String::from);
            let found = arrivals(&mut conn, &pulses, &users, now).await.unwrap();
            let of = |user: &str| found.iter().find(|a| a.user_id == user).unwrap().rhythm.arrival;
            users.each_ref().map(|user| of(user))
        };
        use Arrival::{NotSynced, OnTime, ProviderOutage};
        // In the evening of a day on whose morning everybody synchronised. Nobody weighed within twelve hours either.
        assert_eq!(said("2026-03-31T21:00:00Z").await, [NotSynced, OnTime, NotSynced, OnTime]);
        // Nobody synchronised this morning. That nobody weighed in these days says nothing yet.
        assert_eq!(said("2026-04-01T18:00:00Z").await, [NotSynced, OnTime, ProviderOutage, ProviderOutage]);
        // Half a month of silence: they are still the providers' persons.
        assert_eq!(said("2026-04-15T12:00:00Z").await, [ProviderOutage; 4]);
    }
}
