//! Persons' labels, and which trainer sees whom.
//! Every change writes its audit entry in the same transaction.

use super::{Caller, Db, audit, audit::Actor};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

/// The accounts of a person's trainers, as far as the caller may see: all for an administrator, its own for a trainer.
///
/// # Errors
/// Any of the database's.
pub async fn trainers_of(db: &Db, caller: &Caller, user_id: &str) -> sqlx::Result<Vec<Uuid>> {
    // PostgreSQL's text cannot hold a NUL; nobody of that name exists.
    if user_id.contains('\0') {
        return Ok(Vec::new());
    }
    let mut tx = db.begin_as(caller).await?;
    let found = sqlx::query_scalar("SELECT tc.trainer_id FROM trainer_clients tc WHERE tc.user_id = $1 ORDER BY tc.trainer_id")
        .bind(user_id)
        .fetch_all(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(found)
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

/// Real persons whose id looks like an e-mail address (`model::looks_like_email`), at most one more than a thousand.
///
/// # Errors
/// The database's.
pub async fn emails(conn: &mut PgConnection) -> sqlx::Result<i64> {
    // Word for word the condition of the index `persons_email`, which answers it.
    sqlx::query_scalar(
        r"SELECT count(*) FROM (SELECT FROM persons WHERE NOT simulated AND user_id ~ '^[^@[:space:]]+@[^@[:space:]]+\.[^@[:space:].]+$' LIMIT 1001) p",
    )
    .fetch_one(conn)
    .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
mod tests {
    use super::*;
    use crate::model::IDS_AND_EMAILS;

    #[tokio::test]
    async fn real_persons_with_an_address_for_an_id_are_counted_as_the_pages_see_them() {
        let t = crate::store::testing::database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        for (id, address) in IDS_AND_EMAILS.into_iter().filter(|(id, _)| !id.is_empty()) {
            sqlx::query("INSERT INTO persons (user_id) VALUES ($1)").bind(id).execute(t.db.owner()).await.unwrap();
            assert_eq!(emails(&mut conn).await.unwrap(), i64::from(address), "{id:?}");
            sqlx::query("UPDATE persons SET simulated = true").execute(t.db.owner()).await.unwrap();
            assert_eq!(emails(&mut conn).await.unwrap(), 0, "nobody is behind a simulated {id:?}");
        }
    }
}
