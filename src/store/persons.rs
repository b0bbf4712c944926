//! Persons' labels, which trainer sees whom, and the export of all that is stored about a person.
//! Every change writes its audit entry in the same transaction.

use super::{Caller, Db, audit, audit::Actor};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

/// One assignment of a client to a trainer.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct Assignment {
    /// The trainer's account.
    pub trainer_id: Uuid,
    /// The client.
    pub user_id: String,
    /// What the pages call the client; `None`: the `user_id`.
    pub label: Option<String>,
    /// Since when.
    pub assigned_at: DateTime<Utc>,
}

/// The assignments the caller may see: all for an administrator, its own for a trainer.
///
/// # Errors
/// Any of the database's.
pub async fn assignments(db: &Db, caller: &Caller) -> sqlx::Result<Vec<Assignment>> {
    let mut tx = db.begin_as(caller).await?;
    let rows = sqlx::query_as(
        "SELECT tc.trainer_id, tc.user_id, p.label, tc.assigned_at
           FROM trainer_clients tc LEFT JOIN persons p ON p.user_id = tc.user_id ORDER BY tc.trainer_id, tc.user_id",
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(rows)
}

/// Whether the caller may see this person. Asked before a page or export of one person.
///
/// # Errors
/// Any of the database's.
pub async fn visible(db: &Db, caller: &Caller, user_id: &str) -> sqlx::Result<bool> {
    let mut tx = db.begin_as(caller).await?;
    let seen = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM persons WHERE user_id = $1)").bind(user_id).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(seen)
}

/// What the pages call a person, in two layers: `None`, the caller sees no such person; `Some(None)`, the `user_id`.
///
/// # Errors
/// Any of the database's.
pub async fn label(db: &Db, caller: &Caller, user_id: &str) -> sqlx::Result<Option<Option<String>>> {
    // PostgreSQL's text cannot hold a NUL; nobody of that name exists.
    if user_id.contains('\0') {
        return Ok(None);
    }
    let mut tx = db.begin_as(caller).await?;
    let found = sqlx::query_scalar("SELECT label FROM persons WHERE user_id = $1").bind(user_id).fetch_optional(&mut *tx).await?;
    tx.commit().await?;
    Ok(found)
}

/// Gives a client to trainers, all in one statement; how many assignments are new. Pairs whose account is no trainer
/// are left out.
///
/// # Errors
/// Any of the database's.
pub async fn assign(db: &Db, actor: &Actor, pairs: &[(Uuid, String)]) -> sqlx::Result<u64> {
    let (trainers, users): (Vec<Uuid>, Vec<String>) = pairs.iter().cloned().unzip();
    let mut tx = db.begin_service().await?;
    let done = sqlx::query(
        "INSERT INTO trainer_clients (trainer_id, user_id, assigned_by)
         SELECT u.trainer_id, u.user_id, $3 FROM unnest($1::uuid[], $2::text[]) AS u (trainer_id, user_id)
           JOIN accounts a ON a.id = u.trainer_id AND a.role = 'trainer'
         ON CONFLICT DO NOTHING",
    )
    .bind(&trainers)
    .bind(&users)
    .bind(actor.account_id)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if done > 0 {
        let subject = (pairs.len() == 1).then(|| users.first().map(String::as_str)).flatten();
        let detail = json!({ "trainers": trainers.iter().collect::<std::collections::BTreeSet<_>>(), "new": done });
        audit::write(&mut *tx, actor, "client.assign", subject, &detail).await?;
    }
    tx.commit().await?;
    Ok(done)
}

/// Takes a client from a trainer; whether it was assigned.
///
/// # Errors
/// Any of the database's.
pub async fn unassign(db: &Db, actor: &Actor, trainer_id: Uuid, user_id: &str) -> sqlx::Result<bool> {
    let mut tx = db.begin_service().await?;
    let done = sqlx::query("DELETE FROM trainer_clients WHERE trainer_id = $1 AND user_id = $2")
        .bind(trainer_id)
        .bind(user_id)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    if done > 0 {
        audit::write(&mut *tx, actor, "client.unassign", Some(user_id), &json!({ "trainers": [trainer_id] })).await?;
    }
    tx.commit().await?;
    Ok(done > 0)
}

