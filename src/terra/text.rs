//! Text that PostgreSQL can hold. A `text` column takes any length but no NUL, and an index entry must stay below
//! some 2,700 bytes; what breaks either rule is refused by name instead of failing a whole batch later.

use serde_json::Value;

/// Longest `user_id` (Terra's `reference_id`), in characters; the table `persons` checks the same.
pub const MAX_USER_ID: usize = 512;
/// Longest id of Terra's own, in characters. Terra sends UUIDs of 36.
pub const MAX_TERRA_ID: usize = 200;

/// An id as delivered, or why it cannot be one. `Ok(None)`: absent, null or empty.
pub(super) fn id(value: Option<&Value>, name: &str, max: usize) -> Result<Option<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => check(text, name, max),
        Some(Value::Number(number)) => check(&number.to_string(), name, max),
        Some(_) => Err(format!("{name} is neither text nor a number")),
    }
}

/// The same for a text already in hand.
pub(super) fn check(text: &str, name: &str, max: usize) -> Result<Option<String>, String> {
    if text.is_empty() {
        Ok(None)
    } else if text.contains('\0') {
        Err(format!("{name} contains a NUL character, which cannot be stored"))
    } else if text.chars().nth(max).is_some() {
        Err(format!("{name} is longer than {max} characters"))
    } else {
        Ok(Some(text.to_owned()))
    }
}

/// Free text cut to `max` characters, without control characters; `None` when nothing is left.
pub(super) fn clean(text: &str, max: usize) -> Option<String> {
    let kept: String = text.chars().filter(|c| !c.is_control()).take(max).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}
