//! `confidence_shadow`: what another scorer or registry would say, beside what is in force, and the difference of the two.

use super::{audit, audit::Actor, confidence, operations, operations::Operation};
use crate::quality::{Registry, registry::Overrides};
use serde_json::json;
use sqlx::types::Json;
use sqlx::{Acquire, PgConnection};

/// Largest movements named.
const TOP: i64 = 20;

const ANOTHER: &str = "Another registry is being tried. Drop it or promote it first; nothing was started.";
const CHANGED: &str = "The registry was changed since this one was started beside it. Drop it and run it beside again.";

/// Why nothing was started or promoted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Something stands in the way; a sentence for people.
    #[error("{0}")]
    Conflict(&'static str),
    /// The database's.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The registry in force when a shadow was started: what its overrides were made upon and its scores are compared with.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Base {
    version: i32,
    overrides: Overrides,
}

impl Base {
    fn new(registry: &Registry) -> Self {
        Self { version: registry.version, overrides: registry.overrides() }
    }

    /// `None`: an older program started it and noted none.
    fn of(operation: &Operation) -> Option<Self> {
        serde_json::from_value(operation.filter.0.get("base")?.clone()).ok()
    }
}

/// Whoever changes the registry or tries another waits here for whoever does so already, until that transaction ends. Taken
/// before the registry is read: a change is made upon what is in force, and nobody else's is lost.
///
/// # Errors
/// The database's.
pub async fn hold(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('assay.registry', 0))").execute(conn).await.map(drop)
}

/// Starts to score everybody into the shadow, or joins the operation that does so with the same numbers. `overrides`: the
/// registry to try, to which a version of its own is given; `None`: the one in force, so that only the program itself may
/// differ. What the shadow held is gone.
///
/// # Errors
/// Another registry is being tried, or waits for a decision that can still be taken; the database's. Then nothing was started.
pub async fn start(
    conn: &mut PgConnection,
    overrides: Option<&Overrides>,
    by: &str,
    persons: i32,
    priority: i16,
) -> Result<Operation, Refused> {
    let mut tx = conn.begin().await?;
    hold(&mut tx).await?;
    let registry = confidence::registry(&mut tx).await?;
    let base = Base::new(&registry);
    if let Some(there) = current(&mut tx).await? {
        let (same, changed) = (alike(overrides_of(&there).as_ref(), overrides), Base::of(&there).as_ref() != Some(&base));
        match (there.state.as_str(), same, changed) {
            ("running", true, false) => {
                tx.commit().await?;
                return Ok(there);
            }
            ("running", true, true) => return Err(Refused::Conflict(CHANGED)),
            ("running", false, _) | ("completed", false, false) => return Err(Refused::Conflict(ANOTHER)),
            _ => {} // can no longer be promoted, or is to be scored anew
        }
    }
    let overrides = match overrides {
        Some(overrides) => Some(numbered(&mut tx, &registry, overrides).await?),
        None => None,
    };
    let filter = json!({ "overrides": overrides, "base": base });
    let begun = operations::begin_scoring(&mut tx, "shadow", &filter, by, persons, priority).await?;
    let operation = begun.ok_or(Refused::Conflict(ANOTHER))?;
    sqlx::query("DELETE FROM confidence_shadow").execute(&mut *tx).await?;
    if operation.state == "completed" {
        keep_difference(&mut tx, &operation).await?; // nobody is to be scored
    }
    tx.commit().await?;
    Ok(operation)
}

/// Whether two say the same, whatever version they were given.
fn alike(a: Option<&Overrides>, b: Option<&Overrides>) -> bool {
    let said = |o: &Overrides| Overrides { version: 0, ..o.clone() };
    a.map(said) == b.map(said)
}

/// The overrides under a version that no others had, be they in force, tried, dropped or taken back. Within [`hold`].
async fn numbered(conn: &mut PgConnection, registry: &Registry, overrides: &Overrides) -> sqlx::Result<Overrides> {
    let last: Option<Json<serde_json::Value>> =
        sqlx::query_scalar("SELECT value FROM settings WHERE key = 'registry_version'").fetch_optional(&mut *conn).await?;
    let last = last.and_then(|v| i32::try_from(v.0.as_i64()?).ok());
    let version = registry.version_after(last);
    sqlx::query(
        "INSERT INTO settings (key, value) VALUES ('registry_version', $1)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = now()",
    )
    .bind(Json(version))
    .execute(conn)
    .await?;
    Ok(Overrides { version, ..overrides.clone() })
}

