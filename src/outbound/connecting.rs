//! A link under which a person connects a wearable.

use super::{Client, ConnectLink, TerraError, WidgetSession};
use crate::store::{Db, audit, audit::Actor, connections};
use crate::terra::MAX_USER_ID;
use serde_json::json;

/// Why there is no link, in a sentence for the page.
#[derive(Debug, thiserror::Error)]
pub enum NotLinked {
    /// No link can be made for this person.
    #[error("{0}")]
    Person(&'static str),
    /// Terra did not make one.
    #[error(transparent)]
    Terra(#[from] TerraError),
    /// The database's.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Makes a link for a person, who need not be known here yet: their first delivery makes them. Whoever opens the link
/// connects a provider to that person, so it is shown to the one who asked and is never kept or logged. `back`: where
/// the person is sent afterwards, such as the public address of this program.
///
/// The audit entry says for whom a link was made, and is written before the link is shown. The caller has checked that
/// the actor is an administrator.
///
/// # Errors
/// [`NotLinked`]; then no link was shown.
pub async fn connect_person(db: &Db, client: &Client, actor: &Actor, user_id: &str, back: Option<&str>) -> Result<ConnectLink, NotLinked> {
    if user_id.is_empty() || user_id.contains('\0') || user_id.chars().nth(MAX_USER_ID).is_some() {
        return Err(NotLinked::Person("A person's id has 1 to 512 characters."));
    }
    if connections::is_simulated(&mut *db.service().acquire().await?, user_id).await? {
        return Err(NotLinked::Person("This person is simulated: there is nobody who could connect a wearable."));
    }
    let back = back.map(str::to_owned);
    let session = WidgetSession {
        reference_id: user_id.to_owned(),
        auth_success_redirect_url: back.clone(),
        auth_failure_redirect_url: back,
        ..WidgetSession::default()
    };
    let link = client.generate_widget_session(&session).await?;
    audit::write(db.service(), actor, "person.connect_link", Some(user_id), &json!({ "expires_in": link.expires_in })).await?;
    Ok(link)
}
