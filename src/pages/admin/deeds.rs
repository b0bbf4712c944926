//! What the buttons of the administrator's lists do. Plain forms: each answers with a redirect that carries a notice.

#[cfg(feature = "ssr")]
use super::actions::record;
use crate::error::AppError;
use leptos::prelude::*;

#[cfg(feature = "ssr")]
fn uuid(text: &str) -> Result<uuid::Uuid, AppError> {
    text.parse().map_err(|_| AppError::not_found("This job"))
}

/// Runs a waiting job now, brings a dead one back, or cancels either.
///
/// # Errors
/// Not an administrator; no such job or deed; the database is away.
#[server(endpoint = "job_deed")]
pub async fn job_deed(
    /// Which job.
    id: String,
    /// run, retry or cancel.
    deed: String,
) -> Result<(), AppError> {
    use crate::store::jobs::settle::{self, Cancelled, DeadFilter};
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let job = uuid(&id)?;
    let db = |e: sqlx::Error| request.db(&e);
    let mut tx = request.services.db.begin_service().await.map_err(db)?;
    let done = match deed.as_str() {
        "run" => settle::run_now(&mut tx, job).await.map_err(db)?,
        "retry" => settle::retry(&mut tx, &DeadFilter { ids: Some(vec![job]), ..Default::default() }, 1).await.map_err(db)?.retried > 0,
        "cancel" => settle::cancel(&mut tx, job).await.map_err(db)? != Cancelled::Gone,
        _ => return Err(AppError::invalid("This cannot be done with a job. Reload the page.")),
    };
    tx.commit().await.map_err(db)?;
    if done {
        record(&request, &format!("job.{deed}"), Some(&id), serde_json::Value::Null).await?;
    }
    leptos_axum::redirect(&format!("/admin/jobs/{job}?notice={}", if done { "job-done" } else { "job-moved" }));
    Ok(())
}

/// Brings all open dead letters of a group back, as an operation that can be watched.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "redrive_group")]
pub async fn redrive_group(
    /// Kind of job.
    kind: String,
    /// What the errors have in common.
    fingerprint: String,
) -> Result<(), AppError> {
    use crate::store::jobs::settle::DeadFilter;
    let request = crate::server::context::Request::current()?;
    let admin = request.admin()?;
    let filter = DeadFilter { kind: Some(kind), fingerprint: Some(fingerprint), ..Default::default() };
    let operation = crate::jobs::operations::start_redrive(&request.services.db, &filter, &admin.email).await.map_err(|e| request.db(&e))?;
    record(&request, "operation.start", Some(&operation.id.to_string()), serde_json::json!({ "kind": operation.kind, "total": operation.total })).await?;
    leptos_axum::redirect(&format!("/admin/dead-letters?notice=redrive-started&n={}", operation.total));
    Ok(())
}

/// Closes all open dead letters of a group; their jobs do not run again.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "discard_group")]
pub async fn discard_group(
    /// Kind of job.
    kind: String,
    /// What the errors have in common.
    fingerprint: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let n = crate::store::browse::discard_group(request.services.db.service(), &kind, &fingerprint).await.map_err(|e| request.db(&e))?;
    record(&request, "dead_letters.discard", Some(&fingerprint), serde_json::json!({ "kind": kind, "count": n })).await?;
    leptos_axum::redirect(&format!("/admin/dead-letters?notice=letters-discarded&n={n}"));
    Ok(())
}

/// Runs a schedule now, or pauses and resumes it.
///
/// # Errors
/// Not an administrator; no such schedule; the database is away.
#[server(endpoint = "schedule_deed")]
pub async fn schedule_deed(
    /// Its name.
    name: String,
    /// run, pause or resume.
    deed: String,
) -> Result<(), AppError> {
    use crate::store::schedules;
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let db = |e: sqlx::Error| request.db(&e);
    let mut conn = request.services.db.service().acquire().await.map_err(db)?;
    let done = match deed.as_str() {
        "run" => schedules::run_now(&mut conn, &name).await,
        "pause" => schedules::set_paused(&mut conn, &name, true).await,
        "resume" => schedules::set_paused(&mut conn, &name, false).await,
        _ => return Err(AppError::invalid("This cannot be done with a schedule. Reload the page.")),
    }
    .map_err(db)?;
    if !done {
        return Err(AppError::not_found("This schedule"));
    }
    record(&request, &format!("schedule.{deed}"), Some(&name), serde_json::Value::Null).await?;
    leptos_axum::redirect("/admin/settings?notice=schedule-changed");
    Ok(())
}

/// Shows or hides the dashboard's advanced parts, for everybody.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "set_advanced")]
pub async fn set_advanced(
    /// `on`, or anything else.
    advanced: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    let admin = request.admin()?;
    let on = advanced == "on";
    crate::store::browse::set_switch(request.services.db.service(), "advanced_metrics", on, admin.account_id).await.map_err(|e| request.db(&e))?;
    record(&request, "settings.change", Some("advanced_metrics"), serde_json::json!({ "to": on })).await?;
    leptos_axum::redirect("/admin/settings?notice=settings-saved");
    Ok(())
}
