//! Replays: stored deliveries through normalising and scoring once more. An operation's chunks are stretches of the
//! time of receipt, so that they name no delivery (an erased person's would be among them), and each carries the filter,
//! so that it needs nothing but itself.
//!
//! A page asks in this order; each call is for administrators only, and the caller has checked that:
//! 1. a [`Filter`] from the form, [`Filter::problem`] for what is wrong with it, in a sentence;
//! 2. [`count`], shown before anything starts;
//! 3. [`start`], which answers with the operation; [`one`] for a single delivery;
//! 4. `operations::find` for its progress (`done` and `failed` of `total`, `remaining_seconds`), and
//!    `jobs::operations::cancel` to stop it: its waiting chunks are cancelled, the one in work is finished.
//!
//! Starting writes its audit entry in the commit of the deed.

use super::{Db, audit, audit::Actor, jobs, jobs::NewJob, maintenance, operations, operations::Operation, tombstones};
use crate::model::Instant;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

/// Deliveries a chunk: a commit of some tenths of a second.
const CHUNK: i64 = 100;
/// Chunks wait behind everything else.
const PRIORITY: i16 = 8;
/// The name of the kind of the chunks' jobs.
pub const KIND: &str = "replay";

/// Which deliveries. Empty fields do not narrow. Conflicts, bodies that are not JSON, and what was emptied because its person
/// was erased are never replayed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// These only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<Uuid>>,
    /// Received at or after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Instant>,
    /// Received before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
    /// Terra's `type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Provider in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Whose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// A word of the table's `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Occurs in the error, letters' case aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Words of `status` that deliveries which may be replayed can have, in the order of a delivery's life.
pub const STATUSES: [&str; 6] = ["pending", "processing", "completed", "failed", "parked", "ignored"];

impl Filter {
    /// What is wrong with it, in a sentence for the form.
    pub fn problem(&self) -> Option<String> {
        if let (Some(from), Some(until)) = (self.from, self.until)
            && from >= until
        {
            return Some("The time begins after it ends.".into());
        }
        if self.ids.as_ref().is_some_and(|ids| ids.len() > 1000) {
            return Some("More than 1000 single deliveries were named. Narrow by time, person or status instead.".into());
        }
        let texts = [&self.kind, &self.provider, &self.user_id, &self.error];
        if texts.into_iter().flatten().any(|text| text.contains('\0') || text.chars().nth(512).is_some()) {
            return Some("A text of the filter is too long, or holds a character that no delivery has.".into());
        }
        match self.status.as_deref() {
            Some("conflict" | "invalid") => {
                Some("Conflicts and bodies that are not JSON are never processed, so there is nothing to repeat.".into())
            }
            Some(word) if !STATUSES.contains(&word) => {
                Some(format!("There is no status named '{}'.", word.chars().take(40).collect::<String>()))
            }
            _ => None,
        }
    }
}

// $1 ids, $2 from, $3 until, $4 kind, $5 provider, $6 user, $7 status, $8 error, $9 what erased persons' say
macro_rules! matching {
    () => {
        "r.status NOT IN ('conflict', 'invalid') AND r.error IS DISTINCT FROM $9 AND ($1::uuid[] IS NULL OR r.id = ANY ($1))
         AND ($2::timestamptz IS NULL OR r.created_at >= $2) AND ($3::timestamptz IS NULL OR r.created_at < $3)
         AND ($4::text IS NULL OR r.type = $4) AND ($5::text IS NULL OR r.provider = $5) AND ($6::text IS NULL OR r.user_id = $6)
         AND ($7::text IS NULL OR r.status = $7) AND ($8::text IS NULL OR position(lower($8) IN lower(r.error)) > 0)"
    };
}

macro_rules! bind {
    ($query:expr, $filter:expr) => {{
        let f: &Filter = $filter;
        $query
            .bind(&f.ids)
            .bind(f.from)
            .bind(f.until)
            .bind(&f.kind)
            .bind(&f.provider)
            .bind(&f.user_id)
            .bind(&f.status)
            .bind(&f.error)
            .bind(tombstones::REASON)
    }};
}

/// How many deliveries match: asked before a replay is started. With a connection of [`Db::begin_as`] it counts what
/// the caller may see.
///
/// # Errors
/// The database's.
pub async fn count(conn: &mut PgConnection, filter: &Filter) -> sqlx::Result<i64> {
    bind!(sqlx::query_scalar(concat!("SELECT count(*) FROM terra_webhooks_raw r WHERE ", matching!())), filter).fetch_one(conn).await
}

