//! A webhook's body as an event: what happened, whose connection, and the document itself.

use super::text::{MAX_TERRA_ID, MAX_USER_ID, clean, id};
use crate::model::{Model, Source};
use serde_json::{Map, Value};

/// Why a body is no event at all. Each says it in a sentence for the delivery's row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not JSON; with the parser's words and place, which quote no content.
    #[error("The body is not JSON: {0}.")]
    NotJson(String),
    /// Nested deeper than the parser follows (128 levels).
    #[error("The body is nested more than 128 levels deep.")]
    TooDeep,
    /// JSON, but a list, text or number at the top.
    #[error("The body is JSON but not an object.")]
    NotAnObject,
}

impl Invalid {
    pub(super) fn from_json(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        if text.starts_with("recursion limit") { Self::TooDeep } else { Self::NotJson(text) }
    }
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// Values of one of Terra's models.
    Data(Model),
    /// A person connected a provider.
    Auth,
    /// Connecting failed or was called off.
    AuthCancelled,
    /// The connection was ended through Terra.
    Deauth,
    /// The person connected again and Terra changed the connection's id.
    UserReauth,
    /// The person revoked access at the provider.
    AccessRevoked,
    /// The provider refuses Terra's token; may pass.
    ConnectionError,
    /// Scopes were added or removed.
    PermissionChange,
    /// A large request is being worked on.
    LargeRequestProcessing,
    /// A large request's chunks follow.
    LargeRequestSending,
    /// The payload lies behind a link.
    S3Payload,
    /// Terra's own heartbeat.
    Healthcheck,
    /// The provider limits Terra.
    RateLimitHit,
    /// Terra is still working.
    Processing,
    /// Google has no data source for the request.
    GoogleNoDatasource,
    /// A type we do not know; empty when the body has none.
    Unknown(String),
}

