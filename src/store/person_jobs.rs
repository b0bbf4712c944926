//! Whose a job of the queue is, and which jobs a delivery has.
//!
//! A delivery's own job has its id and is found by way of it: an index of its own by person would cost each delivery as much as
//! that of the delivery. All other jobs are in `background_jobs_user`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// The condition of `background_jobs_user`: what is not a delivery's own job, or is dead.
macro_rules! is_indexed {
    () => {
        "(type <> 'webhook_processing' OR unique_key IS NOT NULL OR failed_at IS NOT NULL)"
    };
}

/// The ids of a person's jobs in the queue, finished ones not among them; `$1` is the `user_id`. What waits is looked up delivery by
/// delivery, from the oldest on that may wait.
macro_rules! jobs_of_person {
    () => {
        concat!(
            "SELECT id FROM background_jobs WHERE user_id = $1 AND ",
            $crate::store::person_jobs::is_indexed!(),
            " UNION ALL
             SELECT j.id FROM terra_webhooks_raw r CROSS JOIN LATERAL
                    (SELECT id FROM background_jobs WHERE id = r.id AND user_id = $1 AND NOT ",
            $crate::store::person_jobs::is_indexed!(),
            " OFFSET 0) j
              WHERE r.user_id = $1 AND r.created_at >= (SELECT app.oldest_waiting())"
        )
    };
}
pub(super) use {is_indexed, jobs_of_person};

/// The ids of a person's jobs in the queue: waiting, running and dead ones.
///
/// # Errors
/// The database's.
pub async fn of_person(conn: &mut PgConnection, user_id: &str) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(jobs_of_person!()).persistent(false).bind(user_id).fetch_all(conn).await
}

/// A job beside the delivery it works on.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct DeliveryJob {
    /// The job.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// Its state's word.
    pub status: String,
    /// Attempts begun.
    pub attempts: i32,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// The beginning of its newest error.
    pub error: Option<String>,
}

/// The jobs made for a delivery: the first carries its id, replays name it in their payload and belong to its person.
///
/// # Errors
/// The database's.
pub async fn of_delivery(
    conn: &mut PgConnection,
    delivery: Uuid,
    received: DateTime<Utc>,
    user_id: Option<&str>,
) -> sqlx::Result<Vec<DeliveryJob>> {
    sqlx::query_as(concat!(
        "SELECT * FROM (
           (SELECT id, type AS kind, status, attempts, created_at, completed_at, left(error, 400) AS error FROM background_jobs WHERE id = $1)
           UNION ALL
           (SELECT id, type, status, attempts, created_at, completed_at, left(error, 400) FROM background_jobs
             WHERE user_id = $3 AND id <> $1 AND ",
        is_indexed!(),
        " AND (type = 'webhook_processing' AND payload ->> 'delivery_id' = $1::text OR type = 'replay' AND payload #>> '{filter,ids,0}' = $1::text)
             LIMIT 20)
           UNION ALL
           (SELECT id, type, status, attempts, created_at, completed_at, left(error, 400) FROM job_history
             WHERE id = $1 AND completed_at >= $2 LIMIT 20)
           UNION ALL
           (SELECT id, type, status, attempts, created_at, completed_at, left(error, 400) FROM job_history
             WHERE user_id = $3 AND completed_at >= $2 AND id <> $1
               AND (type = 'webhook_processing' AND payload ->> 'delivery_id' = $1::text OR type = 'replay' AND payload #>> '{filter,ids,0}' = $1::text)
             LIMIT 20)) j
          ORDER BY created_at, id LIMIT 20",
    ))
    .persistent(false)
    .bind(delivery)
    .bind(received)
    .bind(user_id)
    .fetch_all(conn)
    .await
}
