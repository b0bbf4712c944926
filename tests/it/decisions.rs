//! A trainer decides about a doubted value, with the real program: row, audit entry and rescoring come in one commit, the score
//! follows, and nobody else's trainer can.

use crate::{
    process::{Assay, Database, eventually},
    visitors::{client, trainer},
};
use sqlx::PgConnection;

const KEY: &str = "user_id=person-1&metric=steps&source=fitbit&date=2026-03-05";

async fn number(conn: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(conn).await.unwrap()
}

async fn score(conn: &mut PgConnection) -> Option<i32> {
    let sql = "SELECT confidence_score FROM metric_confidence_cache
                WHERE user_id = 'person-1' AND metric_name = 'steps' AND source = 'fitbit' AND measurement_date = '2026-03-05'";
    sqlx::query_scalar(sql).fetch_optional(conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trainers_decision_its_audit_entry_and_the_rescoring_come_in_one_commit() {
    let database = Database::new().await;
    // Without a worker at first, so that the job can be seen as it was written.
    let assay = Assay::start_with(&database, &[("ASSAY_ROLE", "web")]).await;
    let mut conn = database.connect().await;
    let (own, other) = (trainer(&assay, &database, "own@example.com").await, trainer(&assay, &database, "other@example.com").await);
    sqlx::raw_sql(
        "INSERT INTO persons (user_id) VALUES ('person-1');
         INSERT INTO trainer_clients (trainer_id, user_id) SELECT id, 'person-1' FROM accounts WHERE email = 'own@example.com';
         INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, provenance)
         SELECT 'person-1', 'steps', 'fitbit', date '2026-03-01' + n, 9000 + 10 * n, 'count', 1, 't', now(), gen_random_uuid(),
                '{\"model\": \"daily\", \"upload\": \"automatic\"}' FROM generate_series(0, 6) n",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let decide = async |cookie: &str, verdict: &str| {
        let request =
            client().post(format!("{}/_fn/decide_finding", assay.address)).header("origin", &assay.address).header("cookie", cookie);
        let form = request.header("content-type", "application/x-www-form-urlencoded").header("accept", "application/json");
        form.body(format!("{KEY}&verdict={verdict}&note=the+strap+slipped")).send().await.unwrap().status().as_u16()
    };

    assert_eq!(decide(&other, "confirmed").await, 404, "to another's trainer the value does not exist");
    assert_eq!(number(&mut conn, "SELECT count(*) FROM finding_reviews").await, 0);
    assert!(decide(&own, "confirmed").await < 400);
    let (verdict, note, by): (String, String, String) = sqlx::query_as(
        "SELECT r.verdict, r.note, a.email FROM finding_reviews r JOIN accounts a ON a.id = r.reviewed_by
          WHERE user_id = 'person-1' AND metric_name = 'steps' AND source = 'fitbit' AND measurement_date = '2026-03-05'",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!((verdict.as_str(), note.as_str(), by.as_str()), ("confirmed", "the strap slipped", "own@example.com"));
    let (actor, detail): (String, serde_json::Value) =
        sqlx::query_as("SELECT actor, detail FROM audit_log WHERE action = 'finding.decide' AND subject = 'person-1'")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    assert_eq!(
        (actor.as_str(), detail["to"].as_str(), detail["date"].as_str()),
        ("own@example.com", Some("confirmed"), Some("2026-03-05"))
    );
    let since: Option<String> = sqlx::query_scalar(
        "SELECT payload ->> 'since' FROM background_jobs WHERE type = 'confidence_calculation' AND user_id = 'person-1' AND status = 'pending'",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(since.as_deref(), Some("2026-03-05"));
    let transactions = "SELECT count(DISTINCT x) FROM (SELECT xmin::text FROM finding_reviews
                        UNION ALL SELECT xmin::text FROM audit_log WHERE action = 'finding.decide'
                        UNION ALL SELECT xmin::text FROM background_jobs WHERE type = 'confidence_calculation' AND user_id = 'person-1') t (x)";
    assert_eq!(number(&mut conn, transactions).await, 1, "one commit: none of the three without the others");

    let _worker = Assay::start(&database).await;
    eventually("the confirmed fault is scored as one", 30, async || score(&mut conn).await.is_some_and(|s| s <= 1)).await;
    assert!(decide(&own, "open").await < 400);
    eventually("the decision is taken back", 30, async || score(&mut conn).await.is_some_and(|s| s > 1)).await;
    assert_eq!(number(&mut conn, "SELECT count(*) FROM finding_reviews").await, 0);
}
