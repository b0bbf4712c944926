//! Why the program did not start, and whether a later start may do.

use crate::access::AccessError;
use crate::store::{ConnectError, MigrateError, may_pass};

/// One sentence, and what whoever watches over the program should do about it.
#[derive(Debug)]
pub struct StartError {
    /// For people.
    pub sentence: String,
    /// Whether time may mend it. Told by the error that ended the start: a second look may find all well again.
    pub later: bool,
}

impl StartError {
    /// What a later start may find mended.
    pub fn later(sentence: String) -> Self {
        Self { sentence, later: true }
    }

    /// The first administrator could not be made.
    pub fn first_admin(error: &AccessError) -> Self {
        let later = matches!(error, AccessError::Database(cause) if may_pass(cause));
        Self { sentence: format!("the first administrator could not be made: {error}"), later }
    }
}

/// A plain sentence is about a setting, or this machine.
impl From<String> for StartError {
    fn from(sentence: String) -> Self {
        Self { sentence, later: false }
    }
}

impl From<ConnectError> for StartError {
    fn from(e: ConnectError) -> Self {
        Self { sentence: e.sentence, later: e.away }
    }
}

impl From<MigrateError> for StartError {
    fn from(e: MigrateError) -> Self {
        Self { sentence: e.sentence, later: e.away }
    }
}

/// Commands that do not serve end with a sentence alone: somebody reads it.
impl From<StartError> for String {
    fn from(e: StartError) -> Self {
        e.sentence
    }
}
