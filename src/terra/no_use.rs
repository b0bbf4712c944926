//! What of Terra's is of no use to us. The gateway says so when it stores a delivery and the ingest when it meets one, also
//! again: both by these words, so that a replay changes nothing.

use super::envelope::Envelope;
use super::event::EventKind;

/// Why a delivery is stored but not processed. Each says it in a sentence for the delivery's row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoUse {
    /// An id in it cannot be stored, and a person must not be guessed.
    #[error("An id in the body cannot be used: {0}.")]
    UnusableId(String),
    /// It says neither what it is nor where it comes from.
    #[error("The body names neither an event type nor a connection.")]
    NoTypeNorConnection,
    /// It names a connection, but has no type and is no data of the older form.
    #[error("The body has no type.")]
    NoType,
    /// A type that we do not know.
    #[error("Events of the type \"{0}\" are not used.")]
    UnknownType(String),
}

impl NoUse {
    /// Why an event of an unknown kind is not used, by its `type` word.
    pub fn of_word(word: &str) -> Self {
        if word.is_empty() { Self::NoType } else { Self::UnknownType(word.to_owned()) }
    }

    /// The reason code of the gateway's answer.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnusableId(_) => "unusable_id",
            Self::NoTypeNorConnection | Self::NoType => "no_type",
            Self::UnknownType(_) => "unknown_type",
        }
    }
}

impl Envelope {
    /// Why a body with this envelope is of no use. One without a `type` may still be data in the older form: only the whole
    /// body shows that, if it names a connection.
    pub fn of_no_use(&self) -> Option<NoUse> {
        if let Some(problem) = &self.problem {
            return Some(NoUse::UnusableId(problem.clone()));
        }
        match EventKind::from_word(&self.kind) {
            EventKind::Unknown(word) if word.is_empty() => self.terra_user_id.is_none().then_some(NoUse::NoTypeNorConnection),
            EventKind::Unknown(word) => Some(NoUse::of_word(&word)),
            _ => None,
        }
    }
}
