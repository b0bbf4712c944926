//! What an administrator starts and watches: Recalculate All, Retry Failed Jobs, a redrive. Each is one transaction with
//! its audit entry: neither exists without the other.

use crate::quality::registry::Overrides;
pub use crate::store::operations::Operation;
use crate::store::{
    Db, audit,
    audit::Actor,
    jobs::settle::{self, DeadFilter, Retried},
    maintenance, operations,
    shadow::{self, Refused},
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

/// Persons a chunk: a commit of some tenths of a second.
const PERSONS: i32 = 25;
/// Chunks wait behind everything else.
const PRIORITY: i16 = 8;

/// Starts to score everything again, or joins the operation that does. Returns whether it began; the audit log tells the two
/// apart.
///
/// # Errors
/// The database's; then nothing was started.
pub async fn start_recalculate_all(db: &Db, actor: &Actor) -> sqlx::Result<(Operation, bool)> {
    let mut tx = db.begin_service().await?;
    let (operation, began) = operations::start_recalculate_all(&mut tx, &actor.name, PERSONS, PRIORITY).await?;
    let detail = json!({ "kind": operation.kind, "total": operation.total });
    let action = if began { "operation.start" } else { "operation.join" };
    audit::write(&mut *tx, actor, action, Some(&operation.id.to_string()), &detail).await?;
    maintenance::announce(&mut tx, "operation", &[], 1).await?;
    tx.commit().await?;
    Ok((operation, began))
}

/// Changes the registry, `None`: back to the built-in one, and has everybody scored again under it, in the caller's
/// transaction: nobody sees one without the other.
///
/// # Errors
/// The database's; then the caller's transaction is lost.
pub async fn change_registry(conn: &mut PgConnection, overrides: Option<&Overrides>, actor: &Actor) -> sqlx::Result<Operation> {
    shadow::change(conn, overrides, actor).await?;
    recalculate_anew(conn, actor).await
}

/// Puts what was scored beside into force and has everybody scored again, for what came meanwhile, in the caller's
/// transaction. Returns how many scores changed or went; `None`: there is no finished shadow.
///
/// # Errors
/// The registry was changed since the shadow was started; the database's. Then nothing is to be committed.
pub async fn promote_shadow(conn: &mut PgConnection, actor: &Actor) -> Result<Option<u64>, Refused> {
    let changed = shadow::promote(conn, actor).await?;
    if changed.is_some() {
        // Last: a chunk in work that holds scores waits for its operation's row, and the promotion for those scores.
        recalculate_anew(conn, actor).await?;
    }
    Ok(changed)
}

/// Has everybody scored again under what this transaction changes. A recalculation that runs is stopped and not joined: whom
/// it has scored it does not visit again.
async fn recalculate_anew(conn: &mut PgConnection, actor: &Actor) -> sqlx::Result<Operation> {
    let (cancelled, operation) = operations::restart_recalculate_all(conn, &actor.name, PERSONS, PRIORITY).await?;
    for id in cancelled {
        let detail = json!({ "reason": "the registry was changed", "instead": operation.id });
        audit::write(&mut *conn, actor, "operation.cancel", Some(&id.to_string()), &detail).await?;
    }
    let detail = json!({ "kind": operation.kind, "total": operation.total });
    audit::write(&mut *conn, actor, "operation.start", Some(&operation.id.to_string()), &detail).await?;
    maintenance::announce(conn, "operation", &[], 1).await?;
    Ok(operation)
}

/// Starts to score everybody beside what is in force, in the caller's transaction: under the registry given, or under the one
/// in force by the program as it is now.
///
/// # Errors
/// Another registry is being tried; the database's. Then nothing is to be committed.
pub async fn start_shadow(conn: &mut PgConnection, overrides: Option<&Overrides>, actor: &Actor) -> Result<Operation, Refused> {
    let operation = shadow::start(conn, overrides, &actor.name, PERSONS, PRIORITY).await?;
    let detail = json!({ "kind": operation.kind, "total": operation.total, "registry": shadow::overrides_of(&operation) });
    audit::write(&mut *conn, actor, "operation.start", Some(&operation.id.to_string()), &detail).await?;
    maintenance::announce(conn, "operation", &[], 1).await?;
    Ok(operation)
}

/// Starts to bring dead letters back, as an operation.
///
/// # Errors
/// The database's; then nothing was started.
pub async fn start_redrive(db: &Db, filter: &DeadFilter, actor: &Actor) -> sqlx::Result<Operation> {
    start_on_letters(db, "redrive", filter, "", actor).await
}

/// Starts to throw dead letters away, with a note why, as an operation; their jobs do not run again.
///
/// # Errors
/// The database's; then nothing was started.
pub async fn start_discard(db: &Db, filter: &DeadFilter, note: &str, actor: &Actor) -> sqlx::Result<Operation> {
    start_on_letters(db, "discard", filter, note, actor).await
}

async fn start_on_letters(db: &Db, kind: &str, filter: &DeadFilter, note: &str, actor: &Actor) -> sqlx::Result<Operation> {
    let mut tx = db.begin_service().await?;
    let operation = operations::start_on_letters(&mut tx, kind, filter, note, &actor.name).await?;
    let detail = json!({ "kind": operation.kind, "total": operation.total, "filter": operation.filter });
    audit::write(&mut *tx, actor, "operation.start", Some(&operation.id.to_string()), &detail).await?;
    tx.commit().await?;
    Ok(operation)
}

/// Cancels a running operation; `false`: it does not run.
///
/// # Errors
/// The database's; then it goes on.
pub async fn cancel(db: &Db, id: Uuid, actor: &Actor) -> sqlx::Result<bool> {
    let mut tx = db.begin_service().await?;
    let cancelled = operations::cancel(&mut tx, id).await?;
    if cancelled {
        audit::write(&mut *tx, actor, "operation.cancel", Some(&id.to_string()), &json!({})).await?;
    }
    maintenance::announce(&mut tx, "operation", &[], 1).await?;
    tx.commit().await?;
    Ok(cancelled)
}

/// Brings every dead job of the filter back with all its attempts and marks its dead letters; one statement a step, one
/// commit. `subject`: what the audit entry names.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn retry_failed(db: &Db, filter: &DeadFilter, actor: &Actor, subject: Option<&str>) -> sqlx::Result<Retried> {
    let mut tries = 0;
    loop {
        let mut tx = db.begin_service().await?;
        match settle::retry(&mut tx, filter, i64::MAX).await {
            Ok(done) => {
                let detail = json!({ "retried": done.retried, "merged": done.merged, "recreated": done.recreated });
                audit::write(&mut *tx, actor, "jobs.retry", subject, &detail).await?;
                maintenance::announce(&mut tx, "jobs", &[], done.retried as i64).await?;
                tx.commit().await?;
                return Ok(done);
            }
            // A job of the same key was enqueued just now: the next try merges with it.
            Err(sqlx::Error::Database(e)) if e.is_unique_violation() && tries < 5 => tries += 1,
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::testing;

    #[tokio::test]
    async fn whoever_joins_a_recalculation_is_not_written_down_as_its_starter() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
             VALUES ('p', 'steps', 'whoop', current_date, 1, 'count', 1, 't', now(), app.uuid_v7())",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let by = |name: &str| Actor { name: name.to_owned(), ..Actor::system() };
        let (first, began) = start_recalculate_all(&t.db, &by("ada")).await.unwrap();
        let (second, again) = start_recalculate_all(&t.db, &by("bob")).await.unwrap();
        assert_eq!((second.id, began, again), (first.id, true, false));
        let entries: Vec<(String, String)> = sqlx::query_as("SELECT actor, action FROM audit_log WHERE subject = $1 ORDER BY at")
            .bind(first.id.to_string())
            .fetch_all(t.db.service())
            .await
            .unwrap();
        let said: Vec<(&str, &str)> = entries.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(said, [("ada", "operation.start"), ("bob", "operation.join")]);
    }
}
