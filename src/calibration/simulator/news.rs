//! What Terra says when a connection begins, changes or ends, in the words of its examples.

use super::habit::Change;
use super::wire::{Json, SCOPES, Sender, VERSION, text};

/// What a person allows later.
const MORE: &str = "BODY_EXPORT";

/// The change that a `type` word of Terra's tells.
pub(crate) fn change(word: &str) -> Option<Change> {
    Some(match word {
        "auth" => Change::Connected,
        "deauth" => Change::Deauthorised,
        "user_reauth" => Change::Renewed,
        "connection_error" => Change::Refused,
        "access_revoked" => Change::Revoked,
        "permission_change" => Change::Extended,
        _ => return None,
    })
}

/// The news that `sender`'s connection changed; `old_id`: what it was called before, where it was renewed.
pub(crate) fn event(sender: &Sender<'_>, change: Change, old_id: String) -> Json {
    let (kind, status, message, active) = match change {
        Change::Connected => ("auth", "success", "User has successfully authenticated", true),
        Change::Deauthorised => ("deauth", "success", "User has deauthenticated", false),
        Change::Renewed => ("user_reauth", "warning", "User has reauthenticated and old ID has been deleted", true),
        Change::Refused => (
            "connection_error",
            "warning",
            "Connection degraded: the provider rejected Terra's access token; the user may need to reauthenticate",
            true,
        ),
        Change::Revoked => ("access_revoked", "warning", "User revoked access", false),
        Change::Extended => ("permission_change", "warning", "User permissions have been modified", true),
    };
    let mut fields = vec![("type", text(kind)), ("status", text(status)), ("message", text(message)), ("version", text(VERSION))];
    match change {
        Change::Renewed => {
            let old = Sender { terra_id: old_id, ..sender.clone() };
            fields.extend([("new_user", sender.user(true)), ("old_user", old.user(false))]);
        }
        Change::Extended => {
            fields.extend([("scopes_added", text(MORE)), ("scopes_removed", text(""))]);
            fields.push(("user", sender.user_who_allowed(&format!("{SCOPES},{MORE}"), active)));
        }
        _ => fields.push(("user", sender.user(active))),
    }
    Json::Object(fields)
}
