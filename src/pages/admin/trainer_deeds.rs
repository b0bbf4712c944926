//! Gives clients to trainers and takes them away. Plain forms, answered by a redirect.

use crate::error::AppError;
use leptos::prelude::*;

/// Assigns persons to a trainer. Ids that nobody has are named and nothing is changed.
///
/// # Errors
/// Not an administrator; no such trainer or person; the database is away.
#[server(endpoint = "assign_clients")]
pub async fn assign_clients(
    /// The trainer's account.
    trainer: String,
    /// Ids with spaces between them.
    users: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    use crate::store::{audit, persons};
    let request = crate::server::context::Request::current()?;
    let admin = request.admin()?;
    let trainer = trainer.parse::<uuid::Uuid>().map_err(|_| AppError::not_found("This trainer"))?;
    let users: Vec<String> = users.split_whitespace().take(1000).map(|u| u.replace('\0', "")).collect();
    if users.is_empty() {
        return Err(AppError::invalid("Enter the id of at least one person; nothing was changed."));
    }
    let mut pairs = Vec::with_capacity(users.len());
    for user in users {
        if !persons::visible(&request.services.db, admin, &user).await.map_err(|e| request.db(&e))? {
            let user = crate::components::text::cut(&user, 80);
            return Err(AppError::invalid(format!("There is no person with the id “{user}”; nothing was changed.")));
        }
        pairs.push((trainer, user));
    }
    let actor = audit::Actor::of(admin, request.address.map(|a| a.to_string()), Some(request.request_id.clone()));
    let n = persons::assign(&request.services.db, &actor, &pairs).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&super::lists::with_notice(&back, "clients-assigned", Some(n)));
    Ok(())
}

/// Takes a person from a trainer.
///
/// # Errors
/// Not an administrator; no such trainer; the database is away.
#[server(endpoint = "unassign_client")]
pub async fn unassign_client(
    /// The trainer's account.
    trainer: String,
    /// The person.
    user_id: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    use crate::store::{audit, persons};
    let request = crate::server::context::Request::current()?;
    let admin = request.admin()?;
    let trainer = trainer.parse::<uuid::Uuid>().map_err(|_| AppError::not_found("This trainer"))?;
    let actor = audit::Actor::of(admin, request.address.map(|a| a.to_string()), Some(request.request_id.clone()));
    let done = persons::unassign(&request.services.db, &actor, trainer, &user_id.replace('\0', "")).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&super::lists::with_notice(&back, if done { "client-unassigned" } else { "client-not-theirs" }, None));
    Ok(())
}
