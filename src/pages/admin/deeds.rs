//! What the buttons of the settings do. Plain forms: each answers with a redirect that carries a notice.

#[cfg(feature = "ssr")]
use super::actions::record;
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
    crate::store::browse::set_switch(request.services.db.service(), "advanced_metrics", on, admin.account_id)
        .await
        .map_err(|e| request.db(&e))?;
    record(&request, "settings.change", Some("advanced_metrics"), serde_json::json!({ "to": on })).await?;
    leptos_axum::redirect("/admin/settings?notice=settings-saved");
    Ok(())
}
