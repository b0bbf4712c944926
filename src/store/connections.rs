//! `connections`: which person stands behind one of Terra's ids. And the lock of a person's row.

use crate::model::Instant;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// A connection's row.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ConnectionState {
    /// Ours; stays when Terra's changes.
    pub id: Uuid,
    /// Terra's id.
    pub terra_user_id: String,
    /// Whose; `None`: Terra sent no reference yet.
    pub user_id: Option<String>,
    /// Provider in lower case.
    pub provider: String,
    /// A word of the table's `state`.
    pub state: String,
    /// What the person allowed.
    pub scopes: Option<String>,
    /// Why it is in this state, in Terra's words.
    pub reason: Option<String>,
    /// When the event that set the state was received.
    pub state_at: Instant,
    /// That event's place in the order, Unix ms.
    pub state_ordering_ms: i64,
    /// Its trace id, which decides within a millisecond; empty: before every event of that millisecond.
    pub state_trace_id: String,
    /// When data last came.
    pub last_data_at: Option<Instant>,
    /// Terra's ids before re-authorisations.
    pub former_ids: Vec<String>,
}

/// The connections behind these ids of Terra's, present or former, locked until the transaction ends. A missing one is
/// made, with nobody behind it yet: so two transactions that meet an unknown id see each other, and none parks a
/// delivery that the other has just learned the owner of.
///
/// `ids` are pairs of Terra's id and the provider. All callers lock in the order of the ids.
///
/// # Errors
/// The database's.
pub async fn lock(conn: &mut PgConnection, ids: &[(String, String)]) -> sqlx::Result<Vec<ConnectionState>> {
    let mut found = Vec::new();
    // Once is enough, unless a re-authorisation moved an id to another row while we waited for it.
    for _ in 0..4 {
        found = make_and_lock(conn, ids).await?;
        let known = |id: &String| found.iter().any(|c: &ConnectionState| c.terra_user_id == *id || c.former_ids.contains(id));
        if ids.iter().all(|(id, _)| known(id)) {
            break;
        }
    }
    Ok(found)
}

async fn make_and_lock(conn: &mut PgConnection, ids: &[(String, String)]) -> sqlx::Result<Vec<ConnectionState>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = ids.iter().map(|(id, _)| id.as_str()).collect();
    sqlx::query(
        "INSERT INTO connections (terra_user_id, provider)
         SELECT n.id, n.provider FROM unnest($1::text[], $2::text[]) AS n (id, provider)
          WHERE NOT EXISTS (SELECT FROM connections c WHERE c.terra_user_id = n.id)
            AND NOT EXISTS (SELECT FROM connections c WHERE c.former_ids <> '{}' AND c.former_ids @> ARRAY[n.id])
          ORDER BY n.id
         ON CONFLICT (terra_user_id) DO NOTHING",
    )
    .bind(&names)
    .bind(ids.iter().map(|(_, provider)| provider.as_str()).collect::<Vec<_>>())
    .execute(&mut *conn)
    .await?;
    sqlx::query_as(
        // Found by either index; few connections ever had another id.
        "SELECT id, terra_user_id, user_id, provider, state, scopes, reason, state_at, state_ordering_ms, state_trace_id, last_data_at, former_ids
           FROM connections
          WHERE id = ANY(ARRAY(SELECT id FROM connections WHERE terra_user_id = ANY($1)
                               UNION ALL SELECT id FROM connections WHERE former_ids <> '{}' AND former_ids && $1))
          ORDER BY terra_user_id FOR UPDATE",
    )
    .bind(&names)
    .fetch_all(conn)
    .await
}

