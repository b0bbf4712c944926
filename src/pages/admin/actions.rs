//! What the dashboard's buttons do. Each answers with a redirect that carries a notice, so that it works as a plain
//! form and a reload does not repeat it.

use crate::error::AppError;
use leptos::prelude::*;

/// Scores everything again, however it was scored before. One at a time: a second press joins the first.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "recalculate_all")]
pub async fn recalculate_all() -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    crate::jobs::operations::start_recalculate_all(&request.services.db, &request.actor()?).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect("/admin?notice=recalculation-started");
    Ok(())
}

/// Stops a running operation; what it has done stays.
///
/// # Errors
/// Not an administrator, an id that is none, or the database is away.
#[server(endpoint = "cancel_operation")]
pub async fn cancel_operation(
    /// Which operation.
    id: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let id = id.parse::<uuid::Uuid>().map_err(|_| AppError::invalid("This operation does not exist. Reload the page."))?;
    let stopped = crate::jobs::operations::cancel(&request.services.db, id, &request.actor()?).await.map_err(|e| request.db(&e))?;
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
    request.admin()?;
    let done = crate::jobs::operations::retry_failed(&request.services.db, &Default::default(), &request.actor()?, None)
        .await
        .map_err(|e| request.db(&e))?;
    let n = done.retried + done.recreated;
    leptos_axum::redirect(&format!("/admin?notice=jobs-retried&n={n}"));
    Ok(())
}