/// Starts a replay of all deliveries that match now. The operation, its chunks and its audit entry come into being in
/// one commit; with nothing to replay it is complete at once. Cancel it like any operation. The caller has checked that
/// the actor is an administrator.
///
/// # Errors
/// The database's; then nothing was started.
pub async fn start(db: &Db, actor: &Actor, filter: &Filter) -> sqlx::Result<Operation> {
    let mut tx = db.begin_service().await?;
    let id: Uuid = sqlx::query_scalar("INSERT INTO operations (kind, filter, started_by) VALUES ('replay', $1, $2) RETURNING id")
        .bind(Json(filter))
        .bind(&actor.name)
        .fetch_one(&mut *tx)
        .await?;
    bind!(
        sqlx::query(concat!(
            "WITH numbered AS (
               -- A rank, not a number: what was received in one moment is never divided.
               SELECT r.created_at, (rank() OVER (ORDER BY r.created_at) - 1) / $12 AS chunk FROM terra_webhooks_raw r WHERE ",
            matching!(),
            "),
             chunks AS (SELECT count(*) AS n, min(created_at) AS first, max(created_at) AS last FROM numbered GROUP BY chunk),
             jobs AS (
               INSERT INTO background_jobs (type, priority, payload, max_attempts, user_id)
               SELECT 'replay', $13, jsonb_build_object('v', 1, 'operation', $10::uuid, 'filter', $11::jsonb, 'first', first,
                        'last', last, 'deliveries', n), 3, $6 FROM chunks ORDER BY first)
             UPDATE operations SET total = t.deliveries, chunks_total = t.chunks,
                    state = CASE WHEN t.chunks = 0 THEN 'completed' ELSE 'running' END, finished_at = CASE WHEN t.chunks = 0 THEN now() END
               FROM (SELECT coalesce(sum(n), 0)::bigint AS deliveries, count(*)::int AS chunks FROM chunks) t WHERE id = $10"
        )),
        filter
    )
    .bind(id)
    .bind(Json(filter))
    .bind(CHUNK)
    .bind(PRIORITY)
    .execute(&mut *tx)
    .await?;
    let operation = operations::find(&mut tx, id).await?.ok_or(sqlx::Error::RowNotFound)?;
    let detail = json!({ "operation": id, "filter": filter, "deliveries": operation.total });
    audit::write(&mut *tx, actor, "deliveries.replay", filter.user_id.as_deref(), &detail).await?;
    maintenance::announce(&mut tx, "operation", &[], 1).await?;
    tx.commit().await?;
    Ok(operation)
}

/// Replays one delivery, ahead of everything that waits; returns its job, which a second press joins. `None`: there is no
/// such delivery, or it is never replayed (see [`Filter`]). The caller has checked that the actor is an administrator.
///
/// # Errors
/// The database's; then nothing was started.
pub async fn one(db: &Db, actor: &Actor, delivery_id: Uuid) -> sqlx::Result<Option<Uuid>> {
    let mut tx = db.begin_service().await?;
    let found: Option<(Instant, Option<String>)> = sqlx::query_as(
        "SELECT created_at, user_id FROM terra_webhooks_raw
              WHERE id = $1 AND created_at = app.received_at($1) AND status NOT IN ('conflict', 'invalid') AND error IS DISTINCT FROM $2",
    )
    .bind(delivery_id)
    .bind(tombstones::REASON)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((at, user_id)) = found else { return Ok(None) };
    let filter = Filter { ids: Some(vec![delivery_id]), ..Filter::default() };
    let job = NewJob {
        id: Uuid::now_v7(),
        kind: KIND.into(),
        priority: 1,
        payload: json!({ "v": 1, "filter": filter, "first": at, "last": at, "deliveries": 1 }).to_string(),
        max_attempts: 3,
        scheduled_at: None,
        unique_key: Some(format!("replay:{delivery_id}")),
        user_id: user_id.clone(),
    };
    let ids = jobs::enqueue(&mut tx, vec![job]).await?.ids;
    audit::write(&mut *tx, actor, "deliveries.replay", user_id.as_deref(), &json!({ "delivery": delivery_id })).await?;
    tx.commit().await?;
    Ok(ids.first().copied())
}

/// The deliveries received from `first` to `last`, both included, that still match: oldest first, by id and time of receipt.
///
/// # Errors
/// The database's.
pub async fn chunk(conn: &mut PgConnection, filter: &Filter, first: Instant, last: Instant) -> sqlx::Result<Vec<(Uuid, Instant)>> {
    bind!(
        sqlx::query_as(concat!(
            "SELECT r.id, r.created_at FROM terra_webhooks_raw r
              WHERE r.created_at BETWEEN $10 AND $11 AND ",
            matching!(),
            " ORDER BY r.created_at, r.id"
        )),
        filter
    )
    .bind(first)
    .bind(last)
    .fetch_all(conn)
    .await
}
