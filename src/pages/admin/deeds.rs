//! What the buttons of the settings do. Plain forms: each answers with a redirect that carries a notice.

use crate::error::AppError;
use leptos::prelude::*;

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
    use crate::store::{audit, schedules};
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let db = |e: sqlx::Error| request.db(&e);
    let mut tx = request.services.db.begin_service().await.map_err(db)?;
    let done = match deed.as_str() {
        "run" => schedules::run_now(&mut tx, &name).await,
        "pause" => schedules::set_paused(&mut tx, &name, true).await,
        "resume" => schedules::set_paused(&mut tx, &name, false).await,
        _ => return Err(AppError::invalid("This cannot be done with a schedule. Reload the page.")),
    }
    .map_err(db)?;
    if !done {
        return Err(AppError::not_found("This schedule"));
    }
    audit::write(&mut *tx, &request.actor()?, &format!("schedule.{deed}"), Some(&name), &serde_json::json!({})).await.map_err(db)?;
    tx.commit().await.map_err(db)?;
    leptos_axum::redirect("/admin/schedules?notice=schedule-changed");
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
    let db = |e: sqlx::Error| request.db(&e);
    let mut tx = request.services.db.begin_service().await.map_err(db)?;
    let before = crate::store::dashboard::switch(&mut tx, "advanced_metrics").await.map_err(db)?.unwrap_or(true);
    crate::store::browse::set_switch(&mut *tx, "advanced_metrics", on, admin.account_id).await.map_err(db)?;
    let detail = serde_json::json!({ "before": before, "after": on });
    crate::store::audit::write(&mut *tx, &request.actor()?, "settings.change", Some("advanced_metrics"), &detail).await.map_err(db)?;
    tx.commit().await.map_err(db)?;
    leptos_axum::redirect("/admin/settings?notice=settings-saved");
    Ok(())
}
