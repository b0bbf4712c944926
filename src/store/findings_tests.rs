//! Decisions about doubts, on a real database.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::model::Role;
use crate::rescore::rescore_persons;
use crate::store::{Caller, Token, testing::database};

const WORLD: &str = "
    INSERT INTO accounts (email, role) VALUES ('t@example.test', 'trainer');
    INSERT INTO persons (user_id) VALUES ('mine'), ('other');
    INSERT INTO trainer_clients (trainer_id, user_id) SELECT id, 'mine' FROM accounts;
    INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, provenance)
    SELECT u, 'resting_heart_rate', 'garmin', date '2026-01-01' + d, CASE WHEN d = 40 THEN 110 ELSE 52 + d % 3 END, 'bpm', d, 't' || d, now(), gen_random_uuid(),
           '{\"model\": \"daily\", \"upload\": \"automatic\"}'
      FROM (VALUES ('mine'), ('other')) AS p (u), generate_series(0, 60) AS d;";

fn day(n: u64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 1).unwrap() + chrono::Days::new(n)
}

async fn score(conn: &mut PgConnection, n: u64) -> i32 {
    let garmin = Source::from_provider("garmin");
    super::super::confidence::score_of(conn, "mine", Metric::RestingHeartRate, &garmin, day(n)).await.unwrap().unwrap().score.score
}

#[tokio::test]
async fn a_decision_is_recorded_counts_in_the_score_and_can_be_taken_back() {
    let t = database().await;
    sqlx::raw_sql(WORLD).execute(t.db.owner()).await.unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    let everybody = [("mine".to_owned(), None), ("other".to_owned(), None)];
    rescore_persons(&mut conn, &everybody).await.unwrap();
    let (doubted, next) = (score(&mut conn, 40).await, score(&mut conn, 41).await);
    let open = doubts(&mut conn, "mine", 60, 50).await.unwrap();
    assert_eq!(open.iter().map(|d| d.measurement_date).collect::<Vec<_>>(), [day(40)], "one day is far off");
    assert!(open[0].findings.iter().any(is_doubt) && open[0].verdict.is_none());

    let garmin = Source::from_provider("garmin");
    let it = Subject { user_id: "mine", metric: Metric::RestingHeartRate, source: &garmin, date: day(40) };
    assert!(decide(&mut conn, &Actor::system(), it, Some(Verdict::Dismissed), "fever").await.unwrap());
    rescore_persons(&mut conn, &[("mine".into(), Some(day(40)))]).await.unwrap();
    assert!(score(&mut conn, 40).await > doubted + 20, "a person says it is right");

    assert!(decide(&mut conn, &Actor::system(), it, Some(Verdict::Confirmed), "strap slipped").await.unwrap());
    rescore_persons(&mut conn, &[("mine".into(), Some(day(40)))]).await.unwrap();
    assert!(score(&mut conn, 40).await <= 1);
    let decided = &doubts(&mut conn, "mine", 60, 50).await.unwrap()[0];
    assert_eq!((decided.verdict.as_deref(), decided.note.as_deref()), (Some("confirmed"), Some("strap slipped")));

    assert!(decide(&mut conn, &Actor::system(), it, None, "").await.unwrap());
    assert!(!decide(&mut conn, &Actor::system(), it, None, "").await.unwrap(), "nothing is left to take back");
    rescore_persons(&mut conn, &[("mine".into(), Some(day(40)))]).await.unwrap();
    assert_eq!((score(&mut conn, 40).await, score(&mut conn, 41).await), (doubted, next));
    let entries: Vec<serde_json::Value> =
        sqlx::query_scalar("SELECT detail FROM audit_log WHERE action = 'finding.decide' AND subject = 'mine' ORDER BY at, id")
            .fetch_all(t.db.owner())
            .await
            .unwrap();
    let steps: Vec<_> = entries.iter().map(|e| (e["from"].as_str(), e["to"].as_str())).collect();
    assert_eq!(steps, [(None, Some("dismissed")), (Some("dismissed"), Some("confirmed")), (Some("confirmed"), None)]);
}

