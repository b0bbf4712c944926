//! What is done to dead letters, one, a group or all of a filter: brought back or thrown away, as an operation that can be
//! watched.

use crate::error::AppError;
use leptos::prelude::*;

/// The letters of a filter that were there when the page was shown; an empty word does not narrow.
#[cfg(feature = "ssr")]
pub(super) fn filter(kind: &str, since: &str, asked: crate::model::Instant) -> crate::store::jobs::settle::DeadFilter {
    crate::store::jobs::settle::DeadFilter {
        ids: None,
        kind: Some(kind.to_owned()).filter(|k| !k.is_empty()),
        fingerprint: None,
        since: super::lists::since(since, asked),
        until: Some(asked),
    }
}

/// The letters of a group that were there when the page was shown: what dies between a question and its press is not meant.
#[cfg(feature = "ssr")]
fn group(kind: &str, fingerprint: String, since: &str, asked: crate::model::Instant) -> crate::store::jobs::settle::DeadFilter {
    crate::store::jobs::settle::DeadFilter { fingerprint: Some(fingerprint), ..filter(kind, since, asked) }
}

/// Brings letters back as an operation, and goes back to the page, which says how many.
#[cfg(feature = "ssr")]
async fn redrive(
    request: &crate::server::context::Request,
    letters: &crate::store::jobs::settle::DeadFilter,
    back: &str,
) -> Result<(), AppError> {
    let operation =
        crate::jobs::operations::start_redrive(&request.services.db, letters, &request.actor()?).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&super::lists::with_notice(back, "redrive-started", Some(operation.total.unsigned_abs())));
    Ok(())
}

/// Brings the open dead letters of a filter back, whatever group they belong to.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "redrive_letters")]
pub async fn redrive_letters(
    /// Kind of job; empty: all.
    #[server(default)]
    kind: String,
    /// Those that died since; empty: all.
    #[server(default)]
    since: String,
    /// When the page was shown; empty: now.
    #[server(default)]
    asked: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let filter = filter(&kind, &since, super::job_deeds::asked_at(&asked, chrono::Utc::now()));
    redrive(&request, &filter, &back).await
}

/// Brings the open dead letter of one job back.
///
/// # Errors
/// Not an administrator, an id that is none, or the database is away.
#[server(endpoint = "redrive_letter")]
pub async fn redrive_letter(
    /// The job that died; it may be gone.
    id: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let id = id.parse::<uuid::Uuid>().map_err(|_| AppError::not_found("This letter"))?;
    let filter = crate::store::jobs::settle::DeadFilter { ids: Some(vec![id]), ..Default::default() };
    redrive(&request, &filter, &back).await
}

/// Brings the open dead letters of a group back.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "redrive_group")]
pub async fn redrive_group(
    /// Kind of job.
    kind: String,
    /// What the errors have in common.
    fingerprint: String,
    /// Those that died since; empty: all.
    #[server(default)]
    since: String,
    /// When the page was shown; empty: now.
    #[server(default)]
    asked: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let filter = group(&kind, fingerprint, &since, super::job_deeds::asked_at(&asked, chrono::Utc::now()));
    redrive(&request, &filter, &back).await
}

/// Throws the open dead letters of a group away, with a remark, as an operation; their jobs do not run again. Letters that
/// come in after the question stay.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "discard_group")]
pub async fn discard_group(
    /// Kind of job.
    kind: String,
    /// What the errors have in common.
    fingerprint: String,
    /// Those that died since; empty: all.
    #[server(default)]
    since: String,
    /// When the page was shown; empty: now.
    #[server(default)]
    asked: String,
    /// Why.
    #[server(default)]
    note: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let filter = group(&kind, fingerprint, &since, super::job_deeds::asked_at(&asked, chrono::Utc::now()));
    let note = crate::components::text::cut(note.trim(), 500).replace('\0', "");
    let operation = crate::jobs::operations::start_discard(&request.services.db, &filter, &note, &request.actor()?)
        .await
        .map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&super::lists::with_notice(&back, "discard-started", Some(operation.total.unsigned_abs())));
    Ok(())
}

/// Stops a running operation; what it has done stays.
///
/// # Errors
/// Not an administrator, an id that is none, or the database is away.
#[server(endpoint = "stop_operation")]
pub async fn stop_operation(
    /// Which operation.
    id: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let id = id.parse::<uuid::Uuid>().map_err(|_| AppError::not_found("This operation"))?;
    let stopped = crate::jobs::operations::cancel(&request.services.db, id, &request.actor()?).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&super::lists::with_notice(&back, if stopped { "operation-stopped" } else { "nothing-to-cancel" }, None));
    Ok(())
}

#[cfg(all(test, feature = "ssr"))]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::{
        jobs::operations,
        store::{audit::Actor, testing},
    };

    #[tokio::test]
    async fn letters_that_came_after_the_question_are_not_meant() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO background_jobs_dlq (original_job_id, type, payload, error, fingerprint, failed_at)
             SELECT gen_random_uuid(), 'a', '{}', 'e', 'f', now() - make_interval(mins => n * 10) FROM generate_series(1, 5) n",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        // Asked a quarter of an hour ago for those of the hour before: one died since.
        let asked = chrono::Utc::now() - chrono::TimeDelta::minutes(15);
        let these = group("a", "f".into(), "1h", asked);
        assert_eq!((these.until, these.since), (Some(asked), Some(asked - chrono::TimeDelta::hours(1))));
        let operation = operations::start_discard(&t.db, &these, "", &Actor::system()).await.unwrap();
        assert_eq!(operation.total, 4);
    }
    #[tokio::test]
    async fn the_letters_of_a_filter_become_one_operation_whatever_their_groups() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO background_jobs_dlq (original_job_id, type, payload, error, fingerprint, failed_at)
             SELECT gen_random_uuid(), CASE WHEN n > 7 THEN 'b' ELSE 'a' END, '{}', 'e', 'f' || n % 2,
                    CASE WHEN n = 1 THEN now() - interval '3 hours' ELSE now() END - interval '1 minute'
               FROM generate_series(1, 9) n",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let by = Actor::system();
        let operation = operations::start_redrive(&t.db, &filter("a", "1h", chrono::Utc::now()), &by).await.unwrap();
        assert_eq!((operation.kind.as_str(), operation.total), ("redrive", 6), "of both fingerprints, one kind, one hour");
        let n: i64 = sqlx::query_scalar("SELECT count(*) FROM operations").fetch_one(t.db.service()).await.unwrap();
        let all = operations::start_redrive(&t.db, &filter("", "", chrono::Utc::now()), &by).await.unwrap();
        assert_eq!((n, all.total), (1, 9));
    }
}