/// The newest shadow operation that was neither promoted nor dropped.
///
/// # Errors
/// The database's.
pub async fn current(conn: &mut PgConnection) -> sqlx::Result<Option<Operation>> {
    let newest = operations::newest(conn, "shadow").await?;
    Ok(newest.filter(|o| o.filter.0.get("settled").is_none()))
}

/// The registry an operation tries; `None`: the one in force.
pub fn overrides_of(operation: &Operation) -> Option<Overrides> {
    serde_json::from_value(operation.filter.0.get("overrides")?.clone()).ok().flatten()
}

/// Whether the registry in force is no longer the one that this shadow was started beside: then it cannot be promoted.
///
/// # Errors
/// The database's.
pub async fn outdated(conn: &mut PgConnection, operation: &Operation) -> sqlx::Result<bool> {
    let registry = confidence::registry(conn).await?;
    Ok(Base::of(operation) != Some(Base::new(&registry)))
}

/// What would change.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Difference {
    /// Scores in the shadow that are in force too.
    pub compared: i64,
    /// Scores with another probability, interval, part or finding; versions aside.
    pub differing: i64,
    /// Scores that only the shadow has.
    pub new: i64,
    /// Scores in force that the shadow no longer gives; those of values that came since it was started are not among them.
    pub gone: i64,
    /// Movement in points, and how many scores move by it; zero left out.
    pub moved: Vec<(i32, i64)>,
    /// From which badge to which, and how many scores.
    pub badges: Vec<(String, String, i64)>,
    /// Persons with a badge that changes.
    pub persons: i64,
    /// The largest movements: person, metric, source, day, score in force, score in the shadow.
    pub top: Vec<(String, String, String, chrono::NaiveDate, i32, i32)>,
}

macro_rules! both {
    () => {
        " FROM confidence_shadow s JOIN metric_confidence_cache c USING (user_id, metric_name, source, measurement_date) "
    };
}
macro_rules! tier {
    ($score:literal) => {
        concat!(
            "CASE WHEN ",
            $score,
            " >= 80 THEN 'excellent' WHEN ",
            $score,
            " >= 60 THEN 'good' WHEN ",
            $score,
            " >= 40 THEN 'fair' ELSE 'poor' END"
        )
    };
}

/// Scores in force that the shadow would have given if it gave any: their person was scored into it, and value and score are
/// older than it (`$1`).
macro_rules! gone {
    () => {
        " c.updated_at < $1
          AND EXISTS (SELECT FROM confidence_shadow s WHERE s.user_id = c.user_id)
          AND EXISTS (SELECT FROM unified_metrics m
                       WHERE (m.user_id, m.metric_name, m.source, m.measurement_date) = (c.user_id, c.metric_name, c.source, c.measurement_date)
                         AND m.created_at < $1)
          AND NOT EXISTS (SELECT FROM confidence_shadow s
                           WHERE (s.user_id, s.metric_name, s.source, s.measurement_date) = (c.user_id, c.metric_name, c.source, c.measurement_date))"
    };
}

/// Works out what would change and keeps it with the operation, once it ended: it reads both tables of scores several times over.
///
/// # Errors
/// The database's.
pub async fn keep_difference(conn: &mut PgConnection, operation: &Operation) -> sqlx::Result<()> {
    let difference = difference(conn, operation).await?;
    sqlx::query("UPDATE operations SET difference = $2 WHERE id = $1")
        .bind(operation.id)
        .bind(Json(difference))
        .execute(conn)
        .await
        .map(drop)
}

