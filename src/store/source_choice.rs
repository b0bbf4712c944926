//! `source_choices`: which source a person's metric is taken from, where somebody chose; else the evidence decides.
//! The values of the other sources stay as they are. The view of latest values and the pages' queries follow the choice.

use super::{Caller, Db, audit, audit::Actor, maintenance};
use crate::model::{Instant, Metric, Role};
use serde_json::json;
use sqlx::PgConnection;

/// A choice.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Choice {
    /// The source taken.
    pub source: String,
    /// Who chose it, where the caller may know.
    pub chosen_by: Option<String>,
    /// When.
    pub chosen_at: Instant,
}

/// What came of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is so from now on.
    Changed,
    /// It was so before; nothing was written.
    Same,
    /// The person does not exist or is not the caller's.
    NotTheirs,
    /// The person has no value of this metric from that source.
    NoSuchSource,
}

/// The choice for a person's metric, if there is one.
///
/// # Errors
/// The database's.
pub async fn of(conn: &mut PgConnection, user_id: &str, metric: Metric) -> sqlx::Result<Option<Choice>> {
    sqlx::query_as(
        "SELECT c.source, a.email AS chosen_by, c.chosen_at
           FROM source_choices c LEFT JOIN accounts a ON a.id = c.chosen_by WHERE c.user_id = $1 AND c.metric_name = $2",
    )
    .bind(user_id)
    .bind(metric.key())
    .fetch_optional(conn)
    .await
}

