//! What is done with deliveries: processed again, or a test event sent.

use crate::error::AppError;
use leptos::prelude::*;

/// Has a delivery processed again. Its values take effect once, however often that happens.
///
/// # Errors
/// Not an administrator; no such delivery, or one that is never processed; the database is away.
#[server(endpoint = "replay_delivery")]
pub async fn replay_delivery(
    /// Which delivery.
    id: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let id = id.parse::<uuid::Uuid>().map_err(|_| AppError::not_found("This delivery"))?;
    crate::store::replay::one(&request.services.db, &request.actor()?, id)
        .await
        .map_err(|e| request.db(&e))?
        .ok_or_else(|| AppError::not_found("A delivery that can be processed again under this id"))?;
    leptos_axum::redirect(&format!("/admin/webhooks/{id}?notice=delivery-replayed"));
    Ok(())
}

/// Has all stored deliveries of a filter processed again, those that were there when they were counted, as an operation that can
/// be watched and stopped.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "replay_deliveries")]
pub async fn replay_deliveries(
    /// Those received since; empty: all.
    #[server(default)]
    since: String,
    /// Those received at or after this time; empty: all.
    #[server(default)]
    from: String,
    /// Those received before this time; empty: all.
    #[server(default)]
    until: String,
    /// Terra's word for the event.
    #[server(rename = "type")]
    kind: String,
    /// In any case.
    #[server(default)]
    provider: String,
    /// A person.
    #[server(default)]
    user: String,
    /// A state's word.
    #[server(default)]
    status: String,
    /// Part of the remark.
    #[server(default)]
    error: String,
    /// When they were counted; empty: now.
    #[server(default)]
    asked: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    use crate::store::replay;
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let word = |name: &str| match name {
        "since" => since.clone(),
        "from" => from.clone(),
        "until" => until.clone(),
        "type" => kind.clone(),
        "provider" => provider.clone(),
        "user" => user.clone(),
        "status" => status.clone(),
        _ => error.clone(),
    };
    let asked = super::job_deeds::asked_at(&asked, chrono::Utc::now());
    let filter = super::lists::replay_filter(|name| word(name).replace('\0', ""), asked).map_err(AppError::invalid)?;
    let actor = request.actor()?;
    let operation = replay::start(&request.services.db, &actor, &filter).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&super::lists::with_notice(&back, "replay-started", Some(operation.total.unsigned_abs())));
    Ok(())
}

/// Sends a test event through the gateway, for the simulated test person or the one named.
///
/// # Errors
/// Not an administrator; an order that the gateway refuses, with its sentence; the database is away.
#[server(endpoint = "send_test_event")]
pub async fn send_test_event(
    /// Terra's word for the event.
    #[server(rename = "type")]
    kind: String,
    /// In any case.
    provider: String,
    /// Whom it is for; empty: the test person.
    #[server(default)]
    user: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    super::lists::order(&request, &kind, &provider, &user, false).await?;
    leptos_axum::redirect("/admin/webhooks?notice=test-sent");
    Ok(())
}