#[tokio::test]
async fn a_doubt_is_found_by_its_value_however_old_and_however_many_came_after() {
    let t = database().await;
    sqlx::raw_sql(WORLD).execute(t.db.owner()).await.unwrap();
    // Seventy impossible days follow, so the list of sixty days and sixty rows is full.
    sqlx::raw_sql(
        "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, provenance)
         SELECT 'mine', 'resting_heart_rate', 'garmin', date '2026-01-01' + d, 900, 'bpm', d, 't' || d, now(), gen_random_uuid(),
                '{\"model\": \"daily\", \"upload\": \"automatic\"}' FROM generate_series(61, 130) AS d",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    rescore_persons(&mut conn, &[("mine".to_owned(), None), ("other".to_owned(), None)]).await.unwrap();
    let garmin = Source::from_provider("garmin");
    let of = |n| Subject { user_id: "mine", metric: Metric::RestingHeartRate, source: &garmin, date: day(n) };
    assert!(doubts(&mut conn, "mine", 60, 60).await.unwrap().iter().all(|d| d.measurement_date > day(60)), "the list ends before it");
    let old = doubt(&mut conn, of(40)).await.unwrap().unwrap();
    assert!(old.verdict.is_none() && old.can_be_right() && old.measurement_date == day(40));
    assert!(doubt(&mut conn, of(39)).await.unwrap().is_none(), "nothing is doubted");
    assert!(doubt(&mut conn, of(400)).await.unwrap().is_none(), "no such value");
    assert!(!doubt(&mut conn, of(100)).await.unwrap().unwrap().can_be_right(), "no heart beats 900 times a minute");
    for n in [40, 39] {
        assert!(decide(&mut conn, &Actor::system(), of(n), Some(Verdict::Dismissed), "fever").await.unwrap());
        let decided = doubt(&mut conn, of(n)).await.unwrap().unwrap();
        assert_eq!((decided.verdict.as_deref(), decided.note.as_deref()), (Some("dismissed"), Some("fever")), "it can be taken back");
    }
}

#[test]
fn what_a_dismissal_leaves_are_kinds_that_there_are() {
    let kind = |word: &str| serde_json::from_value::<FindingKind>(json!(word)).unwrap();
    assert!(STANDS.iter().all(|word| !matches!(kind(word), FindingKind::Implausible | FindingKind::Disagreement)));
    assert!(PLAIN.iter().all(|word| STANDS.contains(word)), "nobody decides about these");
}

#[tokio::test]
async fn a_trainer_sees_doubts_of_own_clients_only_and_writes_none() {
    let t = database().await;
    sqlx::raw_sql(WORLD).execute(t.db.owner()).await.unwrap();
    rescore_persons(&mut t.db.service().acquire().await.unwrap(), &[("mine".into(), None), ("other".into(), None)]).await.unwrap();
    let token = Token::parse(&"d".repeat(64)).unwrap();
    sqlx::query("INSERT INTO login_sessions (token_hash, account_id, idle_until, expires_at) SELECT $1, id, now() + interval '1 hour', now() + interval '1 hour' FROM accounts")
        .bind(token.hash().to_vec())
        .execute(t.db.owner())
        .await
        .unwrap();
    let caller = Caller::new(uuid::Uuid::nil(), Role::Trainer, String::new(), String::new(), token);
    let mut tx = t.db.begin_as(&caller).await.unwrap();
    assert_eq!(doubts(&mut tx, "mine", 60, 50).await.unwrap().len(), 1);
    assert!(doubts(&mut tx, "other", 60, 50).await.unwrap().is_empty());
    let garmin = Source::from_provider("garmin");
    let of = |user_id| Subject { user_id, metric: Metric::RestingHeartRate, source: &garmin, date: day(40) };
    assert!(sees(&mut tx, of("mine")).await.unwrap());
    assert!(!sees(&mut tx, of("other")).await.unwrap());
    assert!(doubt(&mut tx, of("mine")).await.unwrap().is_some());
    assert!(doubt(&mut tx, of("other")).await.unwrap().is_none());
    assert!(decide(&mut tx, &Actor::system(), of("mine"), Some(Verdict::Confirmed), "").await.is_err(), "the web's role writes nothing");
}
