//! Pauses whole kinds of jobs and limits them. Plain forms, answered by a redirect.

use crate::error::AppError;
use leptos::prelude::*;

#[cfg(feature = "ssr")]
fn not_set(request: &crate::server::context::Request, error: crate::jobs::limits::NotSet) -> AppError {
    match error {
        crate::jobs::limits::NotSet::Invalid(sentence) => AppError::invalid(sentence),
        crate::jobs::limits::NotSet::Database(error) => request.db(&error),
    }
}

/// Pauses or resumes a kind.
///
/// # Errors
/// Not an administrator; no such kind; the database is away.
#[server(endpoint = "pause_kind")]
pub async fn pause_kind(
    /// The kind.
    kind: String,
    /// `on` pauses, anything else resumes.
    paused: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let actor = request.actor()?;
    crate::jobs::limits::set_paused(&request.services.db, &actor, &kind, paused == "on").await.map_err(|e| not_set(&request, e))?;
    leptos_axum::redirect(&super::lists::with_notice(&back, "kind-changed", None));
    Ok(())
}

/// Sets the limits of a kind; empty ones are lifted.
///
/// # Errors
/// Not an administrator; numbers that mean nothing; no such kind; the database is away.
#[server(endpoint = "limit_kind")]
pub async fn limit_kind(
    /// The kind.
    kind: String,
    /// At the same time; empty: no limit.
    #[server(default)]
    max_running: String,
    /// Started in a minute; empty: no limit.
    #[server(default)]
    per_minute: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let actor = request.actor()?;
    let number = |text: &str| match text.trim() {
        "" => Ok(None),
        // What is no number of this size is refused by the limits' own sentence.
        text => text.parse::<i64>().map(|n| Some(i32::try_from(n).unwrap_or(0))).map_err(|_| {
            AppError::invalid(format!("“{}” is no whole number; nothing was changed.", crate::components::text::cut(text, 20)))
        }),
    };
    let limits = crate::jobs::limits::Limits { max_running: number(&max_running)?, per_minute: number(&per_minute)? };
    crate::jobs::limits::set(&request.services.db, &actor, &kind, limits).await.map_err(|e| not_set(&request, e))?;
    leptos_axum::redirect(&super::lists::with_notice(&back, "kind-changed", None));
    Ok(())
}