/// Changes what the pages call a person; `None` or blank: the `user_id` again. Whether the person exists.
///
/// # Errors
/// Any of the database's.
pub async fn set_label(db: &Db, actor: &Actor, user_id: &str, label: Option<&str>) -> sqlx::Result<bool> {
    let label = label.map(str::trim).filter(|l| !l.is_empty());
    let mut tx = db.begin_service().await?;
    let done =
        sqlx::query("UPDATE persons SET label = left($2, 120) WHERE user_id = $1").bind(user_id).bind(label).execute(&mut *tx).await?;
    if done.rows_affected() > 0 {
        // Labels are often names: the entry says that it changed, not to what.
        audit::write(&mut *tx, actor, "person.label", Some(user_id), &json!({ "set": label.is_some() })).await?;
    }
    tx.commit().await?;
    Ok(done.rows_affected() > 0)
}

/// Spreads the simulated persons over trainers for the demonstration: the i-th (by `user_id`) goes to trainer i mod n.
/// Harmless when repeated. Returns how many are new.
///
/// # Errors
/// Any of the database's.
pub async fn assign_simulated(db: &Db, trainers: &[Uuid]) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "INSERT INTO trainer_clients (trainer_id, user_id)
         SELECT ($1::uuid[])[1 + i % cardinality($1::uuid[])], user_id
           FROM (SELECT user_id, (row_number() OVER (ORDER BY user_id) - 1)::int AS i FROM persons WHERE simulated AND user_id LIKE 'sim-%') p
          WHERE cardinality($1::uuid[]) > 0
         ON CONFLICT DO NOTHING",
    )
    .bind(trainers)
    .execute(db.service())
    .await?;
    Ok(done.rows_affected())
}

/// Everything that is stored about a person, as one JSON object: a list of rows for each table. Bodies of deliveries
/// are given as JSON where they are JSON, else in base64. Read as the caller: a trainer exports only own clients.
/// `None` when the caller sees nothing of this person.
///
/// # Errors
/// Any of the database's.
pub async fn export(db: &Db, caller: &Caller, actor: &Actor, user_id: &str) -> sqlx::Result<Option<Value>> {
    let mut tx = db.begin_as(caller).await?;
    let found: Value = sqlx::query_scalar(
        "SELECT jsonb_build_object(
          'user_id', $1::text, 'exported_at', now(),
          'persons', (SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM persons t WHERE user_id = $1),
          'connections', (SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t.created_at), '[]') FROM connections t WHERE user_id = $1),
          'deliveries', (SELECT coalesce(jsonb_agg((to_jsonb(t) - 'body') || CASE WHEN payload(t) IS NULL
                 THEN jsonb_build_object('body_base64', encode(t.body, 'base64')) ELSE jsonb_build_object('body', payload(t)) END
                 ORDER BY t.created_at), '[]') FROM terra_webhooks_raw t WHERE user_id = $1),
          'records', (SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t.measurement_date, t.source, t.model, t.key), '[]') FROM records t WHERE user_id = $1),
          'metrics', (SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t.measurement_date, t.metric_name, t.source), '[]') FROM unified_metrics t WHERE user_id = $1),
          'confidence', (SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t.measurement_date, t.metric_name, t.source), '[]') FROM metric_confidence_cache t WHERE user_id = $1),
          'finding_reviews', (SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM finding_reviews t WHERE user_id = $1),
          'source_choices', (SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM source_choices t WHERE user_id = $1),
          'jobs', (SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t.created_at), '[]') FROM background_jobs t WHERE user_id = $1),
          'job_history', (SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t.created_at), '[]') FROM job_history t WHERE user_id = $1),
          'dead_letters', (SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t.created_at), '[]') FROM background_jobs_dlq t WHERE user_id = $1),
          'logs', (SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t.timestamp), '[]') FROM edge_function_logs t WHERE user_id = $1),
          'trainers', (SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM trainer_clients t WHERE user_id = $1))",
    )
    .bind(user_id)
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    let empty = found.as_object().is_none_or(|o| o.values().all(|v| v.as_array().is_none_or(Vec::is_empty)));
    if empty {
        return Ok(None);
    }
    audit::write(db.service(), actor, "person.export", Some(user_id), &json!({})).await?;
    Ok(Some(found))
}

/// How many persons have values.
///
/// # Errors
/// The database's.
pub async fn count_with_values(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM persons p WHERE EXISTS (SELECT FROM unified_metrics m WHERE m.user_id = p.user_id)")
        .fetch_one(conn)
        .await
}

/// Some persons that have values, as many as asked for, spread over all of them by a hash of their id.
///
/// # Errors
/// The database's.
pub async fn some_with_values(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT user_id FROM persons p WHERE EXISTS (SELECT FROM unified_metrics m WHERE m.user_id = p.user_id)
          ORDER BY md5(user_id) LIMIT $1",
    )
    .bind(limit)
    .fetch_all(conn)
    .await
}
