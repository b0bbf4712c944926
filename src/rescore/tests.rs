//! Scoring through the database.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::*;
use crate::model::{Metric, Source};
use crate::quality::{REGISTRY_VERSION, Reviews};
use crate::store::metrics::person_values;
use crate::store::testing::database;
use chrono::{Days, NaiveDate};

fn date(day: u64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 1).unwrap().checked_add_days(Days::new(day)).unwrap()
}

/// Sixty days of a person with two sources and a weekly scale.
async fn plant(conn: &mut PgConnection, user: &str) {
    sqlx::query(
        "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, measured_at, ordering_ms, trace_id,
                                      received_at, delivery_id, provenance, coverage)
         SELECT $1, m.name, m.source, date '2026-01-01' + d, m.usual * (1 + 0.05 * sin(d * 7.3 + length(m.name))), m.unit,
                (date '2026-01-01' + d)::timestamptz + interval '6 hours', d, 't' || d, now(), gen_random_uuid(),
                jsonb_build_object('model', m.model, 'upload', 'automatic'),
                CASE WHEN m.model = 'daily' THEN '{\"low_s\": 12000, \"active_s\": 2000, \"accounted_s\": 57000}'::jsonb ELSE '{}' END
           FROM generate_series(0, 59) AS d
           CROSS JOIN (VALUES ('steps', 'garmin', 8000.0, 'count', 'daily', 1), ('resting_heart_rate', 'garmin', 52, 'bpm', 'daily', 1),
                              ('resting_heart_rate', 'whoop', 50, 'bpm', 'sleep', 1), ('hrv_rmssd', 'whoop', 65, 'ms', 'sleep', 1),
                              ('weight', 'withings', 80, 'kg', 'body', 7), ('recovery_score', 'whoop', 66, '', 'daily', 1))
                AS m (name, source, usual, unit, model, every)
          WHERE d % m.every = 0",
    )
    .bind(user)
    .execute(conn)
    .await
    .unwrap();
}

async fn stored(conn: &mut PgConnection, user: &str) -> Vec<Score> {
    let scores = confidence::person_scores(conn, user, date(0), date(400)).await.unwrap();
    scores.into_iter().map(|s| s.score).collect()
}

/// What the pure scorer says of everything stored, in the store's order.
async fn expected(conn: &mut PgConnection, user: &str, reviews: &Reviews) -> Vec<Score> {
    let values = person_values(conn, user, date(0), date(400)).await.unwrap();
    let mut scores = score_person(&values, reviews, Registry::built_in(), date(0)..=date(400));
    scores.sort_by(|a, b| (a.date, a.metric.key(), a.source.as_str()).cmp(&(b.date, b.metric.key(), b.source.as_str())));
    scores
}

