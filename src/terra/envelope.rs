//! The gateway's quick look: who and what, without building the document.
//!
//! Only the top level and `user` are kept; everything else is skipped in place, so a 10 MB body costs one pass and no
//! allocation. A key given twice counts the second time, as in [`super::parse`].

use super::event::Invalid;
use super::text::{MAX_TERRA_ID, MAX_USER_ID, check, clean};
use crate::model::Source;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// What the gateway stores beside the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// The event's `type` as delivered, control characters removed, at most 64 characters; empty when absent.
    pub kind: String,
    /// The provider in lower case, where the user object names one.
    pub source: Option<Source>,
    /// Terra's id of the connection.
    pub terra_user_id: Option<String>,
    /// Our user id, as given to Terra when the person connected.
    pub reference_id: Option<String>,
    /// Why an id that is there cannot be used; the field is then `None`.
    pub problem: Option<String>,
}

/// Reads the envelope of a webhook body.
///
/// # Errors
/// [`Invalid`] when the body is not a JSON object.
pub fn envelope(body: &[u8]) -> Result<Envelope, Invalid> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let top = json.deserialize_any(TopVisitor).map_err(|error| Invalid::from_json(&error))?;
    json.end().map_err(|error| Invalid::from_json(&error))?;
    let Some(top) = top else { return Err(Invalid::NotAnObject) };
    let user = top.new_user.or(top.user).unwrap_or_default();
    let mut problem = None;
    let mut id = |text: Option<String>, name: &str, max: usize| match check(&text.unwrap_or_default(), name, max) {
        Ok(id) => id,
        Err(why) => {
            problem.get_or_insert(why);
            None
        }
    };
    let terra_user_id = id(user.user_id, "user.user_id", MAX_TERRA_ID);
    let reference_id = id(user.reference_id.filter(|text| !text.is_empty()).or(top.reference_id), "reference_id", MAX_USER_ID);
    Ok(Envelope {
        kind: top.kind.and_then(|kind| clean(&kind, 64)).unwrap_or_default(),
        source: user.provider.as_deref().filter(|name| !name.trim().is_empty()).map(Source::from_provider),
        terra_user_id,
        reference_id,
        problem,
    })
}

#[derive(Default)]
struct Top {
    kind: Option<String>,
    reference_id: Option<String>,
    user: Option<User>,
    new_user: Option<User>,
}

#[derive(Default)]
struct User {
    user_id: Option<String>,
    provider: Option<String>,
    reference_id: Option<String>,
}

/// Implements a visitor's "anything else is skipped" methods; `$nothing` is what they give.
macro_rules! anything_else {
    ($nothing:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any JSON value")
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($nothing)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($nothing)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($nothing)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok($nothing)
        }
    };
}

/// A string or a whole number as text; `None` for all else.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Option<String>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Option<String>;
    anything_else!(None);
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

struct UserVisitor;

impl<'de> DeserializeSeed<'de> for UserVisitor {
    type Value = Option<User>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UserVisitor {
    type Value = Option<User>;
    anything_else!(None);
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut user = User::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "user_id" => user.user_id = map.next_value_seed(Text)?,
                "provider" => user.provider = map.next_value_seed(Text)?,
                "reference_id" => user.reference_id = map.next_value_seed(Text)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(user))
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Option<Top>;
    anything_else!(None);
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut top = Top::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "type" => top.kind = map.next_value_seed(Text)?,
                "reference_id" => top.reference_id = map.next_value_seed(Text)?,
                "user" => top.user = map.next_value_seed(UserVisitor)?,
                "new_user" => top.new_user = map.next_value_seed(UserVisitor)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(top))
    }
}