impl EventKind {
    /// The kind of a `type` word.
    pub fn from_word(word: &str) -> Self {
        if let Some(model) = Model::from_word(word) {
            return Self::Data(model);
        }
        match word {
            "auth" => Self::Auth,
            "auth_cancelled" | "auth_canceled" => Self::AuthCancelled,
            "deauth" => Self::Deauth,
            "user_reauth" => Self::UserReauth,
            "access_revoked" => Self::AccessRevoked,
            "connection_error" => Self::ConnectionError,
            "permission_change" => Self::PermissionChange,
            "large_request_processing" => Self::LargeRequestProcessing,
            "large_request_sending" => Self::LargeRequestSending,
            "s3_payload" => Self::S3Payload,
            "healthcheck" => Self::Healthcheck,
            "rate_limit_hit" => Self::RateLimitHit,
            "processing" => Self::Processing,
            "google_no_datasource" => Self::GoogleNoDatasource,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

/// Terra's user object: one connection of a person to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerraUser {
    /// Terra's id of the connection.
    pub user_id: Option<String>,
    /// The provider; `unknown` when the object names none.
    pub provider: Source,
    /// Our user id, as given to Terra when the person connected.
    pub reference_id: Option<String>,
    /// What the person allowed, comma-separated, as Terra words it.
    pub scopes: Option<String>,
    /// Whether Terra counts the connection as active.
    pub active: Option<bool>,
}

/// A parsed webhook body.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What it is about.
    pub kind: EventKind,
    /// Whose it is; for a re-authorisation the new connection.
    pub user: Option<TerraUser>,
    /// The connection that a re-authorisation replaces.
    pub old_user: Option<TerraUser>,
    /// `reason` or else `message`, at most 300 characters.
    pub reason: Option<String>,
    /// Why an id in it cannot be used. Such an event must not be guessed onto a person.
    pub problem: Option<String>,
    /// Numbers too large for any machine, which were read as null.
    pub lost_numbers: u32,
    /// The whole document.
    pub body: Value,
}

/// Reads a webhook body.
///
/// # Errors
/// [`Invalid`] when it is not a JSON object. A wrong type inside it is no error: it costs the field.
pub fn parse(body: &[u8]) -> Result<Event, Invalid> {
    let (value, lost_numbers) = document(body)?;
    let Value::Object(top) = &value else { return Err(Invalid::NotAnObject) };
    let mut problem = None;
    let new_user = user(top, "new_user", &mut problem);
    let mut user_now = new_user.or_else(|| user(top, "user", &mut problem));
    let old_user = user(top, "old_user", &mut problem);
    // Older auth events carry the reference at the top.
    match id(top.get("reference_id"), "reference_id", MAX_USER_ID) {
        Ok(reference) => {
            if let Some(found) = &mut user_now {
                found.reference_id = found.reference_id.take().or(reference);
            }
        }
        Err(why) => drop(problem.get_or_insert(why)),
    }
    let text = |name: &str| top.get(name).and_then(Value::as_str).and_then(|text| clean(text, 300));
    let kind = kind(top);
    Ok(Event { kind, user: user_now, old_user, reason: text("reason").or_else(|| text("message")), problem, lost_numbers, body: value })
}

/// The event's kind. Two older forms are understood: a failed `auth`, and the REST form without a `type`, in which the
/// model is the key of the data.
fn kind(top: &Map<String, Value>) -> EventKind {
    let word = match top.get("type") {
        Some(Value::String(word)) => clean(word, 64).unwrap_or_default(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    match EventKind::from_word(&word) {
        EventKind::Auth if top.get("status").and_then(Value::as_str) == Some("error") => EventKind::AuthCancelled,
        EventKind::Unknown(word) if word.is_empty() && top.get("type").is_none() => MODEL_KEYS
            .into_iter()
            .find(|(key, _)| matches!(top.get(*key), Some(Value::Object(_) | Value::Array(_))))
            .map_or(EventKind::Unknown(word), |(_, model)| EventKind::Data(model)),
        kind => kind,
    }
}

// Not "athlete": it carries no values, and in the 2021 form it could also mean a workout.
const MODEL_KEYS: [(&str, Model); 6] = [
    ("activity", Model::Activity),
    ("body", Model::Body),
    ("daily", Model::Daily),
    ("sleep", Model::Sleep),
    ("nutrition", Model::Nutrition),
    ("menstruation", Model::Menstruation),
];

fn user(top: &Map<String, Value>, key: &str, problem: &mut Option<String>) -> Option<TerraUser> {
    let fields = top.get(key)?.as_object()?;
    let mut read = |name: &str, max: usize| match id(fields.get(name), &format!("{key}.{name}"), max) {
        Ok(id) => id,
        Err(why) => {
            problem.get_or_insert(why);
            None
        }
    };
    let user_id = read("user_id", MAX_TERRA_ID);
    let reference_id = read("reference_id", MAX_USER_ID);
    Some(TerraUser {
        user_id,
        reference_id,
        provider: Source::from_provider(fields.get("provider").and_then(Value::as_str).unwrap_or_default()),
        scopes: fields.get("scopes").and_then(Value::as_str).and_then(|text| clean(text, 2000)),
        active: fields.get("active").and_then(Value::as_bool),
    })
}

/// The document, and how many numbers in it were too large to read (`1e999`). The parser refuses such a document as a
/// whole; one absurd number should not cost the rest, so the second try reads those numbers as null.
fn document(body: &[u8]) -> Result<(Value, u32), Invalid> {
    match serde_json::from_slice(body) {
        Ok(value) => Ok((value, 0)),
        Err(error) if error.to_string().starts_with("number out of range") => {
            let (mended, lost) = without_huge_numbers(body);
            serde_json::from_slice(&mended).map(|value| (value, lost)).map_err(|error| Invalid::from_json(&error))
        }
        Err(error) => Err(Invalid::from_json(&error)),
    }
}

fn without_huge_numbers(body: &[u8]) -> (Vec<u8>, u32) {
    let (mut out, mut lost, mut i) = (Vec::with_capacity(body.len()), 0, 0);
    while let Some(&b) = body.get(i) {
        let end = match b {
            b'"' => string_end(body, i),
            b'-' | b'0'..=b'9' => {
                i + body.iter().skip(i).take_while(|c| matches!(c, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count()
            }
            _ => i + 1,
        };
        let token = body.get(i..end).unwrap_or_default();
        let huge = b != b'"' && std::str::from_utf8(token).ok().and_then(|t| t.parse::<f64>().ok()).is_some_and(f64::is_infinite);
        if huge {
            lost += 1;
        }
        out.extend_from_slice(if huge { b"null" } else { token });
        i = end;
    }
    (out, lost)
}

/// The index behind the string that starts at `start`.
fn string_end(body: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    while let Some(&b) = body.get(i) {
        match b {
            b'"' => return i + 1,
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
    body.len()
}
