//! Who is asking, and may they? Passwords, sessions, second factor, keys, the guard of the pages, the headers.
//!
//! It promises: a session is 256 random bits of which the database knows only a hash; a page is decided before it is
//! rendered; a request that changes something and is proven by a cookie comes from our own pages; and what the program
//! forgets to check, row-level security in the database still refuses (`store/rls_tests/` tries it).
//!
//! The middlewares in their order, outermost first: [`headers::security_headers`], [`origin::same_origin`],
//! [`identify::identify`], [`guard::guard`], then the pages and their fallback.

pub mod account;
pub mod api_key;
pub mod downloads;
pub mod first_admin;
pub mod forms;
pub mod guard;
pub mod headers;
pub mod identify;
pub mod invite;
pub mod login;
pub mod next;
pub mod origin;
pub mod password;
pub mod service_key;
pub mod session;
pub mod site;
pub mod totp;
pub mod user_command;
mod vault;
pub(crate) mod written;

#[cfg(test)]
mod flow_tests;
#[cfg(test)]
mod form_tests;
#[cfg(test)]
mod web_tests;

pub use headers::Nonce;
pub use identify::{Denied, Enrolling, Identity, Visit};
pub use site::Site;
pub use vault::Vault;

use crate::store::Db;
use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// What the middlewares of this room share. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    /// The pools.
    pub db: Db,
    /// Our own address.
    pub site: Arc<Site>,
    /// Encrypts second-factor secrets; `None` without `ASSAY_SECRET_KEY`: no second factor.
    pub vault: Option<Arc<Vault>>,
}

/// Input that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Unusable {
    /// The name of the form's field that it is in.
    pub field: &'static str,
    /// What is wrong, and how to mend it.
    pub sentence: &'static str,
}

/// Why an account's matter was not done, as a sentence for people.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The input cannot be used; the sentence says why.
    #[error("{0}")]
    Invalid(Unusable),
    /// There is no such account, session, key or invitation, or it is not the caller's.
    #[error("{0}")]
    NotFound(&'static str),
    /// Something stands against it, e.g. the last administrator.
    #[error("{0}")]
    Conflict(&'static str),
    /// The database failed; the cause is for the log only.
    #[error("The database does not answer just now. Nothing was changed; try again in a moment.")]
    Database(#[from] sqlx::Error),
    /// A password could not be hashed.
    #[error(transparent)]
    Hash(#[from] password::HashError),
}

impl AccessError {
    /// Input that cannot be used: the field it is in, and a sentence.
    pub const fn invalid(field: &'static str, sentence: &'static str) -> Self {
        Self::Invalid(Unusable { field, sentence })
    }
}

/// A refusal as `application/problem+json` (RFC 9457). The sentences hold no input and no cause.
pub(crate) fn problem(status: StatusCode, title: &str, detail: &str) -> Response {
    let body = serde_json::json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    let headers = [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

/// Thirty-two bytes of the system's randomness, as a token.
pub(crate) fn random_token() -> crate::store::Token {
    crate::store::Token::from_bytes(rand::random())
}

/// SHA-256 of a text, shortened to 64 bits: for keys of limits that must not show an e-mail address.
pub(crate) fn fingerprint(text: &str) -> String {
    use sha2::Digest;
    hex::encode(&sha2::Sha256::digest(text.as_bytes())[..8])
}