/// What would change, as it was worked out when the shadow was complete; now, where it was not: a last chunk that died ends an
/// operation too.
///
/// # Errors
/// The database's.
pub async fn kept_difference(conn: &mut PgConnection, operation: &Operation) -> sqlx::Result<Difference> {
    let kept: Option<serde_json::Value> = sqlx::query_scalar("SELECT difference FROM operations WHERE id = $1")
        .bind(operation.id)
        .fetch_optional(&mut *conn)
        .await?
        .flatten();
    match kept.and_then(|kept| serde_json::from_value(kept).ok()) {
        Some(kept) => Ok(kept),
        None => difference(conn, operation).await,
    }
}

/// What would change if the shadow of this operation were promoted.
///
/// # Errors
/// The database's.
pub async fn difference(conn: &mut PgConnection, operation: &Operation) -> sqlx::Result<Difference> {
    let (compared, differing): (i64, i64) = sqlx::query_as(concat!(
        "SELECT count(*), count(*) FILTER (WHERE (s.probability, s.low, s.high, s.factors, s.findings) IS DISTINCT FROM
                                                 (c.probability, c.low, c.high, c.factors, c.findings))",
        both!()
    ))
    .fetch_one(&mut *conn)
    .await?;
    let new: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM confidence_shadow s WHERE NOT EXISTS (SELECT FROM metric_confidence_cache c
          WHERE (c.user_id, c.metric_name, c.source, c.measurement_date) = (s.user_id, s.metric_name, s.source, s.measurement_date))",
    )
    .fetch_one(&mut *conn)
    .await?;
    let gone: i64 = sqlx::query_scalar(concat!("SELECT count(*) FROM metric_confidence_cache c WHERE", gone!()))
        .bind(operation.started_at)
        .fetch_one(&mut *conn)
        .await?;
    if differing == 0 {
        return Ok(Difference { compared, new, gone, ..Difference::default() });
    }
    let moved = sqlx::query_as(concat!(
        "SELECT s.confidence_score - c.confidence_score, count(*)",
        both!(),
        "WHERE s.confidence_score <> c.confidence_score GROUP BY 1 ORDER BY 1"
    ))
    .fetch_all(&mut *conn)
    .await?;
    let badges = sqlx::query_as(concat!(
        "SELECT ",
        tier!("c.confidence_score"),
        ", ",
        tier!("s.confidence_score"),
        ", count(*)",
        both!(),
        "WHERE ",
        tier!("s.confidence_score"),
        " <> ",
        tier!("c.confidence_score"),
        " GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
    ))
    .fetch_all(&mut *conn)
    .await?;
    let persons = sqlx::query_scalar(concat!(
        "SELECT count(DISTINCT user_id)",
        both!(),
        "WHERE ",
        tier!("s.confidence_score"),
        " <> ",
        tier!("c.confidence_score")
    ))
    .fetch_one(&mut *conn)
    .await?;
    let top = sqlx::query_as(concat!(
        "SELECT user_id, metric_name, source, measurement_date, c.confidence_score, s.confidence_score",
        both!(),
        "WHERE s.confidence_score <> c.confidence_score
         ORDER BY abs(s.confidence_score - c.confidence_score) DESC, user_id, metric_name, source, measurement_date LIMIT $1"
    ))
    .bind(TOP)
    .fetch_all(&mut *conn)
    .await?;
    Ok(Difference { compared, differing, new, gone, moved, badges, persons, top })
}

