//! What the buttons of the registry do. Plain forms: each answers with a redirect that carries a notice. The deed, its
//! audit entry and its operation come into being in one commit: no registry is in force that nobody is scored under.

use crate::error::AppError;
use leptos::prelude::*;

/// Changes one metric's numbers: `apply` puts them into force and scores everybody again, `shadow` scores everybody beside
/// what is in force.
///
/// # Errors
/// Not an administrator; numbers that make no sense, with the reason; another registry is being tried; the database is away.
#[server(endpoint = "set_registry")]
pub async fn set_registry(
    /// The metric's key.
    metric: String,
    /// A number.
    tolerance: String,
    /// absolute or relative (percent).
    kind: String,
    /// Lowest possible value.
    low: String,
    /// Highest possible value.
    high: String,
    /// In hours.
    half_life: String,
    /// apply or shadow.
    deed: String,
) -> Result<(), AppError> {
    use super::lists::Wish;
    use crate::{jobs::operations, store::shadow};
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let actor = request.actor()?;
    let db = |e: sqlx::Error| request.db(&e);
    let wish = Wish { tolerance, kind, low, high, half_life };
    let mut tx = request.services.db.begin_service().await.map_err(db)?;
    shadow::hold(&mut tx).await.map_err(db)?;
    let registry = crate::rescore::registry(&mut tx).await.map_err(db)?;
    let rule = crate::model::Metric::from_key(&metric).and_then(|m| registry.rule(m)).ok_or_else(|| AppError::not_found("This metric"))?;
    let overrides = wish.overrides(&registry, rule).map_err(AppError::invalid)?;
    let to = if deed == "shadow" {
        operations::start_shadow(&mut tx, Some(&overrides), &actor).await.map_err(|e| refused(&request, e))?;
        "/admin/settings/registry?tab=shadow&notice=shadow-started"
    } else {
        operations::change_registry(&mut tx, Some(&overrides), &actor).await.map_err(db)?;
        "/admin/settings/registry?notice=registry-changed"
    };
    tx.commit().await.map_err(db)?;
    leptos_axum::redirect(to);
    Ok(())
}

/// A refusal as the reader may see it: what stands in the way is a conflict.
#[cfg(feature = "ssr")]
fn refused(request: &crate::server::context::Request, why: crate::store::shadow::Refused) -> AppError {
    use crate::store::shadow::Refused;
    match why {
        Refused::Conflict(sentence) => AppError::new(crate::error::ErrorKind::Conflict, sentence),
        Refused::Database(cause) => request.db(&cause),
    }
}

/// Goes back to the registry the program ships with, and scores everybody again.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "reset_registry")]
pub async fn reset_registry() -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let actor = request.actor()?;
    let db = |e: sqlx::Error| request.db(&e);
    let mut tx = request.services.db.begin_service().await.map_err(db)?;
    crate::jobs::operations::change_registry(&mut tx, None, &actor).await.map_err(db)?;
    tx.commit().await.map_err(db)?;
    leptos_axum::redirect("/admin/settings/registry?notice=registry-changed");
    Ok(())
}

/// Scores everybody beside what is in force, under the registry in force: shows what this version of the program changes.
///
/// # Errors
/// Not an administrator; another registry is being tried; the database is away.
#[server(endpoint = "start_shadow")]
pub async fn start_shadow() -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let actor = request.actor()?;
    let db = |e: sqlx::Error| request.db(&e);
    let mut tx = request.services.db.begin_service().await.map_err(db)?;
    crate::jobs::operations::start_shadow(&mut tx, None, &actor).await.map_err(|e| refused(&request, e))?;
    tx.commit().await.map_err(db)?;
    leptos_axum::redirect("/admin/settings/registry?tab=shadow&notice=shadow-started");
    Ok(())
}

/// Puts what was scored beside into force, and scores everybody again for what came meanwhile.
///
/// # Errors
/// Not an administrator; the registry was changed since; the database is away. Then nothing has changed.
#[server(endpoint = "promote_shadow")]
pub async fn promote_shadow() -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let actor = request.actor()?;
    let db = |e: sqlx::Error| request.db(&e);
    let mut tx = request.services.db.begin_service().await.map_err(db)?;
    let changed = crate::jobs::operations::promote_shadow(&mut tx, &actor).await.map_err(|e| refused(&request, e))?;
    tx.commit().await.map_err(db)?;
    let notice = if changed.is_some() { "shadow-promoted" } else { "no-shadow" };
    leptos_axum::redirect(&format!("/admin/settings/registry?tab=shadow&notice={notice}"));
    Ok(())
}

/// Throws what was scored beside away.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "drop_shadow")]
pub async fn drop_shadow() -> Result<(), AppError> {
    use crate::store::{audit::Actor, shadow};
    let request = crate::server::context::Request::current()?;
    let admin = request.admin()?;
    let db = |e: sqlx::Error| request.db(&e);
    let actor = Actor::of(admin, request.address.map(|a| a.to_string()), Some(request.request_id.clone()));
    let mut tx = request.services.db.begin_service().await.map_err(db)?;
    let dropped = shadow::discard(&mut tx, &actor).await.map_err(db)?;
    tx.commit().await.map_err(db)?;
    let notice = if dropped { "shadow-dropped" } else { "no-shadow" };
    leptos_axum::redirect(&format!("/admin/settings/registry?tab=shadow&notice={notice}"));
    Ok(())
}

/// Has the calibration report worked out anew, in the background.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "run_calibration")]
pub async fn run_calibration() -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    let admin = request.admin()?;
    let db = |e: sqlx::Error| request.db(&e);
    let mut tx = request.services.db.begin_service().await.map_err(db)?;
    crate::jobs::kinds::ask_for_calibration(&mut tx, &admin.email).await.map_err(|e| AppError::internal(&request.request_id, &e))?;
    let actor = crate::store::audit::Actor::of(admin, request.address.map(|a| a.to_string()), Some(request.request_id.clone()));
    crate::store::audit::write(&mut *tx, &actor, "calibration.run", None, &serde_json::Value::Null).await.map_err(db)?;
    tx.commit().await.map_err(db)?;
    leptos_axum::redirect("/admin/calibration?notice=calibration-started");
    Ok(())
}