/// Writes connections, and deletes those that became part of another.
///
/// # Errors
/// The database's.
pub async fn write(conn: &mut PgConnection, changed: &[&ConnectionState], merged: &[Uuid]) -> sqlx::Result<()> {
    if !merged.is_empty() {
        // First, so that their ids are free.
        sqlx::query("DELETE FROM connections WHERE id = ANY($1)").bind(merged).execute(&mut *conn).await?;
    }
    if changed.is_empty() {
        return Ok(());
    }
    // PostgreSQL has no arrays of arrays of different lengths, so the lists go as JSON.
    let former: Vec<sqlx::types::Json<&Vec<String>>> = changed.iter().map(|c| sqlx::types::Json(&c.former_ids)).collect();
    sqlx::query(
        "UPDATE connections c
            SET terra_user_id = n.terra_user_id, user_id = n.user_id, provider = n.provider, state = n.state, scopes = n.scopes,
                reason = n.reason, state_at = n.state_at, state_ordering_ms = n.state_ordering_ms, state_trace_id = n.state_trace_id,
                last_data_at = n.last_data_at, former_ids = ARRAY(SELECT jsonb_array_elements_text(n.former_ids))
           FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::int8[],
                       $10::text[], $11::timestamptz[], $12::jsonb[])
             AS n (id, terra_user_id, user_id, provider, state, scopes, reason, state_at, state_ordering_ms, state_trace_id, last_data_at, former_ids)
          WHERE c.id = n.id",
    )
    .bind(changed.iter().map(|c| c.id).collect::<Vec<_>>())
    .bind(changed.iter().map(|c| c.terra_user_id.as_str()).collect::<Vec<_>>())
    .bind(changed.iter().map(|c| c.user_id.as_deref()).collect::<Vec<_>>())
    .bind(changed.iter().map(|c| c.provider.as_str()).collect::<Vec<_>>())
    .bind(changed.iter().map(|c| c.state.as_str()).collect::<Vec<_>>())
    .bind(changed.iter().map(|c| c.scopes.as_deref()).collect::<Vec<_>>())
    .bind(changed.iter().map(|c| c.reason.as_deref()).collect::<Vec<_>>())
    .bind(changed.iter().map(|c| c.state_at).collect::<Vec<_>>())
    .bind(changed.iter().map(|c| c.state_ordering_ms).collect::<Vec<_>>())
    .bind(changed.iter().map(|c| c.state_trace_id.as_str()).collect::<Vec<_>>())
    .bind(changed.iter().map(|c| c.last_data_at).collect::<Vec<_>>())
    .bind(former)
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes the persons that are missing and locks all of them until the transaction ends, in the order of their names: one
/// transaction at a time works on a person's records. Returns those who are simulated.
///
/// # Errors
/// The database's.
pub async fn lock_persons(conn: &mut PgConnection, user_ids: &[String]) -> sqlx::Result<Vec<String>> {
    if user_ids.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query(
        "INSERT INTO persons (user_id) SELECT u.id FROM unnest($1::text[]) AS u (id)
          WHERE NOT EXISTS (SELECT FROM persons p WHERE p.user_id = u.id) ORDER BY u.id
         ON CONFLICT (user_id) DO NOTHING",
    )
    .bind(user_ids)
    .execute(&mut *conn)
    .await?;
    let simulated: Vec<Option<String>> =
        sqlx::query_scalar("SELECT CASE WHEN simulated THEN user_id END FROM persons WHERE user_id = ANY($1) ORDER BY user_id FOR UPDATE")
            .bind(user_ids)
            .fetch_all(conn)
            .await?;
    Ok(simulated.into_iter().flatten().collect())
}

/// Terra's ids of a person's connections that may still be alive there. None for a simulated person, whom Terra does
/// not know.
///
/// # Errors
/// The database's.
pub async fn at_terra(conn: &mut PgConnection, user_id: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT c.terra_user_id FROM connections c LEFT JOIN persons p USING (user_id)
          WHERE c.user_id = $1 AND c.state <> 'deauthorised' AND p.simulated IS NOT TRUE ORDER BY c.terra_user_id",
    )
    .bind(user_id)
    .fetch_all(conn)
    .await
}

/// Whether a person is known and simulated.
///
/// # Errors
/// The database's.
pub async fn is_simulated(conn: &mut PgConnection, user_id: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM persons WHERE user_id = $1 AND simulated)").bind(user_id).fetch_one(conn).await
}

/// Terra's ids of a person's connections that data come from. None for a simulated person.
///
/// # Errors
/// The database's.
pub async fn giving(conn: &mut PgConnection, user_id: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT c.terra_user_id FROM connections c LEFT JOIN persons p USING (user_id)
          WHERE c.user_id = $1 AND c.state IN ('active', 'reauthorised', 'error') AND p.simulated IS NOT TRUE ORDER BY c.terra_user_id",
    )
    .bind(user_id)
    .fetch_all(conn)
    .await
}

/// The present id at Terra of the connection that has, or once had, this one.
///
/// # Errors
/// The database's.
pub async fn present_id(pool: &PgPool, terra_user_id: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT terra_user_id FROM connections WHERE terra_user_id = $1 OR former_ids @> ARRAY[$1]")
        .bind(terra_user_id)
        .fetch_optional(pool)
        .await
}

/// A connection as the reconciliation compares it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Known {
    /// Terra's id.
    pub terra_user_id: String,
    /// A word of the table's `state`.
    pub state: String,
    /// Whose.
    pub user_id: Option<String>,
}

/// Connections that Terra should know, `limit` of them behind `after` in the order of Terra's ids: not those of
/// simulated persons.
///
/// # Errors
/// The database's.
pub async fn known(conn: &mut PgConnection, after: &str, limit: i64) -> sqlx::Result<Vec<Known>> {
    sqlx::query_as(
        "SELECT c.terra_user_id, c.state, c.user_id FROM connections c LEFT JOIN persons p USING (user_id)
          WHERE c.terra_user_id > $1 AND p.simulated IS NOT TRUE ORDER BY c.terra_user_id LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await
}
