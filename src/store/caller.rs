//! Who is asking, and the token that proves it to the database.

use crate::model::Role;
use sha2::{Digest, Sha256};
use std::fmt;
use uuid::Uuid;

/// A session's or key's secret: 256 random bits in lower-case hexadecimal. Never printed, never serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// From a cookie or header; `None` unless it is exactly 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))).then(|| Self(text.to_owned()))
    }

    /// From 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(hex::encode(bytes))
    }

    /// The secret itself: for the cookie, nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is told to the database as `assay.token`: a hash of the secret. PostgreSQL may write statements to its log
    /// and show them to its administrators; nobody can make a cookie from what they read there.
    pub fn proof(&self) -> String {
        hex::encode(Sha256::new().chain_update(b"assay database proof ").chain_update(self.0.as_bytes()).finalize())
    }

    /// What the database stores: SHA-256 of the proof's text, as `app.caller()` computes it.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.proof().as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// An account that proved who it is. Store functions that read persons' data take one.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account.
    pub account_id: Uuid,
    /// What it may do.
    pub role: Role,
    /// For the audit log and the page's header.
    pub email: String,
    /// What people call it; may be empty.
    pub display_name: String,
    /// What the account chose to see; empty while it never chose.
    pub preferences: serde_json::Value,
    token: Token,
}

impl Caller {
    /// Made by `access` after the token was looked up.
    pub fn new(account_id: Uuid, role: Role, email: String, display_name: String, token: Token) -> Self {
        Self { account_id, role, email, display_name, preferences: serde_json::Value::Null, token }
    }

    /// The proof for [`super::Db::begin_as`].
    pub fn token(&self) -> &Token {
        &self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hexadecimal_of_the_right_length_is_a_token() {
        assert!(Token::parse(&"a".repeat(64)).is_some());
        for bad in ["", "a", &"a".repeat(63), &"A".repeat(64), &"g".repeat(64), "'; DROP TABLE accounts; --"] {
            assert!(Token::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(format!("{:?}", Token::from_bytes([7; 32])), "Token(…)");
    }
}
