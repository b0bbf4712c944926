//! What is done to groups of dead letters: brought back or thrown away, as an operation that can be watched.

use crate::error::AppError;
use leptos::prelude::*;

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
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    use crate::store::jobs::settle::DeadFilter;
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let since = super::lists::since(&since, chrono::Utc::now());
    let filter = DeadFilter { kind: Some(kind), fingerprint: Some(fingerprint), since, ..Default::default() };
    let operation =
        crate::jobs::operations::start_redrive(&request.services.db, &filter, &request.actor()?).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&super::lists::with_notice(&back, "redrive-started", Some(operation.total.unsigned_abs())));
    Ok(())
}

/// Throws the open dead letters of a group away, with a remark, as an operation; their jobs do not run again. Letters that
/// come in meanwhile stay.
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
    /// Why.
    #[server(default)]
    note: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    use crate::store::jobs::settle::DeadFilter;
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let since = super::lists::since(&since, chrono::Utc::now());
    let filter = DeadFilter { kind: Some(kind), fingerprint: Some(fingerprint), since, ..Default::default() };
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