#[tokio::test]
async fn what_is_stored_is_what_the_pure_scorer_says_and_a_second_time_changes_nothing() {
    let t = database().await;
    let mut conn = t.db.begin_service().await.unwrap();
    plant(&mut conn, "p").await;
    let first = rescore_persons(&mut conn, &[("p".into(), None), ("nobody".into(), None)]).await.unwrap();
    assert_eq!(first, 60 * 4 + 9, "vendor scores are not scored");
    assert!(stored(&mut conn, "p").await == expected(&mut conn, "p", &Reviews::none()).await);
    assert_eq!(rescore_persons(&mut conn, &[("p".into(), None)]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_changed_day_scored_incrementally_equals_scoring_everything() {
    let t = database().await;
    let mut conn = t.db.begin_service().await.unwrap();
    plant(&mut conn, "p").await;
    rescore_persons(&mut conn, &[("p".into(), None)]).await.unwrap();
    sqlx::query("UPDATE unified_metrics SET value = 90 WHERE metric_name = 'hrv_rmssd' AND measurement_date = $1")
        .bind(date(45))
        .execute(&mut *conn)
        .await
        .unwrap();
    let done = rescore_person(&mut conn, Registry::built_in(), "p", date(45)).await.unwrap();
    assert!(done.changed >= 1 && done.scored < 60 * 2, "{done:?}");
    assert!(stored(&mut conn, "p").await == expected(&mut conn, "p", &Reviews::none()).await);
}

#[tokio::test]
async fn reviews_count_and_scores_of_vanished_values_go() {
    let t = database().await;
    let mut conn = t.db.begin_service().await.unwrap();
    plant(&mut conn, "p").await;
    rescore_persons(&mut conn, &[("p".into(), None)]).await.unwrap();
    sqlx::query("INSERT INTO finding_reviews (user_id, metric_name, source, measurement_date, verdict) VALUES ('p', 'steps', 'garmin', $1, 'confirmed')")
        .bind(date(30))
        .execute(&mut *conn)
        .await
        .unwrap();
    sqlx::query("DELETE FROM unified_metrics WHERE metric_name = 'steps' AND measurement_date = $1")
        .bind(date(10))
        .execute(&mut *conn)
        .await
        .unwrap();
    rescore_persons(&mut conn, &[("p".into(), None)]).await.unwrap();
    let garmin = Source::from_provider("garmin");
    let confirmed = confidence::score_of(&mut conn, "p", Metric::Steps, &garmin, date(30)).await.unwrap().unwrap();
    assert!(confirmed.score.score <= 1);
    assert_eq!(confidence::score_of(&mut conn, "p", Metric::Steps, &garmin, date(10)).await.unwrap(), None);
    let mut reviews = Reviews::none();
    reviews.add(Metric::Steps, garmin, date(30), crate::quality::Verdict::Confirmed);
    assert!(stored(&mut conn, "p").await == expected(&mut conn, "p", &reviews).await);
}

#[tokio::test]
async fn advice_on_a_low_value_goes_when_the_value_is_mended() {
    let t = database().await;
    let mut conn = t.db.begin_service().await.unwrap();
    plant(&mut conn, "p").await;
    plant(&mut conn, "q").await;
    let newest = "metric_name = 'resting_heart_rate' AND source = 'garmin' AND measurement_date = date '2026-03-01'";
    let spoil = format!("UPDATE unified_metrics SET value = 190 WHERE {newest}");
    sqlx::query(sqlx::AssertSqlSafe(spoil)).execute(&mut *conn).await.unwrap();
    rescore_persons(&mut conn, &[("p".into(), None), ("q".into(), None)]).await.unwrap();
    let about = |rows: Vec<AdviceRow>| {
        let mut about: Vec<String> =
            rows.into_iter().filter(|r| r.metric_name == "resting_heart_rate" && r.source == "garmin").map(|r| r.user_id).collect();
        about.sort();
        about
    };
    let both = ["p".to_owned(), "q".to_owned()];
    assert_eq!(about(advice::of(&mut conn, &both).await.unwrap()), both);
    let mend = format!("UPDATE unified_metrics SET value = 52 WHERE user_id = 'p' AND {newest}");
    sqlx::query(sqlx::AssertSqlSafe(mend)).execute(&mut *conn).await.unwrap();
    rescore_person(&mut conn, Registry::built_in(), "p", date(59)).await.unwrap();
    let score =
        confidence::score_of(&mut conn, "p", Metric::RestingHeartRate, &Source::from_provider("garmin"), date(59)).await.unwrap().unwrap();
    assert!(score.score.score >= GOOD_ENOUGH, "{score:?}");
    assert_eq!(about(advice::of(&mut conn, &both).await.unwrap()), ["q"], "and that on another person's stays");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_keeps_nothing_else_from_a_score() {
    let t = database().await;
    let mut conn = t.db.begin_service().await.unwrap();
    plant(&mut conn, "p").await;
    for (day, column, broken) in
        [(3, "provenance", "{}"), (4, "provenance", "[1]"), (5, "coverage", "\"x\""), (6, "findings", "{\"a\": 1}")]
    {
        let broken = format!("UPDATE unified_metrics SET {column} = '{broken}' WHERE metric_name = 'steps' AND measurement_date = $1");
        sqlx::query(sqlx::AssertSqlSafe(broken)).bind(date(day)).execute(&mut *conn).await.unwrap();
    }
    assert_eq!(rescore_persons(&mut conn, &[("p".into(), None)]).await.unwrap(), 60 * 4 + 9 - 4);
    let garmin = Source::from_provider("garmin");
    for (day, scored) in [(2, true), (3, false), (4, false), (5, false), (6, false), (7, true)] {
        let score = confidence::score_of(&mut conn, "p", Metric::Steps, &garmin, date(day)).await.unwrap();
        assert_eq!(score.is_some(), scored, "day {day}");
    }
}

#[tokio::test]
async fn a_preview_writes_nothing_and_is_empty_for_the_same_registry() {
    let t = database().await;
    let mut conn = t.db.begin_service().await.unwrap();
    plant(&mut conn, "p").await;
    rescore_persons(&mut conn, &[("p".into(), None)]).await.unwrap();
    let same = preview(&mut conn, Registry::built_in(), &["p".into()]).await.unwrap();
    assert_eq!((same.compared, same.moved[100], same.persons, same.top.len()), (249, 249, 0, 0));
    let overrides = crate::quality::registry::Overrides {
        version: 1000 * REGISTRY_VERSION + 1,
        tolerances: [(Metric::HrvRmssd, crate::quality::Tolerance::Relative(0.03))].into(),
        ..Default::default()
    };
    let other = preview(&mut conn, &Registry::built_in().with(&overrides), &["p".into()]).await.unwrap();
    assert!(other.persons == 1 && !other.badges.is_empty() && other.top.len() == 20);
    assert_eq!(preview(&mut conn, Registry::built_in(), &["p".into()]).await.unwrap(), same);
    sqlx::query("INSERT INTO settings (key, value) VALUES ('registry', $1)")
        .bind(sqlx::types::Json(&overrides))
        .execute(t.db.owner())
        .await
        .unwrap();
    assert_eq!(registry(&mut conn).await.unwrap().version, overrides.version);
}

/// The same program and registry give an empty difference; another registry one that names what moves; promoting puts
/// exactly that into force, and dropping nothing.
#[tokio::test]
async fn a_shadow_shows_what_would_change_and_is_promoted_or_dropped() {
    use crate::store::{audit::Actor, operations, shadow};
    let t = database().await;
    let mut tx = t.db.begin_service().await.unwrap();
    plant(&mut tx, "p").await;
    sqlx::query("INSERT INTO persons (user_id) VALUES ('p')").execute(&mut *tx).await.unwrap();
    rescore_persons(&mut tx, &[("p".into(), None)]).await.unwrap();
    let finish = async |conn: &mut PgConnection, overrides: Option<&crate::quality::registry::Overrides>| {
        let operation = shadow::start(conn, overrides, "somebody", 25, 8).await.unwrap();
        let under = overrides.map_or_else(|| Registry::built_in().clone(), |o| Registry::built_in().with(o));
        rescore_shadow(conn, &under, &["p".into()]).await.unwrap();
        operations::progress(conn, operation.id, 1, 0, 1).await.unwrap();
        operation
    };
    let started = finish(&mut tx, None).await;
    let same = shadow::difference(&mut tx, &started).await.unwrap();
    assert_eq!(same, shadow::Difference { compared: 249, ..shadow::Difference::default() });
    assert!(shadow::discard(&mut tx, &Actor::system()).await.unwrap());
    assert!(!shadow::discard(&mut tx, &Actor::system()).await.unwrap());
    assert_eq!(shadow::promote(&mut tx, &Actor::system()).await.unwrap(), None);

    let overrides = crate::quality::registry::Overrides {
        version: 1000 * REGISTRY_VERSION + 1,
        tolerances: [(Metric::HrvRmssd, crate::quality::Tolerance::Relative(0.03))].into(),
        ..Default::default()
    };
    let before = stored(&mut tx, "p").await;
    let started = finish(&mut tx, Some(&overrides)).await;
    assert!(stored(&mut tx, "p").await == before, "nothing in force has changed");
    let other = shadow::difference(&mut tx, &started).await.unwrap();
    let moved = other.moved.iter().map(|(_, n)| n).sum::<i64>();
    assert!(other.persons == 1 && !other.badges.is_empty() && other.top.len() == 20 && moved > 0 && moved <= other.differing, "{other:?}");
    assert!(other.top.iter().all(|t| t.1 == "hrv_rmssd"), "only that metric's tolerance changed");
    assert_eq!(shadow::promote(&mut tx, &Actor::system()).await.unwrap(), Some(249), "every score now names its registry");
    let registry = registry(&mut tx).await.unwrap();
    assert_eq!(registry.version, overrides.version);
    let now = stored(&mut tx, "p").await;
    assert!(now.iter().all(|s| s.registry_version == overrides.version));
    assert_eq!(rescore_persons(&mut tx, &[("p".into(), None)]).await.unwrap(), 0, "promoted is what scoring gives");
    let entries: Vec<String> = sqlx::query_scalar("SELECT action FROM audit_log ORDER BY at, id").fetch_all(&mut *tx).await.unwrap();
    for action in ["shadow.drop", "registry.change", "shadow.promote"] {
        assert!(entries.iter().any(|e| e == action), "{action}: {entries:?}");
    }
    // A change upon what an administrator changed before keeps both.
    assert_eq!(registry.overrides().tolerances, overrides.tolerances);
    assert_eq!(registry.next_version(), overrides.version + 1);
}

/// Scores in force of a metric that is scored no longer: here a vendor's own, as if an earlier program had scored it.
async fn plant_a_score_nobody_gives(conn: &mut PgConnection) {
    sqlx::query(
        "INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors,
                                              scorer_version, registry_version)
         SELECT user_id, metric_name, source, measurement_date, 66, 0.66, 0.5, 0.8, '{}', 1, 1 FROM unified_metrics WHERE metric_name = 'recovery_score'",
    )
    .execute(conn)
    .await
    .unwrap();
}

#[tokio::test]
async fn scores_that_are_given_no_longer_go_when_all_of_a_person_is_scored() {
    let t = database().await;
    let mut conn = t.db.begin_service().await.unwrap();
    plant(&mut conn, "p").await;
    rescore_persons(&mut conn, &[("p".into(), None)]).await.unwrap();
    plant_a_score_nobody_gives(&mut conn).await;
    assert_eq!(rescore_persons(&mut conn, &[("p".into(), Some(date(45)))]).await.unwrap(), 15, "from a day on those from that day on");
    assert_eq!(rescore_persons(&mut conn, &[("p".into(), None)]).await.unwrap(), 45);
    assert!(stored(&mut conn, "p").await == expected(&mut conn, "p", &Reviews::none()).await);
}

#[tokio::test]
async fn whoever_scores_a_person_waits_for_whoever_does_so_already_and_sees_what_came_meanwhile() {
    let t = database().await;
    let mut setup = t.db.begin_service().await.unwrap();
    plant(&mut setup, "p").await;
    plant(&mut setup, "q").await;
    setup.commit().await.unwrap();
    // A chunk of a recalculation has read the old value and is still at work.
    let mut slow = t.db.begin_service().await.unwrap();
    rescore_persons(&mut slow, &[("q".into(), None), ("p".into(), None)]).await.unwrap();
    let changed = "UPDATE unified_metrics SET value = 190 WHERE user_id = 'p' AND metric_name = 'resting_heart_rate' AND source = 'garmin' AND measurement_date = '2026-03-01'";
    let stored_meanwhile = tokio::time::timeout(std::time::Duration::from_secs(5), sqlx::query(changed).execute(t.db.service())).await;
    assert_eq!(stored_meanwhile.unwrap().unwrap().rows_affected(), 1, "whoever stores a value waits for nobody");
    let db = t.db.clone();
    let quick = tokio::spawn(async move {
        let mut tx = db.begin_service().await.unwrap();
        rescore_person(&mut tx, Registry::built_in(), "p", date(59)).await.unwrap();
        tx.commit().await.unwrap();
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!quick.is_finished(), "it would read beside the other, and be overwritten");
    slow.commit().await.unwrap();
    quick.await.unwrap();
    let mut conn = t.db.begin_service().await.unwrap();
    assert!(stored(&mut conn, "p").await == expected(&mut conn, "p", &Reviews::none()).await);
}

#[tokio::test]
async fn scores_that_the_shadow_no_longer_gives_are_counted_and_go_with_its_promotion() {
    use crate::store::{audit::Actor, operations, shadow};
    let t = database().await;
    let mut tx = t.db.begin_service().await.unwrap();
    for person in ["p", "never-scored-beside"] {
        plant(&mut tx, person).await;
    }
    rescore_persons(&mut tx, &[("p".into(), None), ("never-scored-beside".into(), None)]).await.unwrap();
    plant_a_score_nobody_gives(&mut tx).await;
    for table in ["unified_metrics", "metric_confidence_cache"] {
        let older = format!("UPDATE {table} SET created_at = now() - interval '1 day', updated_at = now() - interval '1 day'");
        sqlx::query(sqlx::AssertSqlSafe(older)).execute(&mut *tx).await.unwrap();
    }
    let operation = shadow::start(&mut tx, None, "somebody", 25, 8).await.unwrap();
    rescore_shadow(&mut tx, Registry::built_in(), &["p".into()]).await.unwrap();
    operations::progress(&mut tx, operation.id, 2, 0, 1).await.unwrap();
    // A value that came and was scored since: the shadow has none of it, and that means nothing.
    sqlx::query(
        "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, provenance)
         VALUES ('p', 'steps', 'garmin', $1, 8000, 'count', 1, 'new', now(), gen_random_uuid(), '{\"model\": \"daily\", \"upload\": \"automatic\"}')",
    )
    .bind(date(60))
    .execute(&mut *tx)
    .await
    .unwrap();
    rescore_person(&mut tx, Registry::built_in(), "p", date(60)).await.unwrap();

    let difference = shadow::difference(&mut tx, &operation).await.unwrap();
    assert_eq!(difference, shadow::Difference { compared: 249, gone: 60, ..shadow::Difference::default() });
    assert_eq!(shadow::promote(&mut tx, &Actor::system()).await.unwrap(), Some(60));
    let left: Vec<(String, i64)> =
        sqlx::query_as("SELECT user_id, count(*) FROM metric_confidence_cache GROUP BY 1 ORDER BY 1").fetch_all(&mut *tx).await.unwrap();
    assert_eq!(left, [("never-scored-beside".to_owned(), 249 + 60), ("p".to_owned(), 249 + 1)]);
    let detail: serde_json::Value =
        sqlx::query_scalar("SELECT detail FROM audit_log WHERE action = 'shadow.promote'").fetch_one(&mut *tx).await.unwrap();
    assert_eq!((detail["changed"].as_i64(), detail["gone"].as_i64()), (Some(0), Some(60)));
}