/// Takes a person's metric from `source` from now on, or with `None` from whichever the evidence ranks first. For an
/// administrator and for the person's trainer; deed, authorisation and audit entry are one transaction.
///
/// # Errors
/// The database's.
pub async fn choose(db: &Db, caller: &Caller, actor: &Actor, user_id: &str, metric: Metric, source: Option<&str>) -> sqlx::Result<Outcome> {
    let mut tx = db.begin_service().await?;
    // The person's row is held, so that two wishes for it come one after the other.
    let theirs: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM (SELECT 1 FROM persons WHERE user_id = $1 FOR UPDATE) p
                         WHERE $2 OR EXISTS (SELECT FROM trainer_clients t JOIN accounts a ON a.id = t.trainer_id
                                              WHERE t.user_id = $1 AND t.trainer_id = $3 AND a.role = 'trainer' AND a.disabled_at IS NULL))",
    )
    .bind(user_id)
    .bind(caller.role == Role::Admin)
    .bind(caller.account_id)
    .fetch_one(&mut *tx)
    .await?;
    if !theirs {
        return Ok(Outcome::NotTheirs);
    }
    let before: Option<String> = sqlx::query_scalar("SELECT source FROM source_choices WHERE user_id = $1 AND metric_name = $2")
        .bind(user_id)
        .bind(metric.key())
        .fetch_optional(&mut *tx)
        .await?;
    if before.as_deref() == source {
        return Ok(Outcome::Same);
    }
    let written = match source {
        Some(source) => {
            sqlx::query(
                "INSERT INTO source_choices (user_id, metric_name, source, chosen_by)
                 SELECT $1, $2, $3, $4
                  WHERE EXISTS (SELECT FROM unified_metrics WHERE user_id = $1 AND metric_name = $2 AND source = $3)
                 ON CONFLICT (user_id, metric_name) DO UPDATE SET source = excluded.source, chosen_by = excluded.chosen_by, chosen_at = now()",
            )
            .bind(user_id)
            .bind(metric.key())
            .bind(source)
            .bind(caller.account_id)
            .execute(&mut *tx)
            .await?
        }
        None => {
            sqlx::query("DELETE FROM source_choices WHERE user_id = $1 AND metric_name = $2")
                .bind(user_id)
                .bind(metric.key())
                .execute(&mut *tx)
                .await?
        }
    };
    if written.rows_affected() == 0 {
        return Ok(Outcome::NoSuchSource);
    }
    let detail = json!({ "metric": metric.key(), "from": before, "to": source });
    audit::write(&mut *tx, actor, "source.choose", Some(user_id), &detail).await?;
    maintenance::announce(&mut tx, "scores", &[user_id], 1).await?;
    tx.commit().await?;
    Ok(Outcome::Changed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::{Token, clients, testing};
    use uuid::Uuid;

    const WORLD: &str = "
        INSERT INTO accounts (email, role) VALUES ('hers@example.test', 'trainer'), ('other@example.test', 'trainer'), ('admin@example.test', 'admin');
        INSERT INTO persons (user_id) VALUES ('anna'), ('berta');
        INSERT INTO trainer_clients (trainer_id, user_id) SELECT id, 'anna' FROM accounts WHERE email = 'hers@example.test';
        INSERT INTO source_ranks VALUES ('steps', 'garmin', 1), ('steps', 'apple', 2);
        INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
        SELECT u, 'steps', s, current_date, CASE s WHEN 'apple' THEN 100 ELSE 200 END, 'count', 1, 't', now(), gen_random_uuid()
          FROM (VALUES ('anna'), ('berta')) AS p (u), (VALUES ('apple'), ('garmin')) AS n (s);
        REFRESH MATERIALIZED VIEW latest_unified_metrics;";

    async fn caller(db: &Db, email: &str, digit: &str) -> Caller {
        let (id, role): (Uuid, String) =
            sqlx::query_as("SELECT id, role FROM accounts WHERE email = $1").bind(email).fetch_one(db.owner()).await.unwrap();
        let token = Token::parse(&digit.repeat(64)).unwrap();
        sqlx::query("INSERT INTO login_sessions (token_hash, account_id, idle_until, expires_at) VALUES ($1, $2, now() + interval '1 hour', now() + interval '1 hour')")
            .bind(token.hash().to_vec())
            .bind(id)
            .execute(db.owner())
            .await
            .unwrap();
        let role = if role == "admin" { Role::Admin } else { Role::Trainer };
        Caller::new(id, role, email.to_owned(), String::new(), token)
    }

    async fn taken(db: &Db, caller: &Caller) -> (String, Option<String>) {
        let mut tx = db.begin_as(caller).await.unwrap();
        let rows = clients::latest(&mut tx, &["anna".to_owned()], &[]).await.unwrap();
        (rows[0].source.clone(), rows[0].choice.clone())
    }

    #[tokio::test]
    async fn a_choice_takes_effect_everywhere_is_audited_and_can_be_taken_back() {
        let t = testing::database().await;
        sqlx::raw_sql(WORLD).execute(t.db.owner()).await.unwrap();
        let trainer = caller(&t.db, "hers@example.test", "a").await;
        let actor = Actor::of(&trainer, None, None);
        assert_eq!(taken(&t.db, &trainer).await, ("garmin".into(), None), "the evidence decides");
        let to = async |source: Option<&str>| choose(&t.db, &trainer, &actor, "anna", Metric::Steps, source).await.unwrap();
        assert_eq!(to(Some("apple")).await, Outcome::Changed);
        assert_eq!(to(Some("apple")).await, Outcome::Same);
        assert_eq!(taken(&t.db, &trainer).await, ("apple".into(), Some("apple".into())));
        sqlx::raw_sql("REFRESH MATERIALIZED VIEW latest_unified_metrics").execute(t.db.owner()).await.unwrap();
        let view: String =
            sqlx::query_scalar("SELECT source FROM latest_unified_metrics WHERE user_id = 'anna'").fetch_one(t.db.owner()).await.unwrap();
        assert_eq!(view, "apple");
        // What was not taken is still there.
        let kept: i64 =
            sqlx::query_scalar("SELECT count(*) FROM unified_metrics WHERE user_id = 'anna'").fetch_one(t.db.owner()).await.unwrap();
        assert_eq!(kept, 2);
        assert_eq!(to(None).await, Outcome::Changed);
        assert_eq!(taken(&t.db, &trainer).await, ("garmin".into(), None));
        let audit: Vec<(String, String, serde_json::Value)> =
            sqlx::query_as("SELECT actor, subject, detail FROM audit_log WHERE action = 'source.choose' ORDER BY id")
                .fetch_all(t.db.owner())
                .await
                .unwrap();
        let expected = [json!({"metric": "steps", "from": null, "to": "apple"}), json!({"metric": "steps", "from": "apple", "to": null})];
        assert_eq!(audit, expected.map(|d| ("hers@example.test".to_owned(), "anna".to_owned(), d)));
    }

    #[tokio::test]
    async fn only_an_administrator_and_the_persons_own_trainer_choose() {
        let t = testing::database().await;
        sqlx::raw_sql(WORLD).execute(t.db.owner()).await.unwrap();
        let (hers, other, admin) = (
            caller(&t.db, "hers@example.test", "a").await,
            caller(&t.db, "other@example.test", "b").await,
            caller(&t.db, "admin@example.test", "c").await,
        );
        let by = async |who: &Caller, user: &str, source: &str| {
            choose(&t.db, who, &Actor::of(who, None, None), user, Metric::Steps, Some(source)).await.unwrap()
        };
        assert_eq!(by(&other, "anna", "apple").await, Outcome::NotTheirs);
        assert_eq!(by(&hers, "berta", "apple").await, Outcome::NotTheirs);
        assert_eq!(by(&hers, "nobody", "apple").await, Outcome::NotTheirs);
        assert_eq!(by(&hers, "anna", "fitbit").await, Outcome::NoSuchSource);
        assert_eq!(by(&admin, "berta", "apple").await, Outcome::Changed);
        let rows: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM source_choices) + (SELECT count(*) FROM audit_log WHERE action = 'source.choose')",
        )
        .fetch_one(t.db.owner())
        .await
        .unwrap();
        assert_eq!(rows, 2, "one choice, one entry");
        // A trainer of others does not see it.
        let mut tx = t.db.begin_as(&hers).await.unwrap();
        assert_eq!(of(&mut tx, "berta", Metric::Steps).await.unwrap(), None);
        let mut tx = t.db.begin_as(&admin).await.unwrap();
        assert_eq!(of(&mut tx, "berta", Metric::Steps).await.unwrap().unwrap().chosen_by.as_deref(), Some("admin@example.test"));
    }
}
