//! What the dashboard's buttons do. Each answers with a redirect that carries a notice, so that it works as a plain
//! form and a reload does not repeat it.

use crate::error::AppError;
use leptos::prelude::*;

/// Scores everything again, however it was scored before. One at a time.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "recalculate_all")]
pub async fn recalculate_all() -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    let admin = request.admin()?;
    let started = crate::jobs::operations::start_recalculate_all(&request.services.db, &admin.email).await;
    let notice = match started {
        Ok(_) => "recalculation-started",
        Err(e) if e.as_database_error().is_some_and(|d| d.is_unique_violation()) => "recalculation-running",
        Err(e) => return Err(request.db(&e)),
    };
    leptos_axum::redirect(&format!("/admin?notice={notice}"));
    Ok(())
}

/// Stops a running operation; what it has done stays.
///
/// # Errors
/// Not an administrator, an id that is none, or the database is away.
#[server(endpoint = "cancel_operation")]
pub async fn cancel_operation(id: String) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let id = id.parse::<uuid::Uuid>().map_err(|_| AppError::invalid("This operation does not exist. Reload the page."))?;
    let stopped = crate::jobs::operations::cancel(&request.services.db, id).await.map_err(|e| request.db(&e))?;
    let notice = if stopped { "recalculation-cancelled" } else { "nothing-to-cancel" };
    leptos_axum::redirect(&format!("/admin?notice={notice}"));
    Ok(())
}

/// Puts every dead job back into the queue with fresh attempts.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "retry_failed_jobs")]
pub async fn retry_failed_jobs() -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    let admin = request.admin()?;
    let n = crate::jobs::retry_failed_jobs(&request.services.db, &admin.email).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&format!("/admin?notice=jobs-retried&n={n}"));
    Ok(())
}
