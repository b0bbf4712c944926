//! Ending a person's connections at Terra, before the person is erased here: else Terra would go on sending.

use super::{Client, TerraError};
use crate::store::{Db, audit::Actor, connections, erase};

/// How it went, for the page that asked for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// Connections that ended now.
    pub ended: usize,
    /// Connections that Terra did not have any more.
    pub unknown: usize,
    /// Why others go on, in sentences: to be shown, since Terra keeps sending for these.
    pub failed: Vec<String>,
}

/// Ends a person's connections at Terra, where its REST side is configured, and then erases the person: what administrators
/// do. An end that Terra refuses does not keep the person here; the report says so, and what still comes is refused.
///
/// # Errors
/// The database's; then nothing was erased.
pub async fn erase_person(db: &Db, client: Option<&Client>, actor: &Actor, user_id: &str) -> sqlx::Result<(Left, erase::Report)> {
    let left = match client {
        Some(client) => deauthenticate_person(db, client, user_id).await?,
        None => Left::default(),
    };
    Ok((left, erase::erase_person(db, actor, user_id).await?))
}

/// Ends all connections of a person at Terra. One that cannot be ended does not keep the others. Call it before
/// `store::erase::erase_person`, which deletes the ids that are needed here. Connections of simulated persons are not
/// Terra's and are left out.
///
/// # Errors
/// The database's; then Terra was not asked.
pub async fn deauthenticate_person(db: &Db, client: &Client, user_id: &str) -> sqlx::Result<Left> {
    let mut conn = db.service().acquire().await?;
    let ids = connections::at_terra(&mut conn, user_id).await?;
    drop(conn);
    let mut left = Left::default();
    for id in ids {
        match client.deauthenticate(&id).await {
            Ok(true) => left.ended += 1,
            Ok(false) => left.unknown += 1,
            Err(error @ (TerraError::Refused(_) | TerraError::Unreachable(_))) => {
                // The others would fail alike, after as long a wait.
                left.failed.push(error.to_string());
                break;
            }
            Err(error) => left.failed.push(error.to_string()),
        }
    }
    tracing::info!(ended = left.ended, unknown = left.unknown, failed = left.failed.len(), "a person's connections were ended at Terra");
    Ok(left)
}
