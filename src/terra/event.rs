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
    /// Every `type` word that is understood, as deliveries carry it: to choose from.
    pub const WORDS: [&str; 22] = [
        "daily",
        "sleep",
        "activity",
        "body",
        "nutrition",
        "menstruation",
        "athlete",
        "auth",
        "auth_cancelled",
        "auth_canceled",
        "deauth",
        "user_reauth",
        "access_revoked",
        "connection_error",
        "permission_change",
        "large_request_processing",
        "large_request_sending",
        "s3_payload",
        "healthcheck",
        "rate_limit_hit",
        "processing",
        "google_no_datasource",
    ];

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
    let Document { value, mended } = document(body)?;
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
    // Two ids may differ in the half that was lost.
    if mended.halves > 0 && user_now.iter().chain(&old_user).any(is_mended) {
        problem.get_or_insert_with(|| "an id in it contains half a character, which cannot be stored".to_owned());
    }
    let text = |name: &str| top.get(name).and_then(Value::as_str).and_then(|text| clean(text, 300));
    let kind = kind(top);
    let reason = text("reason").or_else(|| text("message"));
    Ok(Event { kind, user: user_now, old_user, reason, problem, lost_numbers: mended.numbers, body: value })
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

fn is_mended(user: &TerraUser) -> bool {
    [&user.user_id, &user.reference_id].into_iter().flatten().any(|id| id.contains(char::REPLACEMENT_CHARACTER))
}

/// A document, and what had to be mended before the parser took it.
struct Document {
    value: Value,
    mended: Mended,
}

/// What was put into a body in place of what the parser refuses.
#[derive(Default)]
struct Mended {
    /// Numbers too large (`1e999`) that became null.
    numbers: u32,
    /// Halves of surrogate pairs standing alone (`\ud83c`) that became U+FFFD.
    halves: u32,
}

/// Reads the document. The parser refuses one with an absurd number or half a character as a whole; such a thing should
/// not cost the rest, so a second try reads it without.
fn document(body: &[u8]) -> Result<Document, Invalid> {
    let error = match serde_json::from_slice(body) {
        Ok(value) => return Ok(Document { value, mended: Mended::default() }),
        Err(error) => Invalid::from_json(&error),
    };
    let (text, mended) = mend(body);
    if mended.numbers == 0 && mended.halves == 0 {
        return Err(error);
    }
    let value = serde_json::from_slice(&text).map_err(|error| Invalid::from_json(&error))?;
    Ok(Document { value, mended })
}

fn mend(body: &[u8]) -> (Vec<u8>, Mended) {
    let (mut out, mut mended, mut i) = (Vec::with_capacity(body.len()), Mended::default(), 0);
    while let Some(&b) = body.get(i) {
        let end = match b {
            b'"' => string_end(body, i),
            b'-' | b'0'..=b'9' => {
                i + body.iter().skip(i).take_while(|c| matches!(c, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count()
            }
            _ => i + 1,
        };
        let token = body.get(i..end).unwrap_or_default();
        if b == b'"' {
            mended.halves += copy_string(token, &mut out);
        } else if std::str::from_utf8(token).ok().and_then(|t| t.parse::<f64>().ok()).is_some_and(f64::is_infinite) {
            mended.numbers += 1;
            out.extend_from_slice(b"null");
        } else {
            out.extend_from_slice(token);
        }
        i = end;
    }
    (out, mended)
}

/// Copies a string's bytes with U+FFFD for each half of a surrogate pair that stands alone: writers that cut a text between
/// the halves send such, among them Python's. Returns how many there were.
fn copy_string(text: &[u8], out: &mut Vec<u8>) -> u32 {
    let (mut halves, mut i) = (0, 0);
    while let Some(&b) = text.get(i) {
        let (alone, length) = match (b, unit(text, i)) {
            (_, Some(0xD800..=0xDBFF)) if matches!(unit(text, i + 6), Some(0xDC00..=0xDFFF)) => (false, 12),
            (_, Some(0xD800..=0xDFFF)) => (true, 6),
            // Both bytes of any other escape, so that the second backslash of `\\` begins none.
            (b'\\', _) => (false, 2),
            _ => (false, 1),
        };
        if alone {
            halves += 1;
            out.extend_from_slice(b"\\ufffd");
        } else {
            out.extend(text.iter().skip(i).take(length));
        }
        i += length;
    }
    halves
}

/// The UTF-16 unit that an escape `\uXXXX` at `i` stands for.
fn unit(text: &[u8], i: usize) -> Option<u16> {
    let digits = text.get(i..i + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
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