/// Puts the shadow into force: its scores replace those that differ, those that it no longer gives go, and its registry becomes
/// the one in force, with an audit entry, all in the caller's transaction. What came meanwhile, and scores that only the shadow
/// has, are left to the recalculation that the caller starts afterwards in the same transaction. Returns how many scores changed
/// or went; `None`: there is no finished shadow.
///
/// # Errors
/// The registry was changed since the shadow was started; the database's. Then nothing has changed.
pub async fn promote(conn: &mut PgConnection, actor: &Actor) -> Result<Option<u64>, Refused> {
    hold(conn).await?;
    let Some(operation) = current(conn).await?.filter(|o| o.state == "completed") else { return Ok(None) };
    // Its overrides hold all that differs from the built-in registry: what was changed since would be taken back unseen.
    if outdated(conn, &operation).await? {
        return Err(Refused::Conflict(CHANGED));
    }
    let overrides = overrides_of(&operation);
    if let Some(overrides) = &overrides {
        set_overrides(conn, Some(overrides), actor).await?;
    }
    let done = sqlx::query(
        "UPDATE metric_confidence_cache c
            SET confidence_score = s.confidence_score, probability = s.probability, low = s.low, high = s.high, factors = s.factors,
                findings = s.findings, scorer_version = s.scorer_version, registry_version = s.registry_version, updated_at = now()
           FROM confidence_shadow s
          WHERE (c.user_id, c.metric_name, c.source, c.measurement_date) = (s.user_id, s.metric_name, s.source, s.measurement_date)
            AND (c.probability, c.low, c.high, c.factors, c.findings, c.scorer_version, c.registry_version) IS DISTINCT FROM
                (s.probability, s.low, s.high, s.factors, s.findings, s.scorer_version, s.registry_version)",
    )
    .execute(&mut *conn)
    .await?;
    let gone =
        sqlx::query(concat!("DELETE FROM metric_confidence_cache c WHERE", gone!())).bind(operation.started_at).execute(&mut *conn).await?;
    settle(conn, &operation, "promoted").await?;
    let version = overrides.map(|o| o.version);
    let detail = json!({ "operation": operation.id, "registry": version, "changed": done.rows_affected(), "gone": gone.rows_affected() });
    audit::write(conn, actor, "shadow.promote", Some(&operation.id.to_string()), &detail).await?;
    Ok(Some(done.rows_affected() + gone.rows_affected()))
}

/// Throws the shadow away; `false`: there is none.
///
/// # Errors
/// The database's.
pub async fn discard(conn: &mut PgConnection, actor: &Actor) -> sqlx::Result<bool> {
    hold(conn).await?;
    let Some(operation) = current(conn).await? else { return Ok(false) };
    if operation.state == "running" {
        operations::cancel(conn, operation.id).await?;
    }
    settle(conn, &operation, "dropped").await?;
    audit::write(conn, actor, "shadow.drop", Some(&operation.id.to_string()), &json!({})).await?;
    Ok(true)
}

async fn settle(conn: &mut PgConnection, operation: &Operation, word: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE operations SET filter = filter || jsonb_build_object('settled', $2::text) WHERE id = $1")
        .bind(operation.id)
        .bind(word)
        .execute(&mut *conn)
        .await?;
    sqlx::query("DELETE FROM confidence_shadow").execute(conn).await?;
    Ok(())
}

/// Puts an administrator's registry into force, under a version of its own, or goes back to the built-in one, with an audit
/// entry that holds both, in the caller's transaction. The caller also has everybody scored again there.
///
/// # Errors
/// The database's.
pub async fn change(conn: &mut PgConnection, overrides: Option<&Overrides>, actor: &Actor) -> sqlx::Result<()> {
    hold(conn).await?;
    let overrides = match overrides {
        Some(overrides) => {
            let registry = confidence::registry(conn).await?;
            Some(numbered(conn, &registry, overrides).await?)
        }
        None => None,
    };
    set_overrides(conn, overrides.as_ref(), actor).await
}

async fn set_overrides(conn: &mut PgConnection, overrides: Option<&Overrides>, actor: &Actor) -> sqlx::Result<()> {
    let before: Option<Json<serde_json::Value>> =
        sqlx::query_scalar("SELECT value FROM settings WHERE key = 'registry' FOR UPDATE").fetch_optional(&mut *conn).await?;
    match overrides {
        Some(overrides) => {
            sqlx::query(
                "INSERT INTO settings (key, value, updated_by) VALUES ('registry', $1, $2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = now(), updated_by = excluded.updated_by",
            )
            .bind(Json(overrides))
            .bind(actor.account_id)
            .execute(&mut *conn)
            .await?;
        }
        None => {
            sqlx::query("DELETE FROM settings WHERE key = 'registry'").execute(&mut *conn).await?;
        }
    }
    let detail = json!({ "from": before.map(|b| b.0), "to": overrides });
    audit::write(conn, actor, "registry.change", Some("registry"), &detail).await
}

#[cfg(test)]
#[path = "shadow_tests.rs"]
mod tests;
